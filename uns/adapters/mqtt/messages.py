"""What goes over a connection, in and out, as the rest of the house knows it."""

from __future__ import annotations

from typing import Protocol

import msgspec

__all__ = ["IncomingMessage", "Publication"]


class Publication(Protocol):
    """Anything with these four fields can be published (:class:`uns.sparkplug.messages.Message` is one)."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def payload(self) -> bytes: ...  # noqa: D102
    @property
    def qos(self) -> int: ...  # noqa: D102
    @property
    def retain(self) -> bool: ...  # noqa: D102


class IncomingMessage(msgspec.Struct, frozen=True, gc=False):
    """A received message. ``mid`` serves :meth:`MqttConnection.ack` alone."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    mid: int = 0
