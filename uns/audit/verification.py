"""Looking at a whole log: whether each entry is what was written, and whether all of them are there.

Entries come in order of their place, one at a time: a log of any length needs no memory. What each kind of tampering
leaves behind, and who is named:

    changed      its hash is not that of its content; or it was hashed anew, and the next entry knows the old hash
    missing      a number is not there; or the entry in its place was hashed under a later number
    inserted     the entries behind it were hashed under earlier numbers; or the end lies behind the head
    reordered    as missing, and the entry that belongs there comes later
    truncated    an anchor names a number beyond the end
    rewritten    the chain holds, and an anchor knows another hash: everything since the last good anchor is in doubt
    replaced     an anchor is of another log, or entry 1 does not belong to this log
    recorded     the log itself says that something was wrong when the component started

A chain is only as good as what vouches for its end: without an anchor from outside, whoever can write the file can
write it anew as a whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from uns.audit.chain import Anchor, AuditEntry, Head, entry_hash, first_head
from uns.audit.events import ANCHOR_ABSENT, MISMATCH
from uns.context.times import MAX_NS, ns_of, rfc3339

__all__ = ["STALE_ANCHOR_NS", "AuditFinding", "Verification", "Verifier", "verify"]

FindingKind = Literal[
    "changed",
    "missing",
    "inserted",
    "reordered",
    "truncated",
    "rewritten",
    "replaced",
    "recorded",
    "differs",
    "anchor",
]
STALE_ANCHOR_NS = 60_000_000_000  # an anchor that is older than the newest entry by more is worth a word
MOVED_MAX = 1_024  # so far an entry is looked for under another number
FINDINGS_MAX = 100  # that are told one by one
REFINED_MAX = 16  # bad entries behind the first that are asked what happened


class AuditFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, and the first record that it concerns (None: no single one)."""

    kind: FindingKind
    number: int | None
    text: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.kind}: {self.text}"


