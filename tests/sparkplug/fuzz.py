"""Payloads and topics that nobody should send, made from a seed: noise, damaged messages, wild but parsable ones."""

from __future__ import annotations

import random
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug import goldens

__all__ = ["HOSTILE", "payloads", "topics", "varint"]

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = (
    b"",
    b"a",
    b"bdSeq",
    b"m/Int8",
    b"Node Control/Rebirth",
    b"\xff",
    b"\x00",
    "é".encode(),
    b"\xed\xa0\x80",
    b"x" * 2000,
)
_GOLDENS = (*goldens.MESSAGES.values(), goldens.COMPRESSED)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def payloads(seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    kinds = (_damaged, _damaged, _damaged, _wild, _wild, _noise)
    for _ in range(count):
        yield chance.choice(kinds)(chance)


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(200))


def _damaged(chance: random.Random) -> bytes:
    payload = bytearray(chance.choice(_GOLDENS))
    for _ in range(chance.randrange(1, 5)):
        start = chance.randrange(len(payload) + 1)
        end = min(len(payload), start + chance.randrange(1, 16))
        match chance.randrange(6):
            case 0:
                payload[start:end] = b""
            case 1:
                payload[start:start] = chance.randbytes(chance.randrange(8))
            case 2:
                payload[start:start] = payload[start:end]  # twice
            case 3:
                payload[start:end] = chance.randbytes(end - start)
            case 4 if start < len(payload):
                payload[start] ^= 1 << chance.randrange(8)
            case _ if start < len(payload):
                payload[start] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(payload)


def _wild(chance: random.Random) -> bytes:
    return _message(chance, Payload.DESCRIPTOR, 0)


def _message(chance: random.Random, descriptor: Descriptor, depth: int) -> bytes:
    out = bytearray()
    for _ in range(chance.randrange(6 if depth else 12) if descriptor.fields else 0):
        one = chance.choice(descriptor.fields)
        kind = one.type
        if chance.random() < 0.03:
            kind = chance.choice((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_DOUBLE))
        out += _value(chance, one, kind, depth)
    return bytes(out)


def _value(chance: random.Random, one: FieldDescriptor, kind: int, depth: int) -> bytes:
    if kind == FieldDescriptor.TYPE_MESSAGE and one.message_type is not None:
        return field(one.number, _message(chance, one.message_type, depth + 1) if depth < 12 else b"")
    if kind in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}:
        return field(
            one.number, chance.choice(_TEXTS) if chance.random() < 0.7 else chance.randbytes(chance.randrange(20))
        )
    if kind == FieldDescriptor.TYPE_FLOAT:
        return varint(one.number << 3 | 5) + chance.randbytes(4)
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return varint(one.number << 3 | 1) + chance.randbytes(8)
    number = chance.randrange(36) if chance.random() < 0.6 else chance.choice(_NUMBERS)
    return varint(one.number << 3) + varint(number)


_KINDS = ("STATE", "NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH", "NCMD", "DCMD", "NBIRTHx")
_IDS = ("G", "E", "D", "", " ", "+", "#", "$share", "..", "%2F", "é", "e\u0301", "x" * 300)
_CHARACTERS = ("\x00", "\x1f", "\x7f", "\u2028", "\ufffe", "\ud800")
_LEVELS = ("spBv1.0", "spAv1.0", *_KINDS, *_IDS, *_CHARACTERS)


def topics(seed: int, count: int) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(count):
        levels = [chance.choice(_LEVELS) for _ in range(chance.randrange(1, 8))]
        if chance.random() < 0.6:
            levels[0] = "spBv1.0"
        yield "/".join(levels)


_MIB = 1 << 20


def _filled(head: bytes, unit: bytes, *wrappers: int) -> bytes:
    """``unit`` again and again inside nested fields (outermost last), up to the size that is still taken."""
    content = head + unit * ((_MIB - 64 - len(head)) // len(unit))
    for number in wrappers:
        content = field(number, content)
    return content


def _deep(levels: int) -> bytes:
    content = b""
    for _ in range(levels):
        content = field(18, field(2, content))
    return field(2, field(1, b"x") + b"\x20\x13" + content)


_NAME = field(1, b"x")
# What would cost most: little on the wire, much in memory or time. Each is as large as a payload may be.
HOSTILE: dict[str, bytes] = {
    "empty metrics": _filled(b"", b"\x12\x00"),
    "empty metrics, long tags": _filled(b"", b"\x92\x00\x00"),
    "empty metrics behind a group": b"\x9b\x06\x9c\x06" + _filled(b"", b"\x12\x00"),
    "metrics with one field": _filled(b"", b"\x12\x02\x18\x01"),
    "members": _filled(b"", b"\x12\x00", 18, 2),
    "parameters": _filled(b"", b"\x1a\x00", 18, 2),
    "rows": _filled(_NAME, b"\x22\x00", 17, 2),
    "cells": _filled(b"", b"\x0a\x00", 4, 17, 2),
    "columns": _filled(b"", b"\x12\x00", 17, 2),
    "types": _filled(b"", b"\x18\x01", 17, 2),
    "packed types": field(2, field(17, field(3, b"\x01" * (_MIB - 64)))),
    "properties": _filled(b"", b"\x0a\x00\x12\x00", 9, 2),
    "property sets": _filled(b"", b"\x0a\x00", 10, 2, 9, 2),
    "booleans": field(2, _NAME + b"\x20\x20" + field(16, (8 * (_MIB - 128)).to_bytes(4, "little") + bytes(_MIB - 128))),
    "strings": field(2, _NAME + b"\x20\x21" + field(16, bytes(_MIB - 128))),
    "bytes as an array": field(2, _NAME + b"\x20\x16" + field(16, bytes(_MIB - 128))),
    "numbers as an array": field(2, _NAME + b"\x20\x16" + field(16, b"\x80" * (_MIB - 128))),
    "words as an array": field(2, _NAME + b"\x20\x21" + field(16, "€\x00".encode() * ((_MIB - 128) // 4))),
    "metrics that can be used": b"".join(
        field(2, field(1, b"%d" % (n + 10_000)) + b"\x20\x07\x50\xff\xff\x03\x18\xff\xff\x03") for n in range(48_000)
    ),
    "many small arrays": _filled(b"", field(2, b"\x20\x20" + field(16, b"\x00\x01\x00\x00" + bytes(32)))),
    "deep templates": _deep(45),
    "deeper templates": _deep(5000),
    "unknown fields": _filled(b"", b"\xb0\x06\x01"),
    "one value again and again": _filled(_NAME, field(17, b""), 2),
    "long text": field(2, field(1, b"n" * (_MIB - 64))),
    "tags in text": field(2, field(1, b"\x12" * (_MIB - 64))),
    "varints without end": b"\xff" * _MIB,
    "zeros": bytes(_MIB),
}
assert all(len(payload) <= _MIB for payload in HOSTILE.values())
