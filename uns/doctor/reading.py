"""Read a Sparkplug payload as it is, not as it was meant: presence, wire types, lengths, order.

The codec of :mod:`uns.sparkplug` forgives what peers are known to do; whoever grades must see it. So this reader knows
no protobuf library: it walks the tags of proto2 itself, keeps what was left out apart from what is zero, and notes a
field of the wrong kind as a ``fault`` in place of losing it. It never raises for what is inside a metric; only bytes
that are no message at all raise :class:`Unreadable`.

Metrics are read one by one when they are asked for, because a listener that is behind skips them and keeps their count.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec

__all__ = [
    "DEPTH_MAX",
    "LIST_MAX",
    "METRICS_MAX",
    "NAME_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "RawDataSet",
    "RawMetric",
    "RawParameter",
    "RawPayload",
    "RawProperties",
    "RawTemplate",
    "RawValue",
    "Unreadable",
    "inflate",
    "read_metric",
    "read_payload",
]

PAYLOAD_BYTES_MAX = 1 << 20
METRICS_MAX = 50_000  # of one payload
DEPTH_MAX = 8  # of templates in templates and of property sets in property sets
NAME_BYTES_MAX = 1024
LIST_MAX = 10_000  # columns, keys, members: what is read of one structure; what lies beyond is not judged

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_U32_MAX = (1 << 32) - 1
_U64_MAX = (1 << 64) - 1

# Field number of each oneof member: its wire type. Metric's numbers; the other structures have the same kinds in order.
_METRIC_VALUES = {
    10: _VARINT,
    11: _VARINT,
    12: _FIXED32,
    13: _FIXED64,
    14: _VARINT,
    15: _BYTES,
    16: _BYTES,
    17: _BYTES,
    18: _BYTES,
    19: _BYTES,
}
METRIC_FIELD = {
    10: "int_value",
    11: "long_value",
    12: "float_value",
    13: "double_value",
    14: "boolean_value",
    15: "string_value",
    16: "bytes_value",
    17: "dataset_value",
    18: "template_value",
    19: "extension_value",
}


class Unreadable(Exception):  # noqa: N818 - it says what the bytes are
    """Bytes that are no protobuf message; the text says where the walk ended."""


class RawValue(msgspec.Struct, frozen=True, gc=False):
    """Which member of a oneof is set, and what it holds: an int of the wire, or bytes."""

    field: str
    value: int | bytes


class RawProperties(msgspec.Struct, gc=False):
    """A PropertySet: its keys beside its values; the nested sets are flattened into ``nested``."""

    keys: list[str]
    types: list[int | None]
    nulls: list[bool]
    values: list[RawValue | None]
    nested: list[RawProperties]
    faults: list[str]


class RawDataSet(msgspec.Struct, gc=False):
    """A DataSet's head and the shape of its rows."""

    columns_count: int | None
    columns: list[str]
    types: list[int]
    rows: int
    cells_empty: int  # elements without a member of the oneof
    rows_ragged: int  # rows with another number of elements than there are columns
    faults: list[str]


class RawParameter(msgspec.Struct, gc=False):
    """A template parameter."""

    name: str | None
    type: int | None
    value: RawValue | None
    faults: list[str]


class RawTemplate(msgspec.Struct, gc=False):
    """A template definition or instance."""

    version: str | None
    reference: str | None
    is_definition: bool | None
    members: list[RawMetric]
    parameters: list[RawParameter]
    faults: list[str]


class RawMetric(msgspec.Struct, gc=False):
    """A metric as its sender wrote it; None is "not there"."""

    name: str | None = None
    alias: int | None = None
    timestamp: int | None = None
    datatype: int | None = None
    is_historical: bool = False
    is_null: bool = False
    value: RawValue | None = None
    values_set: int = 0  # members of the oneof on the wire: more than one is a repeated write
    properties: RawProperties | None = None
    template: RawTemplate | None = None
    dataset: RawDataSet | None = None
    faults: list[str] | None = None

    def fault(self, text: str) -> None:
        """Note a field of the wrong kind."""
        if self.faults is None:
            self.faults = []
        self.faults.append(text)

    def has_fault(self, field: str) -> bool:
        """Whether a fault of that field was noted."""
        return self.faults is not None and any(text.startswith(field) for text in self.faults)

    def label(self) -> str:
        """How a finding names it."""
        if self.name is not None:
            return repr(self.name[:80])
        return "a metric without name" if self.alias is None else f"alias {self.alias}"


