"""How a counter is counted: what each sample adds, and that reading it in parts changes nothing."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.actuals.rows import BAD, GOOD_Q, STALE, SUSPECT, UNCERTAIN, S, row, rows
from uns.actuals import book, counters, statements, totals
from uns.actuals.counters import EVIDENCE_STEPS_MAX, GAP_NS, CounterRules, CounterRun
from uns.actuals.evidence import SampleRef, decimal_of, ref_of
from uns.enrichment.log import MetricRow
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "actuals.md").read_text()


def run_of(
    samples: list[MetricRow], *, baseline: float | None = None, parts: int = 1, silence: float = 1, **rules: Any
) -> CounterRun:
    """A run over samples after a baseline ``silence`` seconds before them, read in parts, kept on paper in between."""
    before: SampleRef | None = None
    if baseline is not None:
        before = ref_of(row(-silence, baseline, position=1), baseline)
    run = CounterRun.after(before, from_ns=0, back_to_ns=-S, is_broken=False)
    size = max(-(-len(samples) // parts), 1)
    for at in range(0, len(samples), size):
        run.advance(samples[at : at + size], CounterRules(**rules))
        run = msgspec.json.decode(msgspec.json.encode(run), type=CounterRun)
    return run


def counted(samples: list[MetricRow], **options: Any) -> Decimal:
    rules = {key: value for key, value in options.items() if key in ("rollover", "step_max", "single")}
    return run_of(samples, **options).quantity(CounterRules(**rules))


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_counts_from_the_baseline():
    assert counted(rows(101, 105, 110), baseline=100) == 10


def test_without_a_baseline_the_first_sample_is_it():
    assert counted(rows(101, 105, 110)) == 9


def test_no_sample_counts_nothing():
    run = run_of([], baseline=100)
    assert run.quantity(CounterRules()) == run.samples == 0
    assert run.first is None


def test_a_counter_that_stands_counts_nothing():
    assert counted(rows(7, 7, 7), baseline=7) == 0


def test_a_drop_is_a_reset_and_counts_from_zero():
    run = run_of(rows(101, 3, 5), baseline=100)
    assert run.quantity(CounterRules()) == 1 + 3 + 2
    (step,) = run.steps
    assert step.kind == "reset"
    assert [step.before.value, step.after.value, step.amount] == [101, 3, 3]


def test_a_reset_at_the_start_of_a_piece_counts_from_zero():
    assert counted(rows(3), baseline=500) == 3


def test_a_reset_to_below_zero_counts_nothing_for_itself():
    assert counted(rows(-5, 0), baseline=10) == 5


def test_over_the_top_of_a_small_step_it_rolls_over():
    run = run_of(rows(65_533, 2), baseline=65_530, rollover=65_536)
    assert run.quantity(CounterRules(rollover=65_536)) == 8
    assert run.counted == {"rollover": 1}


def test_a_drop_whose_step_over_the_top_is_large_is_a_reset():
    assert counted(rows(2), baseline=40_000, rollover=65_536) == 2


def test_step_max_decides_between_rollover_and_reset():
    assert counted(rows(1_000), baseline=65_000, rollover=65_536) == 1_536
    assert counted(rows(1_000), baseline=65_000, rollover=65_536, step_max=1_000) == 1_000
    assert counted(rows(1_000), baseline=40_000, rollover=65_536, step_max=30_000) == 26_536


def test_a_value_that_the_rollover_excludes_is_no_sign_of_one():
    assert counted(rows(3), baseline=70_000, rollover=65_536) == 3


def test_a_rise_beyond_step_max_counts_and_is_marked():
    run = run_of(rows(1, 500), baseline=0, step_max=10)
    assert run.quantity(CounterRules(step_max=10)) == 500
    assert run.counted == {"jump": 1}


def test_a_float_that_trembles_counts_nothing_until_it_is_above():
    run = run_of(rows(100.0, 99.5, 99.75, 100.5), baseline=99.0)
    assert run.quantity(CounterRules()) == Decimal("1.5")
    assert run.counted == {"dip": 2}


def test_an_integer_that_falls_by_one_was_reset():
    assert counted(rows(99), baseline=100) == 99


@pytest.mark.parametrize(
    "sample",
    [
        row(1, 999, quality=BAD),
        row(1, 999, quality=STALE),
        row(1, None),
        row(1, 999, flags=SUSPECT),
        row(1, "NaN"),
        row(1, "Infinity"),
        row(1, "-Infinity"),
        row(1, "-3"),
    ],
    ids=["bad", "stale", "null", "suspect", "nan", "infinity", "minus infinity", "text"],
)
def test_what_is_no_good_number_is_left_out_and_counted_as_that(sample: MetricRow):
    run = run_of([row(0, 101), sample, row(2, 102)], baseline=100)
    assert [run.quantity(CounterRules()), run.samples, run.left_out] == [2, 2, 1]


def test_an_uncertain_value_counts():
    assert counted([row(1, 105, quality=UNCERTAIN)], baseline=100) == 5
    assert GOOD_Q == 0


def test_of_samples_at_one_time_the_ordinal_says_the_order():
    samples = sorted([row(1, 3, ordinal=2), row(1, 101, ordinal=0), row(1, 1, ordinal=1)])
    assert counted(samples, baseline=100) == 1 + 1 + 2


def test_more_than_one_after_a_silence_counts_and_is_marked():
    run = run_of([row(0, 1), row(GAP_NS / S + 0.1, 11)], baseline=0)
    assert run.quantity(CounterRules()) == 11
    assert run.counted == {"gap": 1}
    assert run.uncertain == 0


def test_one_after_a_silence_is_plain():
    assert run_of(rows(1, 2, 3, every=3_600), baseline=0).counted == {}


def test_more_than_one_over_samples_that_were_left_out_is_marked():
    run = run_of([row(0, 1), row(1, None), row(2, 5)], baseline=0)
    assert run.counted == {"gap": 1}


def test_a_silence_at_the_start_of_a_piece_makes_its_amount_uncertain():
    run = run_of(rows(112), baseline=100, silence=3_600)
    assert run.counted == {"boundary": 1}
    assert run.quantity(CounterRules()) == run.uncertain == 12
    assert run_of(rows(101), baseline=100, silence=3_600).uncertain == 0


def test_evidence_is_bounded_and_the_rest_is_counted():
    run = run_of(rows(*(value for at in range(50) for value in (10, 1))), baseline=0)
    assert (len(run.steps), run.counted["reset"]) == (EVIDENCE_STEPS_MAX, 50)


def test_it_knows_the_samples_it_rests_on():
    run = run_of(rows(101, 102, 103), baseline=100)
    assert run.baseline is not None
    assert run.first is not None
    assert run.last is not None
    assert (run.baseline.value, run.first.value, run.last.value) == (100, 101, 103)
    assert (run.first_position, run.last_position, run.samples) == (1_000, 1_020, 3)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unsigned_64_bits_count_exactly():
    top = 2**64
    assert counted(rows(str(top - 3), str(top - 1), 4), baseline=top - 10, rollover=top) == 14


def test_doubles_count_as_their_shortest_decimals():
    assert counted(rows(0.1, 0.2, 0.3), baseline=0.0) == Decimal("0.3")
    assert counted(rows(1e15 + 0.5), baseline=0.1) == Decimal("1000000000000000.4")


def test_floats_count_as_the_shortest_decimals_of_32_bits():
    as_recorded = 0.30000001192092896  # 0.3 of 32 bits
    assert counted(rows(as_recorded), baseline=0.0, single=True) == Decimal("0.3")
    assert counted(rows(as_recorded), baseline=0.0) == Decimal("0.30000001192092896")


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_single_comes_back_from_its_decimal(value: float):
    assert float(decimal_of(value, single=True)) == pytest.approx(value, rel=1e-6, abs=1e-45)


def test_the_rules_of_a_metric_come_from_its_contract():
    metric = MetricContract(name="n", datatype=DataType.FLOAT, role="counter", rollover=100, step_max=7)
    assert CounterRules.of(metric) == CounterRules(rollover=100, step_max=7, single=True)


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────

VALUES = st.one_of(
    st.integers(0, 30),
    st.integers(0, 110),
    st.sampled_from([None, "NaN", "Infinity", 20.5, 20.25]),
)


@st.composite
def lives(draw: st.DrawFn) -> list[MetricRow]:
    """A counter's life: mostly rising, with everything that may go wrong in it."""
    samples: list[MetricRow] = []
    time_ns, value = 0, 0
    for position in range(draw(st.integers(0, 40))):
        time_ns += draw(st.sampled_from([0, S, S, S, GAP_NS + S]))
        if draw(st.booleans()):
            value += draw(st.integers(0, 3))
            shown: Any = value
        else:
            shown = draw(VALUES)
            value = shown if isinstance(shown, int) else value
        ordinal = samples[-1][1] + 1 if samples and samples[-1][0] == time_ns else 0
        quality = draw(st.sampled_from([0, 0, 0, 0, UNCERTAIN, BAD]))
        flags = draw(st.sampled_from([0, 0, 0, 2, SUSPECT]))
        samples.append((time_ns, ordinal, shown, quality, flags, 1_000 + position))
    return samples


