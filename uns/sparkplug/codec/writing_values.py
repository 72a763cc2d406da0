"""One value onto the wire, of each kind. Strict: what the standard does not have raises :class:`LocalProtocolError`.

Messages are typed as Any: metrics, properties, parameters and cells carry the same members of the same oneof.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from uns.errors import LocalProtocolError
from uns.sparkplug.arrays import ArrayError, pack_array
from uns.sparkplug.codec.parsing import DEPTH_MAX, NAME_BYTES_MAX
from uns.sparkplug.datatypes import ARRAYS, BASIC_TYPES, INTEGER_RANGE, METRIC_TYPES, VALUE_FIELD, DataType
from uns.sparkplug.metrics import (
    PROPERTY_QUALITY,
    BirthMetric,
    DataSetValue,
    MetaData,
    MetricValue,
    Property,
    TemplateParameter,
    TemplateValue,
)
from uns.sparkplug.wire import to_wire

__all__ = [
    "FLOAT_MAX",
    "check_float",
    "not_writable",
    "put_metadata",
    "put_metric",
    "put_properties",
    "put_scalar",
    "put_uint32_into_long",
    "put_value",
    "wire_integer",
    "write",
]

FLOAT_MAX = 3.4028235677973366e38  # beyond it a double becomes infinite as a float

_UUID = int(DataType.UUID)
# By number: the member that carries the value, and the first number that is not written as it is.
_KINDS = tuple(
    (VALUE_FIELD[number], None if (span := INTEGER_RANGE[number]) is None else span[1] + 1)
    for number in range(len(VALUE_FIELD))
)
_QUALITY_CODES = frozenset({0, 192, 500})  # bad, good, stale: all that the standard has
_PROPERTY_TYPES = BASIC_TYPES | {DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}


def put_metric(wire: Any, metric: BirthMetric, *, where: str = "", depth: int = 0) -> None:
    """All that a metric of a birth, or a member of a template, says of itself; its time is the caller's."""
    name, datatype, value = metric.name, metric.datatype, metric.value
    try:
        wire.name = name
        if metric.alias is not None:
            wire.alias = metric.alias
        wire.datatype = datatype
        if metric.is_historical:
            wire.is_historical = True
        if metric.is_transient:
            wire.is_transient = True
    except (TypeError, ValueError, OverflowError) as error:
        raise not_writable(str(error), f"{where}{name}") from error
    if value is not None and 0 < datatype <= _UUID:
        put_scalar(wire, datatype, value, name)
    else:
        put_value(wire, datatype, value, f"{where}{name}", depth=depth)
    if metric.metadata is not None:
        put_metadata(wire.metadata, metric.metadata, f"{where}{name}")
    if metric.properties:
        put_properties(wire.properties, metric.properties, name)


def put_value(wire: Any, datatype: DataType, value: MetricValue, name: str, *, depth: int = 0) -> None:
    """The value of a metric; None is written as is_null and nothing else."""
    if value is None:
        wire.is_null = True  # tck-id-operational-behavior-data-publish-nbirth-values: and then no value
    elif datatype in ARRAYS:
        try:
            wire.bytes_value = pack_array(datatype, value)  # type: ignore[arg-type]  # it looks itself
        except ArrayError as error:
            raise not_writable(f"no {datatype.label}: {error}", name) from error
    elif datatype is DataType.DATASET:
        _put_dataset(wire.dataset_value, value, name)
    elif datatype is DataType.TEMPLATE:
        _put_template(wire.template_value, value, name, depth)
    elif datatype not in METRIC_TYPES:
        raise LocalProtocolError(
            f"metric {name!r} has datatype {datatype.label}",
            expected="a type that metrics have",
            next_step="leave it out, or make it a property",
        )
    else:
        put_scalar(wire, datatype, value, name)


