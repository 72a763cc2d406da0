"""The time of one MQTT session: the wall clock's at its CONNECT and steady from there, so that it never goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["STEP_MIN_NS", "SessionClock"]

STEP_MIN_NS = 1_000_000_000  # of a step of the wall clock; less is drift


def _loop_ns() -> int:
    return int(asyncio.get_running_loop().time() * 1e9)


class SessionClock:
    """Gives ``now_ns`` to a session. A wall clock that is set forward is followed, one that is set back is not.

    ``steady_ns`` is for waits, and for nothing that leaves the process; the loop's clock, if none is given.
    """

    def __init__(self, wall_ns: Callable[[], int], steady_ns: Callable[[], int] = _loop_ns) -> None:
        self.wall_ns = wall_ns
        self.steady_ns = steady_ns
        self._anchor = (0, 0)  # of both clocks at one moment

    def start(self) -> None:
        """A session begins: take the wall clock as it is."""
        self._anchor = self.wall_ns(), self.steady_ns()

    def now_ns(self) -> int:
        """The session's time."""
        wall_ns, at_ns = self._anchor
        return wall_ns + self.steady_ns() - at_ns

    def follow(self) -> int:
        """Take a step forward of the wall clock over; gives by how much, 0 for none."""
        step_ns = self.wall_ns() - self.now_ns()
        if step_ns <= STEP_MIN_NS:
            return 0
        self.start()
        return step_ns
