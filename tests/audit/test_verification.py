"""Any tampering at any place is found, and the first record that it concerns is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.builders import LOG, anchor, changed, event, hashed, head_of, linked, log_of, renumbered
from uns.audit.chain import Anchor, AuditEntry, Head, append, first_head
from uns.audit.events import MISMATCH
from uns.audit.verification import Verification, verify

ENTRIES = log_of(40)
HEAD = head_of(ENTRIES)
LAST = anchor(ENTRIES)
PLACES = st.integers(1, len(ENTRIES))
FIELDS = st.sampled_from(("at_ns", "component", "actor", "action", "subject", "detail", "previous", "hash"))


def judged(entries: Sequence[AuditEntry], *, anchors: Sequence[Anchor] = (LAST,), head: Head = HEAD) -> Verification:
    return verify(entries, head, anchors=anchors)


def assert_named(found: Verification, kind: str | set[str], number: int) -> None:
    assert not found.ok
    assert found.first_bad is not None
    assert found.first_bad.number == number, found.findings
    assert found.first_bad.kind in ({kind} if isinstance(kind, str) else kind), found.findings
    assert found.good == number - 1
    assert str(number) in found.first_bad.text


def other(entry: AuditEntry, field: str) -> AuditEntry:
    return changed(entry, at_ns=entry.at_ns + 1) if field == "at_ns" else changed(entry, **{field: "0" * 64})


def test_a_log_that_nobody_touched_is_fine():
    found = judged(ENTRIES)
    assert (found.ok, found.entries, found.good, found.anchored, found.findings) == (True, 40, 40, 40, [])
    assert found.component == "uns-host-1"


def test_an_empty_log_is_fine_and_says_that_it_is_empty():
    found = verify([], first_head(LOG))
    assert found.ok
    assert [finding.severity for finding in found.findings] == ["warning"]


# ── the chain alone ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(PLACES, FIELDS)
def test_a_change_is_found_and_named(place: int, field: str):
    entries = list(ENTRIES)
    entries[place - 1] = other(entries[place - 1], field)
    assert_named(judged(entries, anchors=()), "changed", place)


@given(PLACES, FIELDS.filter(lambda field: field not in {"hash", "previous"}))
def test_a_change_that_is_hashed_anew_is_found_and_named(place: int, field: str):
    entries = list(ENTRIES)
    entries[place - 1] = hashed(other(entries[place - 1], field))
    assert_named(judged(entries, anchors=()), "changed", place)


@given(PLACES, st.integers(1, 10))
def test_entries_that_are_gone_are_found_and_named(place: int, count: int):
    entries = [entry for entry in ENTRIES if not place <= entry.number < place + count]
    assert_named(judged(entries, anchors=()), {"missing", "truncated"}, place)


@given(st.integers(1, 39), st.integers(1, 10))
def test_entries_that_are_gone_are_named_where_the_others_are_numbered_anew(place: int, count: int):
    entries = renumbered([entry for entry in ENTRIES if not place <= entry.number < place + count])
    kind = {"missing", "truncated"}
    assert_named(judged(entries, anchors=()), kind, place)


@given(st.integers(1, 40), st.integers(1, 3), st.booleans())
def test_entries_that_were_put_in_are_found_and_named(place: int, count: int, well_made: bool):
    """Well made: they fit their hashes and what stands before them; what stands behind tells."""
    before, behind = ENTRIES[: place - 1], ENTRIES[place - 1 :]
    forged = append(head_of(before), "uns-host-1", [event(900 + n) for n in range(count)])
    if not well_made:
        forged = [changed(entry, hash="f" * 64) for entry in forged]
    entries = renumbered([*before, *forged, *behind])
    assert_named(
        judged(entries, anchors=()), {"inserted"} if well_made or count == 1 else {"inserted", "changed"}, place
    )


@given(PLACES, PLACES)
def test_a_copy_of_an_entry_that_was_put_in_is_found_and_named(place: int, copied: int):
    entries = renumbered([*ENTRIES[: place - 1], ENTRIES[copied - 1], *ENTRIES[place - 1 :]])
    named = place + 1 if copied == place else place  # equal neighbours: the second is the copy
    assert_named(judged(entries, anchors=()), {"inserted", "missing", "reordered"}, named)


@given(st.integers(1, 5))
def test_entries_that_were_written_behind_the_head_are_named(count: int):
    forged = append(HEAD, "uns-host-1", [event(900 + n) for n in range(count)])
    assert_named(judged([*ENTRIES, *forged], anchors=()), "inserted", 41)


@given(PLACES, PLACES)
def test_two_entries_that_changed_places_are_found_and_the_first_place_is_named(one: int, two: int):
    if one == two:
        return
    entries = list(ENTRIES)
    entries[one - 1], entries[two - 1] = entries[two - 1], entries[one - 1]
    assert_named(judged(renumbered(entries), anchors=()), {"missing", "reordered"}, min(one, two))
    first = min(one, two)
    assert_named(judged(entries, anchors=()), {"missing", "reordered"}, first)


@given(PLACES)
def test_a_second_entry_of_a_number_is_found(place: int):
    entries = [*ENTRIES[:place], ENTRIES[place - 1], *ENTRIES[place:]]
    assert_named(judged(entries, anchors=()), "inserted", place)


@given(PLACES, st.integers(41, 2000))
def test_a_changed_number_is_found_and_named(place: int, number: int):
    entries = list(ENTRIES)
    entries[place - 1] = changed(entries[place - 1], number=number)
    assert_named(judged(entries, anchors=()), "changed", place)


def test_two_neighbours_that_changed_places_are_called_reordered():
    entries = list(ENTRIES)
    entries[4], entries[5] = entries[5], entries[4]
    assert_named(judged(entries), "reordered", 5)
    assert_named(judged(renumbered(entries)), "reordered", 5)


@given(PLACES, PLACES)
def test_of_two_changes_the_first_is_named(one: int, two: int):
    entries = list(ENTRIES)
    for place in (one, two):
        entries[place - 1] = changed(entries[place - 1], actor="somebody else")
    assert_named(judged(entries), "changed", min(one, two))


# ── the end: what only an anchor tells ───────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 39))
def test_a_log_that_was_cut_is_seen_by_its_own_head_and_by_an_anchor(kept: int):
    entries = ENTRIES[:kept]
    assert_named(judged(entries, anchors=()), "truncated", kept + 1)
    assert verify(entries, head_of(entries)).ok, "cut with its head: the chain alone cannot tell"
    assert_named(verify(entries, head_of(entries), anchors=[LAST]), "truncated", kept + 1)


@given(PLACES)
def test_a_chain_that_was_computed_anew_is_seen_by_an_anchor(place: int):
    entries = list(ENTRIES)
    entries[place - 1] = changed(entries[place - 1], actor="somebody else")
    entries = linked(entries)
    assert verify(entries, head_of(entries)).ok, "computed anew with its head: the chain alone cannot tell"
    assert_named(verify(entries, head_of(entries), anchors=[LAST]), "rewritten", 1)


@given(PLACES, st.sets(PLACES, max_size=10))
def test_the_more_anchors_the_closer_a_rewritten_entry_is_named(place: int, saved: set[int]):
    """It lies behind the last good anchor, and not behind the first bad one."""
    entries = list(ENTRIES)
    entries[place - 1] = changed(entries[place - 1], actor="somebody else")
    entries = linked(entries)
    anchors = [anchor(ENTRIES, number) for number in saved] + [LAST]
    found = verify(entries, head_of(entries), anchors=anchors)
    assert_named(found, "rewritten", max((n for n in saved if n < place), default=0) + 1)
    assert found.first_bad is not None
    assert str(min(n for n in (*saved, 40) if n >= place)) in found.first_bad.text
    assert found.anchored == max((n for n in saved if n < place), default=0)


def test_another_log_in_the_place_of_this_one_is_seen_by_an_anchor():
    entries = log_of(50, log="f" * 32)
    found = verify(entries, head_of(entries, log="f" * 32), anchors=[LAST])
    assert not found.ok
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.number, found.good) == ("replaced", None, 0)


def test_another_log_under_the_id_of_this_one_is_seen_at_its_first_entry():
    entries = log_of(50, log="f" * 32)
    assert_named(verify(entries, head_of(entries)), "replaced", 1)


def test_entries_behind_the_newest_anchor_are_fine_while_it_is_fresh():
    found = judged(ENTRIES, anchors=[anchor(ENTRIES, 39)])
    assert (found.ok, found.anchored, found.findings) == (True, 39, [])


def test_an_anchor_that_is_old_is_a_warning():
    late = append(HEAD, "uns-host-1", [event(7200)])
    found = verify([*ENTRIES, *late], head_of(late), anchors=[LAST])
    assert found.ok
    assert [(finding.kind, finding.severity) for finding in found.findings] == [("anchor", "warning")]
    assert "1 entries behind" in found.findings[0].text


def test_a_change_before_an_anchor_takes_its_word_away():
    entries = list(ENTRIES)
    entries[9] = changed(entries[9], actor="somebody else")
    assert judged(entries).anchored == 0


# ── what the log says of itself ──────────────────────────────────────────────────────────────────────────────────────


def test_a_mismatch_that_the_component_recorded_is_an_error_until_it_is_known():
    recorded = append(HEAD, "uns-host-1", [event(41, action=MISMATCH, detail={"what": "the log is shorter"})])
    entries = [*ENTRIES, *recorded]
    found = verify(entries, head_of(entries))
    assert not found.ok
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.number, found.good) == ("recorded", 41, 41)
    assert verify(entries, head_of(entries), known=[41]).ok


def test_a_clock_that_was_set_back_is_counted_and_no_error():
    entries = append(first_head(LOG), "uns-host-1", [event(5), event(4), event(6)])
    found = verify(entries, head_of(entries))
    assert (found.ok, found.time_steps_back) == (True, 1)


@pytest.mark.parametrize("at", ["", "yesterday", "2026-06-03T19:32:00"])
def test_an_anchor_without_a_time_is_judged_by_number_and_hash(at: str):
    made = changed(anchor(ENTRIES, 5), at=at)  # type: ignore[arg-type]
    assert judged(ENTRIES, anchors=[made]).ok  # type: ignore[list-item]
