"""What travels through the host between its stages: received, logged raw, joined, recorded, published.

Receiver ──Group──▶ RawWriter ──items──▶ Joiner ──messages──▶ Output
"""

from __future__ import annotations

import asyncio

import msgspec

from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.adapters.sqlite.record_log import AddressRow
from uns.context.facts import Fact, FactAnswer
from uns.delivery.messages import Confirm
from uns.runtime.host.intake import Work
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["AliveItem", "DeathItem", "FactItem", "Group", "Item", "WorkItem"]


class WorkItem(msgspec.Struct, gc=False):
    """A logged payload, to be joined."""

    position: int
    work: Work
    addresses: list[AddressRow] | None = None  # of a birth


class DeathItem(msgspec.Struct, frozen=True):
    """A logged death: what came that way is stale since then (an NDEATH: received, a DDEATH: its timestamp)."""

    position: int
    edge_node: EdgeNodeDescriptor
    device_id: str | None
    since_ns: int


class AliveItem(msgspec.Struct, frozen=True):
    """A session was named again whose births are held: its devices' values hold. Not a message, hence not logged."""

    edge_node: EdgeNodeDescriptor
    devices: tuple[str, ...]


Item = WorkItem | DeathItem | AliveItem


class FactItem(msgspec.Struct):
    """A fact that waits for its commit; ``done`` then carries the answer."""

    fact: Fact
    source_of_topic: str
    answer_topic: str
    done: asyncio.Future[FactAnswer]


class Group(msgspec.Struct, kw_only=True):
    """What was received together: one part of one commit of the raw log.

    ``epoch`` tells the times apart between which the delivery counts were forgotten: answers of an older one are void.
    """

    epoch: int
    messages: list[RawMessage] = []
    births: list[RawBirth] = []
    items: list[Item] = []
    answers: list[tuple[EdgeNodeDescriptor, Confirm]] = []
    counts: dict[tuple[str, str], int] = {}
    payload_bytes: int = 0

    def is_empty(self) -> bool:
        """Whether there is nothing to commit, nobody to answer and nothing to hand on."""
        return not (self.messages or self.answers or self.items)
