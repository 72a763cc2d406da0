"""What every checker shares: one message read once, and how a broken promise is told.

Payloads are read with the generated classes, not with our codec, so that a mistake in the codec cannot hide itself.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from google.protobuf.message import DecodeError

from schemas.sparkplug_b_pb2 import Payload
from tests.simulation.broker import Connection
from tests.simulation.plant import HOST_ID
from uns.sparkplug.messages import Message

__all__ = [
    "BIRTHS",
    "DATA",
    "EDGE_TYPES",
    "REBIRTH",
    "STATE_TOPIC",
    "BrokenPromiseError",
    "Checker",
    "Seen",
    "is_edge",
    "is_host",
    "will_of",
]

REBIRTH = "Node Control/Rebirth"
BIRTHS = {"NBIRTH", "DBIRTH"}
DATA = {"NDATA", "DDATA"}
EDGE_TYPES = {"NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"}
STATE_TOPIC = f"spBv1.0/STATE/{HOST_ID}"


class BrokenPromiseError(AssertionError):
    """A checker fired."""

    def __init__(self, checker: str, rule: str, text: str) -> None:
        self.checker = checker
        self.rule = rule
        super().__init__(f"{checker}: {rule}: {text}")


class Seen:
    """One message on the wire, read once for all checkers; what is no Sparkplug payload is a broken promise already."""

    tck_ids = (
        "tck-id-message-flow-edge-node-birth-publish-nbirth-payload",
        "tck-id-message-flow-device-birth-publish-dbirth-payload",
    )
    __slots__ = ("device", "kind", "message", "node", "payload", "topic")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.topic = message.topic
        levels = message.topic.split("/")
        self.kind, self.node, self.device = "", "", None
        self.payload: Any = None
        if levels[0] == "spBv1.0":
            if levels[1] == "STATE":
                self.kind, self.payload = "STATE", json.loads(message.payload)
            else:
                self.kind, self.node = levels[2], f"{levels[1]}/{levels[3]}"
                self.device = levels[4] if len(levels) > 4 else None
                try:
                    self.payload = Payload.FromString(message.payload)
                except DecodeError as error:
                    rule = "tck-id-message-flow-edge-node-birth-publish-nbirth-payload"
                    raise BrokenPromiseError("Seen", rule, f"{message.topic}: {error}") from error
        elif levels[1] in ("_mark", "_confirm"):
            self.kind, self.node = levels[1], "/".join(levels[2:])
            self.payload = json.loads(message.payload)

    @property
    def where(self) -> str:
        return self.topic


class Checker:
    """Base: sees everything, says nothing."""

    tck_ids: ClassVar[tuple[str, ...]] = ()

    def on_connect(self, connection: Connection, now_ns: int) -> None: ...
    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None: ...
    def on_granted(self, connection: Connection) -> None: ...
    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None: ...
    def on_disconnect(self, connection: Connection, now_ns: int) -> None: ...
    def on_deliver(self, connection: Connection, message: Message) -> None: ...

    def require(self, condition: object, rule: str, text: str) -> None:
        if not condition:
            raise BrokenPromiseError(type(self).__name__, rule, text)


def will_of(connection: Connection) -> Message:
    """The will; a checker asks only where there has to be one."""
    if connection.will is None:
        raise BrokenPromiseError("will", "every CONNECT carries a will", connection.client_id)
    return connection.will


def is_edge(connection: Connection) -> bool:
    """One of ours; somebody else in its name promises nothing."""
    return connection.will is not None and "/NDEATH/" in connection.will.topic and not connection.foreign


def is_host(connection: Connection) -> bool:
    return connection.will is not None and "/STATE/" in connection.will.topic