class RawPayload(msgspec.Struct, gc=False):
    """The head of a payload, and where its metrics lie."""

    timestamp: int | None
    seq: int | None
    uuid: str | None
    body_start: int
    body_bytes: int
    spans: list[tuple[int, int]]
    metrics_total: int
    faults: list[str]


def read_payload(payload: bytes) -> RawPayload:
    """Walk the top level; :class:`Unreadable` where it is no message. Beyond ``METRICS_MAX`` metrics are counted."""
    head = RawPayload(None, None, None, 0, 0, [], 0, [])
    for number, kind, value, end in _fields(payload, 0, len(payload)):
        match number:
            case 1:
                head.timestamp = _whole(kind, value, head.faults, "timestamp", _U64_MAX)
            case 2 if kind == _BYTES:
                head.metrics_total += 1
                if head.metrics_total <= METRICS_MAX:
                    head.spans.append((value, end))
            case 2:
                head.faults.append("metrics has the wrong wire type")
            case 3:
                head.seq = _whole(kind, value, head.faults, "seq", _U64_MAX)
            case 4:
                head.uuid = _text(payload, kind, value, end, head.faults, "uuid")
            case 5 if kind == _BYTES:
                head.body_start, head.body_bytes = value, end - value
            case _:
                pass  # an extension
    return head


def inflate(body: bytes) -> bytes:
    """Undo DEFLATE (zlib) or GZIP up to ``PAYLOAD_BYTES_MAX``; :class:`Unreadable` otherwise."""
    inflater = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # 32: either header
    try:
        inflated = inflater.decompress(body, PAYLOAD_BYTES_MAX + 1)
    except zlib.error as error:
        raise Unreadable("is compressed, and neither as DEFLATE nor as GZIP") from error
    if len(inflated) > PAYLOAD_BYTES_MAX or not inflater.eof:
        raise Unreadable(f"is compressed, and cut off or of more than {PAYLOAD_BYTES_MAX} bytes")
    return inflated


def read_metric(payload: bytes, start: int, end: int, depth: int = 0) -> RawMetric:  # noqa: C901, PLR0912 - one case a field
    """Read the metric in ``payload[start:end]``; what cannot be walked is a fault called ``metric``."""
    metric = RawMetric()
    faults: list[str] = []
    try:
        for number, kind, value, stop in _fields(payload, start, end):
            match number:
                case 1:
                    metric.name = _text(payload, kind, value, stop, faults, "name")
                case 2:
                    metric.alias = _whole(kind, value, faults, "alias", _U64_MAX)
                case 3:
                    metric.timestamp = _whole(kind, value, faults, "timestamp", _U64_MAX)
                case 4:
                    metric.datatype = _whole(kind, value, faults, "datatype", _U32_MAX)
                case 5:
                    metric.is_historical = kind == _VARINT and value != 0
                case 7:
                    metric.is_null = kind == _VARINT and value != 0
                case 9 if kind == _BYTES:
                    metric.properties = _properties(payload, value, stop, depth + 1)
                case n if n in _METRIC_VALUES:
                    if kind != _METRIC_VALUES[n]:
                        faults.append(f"value {METRIC_FIELD[n]} has the wrong wire type")
                        continue
                    metric.values_set += 1
                    metric.value = RawValue(
                        METRIC_FIELD[n], value if kind == _VARINT else b"" if n in {17, 18} else payload[value:stop]
                    )
                    if n == 17:
                        metric.dataset = _dataset(payload, value, stop)
                    elif n == 18:
                        metric.template = _template(payload, value, stop, depth + 1)
                case _:
                    pass
    except Unreadable as error:
        faults.append(f"metric {error}")
    if faults:
        metric.faults = faults
    return metric


