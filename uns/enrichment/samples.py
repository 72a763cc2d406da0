"""Samples on their way through the host: one payload at a time, as columns."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, Protocol

import msgspec

from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import Value

__all__ = [
    "Content",
    "Origin",
    "Provenance",
    "Quality",
    "RecordIndex",
    "SampleBatch",
    "StoredSample",
    "StoredUnrecorded",
    "UnrecordedSample",
]

Origin = Literal["data", "birth"]

Content = tuple[float | None, int | None, str | None, int, int]  # value columns, quality, status_code


class Quality(IntEnum):
    """Quality of a value, as records spell it in lower case; the numbers are those in the record store."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2
    STALE = 3

    @property
    def label(self) -> str:
        """``good``, ``uncertain``, ``bad`` or ``stale``."""
        return self.name.lower()


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """By which way a payload came. No part of a sample's identity."""

    group_id: str
    edge_node_id: str
    device_id: str | None
    session: str  # the node's uns/session, or "" for a foreign node
    bd_seq: int
    seq: int
    historical: bool
    received_at_ns: int
    raw_position: int  # row of the raw log


class SampleBatch(msgspec.Struct, kw_only=True):
    """The samples of one payload that belong to one equipment; the lists run in parallel.

    ``ordinals[i]`` is None where the payload does not say one (then the position among equal
    (metric, ms) counts). ``status_codes[i]`` is 0 for good.
    """

    equipment: str
    metrics: list[MetricContract]
    values: list[Value]
    times_ns: list[int]
    qualities: list[Quality] | None = None  # None: all good
    status_codes: list[int] | None = None
    ordinals: list[int | None] | None = None
    time_source: Literal["device", "server", "gateway"] = "device"
    origin: Origin = "data"
    ours: bool = True  # from a node of ours: a conflict is then worth an event
    provenance: Provenance


class StoredSample(msgspec.Struct, frozen=True):
    """What the record log holds at one (equipment, metric, source_time_ns): enough to tell a duplicate."""

    ordinal: int
    value: Value
    quality: Quality
    status_code: int


class UnrecordedSample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of a payload that cannot become a record: rejected by the codec, or of nothing the tree knows.

    ``raw`` is what there is of it: the metric's bytes, or the value as JSON.
    """

    metric: str
    source_time_ns: int | None  # None: it has no time
    ordinal: int | None = None
    reason: str
    raw: bytes = b""


class StoredUnrecorded(msgspec.Struct, frozen=True):
    """What the record log holds of unrecorded samples at one (node, device, metric, time)."""

    ordinal: int
    raw: bytes


class RecordIndex(Protocol):
    """Look-ups into the committed record log. The pipeline asks only where its own tables cannot tell."""

    def at(
        self, equipment: str, metric: str, source_time_ns: int, *, first: int = 0, limit: int | None = None
    ) -> list[StoredSample]:
        """Samples at that time with an ordinal from ``first`` on, by ordinal, the lowest ``limit`` of them."""
        ...

    def holds(
        self, equipment: str, metric: str, source_time_ns: int, content: Content, *, first: int, below: int
    ) -> bool:
        """Whether a sample of that content stands at that time, at an ordinal in [first, below)."""
        ...

    def count(self, equipment: str, from_ns: int, to_ns: int, *, foreign: bool = False) -> int:
        """How many samples of the equipment lie in [from, to); with ``foreign`` those of foreign nodes only."""
        ...

    def unrecorded_at(
        self,
        group_id: str,
        edge_node_id: str,
        device_id: str,
        metric: str,
        source_time_ns: int,
        *,
        first: int = 0,
        limit: int = 1_000,
    ) -> list[StoredUnrecorded]:
        """Rejected and unmapped samples at that time with an ordinal from ``first`` on, the lowest ``limit`` of them.

        ``device_id`` is "" for the node itself.
        """
        ...

    def holds_dropped(
        self, equipment: str, group_id: str, edge_node_id: str, *, from_ns: int, to_ns: int, samples: int
    ) -> bool:
        """Whether a ``dropped`` gap of these ends and so many samples is known."""
        ...
