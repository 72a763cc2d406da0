"""Virtual time and the one source of chance. A seed decides everything that happens."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

__all__ = ["AT_ONCE_MAX", "MS", "SECOND", "START_NS", "BusyLoopError", "Timer", "World"]

MS = 1_000_000
SECOND = 1_000_000_000
START_NS = 1_780_488_000 * SECOND  # 2026-06-03T12:00:00Z


AT_ONCE_MAX = 10_000


class BusyLoopError(AssertionError):
    """Time stands still while calls go on."""

    checker = "World"


class Timer:
    """A call that is due; ``cancel`` before it runs, and it never does."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class World:
    """Clock, schedule, dice, trace."""

    def __init__(self, seed: int, *, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now_ns = START_NS
        self._queue: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._at_once = 0
        self.connections = 0  # made so far, at all brokers
        self._trace = trace
        self.tracing = trace is not None

    def after(self, delay_ms: float, call: Callable[[], None]) -> Timer:
        """Call later; equal times run in the order of asking."""
        return self.at(self.now_ns + int(delay_ms * MS), call)

    def at(self, time_ns: int, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        self._order += 1
        heapq.heappush(self._queue, (max(time_ns, self.now_ns), self._order, timer))
        return timer

    def every(self, interval_ms: Callable[[], float], call: Callable[[], None]) -> None:
        """Call again and again; the next delay is drawn after each call."""

        def again() -> None:
            call()
            self.after(interval_ms(), again)

        self.after(interval_ms(), again)

    def run(self, until_ns: int) -> None:
        """Let everything happen that is due until then."""
        queue = self._queue
        while queue and queue[0][0] <= until_ns:
            time_ns, _, timer = heapq.heappop(queue)
            if time_ns > self.now_ns:
                self.now_ns, self._at_once = time_ns, 0
            self._at_once += 1
            if self._at_once > AT_ONCE_MAX:
                raise BusyLoopError(f"{AT_ONCE_MAX} calls at one moment: somebody's deadline does not move")
            if timer.call is not None:
                timer.call()
        self.now_ns = max(self.now_ns, until_ns)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def trace(self, who: str, what: str) -> None:
        """One line; callers on hot paths look at ``tracing`` first."""
        if self._trace is not None:
            self._trace(f"{(self.now_ns - START_NS) / SECOND:10.4f}  {who:<14} {what}")