# ── structures ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _template(payload: bytes, start: int, end: int, depth: int) -> RawTemplate:
    template = RawTemplate(None, None, None, [], [], [])
    if depth > DEPTH_MAX:
        template.faults.append(f"depth of more than {DEPTH_MAX} templates")
        return template
    for number, kind, value, stop in _fields(payload, start, end):
        match number:
            case 1:
                template.version = _text(payload, kind, value, stop, template.faults, "version")
            case 2 if kind == _BYTES and len(template.members) < LIST_MAX:
                template.members.append(read_metric(payload, value, stop, depth))
            case 3 if kind == _BYTES and len(template.parameters) < LIST_MAX:
                template.parameters.append(_parameter(payload, value, stop))
            case 4:
                template.reference = _text(payload, kind, value, stop, template.faults, "template_ref")
            case 5:
                template.is_definition = value != 0 if kind == _VARINT else None
            case _:
                pass
    return template


def _parameter(payload: bytes, start: int, end: int) -> RawParameter:
    parameter = RawParameter(None, None, None, [])
    for number, kind, value, stop in _fields(payload, start, end):
        match number:
            case 1:
                parameter.name = _text(payload, kind, value, stop, parameter.faults, "name")
            case 2:
                parameter.type = _whole(kind, value, parameter.faults, "type", _U32_MAX)
            case n if 3 <= n <= 9:
                parameter.value = _small_value(payload, n + 7, kind, value, stop, parameter.faults)
            case _:
                pass
    return parameter


def _dataset(payload: bytes, start: int, end: int) -> RawDataSet:
    dataset = RawDataSet(None, [], [], 0, 0, 0, [])
    widths: list[int] = []
    for number, kind, value, stop in _fields(payload, start, end):
        match number:
            case 1:
                dataset.columns_count = _whole(kind, value, dataset.faults, "num_of_columns", _U64_MAX)
            case 2 if len(dataset.columns) < LIST_MAX:
                dataset.columns.append(_text(payload, kind, value, stop, dataset.faults, "columns") or "")
            case 3 if len(dataset.types) < LIST_MAX:
                dataset.types += _numbers(payload, kind, value, stop, dataset.faults)
            case 4 if kind == _BYTES:
                dataset.rows += 1
                if len(widths) < LIST_MAX:
                    width, empty = _row(payload, value, stop, dataset.faults)
                    widths.append(width)
                    dataset.cells_empty += empty
            case _:
                pass
    dataset.rows_ragged = sum(width != len(dataset.columns) for width in widths)
    return dataset


def _row(payload: bytes, start: int, end: int, faults: list[str]) -> tuple[int, int]:
    """Number of elements, and how many of them have no value."""
    width = empty = 0
    for number, kind, value, stop in _fields(payload, start, end):
        if number == 1 and kind == _BYTES:
            width += 1
            found = None
            for n, inner, inner_value, inner_stop in _fields(payload, value, stop):
                if 1 <= n <= 7:
                    found = _small_value(payload, n + 9, inner, inner_value, inner_stop, faults)
            empty += found is None
    return width, empty


def _properties(payload: bytes, start: int, end: int, depth: int) -> RawProperties:
    found = RawProperties([], [], [], [], [], [])
    if depth > DEPTH_MAX:
        found.faults.append(f"depth of more than {DEPTH_MAX} property sets")
        return found
    for number, kind, value, stop in _fields(payload, start, end):
        if number == 1 and len(found.keys) < LIST_MAX:
            found.keys.append(_text(payload, kind, value, stop, found.faults, "keys") or "")
        elif number == 2 and kind == _BYTES and len(found.values) < LIST_MAX:
            _property(payload, value, stop, depth, found)
    return found


