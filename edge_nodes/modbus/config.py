"""The ``kind: modbus`` part of a node file. Pure: it reads fields and finds mistakes, it connects to nothing."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from edge_nodes.conversion import INTEGER_RANGES
from edge_nodes.modbus.registers import (
    FORMATS,
    ORDERS,
    RegisterFormat,
    RegisterPoint,
    RegisterTable,
    parse_format,
    parse_register,
)
from edge_nodes.wiring import COMMON_KEYS, MetricKey, SourceOptions, WiringReader
from uns.namespace.findings import nearest
from uns.namespace.model import MetricContract
from uns.namespace.yaml_file import Fields
from uns.sparkplug.datatypes import DataType

__all__ = ["MODBUS_KEYS", "ModbusConfig", "read_modbus"]

_NS_PER_MS = 1_000_000
PORT = 502
MODBUS_KEYS = (*COMMON_KEYS, "unit_id", "every", "timeout", "gap_max")
_POINT_KEYS = ("register", "format", "order", "scale", "offset", "bit")
_FLOATS = (DataType.FLOAT, DataType.DOUBLE)
_TEXTS = (DataType.STRING, DataType.TEXT, DataType.UUID)
_INTEGERS = tuple(datatype for datatype in INTEGER_RANGES if datatype is not DataType.DATETIME)


class ModbusConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One Modbus server (behind a TCP gateway perhaps) and what is read from it."""

    kind: Literal["modbus"] = "modbus"
    options: SourceOptions
    url: str
    host: str
    port: int
    modbus_unit_id: int = 1
    every_ms: float = 1_000.0
    timeout_ms: float = 1_000.0
    gap_max: int = 16
    points: tuple[tuple[MetricKey, RegisterPoint], ...] = ()  # their metric numbers are set by the runtime


def read_modbus(name: str, fields: Fields, wiring: WiringReader) -> ModbusConfig:
    """Read one source; what is wrong becomes a finding and the default stands in."""
    url = fields.text("url", default="")
    host, port = _address(url)
    if url and not host:
        shown = url.rsplit("@", 1)[-1]  # whatever stood before it may be a secret
        fields.findings.error(
            "url", f"{shown!r} is no Modbus address", fields.position_of("url"), "write modbus+tcp://host:502"
        )
    return ModbusConfig(
        options=wiring.options(name, fields),
        url=url,
        host=host,
        port=port,
        modbus_unit_id=fields.integer("unit_id", default=1, minimum=0, maximum=255),
        every_ms=fields.duration_ns("every", default=1_000 * _NS_PER_MS, minimum_ns=10 * _NS_PER_MS) / _NS_PER_MS,
        timeout_ms=fields.duration_ns("timeout", default=1_000 * _NS_PER_MS, minimum_ns=10 * _NS_PER_MS) / _NS_PER_MS,
        gap_max=fields.integer("gap_max", default=16, minimum=0, maximum=124),
        points=tuple(wiring.points(name, fields, keys=_POINT_KEYS, read=_read_point)),
    )


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme == "modbus+tcp" and parts.hostname and parts.path in ("", "/") and "@" not in parts.netloc:
            return parts.hostname, parts.port or PORT
    except ValueError:
        pass
    return "", PORT


def _read_point(fields: Fields, contract: MetricContract) -> tuple[str, RegisterPoint] | None:
    text = fields.text("register", default=None)
    if text is None:
        if "register" not in fields:
            fields.findings.error(
                "missing-key", f"{fields.what} lacks 'register'", fields.position, "add `register: holding:40001`"
            )
        return None
    try:
        table, offset = parse_register(text)
    except ValueError as error:
        fields.findings.error("register", f"{text!r} is no register", fields.position_of("register"), str(error))
        return None
    register_format = _read_format(fields, table)
    if register_format is None:
        return None
    order = fields.choice("order", {order: order for order in ORDERS}, default="ABCD")
    point = RegisterPoint(
        metric=0,
        datatype=contract.datatype,
        table=table,
        offset=offset,
        format=register_format,
        order=order,
        bit=fields.integer("bit", default=None, minimum=0, maximum=15),
        scale=_whole(fields.number("scale", default=1)),
        add=_whole(fields.number("offset", default=0)),
    )
    if point.end > 0x10000:
        fields.findings.error(
            "register",
            f"{text} with {register_format.name} ends behind the last register",
            fields.position_of("register"),
        )
        return None
    return (_address_text(text, point), point) if _fits(fields, point) else None


