"""Any payload to a document and back, whatever kind of message it is; with births, aliases get their names.

Reading shows what sessions would reject: such a metric keeps its bytes and says why. Writing a document is not held to
what an edge node may send, only to what the wire can carry, so that odd payloads can be made for tests.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.arrays import ArrayError, pack_array
from uns.sparkplug.codec.parsing import (
    DEFAULT_LENIENCY,
    DEPTH_MAX,
    PAYLOAD_BYTES_MAX,
    Leniency,
    Payload,
    Reading,
    Rejected,
    parse,
)
from uns.sparkplug.codec.reading import resolve
from uns.sparkplug.codec.reading_values import (
    DATATYPES,
    UNTYPED,
    as_text,
    datatype_of,
    read_array,
    read_dataset,
    read_metadata,
    read_scalar,
)
from uns.sparkplug.codec.writing_values import FLOAT_MAX, put_metadata
from uns.sparkplug.datatypes import ARRAYS, INTEGER_RANGE, VALUE_FIELD, DataType
from uns.sparkplug.documents import (
    DataSetDocument,
    MetricDocument,
    OfBirth,
    ParameterDocument,
    PayloadDocument,
    PropertyDocument,
    TemplateDocument,
    array_from_json,
    bytes_from_json,
    bytes_to_json,
    label_of,
    number_of,
    scalar_from_json,
    to_json,
)
from uns.sparkplug.metrics import TemplateMembers

__all__ = ["decode_document", "encode_document"]

_TEXT_BYTES_MAX = PAYLOAD_BYTES_MAX
# Types by which a member of the oneof is written where nobody says one.
_BY_FIELD = UNTYPED | {
    "bytes_value": DataType.BYTES,
    "dataset_value": DataType.DATASET,
    "template_value": DataType.TEMPLATE,
}
_SETS = frozenset({int(DataType.PROPERTY_SET), int(DataType.PROPERTY_SET_LIST)})
_WIDTH = {"int_value": 0xFFFF_FFFF, "long_value": 0xFFFF_FFFF_FFFF_FFFF}

# ── read ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def decode_document(
    payload: bytes, table: AliasTable | None = None, leniency: Leniency = DEFAULT_LENIENCY
) -> tuple[PayloadDocument, dict[str, int]]:
    """The document of a payload, and what was forgiven on reading it; ``table`` holds the births that there are."""
    message = parse(payload, leniency)
    reading = Reading(leniency, None)
    table = table or AliasTable()
    if not isinstance(message.uuid, str):
        raise RemoteProtocolError("payload with a uuid that is not UTF-8", expected="text")
    document = PayloadDocument(
        timestamp=_field(message, "timestamp"),
        seq=_field(message, "seq"),
        uuid=_field(message, "uuid"),
        body=bytes_to_json(message.body) if message.HasField("body") else None,
        metrics=[_metric(wire, table, reading) for wire in message.metrics],
    )
    return document, reading.notes


def _field(wire: Any, name: str) -> Any:
    if not wire.HasField(name):
        return None
    value = getattr(wire, name)
    return as_text(value, _TEXT_BYTES_MAX) if isinstance(value, str | bytes) else value


def _metric(wire: Any, table: AliasTable | TemplateMembers, reading: Reading) -> MetricDocument:
    depth = reading.depth
    try:
        return _readable(wire, table, reading)
    except Rejected as rejection:
        reading.depth = depth
        if depth:
            raise  # the template that holds it is shown as bytes, whole
        name = wire.name if wire.HasField("name") and isinstance(wire.name, str) else None
        alias = wire.alias if wire.HasField("alias") else None
        raw = bytes_to_json(wire.SerializeToString())
        return MetricDocument(name=name, alias=alias, rejected=rejection.reason, raw=raw)


def _readable(wire: Any, table: AliasTable | TemplateMembers, reading: Reading) -> MetricDocument:
    document = MetricDocument(
        name=_field(wire, "name"),
        alias=_field(wire, "alias"),
        timestamp=_field(wire, "timestamp"),
        datatype=label_of(wire.datatype) if wire.HasField("datatype") else None,
        is_historical=_field(wire, "is_historical"),
        is_transient=_field(wire, "is_transient"),
        is_null=_field(wire, "is_null"),
        metadata=read_metadata(wire.metadata) if wire.HasField("metadata") else None,
        properties=_properties(wire.properties, reading) if wire.HasField("properties") else None,
    )
    binding = None
    if isinstance(table, TemplateMembers):
        binding = table.by_name.get(wire.name) if wire.name else table.by_alias.get(wire.alias)
    elif wire.name not in _BY_NAME_ALONE or wire.HasField("alias"):
        try:
            binding = resolve(wire, table)
        except Rejected:
            binding = None  # not of these births; shown as far as it tells itself
    number = wire.datatype
    if binding is not None:
        of_birth = OfBirth(
            name=None if wire.name else binding.name, datatype=None if number else binding.datatype.label
        )
        if of_birth.name is not None or of_birth.datatype is not None:
            document.of_birth = of_birth
        number = number or binding.datatype
    members = None if binding is None else binding.members
    document.field, document.value = _value(wire, number, reading, members)
    return document


_BY_NAME_ALONE = frozenset({""})


def _value(wire: Any, number: int, reading: Reading, members: TemplateMembers | None) -> tuple[str | None, Any]:
    """The member of the oneof where it does not follow from the type, and the value."""
    which = wire.WhichOneof("value")
    if which is None:
        return None, None
    if not 0 < number < len(DATATYPES):  # nobody said a type
        if which not in _BY_FIELD:
            raise Rejected("unsupported_type")
        return which, _by_field(wire, which, reading)
    datatype = datatype_of(number)
    if which == "dataset_value" == VALUE_FIELD[datatype]:
        return None, _dataset(wire.dataset_value, reading)
    if which == "template_value" == VALUE_FIELD[datatype]:
        return None, _template(wire.template_value, reading, members)
    if datatype in ARRAYS:
        return None, to_json(read_array(wire, datatype, reading))
    value = to_json(read_scalar(wire, datatype, reading))
    return None if which == VALUE_FIELD[datatype] else which, value


def _by_field(wire: Any, which: str, reading: Reading) -> Any:
    if which == "dataset_value":
        return _dataset(wire.dataset_value, reading)
    if which == "template_value":
        return _template(wire.template_value, reading, None)
    return to_json(read_scalar(wire, _BY_FIELD[which], reading))


def _dataset(wire: Any, reading: Reading) -> DataSetDocument:
    value = read_dataset(wire, reading)
    told = _field(wire, "num_of_columns")
    return DataSetDocument(
        num_of_columns=msgspec.UNSET if told == len(value.columns) else told,
        columns=list(value.columns),
        types=[datatype.label for datatype in value.types],
        rows=[[to_json(cell) for cell in row] for row in value.rows],
    )


def _template(wire: Any, reading: Reading, members: TemplateMembers | None) -> TemplateDocument:
    reading.enter()
    document = TemplateDocument(
        version=_field(wire, "version"),
        template_ref=_field(wire, "template_ref"),
        is_definition=_field(wire, "is_definition"),
        parameters=[_parameter(parameter, reading, members) for parameter in wire.parameters],
        metrics=[_metric(member, members or _NO_MEMBERS, reading) for member in wire.metrics],
    )
    reading.leave()
    return document


_NO_MEMBERS = TemplateMembers({}, {}, {})


def _parameter(wire: Any, reading: Reading, members: TemplateMembers | None) -> ParameterDocument:
    number, of_birth = wire.type, None
    if not number and members is not None and (known := members.parameters.get(wire.name)) is not None:
        number, of_birth = known, OfBirth(datatype=known.label)
    field, value = _value(wire, _basic(number), reading, None)
    told = label_of(wire.type) if wire.HasField("type") else None
    return ParameterDocument(name=_field(wire, "name"), type=told, of_birth=of_birth, field=field, value=value)


def _basic(number: int) -> int:
    """The number of a type that may stand in a parameter or property, else 0: then the field alone says how to read."""
    return number if 0 < number <= DataType.UUID else 0


def _properties(wire: Any, reading: Reading) -> list[PropertyDocument]:
    if len(wire.keys) != len(wire.values):
        raise Rejected("wrong_type")
    return [_property(as_text(key), value, reading) for key, value in zip(wire.keys, wire.values, strict=True)]


def _property(key: str, wire: Any, reading: Reading) -> PropertyDocument:
    which = wire.WhichOneof("value")
    value: Any
    if which in {"propertyset_value", "propertysets_value"}:
        if wire.type and VALUE_FIELD[wire.type if wire.type < len(VALUE_FIELD) else 0] != which:
            raise Rejected("wrong_type")
        reading.enter()
        if which == "propertyset_value":
            value = _properties(wire.propertyset_value, reading)
        else:
            value = [_properties(one, reading) for one in wire.propertysets_value.propertyset]
        reading.leave()
        field = None if wire.type else which
    elif which is not None and wire.type in _SETS:
        raise Rejected("wrong_type")
    else:
        field, value = _value(wire, _basic(wire.type), reading, None)
    return PropertyDocument(
        key=key,
        type=label_of(wire.type) if wire.HasField("type") else None,
        is_null=_field(wire, "is_null"),
        field=field,
        value=value,
    )


# ── write ────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode_document(document: PayloadDocument) -> bytes:
    """The payload of a document; raises :class:`LocalProtocolError` with the place of what cannot be written."""
    message = Payload()
    _set(message, document, ("timestamp", "seq", "uuid"), "payload")
    if document.body is not None:
        message.body = bytes_from_json(document.body, "body")
    for index, metric in enumerate(document.metrics):
        _put_metric(message.metrics.add(), metric, f"metrics[{index}]", 0)
    payload = message.SerializeToString()
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise LocalProtocolError(f"payload of {len(payload)} bytes", expected=f"at most {PAYLOAD_BYTES_MAX}")
    return payload


def _set(wire: Any, document: Any, fields: tuple[str, ...], where: str) -> None:
    for field in fields:
        if (value := getattr(document, field)) is not None:
            _write(wire, field, value, f"{where}.{field}")


def _put_metric(wire: Any, document: MetricDocument, where: str, depth: int) -> None:
    if document.raw is not None:
        raw = bytes_from_json(document.raw, f"{where}.raw")
        try:
            wire.MergeFromString(raw)
        except DecodeError as error:
            raise LocalProtocolError("no bytes of a metric", where=f"{where}.raw", expected="as decode gave") from error
        return
    _set(wire, document, ("name", "alias", "timestamp", "is_historical", "is_transient", "is_null"), where)
    if document.datatype is not None:
        wire.datatype = number_of(document.datatype, f"{where}.datatype")
    if document.metadata is not None:
        put_metadata(wire.metadata, document.metadata, f"{where}.metadata")
    if document.properties is not None:
        wire.properties.SetInParent()
        _put_properties(wire.properties, document.properties, f"{where}.properties", depth)
    _put_value(wire, document, document.datatype, f"{where}.value", depth)


def _put_value(
    wire: Any,
    document: MetricDocument | ParameterDocument | PropertyDocument,
    told: str | int | None,
    where: str,
    depth: int,
) -> None:
    value = document.value
    if value is None:
        return
    if not told and not isinstance(document, PropertyDocument) and document.of_birth is not None:
        told = document.of_birth.datatype
    number = number_of(told, where)
    field = document.field
    if field is not None and field not in _BY_FIELD:
        raise LocalProtocolError(f"{field!r:.60} is no field of a value", where=where, expected=", ".join(_BY_FIELD))
    if isinstance(document, ParameterDocument) or (isinstance(document, PropertyDocument) and number not in _SETS):
        number = _basic(number)
    if 0 < number < len(DATATYPES):
        datatype = DATATYPES[number]
    elif field is not None:
        datatype = _BY_FIELD[field]
    else:
        raise LocalProtocolError(
            f"{told!r:.60} cannot stand here" if told else "a value without a type",
            where=where,
            expected="a basic type in properties and parameters, else the field that carries the value"
            if told
            else "datatype (or type), else the field that carries it",
        )
    field = field or VALUE_FIELD[datatype]
    if depth > DEPTH_MAX:
        raise LocalProtocolError("nested too deep", where=where[:100], expected=f"at most {DEPTH_MAX} levels")
    try:
        _put_typed(wire, datatype, field, value, where, depth=depth)
    except AttributeError as error:
        raise LocalProtocolError(
            f"there is no {field!s:.60} here", where=where, expected="a type that may stand here"
        ) from error
    except msgspec.ValidationError as error:
        raise LocalProtocolError(f"no {datatype.label}: {error!s:.300}", where=where) from error


def _put_typed(wire: Any, datatype: DataType, field: str, value: Any, where: str, *, depth: int) -> None:
    if datatype is DataType.DATASET:
        _put_dataset(wire.dataset_value, msgspec.convert(value, DataSetDocument), where)
    elif datatype is DataType.TEMPLATE:
        _put_template(wire.template_value, msgspec.convert(value, TemplateDocument), where, depth)
    elif datatype is DataType.PROPERTY_SET:
        wire.propertyset_value.SetInParent()
        _put_properties(wire.propertyset_value, msgspec.convert(value, list[PropertyDocument]), where, depth + 1)
    elif datatype is DataType.PROPERTY_SET_LIST:
        wire.propertysets_value.SetInParent()
        for properties in msgspec.convert(value, list[list[PropertyDocument]]):
            _put_properties(wire.propertysets_value.propertyset.add(), properties, where, depth + 1)
    elif datatype in ARRAYS:
        try:
            _write(wire, "bytes_value", pack_array(datatype, array_from_json(datatype, value, where)), where)
        except ArrayError as error:
            raise LocalProtocolError(f"no {datatype.label}: {error!s:.300}", where=where) from error
    else:
        _put_scalar(wire, datatype, field, value, where)


def _put_scalar(wire: Any, datatype: DataType, field: str, value: Any, where: str) -> None:
    plain: Any = scalar_from_json(datatype, value, where)
    span = INTEGER_RANGE[datatype]
    if span is not None:
        if not span[0] <= plain <= span[1]:
            raise LocalProtocolError(
                f"{plain!s:.60} does not fit {datatype.label}", where=where, expected=f"{span[0]} to {span[1]}"
            )
        plain &= _WIDTH.get(field, 0xFFFF_FFFF_FFFF_FFFF)
    elif datatype is DataType.FLOAT and FLOAT_MAX <= abs(plain) < math.inf:
        raise LocalProtocolError(f"{plain!r:.60} does not fit Float", where=where, expected="up to 3.4028235e38")
    _write(wire, field, plain, where)


def _write(wire: Any, field: str, value: Any, where: str) -> None:
    try:
        setattr(wire, field, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{error!s:.300}", where=where, expected="a value of the field's type") from error


def _put_dataset(wire: Any, document: DataSetDocument, where: str) -> None:
    width = len(document.columns)
    types = [number_of(label, where) for label in document.types]
    if len(types) != width or not all(0 < number <= DataType.UUID for number in types):
        raise LocalProtocolError(
            f"{width} columns of types {document.types!r:.100}", where=where, expected="one basic type for each column"
        )
    wire.SetInParent()  # an empty one is not none
    told = width if document.num_of_columns is msgspec.UNSET else document.num_of_columns
    if told is not None:
        _write(wire, "num_of_columns", told, where)
    try:
        wire.columns.extend(document.columns)
    except ValueError as error:
        raise LocalProtocolError(f"{error!s:.300}", where=where, expected="text") from error
    wire.types.extend(types)
    for index, row in enumerate(document.rows):
        if len(row) != width:
            raise LocalProtocolError(f"row {index} has {len(row)} cells", where=where, expected=f"{width}")
        elements = wire.rows.add().elements
        for number, cell in zip(types, row, strict=True):
            target = elements.add()
            if cell is not None:
                _put_scalar(target, DATATYPES[number], VALUE_FIELD[number], cell, f"{where}.rows[{index}]")


def _put_template(wire: Any, document: TemplateDocument, where: str, depth: int) -> None:
    wire.SetInParent()
    _set(wire, document, ("version", "template_ref", "is_definition"), where)
    for index, parameter in enumerate(document.parameters):
        target = wire.parameters.add()
        place = f"{where}.parameters[{index}]"
        _set(target, parameter, ("name",), place)
        if parameter.type is not None:
            target.type = number_of(parameter.type, place)
        _put_value(target, parameter, parameter.type, place, depth + 1)
    for index, member in enumerate(document.metrics):
        _put_metric(wire.metrics.add(), member, f"{where}.metrics[{index}]", depth + 1)


def _put_properties(wire: Any, documents: list[PropertyDocument], where: str, depth: int) -> None:
    for one in documents:
        place = f"{where}[{one.key!r:.60}]"
        try:
            wire.keys.append(one.key)
        except ValueError as error:
            raise LocalProtocolError(str(error), where=place, expected="text") from error
        target = wire.values.add()
        if one.type is not None:
            target.type = number_of(one.type, place)
        _set(target, one, ("is_null",), place)
        _put_value(target, one, one.type, place, depth)
