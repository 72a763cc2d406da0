"""One seed: draw a plant and its misfortunes, let them happen, come to rest, look whether every promise was kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.broker import SimulatedBroker
from tests.simulation.checkers import BrokenPromiseError, WireTap
from tests.simulation.context import FactSources
from tests.simulation.edge import EdgeOptions, Row, SimulatedEdge
from tests.simulation.faults import draw_faults
from tests.simulation.final import check_at_rest, is_at_rest
from tests.simulation.host import SimulatedHost
from tests.simulation.plant import Oracle, draw_facts, draw_plant, tree_of
from tests.simulation.world import SECOND, START_NS, World

__all__ = ["Simulation", "replay_line", "run_seed"]

REST_SECONDS_MAX = 1_200


@dataclass
class Simulation:
    """Everybody of one seed."""

    seed: int
    trace: Callable[[str], None] | None = None
    world: World = field(init=False)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = world = World(self.seed, trace=self.trace)
        rng = world.random
        self.broker = SimulatedBroker(
            world,
            queue_messages_max=rng.choice((20, 100, 1_000)),
            will_on_takeover=world.chance(0.7),
        )
        if world.chance(0.3):
            self.broker.will_delay_ms = lambda: rng.uniform(0, 2_000)
            self.broker.lets_old_connections_linger = True
        self.tap = WireTap()
        self.broker.taps.append(self.tap)
        self.oracle = Oracle()
        plans = draw_plant(world)
        self.tree = tree_of(world, plans)
        self.options = options = EdgeOptions(
            primary_host=world.chance(0.15),
            mark_interval_ms=rng.choice((100, 500, 1_000)),
            mark_messages_max=rng.choice((3, 20, 200)),
            level="broker" if world.chance(0.05) else "host",
            rows_max=rng.randint(10, 100) if world.chance(0.1) else None,
        )
        self.edges = [SimulatedEdge(world, self.broker, plan, self.oracle, options) for plan in plans]
        self.host = SimulatedHost(world, self.broker, self.tree)
        # A second broker, where edge nodes go now and then; the host that they deliver to is not there.
        self.second = SimulatedBroker(world) if world.chance(0.12) else None
        if self.second is not None:
            self.second.taps.append(self.tap)
            for edge in self.edges:
                edge.brokers.append(self.second)
        # Another host listens, asks for rebirths, and has to leave marks alone.
        place = self.second or self.broker
        with_other = world.chance(0.7 if self.second else 0.1)
        self.other = SimulatedHost(world, place, self.tree, host_id="other") if with_other else None
        for edge in self.edges:
            edge.rows_deleted = partial(self._check_deleted, edge)
        self.duration_s = rng.uniform(6, 20)
        self.sources = FactSources(world, self.host, draw_facts(world, self.tree, self.duration_s))

    def run(self) -> None:
        """Raises :class:`BrokenPromiseError`, or whatever a session raised."""
        world = self.world
        for edge in self.edges:
            world.after(world.random.uniform(0, 2_000), edge.start)
        world.after(world.random.uniform(0, 3_000), self.host.start)
        if self.other is not None:
            world.after(world.random.uniform(0, 10_000), self.other.start)
        self.sources.start()
        self.faults = draw_faults(self)
        end_ns = START_NS + int(self.duration_s * SECOND)
        world.run(end_ns)
        self._calm()
        self._come_to_rest()
        check_at_rest(self, births_may_be_unheard=True)
        # A birth that was lost shows by what follows it: everyone says one thing more, then all has to be right.
        for edge in self.edges:
            edge.say_last_words()
        self._come_to_rest()
        check_at_rest(self, births_may_be_unheard=False)

    def _come_to_rest(self) -> None:
        rest_ns = self.world.now_ns
        limit_ns = rest_ns + REST_SECONDS_MAX * SECOND
        while not is_at_rest(self) and rest_ns < limit_ns:
            rest_ns += 5 * SECOND
            self.world.run(rest_ns)
        self.world.run(rest_ns + 20 * SECOND)

    def _calm(self) -> None:
        """No more faults and no more readings; everyone who is down starts again."""
        self.world.trace("world", "no more faults")
        self.broker.start()
        self.broker.denies = lambda client_id, topic: False
        self.host.raw_full = self.host.records_full = False
        self.host.start()
        for edge in self.edges:
            del edge.brokers[1:]
            edge.start()
            edge.reading = False
            edge.lost_devices.clear()

    def _check_deleted(self, edge: SimulatedEdge, rows: list[Row]) -> None:
        if edge.options.level != "host":
            return
        committed = self.host.store.samples
        for row in rows:
            key = edge.key_of(row)
            if key not in committed:
                raise BrokenPromiseError("DeletionChecker", "deleted only what the host committed", f"{key}")


def replay_line(seed: int) -> str:
    return f"python -m tests.simulation.replay --seed {seed}"


def run_seed(seed: int, *, trace: Callable[[str], None] | None = None) -> Simulation:
    """Play one seed to its end; a broken promise says how to play it again."""
    simulation = Simulation(seed, trace)
    try:
        simulation.run()
    except Exception as error:
        error.add_note(f"replay: {replay_line(seed)}")
        raise
    return simulation
