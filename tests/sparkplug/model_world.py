"""A host between edge nodes and a network that does what networks do; and an oracle that knows what was sent.

``World`` carries out steps; each is a word and a seed of its own, so that a failing run can be made shorter by leaving
steps out (see ``shortest``). The oracle never looks at how the host thinks: only at what it tells, and at what is true.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

import msgspec

from tests.sparkplug.helpers import HOST_ID, MS, T0, S
from tests.sparkplug.model_nodes import DEVICES, PLAIN, Foreign, Habits, Ours, Sent
from uns.sparkplug import codec
from uns.sparkplug.host import HostBounds, HostSession
from uns.sparkplug.host_nodes import BirthSize
from uns.sparkplug.messages import (
    DataReceived,
    DataUnreadable,
    DeviceBorn,
    DeviceDied,
    HeldBirths,
    HostEvent,
    NodeBorn,
    NodeForgotten,
    Publish,
    RebirthRequested,
)
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType
from uns.sparkplug.transitions import HostSessionState

__all__ = ["Broken", "Step", "World", "run", "shortest", "steps_of"]

PER_SECOND_MAX = 2  # of rebirth requests, over all nodes
INTERVAL_MIN_NS = 10 * S
REORDER_NS = 5 * S
NODES_MAX = 40  # of strangers: forged names and some of the nodes
_QUEUE_SPARE = 64

Step = tuple[str, int]


class Broken(AssertionError):  # noqa: N818
    """What must hold does not."""


class Delivery(msgspec.Struct, eq=False):
    """One copy of a message on its way; it comes back with events as ``raw``."""

    sent: Sent
    repeated: bool = False
    retain: bool = False


class Weather(msgspec.Struct):
    """What the network does now."""

    loss: float = 0.0
    copies: float = 0.0
    spread_ns: int = 0  # messages overtake each other by this much at most


class World:
    """All of it. ``nodes`` are the truth, ``host`` is the subject."""

    def __init__(self, seed: int, *, foreign: Sequence[Habits], ours: int = 2) -> None:
        self.chance = random.Random(seed)
        self.now = T0
        self.host_offset = 0  # its clock steps
        self.nodes: dict[EdgeNodeDescriptor, Ours | Foreign] = {}
        for index in range(ours):
            name = EdgeNodeDescriptor("ours", f"n{index}")
            self.nodes[name] = Ours(name, random.Random(seed * 100 + index))
        for index, habits in enumerate(foreign):
            name = EdgeNodeDescriptor("foreign", f"f{index}")
            self.nodes[name] = Foreign(name, random.Random(seed * 100 + 50 + index), habits)
        self.weather = Weather()
        self.wire: list[tuple[int, int, Delivery | tuple[EdgeNodeDescriptor, str]]] = []
        self.entries = 0
        self.held: dict[EdgeNodeDescriptor, HeldBirths] = {}
        self.retained: dict[str, Sent] = {}
        self.recent: deque[Sent] = deque(maxlen=40)
        self.seen_ms = 0
        self.oracle = Oracle(self)
        self.host = self.new_host()

    # ── the host ─────────────────────────────────────────────────────────────────────────────────────────────────

    def new_host(self) -> HostSession:
        chance = random.Random(self.chance.random())
        declared = {name for name in self.nodes if name.edge_node_id.endswith("0")}
        host = HostSession(
            HOST_ID,
            jitter=chance.randrange,
            rebirths_per_second_max=PER_SECOND_MAX,
            bounds=HostBounds(nodes_max=NODES_MAX, away_kept_ms=10_000_000_000),
            declared=declared.__contains__,
            state_seen_ms=self.seen_ms,
        )
        self.declared = declared
        for held in self.held.values():
            host.hold_births(held, self.host_now)
        self.oracle.host_restarted()
        return host

    @property
    def host_now(self) -> int:
        return self.now + self.host_offset

    def host_connect(self) -> None:
        self.host.connect(self.host_now)
        self.host.receive_connected(self.host_now)
        if self.retained and self.chance.random() < 0.5:  # brokers may hand them out before the SUBACK
            self.replay_retained()
        self.host.receive_subscribed(self.host_now)
        self.replay_retained()
        self.pump()

    def replay_retained(self) -> None:
        for sent in self.retained.values():
            self.deliver(Delivery(sent, retain=True))

    def host_lost(self) -> None:
        if self.host.state is not HostSessionState.DISCONNECTED:
            self.host.receive_disconnected(self.host_now)
            self.oracle.host_lost()
            self.pump()

    @property
    def host_listens(self) -> bool:
        return self.host.state in {HostSessionState.SUBSCRIBING, HostSessionState.ONLINE}

    def pump(self) -> None:
        """Events to the oracle and the store, requests to the nodes."""
        for event in self.host.events():
            self.oracle.take(event)
            match event:
                case NodeBorn():
                    self.held[event.edge_node] = HeldBirths(
                        event.edge_node, event.session_id, event.bd_seq, event.payload, {}
                    )
                case DeviceBorn():
                    self.held[event.edge_node].devices[event.device_id] = event.payload
                case DeviceDied():
                    self.held[event.edge_node].devices.pop(event.device_id, None)
                case NodeForgotten():
                    self.held.pop(event.edge_node, None)
        self.seen_ms = self.host.state_seen_ms
        for action in self.host.actions():
            if isinstance(action, Publish) and "/NCMD/" in action.message.topic:
                parts = action.message.topic.split("/")
                node = self.nodes.get(EdgeNodeDescriptor(parts[1], parts[3]))
                if node is None or not node.online:
                    continue
                if self.chance.random() < self.weather.loss:
                    self.oracle.disturbed.add(node.edge_node)
                    continue
                node.command(action.message.topic, action.message.payload, self.now)
                self.send(node)

    # ── the network ──────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, node: Ours | Foreign) -> None:
        """What the node has published goes on its way."""
        sent, node.sent = node.sent, []
        for one in sent:
            self.recent.append(one)
            self.oracle.sent(one)
            if not node.ours and one.kind.endswith(("BIRTH", "DEATH")) and node.edge_node.edge_node_id.endswith("1"):
                self.retained[one.topic] = one
            # A lost NDEATH leaves nothing to tell that a node is dead: it goes at QoS 1.
            if one.kind != "NDEATH" and self.chance.random() < self.weather.loss:
                self.oracle.lost(one)
                continue
            self.put(Delivery(one))
            if self.chance.random() < self.weather.copies:
                self.put(Delivery(one, repeated=True))
                self.oracle.disturbed.add(one.node)

    def put(self, what: Delivery | tuple[EdgeNodeDescriptor, str]) -> None:
        delay = self.chance.randrange(self.weather.spread_ns + 1)
        self.entries += 1
        self.wire.append((self.now + delay, self.entries, what))

    def deliver(self, delivery: Delivery) -> None:
        sent = delivery.sent
        if not self.host_listens:
            self.oracle.passed_by(delivery)
            return
        before = self.oracle.counted(self.host)
        self.oracle.delivering(delivery)
        self.host.receive_message(sent.topic, sent.payload, retain=delivery.retain, now_ns=self.host_now, raw=delivery)
        self.pump()
        self.oracle.delivered(delivery, before)

    def advance(self, span: int) -> None:
        """Time passes; what is due comes and timers run, in order."""
        until = self.now + span
        while True:
            due = min((at for at, _, _ in self.wire), default=until + 1)
            deadline = self.host.next_deadline_ns()
            timer = until + 1 if deadline is None else max(self.now, deadline - self.host_offset)
            edges = [node.session.next_deadline_ns() for node in self.nodes.values() if isinstance(node, Ours)]
            edge = max(self.now, min((at for at in edges if at is not None), default=until + 1))
            at = min(due, timer, edge)
            if at > until:
                break
            self.now = max(self.now, at)
            if due == at:
                entry = min(self.wire)[:2]
                index = next(i for i, one in enumerate(self.wire) if one[:2] == entry)
                what = self.wire.pop(index)[2]
                if isinstance(what, Delivery):
                    self.deliver(what)
                else:
                    self.mark_arrives(*what)
            elif timer == at:
                before = self.host.next_deadline_ns()
                self.host.receive_timer(self.host_now)
                self.pump()
                after = self.host.next_deadline_ns()
                if after is not None and before == after and after <= self.host_now:
                    raise Broken(f"(d) a deadline that has come stays: {after}")
            else:
                for node in self.nodes.values():
                    node.timer(self.now)
                    self.send(node)
        self.now = until
        self.oracle.at_each_step(self.host)

    def mark_arrives(self, name: EdgeNodeDescriptor, session_id: str) -> None:
        if self.host_listens:
            self.oracle.marked(name, session_id)
            self.host.name_session(name, session_id, self.host_now)
            self.host.lost_since_mark(name)
            self.pump()

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, word: str, seed: int) -> None:
        """Do one thing; all that is left to chance follows from ``seed``."""
        self.chance = random.Random(seed)
        node = self.chance.choice(list(self.nodes.values()))
        node.chance = random.Random(seed + 1)
        getattr(self, f"do_{word}")(node)
        self.send(node)
        self.advance(self.chance.choice([0, 1, 20, 300, 2000]) * MS)

    def do_data(self, node: Ours | Foreign) -> None:
        for _ in range(self.chance.randint(1, 6)):
            if node.online:
                node.publish(self.chance.choice([None, *node.devices]), self.now)
                self.send(node)
                self.advance(MS)

    def do_burst(self, node: Ours | Foreign) -> None:
        for _ in range(self.chance.choice([20, 255, 256, 300])):
            if node.online:
                node.publish(None, self.now)
                self.send(node)

    def do_device(self, node: Ours | Foreign) -> None:
        if node.online:
            device = self.chance.choice(DEVICES)
            if device in node.devices and self.chance.random() < 0.5:
                node.device_death(device, self.now)
            else:
                node.device_birth(device, self.now)

    def do_life(self, node: Ours | Foreign) -> None:
        if node.alive:
            node.die(self.now, gracefully=self.chance.random() < 0.5)
            self.send(node)
        if self.chance.random() < 0.7:
            self.advance(self.chance.choice([0, 10, 4000]) * MS)
            if not node.alive:
                node.connect(self.now)

    def do_flicker(self, node: Ours | Foreign) -> None:
        """Born and dead at once, and perhaps here again."""
        for _ in range(2):
            self.do_life(node)
            self.send(node)

    def do_mark(self, node: Ours | Foreign) -> None:
        if node.online and node.ours:
            self.send(node)
            if self.chance.random() >= self.weather.loss:
                self.put((node.edge_node, node.session_id))

    def do_host_cut(self, node: Ours | Foreign) -> None:
        self.host_lost()
        self.advance(self.chance.choice([0, 3000]) * MS)
        self.host_connect()

    def do_host_leave(self, node: Ours | Foreign) -> None:
        self.host.close(self.host_now)
        self.oracle.host_lost()
        self.advance(self.chance.choice([0, 3000]) * MS)
        self.host_lost()
        self.host_connect()

    def do_host_restart(self, node: Ours | Foreign) -> None:
        self.host_lost()
        self.host = self.new_host()
        self.host_connect()

    def do_weather(self, node: Ours | Foreign) -> None:
        self.weather = Weather(
            loss=self.chance.choice([0.0, 0.0, 0.1, 0.4]) if self.oracle.may_lose else 0.0,
            copies=self.chance.choice([0.0, 0.2]) if self.oracle.may_lose else 0.0,
            spread_ns=self.chance.choice([0, 5 * MS, 500 * MS, 2 * S]),
        )

    def do_clock(self, node: Ours | Foreign) -> None:
        self.host_offset += self.chance.choice([-3600 * S, -3 * S, -S // 2, 2 * S, 60 * S])
        self.oracle.clock_stepped()

    def do_again(self, node: Ours | Foreign) -> None:
        """A message of some time ago comes once more."""
        recent = [sent for sent in self.recent if sent.kind != "NBIRTH"]  # a host that began anew would believe it
        if recent and self.oracle.may_lose:
            sent = self.chance.choice(recent)
            self.oracle.disturbed.add(sent.node)
            self.put(Delivery(sent, repeated=True))

    def do_forged(self, node: Ours | Foreign) -> None:
        """Somebody writes what is not true, or is nothing at all."""
        payload = self.chance.randbytes(self.chance.choice([0, 1, 9, 200]))
        stranger = EdgeNodeDescriptor("forged", f"x{self.chance.randrange(200)}")
        name = self.chance.choice([stranger, node.edge_node] if self.oracle.may_lose else [stranger])
        kind = self.chance.choice(list(MessageType))
        device = self.chance.choice(DEVICES) if kind.value.startswith("D") else None
        topic = self.chance.choice([name.topic(kind, device), "spBv1.0/odd", f"spBv1.0/STATE/{HOST_ID}", "elsewhere"])
        if topic.endswith(HOST_ID):
            return
        sent = Sent(name, topic, payload, "forged", device, -1, -1, -1)
        self.oracle.disturbed.add(name)
        self.put(Delivery(sent))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    def rest(self) -> None:
        """All is quiet; then, unless nothing was ever lost, nodes talk, so that what is missing shows."""
        self.weather = Weather()
        self.chance = random.Random(1)
        if self.host.state is HostSessionState.DISCONNECTED:
            self.host_connect()
        self.advance(8000 * S)
        self.oracle.at_rest(self.host, quiet=True)
        for _ in range(60):
            for node in self.nodes.values():
                for device in (None, *node.devices) if node.online else ():
                    node.publish(device, self.now)
                    self.send(node)
                    self.advance(MS)
            self.advance(20 * S)
        self.advance(1000 * S)
        self.oracle.at_rest(self.host, quiet=False)


class Oracle:
    """What must hold: (a) births, (b) the picture, (c) requests, (d) memory, (e) all counted, (f) all given once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.may_lose = True
        self.disturbed: set[EdgeNodeDescriptor] = set()  # something of it was lost, repeated or forged
        self.asked: list[tuple[int, EdgeNodeDescriptor, int]] = []  # since the clock stepped, by the host's clock
        self.events_of: dict[int, list[HostEvent]] = {}
        self.events: list[HostEvent] = []
        self.chain: dict[EdgeNodeDescriptor, int] = {}  # all from an NBIRTH up to this number came in order
        self.given = 0
        self.stepped_at = 0
        self.coincides = False  # the message has the number that is due, wherever it comes from
        self.newest_birth: dict[EdgeNodeDescriptor, int] = {}  # that came, and likewise
        self.newest_seen: dict[EdgeNodeDescriptor, int] = {}
        self.reordered: set[EdgeNodeDescriptor] = set()
        self.arrived: set[tuple[EdgeNodeDescriptor, int]] = set()
        self.untold: dict[EdgeNodeDescriptor, int] = {}  # see _untell
        self.dead: set[tuple[EdgeNodeDescriptor, int]] = set()  # lives whose NDEATH came
        self.heard: set[tuple[EdgeNodeDescriptor, str]] = set()
        self.sessions: dict[EdgeNodeDescriptor, int] = defaultdict(int)  # how many the host has heard of
        self.told: dict[str, int] = defaultdict(int)

    def _heard(self, name: EdgeNodeDescriptor, session_id: str) -> None:
        node = self.world.nodes.get(name)
        if node is not None and node.ours and (name, session_id) not in self.heard:
            self.heard.add((name, session_id))
            self.sessions[name] += 1

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def sent(self, sent: Sent) -> None:
        self.told[sent.kind] += 1

    def lost(self, sent: Sent) -> None:
        seen = self.world.host.nodes.get(sent.node)
        if seen is None or not seen.online or seen.tracker.expected is None:  # no number says what is missing
            self._untell(sent)
        self.disturbed.add(sent.node)

    def host_restarted(self) -> None:
        self.asked.clear()
        self.chain.clear()
        self.heard.clear()
        # What it knew of births that were overtaken is gone.
        self.disturbed |= self.reordered
        self._forget_order()

    def host_lost(self) -> None:
        self.chain.clear()
        self._forget_order()

    def _forget_order(self) -> None:
        """A host knows no more what came before what is on its way."""
        for _, _, one in self.world.wire:
            if isinstance(one, Delivery):
                self._untell(one.sent)

    def _untell(self, sent: Sent) -> None:
        """Nothing tells the host what this one would have told, until an NBIRTH that was sent behind it."""
        self.untold[sent.node] = max(sent.number, self.untold.get(sent.node, 0))

    def clock_stepped(self) -> None:
        self.heard.clear()
        self.asked.clear()
        self.stepped_at = self.world.now

    def marked(self, name: EdgeNodeDescriptor, session_id: str) -> None:
        self._heard(name, session_id)
        if self.world.nodes[name].session_id != session_id:
            self.chain.pop(name, None)

    def passed_by(self, delivery: Delivery) -> None:
        self.disturbed.add(delivery.sent.node)
        self._untell(delivery.sent)
        self.chain.pop(delivery.sent.node, None)

    def take(self, event: HostEvent) -> None:
        self.events.append(event)
        self.told[type(event).__name__] += 1
        if isinstance(event, RebirthRequested):
            self.told[f"cause {event.cause}"] += 1
            self._requested(event)
        elif isinstance(event, NodeBorn):
            self._heard(event.edge_node, event.session_id)
        elif isinstance(event, DataReceived):
            self._read(event)

    def delivering(self, delivery: Delivery) -> None:
        self.events.clear()
        sent = delivery.sent
        if delivery.retain:
            return
        seen = self.world.host.nodes.get(sent.node)
        self.coincides = False
        if sent.number >= 0 and seen is not None and sent.kind != "NDEATH":
            self.coincides = seen.tracker.is_due(codec.decode_seq(sent.payload)[1])
        if sent.number < self.newest_seen.get(sent.node, 0):
            self.reordered.add(sent.node)
        self.newest_seen[sent.node] = max(sent.number, self.newest_seen.get(sent.node, 0))
        self.arrived.add((sent.node, sent.number))
        if sent.kind == "NBIRTH" and sent.number > self.newest_birth.get(sent.node, 0):
            if self.untold.get(sent.node, 0) < sent.number:
                self.untold.pop(sent.node, None)
            self.newest_birth[sent.node] = self.chain[sent.node] = sent.number
            if (sent.node, sent.life) in self.dead and not sent.session_id:
                self._untell(sent)  # a foreign bdSeq may come again
            return
        if sent.kind == "NDEATH":
            self.dead.add((sent.node, sent.life))
        elif sent.kind == "forged":
            self.heard = {(name, session_id) for name, session_id in self.heard if name != sent.node}
        if not sent.session_id and sent.birth < self.newest_birth.get(sent.node, 0):
            self._untell(sent)  # its seq may be the one that is due
        if self.chain.get(sent.node) == sent.number - 1:
            self.chain[sent.node] = sent.number
        else:
            self.chain.pop(sent.node, None)

    def counted(self, host: HostSession) -> int:
        return sum(sum(one.values()) for one in (host.warnings, host.violations, host.leniencies, host.counters))

    def delivered(self, delivery: Delivery, before: int) -> None:
        sent = delivery.sent
        own = [event for event in self.events if getattr(event, "raw", None) is delivery]
        commands = {MessageType.NCMD.value, MessageType.DCMD.value}
        if not own and self.counted(self.world.host) == before and sent.topic.split("/")[2] not in commands:
            raise Broken(f"(e) not told and not counted: {sent.kind} {sent.number} of {sent.node}")
        given = [event for event in own if isinstance(event, DataReceived)]
        if len([event for event in own if isinstance(event, DataReceived | DataUnreadable)]) > 1:
            raise Broken(f"(f) told more than once: {own}")
        if sent.kind in {"NDATA", "DDATA"} and self.chain.get(sent.node) == sent.number:
            self.given += 1
            tells_order = self.world.nodes[sent.node].habits.tells_order and sent.node not in self.untold
            if [event.data.values for event in given] != [[sent.value]] or (
                tells_order and (given[0].late or not given[0].in_order)
            ):
                raise Broken(f"(f) in order with its birth known, but given out as {own}: {sent}")

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, event: DataReceived) -> None:
        assert isinstance(event.raw, Delivery)
        sent = event.raw.sent
        if sent.kind == "forged":
            return
        habits = self.world.nodes[sent.node].habits
        names = tuple(binding.name for binding in event.data.bindings)
        birth = sent.birth if sent.device is None else sent.device_birth
        # What overtook the birth that gave its aliases another meaning cannot show it.
        told = habits.tells_birth and (habits.aliases != "renumbered" or (sent.node, birth) in self.arrived)
        # Nor can what comes after the reorder timeout, by the clock of the host.
        if sent.birth < self.newest_birth.get(sent.node, 0) or sent.kind == "DDATA":
            told = told and (
                sent.session_id != ""
                or not (event.raw.repeated or self.coincides or self.world.now - self.stepped_at < REORDER_NS)
            )
        if told and event.data.bindings and (names, event.data.values) != (sent.names, [sent.value]):
            raise Broken(f"(a) read as {names}: {sent}")
        if sent.session_id and event.data.bindings and event.session_id != sent.session_id:
            raise Broken(f"(a) told of session {event.session_id}: {sent}")

    def _requested(self, event: RebirthRequested) -> None:
        now = self.world.host_now
        self.asked.append((now, event.edge_node, self.sessions[event.edge_node]))  # a new session of ours begins anew
        in_second = [one for one in self.asked if now - one[0] < S]
        if len(in_second) > 2 * PER_SECOND_MAX:
            raise Broken(f"(c) {len(in_second)} requests in a second")
        same = [at for at, name, life in self.asked[:-1] if (name, life) == self.asked[-1][1:]]
        if same and now - same[-1] < INTERVAL_MIN_NS:
            raise Broken(f"(c) asked again after {(now - same[-1]) / S} s: {event}")

    def at_each_step(self, host: HostSession) -> None:
        recount = BirthSize()
        for name, node in host.nodes.items():
            sizes = BirthSize(len(node.birth.metrics) if node.birth else 0, node.birth_bytes)
            for device in node.devices.values():
                sizes += device.size()
            if sizes != node.held:
                raise Broken(f"(d) {name} holds {sizes}, counted {node.held}")
            if name not in self.world.declared:
                recount += node.held.largest(node.reserved)
        if recount != host.births_of_strangers:
            raise Broken(f"(d) strangers hold {recount}, counted {host.births_of_strangers}")
        if len(host.nodes) > NODES_MAX + len(self.world.declared):
            raise Broken(f"(d) {len(host.nodes)} nodes")

    def at_rest(self, host: HostSession, *, quiet: bool) -> None:
        view, limiter = host._view, host._rebirths  # memory is its own affair, and may not grow
        if view.gaps or view.births_end or view.doubts:
            raise Broken(f"(d) deadlines at rest: {view.gaps}, {view.births_end}, {view.doubts}")
        if len(limiter._queue) > _QUEUE_SPARE + 2 * len(limiter._nodes):
            raise Broken("(d) the queue of requests grew")
        for name, node in host.nodes.items():
            if node.turns or (node.online and node.tracker.has_gap) or node.devices_awaited:
                raise Broken(f"(d) {name} still keeps {node.turns}, {node.devices_awaited}")
            if name not in self.world.declared and not node.reserved.fits(node.held):
                raise Broken(f"(d) room is kept for {name} at rest: {node.reserved} for {node.held}")
        for name, true in self.world.nodes.items():
            if self._can_tell(name, true.habits, quiet=quiet):
                self._compare(host, name, true)

    def _can_tell(self, name: EdgeNodeDescriptor, habits: Habits, *, quiet: bool) -> bool:
        if name in self.untold or (name in self.reordered and not habits.tells_order):
            return False
        if name not in self.disturbed:
            return habits.tells_death
        return not quiet and habits.tells_death and habits.tells_order

    def _compare(self, host: HostSession, name: EdgeNodeDescriptor, node: Ours | Foreign) -> None:
        seen = host.nodes.get(name)
        truth = (node.online, sorted(node.devices))
        devices = sorted(one for one, device in seen.devices.items() if device.online) if seen else []
        picture = (seen is not None and seen.online, devices)
        if picture != truth:
            raise Broken(f"(b) {name} {node.habits}: the host shows {picture}, the truth is {truth}")


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_NODES_DO = ["data"] * 10 + ["device"] * 6 + ["life", "flicker", "burst"] + ["mark"] * 3 + ["weather"] * 3
_OTHERS_DO = ["life"] * 2 + ["again", "forged"] * 2 + ["host_cut", "host_leave", "host_restart", "clock"]
_STRANGE = (
    Habits(bd_seq="constant"),
    Habits(bd_seq="by_rebirth", seq="runs_on", dies_twice=True),
    Habits(bd_seq="none"),
    Habits(seq="zero"),
    Habits(seq="missing"),
    Habits(seq="by_device"),
    Habits(seq="runs_on"),
    Habits(aliases="renumbered"),
    Habits(aliases="none"),
    Habits(uint32_in_long=True, dies_twice=True),
    PLAIN,
)


def steps_of(seed: int, count: int) -> list[Step]:
    """What happens in the run of this seed; in every fourth one the host and its clock are left alone."""
    chance = random.Random(seed)
    words = _NODES_DO if seed % 4 == 1 else _NODES_DO + _OTHERS_DO
    start = [("life", chance.randrange(1 << 30)) for _ in range(6)]
    return start + [(chance.choice(words), chance.randrange(1 << 30)) for _ in range(count)]


def run(seed: int, steps: Sequence[Step]) -> World:
    """One run; raises ``Broken`` where the oracle is not content. A fourth of the seeds loses nothing."""
    chance = random.Random(seed)
    world = World(seed, foreign=[PLAIN, *chance.sample(_STRANGE, 2)])
    world.oracle.may_lose = seed % 4 != 0
    world.host_connect()
    for word, step_seed in steps:
        world.step(word, step_seed)
    world.rest()
    return world


def shortest(seed: int, steps: Sequence[Step], fails: Callable[[int, Sequence[Step]], bool]) -> list[Step]:
    """The steps without those that the failure does not need."""
    kept = list(steps)
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if fails(seed, fewer):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept
