"""One value of the wire, of each kind: scalars, arrays, tables, templates, properties, metadata.

Messages are typed as Any: metrics, properties, parameters and cells carry the same members of the same oneof.
"""

from __future__ import annotations

from typing import Any

from uns.sparkplug.arrays import ArrayError, element_count, unpack_array
from uns.sparkplug.codec.parsing import (
    CELLS_MAX,
    METRICS_MAX,
    NAME_BYTES_MAX,
    PROPERTIES_MAX,
    TIMESTAMP_MS_MAX,
    Reading,
    Rejected,
    checked_time,
)
from uns.sparkplug.datatypes import INTEGER_RANGE, METRIC_TYPES, VALUE_FIELD, DataType, Value
from uns.sparkplug.metrics import (
    PROPERTY_QUALITY,
    BirthMetric,
    DataSetValue,
    MetaData,
    MetricBinding,
    MetricValue,
    Property,
    PropertyContent,
    TemplateMembers,
    TemplateParameter,
    TemplateValue,
)
from uns.sparkplug.wire import from_wire, to_wire

__all__ = [
    "UNTYPED",
    "as_text",
    "datatype_of",
    "read_array",
    "read_birth_metric",
    "read_dataset",
    "read_integer",
    "read_metadata",
    "read_properties",
    "read_scalar",
    "read_value",
    "written_integer",
]

DATATYPES = tuple(DataType)  # by number; calling the enumeration costs more than reading the metric
_UUID = int(DataType.UUID)
_METRIC_NUMBERS = frozenset(int(datatype) for datatype in METRIC_TYPES)
_CELL_NUMBERS = frozenset(range(DataType.INT8, DataType.UUID + 1))  # peers put UUIDs there, which are text
_PROPERTY_NUMBERS = _CELL_NUMBERS | {DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}
# By number of a basic type: itself, the member that carries it, and the first raw number out of its range.
_KINDS = tuple(
    (DATATYPES[number], VALUE_FIELD[number], None if (span := INTEGER_RANGE[number]) is None else span[1] + 1)
    for number in range(DataType.UUID + 1)
)
_INTEGER_FIELDS = frozenset({"int_value", "long_value"})
_PLAIN_BYTES = frozenset({DataType.BYTES, DataType.FILE})
_SETS_TRIED = 64
_NAME_SAFE = NAME_BYTES_MAX // 4  # characters that need no counting of bytes
UNTYPED = {
    "int_value": DataType.UINT32,
    "long_value": DataType.UINT64,
    "float_value": DataType.FLOAT,
    "double_value": DataType.DOUBLE,
    "boolean_value": DataType.BOOLEAN,
    "string_value": DataType.STRING,
    "propertyset_value": DataType.PROPERTY_SET,
    "propertysets_value": DataType.PROPERTY_SET_LIST,
}


def datatype_of(number: int) -> DataType:
    """The datatype of a metric by its number on the wire."""
    if number not in _METRIC_NUMBERS:
        raise Rejected("unsupported_type")
    return DATATYPES[number]


def read_value(wire: Any, datatype: DataType, reading: Reading, members: TemplateMembers | None = None) -> MetricValue:
    """The value of a metric with every check; None is null."""
    if wire.is_null:
        if wire.WhichOneof("value") is not None:
            reading.forgive("null_with_value")
        return None
    field = VALUE_FIELD[datatype]
    if field == "bytes_value" and datatype not in _PLAIN_BYTES:
        return read_array(wire, datatype, reading)
    if field == "dataset_value":
        return read_dataset(wire.dataset_value, reading) if _has(wire, field, reading) else None
    if field == "template_value":
        return read_template(wire.template_value, reading, members) if _has(wire, field, reading) else None
    return read_scalar(wire, datatype, reading)


