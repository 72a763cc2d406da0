"""Every single rule of the wire broken once: messages and wills are changed on their way to the broker."""

from __future__ import annotations

import json
from functools import partial

import msgspec

from schemas.sparkplug_b_pb2 import Payload
from tests.simulation import faults
from tests.simulation.broker import Connection, SimulatedBroker
from tests.simulation.host import HostProcess
from tests.simulation.plants import only
from uns.delivery.edge import EdgeDelivery
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.host_lives import LifeRules
from uns.sparkplug.messages import Message, Publish, Subscribe
from uns.sparkplug.walk import BrokerWalk

__all__ = ["PLANTED_WIRE"]


def rewritten(patch, kind: str, change) -> None:
    """Let messages of that type go out otherwise."""
    publish = Connection.publish

    def publish_otherwise(self, message):
        if f"/{kind}/" in message.topic:
            message = change(message)
        publish(self, message)

    patch.setattr(Connection, "publish", publish_otherwise)


def payloads(patch, kind: str, change) -> None:
    """The same for what Sparkplug payloads say."""

    def change_message(message):
        payload = Payload.FromString(message.payload)
        change(payload)
        return msgspec.structs.replace(message, payload=payload.SerializeToString())

    rewritten(patch, kind, change_message)


def wills(patch, client: str, change) -> None:
    """Let clients of that kind connect with another will."""
    connect = SimulatedBroker.connect

    def connect_otherwise(self, who, client_id, will, **options):
        return connect(self, who, client_id, change(will) if client_id.startswith(client) else will, **options)

    patch.setattr(SimulatedBroker, "connect", connect_otherwise)


def with_state(message, **changed):
    return msgspec.structs.replace(message, payload=json.dumps(json.loads(message.payload) | changed).encode())


def with_topic(message, **levels):
    found = message.topic.split("/")
    for place, level in levels.items():
        found[int(place[1:])] = level
    return msgspec.structs.replace(message, topic="/".join(found))


def metric_of(payload, name: str):
    return next(metric for metric in payload.metrics if metric.name == name)


def subscriptions(patch, session, change) -> None:
    """Let a session ask for other topics; ``change`` gets topic and QoS."""
    actions = session.actions

    def otherwise(self):
        return [
            Subscribe(tuple(change(*one) for one in action.filters)) if isinstance(action, Subscribe) else action
            for action in actions(self)
        ]

    patch.setattr(session, "actions", otherwise)


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_host_without_a_will(patch):
    wills(patch, "host:", lambda will: None)


def a_host_whose_will_is_not_retained(patch):
    wills(patch, "host:", lambda will: msgspec.structs.replace(will, retain=False))


def a_host_whose_will_says_online(patch):
    wills(patch, "host:", lambda will: with_state(will, online=True))


def a_host_whose_will_is_of_yesterday(patch):
    wills(patch, "host:", lambda will: with_state(will, timestamp=json.loads(will.payload)["timestamp"] - 86_400_000))


def a_state_that_says_more(patch):
    rewritten(patch, "STATE", lambda message: with_state(message, id="uns"))


def a_state_under_another_name(patch):
    rewritten(patch, "STATE", lambda message: with_topic(message, l2="another"))


def a_host_that_does_not_hear_its_own_state(patch):
    subscriptions(patch, HostSession, lambda topic, qos: (topic, 0 if "/STATE/" in topic else qos))


def a_host_that_hears_marks_at_qos_1(patch):
    subscriptions(patch, HostSession, lambda topic, qos: (topic, 1 if "_mark" in topic else qos))


def a_host_that_says_something_before_its_birth(patch):
    receive_subscribed = HostSession.receive_subscribed

    def early(self, now_ns):
        receive_subscribed(self, now_ns)
        self._actions.insert(0, Publish(Message("uns1/_confirm/g/e", b"{}", qos=1)))

    patch.setattr(HostSession, "receive_subscribed", early)


def rebirth_requests_that_ask_for_nothing(patch):
    payloads(patch, "NCMD", lambda payload: setattr(payload.metrics[0], "boolean_value", False))


