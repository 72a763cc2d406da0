"""Ticks, restatements and events as JSON. What is the same in every message of a kind is made once and spliced in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from uns.context.times import rfc3339, rfc3339_or_none
from uns.enrichment.intervals import ContextInterval
from uns.enrichment.records import Event
from uns.enrichment.samples import Provenance
from uns.enrichment.values import json_text
from uns.namespace.model import Equipment

__all__ = ["Documents", "chunks"]

PREFIXES_MAX = 16  # beginnings of ticks that are kept: live values and history use a few intervals at a time
SOURCES_MAX = 64

_encoder = msgspec.json.Encoder()


class Documents:
    """Writes the documents of one equipment."""

    __slots__ = ("_about", "_enterprise", "_equipment", "_path", "_prefixes", "_sources")

    def __init__(self, enterprise: str, equipment: Equipment) -> None:
        self._enterprise = enterprise
        self._equipment = equipment.id
        self._path = equipment.path_text
        self._about = (
            f'"enterprise":{json_text(enterprise)},"equipment":{json_text(equipment.id)},'
            f'"path":{json_text(equipment.path_text)}'
        )
        self._prefixes: dict[int, str] = {}  # by log position of the interval
        self._sources: dict[tuple[str, str, str | None], str] = {}

    def tick_prefix(self, interval: ContextInterval) -> str:
        """A tick up to its first sample; of the last few intervals it is kept."""
        prefix = self._prefixes.get(interval.position)
        if prefix is None:
            prefix = (
                f'{{"schema":"uns1.tick/1",{self._about},"rev":{interval.rev},"context":{interval.text},"samples":['
            )
            if len(self._prefixes) >= PREFIXES_MAX:
                self._prefixes.clear()
            self._prefixes[interval.position] = prefix
        return prefix

    def source(self, provenance: Provenance) -> str:
        """The ``source`` of a tick with the key before it."""
        key = (provenance.group_id, provenance.edge_node_id, provenance.device_id)
        head = self._sources.get(key)
        if head is None:
            device = "" if key[2] is None else f'"device_id":{json_text(key[2])},'
            head = f'],"source":{{"group_id":{json_text(key[0])},"edge_node_id":{json_text(key[1])},{device}"bd_seq":'
            if len(self._sources) >= SOURCES_MAX:
                self._sources.clear()
            self._sources[key] = head
        historical = "true" if provenance.historical else "false"
        return (
            f'{head}{provenance.bd_seq},"seq":{provenance.seq},"historical":{historical},'
            f'"received_at":"{rfc3339(provenance.received_at_ns)}"}},"log":{{"after":'
        )

    def tick(self, interval: ContextInterval, parts: Sequence[str], source: str, log: tuple[int, int, int]) -> bytes:
        """A whole tick; ``log`` is (after, from, to)."""
        after, first, last = log
        return (f'{self.tick_prefix(interval)}{",".join(parts)}{source}{after},"from":{first},"to":{last}}}}}').encode()

    def restatement(
        self, old: ContextInterval, new: ContextInterval, *, samples: int, log: tuple[int, int, int]
    ) -> bytes:
        """What changed over one interval whose samples were published with another context."""
        after, first, last = log
        return (
            f'{{"schema":"uns1.restatement/1",{self._about},"from":{_time_or_null(new.from_ns)},'
            f'"to":{_time_or_null(new.to_ns)},"rev":{new.rev},"old":{old.text},"new":{new.text},'
            f'"reason":{json_text(new.reason)},"samples":{samples},'
            f'"log":{{"after":{after},"from":{first},"to":{last}}}}}'
        ).encode()

    def unresolved(self, interval: ContextInterval, *, samples: int, now_ns: int) -> bytes:
        """Samples were recorded whose context is not known."""
        return self.event(
            Event(
                type="unresolved",
                enterprise=self._enterprise,
                equipment=self._equipment,
                path=self._path,
                time=rfc3339(now_ns),
                from_time=rfc3339_or_none(interval.from_ns),
                to_time=rfc3339_or_none(interval.to_ns),
                samples=samples,
                missing=interval.body.missing,
                what="samples without the context that their class requires",
            )
        )

    def blank_event(self, event_type: str, now_ns: int) -> Event:
        """An event with the fields that all have; the caller replaces what it knows."""
        return msgspec.convert(
            {
                "schema": "uns1.event/1",
                "type": event_type,
                "enterprise": self._enterprise,
                "equipment": self._equipment,
                "path": self._path,
                "time": rfc3339(now_ns),
            },
            Event,
        )

    @staticmethod
    def event(event: Event) -> bytes:
        """An event as JSON."""
        return _encoder.encode(event)


def chunks(parts: Sequence[str], bytes_max: int) -> list[tuple[int, int]]:
    """Cut samples into runs of at most ``bytes_max``; one sample that is larger alone stays whole."""
    found: list[tuple[int, int]] = []
    first, size = 0, 0
    for at, part in enumerate(parts):
        length = len(part.encode()) + 1
        if at > first and size + length > bytes_max:
            found.append((first, at))
            first, size = at, 0
        size += length
    found.append((first, len(parts)))
    return found


def _time_or_null(ns: int) -> str:
    text = rfc3339_or_none(ns)
    return "null" if text is None else f'"{text}"'
