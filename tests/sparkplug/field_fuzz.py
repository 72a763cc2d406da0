"""Whole messages damaged where it hurts: as trees of fields, put together again as valid or nearly valid protobuf.

Bytes that are flipped mostly end the parser. Fields that are left out, doubled, split, moved, renumbered, of another
wire type or another form of the same number get behind it, to what reads the message.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug import goldens
from tests.sparkplug.fuzz import varint

__all__ = ["payloads"]

VARINT, FIXED64, LENGTH, FIXED32, RAW = 0, 1, 2, 5, 99
_NUMBERS: tuple[int, ...] = (
    *range(36),
    127,
    128,
    255,
    256,
    500,
    *(2**n + d for n in (31, 32, 63) for d in (-1, 0)),
    2**64 - 1,
)
_TEXTS = (b"", b"a", b"\xff", b"\xed\xa0\x80", b"\x00", b"bdSeq", b"m/Int8", b"Quality", "é".encode(), b"x" * 1100)
_EIGHT = (bytes(8), bytes(7) + b"\x80", b"\xff" * 8, bytes(6) + b"\xf0\x7f", bytes(6) + b"\xf8\x7f")
_FOUR = (bytes(4), b"\x00\x00\x00\x80", b"\xff" * 4, b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f")
_RAW = (  # groups, whole and cut off; varints without end and beyond 64 bits; field numbers that cannot be; extensions
    *(b"\x0b\x0c", b"\x0b", b"\x0c", b"\x13\x12\x00\x14", b"\x0b\x13\x14\x0c", b"\x93\x01\x12\x02\x0a\x00\x94\x01"),
    *(b"\x0b" * 120 + b"\x0c" * 120, b"\x50" + b"\xff" * 10 + b"\x01", b"\x50" + b"\xff" * 9 + b"\x7f", b"\x07"),
    *(b"\x00\x00", b"\xfa\xff\xff\xff\x0f\x00", b"\x82\x80\x80\x80\x10\x00", b"\x32\x01x", b"\xc2\x3e\x00"),
    *(b"\x12\xff\xff\xff\xff\x0f", b"\x1a\x03\x01\x02\x03", b"\x1a\x02\x01\xff"),
)
_OVERLONG = 0.003  # of the varints
_BYTES_MAX = 1 << 20


@dataclass
class Field:
    """One field; ``content`` is its number, its bytes, or the fields of the message inside."""

    number: int
    kind: int
    content: int | bytes | Fields
    inside: Descriptor | None = None


Fields = list[Field]


def payloads(seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    whole = list(goldens.MESSAGES.values())
    while count:
        fields = _split(chance.choice(whole), Payload.DESCRIPTOR)
        for _ in range(chance.randrange(1, 5)):
            _damage(fields, chance)
        payload = _join(fields, chance)
        if len(payload) <= _BYTES_MAX:
            count -= 1
            yield payload


def _split(content: bytes, descriptor: Descriptor) -> Fields:
    found: Fields = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(content):
        tag = number()
        kind = tag & 7
        if kind == VARINT:
            found.append(Field(tag >> 3, kind, number()))
            continue
        size = number() if kind == LENGTH else 8 if kind == FIXED64 else 4
        inner = content[at : at + size]
        at += size
        known = descriptor.fields_by_number.get(tag >> 3)
        message = known.message_type if known is not None and kind == LENGTH else None
        found.append(Field(tag >> 3, kind, inner if message is None else _split(inner, message), message))
    return found


def _join(fields: Fields, chance: random.Random) -> bytes:
    out = bytearray()
    for field in fields:
        content = field.content
        if field.kind == RAW:
            assert isinstance(content, bytes)
            out += content
            continue
        out += _varint(field.number << 3 | field.kind, chance)
        if isinstance(content, int):
            out += _varint(content, chance)
            continue
        packed = _join(content, chance) if isinstance(content, list) else content
        out += _varint(len(packed), chance) + packed if field.kind == LENGTH else packed
    return bytes(out)


def _varint(number: int, chance: random.Random) -> bytes:
    shortest = varint(number)
    if chance.random() >= _OVERLONG or len(shortest) > 9:
        return shortest
    more = chance.randrange(1, 11 - len(shortest))
    return shortest[:-1] + bytes([shortest[-1] | 0x80]) + b"\x80" * (more - 1) + b"\x00"


def _messages(fields: Fields, descriptor: Descriptor | None) -> list[tuple[Fields, Descriptor | None]]:
    found = [(fields, descriptor)]
    for field in fields:
        if isinstance(field.content, list):
            found += _messages(field.content, field.inside)
    return found


def _copy(field: Field) -> Field:
    content = field.content
    return replace(field, content=[_copy(one) for one in content] if isinstance(content, list) else content)


def _content(kind: int, chance: random.Random) -> int | bytes:
    if kind == VARINT:
        return chance.choice(_NUMBERS)
    if kind == LENGTH:
        return chance.choice(_TEXTS)
    size, known = (8, _EIGHT) if kind == FIXED64 else (4, _FOUR)
    chosen: bytes = chance.choice((*known, chance.randbytes(size)))
    return chosen


def _damage(whole: Fields, chance: random.Random) -> None:
    messages = _messages(whole, Payload.DESCRIPTOR)
    fields, descriptor = chance.choice(messages)
    somewhere = chance.randrange(len(fields) + 1)
    if not fields or chance.random() < 0.1:
        fields.insert(somewhere, Field(0, RAW, chance.choice(_RAW)))
        return
    field = chance.choice(fields)
    content = field.content
    match chance.randrange(9):
        case 0:
            fields.remove(field)
        case 1:
            fields.insert(somewhere, _copy(field))  # twice; of a oneof the last one counts
        case 2:
            fields.remove(field)
            fields.insert(chance.randrange(len(fields) + 1), field)
        case 3 if not isinstance(content, list):
            field.content = _content(field.kind, chance)
        case 4:  # of another wire type
            field.kind = chance.choice((VARINT, FIXED64, LENGTH, FIXED32))
            field.content, field.inside = _content(field.kind, chance), None
        case 5 if isinstance(content, list) and len(content) > 1:  # in two parts, which the parser merges
            at = chance.randrange(len(content))
            fields.insert(fields.index(field) + 1, replace(field, content=content[at:]))
            field.content = content[:at]
        case 6:
            field.number = chance.choice((*range(1, 21), 2**29 - 1))
        case 7 if descriptor is not None and descriptor.fields:
            fields.insert(somewhere, _of_schema(chance.choice(descriptor.fields), messages, chance))
        case _:
            _retype(fields, descriptor, chance)


def _of_schema(
    known: FieldDescriptor, messages: list[tuple[Fields, Descriptor | None]], chance: random.Random
) -> Field:
    """A field that may stand there; a message with the content of one from elsewhere."""
    if known.message_type is not None:
        same = [fields for fields, descriptor in messages if descriptor is known.message_type]
        content = [_copy(one) for one in chance.choice(same)] if same and chance.random() < 0.8 else []
        return Field(known.number, LENGTH, content, known.message_type)
    kinds = {
        FieldDescriptor.TYPE_STRING: LENGTH,
        FieldDescriptor.TYPE_BYTES: LENGTH,
        FieldDescriptor.TYPE_DOUBLE: FIXED64,
        FieldDescriptor.TYPE_FLOAT: FIXED32,
    }
    kind = kinds.get(known.type, VARINT)
    return Field(known.number, kind, _content(kind, chance))


def _retype(fields: Fields, descriptor: Descriptor | None, chance: random.Random) -> None:
    """A metric of another datatype; the types of a table in the packed form."""
    name = None if descriptor is None else descriptor.name
    if name == "Metric":
        for field in fields:
            if field.number == 4 and field.kind == VARINT:
                field.content = chance.choice(_NUMBERS)
    elif name == "DataSet":
        types = [field.content for field in fields if field.number == 3 and isinstance(field.content, int)]
        fields[:] = [field for field in fields if field.number != 3]
        fields.append(Field(3, LENGTH, b"".join(varint(number) for number in types)))
