"""What was judged: how often each rule was kept and broken, by whom, and an example of each break."""

from __future__ import annotations

import msgspec

from uns.doctor.report import Finding, moment, printable
from uns.doctor.requirements import LEVEL_OF, ids_of
from uns.doctor.sight import Outcome, Rule

__all__ = ["FINDINGS_MAX", "SUBJECTS_MAX", "Tally", "Verdicts"]

SUBJECTS_MAX = 5_000
FINDINGS_MAX = 5_000


class Tally(msgspec.Struct):
    """How often a rule was kept and broken."""

    ok: int = 0
    broken: int = 0


class Verdicts:
    """Counts all that is judged, and keeps the first and the last message of each finding."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = {}  # by rule and message type
        self.findings: dict[tuple[str, str, str], Finding] = {}  # by subject, rule and message type
        self.subjects: dict[str, Tally] = {}
        self.findings_not_kept = 0

    def record(
        self, rule: Rule, kind: str, subject: str, outcome: Outcome, *, topic: str, message: int, now_ns: int
    ) -> None:
        """One judgement: True, or what was seen in place of what was expected. ``message`` is its number, or 0."""
        tally = self.tallies.setdefault((rule.key, kind), Tally())
        own = self.subjects.get(subject)
        if own is None and len(self.subjects) < SUBJECTS_MAX:
            own = self.subjects[subject] = Tally()
        if outcome is True:
            tally.ok += 1
            if own is not None:
                own.ok += 1
            return
        tally.broken += 1
        if own is not None:
            own.broken += 1
        key = (subject, rule.key, kind)
        found = self.findings.get(key)
        if found is not None:
            found.count += 1
            found.last_message = message
            found.last_time = moment(now_ns)
        elif len(self.findings) < FINDINGS_MAX:
            self.findings[key] = Finding(
                subject=printable(subject),
                level=LEVEL_OF[rule.key],
                rule=rule.key,
                message_type=kind,
                tck_ids=ids_of(rule.key, kind),
                seen=printable(str(outcome)),
                expected=rule.expected,
                next_step=rule.next_step,
                topic=printable(topic),
                message=message,
                time=moment(now_ns),
                last_message=message,
                last_time=moment(now_ns),
            )
        else:
            self.findings_not_kept += 1
