from __future__ import annotations

import json

import msgspec
import pytest

from uns.bridges.port import Auth, Business, LogBatch, Poison, Transient
from uns.bridges.postgres.errors import outcome_of
from uns.bridges.postgres.mapping import (
    LogRange,
    PostgresMapping,
    copy_text,
    json_for_jsonb,
    samples_text,
    split_range,
)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (None, Transient),  # no server
        ("57P01", Transient),  # it is being shut down
        ("53100", Transient),  # its disk is full
        ("40P01", Transient),
        ("25006", Transient),
        ("28P01", Auth),
        ("42501", Auth),
        ("3D000", Auth),
        ("23514", Business),
        ("P0001", Business),
        ("22021", Poison),
    ],
)
def test_each_sqlstate_has_its_class(state: str | None, kind: type) -> None:
    outcome = outcome_of(state, "what the server said")
    assert isinstance(outcome, kind)
    assert getattr(outcome, "next_step", "none needed")


def test_an_unknown_sqlstate_is_tried_a_few_times_alone() -> None:
    outcome = outcome_of("ZZ999", "new in the next release")
    assert isinstance(outcome, Transient)
    assert not outcome.whole_target


def test_samples_are_rendered_as_any_rows_are() -> None:
    rows = [
        (1, 2, 3, 0, 0.1, None, None, 0, 0, 0, 1),
        (2, 2, 4, 0, None, -5, None, 0, 0, 0, 1),
        (3, 2, 5, 0, None, None, "a\tb\\c\nd\0", 1, 2, 3, 4),
    ]
    assert samples_text(rows) == copy_text(rows)
    assert samples_text(rows[2:]) == "3\t2\t5\t0\t\\N\t\\N\ta\\tb\\\\c\\nd␀\t1\t2\t3\t4\n".encode()


@pytest.mark.parametrize("text", ["a\0b", "a\\u0000b", "\\\0", "plain"])
def test_json_keeps_everything_but_nul(text: str) -> None:
    assert json.loads(json_for_jsonb(json.dumps({"a": text}))) == {"a": text.replace("\0", "␀")}


def test_a_range_splits_until_each_row_stands_alone() -> None:
    batch = LogBatch(after=0, to=5, facts=[("f",)], facts_after_ns=1, facts_to_ns=2)  # type: ignore[list-item]
    found = PostgresMapping().receive_batch(batch, 0)
    leaves = []
    while found:
        item = found.pop()
        parts = split_range(item)
        found += parts
        if not parts:
            leaves.append(msgspec.json.decode(item.body, type=LogRange))
    assert sorted((leaf.after, leaf.to, leaf.facts) for leaf in leaves) == [
        (0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, 0), (4, 5, 0), (5, 5, 1),
    ]  # fmt: skip
