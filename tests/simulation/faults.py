"""The misfortunes of one seed. Each is drawn with its time; all of them heal, or are healed at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.checkers import STATE_TOPIC
from tests.simulation.checking import will_of
from tests.simulation.plant import spelled
from tests.simulation.twin import Twin
from tests.simulation.world import MS, SECOND
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.topics import MessageType

if TYPE_CHECKING:
    from tests.simulation.broker import Connection, SimulatedBroker
    from tests.simulation.run import Simulation

__all__ = ["FAULTS", "draw_faults"]


def edge_crash(simulation: Simulation) -> None:
    world = simulation.world
    edge = world.random.choice(simulation.edges)
    edge.crash()
    world.after(world.random.uniform(50, 5_000), edge.start)


def edge_stop(simulation: Simulation) -> None:
    world = simulation.world
    edge = world.random.choice(simulation.edges)
    edge.stop()
    world.after(world.random.uniform(50, 5_000), edge.start)


def host_crash(simulation: Simulation) -> None:
    world, host = simulation.world, simulation.host
    host.crash()
    world.after(world.random.uniform(50, 8_000), host.start)


def host_stop(simulation: Simulation) -> None:
    world, host = simulation.world, simulation.host
    host.stop()
    world.after(world.random.uniform(50, 8_000), host.start)


def host_frozen(simulation: Simulation) -> None:
    simulation.host.freeze(simulation.world.random.uniform(500, 12_000))


def edge_cut(simulation: Simulation) -> None:
    world = simulation.world
    process = world.random.choice(simulation.edges).process
    if process is not None and process.connection is not None:
        _cut(simulation, process.connection)


def host_cut(simulation: Simulation) -> None:
    process = simulation.host.process
    if process is not None and process.connection is not None:
        _cut(simulation, process.connection)


def _cut(simulation: Simulation, connection: Connection) -> None:
    rng = simulation.world.random
    simulation.world.trace("network", f"cuts {connection.client_id} #{connection.number}")
    prompt = rng.random() < 0.5
    connection.cut(
        broker_notices_ms=rng.uniform(0, 20) if prompt else rng.uniform(0, 15_000),
        client_notices_ms=rng.uniform(0, 20) if prompt else rng.uniform(0, 8_000),
    )


def path_frozen(simulation: Simulation) -> None:
    """Packets wait, in one direction or both, longer or shorter than marks wait for answers."""
    world = simulation.world
    processes = [simulation.host.process, *(edge.process for edge in simulation.edges)]
    process = world.random.choice(processes)
    if process is not None and process.connection is not None:
        up, down = world.random.choice(((True, False), (False, True), (True, True)))
        milliseconds = world.random.uniform(200, 12_000)
        world.trace("network", f"freezes {process.connection.client_id} {up=} {down=} for {milliseconds:.0f} ms")
        process.connection.freeze(milliseconds, up=up, down=down)


def device_lost(simulation: Simulation) -> None:
    world = simulation.world
    edge = world.random.choice(simulation.edges)
    device_id = world.random.choice(edge.plan.devices)
    world.trace(edge.name, f"loses {device_id}")
    edge.lost_devices.add(device_id)
    world.after(world.random.uniform(100, 6_000), lambda: edge.lost_devices.discard(device_id))


def edge_clock_steps(simulation: Simulation) -> None:
    """Forward it is felt at once, back it ends the session; now and then it is a little only."""
    world = simulation.world
    edge = world.random.choice(simulation.edges)
    reach_s = world.random.choice((1.5, 60, 3_600))
    edge.clock_offset_ns = int(world.random.uniform(-reach_s, reach_s) * SECOND)
    world.trace(edge.name, f"clock is {edge.clock_offset_ns / SECOND:+} s off")


def host_clock_steps(simulation: Simulation) -> None:
    """Back by less than what makes samples suspect, or forward."""
    world = simulation.world
    simulation.host.clock_offset_ns = int(world.random.choice((-4.5, -1.0, 2.0, 600.0, 86_400.0)) * SECOND)
    world.trace("host", f"clock steps to {simulation.host.clock_offset_ns / SECOND:+} s")


def broker_restart(simulation: Simulation) -> None:
    world = simulation.world
    broker = world.random.choice(simulation.brokers)
    world.trace("broker", f"{simulation.brokers.index(broker)} is killed")
    broker.stop()
    world.after(world.random.uniform(50, 3_000 if len(simulation.brokers) == 1 else 9_000), broker.start)


def host_moves(simulation: Simulation) -> None:
    """To another broker, or it starts again at the same."""
    world, host = simulation.world, simulation.host
    host.move(world.random.choice(simulation.brokers))
    world.after(world.random.uniform(50, 8_000), host.start)


def acl_denies_data(simulation: Simulation) -> None:
    world = simulation.world
    victim = world.random.choice(simulation.edges)
    client_id = f"edge:{victim.plan.descriptor}"
    kinds = world.random.choice((("DDATA",), ("DDATA", "DBIRTH"), ("NBIRTH",)))
    world.trace("broker", f"denies {kinds} of {victim.name}")
    _deny(simulation, lambda who, topic: who == client_id and any(f"/{kind}/" in topic for kind in kinds))


def acl_denies_confirms(simulation: Simulation) -> None:
    simulation.world.trace("broker", "denies confirmations")
    _deny(simulation, lambda who, topic: topic.startswith("uns1/_confirm/"))


def _deny(simulation: Simulation, denies: Callable[[str, str], bool]) -> None:
    """One access list for all brokers of a site."""
    for broker in simulation.brokers:
        broker.denies = denies

    def allow() -> None:
        for broker in simulation.brokers:
            broker.denies = lambda client_id, topic: False

    simulation.world.after(simulation.world.random.uniform(500, 10_000), allow)


def _somewhere(simulation: Simulation) -> SimulatedBroker:
    return simulation.world.random.choice(simulation.brokers)


def rebirth_requested(simulation: Simulation) -> None:
    """By somebody else: another host asks."""
    world = simulation.world
    edge = world.random.choice(simulation.edges)
    command = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
    payload = codec.encode_command([command], timestamp_ms=world.now_ns // MS)
    world.trace("stranger", f"asks {edge.name} for a rebirth")
    _somewhere(simulation).route(Message(edge.plan.descriptor.topic(MessageType.NCMD), payload))


def host_commands(simulation: Simulation) -> None:
    """Somebody at the host writes values, one after the other: gateways only read, but have to know what was meant."""
    world, rng = simulation.world, simulation.world.random
    edge = rng.choice(simulation.edges)

    def write() -> None:
        process, metric = simulation.host.process, rng.choice(edge.plan.metrics)
        if process is not None and not process.frozen:
            process.command(edge.plan.descriptor, metric, spelled(metric.datatype, rng.randrange(1, 1_000)))

    for _ in range(rng.randrange(1, 10)):
        world.after(rng.uniform(0, 6_000), write)


def raw_log_full(simulation: Simulation) -> None:
    world, host = simulation.world, simulation.host
    world.trace("host", "the raw log takes nothing")
    host.raw_full = True

    def room() -> None:
        host.raw_full = False

    world.after(world.random.uniform(100, 6_000), room)


def record_log_full(simulation: Simulation) -> None:
    world, host = simulation.world, simulation.host
    world.trace("host", "the record log takes nothing")
    host.records_full = True

    def room() -> None:
        host.records_full = False

    world.after(world.random.uniform(100, 6_000), room)


def loses_messages(simulation: Simulation) -> None:
    """The network behind the broker drops QoS 0 towards the host for a moment: its queue holds nothing."""
    world, broker = simulation.world, simulation.host.broker
    before = broker.queue_messages_max
    world.trace("broker", "its queues hold one message")
    broker.queue_messages_max = 1

    def heal() -> None:
        broker.queue_messages_max = max(before, 20)

    world.after(world.random.uniform(100, 3_000), heal)


def state_spoiled(simulation: Simulation) -> None:
    """Somebody writes to the host's retained STATE (or the late will of an old connection does)."""
    world, rng = simulation.world, simulation.world.random
    broker, host = _somewhere(simulation), simulation.host
    connection = None if host.process is None else host.process.connection
    stamp = host.store.state_seen_ms
    if connection is not None and broker is host.broker:
        stamp = json.loads(will_of(connection).payload)["timestamp"]
    stamps = [stamp, max(0, stamp - 5_000)]
    if not simulation.options.primary_host:
        # Edge nodes that wait for the host remember a stamp that its clock has not reached longer than a host that
        # crashes meanwhile: how long they wait for it is a policy of theirs.
        stamps.append(world.now_ns // MS + rng.randrange(0, 60_000))
    strange = (
        b"",
        b"OFFLINE",
        b"ONLINE",
        b"\xff\x00",
        b"[]",
        b'{"online": false}',
        b'{"online": 0, "timestamp": 1e300}',
    )
    offline = (json.dumps({"online": False, "timestamp": one}).encode() for one in stamps)
    online = json.dumps({"online": True, "timestamp": max(0, stamp - rng.randrange(0, 5_000))}).encode()
    payload = rng.choice((*strange, *offline, online))
    world.trace("stranger", f"STATE {payload!r}")
    broker.spoiled = True
    broker.route(Message(STATE_TOPIC, payload, qos=1, retain=rng.random() < 0.8))


def state_war(simulation: Simulation) -> None:
    """Somebody writes to the host's STATE again and again."""
    for _ in range(simulation.world.random.randrange(3, 20)):
        simulation.world.after(simulation.world.random.uniform(0, 5_000), partial(state_spoiled, simulation))


class Stranger:
    """Holds a client id and says nothing."""

    def __init__(self, simulation: Simulation) -> None:
        self._world = simulation.world

    @property
    def now_ns(self) -> int:
        return self._world.now_ns

    wall_ns = now_ns

    def on_connected(self, connection: Connection) -> None: ...
    def on_subscribed(self, connection: Connection) -> None: ...
    def on_message(self, connection: Connection, message: Message) -> None: ...
    def on_puback(self, connection: Connection, message: Message) -> None: ...
    def on_closed(self, connection: Connection) -> None: ...


def _intrude(simulation: Simulation, broker: SimulatedBroker, name: str) -> None:
    broker.intrude(Stranger(simulation), name)


def taken_over(simulation: Simulation) -> None:
    """Somebody comes with the client id of an edge node or of the host, up to three times."""
    world, rng = simulation.world, simulation.world.random
    names = [f"edge:{edge.plan.descriptor}" for edge in simulation.edges]
    name = rng.choice([*names, f"host:{simulation.host.host_id}"])
    broker = _somewhere(simulation)
    for _ in range(rng.randrange(1, 4)):
        world.after(rng.uniform(0, 6_000), partial(_intrude, simulation, broker, name))


def second_gateway(simulation: Simulation) -> None:
    """Somebody sets up another gateway with the name of one that is there."""
    world, rng = simulation.world, simulation.world.random
    edge = rng.choice(simulation.edges)
    world.trace("stranger", f"is {edge.name}, too")
    Twin(_somewhere(simulation), edge.plan.descriptor).start(rng.uniform(500, 30_000))


def disorder(simulation: Simulation) -> None:
    """Towards one client messages come twice, and overtake each other."""
    world = simulation.world
    processes = [simulation.host.process, simulation.host.process, *(edge.process for edge in simulation.edges)]
    process = world.random.choice(processes)
    if process is not None and process.connection is not None:
        world.trace("network", f"disorder towards {process.connection.client_id}")
        process.connection.broker.spoiled = True  # a will may overtake the birth before it
        process.connection.disorder_until_ns = world.now_ns + int(world.random.uniform(0.5, 8) * SECOND)


def tricks(simulation: Simulation) -> None:
    """Towards the host, DATA and the mark that counts it change places, or the DATA is lost: counts come out right."""
    world, process = simulation.world, simulation.host.process
    if process is not None and process.connection is not None:
        world.trace("network", "plays tricks on the host")
        process.connection.tricks_until_ns = world.now_ns + int(world.random.uniform(0.5, 8) * SECOND)


def garbage(simulation: Simulation) -> None:
    """A stranger writes nonsense where Sparkplug and marks live."""
    world, rng = simulation.world, simulation.world.random
    edge = rng.choice(simulation.edges)
    node = edge.plan.descriptor
    topic = rng.choice(
        (
            node.topic(MessageType.NBIRTH),
            node.topic(MessageType.DBIRTH, edge.plan.devices[0]),
            node.topic(MessageType.NDEATH),
            node.topic(MessageType.NCMD),
            f"uns1/_mark/{node.group_id}/{node.edge_node_id}",
            f"uns1/_confirm/{node.group_id}/{node.edge_node_id}",
            "spBv1.0/nonsense",
        )
    )
    world.trace("stranger", f"garbage on {topic}")
    _somewhere(simulation).route(Message(topic, rng.randbytes(rng.randrange(0, 40))))


FAULTS: tuple[tuple[Callable[[Simulation], None], int], ...] = (
    (edge_crash, 4),
    (edge_stop, 1),
    (host_crash, 4),
    (host_stop, 1),
    (host_frozen, 3),
    (edge_cut, 5),
    (host_cut, 4),
    (broker_restart, 2),
    (acl_denies_data, 2),
    (acl_denies_confirms, 1),
    (rebirth_requested, 3),
    (host_commands, 2),
    (raw_log_full, 2),
    (record_log_full, 2),
    (loses_messages, 3),
    (state_spoiled, 1),
    (garbage, 2),
    (path_frozen, 4),
    (device_lost, 2),
    (edge_clock_steps, 2),
    (host_clock_steps, 2),
    (state_war, 1),
    (taken_over, 2),
    (second_gateway, 1),
    (disorder, 4),
    (tricks, 2),
)


# Where there are several brokers, this happens besides.
WALK_FAULTS: tuple[tuple[Callable[[Simulation], None], int], ...] = (
    (host_moves, 4),
    (broker_restart, 3),
    (host_crash, 1),
    (state_spoiled, 1),
)


def draw_faults(simulation: Simulation) -> list[str]:
    """Schedule this seed's faults; give back what they are, for the replay's first lines."""
    world = simulation.world
    rng = world.random
    drawn = []
    for faults, times in ((FAULTS, range(9)), (WALK_FAULTS, range(2, 7) if len(simulation.brokers) > 1 else range(1))):
        kinds, weights = zip(*faults, strict=True)
        for _ in range(rng.choice(times)):
            at_s = rng.uniform(0.5, simulation.duration_s)
            fault = rng.choices(kinds, weights)[0]
            drawn.append(f"{at_s:8.3f} s {fault.__name__}")
            world.after(at_s * 1_000, partial(fault, simulation))
    return sorted(drawn)
