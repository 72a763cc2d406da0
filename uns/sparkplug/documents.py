"""Any payload as a document that people read and programs write: the JSON form of ``uns sparkplug decode``.

A document says what stands on the wire, no more: a field that is not there is left out, and a default that is there is
shown. What only a birth tells (the name and type behind an alias) stands apart, in ``of_birth``. Numbers are exact;
bytes are base64; what JSON has no number for is "NaN", "Infinity" or "-Infinity"; arrays are lists.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import msgspec

from uns.errors import LocalProtocolError
from uns.sparkplug.datatypes import ARRAYS, DataType, Value
from uns.sparkplug.metrics import MetaData, RejectReason

__all__ = [
    "DataSetDocument",
    "MetricDocument",
    "OfBirth",
    "ParameterDocument",
    "PayloadDocument",
    "PropertyDocument",
    "TemplateDocument",
    "array_from_json",
    "bytes_from_json",
    "bytes_to_json",
    "document_from_json",
    "document_to_json",
    "label_of",
    "number_of",
    "scalar_from_json",
    "to_json",
]

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FLOATS = frozenset({DataType.FLOAT, DataType.DOUBLE})
_BYTES = frozenset({DataType.BYTES, DataType.FILE})
_FLOAT_ARRAYS = frozenset({DataType.FLOAT_ARRAY, DataType.DOUBLE_ARRAY})


class _Document(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Shared settings: None is what the wire does not say."""


class OfBirth(_Document):
    """What a birth says of a metric that names itself by alias, or leaves out its type."""

    name: str | None = None
    datatype: str | int | None = None


class PropertyDocument(_Document):
    """A property. ``value`` of a PropertySet is a list of properties, of a PropertySetList a list of such lists."""

    key: str
    type: str | int | None = None
    is_null: bool | None = None
    field: str | None = None  # the member of the oneof, where it is not the one of the type
    value: Any = None


class ParameterDocument(_Document):
    """A parameter of a template."""

    name: str | None = None
    type: str | int | None = None
    of_birth: OfBirth | None = None
    field: str | None = None
    value: Any = None


class DataSetDocument(_Document):
    """A table; a cell of null has no value."""

    num_of_columns: int | msgspec.UnsetType | None = msgspec.UNSET  # where it is another number; null: not said
    columns: list[str] = []
    types: list[str | int] = []
    rows: list[list[Any]] = []


class MetricDocument(_Document):
    """A metric, or a member of a template. ``rejected`` says why the rest could not be read; ``raw`` is all of it."""

    name: str | None = None
    alias: int | None = None
    timestamp: int | None = None
    datatype: str | int | None = None
    of_birth: OfBirth | None = None
    is_historical: bool | None = None
    is_transient: bool | None = None
    is_null: bool | None = None
    metadata: MetaData | None = None
    properties: list[PropertyDocument] | None = None
    field: str | None = None
    value: Any = None
    rejected: RejectReason | None = None
    raw: str | None = None


class TemplateDocument(_Document):
    """A definition or an instance."""

    version: str | None = None
    template_ref: str | None = None
    is_definition: bool | None = None
    parameters: list[ParameterDocument] = []
    metrics: list[MetricDocument] = []


class PayloadDocument(_Document):
    """A payload."""

    timestamp: int | None = None
    seq: int | None = None
    uuid: str | None = None
    body: str | None = None
    metrics: list[MetricDocument] = []


_decoder = msgspec.json.Decoder(PayloadDocument)
_encoder = msgspec.json.Encoder()


def document_to_json(document: PayloadDocument) -> bytes:
    """The JSON form on one line."""
    return _encoder.encode(document)


def document_from_json(text: bytes) -> PayloadDocument:
    """Read the JSON form; raises :class:`LocalProtocolError` with the place of the mistake."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LocalProtocolError(
            f"no payload in its JSON form: {error!s:.300}",
            next_step="see docs/reference/sparkplug-cli.md, or what `uns sparkplug decode --json` prints",
        ) from error


def label_of(number: int) -> str | int:
    """The datatype as a document says it: by the standard's word where there is one."""
    return DataType(number).label if 0 < number <= DataType.DATETIME_ARRAY else number


def number_of(label: str | int | None, where: str) -> int:
    """Inverse of :func:`label_of`; 0 for None."""
    if label is None:
        return 0
    if isinstance(label, str):
        try:
            return int(DataType.from_label(label))
        except KeyError:
            raise LocalProtocolError(
                f"{label!r:.60} is no datatype", where=where, expected="a word such as Double, Int32, StringArray"
            ) from None
    if not 0 <= label < 1 << 32:
        raise LocalProtocolError(f"{label!s:.60} is no number of a datatype", where=where, expected="0 to 4294967295")
    return label


def to_json(value: Any) -> Any:
    """A scalar or an array as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    if isinstance(value, bytes):
        return bytes_to_json(value)
    if isinstance(value, tuple):
        return [to_json(element) for element in value]
    return value


def scalar_from_json(datatype: DataType, value: Any, where: str) -> Value:
    """Inverse of :func:`to_json` for a basic type or bytes; what does not fit is found when it is written."""
    if datatype in _FLOATS:
        return _float(value, where)
    if datatype in _BYTES:
        return bytes_from_json(value, where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e3
    wanted = bool if datatype is DataType.BOOLEAN else str if datatype in _TEXTS else int
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise LocalProtocolError(f"{value!r:.60} is no {datatype.label}", where=where, expected=_EXPECTED[wanted])
    return value


def array_from_json(datatype: DataType, value: Any, where: str) -> tuple[Any, ...]:
    """Inverse of :func:`to_json` for an array."""
    if not isinstance(value, list) or datatype not in ARRAYS:
        raise LocalProtocolError(f"{value!r:.60} is no {datatype.label}", where=where, expected="a list")
    return tuple(_float(element, where) for element in value) if datatype in _FLOAT_ARRAYS else tuple(value)


def bytes_to_json(value: bytes) -> str:
    """Base64."""
    return base64.b64encode(value).decode()


def bytes_from_json(value: Any, where: str) -> bytes:
    """Inverse of :func:`bytes_to_json`."""
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise LocalProtocolError(f"{value!r:.60} is no base64: {error}", where=where, expected="base64 text") from error


def _float(value: Any, where: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LocalProtocolError(
            f"{value!r:.60} is no number", where=where, expected='a number, "NaN", "Infinity" or "-Infinity"'
        )
    try:
        return float(value)
    except OverflowError as error:
        raise LocalProtocolError(f"{value!s:.60} is too large", where=where, expected="a double") from error


_TEXTS = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
_EXPECTED = {bool: "true or false", str: "text", int: "a whole number"}
