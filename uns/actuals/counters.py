"""How much a counter counted, in one piece of a job.

The samples of the piece in order of key (source time, ordinal), after its *baseline*: the last usable sample before
it, whatever that belonged to. An increment belongs to the sample that shows it.

    from one usable sample to the next          counts                    is
    up, or equal                                the difference            plain; a *gap* or a *jump* where it is marked
    down, and the wrapped step is small         rollover - before + after a *rollover*, where the tree declares one
    down by a hair, of a float                  nothing                   a *dip*: the higher value stays the reference
    down otherwise                              after                     a *reset*: it counts from 0
    the first, without a baseline               nothing                   it is the baseline
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from operator import sub

import msgspec

from uns.actuals.evidence import (
    EXACT,
    VALUE_MAX,
    SampleRef,
    Step,
    StepKind,
    decimal_of,
    ref_of,
    usable_value,
)
from uns.enrichment.log import MetricRow
from uns.enrichment.plan import FLAG_CLOCK_SUSPECT
from uns.enrichment.samples import Quality
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType

__all__ = ["DIP_SHARE", "EVIDENCE_STEPS_MAX", "GAP_NS", "ROLLOVER_SHARE", "CounterRules", "CounterRun"]

# A drop is a rollover if the wrapped step is at most this part of the whole range, where the tree gives no `step_max`.
ROLLOVER_SHARE = 8
# A float that drops by at most this part of its value trembles; it was not reset.
DIP_SHARE = 100
# More than one counted after a silence of this length is marked: when within it is not known.
GAP_NS = 300_000_000_000
# Steps that are not plain, kept with each run; the others are counted.
EVIDENCE_STEPS_MAX = 32

_MEASURED = {int, float}


class CounterRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the tree says of a counter."""

    rollover: int | None = None
    step_max: float | None = None
    single: bool = False  # a 32-bit float

    @classmethod
    def of(cls, metric: MetricContract) -> CounterRules:
        """The rules of one metric."""
        return cls(rollover=metric.rollover, step_max=metric.step_max, single=metric.datatype is DataType.FLOAT)

    def over_the_top(self, before: float, after: float) -> Decimal | None:
        """What a drop counts as a rollover; None where it is none, because the step over the top would be large."""
        if self.rollover is None or not 0 <= after < before < self.rollover:
            return None
        largest = self.rollover / ROLLOVER_SHARE if self.step_max is None else self.step_max
        if self.rollover - before + after > largest:
            return None
        to_the_top = EXACT.subtract(Decimal(self.rollover), self.decimal(before))
        return EXACT.add(to_the_top, self.decimal(after))

    def decimal(self, value: float) -> Decimal:
        """A value of this counter, exactly."""
        return decimal_of(value, single=self.single)