def read_scalar(wire: Any, datatype: DataType, reading: Reading) -> Value:
    """The value of a oneof that carries a basic type or bytes; None where no member is set, which is forgiven."""
    field = VALUE_FIELD[datatype]
    if not wire.HasField(field):
        which = wire.WhichOneof("value")
        if which is None:
            reading.forgive("null_without_flag")
            return None
        if INTEGER_RANGE[datatype] is None or which not in _INTEGER_FIELDS:
            raise Rejected("wrong_type")
        # Tahu, Ignition and many others send UInt32 as long_value.
        reading.forgive("uint32_in_long" if datatype == DataType.UINT32 else "other_integer_field")
        field = which
    value: Value = getattr(wire, field)
    if INTEGER_RANGE[datatype] is not None:
        return read_integer(value, datatype, reading)
    if isinstance(value, bytes) and datatype not in _PLAIN_BYTES:
        raise Rejected("wrong_type")  # text that is not UTF-8
    return value


def read_integer(raw: Any, datatype: DataType, reading: Reading) -> int:
    """Undo two's complement of any width; a width that is not the field's is forgiven."""
    value = from_wire(raw, datatype)
    if value is None:
        raise Rejected("out_of_range")
    if value < 0 and raw != to_wire(value, datatype):
        reading.forgive("other_complement")
    return value


def written_integer(raw: Any, datatype: DataType) -> int:
    """A negative number in the form that we write ourselves; ``ValueError`` for every other one."""
    value = from_wire(raw, datatype)
    if value is None or raw != to_wire(value, datatype):
        raise ValueError(raw)
    return value


def _has(wire: Any, field: str, reading: Reading) -> bool:
    which = wire.WhichOneof("value")
    if which is None:
        reading.forgive("null_without_flag")
        return False
    if which != field:
        raise Rejected("wrong_type")
    return True


def as_text(value: str | bytes, bytes_max: int = NAME_BYTES_MAX) -> str:
    """Text as such; protobuf gives bytes where it is not UTF-8."""
    if not isinstance(value, str):
        raise Rejected("wrong_type")
    if len(value) > bytes_max or (not value.isascii() and len(value.encode()) > bytes_max):
        raise Rejected("out_of_range")
    return value


# ── arrays and tables ────────────────────────────────────────────────────────────────────────────────────────────


def read_array(wire: Any, datatype: DataType, reading: Reading) -> tuple[Value, ...] | None:
    """The elements of an array, counted before they are built."""
    if not _has(wire, "bytes_value", reading):
        return None
    packed: bytes = wire.bytes_value
    try:
        reading.take_elements(element_count(datatype, packed))
        elements = unpack_array(datatype, packed)
    except ArrayError as error:
        raise Rejected("wrong_type") from error
    if datatype is DataType.STRING_ARRAY and packed and packed[-1]:
        reading.forgive("string_without_end")
    return elements


def read_dataset(wire: Any, reading: Reading) -> DataSetValue:
    """A table; all of its cells or none."""
    columns, numbers, rows = wire.columns, wire.types, wire.rows
    width = len(columns)
    if max(width, 1) * max(len(rows), 1) > CELLS_MAX:
        raise Rejected("out_of_range")
    if len(numbers) != width:  # tck-id-payloads-dataset-types-num, -column-num-headers
        raise Rejected("wrong_type")
    if wire.num_of_columns != width:
        reading.forgive("tck-id-payloads-dataset-column-size")
    if not _CELL_NUMBERS.issuperset(numbers):  # tck-id-payloads-dataset-types-value
        raise Rejected("wrong_type")
    types = tuple(DATATYPES[number] for number in numbers)
    found = []
    for row in rows:
        elements = row.elements
        if len(elements) != width:
            raise Rejected("wrong_type")
        found.append(
            tuple([read_scalar(cell, datatype, reading) for cell, datatype in zip(elements, types, strict=True)])
        )
    return DataSetValue(tuple([as_text(column) for column in columns]), types, tuple(found))


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────


