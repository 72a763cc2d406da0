"""The full figures of the fault tests: ``python -m tests.reliability [--write FILE] [--quick] [--only NAME]``.

Runs the campaigns of tests/faults at full length (50 times each, a host stopped for 30 s) on real processes, prints
what it does, and writes the table of docs/reliability.md. Exit code 1 if a promise does not hold, 3 without mosquitto.
The short form of the same campaigns is part of ``make test``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.bridge_outcome import BridgeOutcome
from tests.faults.bridges import BRIDGES, BridgeCampaign, available
from tests.faults.campaign import CAMPAIGNS, Campaign, Outcome, run_campaign, stopped_host
from tests.faults.process import REPOSITORY
from uns.adapters.broker import find_mosquitto

__all__ = ["main", "render"]

TIMES, TIMES_QUICK = 50, 3
STOPS, STOPS_QUICK = 3, 1


def plan(*, quick: bool) -> list[tuple[Campaign, int]]:
    """Which campaigns, and how many faults each."""
    stopped = stopped_host(5.0 if quick else 30.0)
    return [
        *((campaign, TIMES_QUICK if quick else TIMES) for campaign in CAMPAIGNS.values()),
        (stopped, STOPS_QUICK if quick else STOPS),
    ]


async def run_bridges(todo: Sequence[BridgeCampaign], *, times: int, seed: int, directory: Path) -> list[BridgeOutcome]:
    outcomes = []
    for campaign in todo:
        if not available(campaign):
            say(f"{campaign.title}: what it needs is not installed; left out")
            continue
        say(f"{campaign.title}: {times} times")
        outcome = await campaign.run(directory / campaign.name, times=times, seed=seed, progress=say)
        say(f"  {outcome.through}, lost {outcome.lost}, twice {outcome.twice}")
        for fault in outcome.faults:
            say(f"  BROKEN: {fault}")
        outcomes.append(outcome)
    return outcomes


async def run(todo: Sequence[tuple[Campaign, int]], *, seed: int, directory: Path) -> list[Outcome]:
    outcomes = []
    for campaign, times in todo:
        say(f"{campaign.title}: {times} times")
        started = time.monotonic()
        outcome = await run_campaign(campaign, directory / campaign.name, times=times, seed=seed, progress=say)
        account = outcome.account
        say(
            f"  {time.monotonic() - started:.0f} s: stored {account.stored}, recorded {account.recorded}, "
            f"lost {account.lost}, keys twice {len(account.repeated_keys)}"
        )
        for fault in outcome.faults:
            say(f"  BROKEN: {fault}")
        outcomes.append(outcome)
    return outcomes


def say(text: str) -> None:
    print(text, flush=True)


# -- the page ------------------------------------------------------------------------------------------------------

PAGE = """\
# Reliability: what was broken, and what it cost

Written by `{command}`; do not edit. Real processes on one machine: a simulated
PLC (OPC UA, {tags} tags that count, {scans:g} scans a second), `uns-edge`, mosquitto, `uns host`. Each fault strikes at
a seeded random moment under that load, the next one after the plant has recovered. The oracle is the PLC's own file of
what it wrote.

| fault | times | noticed (median, worst) | recovered (median, worst) | stored | recorded | copies | lost | keys twice |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
{rows}

* **noticed**: until an outsider on the broker sees the death certificate, the host's STATE or the broker's end
  (— where nobody is meant to notice).
* **recovered**: from the fault until a value that was acquired *after the repair* stands in the record log; the random
  time until a supervisor starts the process again (up to 0.5 s), or for which the host was stopped, is part of it.
* **copies**: samples that the edge sent again for want of a confirmation and that the host knew by their key.
* **lost** = stored - (recorded + rejected + unmapped), after draining. **keys twice**: rows of the record log with the
  same equipment, metric, source time and ordinal. Where the edge itself lived, every value that the PLC wrote is
  recorded exactly once. A value that the PLC overwrites while `uns-edge` is dead was never read, and is in no term.
* Every connection ends by FIN or RST as the seed says, after a seeded number of bytes. bdSeq rose by 1 with each
  CONNECT on the wire, and all equations of both sides held{verdict}.

## Bridges

