"""How long to wait before the next attempt: doubling, bounded, spread so that many do not come at once."""

from __future__ import annotations

import random
import time

__all__ = ["Backoff"]


STEADY_S = 10.0  # what ended sooner did not really work: two hosts with one client id throw each other out


class Backoff:
    """``works()`` when an attempt succeeded, ``next_s()`` when it failed or what it opened has ended."""

    def __init__(self, *, first_s: float = 0.5, max_s: float = 15.0, steady_s: float = STEADY_S) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._steady_s = steady_s
        self._worked_since_s: float | None = None
        self.failures = 0

    def works(self) -> None:
        """An attempt succeeded. The waits become short again if it lasts."""
        self._worked_since_s = time.monotonic()

    def next_s(self) -> float:
        """Seconds to wait now: between half and the whole of the step."""
        if self._worked_since_s is not None and time.monotonic() - self._worked_since_s >= self._steady_s:
            self.failures = 0
        self._worked_since_s = None
        step_s: float = min(self._first_s * 2.0**self.failures, self._max_s)
        self.failures = min(self.failures + 1, 30)
        return float(step_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret
