"""How long a state said what, and what a quality metric was over time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.actuals.rows import BAD, STALE, SUSPECT, UNCERTAIN, S, row
from uns.actuals.qualities import QualityRun
from uns.actuals.states import StateRun, kinds_of
from uns.enrichment.log import MetricRow
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType

PACKML = kinds_of(
    MetricContract(name="s", datatype=DataType.UINT16, role="state", times={"machine": (6,), "setup": (3, 15)})
)
MTCONNECT = kinds_of(MetricContract(name="s", datatype=DataType.STRING, role="state", times={"machine": ("ACTIVE",)}))


def spent(
    *samples: MetricRow,
    held: Any = None,
    until: float = 100,
    kinds: dict[Any, Any] | None = None,
    parts: int = 1,
    **held_options: Any,
) -> dict[str, float]:
    """Seconds by kind of a piece from 0 to ``until``; ``held`` is what the sample before it said."""
    before = None if held is None and not held_options else row(-10, held, **held_options)
    kinds = PACKML if kinds is None else kinds
    run = StateRun.after(before, kinds, from_ns=0, back_to_ns=0)
    size = max(-(-len(samples) // parts), 1)
    for at in range(0, len(samples), size):
        run.advance(samples[at : at + size], kinds)
        run = msgspec.json.decode(msgspec.json.encode(run), type=StateRun)
    return {kind: duration / S for kind, duration in run.spent(round(until * S)).items() if duration}


def test_a_state_holds_from_its_sample_to_the_next():
    assert spent(row(10, 15), row(30, 6), row(70, 4)) == {"setup": 20, "machine": 40}


def test_several_values_may_be_one_kind_of_time():
    assert spent(row(10, 15), row(30, 3), row(35, 4)) == {"setup": 25}


def test_what_held_before_the_piece_counts_from_its_start():
    assert spent(row(10, 4), held=6) == {"machine": 10}


def test_the_last_state_counts_to_the_end_and_no_further():
    assert spent(row(10, 6)) == {"machine": 90}
    assert spent(row(10, 6), until=15) == {"machine": 5}


def test_nothing_is_known_before_the_first_sample():
    assert spent() == {}
    assert spent(row(60, 6)) == {"machine": 40}


@pytest.mark.parametrize(
    "lost", [row(20, 6, quality=BAD), row(20, 6, quality=STALE), row(20, None)], ids=["bad", "stale", "null"]
)
def test_over_a_bad_sample_nothing_is_counted_until_the_next_good_one(lost: MetricRow):
    assert spent(row(10, 6), lost, row(50, 6), row(60, 4)) == {"machine": 20}


def test_a_bad_sample_before_the_piece_leaves_its_start_unknown():
    assert spent(row(30, 6), held=6, quality=BAD) == {"machine": 70}


def test_a_sample_of_a_suspect_clock_changes_nothing():
    assert spent(row(10, 6), row(20, 4, flags=SUSPECT)) == {"machine": 90}


def test_an_uncertain_state_counts():
    assert spent(row(10, 6, quality=UNCERTAIN)) == {"machine": 90}


def test_of_states_at_one_time_the_highest_ordinal_holds():
    assert spent(row(10, 6), row(10, 4, ordinal=1), row(10, 15, ordinal=2)) == {"setup": 90}


def test_words_are_compared_without_the_blanks_around_them():
    assert spent(row(0, "ACTIVE "), row(40, "READY"), kinds=MTCONNECT) == {"machine": 40}
    assert spent(row(0, "active"), kinds=MTCONNECT) == {}


def test_a_boolean_state_is_its_number():
    kinds = kinds_of(MetricContract(name="s", datatype=DataType.BOOLEAN, role="state", times={"machine": (1,)}))
    assert spent(row(0, 1), row(40, 0), kinds=kinds) == {"machine": 40}


LIVES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([6, 6, 15, 4, None]),
        st.sampled_from([0, 0, 0, BAD]),
        st.sampled_from([0, 0, 0, SUSPECT]),
    ),
    max_size=30,
)


def life_of(steps: list[tuple[int, Any, int, int]]) -> list[MetricRow]:
    samples: list[MetricRow] = []
    seconds = 0
    for gap, value, quality, flags in steps:
        seconds += gap
        ordinal = samples[-1][1] + 1 if samples and samples[-1][0] == seconds * S else 0
        samples.append(row(seconds, value, quality=quality, flags=flags, ordinal=ordinal))
    return samples


@given(LIVES, st.integers(1, 8), st.sampled_from([None, 6, 4]))
def test_going_on_with_states_equals_reading_anew(steps: list[tuple[int, Any, int, int]], parts: int, held: Any):
    life = life_of(steps)
    assert spent(*life, parts=parts, held=held) == spent(*life, held=held)


# ── quality ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def measured(
    *samples: MetricRow, held: Any = None, until: float = 100, parts: int = 1, limits: Any = (20, 30)
) -> QualityRun:
    before = None if held is None else row(-10, held)
    run = QualityRun.after(before, limits, from_ns=0, back_to_ns=0)
    size = max(-(-len(samples) // parts), 1)
    for at in range(0, len(samples), size):
        run.advance(samples[at : at + size])
        run = msgspec.json.decode(msgspec.json.encode(run), type=QualityRun)
    return run.until(round(until * S))


def test_the_mean_is_weighted_by_time():
    run = measured(row(0, 20.0), row(90, 30.0))
    assert run.weighted / run.weight_ns == pytest.approx(21.0)
    assert [run.lowest, run.highest, run.last, run.samples] == [20.0, 30.0, 30.0, 2]


def test_out_of_range_is_how_long_it_was_outside():
    run = measured(row(0, 25.0), row(10, 31.0), row(25, 30.0), row(50, 19.5), row(60, 20.0))
    assert run.out_ns == 25 * S


def test_what_was_measured_before_the_piece_counts_from_its_start():
    run = measured(row(50, 22.0), held=40.0)
    assert [run.highest, run.out_ns, run.samples] == [40.0, 50 * S, 1]
    assert run.weighted / run.weight_ns == pytest.approx(31.0)


def test_over_a_bad_measurement_nothing_is_weighted():
    run = measured(row(0, 22.0), row(10, 99.0, quality=BAD), row(90, 24.0))
    assert run.weight_ns == 20 * S
    assert [run.lowest, run.highest, run.left_out] == [22.0, 24.0, 1]


def test_nothing_measured_tells_nothing():
    run = measured()
    assert (run.last, run.weight_ns, run.samples) == (None, 0, 0)


@given(LIVES, st.integers(1, 8), st.sampled_from([None, 6]))
def test_going_on_with_quality_equals_reading_anew(steps: list[tuple[int, Any, int, int]], parts: int, held: Any):
    life = life_of(steps)
    assert measured(*life, parts=parts, held=held) == measured(*life, held=held)
