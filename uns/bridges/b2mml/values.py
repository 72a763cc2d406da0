"""Texts, numbers, quantities and times of B2MML elements. Tolerant: what cannot be read is a finding, not an end."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from lxml import etree

from uns.bridges.b2mml.document import line_of, name_of
from uns.context.records import Quantity, normal_unit
from uns.context.validation import TEXT_CHARACTERS_MAX
from uns.namespace.findings import Finding, Severity, shown

__all__ = ["FINDINGS_OF_A_RULE_MAX", "Collected", "Element", "Refused", "Values", "parse_time"]

FINDINGS_OF_A_RULE_MAX = 20  # shown one by one; the rest is counted in one line

Element = etree._Element  # noqa: SLF001 - lxml gives its element no public name


class Refused(Exception):  # noqa: N818 - it says what happened
    """What is being read cannot be taken; its findings were reported."""


class Collected:
    """Findings of one document: the first of each rule one by one, the rest counted."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._kept: list[Finding] = []
        self._counts: dict[tuple[Severity, str], int] = {}
        self.errors = 0

    def error(self, rule: str, text: str, line: int, next_step: str, *, column: int = 1) -> None:
        """What keeps the document, or one order of it, from being taken."""
        self.errors += 1
        self._add(Finding(file=self._file, line=line, column=column, rule=rule, text=text, next_step=next_step))

    def warning(self, rule: str, text: str, line: int, next_step: str) -> None:
        """What breaks B2MML's rules, or is doubtful, and was read nevertheless."""
        self._add(
            Finding(file=self._file, line=line, column=1, rule=rule, text=text, next_step=next_step, severity="warning")
        )

    def all(self) -> tuple[Finding, ...]:
        """From the top; a line for each rule that has more."""
        found = sorted(self._kept, key=lambda finding: (finding.line, finding.column))
        for (severity, rule), count in self._counts.items():
            more = count - FINDINGS_OF_A_RULE_MAX
            if more > 0:
                found.append(
                    Finding(
                        file=self._file,
                        line=1,
                        column=1,
                        rule=rule,
                        text=f"{more:,} more of these are not shown",
                        next_step="",
                        severity=severity,
                    )
                )
        return tuple(found)

    def is_full(self, severity: Severity, rule: str) -> bool:
        """Whether further findings of a rule are only counted."""
        return self._counts.get((severity, rule), 0) >= FINDINGS_OF_A_RULE_MAX

    def _add(self, finding: Finding) -> None:
        key = (finding.severity, finding.rule)
        if not self.is_full(*key):
            self._kept.append(finding)
        self._counts[key] = self._counts.get(key, 0) + 1


