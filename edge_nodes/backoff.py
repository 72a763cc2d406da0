"""How long to wait before the next attempt: doubling, with jitter, so that a site's gateways do not come at once."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Seconds to wait; every wait is between half and the whole of the present step."""

    def __init__(self, *, first_s: float = 0.5, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._step_s = first_s

    def next_s(self) -> float:
        """The wait before the next attempt."""
        step, self._step_s = self._step_s, min(2 * self._step_s, self._most_s)
        return step * random.uniform(0.5, 1.0)  # noqa: S311 no secret is drawn

    def reset(self) -> None:
        """An attempt succeeded."""
        self._step_s = self._first_s
