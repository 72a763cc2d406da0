"""A PLC metric with role ``context`` as a step function of its own source time.

Each good sample is a step; samples that repeat the value before them only matter when another one arrives late between
them, so all of them are kept and the change points are kept apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from uns.context.times import MAX_NS

__all__ = ["CONTEXT_SAMPLES_MAX", "StepSeries"]

# Per metric. Beyond it the oldest repeats are forgotten: a late sample between two of them would then end its value at
# the next change instead of at the next repeat. Changes themselves are never forgotten.
CONTEXT_SAMPLES_MAX = 200_000

_ORDINAL_BITS = 32
_ORDINAL_MAX = (1 << _ORDINAL_BITS) - 1


class StepSeries:
    """The samples of one context metric of one equipment, as runs of equal values."""

    __slots__ = ("_change_keys", "_change_values", "_keys", "_values", "samples_max")

    def __init__(self, *, samples_max: int = CONTEXT_SAMPLES_MAX) -> None:
        self.samples_max = samples_max
        self._keys: list[int] = []  # (source_time_ns, ordinal) in one integer
        self._values: list[str] = []
        self._change_keys: list[int] = []
        self._change_values: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, source_time_ns: int, ordinal: int, value: str) -> tuple[int, int] | None:
        """Take one sample; give back the window in which runs changed, None where nothing did."""
        key = (source_time_ns << _ORDINAL_BITS) | min(ordinal, _ORDINAL_MAX)
        keys, values = self._keys, self._values
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            return None  # the same sample again
        before = values[at - 1] if at > 0 else None
        after = values[at] if at < len(keys) else None
        after_key = keys[at] if at < len(keys) else 0
        keys.insert(at, key)
        values.insert(at, value)
        if len(keys) > self.samples_max:
            self._forget_repeats()
        if before == value:
            return None
        # The runs on either side begin elsewhere now, so the window reaches over both of them.
        window_from = self._run_start(key)
        if after is not None and after == value:
            self._drop_change(after_key)
        elif after is not None and after == before:
            self._add_change(after_key, after)
        self._add_change(key, value)
        return min(window_from, source_time_ns), self._run_end_after(after_key if after is not None else key)

    def runs(self, lo: int, hi: int) -> list[tuple[int, int, str]]:
        """(start, end, value) of the runs that overlap [lo, hi); runs of no length are left out."""
        keys = self._change_keys
        at = max(bisect_right(keys, (lo << _ORDINAL_BITS) | _ORDINAL_MAX) - 1, 0)
        found: list[tuple[int, int, str]] = []
        while at < len(keys):
            start = keys[at] >> _ORDINAL_BITS
            if start >= hi:
                break
            end = keys[at + 1] >> _ORDINAL_BITS if at + 1 < len(keys) else MAX_NS
            if start < end and end > lo:
                found.append((start, end, self._change_values[at]))
            at += 1
        return found

    def _run_start(self, key: int) -> int:
        at = bisect_left(self._change_keys, key) - 1
        return self._change_keys[max(at, 0)] >> _ORDINAL_BITS if self._change_keys else key >> _ORDINAL_BITS

    def _run_end_after(self, key: int) -> int:
        at = bisect_right(self._change_keys, key)
        return self._change_keys[at] >> _ORDINAL_BITS if at < len(self._change_keys) else MAX_NS

    def _add_change(self, key: int, value: str) -> None:
        at = bisect_left(self._change_keys, key)
        insort(self._change_keys, key)
        self._change_values.insert(at, value)

    def _drop_change(self, key: int) -> None:
        at = bisect_left(self._change_keys, key)
        del self._change_keys[at], self._change_values[at]

    def _forget_repeats(self) -> None:
        changes = set(self._change_keys)
        half = len(self._keys) // 2
        kept = [i for i in range(len(self._keys)) if i >= half or self._keys[i] in changes]
        self._keys = [self._keys[i] for i in kept]
        self._values = [self._values[i] for i in kept]
        # A series of changes only is not searched again at every sample.
        self.samples_max = max(self.samples_max, 4 * len(changes))