def read_template(wire: Any, reading: Reading, members: TemplateMembers | None) -> TemplateValue:
    """A definition or an instance; ``members`` are the types of a birth, for what DATA leaves out."""
    if len(wire.metrics) > METRICS_MAX or len(wire.parameters) > CELLS_MAX:
        raise Rejected("out_of_range")
    is_definition = wire.is_definition
    reference = as_text(wire.template_ref) if wire.HasField("template_ref") else None
    if not wire.HasField("is_definition"):
        reading.forgive("tck-id-payloads-template-is-definition")
        is_definition = reference is None
    if is_definition and reference is not None:
        reading.forgive("tck-id-payloads-template-definition-ref")
        reference = None
    if not is_definition and reference is None:
        reading.forgive("tck-id-payloads-template-instance-ref")
        reference = ""  # an instance of nobody knows what
    reading.enter()
    try:
        metrics = tuple([_read_member(member, reading, members) for member in wire.metrics])
        parameters = tuple([_read_parameter(parameter, reading, members) for parameter in wire.parameters])
    finally:
        reading.leave()
    return TemplateValue(
        metrics=metrics,
        parameters=parameters,
        template_ref=reference,
        version=as_text(wire.version) if wire.HasField("version") else None,
    )


def _read_member(wire: Any, reading: Reading, members: TemplateMembers | None) -> BirthMetric:
    row: MetricBinding | None = None
    if members is not None:
        row = members.by_name.get(wire.name) if wire.name else members.by_alias.get(wire.alias)
    if row is None:
        if not wire.datatype:
            raise Rejected("unknown_metric")
        return read_birth_metric(wire, reading, None)
    if wire.datatype and wire.datatype != row.datatype:
        raise Rejected("wrong_type")
    return read_birth_metric(wire, reading, None, row)


def _read_parameter(wire: Any, reading: Reading, members: TemplateMembers | None) -> TemplateParameter:
    name = as_text(wire.name)
    if not name:  # tck-id-payloads-template-parameter-name-required
        raise Rejected("wrong_type")
    number = wire.type
    if not number and members is not None:
        number = members.parameters.get(name, 0)
    if number not in _CELL_NUMBERS:  # tck-id-payloads-template-parameter-type-value
        raise Rejected("wrong_type")
    return TemplateParameter(name, DATATYPES[number], read_scalar(wire, DATATYPES[number], reading))


def read_birth_metric(
    wire: Any, reading: Reading, payload_time: int | None, row: MetricBinding | None = None
) -> BirthMetric:
    """A metric that says all of itself: of a birth, or a member of a template. ``row``: what a birth said of it."""
    name = wire.name or (row.name if row is not None else "")
    if type(name) is not str or not name or (len(name) > _NAME_SAFE and len(name.encode()) > NAME_BYTES_MAX):
        raise Rejected("unknown_metric")
    datatype = datatype_of(wire.datatype) if row is None else row.datatype
    value: MetricValue = None
    direct = False
    if datatype <= _UUID:
        _, field, limit = _KINDS[datatype]
        value = getattr(wire, field)
        direct = bool(value) and not wire.is_null and (type(value) is not bytes if limit is None else value < limit)  # type: ignore[operator]
    if not direct:  # a default may stand for no value at all
        value = read_value(wire, datatype, reading, None if row is None else row.members)
    time_ms = wire.timestamp
    if not 0 < time_ms <= TIMESTAMP_MS_MAX:
        time_ms = checked_time(time_ms, reading.leniency) if wire.HasField("timestamp") else payload_time
    return BirthMetric(
        name=name,
        datatype=datatype,
        value=value,
        timestamp_ms=time_ms,
        alias=wire.alias if wire.HasField("alias") else None,
        is_historical=wire.is_historical,
        is_transient=wire.is_transient,
        properties=_shared_properties(wire.properties, reading) if wire.HasField("properties") else (),
        metadata=read_metadata(wire.metadata) if wire.HasField("metadata") else None,
    )


# ── properties and metadata ──────────────────────────────────────────────────────────────────────────────────────


