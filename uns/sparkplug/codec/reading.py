"""Payloads as the sessions need them: births, data as columns, deaths, commands."""

from __future__ import annotations

import re

import msgspec

from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec.parsing import (
    DEFAULT_LENIENCY,
    NAME_BYTES_MAX,
    NANOSECONDS,
    TIMESTAMP_MS_MAX,
    Leniency,
    Payload,
    PlainData,
    Reading,
    Rejected,
    check_bounds,
    checked_time,
    parse,
    parse_checked,
    parse_plain,
    seq_of,
    time_of,
)
from uns.sparkplug.codec.reading_values import (
    read_birth_metric,
    read_integer,
    read_metadata,
    read_properties,
    read_value,
    written_integer,
)
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import (
    BD_SEQ,
    REBIRTH,
    SESSION_METRIC,
    BirthMetric,
    BirthPayload,
    CommandPayload,
    DataPayload,
    MetaData,
    MetricBinding,
    MetricValue,
    PropertyContent,
    RejectedMetric,
    RejectReason,
)

__all__ = [
    "DEATH_LENIENCY",
    "decode_birth",
    "decode_command",
    "decode_data",
    "decode_death",
    "decode_seq",
    "resolve",
]

_BD_SEQ_MASK = (1 << 63) - 1  # it is compared only, and logs keep it in a signed column
DEATH_LENIENCY = Leniency(inflate_bytes_max=1 << 16)  # whoever compresses an NDEATH is believed to be dead all the same
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def decode_birth(payload: bytes, leniency: Leniency = DEFAULT_LENIENCY) -> BirthPayload:
    """Read an NBIRTH or DBIRTH."""
    check_bounds(payload)
    notes: dict[str, int] = {}
    message = parse_checked(payload, leniency, notes)
    payload_time = time_of(message, leniency)
    birth = BirthPayload(timestamp_ms=payload_time, seq=seq_of(message), metrics=[], rejected=[])
    reading = Reading(leniency, payload_time)
    reading.notes = notes
    if message.timestamp > TIMESTAMP_MS_MAX and payload_time is not None:
        reading.forgive(NANOSECONDS)
    if payload_time is None:
        reading.forgive("tck-id-payloads-nbirth-timestamp")
    metrics = birth.metrics
    names: set[str] = set()
    aliases: dict[int, int] = {}  # alias to the first metric that has it
    shared: set[int] = set()
    for wire in message.metrics:
        try:
            metric = read_birth_metric(wire, reading, payload_time)
        except Rejected as rejection:
            birth.rejected.append(_rejected(wire, rejection.reason))
            continue
        name = metric.name
        if name in names:
            birth.rejected.append(_rejected(wire, "unknown_metric"))
            reading.forgive("tck-id-topics-nbirth-metrics")
            continue
        names.add(name)
        if not 0 < wire.timestamp <= TIMESTAMP_MS_MAX:
            reading.forgive("tck-id-payloads-metric-timestamp-in-UTC")
        if metric.alias is not None and aliases.setdefault(metric.alias, len(metrics)) != len(metrics):
            shared.add(metric.alias)
        metrics.append(metric)
        if name in _OF_THE_SESSION:
            _note_session(birth, metric)
    if shared:
        _drop_shared_aliases(birth, shared)
        reading.forgive("tck-id-payloads-alias-uniqueness")
    birth.warnings = tuple(what for what in reading.notes if what.startswith("tck-id-"))
    birth.leniencies = {what: count for what, count in reading.notes.items() if not what.startswith("tck-id-")}
    return birth


_OF_THE_SESSION = frozenset({BD_SEQ, SESSION_METRIC})


def _note_session(birth: BirthPayload, metric: BirthMetric) -> None:
    # bdSeq is compared for equality only: peers send it as Int64, UInt64 or narrower, and up to 256.
    if metric.name == BD_SEQ and isinstance(metric.value, int):
        birth.bd_seq = metric.value & _BD_SEQ_MASK
    elif metric.name == SESSION_METRIC and isinstance(metric.value, str) and _SESSION_ID.fullmatch(metric.value):
        birth.session_id = metric.value


def _drop_shared_aliases(birth: BirthPayload, shared: set[int]) -> None:
    """An alias that two metrics share says nothing: neither keeps it, and data under it is rejected."""
    for index, metric in enumerate(birth.metrics):
        if metric.alias in shared:
            birth.metrics[index] = msgspec.structs.replace(metric, alias=None)
    birth.rejected += [RejectedMetric(f"alias {alias}", None, "unknown_metric", alias=alias) for alias in shared]


def decode_data(payload: bytes, table: AliasTable, leniency: Leniency = DEFAULT_LENIENCY) -> DataPayload:
    """Read an NDATA or DDATA with the alias table of its birth."""
    check_bounds(payload)
    if len(payload) >= _PLAIN_BYTES_MIN and (plain := parse_plain(payload)) is not None:
        found = _plain_data(plain, payload, table)
        if found is not None:
            return found
    notes: dict[str, int] = {}
    data = _any_data(parse_checked(payload, leniency, notes), table, leniency)
    data.leniencies.update(notes)
    return data


