"""What a scalar means where the schema wants a number, a truth value, a duration or a size."""

from __future__ import annotations

import re

from uns.namespace.nodes import ScalarNode

__all__ = [
    "BOOLEANS",
    "YAML_1_1_BOOLEANS",
    "duration_text",
    "integer_of",
    "number_of",
    "parse_duration_ns",
    "parse_size_bytes",
]

# YAML 1.2 core schema, nothing of 1.1: no octal 0010, no sexagesimal 12:30, no yes and no.
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
YAML_1_1_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,32}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]{1,40}|(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s?(ns|us|ms|s|m|min|h|d)")
_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZE_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def parse_duration_ns(text: str) -> int | None:
    """``250ms``, ``1.5s``, ``5m``, ``1h``, ``7d`` in nanoseconds; None if it is no duration."""
    match = _DURATION.fullmatch(text)
    return None if match is None else _scaled(match[1], _DURATION_NS[match[2]])


def parse_size_bytes(text: str) -> int | None:
    """``2GB`` (10⁹), ``64KiB`` (2¹⁰) in bytes; None if it is no size."""
    match = _SIZE.fullmatch(text)
    return None if match is None else _scaled(match[1], _SIZE_BYTES[match[2]])


def _scaled(decimal: str, factor: int) -> int:
    """Exact: 0.1 s is 100_000_000 ns, whatever a float makes of 0.1."""
    whole, _, fraction = decimal.partition(".")
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def duration_text(duration_ns: int) -> str:
    """A duration in the largest unit that keeps it whole: the inverse of :func:`parse_duration_ns`."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if duration_ns and duration_ns % _DURATION_NS[unit] == 0:
            return f"{duration_ns // _DURATION_NS[unit]}{unit}"
    return f"{duration_ns}ns"


def integer_of(scalar: ScalarNode) -> int | None:
    """A whole number without quotes; None for anything else, ``0010`` included."""
    if not scalar.plain:
        return None
    if _INTEGER.fullmatch(scalar.text):
        return int(scalar.text)
    return int(scalar.text, 16) if _HEXADECIMAL.fullmatch(scalar.text) else None


def number_of(scalar: ScalarNode) -> float | None:
    """A finite number without quotes; None for anything else."""
    if not scalar.plain:
        return None
    if _HEXADECIMAL.fullmatch(scalar.text):
        return float(int(scalar.text, 16))
    if not _NUMBER.fullmatch(scalar.text):
        return None
    value = float(scalar.text)
    return value if abs(value) != float("inf") else None