def rebirth_requests_to_a_device(patch):
    rewritten(patch, "NCMD", lambda message: msgspec.structs.replace(message, topic=f"{message.topic}/machine0"))


def many_rebirth_requests_at_once(patch):
    write = HostProcess._write

    def write_often(self, message):
        for _ in range(20 if "/NCMD/" in message.topic else 1):
            write(self, message)

    patch.setattr(HostProcess, "_write", write_often)


def a_host_whose_devices_outlive_their_node(patch):
    receive = LifeRules.receive_node_death

    def forgetful(self, node, arrived):
        living = [device for device in node.devices.values() if device.online]
        receive(self, node, arrived)
        for device in living:
            device.online = True

    patch.setattr(LifeRules, "receive_node_death", forgetful)
    only(patch, faults.edge_stop, faults.edge_cut)


# ── gateways ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def an_edge_without_a_will(patch):
    wills(patch, "edge:", lambda will: None)


def an_edge_whose_will_is_at_qos_0(patch):
    wills(patch, "edge:", lambda will: msgspec.structs.replace(will, qos=0))


def an_edge_whose_will_is_retained(patch):
    wills(patch, "edge:", lambda will: msgspec.structs.replace(will, retain=True))


def an_edge_whose_will_is_another_nodes(patch):
    wills(patch, "edge:", lambda will: with_topic(will, l3="another"))


def an_edge_that_commands(patch):
    rewritten(patch, "DDATA", lambda message: with_topic(message, l2="DCMD"))


def data_of_a_device_as_data_of_a_node(patch):
    rewritten(patch, "DDATA", lambda message: with_topic(message, l2="NDATA"))


def data_stamped_early(patch):
    payloads(patch, "DDATA", lambda payload: setattr(payload, "timestamp", payload.timestamp - 60_000))


def data_without_seq(patch):
    payloads(patch, "DDATA", lambda payload: payload.ClearField("seq"))


def births_with_another_seq(patch):
    payloads(patch, "NBIRTH", lambda payload: setattr(payload, "seq", 1))


def data_without_a_birth(patch):
    publish = Connection.publish
    patch.setattr(
        Connection, "publish", lambda self, message: None if "/NBIRTH/" in message.topic else publish(self, message)
    )


def data_of_a_device_that_is_not_born(patch):
    rewritten(patch, "DDATA", lambda message: with_topic(message, l4="nobody"))


def births_with_two_bd_seqs(patch):
    payloads(patch, "NBIRTH", lambda payload: payload.metrics.append(metric_of(payload, "bdSeq")))


def a_bd_seq_of_another_type(patch):
    payloads(patch, "NBIRTH", lambda payload: setattr(metric_of(payload, "bdSeq"), "datatype", 8))


def a_nameless_metric_in_births(patch):
    payloads(patch, "DBIRTH", lambda payload: payload.metrics[0].ClearField("name"))


def an_alias_for_the_rebirth(patch):
    payloads(patch, "NBIRTH", lambda payload: setattr(metric_of(payload, "Node Control/Rebirth"), "alias", 9))


def births_without_a_type(patch):
    payloads(patch, "DBIRTH", lambda payload: payload.metrics[0].ClearField("datatype"))


def births_without_times(patch):
    payloads(patch, "DBIRTH", lambda payload: payload.metrics[0].ClearField("timestamp"))


def a_rebirth_in_another_session(patch):
    def change(payload):
        metric_of(payload, "uns/session").string_value += str(payload.timestamp)

    payloads(patch, "NBIRTH", change)
    only(patch, faults.rebirth_requested)


def data_that_says_nothing(patch):
    payloads(patch, "DDATA", lambda payload: payload.ClearField("metrics"))


def data_of_a_metric_that_is_not_born(patch):
    payloads(patch, "DDATA", lambda payload: setattr(payload.metrics[0], "alias", 2**40))


def data_without_times(patch):
    payloads(patch, "DDATA", lambda payload: payload.metrics[0].ClearField("timestamp"))