_PLAIN_BYTES_MIN = 100  # half a dozen metrics: for fewer the second schema costs more than it spares


def _plain_data(  # noqa: C901  # hot: calls cost most
    message: PlainData, payload: bytes, table: AliasTable
) -> DataPayload | None:
    """DATA of alias, timestamp and scalar alone, which is most DATA; None where one of them needs a longer look."""
    by_alias = table.by_alias
    if 0 in by_alias:
        return None  # alias 0 and none look alike here
    wires = list(message.metrics)
    try:
        bindings = [by_alias[wire.alias] for wire in wires]
        values: list[MetricValue] = [
            getattr(wire, binding.value_field) for wire, binding in zip(wires, bindings, strict=True)
        ]
        for index, (value, binding) in enumerate(zip(values, bindings, strict=True)):
            if not value:
                if not wires[index].HasField(binding.value_field):  # type: ignore[arg-type]
                    return None
            elif (limit := binding.limit) is not None:
                if value >= limit:  # type: ignore[operator]  # an integer, or there were no limit
                    values[index] = written_integer(value, binding.datatype)
            elif type(value) is bytes:
                return None  # text that is not UTF-8
    except (KeyError, AttributeError, ValueError):
        return None  # an alias that the birth did not give; a value that is more than a scalar; a number out of range
    times_ms = [wire.timestamp for wire in wires]
    if times_ms and not 0 < min(times_ms) <= max(times_ms) <= TIMESTAMP_MS_MAX:
        return None
    timestamp_ms = message.timestamp
    if timestamp_ms > TIMESTAMP_MS_MAX:
        return None
    return DataPayload(
        timestamp_ms=timestamp_ms if timestamp_ms or message.HasField("timestamp") else None,
        seq=seq_of(message),
        bindings=bindings,
        values=values,
        times_ms=times_ms,
        is_historical=_historical(wires) if _HISTORICAL in payload else None,
    )


_HISTORICAL = b"\x28\x01"  # is_historical = true; that may also stand elsewhere


def _historical(wires: list[PlainData.Metric]) -> list[bool] | None:
    found = [wire.is_historical for wire in wires]
    return found if True in found else None


def _any_data(  # noqa: C901, PLR0912  # hot: calls cost most
    message: Payload, table: AliasTable, leniency: Leniency
) -> DataPayload:
    payload_time = time_of(message, leniency)
    by_alias = table.by_alias
    bindings: list[MetricBinding] = []
    values: list[MetricValue] = []
    times_ms: list[int] = []
    historical: list[bool] | None = None
    properties: dict[int, dict[str, PropertyContent]] = {}
    metadata: dict[int, MetaData] = {}
    rejected: list[RejectedMetric] = []
    reading: Reading | None = None
    for wire in message.metrics:
        try:
            alias = wire.alias
            binding = by_alias.get(alias) if alias else None
            if binding is None or ((told := wire.datatype) and told != binding.datatype) or wire.name:
                binding = resolve(wire, table)
            value: MetricValue = getattr(wire, binding.probe_field)
            if not value or wire.is_null:
                reading = reading or Reading(leniency, payload_time)
                value = read_value(wire, binding.datatype, reading, binding.members)
            elif (limit := binding.limit) is not None:
                if value >= limit:  # type: ignore[operator]  # an integer, or there were no limit
                    reading = reading or Reading(leniency, payload_time)
                    value = read_integer(value, binding.datatype, reading)
            elif type(value) is bytes and binding.datatype != DataType.BYTES:
                raise Rejected("wrong_type")  # noqa: TRY301  # text that is not UTF-8
            time_ms = wire.timestamp
            if not 0 < time_ms <= TIMESTAMP_MS_MAX:
                time_ms = _second_time(wire, payload_time, leniency)
            if binding.may_have_parts and wire.HasField("metadata"):
                metadata[len(values)] = read_metadata(wire.metadata)
            if wire.HasField("properties"):
                reading = reading or Reading(leniency, payload_time)
                found = read_properties(wire.properties, reading)
                properties[len(values)] = {one.key: one.value for one in found}
        except Rejected as rejection:
            rejected.append(_rejected(wire, rejection.reason, table))
            metadata.pop(len(values), None)
            continue
        if wire.is_historical:
            if historical is None:
                historical = [False] * len(values)
            historical.append(True)
        elif historical is not None:
            historical.append(False)
        bindings.append(binding)
        values.append(value)
        times_ms.append(time_ms)
    if (form := _other_form(message, payload_time)) is not None:
        reading = reading or Reading(leniency, payload_time)
        reading.forgive(form)
    return DataPayload(
        timestamp_ms=payload_time,
        seq=seq_of(message),
        bindings=bindings,
        values=values,
        times_ms=times_ms,
        is_historical=historical,
        properties=properties,
        metadata=metadata,
        rejected=rejected,
        leniencies={} if reading is None else reading.notes,
    )


