"""Quantities counted from rows alone: steps belong to the sample that shows them, whatever came in which order."""

from __future__ import annotations

from decimal import Decimal

from uns.adapters.sqlite.record_rows import Record
from uns.runtime.recount import recount


def row(at: int, value: float | str | None, order: str | None = "WO-1", *, metric: str = "good") -> Record:
    return Record(at + 1, metric, at * 1_000_000_000, 0, value, None, "resolved", order, "{}")


def quantities(*rows: Record) -> dict[str, Decimal]:
    return {order: found.quantity for order, found in recount(rows, "good").items()}


def test_a_step_belongs_to_the_sample_that_shows_it() -> None:
    rows = [row(0, 40, None), row(1, 41), row(2, 43), row(3, 44, "WO-2"), row(4, 45, None)]
    assert quantities(*rows) == {"WO-1": 3, "WO-2": 1}
    assert quantities(*reversed(rows)) == {"WO-1": 3, "WO-2": 1}


def test_the_samples_behind_a_quantity_are_named() -> None:
    found = recount([row(0, 40, None), row(1, 41), row(2, 43)], "good")["WO-1"]
    assert found.baseline is not None
    assert (found.baseline.value, found.first.value, found.last.value, found.samples) == (40, 41, 43, 2)
    assert found.baseline.time == "1970-01-01T00:00:00.000Z"
    assert found.is_plain


def test_the_first_sample_of_all_counts_nothing() -> None:
    assert quantities(row(0, 40), row(1, 41)) == {"WO-1": 1}


def test_a_counter_that_begins_again_counts_from_0() -> None:
    found = recount([row(0, 40), row(1, 41), row(2, 2), row(3, 5)], "good")["WO-1"]
    assert (found.quantity, found.is_plain) == (Decimal(6), False)


def test_a_float_that_trembles_was_not_reset() -> None:
    assert quantities(row(0, 100.0), row(1, 101.0), row(2, 100.9), row(3, 102.5)) == {"WO-1": Decimal("2.5")}


def test_an_order_that_goes_on_later_counts_both_runs() -> None:
    rows = [row(0, 1), row(1, 3), row(2, 7, None), row(3, 8)]
    found = recount(rows, "good")["WO-1"]
    assert (found.quantity, found.is_plain) == (Decimal(3), False)


def test_what_is_no_number_or_another_metric_counts_nothing() -> None:
    assert quantities(row(0, 1), row(1, None), row(2, "x"), row(3, 900, metric="scrap"), row(4, 2)) == {"WO-1": 1}
