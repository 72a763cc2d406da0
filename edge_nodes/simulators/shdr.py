"""A machine's day as SHDR rows: parsed once, every row accounted for, nothing skipped in silence.

    2017-09-07T09:15:46.281Z|program|94                         a sample or event: time | key | value
    2017-09-07T09:17:37.851Z|system_cond|Warning|1101|||INTERFERE    a condition: 7 fields, one row

``UNAVAILABLE`` is liveness (the agent lost its adapter), not a value. A row that says the same of the same key at the
same time once more is a repeat. Everything else is malformed and says why.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from uns.errors import ConfigurationError

__all__ = ["PROGRAM_KEYS", "Day", "DayMetric", "MalformedRow", "Observation", "load_day", "machine_of", "parse_day"]

FILE_BYTES_MAX = 512 * 1024 * 1024  # unpacked; a day of the busiest machine known is 10 MB
ROW_CHARACTERS_MAX = 4096
KEY_CHARACTERS_MAX = 64  # a metric must fit one topic level
PROGRAM_KEYS = ("program", "Program_Name_Running")  # what a control runs: a name, also where it looks like a number
MALFORMED_KEPT_MAX = 1000  # reasons kept for people; all are counted

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_KEY = re.compile(rf"[A-Za-z0-9_.:~-]{{1,{KEY_CHARACTERS_MAX}}}")
_NOT_IN_METRIC = re.compile(r"[^A-Za-z0-9_-]")
_CONDITION_FIELDS = 7
_SAMPLE_FIELDS = 3


class Observation(msgspec.Struct, frozen=True):
    """One row that carries a value. The time is cut to the µs, which is what an OPC UA stack in Python keeps."""

    row: int  # 1 is the first row of the file
    key: str
    time_us: int
    value: float | str
    repeats: bool = False  # an earlier row said the same of the same key and time


class DayMetric(msgspec.Struct, frozen=True):
    """One key of the day as a metric: Double where every value is a number, else String; a program is a name."""

    key: str
    name: str  # the key with what cannot stand in a name replaced; unique without regard to case
    kind: Literal["Double", "String"]


class MalformedRow(msgspec.Struct, frozen=True):
    """A row that could not be read."""

    row: int
    reason: str


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed file: ``rows = samples + liveness + repeats + malformed``."""

    machine: str
    rows: int
    observations: list[Observation]  # samples and repeats in file order, which is the order of arrival
    samples: int
    liveness: int
    repeats: int
    malformed: int
    malformed_rows: list[MalformedRow]  # the first few, with reasons
    metrics: dict[str, DayMetric]  # by key

    @property
    def program_key(self) -> str | None:
        """The key that says which program runs; None if the day has none."""
        return next((key for key in PROGRAM_KEYS if key in self.metrics), None)


def machine_of(path: Path) -> str:
    """The machine a file is of, by its name: ``Mazak03-20170907-20170908.txt.gz`` is of ``Mazak03``."""
    stem = path.name.split(".", 1)[0]
    name = re.sub(r"-\d{8}.*$", "", stem)
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "machine"


def load_day(path: Path) -> Day:
    """Read a plain or gzipped file; raise :class:`ConfigurationError` if it cannot be read at all."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), expected="a file of SHDR rows, plain or gzipped"
        ) from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError("too long", where=str(path), expected=f"at most {FILE_BYTES_MAX} bytes unpacked")
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        del lines[-1]  # the end of the last row, not a row
    return parse_day(machine_of(path), lines)


def parse_day(machine: str, lines: Sequence[bytes]) -> Day:
    """Sort every line into value, liveness, repeat or malformed."""
    texts: list[tuple[int, str, int, str]] = []  # row, key, time, value as text
    malformed: list[MalformedRow] = []
    malformed_count = 0
    liveness = 0
    keys: dict[str, bool] = {}  # key to "every value so far is a number"; in order of first appearance
    for row, line in enumerate(lines, start=1):
        parsed = _parse_row(line)
        if isinstance(parsed, str):
            malformed_count += 1
            if len(malformed) < MALFORMED_KEPT_MAX:
                malformed.append(MalformedRow(row, parsed))
            continue
        key, time_us, text, is_value = parsed
        if not is_value:
            liveness += 1
            continue
        keys[key] = keys.get(key, key not in PROGRAM_KEYS) and _is_number(text)
        texts.append((row, key, time_us, text))

    observations: list[Observation] = []
    seen: set[tuple[str, int, float | str]] = set()
    for row, key, time_us, text in texts:
        value: float | str = float(text) if keys[key] else text
        identity = (key, time_us, value)
        observations.append(Observation(row, key, time_us, value, identity in seen))
        seen.add(identity)
    return Day(
        machine=machine,
        rows=len(lines),
        observations=observations,
        samples=len(seen),
        liveness=liveness,
        repeats=len(observations) - len(seen),
        malformed=malformed_count,
        malformed_rows=malformed,
        metrics=_metrics(keys.items()),
    )


def _metrics(keys: Iterable[tuple[str, bool]]) -> dict[str, DayMetric]:
    metrics: dict[str, DayMetric] = {}
    taken: set[str] = set()
    for key, numeric in keys:
        name = _NOT_IN_METRIC.sub("_", key)
        if name.startswith("_"):
            name = f"x{name}"[:KEY_CHARACTERS_MAX]  # a level that starts with _ is a class of topics
        base, number = name[: KEY_CHARACTERS_MAX - 4], 2
        while name.lower() in taken:
            name = f"{base}-{number}"
            number += 1
        taken.add(name.lower())
        metrics[key] = DayMetric(key, name, "Double" if numeric else "String")
    return metrics


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None and abs(float(text)) != float("inf")


def _parse_row(line: bytes) -> tuple[str, int, str, bool] | str:
    """Key, time in µs, value, whether it is one; or why the row is malformed."""
    try:
        text = line.decode().removesuffix("\r")
    except UnicodeDecodeError:
        return "not UTF-8"
    if len(text) > ROW_CHARACTERS_MAX:
        return f"longer than {ROW_CHARACTERS_MAX} characters"
    if "\x00" in text:
        return "holds a NUL character"
    fields = text.split("|")
    if len(fields) not in (_SAMPLE_FIELDS, _CONDITION_FIELDS):
        return f"{len(fields)} fields, expected 3 (time|key|value) or 7 (a condition)"
    time_us = _parse_time(fields[0])
    if time_us is None:
        return f"time {fields[0][:40]!r}, expected YYYY-MM-DDThh:mm:ss.fffZ since 1970"
    if _KEY.fullmatch(fields[1]) is None:
        return f"key {fields[1][:40]!r}, expected 1 to {KEY_CHARACTERS_MAX} letters, digits or _.:~-"
    is_value = fields[2].strip().upper() != "UNAVAILABLE"
    return fields[1], time_us, "|".join(fields[2:]), is_value


def _parse_time(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    *parts, fraction = match.groups()
    try:
        moment = datetime(*(int(part) for part in parts), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _SECOND
    if seconds < 0:
        return None
    return seconds * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6])


_SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
