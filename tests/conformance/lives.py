"""Whole lives of our sessions, each step at its own time, and what they put on the wire as plain protobuf reads it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.sparkplug_b_pb2 import Payload
from uns.sparkplug import (
    BirthMetric,
    Connect,
    DataBatch,
    DataType,
    EdgeNodeDescriptor,
    EdgeNodeSession,
    HostSession,
    MessageType,
    NodeBirth,
    Publish,
    codec,
)
from uns.sparkplug.messages import Action, Message

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
HOST_ID = "uns-host-1"
STATE_TOPIC = f"spBv1.0/STATE/{HOST_ID}"
START_MS = 1_700_000_000_000
BD_SEQ = 9
DATA_MESSAGES = 300  # more than seq has numbers
STEP_MS = 1000
CAPTURED_BEFORE_MS = STEP_MS  # of values in DATA, before they are sent


class Sent(NamedTuple):
    """One message, and when it was sent."""

    kind: str
    message: Message
    at_ms: int

    @property
    def payload(self) -> Any:
        """As protobuf has it: nothing of ours has looked at it."""
        return Payload.FromString(self.message.payload)

    @property
    def json(self) -> Any:
        """Of a STATE message."""
        return json.loads(self.message.payload.decode("utf-8"))


class Life(NamedTuple):
    """Everything that a session asked for, in order."""

    actions: list[tuple[Action, int]]

    @property
    def connect(self) -> Connect:
        """The first thing."""
        action = self.actions[0][0]
        assert isinstance(action, Connect)
        return action

    @property
    def will(self) -> Sent:
        """What the broker sends for it."""
        return Sent("will", self.connect.will, self.actions[0][1])

    def sent(self, *kinds: str) -> list[Sent]:
        """Its messages, of these types only if any are named. Never empty: a rule over nothing holds of anything."""
        messages = [
            Sent(action.message.topic.split("/")[-1 if "/STATE/" in action.message.topic else 2], action.message, at_ms)
            for action, at_ms in self.actions
            if isinstance(action, Publish)
        ]
        chosen = [sent for sent in messages if not kinds or sent.kind in kinds]
        assert chosen
        return chosen


class Recorder:
    """Gives every step a time of its own, and notes what the session asks for then."""

    def __init__(self, session: EdgeNodeSession | HostSession) -> None:
        self.session = session
        self.now_ms = START_MS
        self.noted: list[tuple[Action, int]] = []

    def step(self, call: Callable[..., object], *arguments: object, **named: object) -> None:
        """Call with ``now_ns`` as well."""
        self.now_ms += STEP_MS
        call(*arguments, **named, now_ns=self.now_ms * 1_000_000)
        self.noted += [(action, self.now_ms) for action in self.session.actions()]


def metric(name: str, value: float | None = 1.5) -> BirthMetric:
    return BirthMetric(name=name, datatype=DataType.DOUBLE, value=value)


@functools.cache
def edge_life() -> Life:
    """Connect, births, data beyond seq 255, a device that goes and comes, a rebirth, goodbye."""
    session = EdgeNodeSession(NODE)
    recorder = Recorder(session)
    step = recorder.step
    birth = NodeBirth(
        metrics=[metric("load"), metric("unknown", None)],
        devices={"d1": [metric("t"), metric("unknown", None)], "d2": [metric("t"), metric("p")]},
    )

    def data(device: str | None, name: str) -> None:
        batch = DataBatch(bindings=[session.bindings(device)[name]], values=[2.5], times_ms=[recorder.now_ms])
        step(session.publish_data, device, batch)

    step(session.connect, bd_seq=BD_SEQ, session_id="s")
    step(session.receive_connected)
    step(session.receive_subscribed)
    step(session.birth, birth)
    for number in range(DATA_MESSAGES):
        data(*((None, "load") if number % 2 else ("d1", "t")))
    step(session.device_death, "d1")
    step(session.device_birth, "d1", [metric("t"), metric("new")])
    data("d1", "new")
    request = codec.encode_command(
        [BirthMetric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True)], timestamp_ms=START_MS
    )
    step(session.receive_message, NODE.topic(MessageType.NCMD), request)
    step(session.birth, birth)
    data("d2", "p")
    step(session.close)
    return Life(recorder.noted)


@functools.cache
def host_life() -> Life:
    """Connect, a node that is born, commands to it and its device, goodbye."""
    session = HostSession(HOST_ID, jitter=lambda _span: 0)
    recorder = Recorder(session)
    step = recorder.step
    step(session.connect)
    step(session.receive_connected)
    step(session.receive_subscribed)
    for sent in edge_life().sent("NBIRTH", "DBIRTH")[:3]:
        step(session.receive_message, sent.message.topic, sent.message.payload, retain=False)
    step(session.publish_command, NODE, "d1", [metric("t", 4.5)])
    step(session.publish_command, NODE, None, [metric("load", 7.5)])
    step(session.close)
    return Life(recorder.noted)