def _property(payload: bytes, start: int, end: int, depth: int, into: RawProperties) -> None:
    kind_number: int | None = None
    null = False
    held: RawValue | None = None
    for number, kind, value, stop in _fields(payload, start, end):
        match number:
            case 1:
                kind_number = _whole(kind, value, into.faults, "type", _U32_MAX)
            case 2:
                null = kind == _VARINT and value != 0
            case 9 if kind == _BYTES:
                held = RawValue("propertyset_value", b"")
                into.nested.append(_properties(payload, value, stop, depth + 1))
            case 10 if kind == _BYTES:
                held = RawValue("propertysets_value", b"")
                for inner, inner_kind, inner_value, inner_stop in _fields(payload, value, stop):
                    if inner == 1 and inner_kind == _BYTES and len(into.nested) < LIST_MAX:
                        into.nested.append(_properties(payload, inner_value, inner_stop, depth + 1))
            case n if 3 <= n <= 8:
                held = _small_value(payload, n + 7, kind, value, stop, into.faults)
            case _:
                pass
    into.types.append(kind_number)
    into.nulls.append(null)
    into.values.append(held)


def _small_value(  # noqa: PLR0917 - a field, taken apart
    payload: bytes, metric_number: int, kind: int, value: int, end: int, faults: list[str]
) -> RawValue | None:
    """A member of a oneof whose kinds stand in the order of Metric's (int, long, float, double, boolean, string)."""
    if metric_number > 15:
        return RawValue("extension_value", b"")
    if kind != _METRIC_VALUES[metric_number]:
        faults.append(f"value {METRIC_FIELD[metric_number]} has the wrong wire type")
        return None
    if metric_number == 10 and value > _U32_MAX:
        faults.append("value int_value has more than 32 bits")
    return RawValue(METRIC_FIELD[metric_number], value if kind == _VARINT else payload[value:end])


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fields(payload: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field as number, wire type, then its integer (varint) or where its bytes begin, and where it ends."""
    position = start
    while position < end:
        tag = payload[position]
        position += 1
        if tag > 0x7F:
            tag, position = _varint(payload, position - 1, end)
        kind = tag & 7
        if kind == _VARINT:
            if position < end and payload[position] < 0x80:
                value = payload[position]
                position += 1
            else:
                value, position = _varint(payload, position, end)
            yield tag >> 3, kind, value, position
            continue
        if kind == _BYTES:
            length, position = _varint(payload, position, end)
        elif kind == _FIXED32:
            length = 4
        elif kind == _FIXED64:
            length = 8
        else:
            raise Unreadable(f"has wire type {kind} at byte {position}")
        if position + length > end or tag >> 3 == 0:
            raise Unreadable(f"is cut off at byte {end}" if tag >> 3 else f"has field number 0 at byte {position}")
        yield tag >> 3, kind, position, position + length
        position += length


def _varint(payload: bytes, position: int, end: int) -> tuple[int, int]:
    result = shift = 0
    for index in range(position, min(end, position + _VARINT_BYTES_MAX)):
        byte = payload[index]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, index + 1
        shift += 7
    raise Unreadable(f"has a broken number at byte {position}")


def _whole(kind: int, value: int, faults: list[str], field: str, maximum: int) -> int | None:
    if kind != _VARINT:
        faults.append(f"{field} has the wrong wire type")
        return None
    if value > maximum:
        faults.append(f"{field} {value} has more than {maximum.bit_length()} bits")
    return value


def _text(  # noqa: PLR0917 - a field, taken apart
    payload: bytes, kind: int, start: int, end: int, faults: list[str], field: str
) -> str | None:
    if kind != _BYTES:
        faults.append(f"{field} has the wrong wire type")
        return None
    raw = payload[start : min(end, start + NAME_BYTES_MAX)]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if end - start > NAME_BYTES_MAX:  # perhaps cut inside a character
            return raw.decode(errors="replace")
        faults.append(f"{field} is not UTF-8")
        return raw.decode(errors="replace")


def _numbers(payload: bytes, kind: int, value: int, end: int, faults: list[str]) -> list[int]:
    """A repeated uint32: one number, or packed, which a reader of proto2 has to take too."""
    if kind == _VARINT:
        found = [value]
    elif kind == _BYTES:
        found, position = [], value
        while position < end and len(found) < LIST_MAX:
            number, position = _varint(payload, position, end)
            found.append(number)
    else:
        faults.append("types has the wrong wire type")
        return []
    if any(number > _U32_MAX for number in found):
        faults.append("types has more than 32 bits")
    return found
