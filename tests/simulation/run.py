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
from tests.simulation.world import MS, SECOND, START_NS, World
from uns.sparkplug.messages import CommandReceived

__all__ = ["Simulation", "replay_line", "run_seed"]

REST_SECONDS_MAX = 1_200
REST_SECONDS = 20  # and nothing changes any more
SHOWN_SECONDS = 3  # until values of a new birth are shown
BROKERS_WEIGHTS = (74, 14, 12)  # worlds with one, two, three brokers
OTHER_HOST_CHANCES = (0.1, 0.4)  # with one broker, with several
CALM_MS = 10_000  # after the last fault: those that come in several blows have come, and whoever was away is back


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
        self.tap = WireTap()
        self.brokers = [self._draw_broker() for _ in range(rng.choices((1, 2, 3), BROKERS_WEIGHTS)[0])]
        several = len(self.brokers) > 1
        self.oracle = Oracle()
        plans = draw_plant(world)
        self.tree = tree_of(world, plans)
        self.options = options = EdgeOptions(
            primary_host=world.chance(0.8 if several else 0.15),
            host_wait_ms=rng.choice((1_000, 3_000, 10_000, 30_000)),
            when_host_silent="leave" if several or world.chance(0.3) else "wait",
            mark_interval_ms=rng.choice((100, 500, 1_000)),
            mark_messages_max=rng.choice((3, 20, 200)),
            level="broker" if world.chance(0.05) else "host",
            rows_max=rng.randint(10, 100) if world.chance(0.1) else None,
        )
        self.edges = [
            SimulatedEdge(world, rng.sample(self.brokers, len(self.brokers)), plan, self.oracle, options)
            for plan in plans
        ]
        # The host is at one broker; without its STATE edge nodes only leave a broker that is gone.
        home = rng.choice(self.brokers) if options.primary_host else self.brokers[0]
        self.host = SimulatedHost(world, home, self.tree, plans)
        # Another host listens, asks for rebirths, and has to leave marks alone.
        place = rng.choice(self.brokers)
        with_other = world.chance(OTHER_HOST_CHANCES[several])
        self.other = SimulatedHost(world, place, self.tree, plans, host_id="other") if with_other else None
        for edge in self.edges:
            edge.rows_deleted = partial(self._check_deleted, edge)
            edge.commanded = partial(self._check_commanded, edge)
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
        world.run(world.now_ns + CALM_MS * MS)
        self._come_to_rest()
        check_at_rest(self, births_may_be_unheard=True)
        # A birth that was lost shows by what follows it: everyone says one thing more, then all has to be right.
        for edge in self.edges:
            edge.say_last_words()
        self._come_to_rest()
        check_at_rest(self, births_may_be_unheard=False)

    def _come_to_rest(self) -> None:
        world = self.world
        limit_ns = world.now_ns + REST_SECONDS_MAX * SECOND
        while not is_at_rest(self) and world.now_ns < limit_ns:
            world.run(world.now_ns + 5 * SECOND)
        world.run(world.now_ns + REST_SECONDS * SECOND)
        # Whoever was born just now is not shown yet.
        while world.now_ns - self.host.watch.view.born_ns < SHOWN_SECONDS * SECOND and world.now_ns < limit_ns:
            world.run(world.now_ns + SECOND)

    def _draw_broker(self) -> SimulatedBroker:
        world, rng = self.world, self.world.random
        broker = SimulatedBroker(
            world,
            queue_messages_max=rng.choice((20, 100, 1_000)),
            will_on_takeover=world.chance(0.7),
        )
        broker.tells_takeovers = world.chance(0.3)
        if world.chance(0.3):
            broker.will_delay_ms = lambda: rng.uniform(0, 2_000)
            broker.lets_old_connections_linger = True
        broker.taps.append(self.tap)
        return broker

    def _calm(self) -> None:
        """No more faults and no more readings; everyone who is down starts again."""
        self.world.trace("world", "no more faults")
        for broker in self.brokers:
            broker.start()
            broker.denies = lambda client_id, topic: False
        self.host.raw_full = self.host.records_full = False
        if len(self.brokers) > 1 and self.world.chance(0.5):
            self.host.move(self.world.random.choice(self.brokers))
        self.host.start()
        self.world.after(CALM_MS, self._leave_one_way)
        for edge in self.edges:
            edge.start()
            edge.reading = False
            edge.lost_devices.clear()

    def _leave_one_way(self) -> None:
        """Where the host is not, nobody may be kept: by a STATE that somebody forged, or for want of any STATE."""
        for broker in self.brokers:
            if broker is self.host.broker:
                continue
            if not self.options.primary_host or self.world.chance(0.2):
                broker.stop()
            elif broker.spoiled:
                broker.stop()
                broker.start()

    def _check_commanded(self, edge: SimulatedEdge, event: CommandReceived) -> None:
        """What a gateway is to write is what a person wrote: no metric gets the value of another."""
        for metric in event.metrics:
            written = (str(edge.plan.descriptor), event.device_id, metric.name, metric.value)
            if written not in self.host.commands:
                rule = "tck-id-operational-behavior-data-commands-dcmd-metric-name"
                raise BrokenPromiseError("CommandLandingChecker", rule, f"nobody wrote {written}")

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
