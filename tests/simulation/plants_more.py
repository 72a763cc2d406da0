"""Further ways to break a promise, on the wire and in what a host makes of it; as in :mod:`tests.simulation.plants`."""

from __future__ import annotations

import msgspec

from tests.simulation import faults
from tests.simulation.broker import Connection
from tests.simulation.plants import only, wrong_payload
from uns.enrichment.live import PvBoard
from uns.sparkplug import codec
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import Publish
from uns.sparkplug.rebirths import RebirthLimiter

__all__ = ["PLANTED_MORE"]


def births_cut_short(patch):
    encode = codec.encode_birth
    patch.setattr(codec, "encode_birth", lambda *arguments, **options: encode(*arguments, **options)[:-1])


def births_with_an_unknown_type(patch):
    wrong_payload(patch, "encode_birth", lambda payload: setattr(payload.metrics[-1], "datatype", 20))


def of_properties(change):
    def change_all(payload):
        for metric in payload.metrics:
            if metric.HasField("properties"):
                change(metric.properties)

    return change_all


def properties_with_a_key_too_many(patch):
    wrong_payload(patch, "encode_birth", of_properties(lambda properties: properties.keys.append("x")))


def properties_without_a_type(patch):
    wrong_payload(patch, "encode_birth", of_properties(lambda properties: properties.values[0].ClearField("type")))


def properties_of_a_type_that_metrics_have(patch):
    wrong_payload(patch, "encode_data", of_properties(lambda properties: setattr(properties.values[0], "type", 16)))


def quality(properties, *, datatype: int, number: int) -> None:
    properties.keys.append("Quality")
    properties.values.add(type=datatype, int_value=number)


def a_quality_that_is_no_int32(patch):
    wrong_payload(patch, "encode_birth", of_properties(lambda properties: quality(properties, datatype=7, number=192)))


def a_quality_that_there_is_not(patch):
    wrong_payload(patch, "encode_birth", of_properties(lambda properties: quality(properties, datatype=3, number=1)))


def data_in_another_namespace(patch):
    publish = Connection.publish

    def misplaced(self, message):
        if "/DDATA/" in message.topic:
            message = msgspec.structs.replace(message, topic=message.topic.replace("spBv1.0/", "spAv1.0/"))
        publish(self, message)

    patch.setattr(Connection, "publish", misplaced)


def an_edge_that_goes_on_with_data_before_its_rebirth(patch):
    only(patch, faults.rebirth_requested)

    def leisurely(self, now_ns):
        self._rebirth_due_ns = now_ns + 1_000_000_000

    patch.setattr(EdgeNodeSession, "_receive_rebirth_request", leisurely)


def a_host_that_speaks_before_its_connection(patch):
    connect = HostSession.connect

    def hasty(self, now_ns):
        connect(self, now_ns)
        self._actions.append(Publish(self._state_message(online=True)))

    patch.setattr(HostSession, "connect", hasty)


def a_host_that_is_not_born(patch):
    receive_subscribed = HostSession.receive_subscribed

    def silent(self, now_ns):
        receive_subscribed(self, now_ns)
        self._actions = [action for action in self._actions if not isinstance(action, Publish)]

    patch.setattr(HostSession, "receive_subscribed", silent)


def a_host_that_lets_it_stand_that_it_is_offline(patch):
    only(patch, faults.state_spoiled)
    patch.setattr(HostSession, "_heal", lambda self, text, now_ns, **options: None)


def values_that_outlive_their_devices(patch):
    only(patch, faults.edge_stop, faults.device_lost)
    patch.setattr(PvBoard, "mark_stale", lambda self, edge_node, device_id=None, **why: 0)
    patch.setattr(PvBoard, "_is_away", lambda self, way: False)


def a_host_that_puts_up_with_gaps(patch):
    only(patch, faults.loses_messages)
    ask = RebirthLimiter.ask

    def content(self, edge_node, cause, now_ns, **options):
        if cause != "reorder_timeout":
            ask(self, edge_node, cause, now_ns, **options)

    patch.setattr(RebirthLimiter, "ask", content)