@given(
    lives(),
    st.integers(1, 12),
    st.sampled_from([None, 0, 25]),
    st.sampled_from([{}, {"rollover": 100}, {"rollover": 100, "step_max": 20}]),
)
def test_going_on_equals_reading_anew(life: list[MetricRow], parts: int, baseline: int | None, rules: dict[str, Any]):
    assert run_of(life, parts=parts, baseline=baseline, **rules) == run_of(life, baseline=baseline, **rules)


@given(lives(), st.sampled_from([None, 0, 25]), st.sampled_from([{}, {"rollover": 100}]))
def test_the_quick_way_equals_sample_by_sample(life: list[MetricRow], baseline: int | None, rules: dict[str, Any]):
    assert run_of(life, baseline=baseline, **rules) == run_of(life, parts=len(life) or 1, baseline=baseline, **rules)


@given(lives(), st.sampled_from([None, 0, 25]))
def test_it_never_counts_below_zero_and_equals_the_sum_of_its_steps(life: list[MetricRow], baseline: int | None):
    run = run_of(life, baseline=baseline, rollover=100)
    slowly = oracle(life, baseline, rollover=100)
    assert run.quantity(CounterRules(rollover=100)) == slowly >= 0


def oracle(life: list[MetricRow], baseline: float | None, *, rollover: int) -> Decimal:
    """The table of docs/reference/actuals.md, step by step."""
    total, before = Decimal(0), baseline
    for _, _, value, quality, flags, _ in life:
        if quality >= BAD or flags & SUSPECT or value is None or isinstance(value, str):
            continue
        if before is None or value >= before:
            total += 0 if before is None else Decimal(str(value)) - Decimal(str(before))
        elif value >= 0 and before < rollover and rollover - before + value <= rollover / 8:
            total += rollover - Decimal(str(before)) + Decimal(str(value))
        elif isinstance(value, float) and before - value <= before / 100:
            continue
        else:
            total += max(Decimal(str(value)), Decimal(0))
        before = value
    return total


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_page_counts_what_it_says():
    lines = re.findall(r"^\| (\d\d:\d\d:\d\d) \|(.*)\|$", PAGE, re.MULTILINE)
    table = [(*time.split(":"), *(cell.strip() for cell in cells.split("|"))) for time, cells in lines]
    assert len(table) == 8
    samples = [
        row(
            int(h) * 3600 + int(m) * 60 + int(s) - 8 * 3600,
            int(value.replace(",", "")) if value else None,
            quality=BAD if quality == "bad" else 0,
            position=at + 1,
        )
        for at, (h, m, s, value, quality, _, _) in enumerate(table)
    ]
    total = re.search(r"The job made \*\*(\d+)\*\*", PAGE)
    assert total is not None
    rules = CounterRules(rollover=65_536)
    value = samples[0][2]
    assert isinstance(value, int)
    run = CounterRun.after(ref_of(samples[0], value), from_ns=0, back_to_ns=-20 * S, is_broken=False)
    before = Decimal(0)
    for sample, (*_, counts, said) in zip(samples[1:-1], table[1:-1], strict=True):
        marks = dict(run.counted)
        run.advance([sample], rules)
        now = run.quantity(rules)
        assert (now - before) == int(counts or 0), said
        marked = next((kind for kind in run.counted if run.counted[kind] != marks.get(kind, 0)), "")
        assert said.startswith(marked), f"{said!r} is marked {marked!r}"
        before = now
    assert before == int(total[1])


def test_every_bound_stands_on_the_page():
    names = {
        name
        for module in (counters, totals, book, statements)
        for name in vars(module)
        if name.endswith(("_MAX", "_SHARE")) or name in ("GAP_NS", "LOOK_BACK_NS")
    }
    assert len(names) == 10
    assert not [name for name in names if f"| `{name}` |" not in PAGE]
