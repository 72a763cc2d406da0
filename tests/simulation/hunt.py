"""Many seeds over all processors: ``python -m tests.simulation.hunt --from 500 --count 20000 --budget-s 600``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from tests.simulation.run import Simulation, replay_line

__all__ = ["Hunt", "hunt"]

SEEDS_IN_A_PIECE = 50
PROGRESS_EVERY_S = 10.0
FAILURES_SHOWN = 50


@dataclass
class Hunt:
    """What came of it."""

    wanted: int
    played: int = 0
    spent_s: float = 0.0
    time_is_up: bool = False
    failures: dict[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = self.played / self.spent_s if self.spent_s else 0.0
        ended = " when the time was up" if self.time_is_up else ""
        return (
            f"{self.played} of {self.wanted} seeds{ended}, {len(self.failures)} failures, "
            f"{self.spent_s:.0f} s, {rate:.0f} seeds/s"
        )


def play(seeds: range) -> tuple[int, dict[int, str]]:
    """One piece, in a process of its own."""
    failures: dict[int, str] = {}
    for seed in seeds:
        try:
            Simulation(seed).run()
        except Exception as error:  # noqa: BLE001 whatever a seed finds is told, and the hunt goes on
            failures[seed] = f"{type(error).__name__}: {error}"[:300]
    return len(seeds), failures


def hunt(first: int, count: int, *, budget_s: float, tell: Callable[[str], None], processes: int | None = None) -> Hunt:
    """Play the seeds from ``first`` on until all are played or the time is up; ``tell`` gets progress and failures."""
    found = Hunt(count)
    begin = told_s = time.monotonic()

    def pieces() -> Iterator[range]:
        """None begins after the time is up."""
        for start in range(first, first + count, SEEDS_IN_A_PIECE):
            if time.monotonic() - begin > budget_s:
                found.time_is_up = True
                return
            yield range(start, min(start + SEEDS_IN_A_PIECE, first + count))

    workers = processes or os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        source = pieces()
        # One piece more than workers, so that nobody waits for the next.
        waiting = [pool.apply_async(play, (piece,)) for piece in islice(source, workers + 1)]
        while waiting:
            played, failures = waiting.pop(0).get()
            found.played += played
            found.spent_s = time.monotonic() - begin
            for seed, text in failures.items():
                found.failures[seed] = text
                if len(found.failures) <= FAILURES_SHOWN:
                    tell(f"{replay_line(seed)}    # {text}")
            if (piece := next(source, None)) is not None:
                waiting.append(pool.apply_async(play, (piece,)))
            if time.monotonic() - told_s > PROGRESS_EVERY_S:
                told_s = time.monotonic()
                tell(f"simulation: {found}")
    found.spent_s = time.monotonic() - begin
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=500)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--budget-s", type=float, default=600.0)
    parser.add_argument("--processes", type=int)
    given = parser.parse_args()
    found = hunt(
        given.first,
        given.count,
        budget_s=given.budget_s,
        tell=lambda line: print(line, flush=True),
        processes=given.processes,
    )
    print(found)
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
