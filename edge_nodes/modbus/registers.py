"""Modbus registers: addresses, formats, blocks, and one precompiled struct for all values of a block. Pure.

A block is the bytes of its registers as they came over the wire. The four byte orders need two views of it and two
endiannesses, and no arithmetic per value::

    order   bytes on the wire      view      struct
    ABCD    A B C D                as is     big-endian
    DCBA    D C B A                as is     little-endian
    BADC    B A D C                swapped   big-endian       (swapped: the two bytes of each register exchanged)
    CDAB    C D A B                swapped   little-endian

The same table holds for 16 and 64 bits.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from edge_nodes.conversion import Refusal, convert
from uns.sparkplug.datatypes import DataType, Value

__all__ = [
    "FORMATS",
    "ORDERS",
    "Block",
    "BlockDecoder",
    "RegisterFormat",
    "RegisterPoint",
    "RegisterTable",
    "parse_format",
    "parse_register",
    "plan_blocks",
]

REGISTERS_PER_READ_MAX = 125  # function codes 3 and 4
BITS_PER_READ_MAX = 2000  # function codes 1 and 2
GAP_MAX = 16  # registers read for nothing rather than with a request of their own
STRING_CHARACTERS_MAX = 2 * REGISTERS_PER_READ_MAX
RECIPROCAL_TOLERANCE = 1e-12  # how near 1/scale must be to a whole number to divide by that
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


class RegisterTable(StrEnum):
    """The four tables of a Modbus server."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"

    @property
    def holds_bits(self) -> bool:
        """Coils and discrete inputs are single bits."""
        return self in (RegisterTable.COIL, RegisterTable.DISCRETE)


# First digit of an entity number, as panels and manuals print it.
_ENTITY_DIGIT = {
    RegisterTable.HOLDING: 4,
    RegisterTable.INPUT: 3,
    RegisterTable.DISCRETE: 1,
    RegisterTable.COIL: 0,
}
_REGISTER = re.compile(r"(holding|input|coil|discrete):(#?)([0-9]{1,6})")


def parse_register(text: str) -> tuple[RegisterTable, int]:
    """``holding:40012`` (entity number, counts from 1) or ``holding:#11`` (offset, counts from 0) → table, offset 11.

    Raises ``ValueError`` with the next step for anything else.
    """
    match = _REGISTER.fullmatch(text)
    if match is None:
        raise ValueError("write holding:40012 (entity number) or holding:#11 (offset); also input, coil, discrete")
    table = RegisterTable(match[1])
    number = int(match[3])
    if match[2]:
        if number > 0xFFFF:
            raise ValueError("offsets end at #65535")
        return table, number
    digit = _ENTITY_DIGIT[table]
    for places in (10_000, 100_000):
        first = digit * places
        size = 9_999 if places == 10_000 else 65_536
        if first < number <= first + size and (digit or len(match[3]) <= (5 if places == 10_000 else 6)):
            return table, number - first - 1
    raise ValueError(
        f"entity numbers of {table} run from {digit * 10_000 + 1:05d} to {digit * 10_000 + 9_999:05d} "
        f"or {digit * 100_000 + 1:06d} to {digit * 100_000 + 65_536:06d}; an offset is written {table}:#{number}"
    )


class RegisterFormat(msgspec.Struct, frozen=True):
    """How registers make a value: a struct code over ``registers`` registers; ``bits`` is 1 for a coil."""

    name: str
    code: str
    registers: int
    kind: str  # integer | float | bool | string


FORMATS: dict[str, RegisterFormat] = {
    "int16": RegisterFormat("int16", "h", 1, "integer"),
    "uint16": RegisterFormat("uint16", "H", 1, "integer"),
    "int32": RegisterFormat("int32", "i", 2, "integer"),
    "uint32": RegisterFormat("uint32", "I", 2, "integer"),
    "int64": RegisterFormat("int64", "q", 4, "integer"),
    "uint64": RegisterFormat("uint64", "Q", 4, "integer"),
    "float32": RegisterFormat("float32", "f", 2, "float"),
    "float64": RegisterFormat("float64", "d", 4, "float"),
    "bool": RegisterFormat("bool", "H", 1, "bool"),
}
_STRING = re.compile(r"string\(([0-9]{1,3})\)")


def parse_format(text: str) -> RegisterFormat | None:
    """A format by its name; ``string(20)`` is 20 characters in 10 registers. None if there is no such format."""
    known = FORMATS.get(text)
    if known is not None:
        return known
    match = _STRING.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= STRING_CHARACTERS_MAX:
        return None
    registers = (int(match[1]) + 1) // 2
    characters = int(match[1])
    return RegisterFormat(text, f"{characters}s{2 * registers - characters}x", registers, "string")


class RegisterPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One metric and the registers it is made of."""

    metric: int
    datatype: DataType
    table: RegisterTable
    offset: int
    format: RegisterFormat
    order: str = "ABCD"
    bit: int | None = None  # of a register, for bool; None: any bit set is true
    scale: float | int = 1
    add: float | int = 0  # value = register x scale + add

    @property
    def end(self) -> int:
        """The offset behind its last register (or bit)."""
        return self.offset + (1 if self.table.holds_bits else self.format.registers)

    @property
    def converts(self) -> bool:
        """Whether a raw value needs more than its struct: a scale, a range check, another kind."""
        return self.scale != 1 or self.add != 0 or _TRUSTED.get(self.format.name) is not self.datatype


# A register format whose every value is a value of the datatype as it stands.
_TRUSTED: dict[str, DataType] = {
    "int16": DataType.INT16,
    "uint16": DataType.UINT16,
    "int32": DataType.INT32,
    "uint32": DataType.UINT32,
    "int64": DataType.INT64,
    "uint64": DataType.UINT64,
    "float32": DataType.FLOAT,
    "float64": DataType.DOUBLE,
}


class Block(msgspec.Struct, frozen=True):
    """One request: ``count`` registers or bits from ``offset``, and the points that it feeds."""

    table: RegisterTable
    offset: int
    count: int
    points: tuple[RegisterPoint, ...]


def plan_blocks(points: Iterable[RegisterPoint], *, gap_max: int = GAP_MAX) -> list[Block]:
    """The fewest requests that read every point, without reading more than ``gap_max`` unasked registers in a row."""
    blocks: list[Block] = []
    ordered = sorted(points, key=lambda p: (p.table, p.offset, p.end))
    members: list[RegisterPoint] = []
    end = 0
    for point in ordered:
        if members:
            first = members[0]
            size_max = BITS_PER_READ_MAX if first.table.holds_bits else REGISTERS_PER_READ_MAX
            if (
                point.table is not first.table
                or point.offset - end > gap_max
                or max(end, point.end) - first.offset > size_max
            ):
                blocks.append(Block(first.table, first.offset, end - first.offset, tuple(members)))
                members = []
        end = max(end, point.end) if members else point.end
        members.append(point)
    if members:
        first = members[0]
        blocks.append(Block(first.table, first.offset, end - first.offset, tuple(members)))
    return blocks


class _Layer(msgspec.Struct, frozen=True):
    """One struct over one view of the block: points that share an endianness and do not overlap."""

    unpack: struct.Struct
    swapped: bool
    places: tuple[int, ...]  # where the values stand in the block's points


class BlockDecoder:
    """Turns the registers of a block into values, in the order of ``block.points``."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._layers = [] if block.table.holds_bits else _layers(block)
        self._conversions = [(i, p) for i, p in enumerate(block.points) if p.converts]

    def decode(self, registers: Sequence[int]) -> list[Value | Refusal]:
        """Values of all points; a :class:`Refusal` stands where a register's content is no value of its metric."""
        block = self.block
        values: list[Value | Refusal]
        if block.table.holds_bits:
            values = [bool(registers[p.offset - block.offset]) for p in block.points]
        else:
            values = self._unpack(registers)
        for place, point in self._conversions:
            try:
                values[place] = _converted(point, values[place])
            except Refusal as refusal:
                values[place] = refusal
        return values

    def _unpack(self, registers: Sequence[int]) -> list[Value | Refusal]:
        if len(registers) != self.block.count:
            raise ValueError(f"{len(registers)} registers, asked for {self.block.count}")
        words = array("H", registers)
        native = words.tobytes()
        swapped_words = array("H", words)
        swapped_words.byteswap()
        other = swapped_words.tobytes()
        wire, swapped = (native, other) if _NATIVE_IS_BIG else (other, native)
        values: list[Value | Refusal] = [None] * len(self.block.points)
        for layer in self._layers:
            found = layer.unpack.unpack(swapped if layer.swapped else wire)
            for place, value in zip(layer.places, found, strict=True):
                values[place] = value
        return values


_NATIVE_IS_BIG = struct.pack("=H", 1) == b"\x00\x01"
_VIEWS: dict[str, tuple[bool, str]] = {
    "ABCD": (False, ">"),
    "DCBA": (False, "<"),
    "BADC": (True, ">"),
    "CDAB": (True, "<"),
}
# A string has no numeric value that could be turned round: only the two bytes of a register may stand exchanged.
_STRING_VIEWS: dict[str, tuple[bool, str]] = {
    "ABCD": (False, ">"),
    "CDAB": (False, ">"),
    "BADC": (True, ">"),
    "DCBA": (True, ">"),
}


def _layers(block: Block) -> list[_Layer]:
    open_layers: dict[tuple[bool, str], list[list[int]]] = {}
    for place, point in enumerate(block.points):  # sorted by offset
        views = _STRING_VIEWS if point.format.kind == "string" else _VIEWS
        stacks = open_layers.setdefault(views[point.order], [])
        for stack in stacks:
            if block.points[stack[-1]].end <= point.offset:
                stack.append(place)
                break
        else:
            stacks.append([place])
    layers = []
    for (swapped, endian), stacks in open_layers.items():
        for stack in stacks:
            code, at = endian, block.offset
            for place in stack:
                point = block.points[place]
                code += f"{2 * (point.offset - at)}x{point.format.code}"
                at = point.end
            code += f"{2 * (block.offset + block.count - at)}x"
            layers.append(_Layer(struct.Struct(code), swapped, tuple(stack)))
    return layers


def _converted(point: RegisterPoint, raw: Value | Refusal) -> Value:
    if isinstance(raw, Refusal):
        raise raw
    if point.format.kind == "bool":
        if isinstance(raw, int) and not isinstance(raw, bool):
            raw = bool(raw if point.bit is None else raw >> point.bit & 1)
        return convert(point.datatype, raw)
    if isinstance(raw, bytes):
        text = raw.split(b"\0", 1)[0]
        try:
            return convert(point.datatype, text.decode().rstrip())
        except UnicodeDecodeError:
            raise Refusal("wrong_type", f"{text!r} is no UTF-8 text") from None
    if isinstance(raw, int | float) and (point.scale != 1 or point.add != 0):
        raw = _scaled(raw, point.scale) + point.add
    return convert(point.datatype, raw)


def _scaled(raw: float, scale: float) -> float:
    """1821 at a scale of 0.1 is 182.1; 1821 * 0.1 would be 182.10000000000002."""
    divisor = round(1 / scale) if 0 < abs(scale) < 1 else 1
    if divisor != 1 and abs(divisor * scale - 1) < RECIPROCAL_TOLERANCE:
        return raw / divisor
    return raw * scale
