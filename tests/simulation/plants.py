"""Ways to break each promise once, in the real code where it can be; ``test_planted.py`` says which checker fires.

Each takes a ``pytest.MonkeyPatch``.
"""

from __future__ import annotations

import contextlib

import msgspec

import tests.simulation.edge as simulated_edge
import uns.sparkplug.edge as session_module
from schemas.sparkplug_b_pb2 import Payload
from tests.simulation import faults, run
from tests.simulation.broker import Connection, SimulatedBroker
from tests.simulation.host import HostProcess, SimulatedHost
from tests.simulation.plant import HOST_ID
from uns.delivery.edge import EdgeDelivery
from uns.delivery.host import HostDelivery
from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.host_lives import LifeRules
from uns.sparkplug.host_view import HostView
from uns.sparkplug.messages import Message, Publish, Subscribe
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.reorder import Arrival
from uns.sparkplug.sequences import next_seq
from uns.sparkplug.state import StateMemory


def wrong_payload(patch, name: str, change) -> None:
    """Let the codec write something else."""
    encode = getattr(codec, name)

    def encode_wrongly(*arguments, **options):
        payload = Payload.FromString(encode(*arguments, **options))
        change(payload)
        return payload.SerializeToString()

    patch.setattr(codec, name, encode_wrongly)


def a_hole_in_seq(patch):
    patch.setattr(session_module, "next_seq", lambda seq: next_seq(seq) if seq % 7 else next_seq(seq + 1))


def only(patch, *kinds):
    """Let nothing else go wrong: what was planted shows sooner."""
    patch.setattr(faults, "FAULTS", tuple((kind, 1) for kind in kinds))


def an_ndeath_with_seq(patch):
    only(patch, faults.edge_stop)
    wrong_payload(patch, "encode_death", lambda payload: setattr(payload, "seq", 0))


def a_rebirth_without_its_last_device(patch):
    birth = EdgeNodeSession.birth

    def incomplete(self, births, now_ns):
        again = self.seq is not None
        birth(self, births, now_ns)
        if again:
            self._actions.pop()
            self._seq -= 1

    patch.setattr(EdgeNodeSession, "birth", incomplete)


def bd_seq_not_persisted(patch):
    patch.setattr(simulated_edge.EdgeStore, "next_bd_seq", lambda self: 5)


def a_birth_with_another_bd_seq(patch):
    def change(payload):
        for metric in payload.metrics:
            if metric.name == "bdSeq":
                metric.long_value += 1

    wrong_payload(patch, "encode_birth", change)


def an_ndeath_with_company(patch):
    wrong_payload(patch, "encode_death", lambda payload: payload.metrics.add(name="x"))


def aliases_that_change_on_rebirth(patch):
    birth = EdgeNodeSession.birth

    def reborn(self, births, now_ns):
        self._aliases = {who: alias + 1 for who, alias in self._aliases.items()}
        birth(self, births, now_ns)

    patch.setattr(EdgeNodeSession, "birth", reborn)


def aliases_per_device(patch):
    def alias(self, device_id, name, datatype):
        return 1 + sum(who[0] == device_id for who in self._aliases if who != (device_id, name, datatype))

    patch.setattr(EdgeNodeSession, "_alias", alias)


def data_with_datatypes(patch):
    def change(payload):
        for metric in payload.metrics:
            metric.datatype = 3

    wrong_payload(patch, "encode_data", change)


def data_with_names(patch):
    wrong_payload(patch, "encode_data", lambda payload: setattr(payload.metrics[0], "name", "n"))


def data_backwards_in_time(patch):
    patch.setattr(session_module, "in_time_order", lambda batch: batch)

    batches_of = simulated_edge.batches_of

    def backwards(*arguments, **options):
        for device_id, batch in batches_of(*arguments, **options):
            if not batch.properties:
                batch.bindings.reverse()
                batch.values = batch.values[::-1]
                batch.times_ms.reverse()
            yield device_id, batch

    patch.setattr(simulated_edge, "batches_of", backwards)


def a_birth_without_a_value(patch):
    def change(payload):
        for metric in payload.metrics:
            metric.ClearField("is_null")

    wrong_payload(patch, "encode_birth", change)


def a_rebirth_metric_that_is_true(patch):
    def change(payload):
        for metric in payload.metrics:
            if metric.name == "Node Control/Rebirth":
                metric.boolean_value = True

    wrong_payload(patch, "encode_birth", change)


