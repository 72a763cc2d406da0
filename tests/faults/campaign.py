"""Faults in a row on one running plant, at seeded moments, with what it took to notice and to recover."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from tests.faults.plant import Account, Options, Plant, plant
from tests.faults.process import LateError, until
from tests.proxy import Direction, FaultProxy, How

__all__ = ["CAMPAIGNS", "ODD_METRICS", "Campaign", "Outcome", "Strike", "run_campaign", "stopped_host"]

RECOVERY_DEADLINE_S = 60.0


# Values whose copies are hard to know again: NaN is not equal to itself, and SQLite keeps integers in 63 bits.
ODD_METRICS = (
    ("odd/nan", "Double", "Odd.Nan"),
    ("odd/infinity", "Double", "Odd.Infinity"),
    ("odd/largest", "UInt64", "Odd.Largest"),
    ("odd/smallest", "Int64", "Odd.Smallest"),
)


class Strike(msgspec.Struct, frozen=True):
    """One fault: seconds until the other side said so (None: it was over sooner), and until new values flowed."""

    detected_s: float | None
    recovered_s: float


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault: how it strikes, who notices, and what the plant is like."""

    name: str
    title: str  # as docs/reliability.md has it
    strike: Callable[[Plant, random.Random], Awaitable[None]]
    detected: Callable[[Plant, float], float | None]  # (plant, monotonic moment of the strike) -> moment noticed
    options: Options
    edge_lives: bool = True


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign came to."""

    campaign: str
    seed: int
    strikes: list[Strike]
    account: Account
    faults: list[str]

    def worst_recovery_s(self) -> float:
        return max(strike.recovered_s for strike in self.strikes)

    def median_recovery_s(self) -> float:
        return statistics.median(strike.recovered_s for strike in self.strikes)


# -- how they strike -----------------------------------------------------------------------------------------------


async def kill_edge(made: Plant, rng: random.Random) -> None:
    made.edge.kill()
    await asyncio.sleep(rng.uniform(0.0, 0.5))  # as a supervisor would take
    made.edge.start()


async def kill_host(made: Plant, rng: random.Random) -> None:
    made.host.kill()
    await asyncio.sleep(rng.uniform(0.0, 0.5))
    made.host.start()


async def kill_broker(made: Plant, rng: random.Random) -> None:
    await asyncio.to_thread(made.broker.kill)
    await asyncio.sleep(rng.uniform(0.0, 0.5))
    await asyncio.to_thread(made.broker.start)


async def cut_edge(made: Plant, rng: random.Random) -> None:
    # What goes up is DATA, some kB a second; what comes down is acknowledgements and confirmations.
    await cut(made.proxy, rng, most={"up": 6000, "down": 60})


async def cut_host(made: Plant, rng: random.Random) -> None:
    await cut(made.host_proxy, rng, most={"up": 200, "down": 6000})


async def cut(proxy: FaultProxy | None, rng: random.Random, *, most: dict[Direction, int]) -> None:
    """After a seeded number of bytes, in either direction, so mid-packet as a rule; FIN or RST."""
    assert proxy is not None
    direction: Direction = rng.choice(("up", "down"))
    count = rng.randint(0, most[direction])
    how: How = rng.choice(("fin", "rst"))
    cuts, armed = proxy.cuts, -1

    def is_cut() -> bool:
        nonlocal armed
        # Between two connections there is nothing to cut: wait for the next, which may be a CONNECT under way.
        if proxy.open_connections and armed != proxy.connections:
            armed = proxy.connections
            proxy.cut_after(count, direction=direction, how=how)
        return proxy.cuts > cuts

    await until(is_cut, "the connection is cut", deadline_s=30)


def stop_host_for(seconds: float) -> Callable[[Plant, random.Random], Awaitable[None]]:
    """SIGSTOP: the host neither reads nor dies; the broker queues what it can and drops the rest."""

    async def strike(made: Plant, _: random.Random) -> None:
        made.host.stop()
        await asyncio.sleep(seconds)
        made.host.resume()

    return strike


async def anything(made: Plant, rng: random.Random) -> None:
    """Any of the faults, or two at once."""
    faults = (kill_edge, kill_host, kill_broker, cut_edge, cut_host, stop_host_for(rng.uniform(0.2, 2.0)))
    chosen = rng.sample(faults, rng.choice((1, 1, 2)))
    await asyncio.gather(*(fault(made, rng) for fault in chosen))


# -- who notices ---------------------------------------------------------------------------------------------------


def first_after(moments: list[float], since: float) -> float | None:
    return next((moment for moment in moments if moment >= since), None)


def edge_death(made: Plant, since: float) -> float | None:
    return first_after([death.at for death in made.observer.deaths], since)


def host_offline(made: Plant, since: float) -> float | None:
    return first_after([state.at for state in made.observer.host_states if not state.online], since)


def broker_lost(made: Plant, since: float) -> float | None:
    return first_after(made.observer.broker_losses, since)


def nobody(_: Plant, __: float) -> None:
    return None


CAMPAIGNS: dict[str, Campaign] = {
    campaign.name: campaign
    for campaign in (
        Campaign(
            name="edge",
            title="`kill -9` of `uns-edge`",
            strike=kill_edge,
            detected=edge_death,
            options=Options(),
            edge_lives=False,
        ),
        Campaign(
            name="host",
            title="`kill -9` of `uns host`",
            strike=kill_host,
            detected=host_offline,
            options=Options(beside=ODD_METRICS),
        ),
        Campaign(
            name="broker", title="`kill -9` of mosquitto", strike=kill_broker, detected=broker_lost, options=Options()
        ),
        Campaign(
            name="cut",
            title="edge's connection cut, mid-packet",
            strike=cut_edge,
            detected=edge_death,
            options=Options(),
        ),
        Campaign(
            name="host-cut",
            title="host's connections cut, mid-packet",
            strike=cut_host,
            detected=host_offline,
            options=Options(host_through_proxy=True),
        ),
        Campaign(
            name="mixed",
            title="any of these, or two at once",
            strike=anything,
            detected=nobody,
            options=Options(host_through_proxy=True, beside=ODD_METRICS),
            edge_lives=False,
        ),
    )
}


def stopped_host(seconds: float) -> Campaign:
    """A stopped host: the broker may keep so little for it that it must drop."""
    return Campaign(
        name="stop",
        title=f"host stopped (SIGSTOP) for {seconds:g} s",
        strike=stop_host_for(seconds),
        detected=nobody,
        options=Options(
            broker_settings=("max_queued_messages 20", "max_inflight_messages 20"),
            ballast=5,
        ),
    )


# -- the run -------------------------------------------------------------------------------------------------------


async def run_campaign(
    campaign: Campaign,
    directory: Path,
    *,
    times: int,
    seed: int,
    wait_for_recovery: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Strike ``times`` times at seeded moments, drain, account.

    Without ``wait_for_recovery`` the next fault may hit a process that is still starting or catching up.
    """
    rng = random.Random(f"{campaign.name} {seed}")
    strikes: list[Strike] = []
    async with plant(directory, campaign.options) as made:
        try:
            for number in range(1, times + 1):
                await asyncio.sleep(rng.uniform(0.1, 2.0))
                moment, moment_ms = time.monotonic(), time.time_ns() // 1_000_000
                await campaign.strike(made, rng)
                if wait_for_recovery or number == times:
                    # What was acquired after the fault and its repair, not what was on its way when it struck.
                    await made.until_recorded_since(
                        max(moment_ms, time.time_ns() // 1_000_000), deadline_s=RECOVERY_DEADLINE_S
                    )
                    recovered_s = time.monotonic() - moment
                    noticed = campaign.detected(made, moment)
                    strikes.append(Strike(None if noticed is None else noticed - moment, recovered_s))
                    progress(f"{campaign.name} {number}/{times}: recovered in {recovered_s:.1f} s")
            await made.drain(deadline_s=RECOVERY_DEADLINE_S)
        except LateError as error:
            raise LateError(f"campaign {campaign.name}, seed {seed}: {error}") from None
        account = await made.account()
        faults = account.faults(edge_lived=campaign.edge_lives)
    return Outcome(campaign=campaign.name, seed=seed, strikes=strikes, account=account, faults=faults)
