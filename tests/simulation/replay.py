"""Play one seed again: ``python -m tests.simulation.replay --seed N [--verbose]``; or hunt: ``--from N --count M``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.run import Simulation, replay_line

FAILURES_SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--verbose", action="store_true", help="every message, on stderr")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return play(arguments.seed, verbose=arguments.verbose)
    begin = time.perf_counter()
    failures = 0
    for seed in range(arguments.first, arguments.first + arguments.count):
        try:
            Simulation(seed).run()
        except Exception as error:  # noqa: BLE001 whatever a seed finds is told, and the hunt goes on
            failures += 1
            if failures > FAILURES_SHOWN:
                continue
            print(f"{replay_line(seed)}    # {type(error).__name__}: {error}"[:300], flush=True)
    spent = time.perf_counter() - begin
    print(f"{arguments.count} seeds, {failures} failures, {1000 * spent / max(1, arguments.count):.0f} ms each")
    return 1 if failures else 0


def play(seed: int, *, verbose: bool) -> int:
    simulation = Simulation(seed, (lambda line: print(line, file=sys.stderr)) if verbose else None)
    try:
        simulation.run()
    except Exception:  # noqa: BLE001 told in full
        traceback.print_exc()
        print(f"seed {seed} fails; faults were:", *simulation.faults, sep="\n  ")
        return 1
    print(f"seed {seed} holds; faults were:", *simulation.faults, sep="\n  ")
    print(f"{len(simulation.oracle.samples)} samples, wire: {dict(sorted(simulation.tap.counts.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