def retained_births(patch):
    publish = Connection.publish

    def retained(self, message):
        if "/NBIRTH/" in message.topic:
            message = msgspec.structs.replace(message, retain=True)
        publish(self, message)

    patch.setattr(Connection, "publish", retained)


def marks_at_qos_0(patch):
    publish = Connection.publish

    def lowered(self, message):
        if message.topic.startswith("uns1/_mark"):
            message = msgspec.structs.replace(message, qos=0)
        publish(self, message)

    patch.setattr(Connection, "publish", lowered)


def data_stamped_late(patch):
    wrong_payload(patch, "encode_data", lambda payload: setattr(payload, "timestamp", payload.timestamp + 1))


def commands_subscribed_at_qos_0(patch):
    actions = EdgeNodeSession.actions

    def lowered(self):
        return [
            Subscribe(tuple((topic, 0) for topic, _ in action.filters)) if isinstance(action, Subscribe) else action
            for action in actions(self)
        ]

    patch.setattr(EdgeNodeSession, "actions", lowered)


def persistent_sessions(patch):
    def connect(self, *arguments, **options):
        return real(self, *arguments, clean_session=False)

    real = SimulatedBroker.connect
    patch.setattr(SimulatedBroker, "connect", connect)


def state_with_a_new_timestamp(patch):
    receive_subscribed = HostSession.receive_subscribed

    def restamped(self, now_ns):
        self._timestamp_ms += 1
        receive_subscribed(self, now_ns)

    patch.setattr(HostSession, "receive_subscribed", restamped)


def a_host_that_leaves_without_a_word(patch):
    only(patch, faults.host_stop)
    close = HostSession.close

    def silent(self, now_ns):
        close(self, now_ns)
        self._actions = [action for action in self._actions if not isinstance(action, Publish)]

    patch.setattr(HostSession, "close", silent)


def an_edge_that_leaves_without_a_word(patch):
    only(patch, faults.edge_stop)
    close = EdgeNodeSession.close

    def silent(self, now_ns):
        close(self, now_ns)
        self._actions = [action for action in self._actions if not isinstance(action, Publish)]

    patch.setattr(EdgeNodeSession, "close", silent)


def marks_that_count_one_too_many(patch):
    sent = EdgeDelivery.sent

    def generous(self, cursor, *, messages, **options):
        sent(self, cursor, messages=messages + 1, **options)

    patch.setattr(EdgeDelivery, "sent", generous)


def marks_without_end(patch):
    """Two unanswered marks: the next n comes before its turn."""
    mark_if_due = EdgeDelivery._mark_if_due

    def impatient(self, now_ns):
        before = self._n
        mark_if_due(self, now_ns)
        self._n += self._n != before

    patch.setattr(EdgeDelivery, "_mark_if_due", impatient)


def a_deadline_that_never_ends(patch):
    patch.setattr(RebirthLimiter, "take_due", lambda self, now_ns: [])


def no_limit_to_rebirths(patch):
    init = RebirthLimiter.__init__

    def unlimited(self, **options):
        init(self, interval_min_ms=1, interval_max_ms=1, per_second_max=1_000, jitter=lambda span: 0)

    patch.setattr(RebirthLimiter, "__init__", unlimited)

    def births_denied(simulation):
        simulation.host.broker.denies = lambda who, topic: "/NBIRTH/" in topic or "/DBIRTH/" in topic

    only(patch, births_denied, faults.host_cut)


def a_host_that_confirms_everything(patch):
    receive_mark = HostDelivery.receive_mark

    def kind(self, edge_node, mark, *, session_held):
        confirm = receive_mark(self, edge_node, mark, session_held=session_held)
        return confirm and msgspec.structs.replace(confirm, ok=True)

    patch.setattr(HostDelivery, "receive_mark", kind)


def a_host_that_confirms_before_its_commit(patch):
    only(patch, faults.host_crash)
    take_in = HostProcess._take_in

    def hasty(self):
        take_in(self)
        for group in self.groups:
            for edge_node, confirm in group.answers:
                topic = f"uns1/_confirm/{edge_node.group_id}/{edge_node.edge_node_id}"
                self._write(Message(topic, msgspec.json.encode(confirm), qos=1))
            group.answers.clear()

    patch.setattr(HostProcess, "_take_in", hasty)


