"""What the contract suite needs of a bridge, and a bridge at work under test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from tests.bridges.logs import HandLog
from tests.servers import eventually
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.bridges.port import Mapping, OutboundItem, Outcome, Target, Unknown
from uns.bridges.rules import RetryPolicy
from uns.runtime.bridge.runner import BridgeRunner, RunnerLimits

__all__ = ["Harness", "LostAnswers", "Refusal", "Work"]

Refusal = Literal["business", "poison"]
MS = 1_000_000


class Harness(Protocol):
    """One kind of bridge, with a real or fake target that outlives the bridge. Units of work are sample values."""

    name: str
    ordered: bool  # whether units of one group (the whole part of the value) go in order
    positions_max: int
    kinds: frozenset[str]  # of trouble and refusal that this target knows

    def bridge(self) -> tuple[Mapping, Target]:
        """A new mapping and a new client, as at a start of the process."""

    async def delivered(self) -> list[float]:
        """Values in the target's own books, in the order in which it took them; twice what it has twice."""

    async def trouble(self, kind: Literal["transient", "auth"] | None) -> None:
        """The whole target is down, or refuses us; None: it works again."""

    async def refuse(self, value: float, kind: Refusal | None) -> None:
        """This unit is refused; None: no more."""


class LostAnswers:
    """A target whose answers get lost: ``taken`` says whether it had taken the items."""

    def __init__(self, target: Target, *, taken: bool, times: int = 1) -> None:
        self._target = target
        self._taken = taken
        self.times = times
        self.read_backs = 0
        self.after_loss: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    async def deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        if self.times > 0:
            self.times -= 1
            if self._taken:
                await self._target.deliver(items)
            return [Unknown("the answer got lost") for _ in items]
        return await self._target.deliver(items)

    async def read_back(self, item: OutboundItem) -> bool | None:
        self.read_backs += 1
        return await self._target.read_back(item)


class Work:
    """A bridge of a harness over a hand-written record log, started and stopped by the test."""

    def __init__(self, harness: Harness, directory: Path) -> None:
        self.harness = harness
        self.directory = directory
        self.log: HandLog = getattr(harness, "make_log", HandLog)(directory / "host")
        self.runner: BridgeRunner | None = None

    @property
    def store_path(self) -> Path:
        return self.directory / "bridge.db"

    @asynccontextmanager
    async def running(self, *, wrap: Any = None, **settings: Any) -> Any:
        """The bridge at work; left with a drain, as at SIGTERM."""
        mapping, target = self.harness.bridge()
        if wrap is not None:
            target = wrap(target)
        store = BridgeStore(self.store_path)
        cursor = RecordCursor(self.log.path)
        retry = RetryPolicy(first_ns=10 * MS, max_ns=50 * MS, attempts_max=3, auth_retry_ns=60_000 * MS)
        runner = self.runner = BridgeRunner(
            name="bridge under test",
            kind=self.harness.name,
            mapping=mapping,
            target=target,
            store=store,
            log=cursor,
            retry=settings.pop("retry", retry),
            limits=msgspec.structs.replace(
                RunnerLimits(positions_max=self.harness.positions_max, poll_s=0.01), **settings.pop("limits", {})
            ),
            **settings,
        )
        task = asyncio.create_task(runner.run())
        try:
            yield target
            if task.done():
                await task
            runner.stop()
            async with asyncio.timeout(10):
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            runner.close()
            store.close()
            cursor.close()

    async def until(self, what: str, **expected: Any) -> Any:
        """Wait until the stats say so; the stats."""
        assert self.runner is not None
        stats = await self.runner.stats()
        deadline = asyncio.get_running_loop().time() + 10
        while any(getattr(stats, name) != value for name, value in expected.items()):
            assert asyncio.get_running_loop().time() < deadline, f"not: {what}: {stats}"
            await asyncio.sleep(0.01)
            stats = await self.runner.stats()
        return stats

    async def drained(self) -> Any:
        """Wait until everything that can go is gone."""
        return await self.until(
            "all is delivered or dead", state="running", position=self.log.head, pending=0, waiting=0, in_doubt=0
        )

    def store(self) -> BridgeStore:
        """The books, as a command sees them."""
        return BridgeStore(self.store_path)


__all__ += ["eventually"]
