"""The one seam to protobuf: Sparkplug B payloads to and from births, data columns, deaths and commands.

Theory. Presence counts in this schema (proto2): a value of 0 is written, a null has ``is_null`` and no value. Signed
integers travel as two's complement in unsigned fields. DATA names metrics by alias and leaves out their type, so it
can only be read with the alias table of its birth; that table also says which member of the oneof to read, which is
what makes reading fast: the generic "which member is set" costs more than all the rest together. A member that was not
set reads as its default, therefore a value that equals its default gets a second look.

Reading is lenient where peers are known to differ (UInt32 in ``long_value``, narrow signed integers in both forms,
datatype or name repeated in DATA). What cannot be read is rejected metric by metric with a reason; only a payload that
is no payload raises :class:`RemoteProtocolError`. Writing is strict and raises :class:`LocalProtocolError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

from schemas.sparkplug_b_pb2 import Payload
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import INTEGER_RANGE, VALUE_FIELD, DataType, Value
from uns.sparkplug.metrics import (
    BD_SEQ,
    PROPERTY_QUALITY,
    REBIRTH,
    SESSION_METRIC,
    BirthMetric,
    BirthPayload,
    CommandPayload,
    DataBatch,
    DataPayload,
    MetricBinding,
    Property,
    RejectedMetric,
    RejectReason,
)
from uns.sparkplug.wire import count_metrics, from_wire, inflate, to_wire

__all__ = [
    "DEFAULT_LENIENCY",
    "METRICS_MAX",
    "NAME_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "PROPERTIES_MAX",
    "TIMESTAMP_MS_MAX",
    "Leniency",
    "decode_birth",
    "decode_command",
    "decode_data",
    "decode_death",
    "decode_seq",
    "encode_birth",
    "encode_command",
    "encode_data",
    "encode_death",
    "encode_empty",
]

if api_implementation.Type() == "python":  # pragma: no cover - depends on the installation
    raise ImportError(
        "protobuf runs on its pure Python backend, which is some 20 times too slow for a plant; install a protobuf "
        "wheel that has the upb backend, and unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    )

PAYLOAD_BYTES_MAX = 1 << 20
METRICS_MAX = 50_000
NAME_BYTES_MAX = 1024
PROPERTIES_MAX = 64  # of one metric
TIMESTAMP_MS_MAX = ((1 << 63) - 1) // 1_000_000  # in the year 2262: what fits into a signed 64-bit count of ns

_NS_PER_MS = 1_000_000
_METRIC_BYTES_MIN = 2  # tag and length of an empty one
_FLOAT_MAX = 3.4028235677973366e38  # beyond it a double becomes infinite as a float
_COMPRESSED = "SPBV1.0_COMPRESSED"
_SEQ_MODULUS = 256  # a peer that counts on beyond it still says the order
_BD_SEQ_MASK = (1 << 63) - 1  # it is compared only, and logs keep it in a signed column
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DATATYPES = tuple(DataType)  # by number; calling the enumeration costs more than reading the metric
_PROPERTY_TYPES = frozenset(range(DataType.INT8, DataType.UUID + 1))
_UNTYPED = {
    "int_value": DataType.UINT32,
    "long_value": DataType.UINT64,
    "float_value": DataType.FLOAT,
    "double_value": DataType.DOUBLE,
    "boolean_value": DataType.BOOLEAN,
    "string_value": DataType.STRING,
}


class Leniency(msgspec.Struct, frozen=True):
    """What is read only where the installation says so, because it could hide a fault elsewhere."""

    scale_nanoseconds: bool = False  # timestamps that can only be ns (some Factory+ edge nodes) become ms
    inflate_bytes_max: int = 0  # 0: compressed payloads (uuid SPBV1.0_COMPRESSED) are refused


DEFAULT_LENIENCY = Leniency()


# ── write ────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode_birth(metrics: Sequence[BirthMetric], *, timestamp_ms: int, seq: int | None) -> bytes:
    """NBIRTH or DBIRTH: every metric with name, datatype, timestamp and value (tck-id-topics-nbirth-metrics)."""
    message = _message(timestamp_ms, seq)
    add = message.metrics.add
    for metric in metrics:
        wire = add()
        _write(wire, "name", metric.name, metric.name)
        if metric.alias is not None:
            _write(wire, "alias", metric.alias, metric.name)
        _put_time(wire, metric, timestamp_ms)
        wire.datatype = metric.datatype
        if metric.is_historical:
            wire.is_historical = True
        if metric.is_transient:
            wire.is_transient = True
        _put_value(wire, metric.datatype, metric.value, metric.name)
        if metric.properties:
            _put_properties(wire.properties, metric.properties, metric.name)
    return message.SerializeToString()


def encode_data(batch: DataBatch, *, timestamp_ms: int, seq: int) -> bytes:  # noqa: C901  # hot: calls cost most
    """NDATA or DDATA: alias where the birth gave one, else the name; no datatype (payloads-metric-datatype-not-req)."""
    message = _message(timestamp_ms, seq)
    add = message.metrics.add
    is_historical = batch.is_historical
    count = len(batch.bindings)
    if len(batch.values) != count or len(batch.times_ms) != count:
        raise LocalProtocolError(
            f"{count} bindings, {len(batch.values)} values, {len(batch.times_ms)} times", expected="lists of one length"
        )
    binding = None
    try:
        for binding, value, time_ms in zip(batch.bindings, batch.values, batch.times_ms, strict=True):
            wire = add()
            if (alias := binding.alias) is None:
                wire.name = binding.name
            else:
                wire.alias = alias
            wire.timestamp = time_ms
            if is_historical:
                wire.is_historical = True
            if value is None:
                wire.is_null = True
                continue
            field = binding.value_field
            limit = binding.limit
            if limit is not None:
                if not 0 <= value < limit:  # type: ignore[operator]  # a string here raises TypeError, caught below
                    value = _wire_integer(value, binding.datatype, binding.name)  # noqa: PLW2901
            elif field == "float_value" and not -_FLOAT_MAX < value < _FLOAT_MAX:  # type: ignore[operator]
                _check_float(value, binding.name)
            setattr(wire, field, value)
    except (TypeError, ValueError, AttributeError) as error:
        raise _not_writable(str(error), binding.name if binding else "") from error
    for index, properties in batch.properties.items():
        _put_properties(message.metrics[index].properties, properties, batch.bindings[index].name)
    return message.SerializeToString()


def encode_death(bd_seq: int) -> bytes:
    """NDEATH: bdSeq alone, named, Int64; no seq (tck-id-topics-ndeath-payload, tck-id-topics-ndeath-seq)."""
    message = Payload()
    wire = message.metrics.add()
    wire.name = BD_SEQ
    wire.datatype = DataType.INT64
    wire.long_value = bd_seq
    return message.SerializeToString()


def encode_empty(timestamp_ms: int, seq: int) -> bytes:
    """DDEATH: timestamp and seq, no metrics (tck-id-payloads-ddeath-seq)."""
    return _message(timestamp_ms, seq).SerializeToString()


def encode_command(metrics: Sequence[BirthMetric], *, timestamp_ms: int) -> bytes:
    """NCMD or DCMD: alias or name, value, no datatype, no seq (tck-id-payloads-ncmd-seq)."""
    message = _message(timestamp_ms, None)
    for metric in metrics:
        wire = message.metrics.add()
        if metric.alias is None:
            _write(wire, "name", metric.name, metric.name)
        else:
            _write(wire, "alias", metric.alias, metric.name)
        _put_time(wire, metric, timestamp_ms)
        _put_value(wire, metric.datatype, metric.value, metric.name)
    return message.SerializeToString()


def _message(timestamp_ms: int, seq: int | None) -> Payload:
    if not 0 <= timestamp_ms <= TIMESTAMP_MS_MAX:
        raise LocalProtocolError(f"payload timestamp {timestamp_ms} ms", expected=f"0 to {TIMESTAMP_MS_MAX}")
    if seq is None:
        return Payload(timestamp=timestamp_ms)
    return Payload(timestamp=timestamp_ms, seq=seq)


def _put_time(wire: Payload.Metric, metric: BirthMetric, timestamp_ms: int) -> None:
    _write(wire, "timestamp", timestamp_ms if metric.timestamp_ms is None else metric.timestamp_ms, metric.name)


def _put_value(wire: Payload.Metric | Payload.PropertyValue, datatype: DataType, value: Value, name: str) -> None:
    if value is None:
        wire.is_null = True  # tck-id-operational-behavior-data-publish-nbirth-values: and then no value
        return
    field = VALUE_FIELD[datatype]
    if not field:
        raise LocalProtocolError(
            f"metric {name!r} has datatype {datatype.label}",
            expected="a scalar type or Bytes",
            next_step="leave it out",
        )
    if INTEGER_RANGE[datatype] is not None:
        value = _wire_integer(value, datatype, name)
    elif field == "float_value":
        _check_float(value, name)
    _write(wire, field, value, name)


def _put_properties(wire: Payload.PropertySet, properties: Iterable[Property], name: str) -> None:
    for one in properties:
        if one.datatype not in _PROPERTY_TYPES:
            raise LocalProtocolError(
                f"property {one.key!r} of {name!r} has datatype {one.datatype.label}", expected="Int8 to UUID"
            )
        wire.keys.append(one.key)
        target = wire.values.add()
        target.type = one.datatype
        _put_value(target, one.datatype, one.value, f"{name}: {one.key}")


def _wire_integer(value: Any, datatype: DataType, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _not_writable(f"{value!r} is no {datatype.label}", name)
    raw = to_wire(value, datatype)
    if raw is None:
        low, high = INTEGER_RANGE[datatype] or (0, 0)
        raise LocalProtocolError(f"metric {name!r}: {value} does not fit {datatype.label}", expected=f"{low} to {high}")
    return raw


def _check_float(value: Any, name: str) -> None:
    if not isinstance(value, (int, float)):
        raise _not_writable(f"{value!r} is no Float", name)
    if _FLOAT_MAX <= abs(value) < float("inf"):
        raise LocalProtocolError(f"metric {name!r}: {value!r} does not fit Float", expected="up to 3.4028235e38")


def _write(wire: Payload.Metric | Payload.PropertyValue, field: str, value: Any, name: str) -> None:
    try:
        setattr(wire, field, value)
    except (TypeError, ValueError) as error:
        raise _not_writable(str(error), name) from error


def _not_writable(what: str, name: str) -> LocalProtocolError:
    return LocalProtocolError(f"metric {name!r}: {what}", expected="a value of the metric's datatype")


# ── read ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Rejected(Exception):  # noqa: N818  # says why one metric is left out; never leaves this module
    def __init__(self, reason: RejectReason) -> None:
        self.reason: RejectReason = reason
        super().__init__(reason)


def decode_birth(payload: bytes, leniency: Leniency = DEFAULT_LENIENCY) -> BirthPayload:
    """Read an NBIRTH or DBIRTH."""
    message = _parse(payload, leniency)
    payload_time = _payload_time(message, leniency)
    birth = BirthPayload(timestamp_ms=payload_time, seq=_seq_of(message), metrics=[], rejected=[])
    warnings: dict[str, None] = {}
    if payload_time is None:
        warnings["tck-id-payloads-nbirth-timestamp"] = None
    names: set[str] = set()
    aliases: dict[int, list[int]] = {}
    for wire in message.metrics:
        try:
            metric = _birth_metric(wire, payload_time, leniency)
        except _Rejected as rejection:
            birth.rejected.append(_rejected(wire, rejection.reason))
            continue
        if metric.name in names:
            birth.rejected.append(_rejected(wire, "unknown_metric"))
            warnings["tck-id-topics-nbirth-metrics"] = None
            continue
        names.add(metric.name)
        if not 0 < wire.timestamp <= TIMESTAMP_MS_MAX:
            warnings["tck-id-payloads-metric-timestamp-in-UTC"] = None
        if metric.alias is not None:
            aliases.setdefault(metric.alias, []).append(len(birth.metrics))
        birth.metrics.append(metric)
        _note_session(birth, metric)
    if _drop_shared_aliases(birth, aliases):
        warnings["tck-id-payloads-alias-uniqueness"] = None
    birth.warnings = tuple(warnings)
    return birth


def _birth_metric(wire: Payload.Metric, payload_time: int | None, leniency: Leniency) -> BirthMetric:
    name = wire.name
    if not isinstance(name, str) or not name or len(name.encode()) > NAME_BYTES_MAX:
        raise _Rejected("unknown_metric")
    datatype = _datatype(wire.datatype)
    time_ms = _time(wire.timestamp, leniency) if wire.HasField("timestamp") else payload_time
    # bdSeq is compared for equality only: peers send it as Int64, UInt64 or narrower, and up to 256.
    return BirthMetric(
        name=name,
        datatype=datatype,
        value=_value(wire, datatype),
        timestamp_ms=time_ms,
        alias=wire.alias if wire.HasField("alias") else None,
        is_historical=wire.is_historical,
        is_transient=wire.is_transient,
        properties=_properties(wire.properties) if wire.HasField("properties") else (),
    )


def _note_session(birth: BirthPayload, metric: BirthMetric) -> None:
    if metric.name == BD_SEQ and isinstance(metric.value, int):
        birth.bd_seq = metric.value & _BD_SEQ_MASK
    elif metric.name == SESSION_METRIC and isinstance(metric.value, str) and _SESSION_ID.fullmatch(metric.value):
        birth.session_id = metric.value


def _drop_shared_aliases(birth: BirthPayload, aliases: dict[int, list[int]]) -> bool:
    """An alias that two metrics share says nothing: neither keeps it, and data under it is rejected."""
    shared = {alias: indexes for alias, indexes in aliases.items() if len(indexes) > 1}
    for alias, indexes in shared.items():
        for index in indexes:
            birth.metrics[index] = msgspec.structs.replace(birth.metrics[index], alias=None)
        birth.rejected.append(RejectedMetric(f"alias {alias}", None, "unknown_metric", alias=alias))
    return bool(shared)


def decode_data(  # noqa: C901  # hot: calls cost most
    payload: bytes, table: AliasTable, leniency: Leniency = DEFAULT_LENIENCY
) -> DataPayload:
    """Read an NDATA or DDATA with the alias table of its birth."""
    message = _parse(payload, leniency)
    payload_time = _payload_time(message, leniency)
    by_alias = table.by_alias
    bindings: list[MetricBinding] = []
    values: list[Value] = []
    times_ms: list[int] = []
    historical: list[bool] | None = None
    properties: dict[int, dict[str, Value]] = {}
    rejected: list[RejectedMetric] = []
    for wire in message.metrics:
        try:
            alias = wire.alias
            binding = by_alias.get(alias) if alias else None
            if binding is None or wire.datatype or wire.name:
                binding = _resolve(wire, table)
            value: Value = getattr(wire, binding.value_field)
            if not value or wire.is_null:
                value = _value(wire, binding.datatype)
            elif (limit := binding.limit) is not None:
                if value >= limit:  # type: ignore[operator]  # an integer, or there were no limit
                    value = _integer(value, binding.datatype)
            elif type(value) is bytes and binding.datatype != DataType.BYTES:
                raise _Rejected("wrong_type")  # noqa: TRY301  # text that is not UTF-8
            time_ms = wire.timestamp
            if not 0 < time_ms <= TIMESTAMP_MS_MAX:
                time_ms = _second_time(wire, payload_time, leniency)
            if wire.HasField("properties"):
                properties[len(values)] = {one.key: one.value for one in _properties(wire.properties)}
        except _Rejected as rejection:
            rejected.append(_rejected(wire, rejection.reason, table))
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
    return DataPayload(
        timestamp_ms=payload_time,
        seq=_seq_of(message),
        bindings=bindings,
        values=values,
        times_ms=times_ms,
        is_historical=historical,
        properties=properties,
        rejected=rejected,
    )


def decode_death(payload: bytes) -> int | None:
    """The bdSeq of an NDEATH, or None where it has none."""
    for wire in _parse(payload).metrics:
        if wire.name == BD_SEQ:
            which = wire.WhichOneof("value")
            return int(getattr(wire, which)) & _BD_SEQ_MASK if which in {"int_value", "long_value"} else None
    return None


def decode_seq(payload: bytes, leniency: Leniency = DEFAULT_LENIENCY) -> tuple[int | None, int | None]:
    """Timestamp and seq of a message whose metrics do not matter (DDEATH)."""
    message = _parse(payload, leniency)
    return _payload_time(message, leniency), _seq_of(message)


def decode_command(payload: bytes, table: AliasTable) -> CommandPayload:
    """Read an NCMD or DCMD; names and types come from the birth that ``table`` was built of."""
    message = _parse(payload)
    command = CommandPayload(timestamp_ms=_payload_time(message, DEFAULT_LENIENCY), metrics=[], rejected=[])
    for wire in message.metrics:
        try:
            command.metrics.append(_command_metric(wire, table))
        except _Rejected as rejection:
            command.rejected.append(_rejected(wire, rejection.reason, table))
    return command


def _command_metric(wire: Payload.Metric, table: AliasTable) -> BirthMetric:
    if wire.name == REBIRTH:  # by name, always, and before any birth as well
        name, datatype, alias = REBIRTH, DataType.BOOLEAN, None
    else:
        binding = _resolve(wire, table)
        name, datatype, alias = binding.name, binding.datatype, binding.alias
    return BirthMetric(
        name=name,
        datatype=datatype,
        value=_value(wire, datatype),
        timestamp_ms=wire.timestamp if wire.HasField("timestamp") else None,
        alias=alias,
    )


def _parse(payload: bytes, leniency: Leniency = DEFAULT_LENIENCY) -> Payload:
    """Limits first, objects after."""
    size = len(payload)
    if size > PAYLOAD_BYTES_MAX:
        raise RemoteProtocolError(f"payload of {size} bytes", expected=f"at most {PAYLOAD_BYTES_MAX}")
    # Fewer bytes cannot hold more metrics: the common payload needs no scan.
    if size > METRICS_MAX * _METRIC_BYTES_MIN and (count := count_metrics(payload)) > METRICS_MAX:
        raise RemoteProtocolError(f"payload of {count} metrics", expected=f"at most {METRICS_MAX}")
    try:
        message = Payload.FromString(payload)
    except DecodeError as error:
        raise RemoteProtocolError(
            "not a Sparkplug B payload", expected="protobuf of org.eclipse.tahu.protobuf.Payload"
        ) from error
    if message.uuid == _COMPRESSED:
        inner = inflate(message.body, leniency.inflate_bytes_max) if leniency.inflate_bytes_max else None
        if inner is None:
            raise RemoteProtocolError(
                "compressed payload",
                expected=f"one that inflates to {leniency.inflate_bytes_max} bytes at most (0: none is read)",
                next_step="switch compression off at the sender, or raise inflate_bytes_max",
            )
        return _parse(inner)  # without leniency: one layer only
    return message


def _seq_of(message: Payload) -> int | None:
    return message.seq % _SEQ_MODULUS if message.HasField("seq") else None


def _datatype(number: int) -> DataType:
    if not 0 < number < len(VALUE_FIELD) or not VALUE_FIELD[number]:
        raise _Rejected("unsupported_type")
    return _DATATYPES[number]


def _resolve(wire: Payload.Metric, table: AliasTable) -> MetricBinding:
    """The metric meant by alias, name or both; with what the peer repeats of its birth checked against it."""
    key: int | str | None = None
    binding = None
    if wire.HasField("alias"):
        key = wire.alias
        binding = table.by_alias.get(key)
    if wire.name:
        named = table.by_name.get(wire.name)
        if binding is not None and binding is not named:
            raise _Rejected("unknown_metric")  # alias and name contradict: the birth held is not the sender's
        # A name that the birth gave another alias contradicts it just so.
        if key is not None and named is not None and named.alias is not None and named.alias != key:
            raise _Rejected("unknown_metric")
        binding = named
        if key is None or key not in table.refused:
            key = wire.name
    if binding is None:
        raise _Rejected(table.refused.get(key, "unknown_metric") if key is not None else "unknown_metric")
    if wire.datatype and wire.datatype != binding.datatype:
        raise _Rejected("wrong_type")
    return binding


def _value(wire: Any, datatype: DataType) -> Value:
    """The value of a metric or property with every check."""
    if wire.is_null:
        return None
    field = VALUE_FIELD[datatype]
    if not wire.HasField(field):
        which = wire.WhichOneof("value")
        if which is None:
            return None  # peers say null so, too
        if INTEGER_RANGE[datatype] is None or which not in {"int_value", "long_value"}:
            raise _Rejected("wrong_type")
        field = which  # the other integer field: Tahu and Ignition send UInt32 as long_value
    value: Value = getattr(wire, field)
    if INTEGER_RANGE[datatype] is not None:
        return _integer(value, datatype)
    if isinstance(value, bytes) and datatype != DataType.BYTES:
        raise _Rejected("wrong_type")  # text that is not UTF-8
    return value


def _integer(raw: Any, datatype: DataType) -> int:
    value = from_wire(raw, datatype)
    if value is None:
        raise _Rejected("out_of_range")
    return value


def _time(raw: int, leniency: Leniency) -> int:
    if raw > TIMESTAMP_MS_MAX:
        if leniency.scale_nanoseconds and raw // _NS_PER_MS <= TIMESTAMP_MS_MAX:
            return raw // _NS_PER_MS
        raise _Rejected("out_of_range")
    return raw


def _payload_time(message: Payload, leniency: Leniency) -> int | None:
    try:
        return _time(message.timestamp, leniency) if message.HasField("timestamp") else None
    except _Rejected:
        return None


def _second_time(wire: Payload.Metric, payload_time: int | None, leniency: Leniency) -> int:
    """The time of a metric whose timestamp is 0, absent or out of range. Absent: the payload's, and never now."""
    if wire.HasField("timestamp"):
        return _time(wire.timestamp, leniency)
    if payload_time is None:
        raise _Rejected("no_timestamp")
    return payload_time