def a_host_that_goes_on_counting_after_a_failed_commit(patch):
    only(patch, faults.raw_log_full)

    def oblivious(self):
        if self.host.raw_full:
            self.groups.clear()
        commit(self)

    commit = HostProcess._commit
    patch.setattr(HostProcess, "_commit", oblivious)


def a_host_that_answers_for_another(patch):
    patch.setattr(run, "OTHER_HOST_CHANCES", (1, 1))
    init = SimulatedHost.__init__

    def renamed(self, *arguments, host_id=HOST_ID):
        init(self, *arguments, host_id=host_id)
        if host_id != HOST_ID:
            start = self.start

            def start_and_pretend():
                start()
                if self.process is not None:
                    self.process.gate.delivery.host_id = HOST_ID

            self.start = start_and_pretend

    patch.setattr(SimulatedHost, "__init__", renamed)


def a_host_that_never_answers(patch):
    patch.setattr(HostDelivery, "receive_mark", lambda self, edge_node, mark, *, session_held: None)


def a_host_that_knows_no_held_session(patch):
    """Every mark is refused for ever: the session is stuck."""
    receive_mark = HostDelivery.receive_mark
    patch.setattr(
        HostDelivery,
        "receive_mark",
        lambda self, edge_node, mark, *, session_held: receive_mark(self, edge_node, mark, session_held=False),
    )


def a_host_that_lets_its_old_will_stand(patch):
    only(patch, faults.state_spoiled)
    patch.setattr(HostSession, "_receive_own_state", lambda self, payload, *, retain, now_ns: None)


def a_host_that_asks_for_no_rebirth(patch):
    patch.setattr(HostSession, "_send_rebirths", lambda self, now_ns: self._rebirths.take_due(now_ns))


def a_host_that_obeys_every_ndeath(patch):
    a_host_that_asks_for_no_rebirth(patch)
    receive_node_death = LifeRules.receive_node_death

    def obedient(self, node, arrived):
        with contextlib.suppress(RemoteProtocolError):
            node.bd_seq = codec.decode_death(arrived.payload)
        receive_node_death(self, node, arrived)

    patch.setattr(LifeRules, "receive_node_death", obedient)
    only(patch, faults.edge_cut)
    draw = run.Simulation._draw_broker

    def with_late_wills(self):
        broker = draw(self)
        broker.will_on_takeover, broker.will_delay_ms = True, lambda: 1_500
        return broker

    patch.setattr(run.Simulation, "_draw_broker", with_late_wills)


def an_edge_at_two_brokers(patch):
    connect = SimulatedBroker.connect

    def twice(self, client, client_id, will, **options):
        if client_id.startswith("edge:"):
            connect(self, client, client_id, will, **options)
        return connect(self, client, client_id, will, **options)

    patch.setattr(SimulatedBroker, "connect", twice)


def births_under_another_name(patch):
    publish = Connection.publish

    def misplaced(self, message):
        if "/DBIRTH/" in message.topic:
            message = msgspec.structs.replace(message, topic=message.topic.replace("/DBIRTH/gw", "/DBIRTH/wg"))
        publish(self, message)

    patch.setattr(Connection, "publish", misplaced)


def an_edge_that_does_not_wait_for_its_host(patch):
    subscribed = EdgeNodeSession.receive_subscribed

    def impatient(self, now_ns):
        waited, self.primary_host_id = self.primary_host_id, None
        subscribed(self, now_ns)
        self.primary_host_id = waited

    patch.setattr(EdgeNodeSession, "receive_subscribed", impatient)


def an_edge_that_stays_when_its_host_goes(patch):
    only(patch, faults.host_stop, faults.host_crash)
    accept = StateMemory.accept
    patch.setattr(StateMemory, "accept", lambda self, state: state.online and accept(self, state))


def an_edge_that_answers_no_rebirth(patch):
    only(patch, faults.rebirth_requested)
    receive_message = EdgeNodeSession.receive_message

    def deaf(self, topic, payload, now_ns, **options):
        if "/NCMD/" not in topic:
            receive_message(self, topic, payload, now_ns, **options)

    patch.setattr(EdgeNodeSession, "receive_message", deaf)


def a_host_that_forgets_its_state(patch):
    only(patch, faults.host_clock_steps, faults.host_crash)
    patch.setattr(HostProcess, "_keep_state", lambda self: None)