def an_edge_that_forgets_requests_that_come_soon(patch):
    receive = EdgeNodeSession._receive_rebirth_request

    def forgetful(self, now_ns):
        receive(self, now_ns)
        self._rebirth_due_ns = None

    patch.setattr(EdgeNodeSession, "_receive_rebirth_request", forgetful)

    def requested_twice(simulation):
        faults.rebirth_requested(simulation)
        for delay_ms in range(100, 600, 50):
            simulation.world.after(delay_ms, partial(faults.rebirth_requested, simulation))

    only(patch, requested_twice)


def marks_repeated_otherwise(patch):
    def change(message):
        mark = json.loads(message.payload)
        mark["messages"] += mark["repeat"]
        return msgspec.structs.replace(message, payload=json.dumps(mark).encode())

    rewritten(patch, "_mark", change)
    only(patch, faults.host_frozen)


def marks_that_wait_for_no_answer(patch):
    mark_if_due = EdgeDelivery._mark_if_due

    def impatient(self, now_ns):
        self._outstanding = None
        mark_if_due(self, now_ns)

    patch.setattr(EdgeDelivery, "_mark_if_due", impatient)


def a_walk_that_begins_somewhere(patch):
    patch.setattr("tests.simulation.run.BROKERS_WEIGHTS", (0, 1, 1))
    init = BrokerWalk.__init__

    def anywhere(self, brokers, **options):
        init(self, brokers, **options)
        self.broker = 1

    patch.setattr(BrokerWalk, "__init__", anywhere)


PLANTED_WIRE = [
    (a_host_without_a_will, "HostStateChecker"),
    (a_host_whose_will_is_not_retained, "HostStateChecker"),
    (a_host_whose_will_says_online, "HostStateChecker"),
    (a_host_whose_will_is_of_yesterday, "HostStateChecker"),
    (a_state_that_says_more, "HostStateChecker"),
    (a_state_under_another_name, "TopicChecker"),
    (a_host_that_does_not_hear_its_own_state, "SessionChecker"),
    (a_host_that_hears_marks_at_qos_1, "SessionChecker"),
    (a_host_that_says_something_before_its_birth, "HostStateChecker"),
    (rebirth_requests_that_ask_for_nothing, "CommandChecker"),
    (rebirth_requests_to_a_device, "TopicChecker"),
    (many_rebirth_requests_at_once, "CommandChecker"),
    (a_host_whose_devices_outlive_their_node, "HostViewChecker"),
    (an_edge_without_a_will, "DeathChecker"),
    (an_edge_whose_will_is_at_qos_0, "DeathChecker"),
    (an_edge_whose_will_is_retained, "DeathChecker"),
    (an_edge_whose_will_is_another_nodes, "TopicChecker"),
    (an_edge_that_commands, "TopicChecker"),
    (data_of_a_device_as_data_of_a_node, "TopicChecker"),
    (data_stamped_early, "TimestampChecker"),
    (data_without_seq, "SequenceChecker"),
    (births_with_another_seq, "SequenceChecker"),
    (data_without_a_birth, "BirthOrderChecker"),
    (data_of_a_device_that_is_not_born, "BirthOrderChecker"),
    (births_with_two_bd_seqs, "BdSeqChecker"),
    (a_bd_seq_of_another_type, "BdSeqChecker"),
    (a_nameless_metric_in_births, "AliasChecker"),
    (an_alias_for_the_rebirth, "AliasChecker"),
    (births_without_a_type, "BirthContentChecker"),
    (births_without_times, "BirthContentChecker"),
    (a_rebirth_in_another_session, "BirthContentChecker"),
    (data_that_says_nothing, "DataShapeChecker"),
    (data_of_a_metric_that_is_not_born, "DataShapeChecker"),
    (data_without_times, "DataShapeChecker"),
    (an_edge_that_forgets_requests_that_come_soon, "RebirthAnswerChecker"),
    (marks_repeated_otherwise, "MarkChecker"),
    (marks_that_wait_for_no_answer, "MarkChecker"),
    (a_walk_that_begins_somewhere, "WalkChecker"),
]