def _read_format(fields: Fields, table: RegisterTable) -> RegisterFormat | None:
    text = fields.text("format", default="bool" if table.holds_bits else "")
    found = parse_format(text)
    if found is None:
        known = (*FORMATS, "string(n)")
        fields.findings.error(
            "format",
            f"{text!r} is no register format" if text else f"{fields.what} lacks 'format'",
            fields.position_of("format"),
            nearest(text, known) or f"one of {', '.join(known)}",
        )
        return None
    if table.holds_bits and found.kind != "bool":
        fields.findings.error(
            "format", f"a {table} is one bit, {found.name} is not", fields.position_of("format"), "leave the format out"
        )
        return None
    return found


def _fits(fields: Fields, point: RegisterPoint) -> bool:
    """Whether every value of the register has a chance to be a value of the metric."""
    kind, datatype, scaled = point.format.kind, point.datatype, point.scale != 1 or point.add != 0
    at, what = fields.position_of("format"), f"a {point.format.name} register for a {datatype.label} metric"
    error = fields.findings.error
    allowed = {
        "integer": (*_INTEGERS, *_FLOATS),
        "float": _FLOATS,
        "bool": (DataType.BOOLEAN,),
        "string": _TEXTS,
    }[kind]
    if datatype not in allowed:
        error("format", what, at, f"the metric's type stands in the tree; {kind} registers fit {_listed(allowed)}")
        return False
    if scaled and kind in ("bool", "string"):
        key = "scale" if point.scale != 1 else "offset"
        error("scale", f"{what} cannot be scaled", fields.position_of(key), f"remove `{key}:`")
        return False
    if scaled and datatype in _INTEGERS and not (isinstance(point.scale, int) and isinstance(point.add, int)):
        error(
            "scale",
            f"a scale of {point.scale} and offset of {point.add} make fractions of a {datatype.label} metric",
            fields.position_of("scale"),
            "declare the metric as Double in the tree, or scale by whole numbers",
        )
        return False
    if point.bit is not None and (kind != "bool" or point.table.holds_bits):
        error("bit", f"`bit:` picks a bit of a register, {what} has none", fields.position_of("bit"))
        return False
    if point.scale == 0:
        error("scale", "a scale of 0 makes every value the same", fields.position_of("scale"))
        return False
    if kind == "integer" and not scaled and datatype in _INTEGERS:
        low, high = INTEGER_RANGES[datatype]
        own = INTEGER_RANGES[_RANGE_OF[point.format.name]]
        if own[0] < low or own[1] > high:
            fields.findings.warning(
                "format", f"{what}: values outside {low} to {high} will be refused", at, "mend the type in the tree"
            )
    return True


_RANGE_OF = {
    "int16": DataType.INT16,
    "uint16": DataType.UINT16,
    "int32": DataType.INT32,
    "uint32": DataType.UINT32,
    "int64": DataType.INT64,
    "uint64": DataType.UINT64,
}


def _listed(datatypes: tuple[DataType, ...]) -> str:
    return ", ".join(datatype.label for datatype in datatypes)


def _whole(number: float) -> float | int:
    return int(number) if float(number).is_integer() else number


def _address_text(register: str, point: RegisterPoint) -> str:
    parts = [register, point.format.name]
    if point.format.registers > 1:
        parts.append(point.order)
    if point.bit is not None:
        parts.append(f"bit {point.bit}")
    if point.scale != 1:
        parts.append(f"x {point.scale}")
    if point.add != 0:
        parts.append(f"+ {point.add}")
    return " ".join(parts)
