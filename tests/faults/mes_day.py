"""A day at a MES under faults: orders dropped as files, jobs run and corrected, performances taken and booked.

A real broker, host and bridge; the MES, the scanner of counters and the clerk who books are played here. The truth is
what was played: which orders were good, and what each job counted. ``strike_bridge`` kills the bridge in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.emulated_edge import EmulatedEdge
from tests.bridges.b2mml.bench import MesBench
from tests.bridges.b2mml.builders import job, request, schedule
from tests.faults.bridge_outcome import BridgeOutcome
from tests.faults.process import until
from tests.runtime.plants import NODE, births_of
from uns.adapters.mqtt import BrokerAddress
from uns.bridges.b2mml.mapping import revision_of_time
from uns.bridges.b2mml.responses import read_performance
from uns.context.facts import Fact
from uns.context.records import JobResponse
from uns.namespace.loader import load_tree
from uns.runtime.fact_sender import FactSender

__all__ = ["Clerk", "MesDay", "bridge_killed"]

WINDOW_S = 10
EQUIPMENT = ("reactor4", "reactor5")


class Clerk:
    """Takes files out of the outbox and books them as the reference says."""

    def __init__(self, outbox: Path, desk: Path) -> None:
        self._outbox = outbox
        self._desk = desk
        self._desk.mkdir()
        self.standing: dict[str, JobResponse] = {}
        self.seen: dict[str, bytes] = {}
        self.twice: list[str] = []
        self.faults: list[str] = []
        self.corrections = 0

    async def run(self) -> None:
        while True:
            self.take()
            await asyncio.sleep(0.03)

    def take(self) -> None:
        for path in sorted(self._outbox.glob("*.xml"), key=lambda found: found.stat().st_mtime_ns):
            body = path.read_bytes()
            path.rename(self._desk / f"{len(self.seen) + len(self.twice)}-{path.name}")
            self._book(path.name, body)

    def _book(self, name: str, body: bytes) -> None:
        reading = read_performance(body)
        if not reading.readable or len(reading.responses) != 1:
            self.faults.append(f"{name} cannot be read: {reading.findings}")
            return
        (response,) = reading.responses
        if response.response_id in self.seen:
            self.twice.append(response.response_id)
            return
        self.seen[response.response_id] = body
        if response.reverses is not None:
            self.corrections += 1
            if self.standing.pop(response.reverses, None) is None:
                self.faults.append(f"{response.job_order} reverses {response.reverses}, which does not stand")
        if response.action != "delete":
            self.standing[response.response_id] = response

    def booked(self) -> dict[str, list[str]]:
        """By job: the good quantity of each document that stands, which is one."""
        found: dict[str, list[str]] = {}
        for response in self.standing.values():
            found.setdefault(response.job_order, []).append("" if response.good is None else f"{response.good.value:f}")
        return found


class MesDay:
    """Plays everyone around the bridge. ``play`` until told to stop, then :meth:`settle` and :meth:`account`."""

    def __init__(self, bench: MesBench, *, seed: int) -> None:
        self.bench = bench
        self.clerk = Clerk(bench.outbox, bench.directory / "desk")
        self._rng = random.Random(f"mes day {seed}")
        self._began_s = int(time.time()) - 6 * 3600
        self._files = 0
        self._orders = 0
        self._sent: list[bytes] = []
        self._windows = dict.fromkeys(EQUIPMENT, 0)
        self._counts = dict.fromkeys(EQUIPMENT, 0)
        self.orders: set[tuple[str, str]] = set()  # (id, source_rev) that the host should have
        self.bad_files: set[str] = set()
        self.jobs: dict[str, str] = {}  # job to the good quantity that should stand
        self._played: list[tuple[str, str, int, int, int]] = []  # job, equipment, window, before half, all
        self._revisions: dict[str, int] = {}
        self._sender: FactSender
        self.edge: EmulatedEdge

    # ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def played(self) -> Any:
        """Everyone at work while inside."""
        tree = load_tree(self.bench.tree)
        address = BrokerAddress(url=self.bench.broker.url)
        self.edge = EmulatedEdge(
            address, NODE, {name: births_of(tree, name) for name in EQUIPMENT}, mark_interval_ms=100
        )
        async with FactSender(address, tree, client_id="mes", keep_session=False) as self._sender:
            tasks = [
                asyncio.create_task(work, name=name)
                for name, work in (("edge", self.edge.run()), ("clerk", self.clerk.run()))
            ]
            players = [asyncio.create_task(self._order()), asyncio.create_task(self._run_jobs())]
            try:
                await until(lambda: self.edge.online, "the gateway is online")
                yield
                for player in players:
                    player.cancel()
                for found in await asyncio.gather(*players, return_exceptions=True):
                    if not isinstance(found, asyncio.CancelledError):
                        raise found or RuntimeError("a player ended")
                await self.settle()
            finally:
                for task in (*players, *tasks):
                    task.cancel()
                await asyncio.gather(*players, *tasks, return_exceptions=True)

    async def _order(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0.05, 0.3))
            self._drop()

    def _drop(self) -> None:
        """A file: mostly good orders; else again, cut off, rubbish, or with an order that no equipment takes."""
        rng = self._rng
        what = rng.choice(("good", "good", "good", "good", "again", "cut", "rubbish", "unknown"))
        self._files += 1
        name = f"{self._files:05d}.xml"
        if what == "again" and self._sent:
            self.bench.drop(rng.choice(self._sent), name)
            return
        created = datetime(2026, 6, 3, 12, tzinfo=UTC) + timedelta(seconds=rng.randrange(100_000))
        names = [f"o{self._orders + n}" for n in range(rng.randint(1, 30))]
        if self._orders and rng.random() < 0.3:  # orders that were sent before, of an earlier or later hour
            names.append(f"o{rng.randrange(self._orders)}")
        body = schedule(
            request(*(job(one) for one in names), *([job("x", equipment="nowhere")] if what == "unknown" else [])),
            created=created.isoformat().replace("+00:00", "Z"),
        )
        if what == "cut":
            body = body[: rng.randrange(1, len(body) - 1)]
        elif what == "rubbish":
            body = b"order 4711, please"
        else:
            self._orders += len(names)
            self.orders |= {(f"WO-1|{one}", revision_of_time(created)) for one in names}
        if what in {"cut", "rubbish", "unknown"}:
            self.bad_files.add(name)
        else:
            self._sent.append(body)
        self.bench.drop(body, name)

    async def _run_jobs(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0.02, 0.25))
            if self._played and self._rng.random() < 0.25:
                await self._correct(*self._rng.choice(self._played))
            else:
                await self._run_job()

    async def _run_job(self) -> None:
        equipment = self._rng.choice(EQUIPMENT)
        window = self._windows[equipment]
        self._windows[equipment] += 1
        start_s = self._began_s + window * WINDOW_S
        first, second = self._rng.randint(1, 9), self._rng.randint(1, 9)
        count = self._counts[equipment]
        self._counts[equipment] = count + first + second
        name = f"{equipment}-{window}"
        samples = [("batch/count", count + first, start_s * 1000 + 1000), ("temperature", 20.5, start_s * 1000 + 2000)]
        if window == 0:
            samples.insert(0, ("batch/count", 0, start_s * 1000 - 1000))
        self.edge.put(equipment, samples)
        await self._state(name, equipment, window, end_s=None)
        self.edge.put(equipment, [("batch/count", count + first + second, start_s * 1000 + 8000)])
        self.jobs[name] = str(first + second)
        self._played.append((name, equipment, window, first, first + second))
        await self._state(name, equipment, window, end_s=WINDOW_S)

    async def _correct(self, name: str, equipment: str, window: int, first: int, both: int) -> None:
        """It ended earlier, or later after all; or it never was."""
        what = self._rng.choice(("half", "whole", "never"))
        await self._state(
            name,
            equipment,
            window,
            end_s=5 if what == "half" else WINDOW_S,
            action="delete" if what == "never" else "change",
        )
        if what == "never":
            self.jobs.pop(name, None)
        else:
            self.jobs[name] = str(first if what == "half" else both)

    async def _state(self, name: str, equipment: str, window: int, *, end_s: int | None, action: Any = "add") -> None:
        revision = self._revisions[name] = self._revisions.get(name, 0) + 1
        start = datetime.fromtimestamp(self._began_s + window * WINDOW_S, UTC)
        answer = await self._sender.tell(
            Fact(
                id=f"mes:{name}",
                kind="job",
                equipment=equipment,
                job_order=name,
                work_order=f"W-{name}",
                state="running" if end_s is None else "completed",
                valid_from=start,
                valid_to=None if end_s is None else start + timedelta(seconds=end_s),
                source="mes",
                source_rev=str(revision),
                action=action,
            )
        )
        assert answer.accepted, answer.reason

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def settle(self, *, deadline_s: float = 90.0) -> None:
        """Wait until everything that was played has come through."""
        await until(lambda: self.edge.waiting == 0, "the gateway has delivered", deadline_s=deadline_s)
        await until(lambda: not self.bench.waiting(), "the inbox is empty", deadline_s=deadline_s)
        await until(self._is_drained, "the bridge has told everything", deadline_s=deadline_s, every_s=0.2)

    def _is_drained(self) -> bool:
        stats = msgspec.json.decode((self.bench.directory / "mes.bridge.db.stats.json").read_bytes())
        self.clerk.take()
        return (
            stats["state"] == "running"
            and (stats["pending"], stats["lag_positions"], stats["waiting"], stats["in_doubt"]) == (0, 0, 0, 0)
            and time.time_ns() - stats["at_ns"] < 2_000_000_000
            and {name: [good] for name, good in self.jobs.items()} == self.clerk.booked()
        )

    def account(self, outcome: BridgeOutcome) -> BridgeOutcome:
        """Hold what stands against what was played."""
        clerk = self.clerk
        clerk.take()
        facts = [(fact.id, fact.source_rev) for fact in self.bench.facts() if fact.source == "erp"]
        booked, wanted = clerk.booked(), {name: [good] for name, good in self.jobs.items()}
        lost_orders = self.orders - set(facts)
        wrong = {name for name in {*booked, *wanted} if booked.get(name) != wanted.get(name)}
        outcome.through = (
            f"{self._files:,} files with {len(self.orders):,} orders in; {len(wanted):,} jobs in {len(clerk.seen):,} "
            f"documents out, {clerk.corrections:,} of them corrections"
        )
        outcome.lost = len(lost_orders) + len(wrong)
        outcome.twice = len(clerk.twice) + len(facts) - len(set(facts))
        outcome.faults += clerk.faults
        outcome.faults += [f"order {name} is no fact" for name in sorted(lost_orders)[:5]]
        outcome.faults += [f"fact {name} was never ordered" for name in sorted(set(facts) - self.orders)[:5]]
        for name in sorted(wrong)[:5]:
            outcome.faults.append(f"{name}: {booked.get(name)} stands, {wanted.get(name)} is right")
        outcome.faults += [f"response {key} came twice" for key in clerk.twice[:5]]
        outcome.faults += self._files_account()
        return outcome

    def _files_account(self) -> list[str]:
        """Every file lies in its place, and each refusal has a report that says what to do."""
        quarantine = self.bench.inbox / "quarantine"
        aside = {path.name for path in quarantine.glob("*.xml")}
        faults = [f"{name} is in quarantine" for name in sorted(aside - self.bad_files)[:5]]
        faults += [f"{name} is not in quarantine" for name in sorted(self.bad_files - aside)[:5]]
        for name in sorted(aside):
            report = quarantine / f"{name}.report.txt"
            text = report.read_text() if report.exists() else ""
            if not ("taken" in text and f"{name}:" in text and "; " in text):
                faults.append(f"the report of {name} does not say what, where and what to do: {text!r}")
        return faults


async def bridge_killed(
    directory: Path, *, times: int, seed: int, progress: Callable[[str], None] = lambda _: None
) -> BridgeOutcome:
    """``kill -9`` of the bridge at random moments of a day, ``times`` times."""
    rng = random.Random(f"bridge killed {seed}")
    outcome = BridgeOutcome(name="b2mml")
    directory.mkdir(parents=True, exist_ok=True)
    with MesBench(directory) as bench:
        await bench.start_host()
        day = MesDay(bench, seed=seed)
        bench.bridge.start()
        async with day.played():
            for number in range(1, times + 1):
                # From before it has opened anything to well into its work.
                await asyncio.sleep(rng.uniform(0.3, 2.5))
                bench.bridge.kill()
                outcome.kills += 1
                progress(f"bridge-b2mml {number}/{times}: {len(day.orders)} orders, {len(day.clerk.seen)} documents")
                await asyncio.sleep(rng.uniform(0.0, 0.2))
                bench.bridge.start()
        if "Traceback" in bench.bridge.output:
            outcome.faults.append("the bridge printed a traceback")
        return day.account(outcome)
