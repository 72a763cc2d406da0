"""What a running host answers of the namespace and of records: what there is, what happens, the story of one."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from uns.adapters.http import NotFoundError
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.adapters.sqlite.record_queries import FactMessage, StoredRecord
from uns.context.facts import Fact
from uns.context.levels import fact_name
from uns.context.records import JobResponse
from uns.context.times import MAX_NS, MIN_NS, rfc3339
from uns.enrichment.plan import OutboxMessage
from uns.enrichment.values import float32_text
from uns.errors import ConfigurationError
from uns.namespace.model import Equipment
from uns.namespace.units import symbol_of
from uns.runtime.explain_order import Explanation, explain_order
from uns.runtime.sentence import equipment_name, local_time
from uns.sparkplug.datatypes import DataType

if TYPE_CHECKING:
    from uns.runtime.host.process import Host

__all__ = ["HostApi"]

Query = Mapping[str, str]

WATCH_MESSAGES_MAX = 1_000  # that wait for one watcher; beyond, the oldest go and are counted
_CONTEXT_BYTES_LOOKED_AT = 400
_FACTS_LOOKED_AT_MAX = 10_000
_tick_decoder = msgspec.json.Decoder(dict[str, Any])


class HostApi:
    """Answers over one :class:`Host`. Questions to the logs run in their threads."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.answers = {
            "/ls": self.ls,
            "/get": self.get,
            "/explain": self.explain,
            "/facts": self.facts,
            "/tick": self.tick,
        }
        self._tick: OutboxMessage | None = None
        self._resolved_tick: OutboxMessage | None = None
        host.output.listeners.append(self._keep_tick)
        self.streams = {"/watch": self.watch}

    # --- the namespace -------------------------------------------------------------------------------------------

    async def ls(self, query: Query) -> dict[str, Any]:
        """What lies under a place: equipment below it, metrics of it."""
        place = self._place(query.get("path", ""))
        tree = self._host.tree
        below: dict[str, dict[str, Any]] = {}
        for equipment in tree.equipment.values():
            if equipment.path[: len(place)] == place and len(equipment.path) > len(place):
                name = equipment.path[len(place)]
                entry = below.setdefault(name, {"name": name, "path": "/".join((*place, name)), "equipment": 0})
                entry["equipment"] += 1
                if len(equipment.path) == len(place) + 1:
                    entry |= {"id": equipment.id, "level": equipment.level.value, "class": equipment.class_name}
        here = next((e for e in tree.equipment.values() if e.path == place), None)
        return {
            "path": "/".join(place),
            "equipment": None if here is None else here.id,
            "children": list(below.values()),
            "metrics": [] if here is None else await self._metrics_of(here),
        }

    async def get(self, query: Query) -> dict[str, Any]:
        """The newest record of a metric, or of all metrics of an equipment; ``at`` looks into the past."""
        equipment, metric = self._target(query.get("path", ""))
        at = query.get("at")
        at_ns = None if at is None else _parse_time(at)
        if metric is None:
            return {
                "equipment": equipment.id,
                "path": equipment.path_text,
                "metrics": await self._metrics_of(equipment, at_ns=at_ns),
            }
        host = self._host
        record = await host.in_queries(lambda: host.queries.newest(equipment.id, metric, at_ns=at_ns))
        if record is None:
            when = "" if at is None else f" at or before {at}"
            raise NotFoundError(
                f"no record of {equipment.id}/{metric}{when}", next_step="`uns host status` shows what arrives"
            )
        return self._shown(record)

    async def explain(self, query: Query) -> dict[str, Any]:
        """The whole story of one record, or the quantities of an order and the samples behind them.

        Of a record: the sentence, the way it came, who said what and when that was known.
        """
        path = query.get("path", "")
        if query.keys() & {"quantity", "published"}:
            return await self._explain_order(path, query)
        try:
            equipment, metric = self._target(path)
        except NotFoundError:
            return await self._explain_order(path, query)
        if metric is None:
            raise NotFoundError(
                f"{equipment.id} is an equipment",
                next_step=f"name a metric of it: {', '.join(self._metric_names(equipment)[:5]) or 'it has none'}",
            )
        at_ns = _parse_time(query["at"]) if "at" in query else None
        host = self._host
        queries = host.queries
        record = await host.in_queries(lambda: queries.newest(equipment.id, metric, at_ns=at_ns))
        if record is None:
            raise NotFoundError(
                f"no record of {equipment.id}/{metric}" + (f" at or before {query['at']}" if at_ns is not None else ""),
                next_step="`uns get` shows the newest ones",
            )
        address = await host.in_queries(lambda: queries.address(record))
        revisions = await host.in_queries(
            lambda: queries.revisions(equipment.id, record.source_time_ns, since_ns=record.recorded_at_ns)
        )
        context = msgspec.json.decode(record.context)
        facts = [await self._fact(str(ref), equipment.id) for ref in context.get("facts", ())]
        return {
            "sentence": self._sentence(record, context),
            "record": self._shown(record),
            "way": {
                "gateway": record.edge_node_id,
                "group_id": record.group_id,
                "device_id": record.device_id,
                "session": record.session or None,
                "bd_seq": record.bd_seq,
                "seq": record.seq,
                "historical": record.historical,
                "source_address": address,
                "time_source": record.time_source,
                "received_at": rfc3339(record.received_at_ns),
                "recorded_at": rfc3339(record.recorded_at_ns),
                "log_position": record.position,
            },
            "facts": facts,
            "revisions": [
                {
                    "rev": revision.rev,
                    "from": _end(revision.from_ns),
                    "to": _end(revision.to_ns),
                    "known_from": rfc3339(revision.known_from_ns),
                    "known_to": _end(revision.known_to_ns),
                    "status": revision.status,
                    "work_order": revision.work_order,
                    "reason": revision.reason,
                    "context": msgspec.json.decode(revision.context),
                }
                for revision in revisions
            ],
        }

    async def _explain_order(self, name: str, query: Query) -> dict[str, Any]:
        host = self._host
        told = query.get("published")
        try:
            published = None if told is None else msgspec.json.decode(told, type=JobResponse)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"published cannot be read: {error}", expected="a uns1.job_response/1") from error

        def look() -> Explanation | None:
            with contextlib.closing(RecordCursor(host.records.path)) as cursor:
                return explain_order(host.tree, cursor, name, quantity=query.get("quantity"), published=published)

        found = await host.in_queries(look)
        if found is None:
            raise NotFoundError(
                f"no equipment, metric, work order or job {name!r}",
                next_step="`uns ls` shows the equipment; an order is known once a job of it ran",
            )
        return {"order": found}

    async def facts(self, query: Query) -> dict[str, Any]:
        """Accepted fact messages, newest knowledge first."""
        equipment = query.get("equipment")
        kind = query.get("kind")
        limit = query.get("limit", "1000")
        if not limit.isdecimal():
            raise ConfigurationError(f"limit {limit!r} is no number")
        found = await self._host.in_queries(
            lambda: self._host.queries.facts(equipment=equipment, kind=kind, limit=min(int(limit), 10_000))
        )
        return {"facts": [_shown_fact(fact) for fact in found]}

    async def watch(self, query: Query) -> AsyncGenerator[Any, None]:
        """Samples as they are recorded, one line each, under a place."""
        path = query.get("path", "")
        equipment, metric = (None, None) if not path else self._watched(path)
        waiting: asyncio.Queue[OutboxMessage] = asyncio.Queue(WATCH_MESSAGES_MAX)
        dropped = 0

        def listen(messages: Sequence[OutboxMessage]) -> None:
            nonlocal dropped
            for message in messages:
                if "/_data/" not in message.topic:
                    continue
                if waiting.full():
                    waiting.get_nowait()
                    dropped += 1
                waiting.put_nowait(message)

        self._host.output.listeners.append(listen)
        try:
            yield {"watching": path or self._host.tree.enterprise}
            while True:
                tick = _tick_decoder.decode((await waiting.get()).payload)
                if equipment is not None and tick["equipment"] not in equipment:
                    continue
                if dropped:
                    yield {"dropped_messages": dropped}
                    dropped = 0
                for sample in tick["samples"]:
                    if metric is None or sample["metric"] == metric:
                        yield {"equipment": tick["equipment"], **sample, "context": tick["context"], "rev": tick["rev"]}
        finally:
            with contextlib.suppress(ValueError):
                self._host.output.listeners.remove(listen)

    async def tick(self, _query: Query) -> dict[str, Any]:
        """An example: the newest resolved tick since the start, else the newest."""
        message = self._resolved_tick or self._tick
        if message is None:
            raise NotFoundError(
                "no tick since the start of this host", next_step="`uns host status` shows what arrives"
            )
        return {"topic": message.topic, "tick": _tick_decoder.decode(message.payload)}

    def _keep_tick(self, messages: Sequence[OutboxMessage]) -> None:
        for message in reversed(messages):
            if "/_data/" in message.topic:
                self._tick = message
                if b'"status":"resolved"' in message.payload[:_CONTEXT_BYTES_LOOKED_AT]:
                    self._resolved_tick = message
                return

    # --- helpers -------------------------------------------------------------------------------------------------

    def _place(self, path: str) -> tuple[str, ...]:
        place = tuple(level for level in path.split("/") if level)
        tree = self._host.tree
        if len(place) == 1 and (equipment := tree.equipment.get(place[0])) is not None:
            return equipment.path
        if not place:
            return (tree.enterprise,)
        if not any(equipment.path[: len(place)] == place for equipment in tree.equipment.values()):
            raise NotFoundError(f"the tree has no place {path!r}", next_step="`uns ls` shows what there is")
        return place

    def _target(self, path: str) -> tuple[Equipment, str | None]:
        """Equipment, or equipment and metric: by id (``reactor4/batch/count``) or by whole path."""
        tree = self._host.tree
        levels = [level for level in path.split("/") if level]
        if levels and (equipment := tree.equipment.get(levels[0])) is not None:
            return self._with_metric(equipment, levels[1:])
        for equipment in tree.equipment.values():
            size = len(equipment.path)
            if tuple(levels[:size]) == equipment.path and "/".join(levels[size:]) in {
                "",
                *self._metric_names(equipment),
            }:
                return self._with_metric(equipment, levels[size:])
        raise NotFoundError(
            f"no equipment or metric {path!r}",
            next_step="write EQUIPMENT or EQUIPMENT/METRIC; `uns ls` shows what there is",
        )

    def _with_metric(self, equipment: Equipment, rest: Sequence[str]) -> tuple[Equipment, str | None]:
        if not rest:
            return equipment, None
        metric = "/".join(rest)
        if metric not in self._metric_names(equipment):
            raise NotFoundError(
                f"{equipment.id} has no metric {metric!r}",
                next_step=f"it has: {', '.join(self._metric_names(equipment)) or 'none'}",
            )
        return equipment, metric

    def _watched(self, path: str) -> tuple[set[str], str | None]:
        with contextlib.suppress(NotFoundError):
            equipment, metric = self._target(path)
            if metric is not None:
                return {equipment.id}, metric
        place = self._place(path)
        return {e.id for e in self._host.tree.equipment.values() if e.path[: len(place)] == place}, None

    def _metric_names(self, equipment: Equipment) -> list[str]:
        equipment_class = self._host.tree.class_of(equipment.id)
        return [] if equipment_class is None else list(equipment_class.metrics)

    async def _metrics_of(self, equipment: Equipment, *, at_ns: int | None = None) -> list[dict[str, Any]]:
        found = []
        host = self._host
        equipment_class = host.tree.class_of(equipment.id)
        for contract in () if equipment_class is None else equipment_class.metrics.values():
            name = contract.name
            record = await host.in_queries(lambda name=name: host.queries.newest(equipment.id, name, at_ns=at_ns))  # type: ignore[misc]
            entry: dict[str, Any] = {"metric": name, "type": contract.datatype.label, "unit": contract.unit}
            if record is not None:
                entry |= self._shown(record)
            found.append(entry)
        return found

    def _shown(self, record: StoredRecord) -> dict[str, Any]:
        special = isinstance(record.value, float) and record.value - record.value != 0.0
        value: Any = record.value
        if special:
            value = None
        elif record.type == DataType.FLOAT.label and isinstance(value, float):
            value = float(float32_text(value))  # as it was said, not with the digits of a 64-bit float
        elif record.type in {"Int64", "UInt64"} and value is not None:
            value = str(value)
        elif record.type == "DateTime" and isinstance(value, int):
            value = rfc3339(value * 1_000_000)
        shown: dict[str, Any] = {
            "equipment": record.equipment,
            "metric": record.metric,
            "value": value,
            "type": record.type,
            "unit": record.unit,
            "unit_symbol": symbol_of(record.unit) if record.unit else None,
            "time": rfc3339(record.source_time_ns),
            "ordinal": record.ordinal,
            "quality": record.quality,
            "status_code": record.status_code,
            "clock_suspect": record.clock_suspect,
            "context": msgspec.json.decode(record.context),
            "rev": record.rev,
        }
        if special and isinstance(record.value, float):
            shown["special"] = "NaN" if math.isnan(record.value) else "Infinity" if record.value > 0 else "-Infinity"
        return shown

    def _sentence(self, record: StoredRecord, context: Mapping[str, Any]) -> str:
        host = self._host
        site = host.tree.equipment[record.equipment].site
        clock, day = local_time(record.source_time_ns, host.tree.sites[site].time_zone)
        shown = self._shown(record)
        reading = "null" if record.value is None else str(shown.get("special", shown["value"]))
        symbol = symbol_of(record.unit) if record.unit else ""
        text = f"{reading}{f' {symbol}' if symbol else ''} was read on {equipment_name(record.equipment)}"
        if context.get("work_order"):
            text += f", during Work Order {context['work_order']}"
        if context.get("lots"):
            text += f", producing Lot {' and '.join(context['lots'])}"
        text += f", at {clock} on {day}."
        match context.get("status"):
            case "unassigned":
                text += " No order was running."
            case "unresolved":
                missing = ", ".join(context.get("missing", ())) or "context"
                text += f" What it belongs to is not known: {missing} is missing."
            case _:
                pass
        return text

    async def _fact(self, ref: str, equipment: str) -> dict[str, Any]:
        """What a context names as ``kind:name@source_rev``: the fact message, or what the PLC said and since when."""
        kind, _, rest = ref.partition(":")
        name, _, said = rest.rpartition("@")
        source_rev, _, since = said.partition(":")
        if since:
            definition, _, source = source_rev.rpartition("/")
            told: dict[str, Any] = {"ref": ref, "kind": kind, "name": name, "source": source, "since": since}
            return told | ({"definition_source_rev": definition} if definition else {})
        host = self._host
        lineage = {above.id for above in host.tree.lineage(equipment)}
        for found in await host.in_queries(lambda: host.queries.facts(kind=kind, limit=_FACTS_LOOKED_AT_MAX)):
            if found.source_rev == source_rev and found.equipment in lineage:
                fact = msgspec.json.decode(found.fact, type=Fact)
                if fact_name(fact) == name or (kind == "job" and name == "idle" and fact.job_order is None):
                    return {"ref": ref, **_shown_fact(found)}
        return {"ref": ref, "kind": kind, "name": name, "source_rev": source_rev}


