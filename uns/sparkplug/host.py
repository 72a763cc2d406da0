"""A host application's Sparkplug session, without I/O: STATE, births, data in order of arrival, deaths, rebirths.

The caller carries out ``actions()`` in order, reports what happened with ``receive_*``, reads ``events()`` after each,
and calls ``receive_timer`` when ``next_deadline_ns()`` has come.

Two rules carry the rest. After each CONNECT every session is unknown: DATA is not decoded until an NBIRTH, or a mark
(``name_session``), names a session whose births are held; an older birth would give silently wrong values. And DATA of
a known session is handed on at once, in order of arrival: a gap in ``seq`` delays conclusions, never data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host_nodes import DeviceState, NodeState, session_key
from uns.sparkplug.messages import (
    Action,
    ConformanceWarning,
    Connect,
    DataReceived,
    DataUnreadable,
    DeviceBorn,
    DeviceDied,
    Disconnect,
    HeldBirths,
    HostEvent,
    HostStateHealed,
    Message,
    NodeBorn,
    NodeDied,
    NodeResumed,
    OtherMessage,
    Publish,
    RebirthCause,
    RebirthRequested,
    Subscribe,
    UnreadableReason,
    Violation,
)
from uns.sparkplug.metrics import REBIRTH, BirthMetric, BirthPayload
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.reorder import Arrival
from uns.sparkplug.state import HostState, decode_state, encode_state, state_topic
from uns.sparkplug.topics import (
    NAMESPACE,
    DeviceTopic,
    EdgeNodeDescriptor,
    MessageType,
    NodeTopic,
    StateTopic,
    Topic,
    parse_topic,
)
from uns.sparkplug.transitions import (
    HOST_TRANSITIONS,
    HostInput,
    HostNodeInput,
    HostNodeState,
    HostSessionState,
    next_state,
)

__all__ = ["HostSession"]

_NS_PER_MS = 1_000_000
_TOPICS_REMEMBERED_MAX = 50_000
_HEAL_INTERVAL_NS = 10_000 * _NS_PER_MS  # a hostile writer of our STATE makes us reconnect this often at most


class HostSession:
    """One host at one broker.

    ``jitter(span)`` gives a number from 0 up to, not including, ``span``: it spreads rebirth requests. Bounds:
    ``nodes_max``, ``devices_per_node_max``, ``metrics_per_node_max``; what goes beyond is dropped and counted in
    ``violations``.
    """

    def __init__(
        self,
        sparkplug_host_id: str,
        *,
        jitter: Callable[[int], int],
        reorder_timeout_ms: int = 5000,
        rebirth_interval_min_ms: int = 10_000,
        rebirth_interval_max_ms: int = 300_000,
        rebirths_per_second_max: int = 10,
        rebirth_spread_ms: int = 1000,
        host_start_spread_ms: int = 10_000,
        mark_wait_ms: int = 2000,
        filters: Sequence[str] = (f"{NAMESPACE}/#",),
        extra_filters: Sequence[tuple[str, int]] = (),
        nodes_max: int = 10_000,
        devices_per_node_max: int = 1000,
        metrics_per_node_max: int = 100_000,
    ) -> None:
        self.sparkplug_host_id = sparkplug_host_id
        self.warnings: Counter[str] = Counter()  # by tck-id
        self.violations: Counter[str] = Counter()  # by kind
        self._state_topic = state_topic(sparkplug_host_id)
        self._reorder_timeout_ns = reorder_timeout_ms * _NS_PER_MS
        self._rebirth_spread_ns = rebirth_spread_ms * _NS_PER_MS
        self._host_start_spread_ns = host_start_spread_ms * _NS_PER_MS
        self._mark_wait_ns = mark_wait_ms * _NS_PER_MS
        self._filters = tuple(filters)
        self._extra_filters = tuple(extra_filters)
        self._nodes_max = nodes_max
        self._devices_max = devices_per_node_max
        self._metrics_max = metrics_per_node_max

        self._state = HostSessionState.DISCONNECTED
        self._actions: list[Action] = []
        self._events: list[HostEvent] = []
        self._nodes: dict[EdgeNodeDescriptor, NodeState] = {}
        self._topics: dict[str, Topic] = {}
        self._gaps: dict[EdgeNodeDescriptor, int] = {}  # node to the end of its reorder timeout
        self._timestamp_ms = 0  # of the STATE of this CONNECT
        self._state_seen_ms = 0  # the newest timestamp that anybody wrote to our STATE
        self._healed_at_ns: int | None = None
        self._rebirths = RebirthLimiter(
            interval_min_ms=rebirth_interval_min_ms,
            interval_max_ms=rebirth_interval_max_ms,
            per_second_max=rebirths_per_second_max,
            jitter=jitter,
        )

    # ── what it is like ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> HostSessionState:
        """Where the session stands."""
        return self._state

    @property
    def nodes(self) -> Mapping[EdgeNodeDescriptor, NodeState]:
        """Every edge node that was heard of or whose births are held. To be read, not changed."""
        return MappingProxyType(self._nodes)

    def actions(self) -> list[Action]:
        """Drain what the adapter has to do, in this order."""
        actions, self._actions = self._actions, []
        return actions

    def events(self) -> list[HostEvent]:
        """Drain what the application should know, in order of arrival."""
        events, self._events = self._events, []
        return events

    def next_deadline_ns(self) -> int | None:
        """When ``receive_timer`` wants to be called; None: not at all."""
        deadlines = list(self._gaps.values())
        if self._state is HostSessionState.ONLINE and (rebirth := self._rebirths.next_deadline_ns()) is not None:
            deadlines.append(rebirth)
        return min(deadlines, default=None)

    # ── the host's own session ───────────────────────────────────────────────────────────────────────────────────

    def hold_births(self, held: HeldBirths, now_ns: int = 0) -> None:
        """Take in what the store kept of one node. Its session stays unknown until it is named."""
        if held.edge_node in self._nodes and self._nodes[held.edge_node].online:
            return
        try:
            birth = codec.decode_birth(held.birth)
            devices = {device_id: codec.decode_birth(payload) for device_id, payload in held.devices.items()}
        except RemoteProtocolError as error:
            self._violation(held.edge_node, "held_births", "", error)
            return
        node = NodeState(held.edge_node, now_ns, session_id=held.session_id, bd_seq=held.bd_seq, reason="held")
        node.ours = bool(birth.session_id)
        node.birth, node.table = birth, AliasTable.of_birth(birth)
        for device_id, device in devices.items():
            node.devices[device_id] = DeviceState(
                online=False, since_ns=now_ns, reason="held", birth=device, table=AliasTable.of_birth(device)
            )
        self._nodes[held.edge_node] = node

    def connect(self, now_ns: int) -> None:
        """Ask for a connection, with STATE offline as its will (tck-id-operational-behavior-host-application-connect-will).

        Will and birth of one CONNECT share one timestamp: the time of the CONNECT, but never one that edge nodes would
        take for older than what they saw.
        """
        self._input(HostInput.CONNECT)
        self._forget_sessions(now_ns)
        self._timestamp_ms = max(now_ns // _NS_PER_MS, self._state_seen_ms + 1)
        self._state_seen_ms = self._timestamp_ms
        self._actions.append(
            Connect(client_id=f"host:{self.sparkplug_host_id}", will=self._state_message(online=False))
        )

    def receive_connected(self, now_ns: int) -> None:  # noqa: ARG002
        """CONNACK came: subscribe to the namespace and to the own STATE (host-topic-phid-birth-sub-required)."""
        self._input(HostInput.CONNECTED)
        namespace = tuple((topic_filter, 0) for topic_filter in self._filters)
        self._actions.append(Subscribe((*namespace, (self._state_topic, 1), *self._extra_filters)))

    def receive_subscribed(self, now_ns: int) -> None:
        """All subscriptions were granted: be born, and let the held sessions be named (or ask them for a rebirth)."""
        self._input(HostInput.SUBSCRIBED)
        self._actions.append(Publish(self._state_message(online=True)))
        for edge_node in self._nodes:
            self._rebirths.ask(
                edge_node, "host_start", now_ns, delay_ns=self._mark_wait_ns, spread_ns=self._host_start_spread_ns
            )

    def receive_disconnected(self, now_ns: int) -> None:
        """The connection is gone: everything known through it is stale (specification 5.3)."""
        self._input(HostInput.DISCONNECTED)
        self._actions.clear()
        self._forget_sessions(now_ns)

    def close(self, now_ns: int) -> None:
        """Publish STATE offline with the present time, then DISCONNECT (host-application-termination)."""
        was = self._state
        self._input(HostInput.CLOSE)
        if was in {HostSessionState.DISCONNECTED, HostSessionState.LEAVING}:
            return
        if was is HostSessionState.ONLINE:
            self._timestamp_ms = max(now_ns // _NS_PER_MS, self._timestamp_ms)
            self._state_seen_ms = max(self._state_seen_ms, self._timestamp_ms)
            self._actions.append(Publish(self._state_message(online=False)))
        self._actions.append(Disconnect())

    def receive_timer(self, now_ns: int) -> None:
        """A deadline has come: reorder timeouts end, waiting rebirth requests go out."""
        for edge_node in [edge_node for edge_node, deadline in self._gaps.items() if deadline <= now_ns]:
            del self._gaps[edge_node]
            self._nodes[edge_node].tracker.give_up()
            self._ask(edge_node, "reorder_timeout", now_ns)  # operational-behavior-host-reordering-rebirth
        self._send_rebirths(now_ns)

    def request_rebirth(self, edge_node: EdgeNodeDescriptor, cause: RebirthCause, now_ns: int) -> None:
        """Ask a node for its births, within the limits."""
        self._rebirths.ask(edge_node, cause, now_ns)
        self._send_rebirths(now_ns)

    def publish_command(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, metrics: Sequence[BirthMetric], now_ns: int
    ) -> None:
        """NCMD (``device_id`` None) or DCMD: by alias where the birth gave one, at QoS 0, never retained."""
        self._input(HostInput.PUBLISH)
        node = self._nodes.get(edge_node)
        device = None if node is None or device_id is None else node.devices.get(device_id)
        table = (node.table if node else None) if device_id is None else (device.table if device else None)
        named = table.by_name if table else {}
        prepared = [
            msgspec.structs.replace(metric, alias=named[metric.name].alias if metric.name in named else None)
            for metric in metrics
        ]
        topic = edge_node.topic(MessageType.NCMD if device_id is None else MessageType.DCMD, device_id)
        payload = codec.encode_command(prepared, timestamp_ms=now_ns // _NS_PER_MS)
        self._actions.append(Publish(Message(topic, payload)))

    # ── what comes in ────────────────────────────────────────────────────────────────────────────────────────────

    def receive_message(self, topic: str, payload: bytes, *, retain: bool, now_ns: int, raw: object = None) -> None:
        """A message came. ``raw`` is the caller's own and comes back with the event."""
        if self._state not in {HostSessionState.SUBSCRIBING, HostSessionState.ONLINE}:
            return  # of a connection that is over
        parsed = self._topics.get(topic)
        if parsed is None:
            if not topic.startswith(f"{NAMESPACE}/"):
                self._events.append(OtherMessage(topic, payload, retain, raw))
                return
            try:
                parsed = self._remember_topic(topic)
            except RemoteProtocolError as error:
                self._violation(None, "topic", topic, error, payload=payload, raw=raw)
                return
        if isinstance(parsed, StateTopic):
            if topic == self._state_topic:
                self._receive_own_state(payload, retain=retain, now_ns=now_ns)
            return
        if parsed.message_type in {MessageType.NCMD, MessageType.DCMD}:
            return  # of another host
        if retain:
            # Stored, hence of some time ago: never live (peers.md: benthos-umh retains births and deaths).
            self._warn(parsed.edge_node, "tck-id-topics-nbirth-mqtt", "retained messages are passed over")
            return
        self._receive_sparkplug(parsed, payload, now_ns, raw)
        self._send_rebirths(now_ns)

    def name_session(self, edge_node: EdgeNodeDescriptor, session_id: str, now_ns: int) -> bool:
        """A mark of this session came. True: its births are held, DATA that follows is decoded."""
        node = self._nodes.get(edge_node) or self._new_node(edge_node, now_ns)
        if node is None:
            return False
        held = node.birth is not None and node.ours and node.session_id == session_id
        if held and node.online:
            return True
        if held and node.state is HostNodeState.UNKNOWN and node.birth is not None:
            node.enter(HostNodeInput.NAMED, now_ns, "named")
            node.tracker.start(None)
            devices = {}
            for device_id, device in node.devices.items():
                if device.birth is not None:
                    devices[device_id] = device.birth
                    device.online, device.since_ns, device.reason = True, now_ns, "named"
            self._rebirths.cancel(edge_node, ("host_start", "unknown_session"))
            self._events.append(
                NodeResumed(
                    edge_node=edge_node,
                    session_id=session_id,
                    bd_seq=-1 if node.bd_seq is None else node.bd_seq,
                    birth=node.birth,
                    devices=devices,
                )
            )
            return True
        self._ask(edge_node, "after_death" if held else "unknown_session", now_ns)
        self._send_rebirths(now_ns)
        return False

    def _remember_topic(self, topic: str) -> Topic:
        parsed = parse_topic(topic)
        if len(self._topics) >= _TOPICS_REMEMBERED_MAX:
            self._topics.clear()
        self._topics[topic] = parsed
        return parsed

    def _receive_sparkplug(self, topic: NodeTopic | DeviceTopic, payload: bytes, now_ns: int, raw: object) -> None:
        edge_node = topic.edge_node
        node = self._nodes.get(edge_node) or self._new_node(edge_node, now_ns)
        if node is None:
            self._violation(edge_node, "nodes_max", str(topic), "too many edge nodes", payload=payload, raw=raw)
        elif isinstance(topic, NodeTopic):
            match topic.message_type:
                case MessageType.NDATA:
                    self._receive_data(node, None, node.table, payload, now_ns, raw)
                case MessageType.NBIRTH:
                    self._receive_node_birth(node, payload, now_ns, raw)
                case _:
                    self._receive_node_death(node, payload, now_ns, raw)
        else:
            match topic.message_type:
                case MessageType.DDATA:
                    device = node.devices.get(topic.device_id)
                    table = device.table if device is not None and device.online else None
                    self._receive_data(node, topic.device_id, table, payload, now_ns, raw)
                case MessageType.DBIRTH:
                    self._receive_device_birth(node, topic.device_id, payload, now_ns, raw)
                case _:
                    self._receive_device_death(node, topic.device_id, payload, now_ns, raw)

    def _receive_node_birth(self, node: NodeState, payload: bytes, now_ns: int, raw: object) -> None:
        edge_node = node.edge_node
        try:
            birth = codec.decode_birth(payload)
            self._check_size(len(birth.metrics))
        except RemoteProtocolError as error:
            self._violation(edge_node, "nbirth", edge_node.topic(MessageType.NBIRTH), error, payload=payload, raw=raw)
            return
        key = session_key(birth.session_id, birth.bd_seq)
        bd_seq = -1 if birth.bd_seq is None else birth.bd_seq
        same = node.birth is not None and (node.session_id, node.bd_seq) == (key, bd_seq)
        if node.online and not same:
            # The old session ended unheard: an implicit death (its NDEATH may come late, and is then ignored).
            self._node_died(node, "superseded", now_ns, raw)
        # A session of ours is told by its uuid. A foreign one has only its bdSeq, which some never change.
        first = not same if birth.session_id else not (same and node.online)
        node.devices_awaited = {device_id for device_id, device in node.devices.items() if device.online}
        node.devices = {d: DeviceState(False, now_ns, "awaited") for d in node.devices_awaited}
        node.warned = set() if first else node.warned
        node.session_id, node.bd_seq, node.ours = key, bd_seq, bool(birth.session_id)
        node.birth, node.table = birth, AliasTable.of_birth(birth)
        node.enter(HostNodeInput.BORN, now_ns, "born")
        node.tracker.start(birth.seq or 0)
        self._gaps.pop(edge_node, None)
        self._rebirths.cancel(edge_node)
        self._events.append(
            NodeBorn(
                edge_node=edge_node,
                session_id=key,
                bd_seq=bd_seq,
                birth=birth,
                payload=payload,
                first=first,
                ours=node.ours,
                raw=raw,
            )
        )
        self._warn_of_birth(edge_node, birth)

    def _receive_device_birth(self, node: NodeState, device_id: str, payload: bytes, now_ns: int, raw: object) -> None:
        edge_node = node.edge_node
        if not node.online:  # message-flow-device-birth-publish-nbirth-wait; or its NBIRTH came before our CONNECT
            self._ask(edge_node, "missed_birth", now_ns, held=node)
            return
        try:
            birth = codec.decode_birth(payload)
            known = node.devices.get(device_id)
            replaced = len(known.birth.metrics) if known is not None and known.birth is not None else 0
            self._check_size(node.metrics_held() - replaced + len(birth.metrics))
            if known is None and len(node.devices) >= self._devices_max:
                raise RemoteProtocolError("too many devices", expected=f"at most {self._devices_max} per edge node")
        except RemoteProtocolError as error:
            topic = edge_node.topic(MessageType.DBIRTH, device_id)
            self._violation(edge_node, "dbirth", topic, error, payload=payload, raw=raw)
            return
        self._track(node, birth.seq, now_ns)
        node.devices_awaited.discard(device_id)
        node.devices[device_id] = DeviceState(
            online=True, since_ns=now_ns, reason="born", birth=birth, table=AliasTable.of_birth(birth)
        )
        self._events.append(
            DeviceBorn(
                edge_node=edge_node,
                device_id=device_id,
                session_id=node.session_id,
                birth=birth,
                payload=payload,
                ours=node.ours,
                raw=raw,
            )
        )
        self._warn_of_birth(edge_node, birth)

    def _receive_data(
        self, node: NodeState, device_id: str | None, table: AliasTable | None, payload: bytes, now_ns: int, raw: object
    ) -> None:
        edge_node = node.edge_node
        if not node.online:
            cause: RebirthCause = "after_death" if node.state is HostNodeState.OFFLINE else "unknown_session"
            self._unreadable(node, device_id, "unknown_session", payload, raw)
            self._ask(edge_node, cause, now_ns, held=node)
            return
        try:
            if table is None:
                self._track(node, codec.decode_seq(payload)[1], now_ns)
                self._unreadable(node, device_id, "no_birth", payload, raw)
                if not node.tracker.has_gap:  # else the DBIRTH may still come
                    self._ask(edge_node, "missed_birth", now_ns)
                return
            data = codec.decode_data(payload, table)
        except RemoteProtocolError as error:
            self._unreadable(node, device_id, "malformed", payload, raw, text=str(error))
            self._ask(edge_node, "malformed", now_ns)
            return
        in_order = self._track(node, data.seq, now_ns)
        if node.devices_awaited:
            self._end_of_births(node, now_ns)
        if data.rejected and any(metric.reason == "unknown_metric" for metric in data.rejected):
            self._ask(edge_node, "unknown_metric", now_ns)
            if node.ours:  # a birth was missed; the edge holds these rows and sends them again
                self._unreadable(node, device_id, "unknown_metric", payload, raw)
                return
        self._events.append(
            DataReceived(
                edge_node=edge_node,
                device_id=device_id,
                session_id=node.session_id,
                bd_seq=-1 if node.bd_seq is None else node.bd_seq,
                data=data,
                in_order=in_order,
                ours=node.ours,
                payload=payload,
                raw=raw,
            )
        )

    def _receive_node_death(self, node: NodeState, payload: bytes, now_ns: int, raw: object) -> None:
        try:
            bd_seq = codec.decode_death(payload)
        except RemoteProtocolError as error:
            topic = node.edge_node.topic(MessageType.NDEATH)
            self._violation(node.edge_node, "ndeath", topic, error, payload=payload, raw=raw)
            return
        if bd_seq is None:
            self._warn(node.edge_node, "tck-id-topics-ndeath-payload", "NDEATH without bdSeq: obeyed")
        elif node.bd_seq != bd_seq:
            return  # a late will of an older connection
        self._node_died(node, "ndeath", now_ns, raw)

    def _receive_device_death(self, node: NodeState, device_id: str, payload: bytes, now_ns: int, raw: object) -> None:
        edge_node = node.edge_node
        if not node.online:
            self._ask(edge_node, "missed_birth", now_ns, held=node)
            return
        try:
            timestamp_ms, seq = codec.decode_seq(payload)
        except RemoteProtocolError as error:
            topic = edge_node.topic(MessageType.DDEATH, device_id)
            self._violation(edge_node, "ddeath", topic, error, payload=payload, raw=raw)
            return
        self._track(node, seq, now_ns)
        device = node.devices.get(device_id)
        if device is None or (not device.online and device_id not in node.devices_awaited):
            return
        node.devices_awaited.discard(device_id)
        self._device_died(node, device_id, device, timestamp_ms, now_ns, raw)

    def _receive_own_state(self, payload: bytes, *, retain: bool, now_ns: int) -> None:
        """Somebody wrote to our STATE: an old will, another host with our id, a mistake (library-facts F8)."""
        text = ""
        try:
            state: HostState | None = decode_state(payload)
        except RemoteProtocolError as error:
            state, text = None, str(error) if payload else "the retained STATE was deleted"
        if state is not None:
            self._state_seen_ms = max(self._state_seen_ms, state.timestamp)
            if state.online and state.timestamp <= self._timestamp_ms:
                return  # our own
            text = f"STATE of {self.sparkplug_host_id} with online={state.online}, timestamp {state.timestamp}"
        if self._state is not HostSessionState.ONLINE:
            return  # our birth will follow
        if state is not None and state.online:
            self._warn(None, "tck-id-operational-behavior-host-application-host-id", f"{text}: is the id used twice?")
            return
        # tck-id-message-flow-hid-sparkplug-state-message-delivered: at once, with the timestamp of this CONNECT
        self._actions.append(Publish(self._state_message(online=True)))
        # Edge nodes that saw a newer timestamp pass over ours: only a new CONNECT has a newer one.
        newer = state is not None and state.timestamp > self._timestamp_ms
        reconnect = newer and (self._healed_at_ns is None or abs(now_ns - self._healed_at_ns) >= _HEAL_INTERVAL_NS)
        if reconnect:
            self._healed_at_ns = now_ns
            self._actions.append(Disconnect())
            self._input(HostInput.CLOSE)
        if reconnect or not retain:  # a retained copy is our own old will, on every start
            self._events.append(HostStateHealed(text, reconnecting=reconnect))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _input(self, received: HostInput) -> None:
        self._state = next_state(HOST_TRANSITIONS, self._state, received)

    def _state_message(self, *, online: bool) -> Message:
        return Message(self._state_topic, encode_state(HostState(online, self._timestamp_ms)), qos=1, retain=True)

    def _new_node(self, edge_node: EdgeNodeDescriptor, now_ns: int) -> NodeState | None:
        if len(self._nodes) >= self._nodes_max:
            return None
        node = self._nodes[edge_node] = NodeState(edge_node, now_ns, reason="never seen")
        return node

    def _forget_sessions(self, now_ns: int) -> None:
        for node in self._nodes.values():
            if node.online:
                self._node_died(node, "host_disconnected", now_ns, None)
            node.enter(HostNodeInput.HOST_LOST, now_ns, node.reason)
        self._gaps.clear()
        self._rebirths.cancel_all()

    def _node_died(self, node: NodeState, reason: str, now_ns: int, raw: object) -> None:
        was_online = node.online
        if reason != "host_disconnected":
            node.enter(HostNodeInput.DIED, now_ns, reason)
        # edge-node-termination-host-action-ndeath-*: node and devices, at the time of receipt
        for device in node.devices.values():
            if device.online:
                device.online, device.since_ns, device.reason = False, now_ns, reason
        node.devices_awaited.clear()
        node.reason = reason
        self._gaps.pop(node.edge_node, None)
        if was_online:
            self._events.append(
                NodeDied(edge_node=node.edge_node, session_id=node.session_id, reason=reason, since_ns=now_ns, raw=raw)
            )

    def _device_died(
        self,
        node: NodeState,
        device_id: str,
        device: DeviceState,
        timestamp_ms: int | None,
        now_ns: int,
        raw: object,
    ) -> None:
        device.online, device.since_ns = False, now_ns
        device.reason = "ddeath" if timestamp_ms is not None else "rebirth_without_it"
        self._events.append(
            DeviceDied(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                reason=device.reason,
                timestamp_ms=timestamp_ms,
                since_ns=now_ns,
                raw=raw,
            )
        )

    def _end_of_births(self, node: NodeState, now_ns: int) -> None:
        """DATA follows the births (payloads-dbirth-order): a device not born again by now is gone."""
        for device_id in sorted(node.devices_awaited):
            self._device_died(node, device_id, node.devices[device_id], None, now_ns, None)
        node.devices_awaited.clear()

    def _track(self, node: NodeState, seq: int | None, now_ns: int) -> bool:
        """Follow ``seq``; whether the message stands in order. A gap starts the reorder timeout, its end stops it."""
        if seq is None:
            self._warn(node.edge_node, "tck-id-payloads-ndata-seq", "message without seq")
        tracker = node.tracker
        arrival = tracker.receive(seq)
        if not tracker.has_gap:
            if self._gaps:
                self._gaps.pop(node.edge_node, None)  # operational-behavior-host-reordering-success
        elif node.edge_node not in self._gaps:
            self._gaps[node.edge_node] = now_ns + self._reorder_timeout_ns  # …-reordering-start
        return arrival is Arrival.IN_ORDER

    def _check_size(self, metrics: int) -> None:
        if metrics > self._metrics_max:
            raise RemoteProtocolError(f"{metrics} metrics", expected=f"at most {self._metrics_max} per edge node")

    def _ask(
        self, edge_node: EdgeNodeDescriptor, cause: RebirthCause, now_ns: int, *, held: NodeState | None = None
    ) -> None:
        # A session of ours whose births are held will name itself with its next mark: wait for it a little.
        wait_ns = self._mark_wait_ns if held is not None and held.ours and cause == "unknown_session" else 0
        self._rebirths.ask(edge_node, cause, now_ns, delay_ns=wait_ns, spread_ns=self._rebirth_spread_ns)

    def _send_rebirths(self, now_ns: int) -> None:
        if self._state is not HostSessionState.ONLINE:
            return
        for edge_node, cause in self._rebirths.take_due(now_ns):
            command = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
            payload = codec.encode_command([command], timestamp_ms=now_ns // _NS_PER_MS)
            self._actions.append(Publish(Message(edge_node.topic(MessageType.NCMD), payload)))
            self._events.append(RebirthRequested(edge_node, cause))

    def _unreadable(
        self,
        node: NodeState,
        device_id: str | None,
        reason: UnreadableReason,
        payload: bytes,
        raw: object,
        text: str = "",
    ) -> None:
        self._events.append(
            DataUnreadable(
                edge_node=node.edge_node, device_id=device_id, reason=reason, payload=payload, text=text, raw=raw
            )
        )

    def _warn_of_birth(self, edge_node: EdgeNodeDescriptor, birth: BirthPayload) -> None:
        for tck_id in birth.warnings:
            self._warn(edge_node, tck_id, "forgiven in a birth")

    def _warn(self, edge_node: EdgeNodeDescriptor | None, tck_id: str, text: str) -> None:
        self.warnings[tck_id] += 1
        node = None if edge_node is None else self._nodes.get(edge_node)
        if node is not None:
            if tck_id in node.warned:
                return
            node.warned.add(tck_id)
        self._events.append(ConformanceWarning(edge_node, tck_id, text))

    def _violation(
        self,
        edge_node: EdgeNodeDescriptor | None,
        kind: str,
        topic: str,
        error: RemoteProtocolError | str,
        *,
        payload: bytes = b"",
        raw: object = None,
    ) -> None:
        self.violations[kind] += 1
        tck_id = error.tck_id if isinstance(error, RemoteProtocolError) else ""
        self._events.append(Violation(edge_node, topic, str(error), tck_id, payload, raw))