def a_host_that_hears_no_ndeath(patch):
    only(patch, faults.edge_cut, faults.edge_stop)
    patch.setattr(LifeRules, "receive_node_death", lambda self, node, arrived: None)


def a_host_that_hears_no_ddeath(patch):
    only(patch, faults.device_lost)
    patch.setattr(LifeRules, "receive_device_death", lambda self, node, device_id, arrived: None)


def a_host_that_counts_what_came_twice(patch):
    """A message that came twice makes up for one that is lost; and so does one of the window before."""
    only(patch, disordered_and_lossy)

    marks_without_a_digest(patch)
    track = HostView.track

    def on_time(self, node, seq, now_ns):
        track(self, node, seq, now_ns)
        return Arrival.IN_ORDER

    patch.setattr(HostView, "track", on_time)
    patch.setattr(HostSession, "lost_since_mark", lambda self, edge_node: False)


def marks_without_a_digest(patch):
    """A message that changed places with its mark makes up for one that is lost, and seq cannot tell."""
    only(patch, faults.tricks)
    sent = EdgeDelivery.sent

    def silent(self, cursor, *, digest, **options):
        sent(self, cursor, **options)

    patch.setattr(EdgeDelivery, "sent", silent)


def disordered_and_lossy(simulation):
    process = simulation.host.process
    if process is not None and process.connection is not None:
        process.connection.disorder_until_ns = simulation.world.now_ns + 8_000_000_000
        faults.loses_messages(simulation)


PLANTED = [
    (an_edge_at_two_brokers, "OneConnectionChecker"),
    (births_under_another_name, "TopicChecker"),
    (an_edge_that_does_not_wait_for_its_host, "PrimaryHostChecker"),
    (an_edge_that_stays_when_its_host_goes, "PrimaryHostChecker"),
    (an_edge_that_answers_no_rebirth, "RebirthAnswerChecker"),
    (a_host_that_forgets_its_state, "StateNeverOlderChecker"),
    (a_host_that_hears_no_ndeath, "HostViewChecker"),
    (a_host_that_hears_no_ddeath, "HostViewChecker"),
    (a_host_that_counts_what_came_twice, "DeletionChecker"),
    (marks_without_a_digest, "DeletionChecker"),
    (a_hole_in_seq, "SequenceChecker"),
    (an_ndeath_with_seq, "SequenceChecker"),
    (a_rebirth_without_its_last_device, "BirthOrderChecker"),
    (bd_seq_not_persisted, "BdSeqChecker"),
    (a_birth_with_another_bd_seq, "BdSeqChecker"),
    (an_ndeath_with_company, "DeathChecker"),
    (an_edge_that_leaves_without_a_word, "DeathChecker"),
    (aliases_that_change_on_rebirth, "AliasChecker"),
    (aliases_per_device, "AliasChecker"),
    (data_with_datatypes, "DataShapeChecker"),
    (data_with_names, "DataShapeChecker"),
    (data_backwards_in_time, "DataShapeChecker"),
    (a_birth_without_a_value, "BirthContentChecker"),
    (a_rebirth_metric_that_is_true, "BirthContentChecker"),
    (retained_births, "QosRetainChecker"),
    (marks_at_qos_0, "QosRetainChecker"),
    (data_stamped_late, "TimestampChecker"),
    (commands_subscribed_at_qos_0, "SessionChecker"),
    (persistent_sessions, "SessionChecker"),
    (state_with_a_new_timestamp, "HostStateChecker"),
    (a_host_that_leaves_without_a_word, "HostStateChecker"),
    (marks_that_count_one_too_many, "MarkChecker"),
    (marks_without_end, "MarkChecker"),
    (no_limit_to_rebirths, "CommandChecker"),
    (a_deadline_that_never_ends, "World"),
    (a_host_that_confirms_everything, "DeletionChecker"),
    (a_host_that_confirms_before_its_commit, "DeletionChecker"),
    (a_host_that_goes_on_counting_after_a_failed_commit, "DeletionChecker"),
    (a_host_that_answers_for_another, "DeletionChecker"),
    (a_host_that_never_answers, "all_confirmed"),
    (a_host_that_knows_no_held_session, "all_confirmed"),
    (a_host_that_lets_its_old_will_stand, "state_is_right"),
    (a_host_that_asks_for_no_rebirth, "all_confirmed"),
    (a_host_that_obeys_every_ndeath, "nodes_are_online"),
]