def a_host_that_waits_for_nothing_that_is_late(patch):
    only(patch, faults.disorder)
    init = HostSession.__init__
    patch.setattr(
        HostSession, "__init__", lambda self, host_id, **options: init(self, host_id, reorder_timeout_ms=5, **options)
    )


def ids_with_a_wildcard(patch):
    publish = Connection.publish

    def misnamed(self, message):
        if "/DBIRTH/" in message.topic:
            message = msgspec.structs.replace(message, topic=message.topic + "+")
        publish(self, message)

    patch.setattr(Connection, "publish", misnamed)


def births_out_of_order(patch):
    def change(payload):
        payload.metrics[0].timestamp += 1_000_000

    wrong_payload(patch, "encode_birth", change)


def devices_that_hear_no_commands(patch):
    init = EdgeNodeSession.__init__

    def deaf(self, descriptor, *, command_devices, **options):
        assert command_devices
        init(self, descriptor, **options)

    patch.setattr(EdgeNodeSession, "__init__", deaf)


def commands_by_a_name_that_there_is_not(patch):
    def change(payload):
        for metric in payload.metrics:
            if metric.HasField("alias"):
                metric.ClearField("alias")
                metric.name = "x"

    only(patch, faults.host_commands)
    wrong_payload(patch, "encode_command", change)


def commands_of_another_type(patch):
    def change(payload):
        for metric in payload.metrics:
            if metric.HasField("alias"):
                metric.bytes_value = b"1"

    only(patch, faults.host_commands)
    wrong_payload(patch, "encode_command", change)


def aliases_that_mean_another_metric_in_the_next_session(patch):
    """A command by the births of a session that is over is carried out at another metric."""

    def alias(self, device_id, name, datatype):
        return self._aliases.setdefault((device_id, name, datatype), len(self._aliases) + 1)

    patch.setattr(EdgeNodeSession, "_alias", alias)
    only(patch, restarts_unheard)


def restarts_unheard(simulation):
    """All gateways start again, and the host hears of it only after it has written."""
    world, process = simulation.world, simulation.host.process
    if process is not None and process.connection is not None:
        process.connection.freeze(5_000, up=False, down=True)
        for edge in simulation.edges:
            edge.crash()
            world.after(100, edge.start)
        for _ in range(5):
            faults.host_commands(simulation)


PLANTED_MORE = [
    (ids_with_a_wildcard, "TopicChecker"),
    (births_out_of_order, "BirthContentChecker"),
    (devices_that_hear_no_commands, "SessionChecker"),
    (commands_by_a_name_that_there_is_not, "CommandChecker"),
    (commands_of_another_type, "CommandChecker"),
    (aliases_that_mean_another_metric_in_the_next_session, "CommandLandingChecker"),
    (births_cut_short, "Seen"),
    (births_with_an_unknown_type, "BirthContentChecker"),
    (properties_with_a_key_too_many, "PropertyChecker"),
    (properties_without_a_type, "PropertyChecker"),
    (properties_of_a_type_that_metrics_have, "PropertyChecker"),
    (a_quality_that_is_no_int32, "PropertyChecker"),
    (a_quality_that_there_is_not, "PropertyChecker"),
    (data_in_another_namespace, "TopicChecker"),
    (an_edge_that_goes_on_with_data_before_its_rebirth, "RebirthAnswerChecker"),
    (a_host_that_speaks_before_its_connection, "SessionChecker"),
    (a_host_that_is_not_born, "HostStateChecker"),
    (a_host_that_lets_it_stand_that_it_is_offline, "HostStateChecker"),
    (values_that_outlive_their_devices, "StaleChecker"),
    (a_host_that_puts_up_with_gaps, "HostOrderChecker"),
    (a_host_that_waits_for_nothing_that_is_late, "HostOrderChecker"),
]