class Verification(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_name": "schema"}):
    """The judgement about one log. ``good`` entries stand before the first bad one."""

    schema_name: str = "uns1.audit_verification/1"
    ok: bool
    component: str
    log: str
    entries: int
    good: int
    first_bad: AuditFinding | None
    findings: list[AuditFinding]
    anchors: int  # from outside of the log, of this log
    untold: int = 0  # findings beyond FINDINGS_MAX
    anchored: int  # up to this number an anchor from outside vouches for the entries; 0: none does
    time_steps_back: int = 0  # entries dated before the one before them: a clock that was set, or worse
    last_at: str | None = None


def verify(
    entries: Iterable[AuditEntry], head: Head, *, anchors: Sequence[Anchor] = (), known: Iterable[int] = ()
) -> Verification:
    """Verify a whole log in one call; see :class:`Verifier`."""
    verifier = Verifier(head, anchors=anchors, known=known)
    for entry in entries:
        verifier.receive(entry)
    return verifier.finish()


class Verifier:
    """Give it every entry in order of its place, then :meth:`finish`.

    ``head`` is what the store itself holds for the end of its log. ``anchors`` come from outside: of any log, any age,
    in any order. ``known`` are numbers of entries that record a mismatch and were looked into already.
    """

    def __init__(self, head: Head, *, anchors: Sequence[Anchor] = (), known: Iterable[int] = ()) -> None:
        self._head = head
        self._anchors = sorted((a for a in anchors if a.log == head.log), key=lambda a: (a.number, a.at))
        self._foreign = [a for a in anchors if a.log != head.log]
        self._known = frozenset(known)
        self._expected = 1
        self._previous = first_head(head.log).hash
        self._wanted = {head.number} | {a.number for a in self._anchors}
        self._hashes: dict[int, str] = {0: self._previous}
        self._bad: AuditFinding | None = None
        self._refining = 0
        self._recent: deque[str] = deque(maxlen=MOVED_MAX)
        self._findings: list[AuditFinding] = []
        self._untold = 0
        self.entries = 0
        self._last: AuditEntry | None = None
        self._steps_back = 0

    def receive(self, entry: AuditEntry) -> bool:
        """Take the next entry; whether it fits its own hash, so that what it says is worth a look."""
        self.entries += 1
        is_own = entry_hash(entry) == entry.hash
        if self._bad is None and not (is_own and entry.number == self._expected and entry.previous == self._previous):
            self._first_bad(entry, is_own=is_own)
            self._refining = REFINED_MAX
        elif self._refining and not (is_own and entry.number == self._expected):
            self._refine(entry)
        if entry.number in self._wanted and is_own:
            self._hashes[entry.number] = entry.hash
        if self._last is not None and entry.at_ns < self._last.at_ns:
            self._steps_back += 1
        if entry.action == MISMATCH and entry.number not in self._known:
            self._tell(
                AuditFinding(
                    kind="recorded",
                    number=entry.number,
                    text=f"entry {entry.number} of {rfc3339(entry.at_ns)} records that the log did not fit its anchor: "
                    f"{entry.detail}; look into it, then give --known {entry.number}",
                )
            )
        elif entry.action == ANCHOR_ABSENT and entry.number not in self._known:
            text = f"entry {entry.number} of {rfc3339(entry.at_ns)} records that no anchor was found at the start"
            self._tell(AuditFinding(kind="anchor", number=entry.number, text=text, severity="warning"))
        self._expected = entry.number + 1
        self._previous = entry.hash
        self._recent.append(entry.hash)
        self._last = entry
        return is_own

    def differs(self, number: int | None, text: str) -> None:
        """What an entry speaks of is not as the entry says, as somebody found who looked."""
        self._tell(AuditFinding(kind="differs", number=number, text=text))

    def unanchored(self, text: str) -> None:
        """An anchor was asked for and is not there."""
        self._tell(_finding("anchor", None, text))

    def counted(self, rows: int) -> None:
        """How many rows the store counts: one that cannot be reached by its number was not given to us."""
        if rows != self.entries:
            self._tell(_finding("inserted", None, f"{rows} rows are in the log, {self.entries} of them have a place"))

    def _tell(self, finding: AuditFinding) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)
        else:
            self._untold += 1

    def finish(self) -> Verification:
        """The judgement."""
        if self._bad is not None:
            self._findings.append(self._bad)
        anchored = self._judge_head_and_anchors()
        errors = [finding for finding in self._findings if finding.severity == "error"]
        first = min(errors, key=_place, default=None)
        last = self._last
        good = self.entries
        if first is not None and first.kind != "recorded":
            if first.number is not None:
                good = min(first.number - 1, self.entries)
            elif first.kind == "replaced":
                good = 0
        return Verification(
            ok=not errors,
            component="" if last is None else last.component,
            log=self._head.log,
            entries=self.entries,
            good=max(good, 0),
            first_bad=first,
            findings=sorted(self._findings, key=_place),
            untold=self._untold,
            anchors=len(self._anchors),
            anchored=anchored if self._bad is None or (self._bad.number or 0) > anchored else 0,
            time_steps_back=self._steps_back,
            last_at=None if last is None else rfc3339(last.at_ns),
        )

    # ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────

    def _first_bad(self, entry: AuditEntry, *, is_own: bool) -> None:
        place = self._expected
        if entry.number < 1:
            self._bad = _finding("inserted", entry.number, f"entry {entry.number} was put in: the first one is 1")
            return
        if is_own and entry.number == place:
            self._bad = self._does_not_follow(entry)
            return
        if is_own and entry.number > place:
            self._bad = _missing(place, entry.number - 1)
            return
        if is_own:
            self._bad = _finding("inserted", entry.number, f"a second entry {entry.number} stands before {place}")
            return
        hashed_as = _number_when_hashed(entry, place)
        if entry.number != place:
            if hashed_as == place or entry.number < place:
                self._bad = _finding("changed", place, f"entry {place} says that its number is {entry.number}")
            else:
                self._bad = _missing(place, entry.number - 1)
        elif hashed_as is None:
            self._bad = _finding("changed", place, f"entry {place} is not what was written: its hash does not fit")
        elif hashed_as > place:
            self._bad = _finding(
                "missing",
                place,
                f"entry {_span(place, hashed_as - 1)} is not there: what stands there was written as {hashed_as}",
            )
        elif entry.hash in self._recent:
            self._bad = _finding("inserted", place, f"entry {place} was put in: it is a copy of entry {hashed_as}")
        else:
            self._bad = _inserted(hashed_as, place - 1)

    def _does_not_follow(self, entry: AuditEntry) -> AuditFinding:
        """Both this entry and the one before it fit their own hashes, but not each other."""
        if entry.number == 1:
            return _finding("replaced", 1, f"entry 1 does not belong to log {self._head.log}")
        before = entry.number - 1
        return _finding(
            "changed",
            before,
            f"entry {before} is not the one that entry {entry.number} was written after: "
            "it was changed and hashed anew, or exchanged",
        )

    def _refine(self, entry: AuditEntry) -> None:
        """The entries behind the first bad one tell what became of it."""
        self._refining -= 1
        bad = self._bad
        if bad is None or bad.number is None:
            return
        if bad.kind == "missing" and entry.number != self._expected and entry.number == bad.number:
            self._bad = _finding(
                "reordered", bad.number, f"entry {bad.number} stands behind entry {self._expected - 1}"
            )
            return
        hashed_as = _number_when_hashed(entry, entry.number)
        if bad.kind == "changed" and hashed_as == bad.number:
            self._bad = _inserted(bad.number, entry.number - 1)
        elif bad.kind == "missing" and hashed_as == bad.number:
            self._bad = _finding(
                "reordered", bad.number, f"entry {bad.number} stands at {entry.number}, and another one in its place"
            )

    # ── what vouches for the end ─────────────────────────────────────────────────────────────────────────────────

    def _judge_head_and_anchors(self) -> int:
        last = 0 if self._last is None else self._last.number
        head = self._head
        if self._last is None and head.number == 0 and not self._anchors:
            self._warn("the log has no entry yet")
        if head.number > last:
            self._truncated(last, head.number, "the log's own head")
        elif head.number < last:
            text = f"entry {_span(head.number + 1, last)} stands behind the log's own head, which is at {head.number}"
            self._findings.append(_finding("inserted", head.number + 1, text))
        elif self._hashes.get(head.number) != head.hash and self._bad is None:
            text = f"entry {head.number} is not the one that the log's own head knows: it was changed and hashed anew, "
            text += "or an earlier one with all behind it"
            self._findings.append(_finding("changed", head.number, text))
        for anchor in self._foreign:
            text = f"the anchor of {anchor.at} is of log {anchor.log} ({anchor.component}), this is log {head.log}: "
            text += "the whole log was replaced, or the anchor is another component's"
            self._findings.append(_finding("replaced", None, text))
        good = 0
        for anchor in self._anchors:
            if anchor.number > last:
                self._truncated(last, anchor.number, f"the anchor of {anchor.at}")
            elif self._hashes.get(anchor.number) == anchor.hash:
                good = max(good, anchor.number)
            else:
                self._rewritten(anchor, good)
        if self._anchors and self._last is not None:
            self._judge_age(self._anchors[-1], last)
        return good

    def _rewritten(self, anchor: Anchor, good: int) -> None:
        if any(finding.kind == "rewritten" for finding in self._findings):
            return
        if self._bad is not None and (self._bad.number or 0) <= anchor.number:
            return  # it is named already, with its number
        text = (
            f"entry {_span(good + 1, anchor.number)} is not what the anchor of {anchor.at} vouched for: "
            "something there was changed and every hash behind it computed anew"
        )
        self._findings.append(_finding("rewritten", good + 1, text))

    def _truncated(self, last: int, number: int, witness: str) -> None:
        text = f"entry {_span(last + 1, number)} is gone: the log ends at {last}, {witness} names {number}"
        found = _finding("truncated", last + 1, text)
        self._findings = [f for f in self._findings if f.kind != "truncated"] + [found]

    def _judge_age(self, newest: Anchor, last: int) -> None:
        anchored_ns = _time_of(newest)
        entry = self._last
        if anchored_ns is None or entry is None or newest.number >= last:
            return
        if entry.at_ns - anchored_ns > STALE_ANCHOR_NS:
            behind, seconds = last - newest.number, (entry.at_ns - anchored_ns) // 1_000_000_000
            self._warn(
                f"the newest anchor is of {newest.at} and {behind} entries behind, {seconds} s: "
                "for these the chain alone vouches; does the component reach its broker?"
            )

    def _warn(self, text: str) -> None:
        self._findings.append(AuditFinding(kind="anchor", number=None, text=text, severity="warning"))