def put_scalar(wire: Any, datatype: DataType, value: Any, name: str) -> None:
    """A basic type, or bytes, into a oneof."""
    field, limit = _KINDS[datatype]
    if limit is not None:
        if type(value) is not int or not 0 <= value < limit:
            value = wire_integer(value, datatype, name)
    elif field == "float_value":
        check_float(value, name)
    try:
        setattr(wire, field, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise not_writable(str(error), name) from error


def wire_integer(value: Any, datatype: DataType, name: str) -> int:
    """The unsigned form of an integer of that type."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise not_writable(f"{value!r:.60} is no {datatype.label}", name)
    raw = to_wire(value, datatype)
    if raw is None:
        low, high = INTEGER_RANGE[datatype] or (0, 0)
        raise LocalProtocolError(f"metric {name!r}: {value} does not fit {datatype.label}", expected=f"{low} to {high}")
    return raw


def check_float(value: Any, name: str) -> None:
    """Refuse what would become infinite as a Float."""
    if not isinstance(value, (int, float)):
        raise not_writable(f"{value!r:.60} is no Float", name)
    if FLOAT_MAX <= abs(value) < float("inf"):
        raise LocalProtocolError(f"metric {name!r}: {value!r} does not fit Float", expected="up to 3.4028235e38")


def write(wire: Any, field: str, value: Any, name: str) -> None:
    """Set one field; protobuf's own complaints become ours."""
    try:
        setattr(wire, field, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise not_writable(str(error), name) from error


def not_writable(what: str, name: str) -> LocalProtocolError:
    """The error for a value that is not of its type."""
    return LocalProtocolError(f"metric {name!r}: {what}", expected="a value of the metric's datatype")


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _put_dataset(wire: Any, value: Any, name: str) -> None:
    if not isinstance(value, DataSetValue):
        raise not_writable(f"{value!r:.60} is no DataSetValue", name)
    width = len(value.columns)
    if len(value.types) != width:  # tck-id-payloads-dataset-types-num, -column-num-headers
        raise not_writable(f"{width} columns and {len(value.types)} types", name)
    for datatype in value.types:
        if datatype not in BASIC_TYPES:  # tck-id-payloads-dataset-types-value
            raise LocalProtocolError(f"metric {name!r}: column of datatype {datatype.label}", expected="a basic type")
    wire.num_of_columns = width
    _extend(wire.columns, value.columns, name)
    wire.types.extend(value.types)
    for row in value.rows:
        if len(row) != width:
            raise not_writable(f"row of {len(row)} cells in a table of {width} columns", name)
        elements = wire.rows.add().elements
        for column, datatype, cell in zip(value.columns, value.types, row, strict=True):
            if cell is None:  # tck-id-payloads-template-dataset-value: a cell is one of the six
                raise not_writable(f"a cell of column {column!r} has no value, and tables have no null", name)
            put_scalar(elements.add(), datatype, cell, f"{name}: {column}")


def _extend(target: Any, texts: Iterable[str], name: str) -> None:
    try:
        target.extend(texts)
    except (TypeError, ValueError, OverflowError) as error:
        raise not_writable(str(error), name) from error


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────


def _put_template(wire: Any, value: Any, name: str, depth: int) -> None:
    if not isinstance(value, TemplateValue):
        raise not_writable(f"{value!r:.60} is no TemplateValue", name)
    if depth >= DEPTH_MAX:
        raise LocalProtocolError(f"metric {name!r:.100}: templates too deep", expected=f"at most {DEPTH_MAX} levels")
    wire.is_definition = value.is_definition  # tck-id-payloads-template-is-definition: written out, also false
    if value.template_ref is not None:
        if not value.template_ref:
            raise not_writable("an instance that names no definition", name)
        write(wire, "template_ref", value.template_ref, name)
    if value.version is not None:
        write(wire, "version", value.version, name)
    for member in value.metrics:
        target = wire.metrics.add()
        if member.timestamp_ms is not None:
            write(target, "timestamp", member.timestamp_ms, f"{name}/{member.name}")
        put_metric(target, member, where=f"{name}/", depth=depth + 1)
    for parameter in value.parameters:
        _put_parameter(wire.parameters.add(), parameter, name)


def _put_parameter(wire: Any, parameter: TemplateParameter, name: str) -> None:
    if not parameter.name:  # tck-id-payloads-template-parameter-name-required
        raise not_writable("a parameter without name", name)
    if parameter.datatype not in BASIC_TYPES:  # tck-id-payloads-template-parameter-type-value
        raise LocalProtocolError(
            f"parameter {parameter.name!r} of {name!r} has datatype {parameter.datatype.label}", expected="a basic type"
        )
    write(wire, "name", parameter.name, name)
    wire.type = parameter.datatype
    if parameter.value is not None:
        put_scalar(wire, parameter.datatype, parameter.value, f"{name}: {parameter.name}")


# ── properties and metadata ──────────────────────────────────────────────────────────────────────────────────────


def put_properties(wire: Any, properties: Iterable[Property], name: str, *, depth: int = 0) -> None:
    """A property set; as many keys as values."""
    append, add = wire.keys.append, wire.values.add
    try:
        for one in properties:
            datatype, value = one.datatype, one.value
            if one.key == PROPERTY_QUALITY and depth == 0:
                _check_quality(one, name)
            append(one.key)
            target = add()
            target.type = datatype
            if value is None or not 0 < datatype < _UUID:
                _put_content(target, one, name, depth)
                continue
            field, limit = _KINDS[datatype]
            if limit is not None:
                if type(value) is not int or not 0 <= value < limit:
                    value = wire_integer(value, datatype, f"{name}: {one.key}")
            elif field == "float_value":
                check_float(value, f"{name}: {one.key}")
            setattr(target, field, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise not_writable(f"a property: {error}", name) from error


def _check_quality(one: Property, name: str) -> None:
    if one.datatype is not DataType.INT32 or one.value not in _QUALITY_CODES:
        raise LocalProtocolError(
            f"property {one.key!r} of {name!r} is {one.value!r:.60} of {one.datatype.label}",
            expected="0, 192 or 500 of Int32 (tck-id-payloads-propertyset-quality-value-value)",
        )


def _put_content(wire: Any, one: Property, name: str, depth: int) -> None:
    if one.datatype not in _PROPERTY_TYPES:  # tck-id-payloads-metric-propertyvalue-type-value
        raise LocalProtocolError(
            f"property {one.key!r} of {name!r} has datatype {one.datatype.label}",
            expected="a basic type, PropertySet or PropertySetList",
        )
    if one.value is None:
        wire.is_null = True
    else:
        _put_nested(wire, one, f"{name}: {one.key}", depth + 1)


def _put_nested(wire: Any, one: Property, name: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise LocalProtocolError(
            f"metric {name!r:.100}: property sets too deep", expected=f"at most {DEPTH_MAX} levels"
        )
    if one.datatype is DataType.PROPERTY_SET:
        wire.propertyset_value.SetInParent()  # an empty one is not none
        put_properties(wire.propertyset_value, _sets(one.value, name), name, depth=depth)
        return
    wire.propertysets_value.SetInParent()
    if not isinstance(one.value, tuple):
        raise not_writable(f"{one.value!r:.60} is no tuple of property sets", name)
    for properties in one.value:
        put_properties(wire.propertysets_value.propertyset.add(), _sets(properties, name), name, depth=depth)


def _sets(value: Any, name: str) -> tuple[Property, ...]:
    if not isinstance(value, tuple) or not all(isinstance(one, Property) for one in value):
        raise not_writable(f"{value!r:.60} is no tuple of properties", name)
    return value


def put_metadata(wire: Any, metadata: MetaData, name: str) -> None:
    """What is said of a value, part or file; only what is said."""
    wire.SetInParent()
    for field, value in msgspec.structs.asdict(metadata).items():
        if value is not None:
            if isinstance(value, str) and len(value.encode(errors="replace")) > NAME_BYTES_MAX:
                raise not_writable(f"{field} of {len(value)} characters", name)
            write(wire, field, value, name)


# ── the other form of UInt32 ─────────────────────────────────────────────────────────────────────────────────────


def put_uint32_into_long(wire: Any, datatype: int, value: MetricValue) -> None:
    """Move the UInt32s of a written metric, and of all that it holds, from int_value to long_value.

    The standard's table says int_value; Tahu, Ignition and version 3.0.0 of the standard's test kit say long_value.
    """
    _move_uint32(wire, datatype)
    if wire.HasField("properties"):
        _move_uint32_of_properties(wire.properties)
    if datatype == DataType.DATASET and wire.HasField("dataset_value"):
        for row in wire.dataset_value.rows:
            for cell, number in zip(row.elements, wire.dataset_value.types, strict=True):
                _move_uint32(cell, number)
    elif isinstance(value, TemplateValue):
        for parameter in wire.template_value.parameters:
            _move_uint32(parameter, parameter.type)
        for member, said in zip(wire.template_value.metrics, value.metrics, strict=True):
            put_uint32_into_long(member, said.datatype, said.value)


def _move_uint32(wire: Any, datatype: int) -> None:
    if datatype == DataType.UINT32 and wire.HasField("int_value"):
        wire.long_value = wire.int_value


def _move_uint32_of_properties(wire: Any) -> None:
    for value in wire.values:
        _move_uint32(value, value.type)
        if value.HasField("propertyset_value"):
            _move_uint32_of_properties(value.propertyset_value)
        elif value.HasField("propertysets_value"):
            for one in value.propertysets_value.propertyset:
                _move_uint32_of_properties(one)