class CounterRun(msgspec.Struct, kw_only=True):
    """What was counted so far; may be written down, and goes on with later samples as if it had never stopped."""

    baseline: SampleRef | None = None
    first: SampleRef | None = None  # of the piece
    last: SampleRef | None = None  # the newest usable one, the baseline before there is another
    since: int | float = 0  # value at which the present ascent began
    value: int | float = 0  # and the highest that it reached
    closed: Decimal = Decimal(0)  # what earlier ascents counted
    samples: int = 0  # usable ones of the piece
    left_out: int = 0  # bad, stale, null, not finite, of a suspect clock
    counted: dict[StepKind, int] = {}  # how many steps of each kind
    steps: list[Step] = []  # the first of them
    uncertain: Decimal = Decimal(0)  # counted over a silence at the start of the piece: may belong before it
    is_broken: bool = False  # samples were left out since the last usable one
    first_position: int = 0
    last_position: int = 0
    back_to_ns: int = 0  # samples from here on are in it: of the baseline, or how far it was looked for
    read_to_ns: int = 0  # up to here, exclusive

    @classmethod
    def after(cls, baseline: SampleRef | None, *, from_ns: int, back_to_ns: int, is_broken: bool) -> CounterRun:
        """A run that has read nothing yet."""
        value = 0 if baseline is None else baseline.value
        return cls(
            baseline=baseline,
            last=baseline,
            since=value,
            value=value,
            is_broken=is_broken,
            back_to_ns=back_to_ns,
            read_to_ns=from_ns,
        )

    def quantity(self, rules: CounterRules) -> Decimal:
        """What was counted; steps of one ascent add up to its height."""
        return EXACT.add(self.closed, self._height(rules))

    def advance(self, rows: Sequence[MetricRow], rules: CounterRules) -> None:
        """Take the next samples, in order of key."""
        if not rows:
            return
        if not self._climb(rows, rules):
            for row in rows:
                self._take(row, rules)
        self.read_to_ns = rows[-1][0] + 1

    def _climb(self, rows: Sequence[MetricRow], rules: CounterRules) -> bool:
        """Take rows that only go up, without looking at each: nearly all of a counter's life; False if they do not."""
        if self.last is None or self.first is None or self.is_broken:
            return False
        times, _, values, qualities, flags, positions = zip(*rows, strict=True)
        if not (
            max(qualities) < Quality.BAD
            and not any(flag & FLAG_CLOCK_SUSPECT for flag in set(flags))
            and _MEASURED.issuperset(map(type, values))
            and values[0] >= self.value
            and list(values) == sorted(values)
            and values[-1] <= VALUE_MAX
        ):
            return False
        if times[-1] - self.last.source_time_ns > GAP_NS and (
            times[0] - self.last.source_time_ns > GAP_NS or max(map(sub, times[1:], times), default=0) > GAP_NS
        ):
            return False
        if rules.step_max is not None and (
            values[0] - self.value > rules.step_max or max(map(sub, values[1:], values), default=0) > rules.step_max
        ):
            return False
        self.value = values[-1]
        self.last = ref_of(rows[-1], self.value)
        self.samples += len(rows)
        self.first_position = min(self.first_position, *positions)
        self.last_position = max(self.last_position, *positions)
        return True

    def _take(self, row: MetricRow, rules: CounterRules) -> None:
        value = usable_value(row)
        if value is None:
            self.left_out += 1
            self.is_broken = True
            return
        ref = ref_of(row, value)
        if self.last is None:
            self.since = self.value = value
        else:
            self._step(self.last, ref, rules)
        if self.first is None:
            self.first = ref
            self.first_position = ref.position
        self.last = ref
        self.is_broken = False
        self.samples += 1
        self.first_position = min(self.first_position, ref.position)
        self.last_position = max(self.last_position, ref.position)

    def _step(self, before: SampleRef, after: SampleRef, rules: CounterRules) -> None:
        value = after.value
        if value >= self.value:
            self._up(before, after, rules)
        elif (amount := rules.over_the_top(self.value, value)) is not None:
            self._begin_again(value, amount, rules)
            self._mark("rollover", before, after, amount)
        elif isinstance(value, float) and (self.value - value) * DIP_SHARE <= self.value:
            self._mark("dip", before, after, Decimal(0))
        else:
            amount = max(rules.decimal(value), Decimal(0))
            self._begin_again(value, amount, rules)
            self._mark("reset", before, after, amount)

    def _up(self, before: SampleRef, after: SampleRef, rules: CounterRules) -> None:
        step = after.value - self.value
        kind: StepKind | None = None
        if step > 1 and (self.is_broken or after.source_time_ns - before.source_time_ns > GAP_NS):
            kind = "gap" if self.first is not None else "boundary"
        elif rules.step_max is not None and step > rules.step_max:
            kind = "jump"
        if kind is not None:
            amount = EXACT.subtract(rules.decimal(after.value), rules.decimal(self.value))
            self._mark(kind, before, after, amount)
            if kind == "boundary":
                self.uncertain = EXACT.add(self.uncertain, amount)
        self.value = after.value

    def _begin_again(self, value: float, amount: Decimal, rules: CounterRules) -> None:
        self.closed = EXACT.add(EXACT.add(self.closed, self._height(rules)), amount)
        self.since = self.value = value

    def _height(self, rules: CounterRules) -> Decimal:
        return EXACT.subtract(rules.decimal(self.value), rules.decimal(self.since))

    def _mark(self, kind: StepKind, before: SampleRef, after: SampleRef, amount: Decimal) -> None:
        self.counted[kind] = self.counted.get(kind, 0) + 1
        if len(self.steps) < EVIDENCE_STEPS_MAX:
            self.steps.append(Step(kind, before, after, amount))
