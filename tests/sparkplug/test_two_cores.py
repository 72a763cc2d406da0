"""A real edge session and a real host session on one fake wire with a Will, retained STATE, loss and restarts.

The checkers are written from the requirements, not from the sessions. tests/simulation drives the same sessions with
the delivery protocol; here only Sparkplug itself is looked at, as small as it goes.
"""

from __future__ import annotations

import random

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import HOST_ID, MS, NODE, T0, S, batch_of, metric
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import (
    BirthDue,
    Connect,
    DataReceived,
    DeviceBorn,
    Disconnect,
    HeldBirths,
    Message,
    NodeBirth,
    NodeBorn,
    NodeDied,
    NodeResumed,
    Offline,
    Publish,
    RebirthRequested,
    Subscribe,
)
from uns.sparkplug.sequences import next_bd_seq
from uns.sparkplug.topics import MessageType, StateTopic, parse_topic
from uns.sparkplug.transitions import EdgeState, HostSessionState


class Wire:
    """Carries out actions at once; ``loss`` is the share of QoS 0 messages toward the host that vanish."""

    def __init__(self, seed: int, *, loss: float = 0.0, primary_host: bool = False) -> None:
        self.chance = random.Random(seed)
        self.loss = loss
        self.now = T0
        self.bd_seq = 0
        self.sessions = 0
        self.edge = EdgeNodeSession(NODE, primary_host_id=HOST_ID if primary_host else None)
        self.host = HostSession(HOST_ID, jitter=self.chance.randrange)
        self.retained: dict[str, Message] = {}
        self.wills: dict[str, Message] = {}
        self.connected: set[str] = set()
        self.sent: list[Message] = []  # of the edge node, in order, with lost ones
        self.host_events: list[object] = []
        self.value = 0
        self.held: HeldBirths | None = None  # what the store of the host keeps

    # ── the broker ───────────────────────────────────────────────────────────────────────────────────────────────

    def pump(self) -> None:
        while actions := [("edge", a) for a in self.edge.actions()] + [("host", a) for a in self.host.actions()]:
            for who, action in actions:
                self.carry_out(who, action)
            self.events()
        self.events()

    def carry_out(self, who: str, action) -> None:
        session = self.edge if who == "edge" else self.host
        match action:
            case Connect(will=will):
                self.connected.add(who)
                self.wills[who] = will
                session.receive_connected(self.now)
            case Subscribe(filters=filters):
                session.receive_subscribed(self.now)
                for message in list(self.retained.values()):
                    if any(topic_filter == message.topic for topic_filter, _ in filters):
                        self.deliver(who, message, retain=True)
            case Publish(message=message) if who in self.connected:
                if who == "edge":
                    self.sent.append(message)
                self.route(message)
            case Disconnect() if who in self.connected:
                self.wills.pop(who)
                self.connected.discard(who)
                session.receive_disconnected(self.now)

    def route(self, message: Message) -> None:
        if message.retain:
            self.retained[message.topic] = message
        for who in list(self.connected):
            if who == "edge" and parse_topic(message.topic) != StateTopic(HOST_ID) and "/NCMD/" not in message.topic:
                continue
            lost = who == "host" and message.qos == 0 and self.chance.random() < self.loss
            if not lost:
                self.deliver(who, message, retain=False)

    def deliver(self, who: str, message: Message, *, retain: bool) -> None:
        if who == "edge":
            self.edge.receive_message(message.topic, message.payload, self.now, retain=retain)
        else:
            self.host.receive_message(message.topic, message.payload, retain=retain, now_ns=self.now)

    def cut(self, who: str) -> None:
        """The connection breaks: the broker publishes the Will."""
        if who not in self.connected:
            return
        self.connected.discard(who)
        session = self.edge if who == "edge" else self.host
        session.receive_disconnected(self.now)
        self.route(self.wills.pop(who))
        self.pump()

    # ── the applications ─────────────────────────────────────────────────────────────────────────────────────────

    def events(self) -> None:
        for event in self.edge.events():
            if isinstance(event, BirthDue):
                self.edge.birth(self.definitions(), self.now)
        for told in self.host.events():
            self.host_events.append(told)
            if isinstance(told, NodeBorn):
                self.held = HeldBirths(NODE, told.session_id, told.bd_seq, told.payload, {})
            elif isinstance(told, DeviceBorn) and self.held is not None:
                self.held.devices[told.device_id] = told.payload

    def restart_host(self) -> None:
        """kill -9: a new session that knows what the store kept."""
        self.cut("host")
        self.host = HostSession(HOST_ID, jitter=self.chance.randrange)
        if self.held is not None:
            self.host.hold_births(self.held, self.now)

    def mark(self) -> None:
        """The edge node names its session, as the delivery protocol does (never lost here)."""
        if self.edge.state is EdgeState.ONLINE and self.host.state is HostSessionState.ONLINE:
            self.host.name_session(NODE, self.edge.session_id, self.now)
            self.pump()

    def definitions(self) -> NodeBirth:
        names = [f"m{i}" for i in range(3)]
        self.chance.shuffle(names)  # definitions move between sessions and rebirths
        value = self.value
        return NodeBirth(
            [metric("count", DataType.UINT32, value)],
            {"d": [metric(name, DataType.INT64, value) for name in names]},
        )

    def keep_connected(self) -> None:
        if self.edge.state is EdgeState.DISCONNECTED:
            self.sessions += 1
            self.edge.connect(bd_seq=self.bd_seq, session_id=f"s{self.sessions}", now_ns=self.now)
            self.bd_seq = next_bd_seq(self.bd_seq)
        if self.host.state is HostSessionState.DISCONNECTED:
            self.host.connect(self.now)
        self.pump()

    def tick(self, step: int = 200 * MS) -> None:
        self.now += step
        for session in (self.edge, self.host):
            deadline = session.next_deadline_ns()
            if deadline is not None and deadline <= self.now:
                session.receive_timer(self.now)
        self.pump()

    def publish(self) -> None:
        if self.edge.state is not EdgeState.ONLINE:
            return
        self.value += 1
        bindings = self.edge.bindings("d")
        name = f"m{self.value % 3}"
        # the value says whose it is, so that a misread one shows
        self.edge.publish_data("d", batch_of([bindings[name]], [self.value], [self.now // MS]), self.now)
        self.pump()


def check_seq(sent: list[Message]) -> None:
    """payloads-*-seq-inc, topics-nbirth-seq-num, payloads-ndeath-seq: over every byte the edge node sent."""
    expected = 0
    for message in sent:
        kind = message.topic.split("/")[2]
        wire = Payload.FromString(message.payload)
        if kind == MessageType.NBIRTH:
            expected = 0
        elif kind == MessageType.NDEATH:
            assert not wire.HasField("seq")
            continue
        assert wire.seq == expected, message.topic
        expected = (expected + 1) % 256
        assert (message.qos, message.retain) == (0, False)


def check_values(events: list[object]) -> None:
    """Every value stands under the metric it was published for."""
    for event in events:
        if isinstance(event, DataReceived):
            for binding, value in zip(event.data.bindings, event.data.values, strict=True):
                assert isinstance(value, int)
                assert binding.name == f"m{value % 3}"


def check_sessions(events: list[object]) -> None:
    """DATA belongs to the session that was born or named last, and never to a dead one."""
    current = None
    for event in events:
        match event:
            case NodeBorn(session_id=session_id) | NodeResumed(session_id=session_id):
                current = session_id
            case NodeDied(session_id=session_id):
                assert current in {session_id, None}  # None: held, and not named yet
                current = None
            case DataReceived(session_id=session_id):
                assert session_id == current


def check_all(wire: Wire) -> None:
    check_seq(wire.sent)
    check_values(wire.host_events)
    check_sessions(wire.host_events)


def test_without_faults_all_data_arrives_in_order():
    wire = Wire(1)
    wire.keep_connected()
    for _ in range(600):
        wire.publish()
    received = [e for e in wire.host_events if isinstance(e, DataReceived)]
    assert [e.data.values for e in received] == [[i + 1] for i in range(600)]
    assert all(e.in_order for e in received)
    assert not any(isinstance(e, RebirthRequested) for e in wire.host_events)
    check_all(wire)


def test_loss_ends_in_a_rebirth_and_then_in_order():
    wire = Wire(2)
    wire.keep_connected()
    wire.publish()
    wire.loss = 1.0
    wire.publish()
    wire.loss = 0.0
    for _ in range(60):
        wire.publish()
        wire.tick()
    causes = [e.cause for e in wire.host_events if isinstance(e, RebirthRequested)]
    assert causes == ["reorder_timeout"]
    births = [e for e in wire.host_events if isinstance(e, NodeBorn)]
    assert [(e.session_id, e.first) for e in births] == [("s1", True), ("s1", False)]
    check_all(wire)


def test_edge_that_waits_for_its_primary_host_follows_it():
    wire = Wire(3, primary_host=True)
    wire.edge.connect(bd_seq=0, session_id="s", now_ns=wire.now)
    wire.bd_seq = 1
    wire.pump()
    assert wire.sent == []
    wire.keep_connected()
    wire.publish()
    assert wire.value == 1
    wire.cut("host")
    assert wire.edge.session_id == "s"
    assert "edge" not in wire.connected
    assert [m.topic.split("/")[2] for m in wire.sent][-1] == "NDEATH"
    wire.tick()
    wire.keep_connected()
    wire.publish()
    assert wire.value == 2
    check_all(wire)


@pytest.mark.parametrize("seed", range(60))
def test_random_faults(seed):
    wire = Wire(seed, loss=wire_loss(seed), primary_host=seed % 4 == 0)
    for _ in range(250):
        wire.keep_connected()
        match wire.chance.randrange(30):
            case 0:
                wire.cut("edge")
            case 1:
                wire.cut("host")
            case 2:
                wire.edge.close(wire.now)
            case 3:
                wire.host.close(wire.now)
            case 5:
                wire.restart_host()
            case 6 | 7 | 8:
                wire.mark()
            case 4 if wire.edge.state is EdgeState.ONLINE:
                wire.edge.device_birth("d", wire.definitions().devices["d"], wire.now)
            case _:
                wire.publish()
        wire.pump()
        wire.tick()
    check_all(wire)
    # with the faults gone everything is known and in order again
    wire.loss = 0.0
    for _ in range(2000):
        wire.keep_connected()
        wire.publish()
        wire.tick(S)
        if wire.host_events and isinstance(wire.host_events[-1], DataReceived):
            break
    mark = len(wire.host_events)
    for _ in range(5):
        wire.publish()
    assert all(isinstance(e, DataReceived) for e in wire.host_events[mark:])
    assert len(wire.host_events) == mark + 5, f"replay: pytest tests/sparkplug/test_two_cores.py -k '[{seed}]'"
    check_all(wire)


def wire_loss(seed: int) -> float:
    return (0.0, 0.02, 0.2)[seed % 3]


def test_no_storm_of_rebirths_when_everything_is_lost():
    wire = Wire(5, loss=0.5)
    wire.keep_connected()
    for _ in range(600):  # two minutes
        wire.publish()
        wire.tick()
    asked = [e for e in wire.host_events if isinstance(e, RebirthRequested)]
    assert 2 <= len(asked) <= 5  # 0, 10, 30, 70 s and what follows
    assert Offline("connection_lost") not in wire.edge.events()
