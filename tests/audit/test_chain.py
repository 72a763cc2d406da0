"""Entries and their hashes: what somebody else's program would compute too."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.builders import COMPONENT, LOG, event, log_of
from uns.audit.chain import (
    DETAIL_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    AuditEntry,
    Head,
    anchor_of,
    append,
    entry_hash,
    first_head,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=50)


def hash_by_hand(entry: AuditEntry) -> str:
    """As docs/reference/audit.md tells it, with nothing of ours."""
    who = [entry.component, entry.actor, entry.action, entry.subject]
    fields = [entry.number, entry.at_ns, *who, entry.detail, entry.previous]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


@given(
    actor=TEXTS, action=TEXTS, subject=TEXTS, detail=st.dictionaries(TEXTS, TEXTS | st.integers(0, 2**53) | st.none())
)
def test_the_hash_is_what_plain_json_and_sha256_give(actor: str, action: str, subject: str, detail: dict[str, Any]):
    made = event(actor=actor, action=action, subject=subject, detail=detail)
    for entry in append(first_head(LOG), COMPONENT, [made, made]):
        assert entry.hash == entry_hash(entry) == hash_by_hand(entry)
        assert json.loads(entry.detail) == detail


def test_the_first_entry_follows_from_the_id_of_its_log():
    first = hashlib.sha256(f'["uns1.audit/1","{LOG}"]'.encode()).hexdigest()
    assert first_head(LOG) == Head(LOG, 0, first)
    assert log_of(1)[0].previous == first


def test_numbers_count_from_one_and_each_entry_holds_the_hash_before_it():
    entries = log_of(5)
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.previous for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]


def test_a_log_goes_on_where_it_ended_however_it_is_cut_into_commits():
    events = [event(number) for number in range(1, 8)]
    whole = append(first_head(LOG), COMPONENT, events)
    first = append(first_head(LOG), COMPONENT, events[:3])
    assert first + append(Head(LOG, 3, first[-1].hash), COMPONENT, events[3:]) == whole


def test_equal_events_in_another_order_of_keys_give_equal_entries():
    one, other = event(detail={"a": 1, "b": {"c": 2, "d": 3}}), event(detail={"b": {"d": 3, "c": 2}, "a": 1})
    assert append(first_head(LOG), COMPONENT, [one]) == append(first_head(LOG), COMPONENT, [other])


@pytest.mark.parametrize("text", ["\udce9", "x\x00y", "°C", "\u2028"])
def test_no_text_stops_an_entry(text: str):
    (entry,) = append(first_head(LOG), COMPONENT, [event(actor=text, subject=text, detail={"text": text})])
    entry.detail.encode()
    assert entry.hash == entry_hash(entry)


def test_what_is_too_long_is_cut_and_says_so():
    made = event(actor="a" * 5000, detail={"text": "x" * 100_000})
    (entry,) = append(first_head(LOG), COMPONENT, [made])
    assert len(entry.actor) == TEXT_CHARACTERS_MAX
    assert entry.actor.endswith("(cut)")
    assert len(entry.detail) <= DETAIL_CHARACTERS_MAX
    assert json.loads(entry.detail)["cut"]["characters"] > 100_000


def test_an_anchor_names_log_component_number_hash_and_time():
    (entry,) = log_of(1)
    made = anchor_of(Head(LOG, 1, entry.hash), COMPONENT, 1_780_515_120_125_000_000)
    assert (made.log, made.component, made.number, made.hash) == (LOG, COMPONENT, 1, entry.hash)
    assert made.at == "2026-06-03T19:32:00.125Z"
