"""What holds of an edge node's way over its brokers, and of the time it stamps with.

Each checker names its requirements.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from edge_nodes.brokers import PAUSE_FIRST_MS
from edge_nodes.session_clock import STEP_MIN_NS
from tests.simulation.broker import Connection
from tests.simulation.checking import EDGE_TYPES, STATE_TOPIC, Checker, Seen, is_edge
from tests.simulation.walking import pause_max_ms
from tests.simulation.world import MS, SECOND
from uns.sparkplug.edge import CLOCK_STEP_BACK_MAX_MS
from uns.sparkplug.walk import SOON_MS, STEADY_MS

if TYPE_CHECKING:
    from tests.simulation.edge import EdgeProcess

__all__ = ["ClockChecker", "WalkChecker"]

WAIT_SLACK_MS = 1_500
CLOCK_SLACK_NS = 2_500 * MS  # until the clock is looked at, and what is under way is out


class WalkChecker(Checker):
    """Which broker comes next, and not before its time; nobody waits for a host beyond the limit.

    Holds within one life of the program. The pauses are a floor of those that the table in ``uns.sparkplug.walk``
    promises: they double once per round over all brokers, and begin anew after a steady connection.
    """

    tck_ids = (
        "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
        "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
        "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs",
    )

    def __init__(self) -> None:
        self.newest: dict[EdgeProcess, Connection] = {}
        self.ends: dict[EdgeProcess, int] = {}  # since the back-off began anew
        self.left: set[int] = set()  # on account of the primary host
        self.clock_set_back: set[int] = set()  # it left, and perhaps for that
        self.waits: set[int] = set()
        self.born: set[int] = set()

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if not is_edge(connection):
            return
        process = cast("EdgeProcess", connection.client)
        before = self.newest.get(process)
        self.newest[process] = connection
        if before is not None:
            self.check_next(process, before, connection)
        else:
            self.require(
                connection.broker is process.edge.brokers[0], "a walk begins at the first broker", connection.client_id
            )

    def check_next(self, process: EdgeProcess, before: Connection, connection: Connection) -> None:
        brokers = list(process.edge.brokers)
        index, following = brokers.index(before.broker), brokers.index(connection.broker)
        step = (following - index) % len(brokers)
        text = f"{connection.client_id} from broker {index} to {following}"
        ended_ns = before.ended_ns or 0
        lasted_ms = None if before.reached_ns is None else (ended_ns - before.reached_ns) // MS
        if before.number in self.left:
            self.require(step == 1 % len(brokers), self.tck_ids[0], f"{text}, where the primary host is not")
        elif lasted_ms is None and not before.taken_over:
            self.require(step == 1 % len(brokers), "a broker that is not reached is left for the next", text)
        else:
            stays = (lasted_ms or 0) >= SOON_MS and before.number not in self.clock_set_back
            self.require(step == 0 or (step == 1 and not stays), "a broker that was lost is tried again", text)
        if before.number in self.clock_set_back or (lasted_ms is not None and lasted_ms >= STEADY_MS):
            self.ends[process] = 0
        doublings = min(self.ends.get(process, 0) // len(brokers), 20)
        self.ends[process] = self.ends.get(process, 0) + 1
        pause_ms = min(PAUSE_FIRST_MS << doublings, pause_max_ms(process.edge.options.host_wait_ms)) // 2
        waited_ms = (connection.world.now_ns - ended_ns) // MS
        self.require(waited_ms >= pause_ms, "the walk does not flap", f"{text} after {waited_ms} of {pause_ms} ms")

    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None:
        if is_edge(connection):
            waits = cast("EdgeProcess", connection.client).edge.options.primary_host
            rule = self.tck_ids[2]
            self.require(((STATE_TOPIC, 1) in filters) is waits, rule, f"{connection.client_id}: {filters}")
            if waits:
                self.waits.add(connection.number)

    def on_granted(self, connection: Connection) -> None:
        if connection.number in self.waits:
            options = cast("EdgeProcess", connection.client).edge.options
            if options.when_host_silent == "leave":
                late_ms = options.host_wait_ms + WAIT_SLACK_MS
                connection.world.after(late_ms, partial(self.check_not_waiting, connection, late_ms))

    def check_not_waiting(self, connection: Connection, late_ms: int) -> None:
        waits = connection.client_open and connection.number not in self.born
        self.require(not waits, "births wait for the primary host so long", f"{connection.client_id}: {late_ms} ms")

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind == "NBIRTH":
            self.born.add(connection.number)

    def on_disconnect(self, connection: Connection, now_ns: int) -> None:
        if not is_edge(connection):
            return
        behind_ns = now_ns - connection.client.wall_ns
        if behind_ns > CLOCK_STEP_BACK_MAX_MS * MS:
            self.clock_set_back.add(connection.number)
        else:
            self.left.add(connection.number)


class ClockChecker(Checker):
    """Stamps follow the wall clock: set forward at once, set back by a new session, within moments of the step."""

    tck_ids: ClassVar[tuple[str, ...]] = ("tck-id-payloads-timestamp-in-UTC",)

    def __init__(self) -> None:
        self.off_since: dict[int, int] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if not is_edge(connection) or seen.kind not in EDGE_TYPES - {"NDEATH"}:
            return
        world_ns, number = connection.world.now_ns, connection.number
        off_ns = abs(seen.payload.timestamp * MS - connection.client.wall_ns)
        if off_ns <= max(STEP_MIN_NS, CLOCK_STEP_BACK_MAX_MS * MS) + MS:
            self.off_since.pop(number, None)
            return
        since_ns = self.off_since.setdefault(number, world_ns)
        self.require(
            world_ns - since_ns <= CLOCK_SLACK_NS,
            self.tck_ids[0],
            f"{seen.where} is {off_ns / SECOND:.1f} s off the wall clock, for {(world_ns - since_ns) / SECOND:.1f} s",
        )
