"""Samples that are no records, kept by key like records, so that a resend does not count them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from uns.enrichment.plan import UnrecordedRow
from uns.enrichment.samples import Provenance, RecordIndex, UnrecordedSample

__all__ = ["Unrecorded", "UnrecordedKind"]

UnrecordedKind = Literal["rejected", "unmapped"]

_Key = tuple[str, str, str, str, int]
RAW_BYTES_MAX = 4096  # kept of each such sample
_STEPS_MAX = 16  # ordinals looked at one after the other
_TAKEN = -1
_INT64_MAX = (1 << 63) - 1


class Unrecorded:
    """Tells new rejected and unmapped samples from ones that were kept before."""

    def __init__(self, index: RecordIndex) -> None:
        self._index = index
        self._pending: dict[_Key, dict[int, bytes]] = {}
        self._in_flight: dict[_Key, dict[int, bytes]] = {}

    def plan_started(self) -> None:
        """What is pending goes into flight."""
        self._in_flight, self._pending = self._pending, {}

    def committed(self) -> None:
        """What was in flight is in the index now."""
        self._in_flight = {}

    def receive(
        self, kind: UnrecordedKind, samples: Sequence[UnrecordedSample], provenance: Provenance, known_ns: int
    ) -> list[UnrecordedRow]:
        """The rows of those that are new."""
        rows: list[UnrecordedRow] = []
        places: dict[_Key, int] = {}
        device_id = provenance.device_id or ""
        for sample in samples:
            time_ns = 0 if sample.source_time_ns is None else sample.source_time_ns
            key = (provenance.group_id, provenance.edge_node_id, device_id, sample.metric, time_ns)
            place = places.get(key, 0)
            places[key] = place + 1
            raw = sample.raw[:RAW_BYTES_MAX]
            ordinal = self._settle(key, place if sample.ordinal is None else sample.ordinal, raw)
            if ordinal is not None:
                rows.append((kind, *key, ordinal, sample.reason, raw, known_ns))
        return rows

    def _settle(self, key: _Key, start: int, raw: bytes) -> int | None:
        """A free ordinal; None where the same stands at one that was looked at.

        From ``start`` on, but not far: payloads nobody can read all have one key, and a node may send them for ever.
        Then from where the content says, which is the same place for the same content.
        """
        ordinal = self._next_free(key, start, raw)
        if ordinal == _TAKEN:
            ordinal = self._next_free(key, _place_of(raw) + start, raw, steps_max=_INT64_MAX)
        if ordinal is not None:
            self._pending.setdefault(key, {})[ordinal] = raw
        return ordinal

    def _next_free(self, key: _Key, start: int, raw: bytes, *, steps_max: int = _STEPS_MAX) -> int | None:
        pending, in_flight = self._pending.get(key, {}), self._in_flight.get(key, {})
        stored: dict[int, bytes] = {}
        for step in range(steps_max):
            ordinal = start + step
            if step % _STEPS_MAX == 0:
                rows = self._index.unrecorded_at(*key, first=ordinal, limit=_STEPS_MAX)
                stored = {row.ordinal: row.raw for row in rows}
            table = next((table for table in (pending, in_flight, stored) if ordinal in table), None)
            if table is None:
                return ordinal
            if table[ordinal] == raw:
                return None
        return _TAKEN


def _place_of(raw: bytes) -> int:
    """An ordinal above all that a payload can say (UInt32) and places in it."""
    return (1 << 56) | int.from_bytes(hashlib.blake2b(raw, digest_size=7).digest())
