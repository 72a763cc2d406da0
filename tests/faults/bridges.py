"""``kill -9`` of bridges at random moments: each kind with real processes on both sides of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from tests.bridges.postgres.server import PostgresServer, find_postgres
from tests.bridges.runtime.bench import Bench, kill_often
from tests.faults.bridge_outcome import BridgeOutcome
from tests.faults.mes_day import bridge_killed

__all__ = ["BRIDGES", "BridgeCampaign", "available"]


class Killed(Protocol):
    """Kills ``times`` times, drains, accounts."""

    def __call__(
        self, directory: Path, *, times: int, seed: int, progress: Callable[[str], None]
    ) -> Awaitable[BridgeOutcome]: ...


class BridgeCampaign(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of bridge under fire."""

    name: str
    title: str
    run: Killed


async def postgres_killed(directory: Path, *, times: int, seed: int, progress: Callable[[str], None]) -> BridgeOutcome:
    """The copy to PostgreSQL; its truth are the rows of the log."""
    binaries = find_postgres()
    assert binaries is not None, "by available()"
    outcome = BridgeOutcome(name="postgres", kills=times)
    directory.mkdir(parents=True, exist_ok=True)
    server = PostgresServer(binaries)
    try:
        server.start()
        bench = Bench(directory, server)
        try:
            written = await kill_often(bench, kills=times, seed=seed)
            outcome.through = f"{written:,} samples out"
        except AssertionError as error:
            delivered = await bench.harness.delivered()
            outcome.lost = max(int(bench.log.head) - 1 - len(set(delivered)), 0)
            outcome.twice = len(delivered) - len(set(delivered))
            outcome.faults.append(str(error)[:500])
        finally:
            bench.child.kill()
            bench.log.close()
    finally:
        server.close()
    progress(f"bridge-postgres {times}/{times}: {outcome.through}")
    return outcome


BRIDGES = {
    campaign.name: campaign
    for campaign in (
        BridgeCampaign(name="bridge-b2mml", title="`kill -9` of `uns bridge run`, B2MML", run=bridge_killed),
        BridgeCampaign(name="bridge-postgres", title="`kill -9` of `uns bridge run`, PostgreSQL", run=postgres_killed),
    )
}


def available(campaign: BridgeCampaign) -> bool:
    """Whether what it needs is installed here."""
    return campaign.name != "bridge-postgres" or find_postgres() is not None
