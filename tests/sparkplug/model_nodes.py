"""Edge nodes for the model of test_host_model.py: ours is the real session, foreign ones have habits."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from tests.sparkplug.helpers import MS, batch_of, metric
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import BirthDue, Connect, NodeBirth, Publish
from uns.sparkplug.metrics import BD_SEQ, REBIRTH, BirthMetric, MetricBinding
from uns.sparkplug.sequences import next_bd_seq
from uns.sparkplug.topics import DeviceTopic, EdgeNodeDescriptor, MessageType, NodeTopic, parse_topic
from uns.sparkplug.transitions import EdgeState

__all__ = ["DEVICES", "Foreign", "Habits", "Ours", "Sent"]

DEVICES = ("a", "b", "c")
_NAMES = ("m0", "m1", "m2", "m3")
_TYPES = {name: DataType.UINT32 if name == "m3" else DataType.INT64 for name in _NAMES}  # a misread shows by the name


class Sent(msgspec.Struct, eq=False):
    """One message as its node sent it: the truth that the host does not see."""

    node: EdgeNodeDescriptor
    topic: str
    payload: bytes
    kind: str
    device: str | None
    number: int  # in the order of sending
    life: int  # of the node: one CONNECT
    birth: int  # the number of the NBIRTH that it follows
    device_birth: int = -1  # the number of the DBIRTH that it follows
    names: tuple[str, ...] = ()
    value: int = 0
    session_id: str = ""


class Habits(msgspec.Struct, frozen=True):
    """What a foreign node does in its own way."""

    bd_seq: Literal["counts", "constant", "by_rebirth", "none"] = "counts"
    seq: Literal["counts", "zero", "missing", "by_device", "runs_on"] = "counts"
    aliases: Literal["stable", "renumbered", "none"] = "stable"
    uint32_in_long: bool = False
    dies_twice: bool = False  # publishes its NDEATH and lets the will follow

    @property
    def tells_order(self) -> bool:
        """Whether a host can see that something is missing."""
        return self.seq in {"counts", "runs_on"}

    @property
    def tells_death(self) -> bool:
        """Whether its NDEATH says which birth it ends, and no other."""
        return self.bd_seq == "counts"

    @property
    def tells_birth(self) -> bool:
        """Whether its DATA shows of which birth it is."""
        return self.aliases != "renumbered" or self.tells_order


PLAIN = Habits()


class _Node:
    """What both kinds have: lives, and a record of all that was sent."""

    habits = PLAIN

    def __init__(self, edge_node: EdgeNodeDescriptor, chance: random.Random) -> None:
        self.edge_node = edge_node
        self.chance = chance
        self.alive = False
        self.devices: dict[str, int] = {}  # born and alive, with the number of the DBIRTH
        self.sent: list[Sent] = []  # drained by the world
        self.numbers = self.lives = self.born_at = self.value = 0
        self.session_id = ""

    @property
    def ours(self) -> bool:
        return bool(self.session_id)

    def definitions(self) -> list[BirthMetric]:
        names = list(_NAMES)
        self.chance.shuffle(names)
        return [metric(name, _TYPES[name], 0) for name in names[: self.chance.randint(2, 4)]]

    def note(self, topic: str, payload: bytes, names: tuple[str, ...] = ()) -> None:
        parsed = parse_topic(topic)
        assert isinstance(parsed, NodeTopic | DeviceTopic)
        kind = parsed.message_type.value
        device = parsed.device_id if isinstance(parsed, DeviceTopic) else None
        self.numbers += 1
        if kind == "NBIRTH":
            self.born_at, self.devices = self.numbers, {}
        elif kind == "DBIRTH" and device is not None:
            self.devices[device] = self.numbers
        device_birth = self.devices.get(device or "", -1)
        if kind == "DDEATH" and device is not None:
            del self.devices[device]
        self.sent.append(
            Sent(
                self.edge_node,
                topic,
                payload,
                kind,
                device,
                self.numbers,
                self.lives,
                self.born_at,
                device_birth,
                names,
                self.value,
                self.session_id,
            )
        )


class Ours(_Node):
    """uns/session: the real thing."""

    def __init__(self, edge_node: EdgeNodeDescriptor, chance: random.Random) -> None:
        super().__init__(edge_node, chance)
        self.session = EdgeNodeSession(edge_node)
        self.bd_seq = chance.randrange(256)
        self.will = b""

    def connect(self, now: int) -> None:
        self.lives += 1
        self.bd_seq = next_bd_seq(self.bd_seq)
        self.session_id = f"{self.edge_node.edge_node_id}-{self.lives}"
        self.session.connect(bd_seq=self.bd_seq, session_id=self.session_id, now_ns=now)
        (connect,) = self.session.actions()
        assert isinstance(connect, Connect)
        self.will = connect.will.payload
        self.session.receive_connected(now)
        self.session.receive_subscribed(now)
        self.pump(now)
        self.alive = True

    def pump(self, now: int) -> None:
        for event in self.session.events():
            if isinstance(event, BirthDue):
                chosen = [device for device in DEVICES if self.chance.random() < 0.6]
                devices = {device: self.definitions() for device in chosen}
                self.session.birth(NodeBirth(self.definitions(), devices), now)
        for action in self.session.actions():
            if isinstance(action, Publish):
                self.note(action.message.topic, action.message.payload)

    def publish(self, device: str | None, now: int) -> None:
        bindings = list(self.session.bindings(device).values())
        chosen = [one for one in bindings if one.name in _TYPES]
        binding = self.chance.choice(chosen)
        self.value += 1
        message = self.session.publish_data(device, batch_of([binding], [self.value], [now // MS]), now)
        self.session.actions()
        self.note(message.topic, message.payload, (binding.name,))

    def device_birth(self, device: str, now: int) -> None:
        self.session.device_birth(device, self.definitions(), now)
        self.pump(now)

    def device_death(self, device: str, now: int) -> None:
        self.session.device_death(device, now)
        self.pump(now)

    def die(self, now: int, *, gracefully: bool) -> None:
        if gracefully:
            self.session.close(now)
            self.pump(now)
        else:
            self.note(self.edge_node.topic(MessageType.NDEATH), self.will)
        self.session.receive_disconnected(now)
        self.session.events()
        self.alive, self.devices = False, {}

    def command(self, topic: str, payload: bytes, now: int) -> None:
        self.session.receive_message(topic, payload, now)
        self.pump(now)

    def timer(self, now: int) -> None:
        deadline = self.session.next_deadline_ns()
        if deadline is not None and deadline <= now:
            self.session.receive_timer(now)
            self.pump(now)

    @property
    def online(self) -> bool:
        return self.session.state is EdgeState.ONLINE


class Foreign(_Node):
    """A peer that is not of ours, by its habits."""

    def __init__(self, edge_node: EdgeNodeDescriptor, chance: random.Random, habits: Habits) -> None:
        super().__init__(edge_node, chance)
        self.habits = habits
        self.bd_seq = chance.randrange(200)
        self.will_bd_seq = self.stamped = 0
        self.seq: dict[str | None, int] = {}
        self.aliases: dict[tuple[str | None, str], int] = {}
        self.tables: dict[str | None, list[MetricBinding]] = {}

    @property
    def online(self) -> bool:
        return self.alive

    def connect(self, now: int) -> None:
        self.lives += 1
        self.bd_seq = (self.bd_seq + 1) % 256 if self.habits.bd_seq != "constant" else 0
        self.will_bd_seq = self.bd_seq
        self.alive = True
        self.seq = {None: -1}
        self.birth(now)

    def timer(self, now: int) -> None:
        """It has none."""

    def stamp(self, now: int) -> int:
        """No two messages have one time: else nothing tells DATA from the birth behind it."""
        self.stamped = max(self.stamped + 1, now // MS)
        return self.stamped

    def next_seq(self, device: str | None) -> int | None:
        match self.habits.seq:
            case "zero":
                return 0
            case "missing":
                return None
            case "by_device":
                key = device
            case _:
                key = None
        self.seq[key] = (self.seq.get(key, -1) + 1) % 256
        return self.seq[key]

    def named(self, device: str | None) -> list[BirthMetric]:
        listed: list[BirthMetric] = []
        for one in self.definitions():
            key = (device, one.name)
            if self.habits.aliases == "stable":
                alias = self.aliases.setdefault(key, len(self.aliases) + 1)
            else:
                offset = 0 if device is None else 10 * (1 + DEVICES.index(device))
                alias = offset + len(listed) + 1  # in the order of this birth: other names next time
            listed.append(msgspec.structs.replace(one, alias=None if self.habits.aliases == "none" else alias))
        return listed

    def keep(self, device: str | None, listed: list[BirthMetric]) -> None:
        self.tables[device] = [
            MetricBinding(one.name, one.datatype, one.alias, position) for position, one in enumerate(listed)
        ]

    def birth(self, now: int) -> None:
        if self.habits.seq != "runs_on":
            self.seq = {}
        listed = self.named(None)
        self.keep(None, listed)
        if self.habits.bd_seq != "none":
            listed.insert(0, metric(BD_SEQ, DataType.UINT64, self.bd_seq))
        listed.append(metric(REBIRTH, DataType.BOOLEAN, False))
        payload = self.birth_payload(listed, now, None)
        self.note(self.edge_node.topic(MessageType.NBIRTH), payload)
        for device in [device for device in DEVICES if self.chance.random() < 0.6]:
            self.device_birth(device, now)

    def birth_payload(self, listed: list[BirthMetric], now: int, device: str | None) -> bytes:
        return codec.encode_birth(
            listed,
            timestamp_ms=self.stamp(now),
            seq=self.next_seq(device),
            uint32_in_long=self.habits.uint32_in_long,
        )

    def device_birth(self, device: str, now: int) -> None:
        if device in self.devices:
            self.device_death(device, now)
        listed = self.named(device)
        self.keep(device, listed)
        payload = self.birth_payload(listed, now, device)
        self.note(self.edge_node.topic(MessageType.DBIRTH, device), payload)

    def device_death(self, device: str, now: int) -> None:
        payload = codec.encode_birth([], timestamp_ms=self.stamp(now), seq=self.next_seq(device))
        self.note(self.edge_node.topic(MessageType.DDEATH, device), payload)

    def publish(self, device: str | None, now: int) -> None:
        binding = self.chance.choice(self.tables[device])
        self.value += 1
        batch = batch_of([binding], [self.value], [now // MS])
        seq = self.next_seq(device)
        payload = codec.encode_data(
            batch, timestamp_ms=self.stamp(now), seq=seq or 0, uint32_in_long=self.habits.uint32_in_long
        )
        if seq is None:
            payload = payload.removesuffix(b"\x18\x00")  # seq
        kind = MessageType.NDATA if device is None else MessageType.DDATA
        self.note(self.edge_node.topic(kind, device), payload, (binding.name,))

    def die(self, now: int, *, gracefully: bool) -> None:
        payload = b"" if self.habits.bd_seq == "none" else codec.encode_death(self.will_bd_seq)
        for _ in range(2 if gracefully and self.habits.dies_twice else 1):
            self.note(self.edge_node.topic(MessageType.NDEATH), payload)
        self.alive, self.devices = False, {}

    def command(self, topic: str, payload: bytes, now: int) -> None:
        if self.alive:
            if self.habits.bd_seq == "by_rebirth":
                self.bd_seq = (self.bd_seq + 1) % 256
            self.birth(now)
