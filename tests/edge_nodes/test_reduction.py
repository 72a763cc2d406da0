"""What is stored, what is reduced, what is refused, and the ordinals of samples in one millisecond."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_nodes.ordinals import RECENT_SAMPLES_MAX, RecentSamples
from edge_nodes.reduction import Reducer, Reduction, Rows
from uns.source import Readings, RefusedReading, TimeSource

MS = 1_000_000
BAD = 0x80310000


def readings(*samples, metric: int = 1, refused=(), time_source: TimeSource = TimeSource.DEVICE) -> Readings:
    """Samples are value, (value, time_ns) or (value, time_ns, status); times default to one per ms."""
    full = []
    for i, sample in enumerate(samples):
        given = sample if isinstance(sample, tuple) else (sample,)
        full.append((*given, *((i + 1) * MS, 0)[len(given) - 1 :]))
    return Readings(
        metrics=[metric] * len(full),
        values=[v for v, _, _ in full],
        times_ns=[t for _, t, _ in full],
        status_codes=[s for _, _, s in full],
        time_source=time_source,
        refused=list(refused),
    )


def reduce(*samples, enabled: bool = True, deadband: float = 0.0, last=(), **fields) -> Rows:
    reducer = Reducer({1: Reduction(enabled, deadband)}, last_samples={1: last} if last else {})
    rows = Rows()
    reducer.receive(readings(*samples, **fields), rows)
    assert rows.read == rows.reduced + len(rows) + rows.refused
    return rows


@pytest.mark.tck(
    "tck-id-operational-behavior-data-publish-dbirth-change",
    "tck-id-operational-behavior-data-publish-nbirth-change",
    "tck-id-principles-rbe-recommended",
    "tck-id-topics-ddata-payload",
    "tck-id-topics-ndata-payload",
)
def test_the_same_value_again_is_reduced() -> None:
    rows = reduce(1.0, 1.0, 2.0, 2.0, 1.0)
    assert rows.values == [1.0, 2.0, 1.0]
    assert rows.reduced == 2


def test_a_change_must_be_larger_than_the_deadband() -> None:
    assert reduce(1.0, 1.5, 1.75, 1.25, deadband=0.5).values == [1.0, 1.75]


def test_the_deadband_is_measured_from_the_last_stored_value_not_from_the_last_read() -> None:
    assert reduce(0.0, 0.4, 0.8, 1.2, deadband=1.0).values == [0.0, 1.2]


def test_a_change_of_status_always_passes() -> None:
    rows = reduce((1.0, MS, 0), (1.0, 2 * MS, 0x40000000), (None, 3 * MS, BAD), (None, 4 * MS, BAD), (1.0, 5 * MS, 0))
    assert rows.status_codes == [0, 0x40000000, BAD, 0]


def test_nan_is_reduced_like_any_value_and_breaks_no_deadband() -> None:
    rows = reduce(math.nan, math.nan, 1.0, math.nan, math.inf, math.inf, -math.inf, deadband=10)
    assert [str(v) for v in rows.values] == ["nan", "1.0", "nan", "inf", "-inf"]


def test_reduction_off_stores_every_notification() -> None:
    assert len(reduce(1.0, 1.0, 1.0, enabled=False)) == 3


def test_reduction_off_still_reduces_the_very_same_sample() -> None:
    rows = reduce((1.0, MS), (2.0, 2 * MS), (1.0, MS), enabled=False)
    assert rows.values == [1.0, 2.0]
    assert rows.reduced == 1


def test_samples_of_one_ms_get_ordinals_in_order_of_arrival() -> None:
    rows = reduce((1, MS), (2, MS + 1), (3, MS + 2), (4, 2 * MS), (5, MS + 3), enabled=False)
    assert rows.ordinals == [0, 1, 2, 0, 3]


def test_the_same_full_time_with_another_value_is_another_sample() -> None:
    assert reduce((1, MS), (2, MS), enabled=False).ordinals == [0, 1]


def test_the_same_ms_and_value_at_another_full_time_is_another_sample() -> None:
    assert reduce((1, MS), (1, MS + 1), enabled=False).ordinals == [0, 1]


@pytest.mark.parametrize("enabled", [True, False])
def test_after_a_restart_the_current_value_that_comes_again_is_reduced(enabled: bool) -> None:
    last = [(5 * MS + 10, 0, 1.0, 0), (5 * MS + 20, 1, 2.0, 0)]
    rows = reduce((2.0, 5 * MS + 20), enabled=enabled, last=last)
    assert (len(rows), rows.reduced) == (0, 1)


def test_after_a_restart_ordinals_go_on() -> None:
    last = [(5 * MS + 10, 0, 1.0, 0), (5 * MS + 20, 1, 2.0, 0)]
    rows = reduce((1.0, 5 * MS + 10), (3.0, 5 * MS + 30), enabled=False, last=last)
    assert (rows.values, rows.ordinals, rows.reduced) == ([3.0], [2], 1)


def test_a_refused_reading_is_counted_and_logged_once() -> None:
    refusal = RefusedReading(1, "wrong_type", "'x' is no Float")
    reducer, rows = Reducer({1: Reduction()}, last_samples={}), Rows()
    reducer.receive(readings(1.0, refused=[refusal, refusal]), rows)
    assert (rows.read, len(rows), rows.refused) == (3, 1, 2)
    assert reducer.first_refusals() == [refusal]
    reducer.receive(readings(refused=[refusal]), rows)
    assert reducer.first_refusals() == []


def test_rows_carry_whose_clock_it_was() -> None:
    assert reduce(1.0, 2.0, time_source=TimeSource.GATEWAY).time_sources == [2, 2]


def test_the_ring_has_its_bound() -> None:
    recent = RecentSamples()
    for i in range(3 * RECENT_SAMPLES_MAX):
        assert recent.place(i * MS, i, 0) == 0
    assert len(recent.ring) == RECENT_SAMPLES_MAX
    assert recent.place(0, 0, 0) == 0  # forgotten: stored again, and the host recognises it


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=RECENT_SAMPLES_MAX))
def test_no_two_stored_samples_share_a_key_and_playing_them_again_changes_nothing(drawn) -> None:
    samples = [(value, time * MS // 3) for value, time in drawn]
    reducer, rows = Reducer({1: Reduction(enabled=False)}, last_samples={}), Rows()
    reducer.receive(readings(*samples), rows)
    keys = [(t // MS, o) for t, o in zip(rows.times_ns, rows.ordinals, strict=True)]
    assert len(set(keys)) == len(keys)
    again = Rows()
    reducer.receive(readings(*samples), again)
    assert len(again) == 0