Killed while orders come in and jobs are finished, corrected and taken back; another process plays the MES, takes each
file away at once and books it by its key. PostgreSQL runs as its own server; its truth are the rows of the log.

| fault | times | went through meanwhile | lost | twice in the target's books |
|---|--:|---|--:|--:|
{bridges}

* Between the files come duplicates, orders of an earlier hour, cut ones, rubbish, unknown equipment: each lies in its
  place afterwards, each refusal with a report that says what, where and what to do{bridge_verdict}.

{stamp}
"""


def render(
    outcomes: Sequence[Outcome],
    *,
    bridges: Sequence[BridgeOutcome] = (),
    titles: dict[str, str],
    command: str,
    stamp: str,
) -> str:
    options = CAMPAIGNS["edge"].options
    broken = [f"{outcome.campaign}: {fault}" for outcome in outcomes for fault in outcome.faults]
    return PAGE.format(
        command=command,
        tags=options.tags,
        scans=options.scans_per_second,
        rows="\n".join(row(outcome, titles[outcome.campaign]) for outcome in outcomes),
        verdict=verdict(broken),
        bridges="\n".join(
            f"| {BRIDGES['bridge-' + outcome.name].title} | {outcome.kills} | {outcome.through} | {outcome.lost} | "
            f"{outcome.twice} |"
            for outcome in bridges
        ),
        bridge_verdict=verdict([f"{outcome.name}: {fault}" for outcome in bridges for fault in outcome.faults]),
        stamp=stamp,
    )


def verdict(broken: Sequence[str]) -> str:
    return "" if not broken else ", **except**:\n  " + "\n  ".join(f"* {line}" for line in broken)


def row(outcome: Outcome, title: str) -> str:
    account = outcome.account
    noticed = [strike.detected_s for strike in outcome.strikes if strike.detected_s is not None]
    recovered = [strike.recovered_s for strike in outcome.strikes]
    cells = (
        title,
        len(outcome.strikes),
        spread(noticed),
        spread(recovered),
        f"{account.stored:,}",
        f"{account.recorded:,}",
        f"{account.duplicates:,}",
        account.lost,
        len(account.repeated_keys),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s, {max(seconds):.2f} s" if seconds else "—"


def stamp() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    broker = first_line([find_mosquitto() or "mosquitto", "-h"])
    commit = first_line(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"])
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores ({platform.machine()}), {platform.system()}, "
        f"Python {platform.python_version()}, {broker}, commit {commit}."
    )


def first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "unknown"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page to write (docs/reliability.md)")
    parser.add_argument("--quick", action="store_true", help=f"{TIMES_QUICK} times each")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help=f"of {', '.join([*CAMPAIGNS, 'stop', *BRIDGES])}"
    )
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep stores and logs there")
    arguments = parser.parse_args()
    if find_mosquitto() is None:
        print("mosquitto is not installed; `apt-get install mosquitto`", file=sys.stderr)
        return 3
    if arguments.keep is not None and arguments.keep.exists() and any(arguments.keep.iterdir()):
        print(f"{arguments.keep} is not empty: give --keep a new directory", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    say(f"seed {seed}")
    todo = [(c, n) for c, n in plan(quick=arguments.quick) if not arguments.only or c.name in arguments.only]
    with tempfile.TemporaryDirectory(prefix="uns-reliability-") as temporary:
        directory = arguments.keep or Path(temporary)
        outcomes = asyncio.run(run(todo, seed=seed, directory=directory))
        bridges = asyncio.run(
            run_bridges(
                [campaign for name, campaign in BRIDGES.items() if not arguments.only or name in arguments.only],
                times=TIMES_QUICK if arguments.quick else TIMES,
                seed=seed,
                directory=directory,
            )
        )
    titles = {campaign.name: campaign.title for campaign, _ in todo}
    command = " ".join(["python -m tests.reliability", *(["--quick"] if arguments.quick else []), f"--seed {seed}"])
    page = render(outcomes, bridges=bridges, titles=titles, command=command, stamp=stamp())
    if arguments.write is not None:
        arguments.write.write_text(page, encoding="utf-8")
    print(page)
    broken = any(outcome.faults for outcome in outcomes) or any(outcome.faults for outcome in bridges)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