def _properties(wire: Payload.PropertySet) -> tuple[Property, ...]:
    """Scalar properties; nested sets are passed over. Lists of different lengths could turn bad into good: rejected."""
    count = len(wire.keys)
    if count != len(wire.values):  # tck-id-payloads-propertyset-keys-array-size
        raise _Rejected("wrong_type")
    if count > PROPERTIES_MAX:
        raise _Rejected("out_of_range")
    found = []
    for key, value in zip(wire.keys, wire.values, strict=True):
        number = value.type
        if not number:
            # Births must say the type, DATA need not; our own meaning of Quality is Int32.
            which = value.WhichOneof("value") or "string_value"
            if which not in _UNTYPED:
                continue
            number = DataType.INT32 if key == PROPERTY_QUALITY and which == "int_value" else _UNTYPED[which]
        elif number not in _PROPERTY_TYPES:
            continue
        if not isinstance(key, str) or len(key) > NAME_BYTES_MAX:
            raise _Rejected("wrong_type")
        datatype = _DATATYPES[number]
        found.append(Property(key, datatype, _value(value, datatype)))
    return tuple(found)


def _rejected(wire: Payload.Metric, reason: RejectReason, table: AliasTable | None = None) -> RejectedMetric:
    alias = wire.alias if wire.HasField("alias") else None
    name = wire.name if isinstance(wire.name, str) and len(wire.name) <= NAME_BYTES_MAX else ""
    if not name and table is not None and alias is not None and (binding := table.by_alias.get(alias)) is not None:
        name = binding.name
    time_ms = wire.timestamp if wire.HasField("timestamp") and wire.timestamp <= TIMESTAMP_MS_MAX else None
    return RejectedMetric(name or f"alias {alias}", time_ms, reason, wire.SerializeToString(), alias)