def _shared_properties(wire: Any, reading: Reading) -> tuple[Property, ...]:
    """A property set, read once for all metrics of the payload that have the same: that is most of a birth's cost."""
    sets = reading.sets
    if sets is None:
        return read_properties(wire, reading)
    packed = wire.SerializeToString()
    found = sets.get(packed)
    if found is not None:
        reading.sets_met_again += 1
        return found
    forgiven = reading.forgiven
    found = read_properties(wire, reading)
    if reading.forgiven == forgiven:  # else each is counted
        sets[packed] = found
        if len(sets) > _SETS_TRIED and reading.sets_met_again < len(sets):
            reading.sets = None
    return found


def read_properties(wire: Any, reading: Reading) -> tuple[Property, ...]:
    """A property set. Lists of different lengths could turn bad into good: rejected."""
    keys, values = list(wire.keys), list(wire.values)
    count = len(keys)
    if count != len(values):  # tck-id-payloads-propertyset-keys-array-size
        raise Rejected("wrong_type")
    if count > PROPERTIES_MAX:
        raise Rejected("out_of_range")
    found: list[Property] = []
    for key, value_wire in zip(keys, values, strict=True):
        number = value_wire.type
        if 0 < number <= _UUID and type(key) is str and len(key) <= NAME_BYTES_MAX:
            datatype, field, limit = _KINDS[number]
            value = getattr(value_wire, field)
            # As in DATA: what equals its default, or is negative, takes the long way.
            if value and not value_wire.is_null and (type(value) is not bytes if limit is None else value < limit):
                found.append(Property(key, datatype, value))
                continue
        one = _read_property(key, value_wire, reading)
        if one is not None:
            found.append(one)
    return tuple(found)


def _read_property(key: str | bytes, wire: Any, reading: Reading) -> Property | None:
    number = wire.type
    if not isinstance(key, str) or len(key) > NAME_BYTES_MAX:
        raise Rejected("wrong_type")
    if not number:
        # Births must say the type, DATA need not; our own meaning of Quality is Int32.
        which = wire.WhichOneof("value") or "string_value"
        if which not in UNTYPED:
            reading.forgive("property_of_unknown_type")
            return None
        datatype = DataType.INT32 if key == PROPERTY_QUALITY and which == "int_value" else UNTYPED[which]
    elif number in _PROPERTY_NUMBERS:
        datatype = DATATYPES[number]
    else:
        reading.forgive("property_of_unknown_type")
        return None
    if datatype <= _UUID or wire.is_null:
        return Property(key, datatype, _property_content(wire, datatype, reading))
    try:
        return Property(key, datatype, _property_content(wire, datatype, reading))
    except Rejected:  # no quality is that deep: the value can be used without it
        reading.forgive("property_set_unreadable")
        return None


def _property_content(wire: Any, datatype: DataType, reading: Reading) -> PropertyContent:
    if wire.is_null:
        if wire.WhichOneof("value") is not None:
            reading.forgive("null_with_value")
        return None
    if datatype <= _UUID:
        return read_scalar(wire, datatype, reading)
    if not _has(wire, VALUE_FIELD[datatype], reading):
        return None
    reading.enter()
    try:
        if datatype is DataType.PROPERTY_SET:
            return read_properties(wire.propertyset_value, reading)
        sets = wire.propertysets_value.propertyset
        if len(sets) > PROPERTIES_MAX:
            raise Rejected("out_of_range")
        return tuple([read_properties(one, reading) for one in sets])
    finally:
        reading.leave()


def read_metadata(wire: Any) -> MetaData:
    """What is said of a value, part or file."""
    has = wire.HasField
    return MetaData(
        is_multi_part=wire.is_multi_part if has("is_multi_part") else None,
        content_type=as_text(wire.content_type) if has("content_type") else None,
        size=wire.size if has("size") else None,
        seq=wire.seq if has("seq") else None,
        file_name=as_text(wire.file_name) if has("file_name") else None,
        file_type=as_text(wire.file_type) if has("file_type") else None,
        md5=as_text(wire.md5) if has("md5") else None,
        description=as_text(wire.description) if has("description") else None,
    )