def _shown_fact(fact: FactMessage) -> dict[str, Any]:
    return {
        "source": fact.source,
        "id": fact.id,
        "source_rev": fact.source_rev,
        "rev": fact.rev,
        "kind": fact.kind,
        "equipment": fact.equipment,
        "action": fact.action,
        "known_at": rfc3339(fact.known_at_ns),
        "fact": {key: value for key, value in msgspec.json.decode(fact.fact).items() if value not in (None, "", False)},
    }


def _end(time: int) -> str | None:
    return None if time in {MIN_NS, MAX_NS} else rfc3339(time)


def _parse_time(text: str) -> int:
    """RFC 3339 with a zone, or seconds since 1970."""
    try:
        time_ns = _seconds_ns(text)
        if time_ns is None:
            time_ns = _moment_ns(text)
    except OverflowError:
        time_ns = MAX_NS
    if not MIN_NS < time_ns < MAX_NS:
        raise ConfigurationError(
            f"{text!r} is no time that a record can have",
            expected=f"one between {rfc3339(MIN_NS + 1)[:4]} and {rfc3339(MAX_NS - 1)[:4]}",
        )
    return time_ns


def _seconds_ns(text: str) -> int | None:
    """None where it is no number."""
    with contextlib.suppress(ValueError):
        return int(float(text) * 1_000_000_000)
    return None


def _moment_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no time", expected="RFC 3339, for example 2026-06-03T19:32:00Z"
        ) from error
    if moment.tzinfo is None:
        raise ConfigurationError(f"{text!r} has no zone", expected="an offset or Z at its end")
    whole = int(moment.astimezone(UTC).replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1_000
