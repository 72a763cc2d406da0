"""From what a PLC gave to a value of the metric's datatype, or a refusal with its reason. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from uns.sparkplug.datatypes import INTEGER_RANGE, DataType, Value

__all__ = ["INTEGER_RANGES", "Refusal", "convert", "round_float"]

INTEGER_RANGES: dict[DataType, tuple[int, int]] = {  # DateTime: ms since the epoch
    DataType(number): span for number, span in enumerate(INTEGER_RANGE) if span is not None
}
TEXT_BYTES_MAX = 32_768  # of one String, Text, UUID or Bytes value: a payload stays below its bound

_FLOAT = struct.Struct("<f")


class Refusal(Exception):  # noqa: N818 it is an answer, not a fault of ours
    """No value of the datatype stands for what was read. ``reason`` is the word that is counted."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        self.text = text
        super().__init__(f"{reason}: {text}")


def round_float(value: float) -> float:
    """The nearest 32-bit value: what a Float metric carries and what the host will record."""
    try:
        return float(_FLOAT.unpack(_FLOAT.pack(value))[0])
    except OverflowError:
        raise Refusal("out_of_range", f"{value!r} is no Float") from None


def convert(datatype: DataType, value: object) -> Value:
    """Give ``value`` as the core sees a metric of ``datatype``; raise :class:`Refusal` if it cannot stand for it.

    Nothing is guessed: a number is no text, a truth value is no number, 3.5 is no integer. NaN and infinity are
    values of Float and Double only.
    """
    if value is None:
        raise Refusal("no_value", "no value, and yet no bad status")
    converter = _CONVERTERS.get(datatype)
    if converter is None:
        raise Refusal("wrong_type", f"{datatype.label} is not published by this release")
    return converter(datatype, value)


def _number(datatype: DataType, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(datatype, value)
    try:
        number = float(value)
    except OverflowError:
        raise Refusal("out_of_range", f"{_shown(value)} is no {datatype.label}") from None
    return round_float(number) if datatype is DataType.FLOAT else number


def _boolean(datatype: DataType, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(datatype, value)
    return value


def _bytes(datatype: DataType, value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _wrong_type(datatype, value)
    return _bounded(value, len(value))


def _integer(datatype: DataType, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(datatype, value)
    if isinstance(value, float):
        if math.isnan(value):
            raise Refusal("not_a_number", f"NaN is no {datatype.label}")
        # A floating-point tag is the wrong type even while its value happens to be whole: it would be refused later.
        raise _wrong_type(datatype, value)
    low, high = INTEGER_RANGES[datatype]
    if not low <= value <= high:
        raise Refusal("out_of_range", f"{_shown(value)} is no {datatype.label} ({low} to {high})")
    return value


def _text(datatype: DataType, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(datatype, value)
    if datatype is DataType.UUID:
        try:
            UUID(value)
        except ValueError:
            raise Refusal("wrong_type", f"{_shown(value)} is no UUID") from None
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Refusal("wrong_type", "text with a lone surrogate is no UTF-8") from None
    return _bounded(value, size)


_Sized = TypeVar("_Sized", str, bytes)


def _bounded(value: _Sized, size: int) -> _Sized:
    if size > TEXT_BYTES_MAX:
        raise Refusal("out_of_range", f"{size} bytes, at most {TEXT_BYTES_MAX}")
    return value


def _wrong_type(datatype: DataType, value: object) -> Refusal:
    return Refusal("wrong_type", f"{_shown(value)} ({type(value).__name__}) is no {datatype.label}")


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 200 else f"{value.bit_length()} bits"
    return text if len(text) <= 60 else f"{text[:57]}…"


_CONVERTERS: dict[DataType, Callable[[DataType, object], Value]] = {
    **dict.fromkeys(INTEGER_RANGES, _integer),
    DataType.FLOAT: _number,
    DataType.DOUBLE: _number,
    DataType.BOOLEAN: _boolean,
    DataType.STRING: _text,
    DataType.TEXT: _text,
    DataType.UUID: _text,
    DataType.BYTES: _bytes,
}
