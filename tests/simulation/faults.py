"""The misfortunes of one seed. Each is drawn with its time; all of them heal, or are healed at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.checkers import STATE_TOPIC
from tests.simulation.world import MS, SECOND
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.topics import MessageType

if TYPE_CHECKING:
    from tests.simulation.broker import Connection
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
    world, broker = simulation.world, simulation.broker
    world.trace("broker", "is killed")
    broker.stop()
    world.after(world.random.uniform(50, 3_000), broker.start)


def acl_denies_data(simulation: Simulation) -> None:
    world, broker = simulation.world, simulation.broker
    victim = world.random.choice(simulation.edges)
    client_id = f"edge:{victim.plan.descriptor}"
    kinds = world.random.choice((("DDATA",), ("DDATA", "DBIRTH"), ("NBIRTH",)))
    world.trace("broker", f"denies {kinds} of {victim.name}")
    broker.denies = lambda who, topic: who == client_id and any(f"/{kind}/" in topic for kind in kinds)

    def allow() -> None:
        broker.denies = lambda client_id, topic: False

    world.after(world.random.uniform(500, 10_000), allow)


def acl_denies_confirms(simulation: Simulation) -> None:
    world, broker = simulation.world, simulation.broker
    world.trace("broker", "denies confirmations")
    broker.denies = lambda who, topic: topic.startswith("uns1/_confirm/")

    def allow() -> None:
        broker.denies = lambda client_id, topic: False

    world.after(world.random.uniform(500, 10_000), allow)


def rebirth_requested(simulation: Simulation) -> None:
    """By somebody else: another host asks."""
    world = simulation.world
    edge = world.random.choice(simulation.edges)
    command = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
    payload = codec.encode_command([command], timestamp_ms=world.now_ns // MS)
    world.trace("stranger", f"asks {edge.name} for a rebirth")
    simulation.broker.route(Message(edge.plan.descriptor.topic(MessageType.NCMD), payload))


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
    world, broker = simulation.world, simulation.broker
    before = broker.queue_messages_max
    world.trace("broker", "its queues hold one message")
    broker.queue_messages_max = 1

    def heal() -> None:
        broker.queue_messages_max = max(before, 20)

    world.after(world.random.uniform(100, 3_000), heal)


def state_spoiled(simulation: Simulation) -> None:
    """Somebody writes to the host's retained STATE (or the late will of an old connection does)."""
    world, rng = simulation.world, simulation.world.random
    now_ms = world.now_ns // MS
    process = simulation.host.process
    will = process.connection.will if process is not None and process.connection is not None else None
    stamp = json.loads(will.payload)["timestamp"] if will is not None else now_ms
    stamps = [stamp, stamp - 5_000]
    if not simulation.options.primary_host:
        # Edge nodes that wait for the host remember a stamp of the future longer than a host that crashes meanwhile:
        # how long they wait for it is a policy of theirs.
        stamps.append(now_ms + rng.randrange(0, 60_000))
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
    online = json.dumps({"online": True, "timestamp": stamp - rng.randrange(0, 5_000)}).encode()
    payload = rng.choice((*strange, *offline, online))
    world.trace("stranger", f"STATE {payload!r}")
    simulation.broker.route(Message(STATE_TOPIC, payload, qos=1, retain=rng.random() < 0.8))


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

    def on_connected(self, connection: Connection) -> None: ...
    def on_subscribed(self, connection: Connection) -> None: ...
    def on_message(self, connection: Connection, message: Message) -> None: ...
    def on_puback(self, connection: Connection, message: Message) -> None: ...
    def on_closed(self, connection: Connection) -> None: ...


def taken_over(simulation: Simulation) -> None:
    """Somebody comes with the client id of an edge node or of the host, up to three times."""
    world, rng = simulation.world, simulation.world.random
    names = [f"edge:{edge.plan.descriptor}" for edge in simulation.edges]
    name = rng.choice([*names, f"host:{simulation.host.host_id}"])
    for _ in range(rng.randrange(1, 4)):
        world.after(rng.uniform(0, 6_000), lambda: simulation.broker.intrude(Stranger(simulation), name))


def disorder(simulation: Simulation) -> None:
    """Towards one client messages come twice, and overtake each other."""
    world = simulation.world
    processes = [simulation.host.process, simulation.host.process, *(edge.process for edge in simulation.edges)]
    process = world.random.choice(processes)
    if process is not None and process.connection is not None:
        world.trace("network", f"disorder towards {process.connection.client_id}")
        process.connection.disorder_until_ns = world.now_ns + int(world.random.uniform(0.5, 8) * SECOND)


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
    simulation.broker.route(Message(topic, rng.randbytes(rng.randrange(0, 40))))


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
    (disorder, 4),
)


def draw_faults(simulation: Simulation) -> list[str]:
    """Schedule this seed's faults; give back what they are, for the replay's first lines."""
    world = simulation.world
    rng = world.random
    kinds, weights = zip(*FAULTS, strict=True)
    drawn = []
    for _ in range(rng.randrange(0, 9)):
        at_s = rng.uniform(0.5, simulation.duration_s)
        fault = rng.choices(kinds, weights)[0]
        drawn.append(f"{at_s:8.3f} s {fault.__name__}")
        world.after(at_s * 1_000, partial(fault, simulation))
    return sorted(drawn)