def _number_when_hashed(entry: AuditEntry, around: int) -> int | None:
    """The number under which an entry's hash fits; None if there is none in reach, or its hash itself is bad."""
    for distance in range(MOVED_MAX + 1):
        for number in {around + distance, around - distance}:
            if number > 0 and entry_hash(entry, number=number) == entry.hash:
                return number
    return None


def _place(finding: AuditFinding) -> tuple[int, int, int]:
    """What comes first. A whole log that was replaced is before all; what the log records of itself comes last.

    Facts that no entry speaks of and anchors that are not there have no number: they come after what has one.
    """
    if finding.kind != "replaced" and finding.number is None and finding.severity == "error":
        return 0, MAX_NS, 1
    order = 2 if finding.severity == "warning" else 1 if finding.kind == "recorded" else 0
    return order, -1 if finding.number is None else finding.number, int(finding.kind == "differs")


def _finding(kind: FindingKind, number: int | None, text: str) -> AuditFinding:
    return AuditFinding(kind=kind, number=number, text=text)


def _missing(first: int, last: int) -> AuditFinding:
    return _finding("missing", first, f"entry {_span(first, last)} is not there")


def _inserted(first: int, last: int) -> AuditFinding:
    return _finding(
        "inserted", first, f"entry {_span(first, last)} was put in: what stands behind it was written as {first}"
    )


def _span(first: int, last: int) -> str:
    return str(first) if last <= first else f"{first} to {last}"


def _time_of(anchor: Anchor) -> int | None:
    try:
        return ns_of(datetime.fromisoformat(anchor.at))
    except (ValueError, TypeError):  # no time, or one without a zone: an anchor is judged by number and hash
        return None