def _other_form(message: Payload, payload_time: int | None) -> str | None:
    """How DATA is written otherwise than it should; the first metric tells, for peers write all of them alike."""
    if message.timestamp > TIMESTAMP_MS_MAX and payload_time is not None:
        return NANOSECONDS
    if not message.metrics:
        return None
    first = message.metrics[0]
    if first.name and first.HasField("alias"):
        return "name_beside_alias"
    return "datatype_in_data" if first.datatype else None


def decode_death(payload: bytes) -> int | None:
    """The bdSeq of an NDEATH, or None where it has none. It is read by :data:`DEATH_LENIENCY`."""
    for wire in parse(payload, DEATH_LENIENCY).metrics:
        if wire.name == BD_SEQ:
            which = wire.WhichOneof("value")
            return int(getattr(wire, which)) & _BD_SEQ_MASK if which in {"int_value", "long_value"} else None
    return None


def decode_seq(payload: bytes, leniency: Leniency = DEFAULT_LENIENCY) -> tuple[int | None, int | None]:
    """Timestamp and seq of a message whose metrics do not matter (DDEATH)."""
    message = parse(payload, leniency)
    return time_of(message, leniency), seq_of(message)


def decode_command(payload: bytes, table: AliasTable) -> CommandPayload:
    """Read an NCMD or DCMD; names and types come from the birth that ``table`` was built of."""
    message = parse(payload)
    reading = Reading(DEFAULT_LENIENCY, None)
    command = CommandPayload(timestamp_ms=time_of(message, DEFAULT_LENIENCY), metrics=[], rejected=[])
    for wire in message.metrics:
        try:
            command.metrics.append(_command_metric(wire, table, reading))
        except Rejected as rejection:
            command.rejected.append(_rejected(wire, rejection.reason, table))
    command.leniencies = reading.notes
    return command


def _command_metric(wire: Payload.Metric, table: AliasTable, reading: Reading) -> BirthMetric:
    members = None
    if wire.name == REBIRTH:  # by name, always, and before any birth as well
        name, datatype, alias = REBIRTH, DataType.BOOLEAN, None
    else:
        binding = resolve(wire, table)
        name, datatype, alias, members = binding.name, binding.datatype, binding.alias, binding.members
    return BirthMetric(
        name=name,
        datatype=datatype,
        value=read_value(wire, datatype, reading, members),
        timestamp_ms=wire.timestamp if wire.HasField("timestamp") else None,
        alias=alias,
        metadata=read_metadata(wire.metadata) if wire.HasField("metadata") else None,
    )


def resolve(wire: Payload.Metric, table: AliasTable) -> MetricBinding:
    """The metric meant by alias, name or both; with what the peer repeats of its birth checked against it."""
    key: int | str | None = None
    binding = None
    if wire.HasField("alias"):
        key = wire.alias
        binding = table.by_alias.get(key)
    if wire.name:
        named = table.by_name.get(wire.name)
        if binding is not None and binding is not named:
            raise Rejected("unknown_metric")  # alias and name contradict: the birth held is not the sender's
        # A name that the birth gave another alias contradicts it just so.
        if key is not None and named is not None and named.alias is not None and named.alias != key:
            raise Rejected("unknown_metric")
        binding = named
        if key is None or key not in table.refused:
            key = wire.name
    if binding is None:
        raise Rejected(table.refused.get(key, "unknown_metric") if key is not None else "unknown_metric")
    if wire.datatype and wire.datatype != binding.datatype:
        raise Rejected("wrong_type")
    return binding


def _second_time(wire: Payload.Metric, payload_time: int | None, leniency: Leniency) -> int:
    """The time of a metric whose timestamp is 0, absent or out of range. Absent: the payload's, and never now."""
    if wire.HasField("timestamp"):
        return checked_time(wire.timestamp, leniency)
    if payload_time is None:
        raise Rejected("no_timestamp")
    return payload_time


def _rejected(wire: Payload.Metric, reason: RejectReason, table: AliasTable | None = None) -> RejectedMetric:
    alias = wire.alias if wire.HasField("alias") else None
    name = wire.name if isinstance(wire.name, str) and len(wire.name) <= NAME_BYTES_MAX else ""
    if not name and table is not None and alias is not None and (binding := table.by_alias.get(alias)) is not None:
        name = binding.name
    time_ms = wire.timestamp if wire.HasField("timestamp") and wire.timestamp <= TIMESTAMP_MS_MAX else None
    return RejectedMetric(name or f"alias {alias}", time_ms, reason, wire.SerializeToString(), alias)
