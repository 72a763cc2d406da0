"""How long to wait before the next attempt: doubling, bounded, spread so that many do not come at once."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """``next_s()`` after a failure, ``reset()`` after a success."""

    def __init__(self, *, first_s: float = 0.5, max_s: float = 15.0) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self.failures = 0

    def next_s(self) -> float:
        """Seconds to wait now: between half and the whole of the step."""
        step_s: float = min(self._first_s * 2.0**self.failures, self._max_s)
        self.failures = min(self.failures + 1, 30)
        return float(step_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret

    def reset(self) -> None:
        """It works again."""
        self.failures = 0
