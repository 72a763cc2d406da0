"""What a person reads beside a file that came in: what was taken, what was not, where it stands, what to do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from uns.bridges.b2mml.schedule import JobDefinition, ScheduleReading
from uns.bridges.b2mml.values import FINDINGS_OF_A_RULE_MAX
from uns.namespace.findings import shown

__all__ = ["IntakeResult", "RefusedFact", "report_of"]


class RefusedFact(msgspec.Struct, frozen=True):
    """An order that the host did not take, and why."""

    definition: JobDefinition
    reason: str


class IntakeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one document."""

    file: str
    reading: ScheduleReading
    accepted: int = 0
    refused: Sequence[RefusedFact] = ()
    same_bod: str | None = None  # another document that bore this BODID with other content

    @property
    def needs_a_person(self) -> bool:
        """Whether anything of it was not taken."""
        return bool(self.refused) or any(finding.severity == "error" for finding in self.reading.findings)


def report_of(result: IntakeResult) -> str:
    """The report; empty where there is nothing to say."""
    reading, refused = result.reading, result.refused
    if not (reading.findings or refused or result.same_bod):
        return ""
    return "\n".join([_head(result), "", *_lines(result)])


def _head(result: IntakeResult) -> str:
    reading = result.reading
    if not reading.readable:
        return "Nothing of this document was taken."
    missing = reading.refused_orders + len(result.refused)
    if not result.accepted:
        return "No order of this document was taken. Correct it as said below and send it again."
    if missing:
        return (
            f"{_orders(result.accepted)} taken, {missing:,} not. Correct those as said below and send them again; "
            "those that were taken may come again, that changes nothing."
        )
    if result.needs_a_person:
        return f"{_orders(result.accepted)} taken. What is said below was not."
    return f"{_orders(result.accepted)} taken. What is said below was read nevertheless."


def _orders(number: int) -> str:
    return "1 order was" if number == 1 else f"{number:,} orders were"


def _lines(result: IntakeResult) -> list[str]:
    lines = [str(finding) for finding in result.reading.findings]
    for one in result.refused[:FINDINGS_OF_A_RULE_MAX]:
        job = shown(one.definition.job_order.job_order)
        lines.append(f"{result.file}:{one.definition.line}:1: refused: the host does not take job {job}: {one.reason}")
    more = len(result.refused) - FINDINGS_OF_A_RULE_MAX
    if more > 0:
        lines.append(f"{result.file}:1:1: refused: {more:,} more of these are not shown")
    if result.same_bod is not None:
        lines.append(
            f"{result.file}:1:1: warning: bod-id-again: BODID {shown(result.reading.bod_id or '')} was that of "
            f"{shown(result.same_bod)} too, with other content; this one was read as a message of its own; "
            "give every message a BODID of its own"
        )
    return lines
