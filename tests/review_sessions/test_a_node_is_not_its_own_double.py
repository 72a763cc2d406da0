"""A bad line cuts a connection with the NBIRTH still on it: the broker may hand it on while we look for a double."""

from __future__ import annotations

from typing import Any, Self

import pytest

from edge_nodes import brokers as brokers_module
from edge_nodes.brokers import Brokers, answers_in_our_name
from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import NODE, node_birth, published, subscribed_edge
from uns.adapters.mqtt import BrokerAddress, IncomingMessage
from uns.errors import ConnectionLost
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.topics import MessageType
from uns.sparkplug.walk import SessionEnd

ADDRESS = BrokerAddress(url="mqtt://127.0.0.1:1")


def nbirth(session_id: str) -> IncomingMessage:
    edge = subscribed_edge(session_id=session_id)
    edge.birth(node_birth(), 0)
    return IncomingMessage(NODE.topic(MessageType.NBIRTH), published(edge)[0].payload, 0, False)


@pytest.fixture
def asked() -> list[Message]:
    """What the one who asks publishes."""
    return []


@pytest.fixture
def heard(monkeypatch, asked) -> list[IncomingMessage]:
    """What the broker hands out to whoever asks."""
    messages: list[IncomingMessage] = []

    class Asking:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def subscribe(self, _filters: Any) -> None: ...

        def publish_many(self, said: list[Message]) -> None:
            asked.extend(said)

        async def next_batch(self) -> list[IncomingMessage]:
            if not messages:
                raise ConnectionLost("nothing else came")
            return [messages.pop(0)]

    monkeypatch.setattr(brokers_module, "MqttConnection", Asking)
    return messages


@pytest.mark.parametrize(("sessions", "found"), [(["mine"], False), (["other"], True), (["mine", "other"], True)])
async def test_only_the_birth_of_another_session_is_a_proof(heard, sessions, found):
    heard += [nbirth(session_id) for session_id in sessions]
    assert await answers_in_our_name(ADDRESS, NODE, now_ns=0, own_sessions=["mine"]) is found


async def test_the_question_says_its_type_since_the_double_may_be_of_any_make(heard, asked):
    await answers_in_our_name(ADDRESS, NODE, now_ns=0)
    ((metric,),) = (Payload.FromString(message.payload).metrics for message in asked)
    assert metric.datatype == DataType.BOOLEAN


async def test_a_birth_that_cannot_be_read_is_not_ours(heard):
    heard.append(IncomingMessage(NODE.topic(MessageType.NBIRTH), b"\xff", 0, False))
    assert await answers_in_our_name(ADDRESS, NODE, now_ns=0, own_sessions=["mine"])


@pytest.mark.parametrize(("born", "trouble"), [("session-1", False), ("session-2", False), ("other", True)])
async def test_sessions_that_ended_soon_do_not_accuse_each_other(heard, born, trouble):
    made = Brokers([ADDRESS], NODE, wall_ns=lambda: 0)
    heard.append(nbirth(born))
    for number in (1, 2):
        made.connected(f"session-{number}")
        await made.ended(SessionEnd.LOST)
    assert bool(made.trouble) is trouble