_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.(\d{1,12}))?(Z|[+-]\d{2}:\d{2})?", re.ASCII
)  # xsd:dateTime, years of four digits
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def parse_time(text: str) -> datetime | None:
    """A time as xsd:dateTime writes it, to the microsecond; naive where it has no zone; None if it is none.

    >>> parse_time("2012-11-29T11:58:25.3149559+01:00").isoformat()
    '2012-11-29T11:58:25.314955+01:00'
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, clock, fraction, zone = match.groups()
    midnight = clock == "24:00:00"  # xsd:dateTime has it: the end of the day
    try:
        moment = datetime.fromisoformat(
            f"{date}T{'00:00:00' if midnight else clock}.{(fraction or '')[:6]:0<6}{zone or ''}"
        )
        return moment + timedelta(days=1) if midnight else moment
    except (ValueError, OverflowError):
        return None


class Values:
    """Reads the values below elements of one document."""

    def __init__(self, namespace: str, findings: Collected) -> None:
        self._namespace = namespace
        self._prefix = "{" + namespace + "}"
        self.findings = findings
        self._zones: dict[str, zoneinfo.ZoneInfo] = {}

    def children(self, element: Element, *names: str) -> Iterator[Element]:
        """The children of these names, in order of the document."""
        if len(names) == 1:
            yield from element.iterchildren(self._prefix + names[0])
        else:
            yield from (child for child in element.iterchildren() if name_of(child, self._namespace) in names)

    def child(self, element: Element, name: str) -> Element | None:
        """The first child of a name."""
        return element.find(self._prefix + name)

    def text(self, element: Element, name: str) -> str | None:
        """The text of a child, made one line and trimmed; None where there is none or it is blank."""
        child = element.find(self._prefix + name)
        return None if child is None else self.own_text(child)

    def own_text(self, element: Element) -> str | None:
        """The text of an element itself, likewise."""
        text = element.text
        return None if not text else " ".join(text.split()) or None

    def identifier(self, element: Element, name: str) -> str | None:
        """An identifier of a child: as it stands, leading zeros and all, up to what a fact takes."""
        child = element.find(self._prefix + name)
        return None if child is None else self.own_identifier(child)

    def own_identifier(self, element: Element) -> str | None:
        """The identifier that an element itself holds, likewise."""
        text = (element.text or "").strip()
        if len(text) > TEXT_CHARACTERS_MAX:
            self.findings.error(
                "too-long",
                f"{name_of(element, self._namespace)} {shown(text)} has {len(text)} characters",
                line_of(element),
                f"identifiers have at most {TEXT_CHARACTERS_MAX}",
            )
            raise Refused
        return text or None

    def identifiers(self, element: Element, *names: str) -> tuple[str, ...]:
        """The identifiers of all children of these names, without blanks and repeats."""
        found = (self.own_identifier(child) for child in self.children(element, *names))
        return tuple(dict.fromkeys(text for text in found if text))

    def description(self, element: Element) -> str | None:
        """The first description, cut to what a record takes."""
        text = self.text(element, "Description")
        return None if text is None else text[:TEXT_CHARACTERS_MAX].strip()

    def decimal(self, text: str, what: str, line: int) -> Decimal:
        """A decimal; refuses what is none, for a wrong guess would be a wrong quantity."""
        if _DECIMAL.fullmatch(text) is None:
            self.findings.error(
                "not-a-decimal",
                f"{what} is {shown(text)}",
                line,
                "write a decimal with a point and without separators: 1250.5",
            )
            raise Refused
        return Decimal(text)

    def unit(self, element: Element) -> tuple[str, str]:
        """(UNECE code or empty, as received) of the UnitOfMeasure below a quantity or value."""
        received = self.text(element, "UnitOfMeasure") or ""
        code = normal_unit(received)
        if received and not code:
            self.findings.warning(
                "unknown-unit",
                f"unit {shown(received)} is no UNECE code and no ERP unit known here; it is kept as received",
                line_of(element),
                "send a UNECE Rec 20 code such as KGM, or have the unit added",
            )
        return code, received

    def quantity(self, element: Element) -> Quantity | None:
        """The first Quantity below an element; None where there is none or it is empty."""
        found = list(self.children(element, "Quantity"))
        if not found:
            return None
        if len(found) > 1:
            self.findings.warning(
                "several-quantities",
                f"{name_of(element, self._namespace)} has {len(found)} quantities; the first is read",
                line_of(element),
                "send one",
            )
        text = self.text(found[0], "QuantityString")
        if text is None:
            return None
        code, received = self.unit(found[0])
        value = self.decimal(text, "QuantityString", line_of(found[0]))
        return Quantity(value=value, unit=code, unit_as_received=received)

    def time(self, element: Element, name: str, zone: str | None) -> datetime | None:
        """A time of a child, in UTC. Without a zone of its own it is read in ``zone``, and that is said."""
        child = element.find(self._prefix + name)
        text = None if child is None else (child.text or "").strip()
        if child is None or not text:
            return None
        moment = parse_time(text)
        if moment is None:
            self.findings.error(
                "not-a-time", f"{name} is {shown(text)}", line_of(child), "write it like 2026-06-03T19:02:11Z"
            )
            raise Refused
        try:
            if moment.tzinfo is None:
                moment = self._in_zone(moment, name, line_of(child), zone)
            return moment.astimezone(UTC)
        except OverflowError:
            self.findings.error(
                "not-a-time", f"{name} {shown(text)} lies outside of the calendar", line_of(child), "correct it"
            )
            raise Refused from None

    def _in_zone(self, moment: datetime, name: str, line: int, zone: str | None) -> datetime:
        if zone is None:
            self.findings.error(
                "naive-time",
                f"{name} {moment.isoformat()} has no zone, and no site says which is meant",
                line,
                "write it with Z or an offset, or set the zone of the bridge",
            )
            raise Refused
        info = self._zones.get(zone)
        if info is None:
            info = self._zones[zone] = zoneinfo.ZoneInfo(zone)
        local = moment.replace(tzinfo=info)
        doubt = ""
        if local.astimezone(UTC).astimezone(info).replace(tzinfo=None) != moment:
            doubt = "; the clocks skipped that time there"
        elif local.utcoffset() != local.replace(fold=1).utcoffset():
            doubt = "; the clocks showed that time twice there, the first is taken"
        self.findings.warning(
            "naive-time",
            f"{name} {moment.isoformat()} has no zone; it is read in {zone}{doubt}",
            line,
            "write it with Z or an offset",
        )
        return local
