"""An edge node's Sparkplug session, without I/O: connect, birth, data, death, commands, primary host.

The caller persists ``bd_seq`` before ``connect``, carries out ``actions()`` in order, reports what happened with
``receive_*``, reads ``events()``, and calls ``receive_timer`` when ``next_deadline_ns()`` has come. A new connection is
always a new ``connect``: the will is fixed there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Literal

import msgspec

from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import METRIC_TYPES, DataType
from uns.sparkplug.edge_rules import (
    check_bindings,
    client_id_of,
    encode_birth,
    in_time_order,
    table_of_birth,
    too_large,
)
from uns.sparkplug.messages import (
    Action,
    BirthDue,
    CommandIgnored,
    CommandReceived,
    Connect,
    Disconnect,
    EdgeEvent,
    HostAwaited,
    HostStateChanged,
    Message,
    NodeBirth,
    Offline,
    Online,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import (
    BD_SEQ,
    CONTROL_METRICS,
    REBIRTH,
    SESSION_METRIC,
    BirthMetric,
    DataBatch,
    MetricBinding,
    TemplateValue,
)
from uns.sparkplug.sequences import SEQ_MODULUS, check_bd_seq, next_seq
from uns.sparkplug.state import StateMemory, decode_state, state_topic
from uns.sparkplug.templates import definitions_of, require_instances, require_templates
from uns.sparkplug.topics import (
    NAMESPACE,
    DeviceTopic,
    EdgeNodeDescriptor,
    MessageType,
    NodeTopic,
    StateTopic,
    check_id,
    parse_topic,
)
from uns.sparkplug.transitions import EDGE_TRANSITIONS, EdgeInput, EdgeState, next_state

__all__ = ["CLOCK_STEP_BACK_MAX_MS", "EdgeNodeSession", "WhenHostSilent"]

CLOCK_STEP_BACK_MAX_MS = 1000  # of the wall clock, inside a session; what is less is taken for drift
_NS_PER_MS = 1_000_000

# What to do when no STATE said in time that the primary host is online: stay and go on waiting; leave, for the next
# broker; or publish all the same, which breaks phid-wait for the sake of other consumers and is never a default.
WhenHostSilent = Literal["wait", "leave", "publish"]


class EdgeNodeSession:
    """One edge node, at one broker at a time.

    ``command_devices`` names the devices that accept writes; ``extra_filters`` are subscriptions of the application,
    whose messages come back as ``OtherMessage``. ``host_wait_max_ms`` and ``when_host_silent`` say how long births wait
    for the primary host, and what then. ``leaves_offline_host``: there are other brokers, so where STATE says that the
    primary host is offline the session ends even before its birth. ``uint32_in_long``: UInt32 goes where Tahu and its
    like look for it.
    """

    def __init__(
        self,
        descriptor: EdgeNodeDescriptor,
        *,
        primary_host_id: str | None = None,
        rebirth_interval_min_ms: int = 1000,
        extra_filters: Sequence[tuple[str, int]] = (),
        command_devices: Sequence[str] = (),
        host_wait_max_ms: int | None = None,
        when_host_silent: WhenHostSilent = "wait",
        leaves_offline_host: bool = False,
        uint32_in_long: bool = False,
    ) -> None:
        check_id(descriptor.group_id, what="group_id")
        check_id(descriptor.edge_node_id, what="edge_node_id")
        for device_id in command_devices:
            check_id(device_id, what="device_id")
        self.descriptor = descriptor
        self.primary_host_id = primary_host_id
        self._rebirth_interval_ns = rebirth_interval_min_ms * _NS_PER_MS
        self._extra_filters = tuple(extra_filters)
        self._command_devices = tuple(command_devices)
        self._state_topic = None if primary_host_id is None else state_topic(primary_host_id)

        self._state = EdgeState.DISCONNECTED
        self._actions: list[Action] = []
        self._events: list[EdgeEvent] = []
        self._session_id = ""
        self._bd_seq: int | None = None
        self._seq: int | None = None  # of the newest message; None before the first NBIRTH
        self._host_wait_ns = None if host_wait_max_ms is None else host_wait_max_ms * _NS_PER_MS
        self._when_host_silent: WhenHostSilent = when_host_silent
        self._leaves_offline_host = leaves_offline_host
        self._encode_birth = functools.partial(encode_birth, uint32_in_long=uint32_in_long)
        self._encode_data = functools.partial(codec.encode_data, uint32_in_long=uint32_in_long)
        self._primary_hosts: dict[str, StateMemory] = {}  # by broker
        self._primary_host = StateMemory()
        self._forget_session()

    def _forget_session(self) -> None:
        self._seq = None
        self._aliases: dict[tuple[str | None, str, DataType], int] = {}
        self._tables: dict[str | None, AliasTable] = {}
        self._definitions: dict[str, TemplateValue] = {}  # of the NBIRTH that stands
        self._born_at_ns: int | None = None
        self._rebirth_due_ns: int | None = None
        self._host_silent_ns: int | None = None  # when waiting for the primary host has lasted too long
        self._primary_host_online: bool | None = None  # None: not heard of on this connection
        self._stamped_ms = 0  # the newest time on a payload

    # ── what it is like ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> EdgeState:
        """Where the session stands."""
        return self._state

    @property
    def session_id(self) -> str:
        """The uuid given at the newest connect."""
        return self._session_id

    @property
    def bd_seq(self) -> int | None:
        """The bdSeq given at the newest connect."""
        return self._bd_seq

    @property
    def seq(self) -> int | None:
        """The seq of the newest message; None while nothing was born."""
        return self._seq

    @property
    def devices(self) -> frozenset[str]:
        """The devices that are born now."""
        return frozenset(device_id for device_id in self._tables if device_id is not None)

    def bindings(self, device_id: str | None = None) -> dict[str, MetricBinding]:
        """By name, the bindings that ``publish_data`` takes; valid until the next birth of this node or device."""
        return self._table(device_id).by_name

    def actions(self) -> list[Action]:
        """Drain what the adapter has to do, in this order."""
        actions, self._actions = self._actions, []
        return actions

    def events(self) -> list[EdgeEvent]:
        """Drain what the application should know, in this order."""
        events, self._events = self._events, []
        return events

    def next_deadline_ns(self) -> int | None:
        """When ``receive_timer`` wants to be called; None: not at all."""
        return min((due for due in (self._rebirth_due_ns, self._host_silent_ns) if due is not None), default=None)

    # ── the way to ONLINE ────────────────────────────────────────────────────────────────────────────────────────

    def connect(self, *, bd_seq: int, session_id: str, now_ns: int, broker: str = "") -> None:  # noqa: ARG002
        """Ask for a connection. ``bd_seq`` is one more than at the CONNECT before, and was persisted already.

        ``broker`` names the broker where there are several: a host has a STATE timestamp of its own at each
        (host-application-multi-server-timestamp), and what is remembered of one says nothing about another.
        tck-id-payloads-ndeath-will-message, -qos, -retain; message-flow-edge-node-birth-publish-will-message-*.
        """
        check_bd_seq(bd_seq)
        self._input(EdgeInput.CONNECT)
        self._forget_session()
        self._bd_seq = bd_seq
        self._session_id = session_id
        self._primary_host = self._primary_hosts.setdefault(broker, StateMemory())
        will = Message(self._topic(MessageType.NDEATH), codec.encode_death(bd_seq), qos=1, retain=False)
        self._actions.append(Connect(client_id=client_id_of(self.descriptor), will=will))

    def receive_connected(self, now_ns: int) -> None:  # noqa: ARG002
        """CONNACK came."""
        self._input(EdgeInput.CONNECTED)
        filters = [(self._topic(MessageType.NCMD), 1)]  # message-flow-edge-node-ncmd-subscribe
        filters += [(self._topic(MessageType.DCMD, device), 1) for device in self._command_devices]
        if self._state_topic is not None:
            filters.append((self._state_topic, 1))
        self._actions.append(Subscribe((*filters, *self._extra_filters)))

    def receive_subscribed(self, now_ns: int) -> None:
        """All subscriptions were granted."""
        if self.primary_host_id is None or self._primary_host_online:
            self._input(EdgeInput.SUBSCRIBED)
            self._events.append(BirthDue("connected"))
            return
        self._input(EdgeInput.SUBSCRIBED_HOST_UNKNOWN)
        self._wait_for_host(now_ns)

    def _wait_for_host(self, now_ns: int) -> None:
        if self._host_wait_ns is not None:
            self._host_silent_ns = now_ns + self._host_wait_ns
        if self._leaves_offline_host and self._primary_host_online is False:
            self._input(EdgeInput.CLOSE)  # it may be online at the next broker (…-multiple-servers-walk)
            self._leave(Offline("primary_host_offline"))

    def birth(self, birth: NodeBirth, now_ns: int) -> None:
        """Publish NBIRTH and a DBIRTH per device; also to answer a rebirth: same bdSeq, same session, same aliases.

        Raises :class:`LocalProtocolError`, with nothing changed, where a metric cannot be published.
        """
        following = next_state(EDGE_TRANSITIONS, self._state, EdgeInput.BIRTH)
        now_ms = self._time_ms(now_ns)
        for name in CONTROL_METRICS.intersection(metric.name for metric in birth.metrics):
            raise LocalProtocolError(f"metric {name!r} is the session's own", next_step="leave it out of the birth")
        node_metrics = self._prepare(None, [*self._control_metrics(now_ms), *birth.metrics], now_ms)
        devices = {
            check_id(device_id, what="device_id"): self._prepare(device_id, metrics, now_ms)
            for device_id, metrics in birth.devices.items()
        }
        definitions = definitions_of(node_metrics)
        require_templates(node_metrics, definitions, None)
        for device_id, metrics in devices.items():
            require_templates(metrics, definitions, device_id)
        # seq 0 (tck-id-topics-nbirth-seq-num), then one more for each device, DBIRTHs straight after the NBIRTH
        # (tck-id-payloads-dbirth-order). All is encoded before anything is kept.
        payloads: list[tuple[str, bytes]] = [
            (self._topic(MessageType.NBIRTH), self._encode_birth(node_metrics, now_ms, 0))
        ]
        seq = 0
        for device_id, metrics in devices.items():
            seq = next_seq(seq)
            payloads.append((self._topic(MessageType.DBIRTH, device_id), self._encode_birth(metrics, now_ms, seq)))

        reborn = self._seq is not None
        self._state = following
        self._seq = seq
        self._stamped_ms = now_ms
        self._definitions = definitions
        old_tables = self._tables
        self._tables = {None: table_of_birth(node_metrics, old_tables.get(None))}
        for device_id, metrics in devices.items():
            self._tables[device_id] = table_of_birth(metrics, old_tables.get(device_id))
        self._born_at_ns = now_ns
        self._rebirth_due_ns = None
        self._actions += [Publish(Message(topic, payload)) for topic, payload in payloads]
        self._events.append(Online(self._session_id, reborn))

    # ── online ───────────────────────────────────────────────────────────────────────────────────────────────────

    def publish_data(self, device_id: str | None, batch: DataBatch, now_ns: int) -> Message:
        """NDATA (``device_id`` None) or DDATA; the seq is taken here. Gives what is to be published, an action too."""
        self._input(EdgeInput.PUBLISH)
        table = self._table(device_id)
        check_bindings(batch, table)
        if self._definitions:
            require_instances(batch, self._definitions, device_id)
        if not batch.is_historical:
            batch = in_time_order(batch)
        message_type = MessageType.NDATA if device_id is None else MessageType.DDATA
        topic = self._topic(message_type, device_id)
        return self._publish(topic, now_ns, lambda now_ms, seq: self._encode_data(batch, timestamp_ms=now_ms, seq=seq))

    def device_birth(self, device_id: str, metrics: Sequence[BirthMetric], now_ns: int) -> None:
        """A device came, or changed; a born one dies first, since a DBIRTH of a live device is none."""
        self._input(EdgeInput.PUBLISH)
        check_id(device_id, what="device_id")
        now_ms = self._time_ms(now_ns)
        prepared = self._prepare(device_id, metrics, now_ms)
        require_templates(prepared, self._definitions, device_id)
        self._encode_birth(prepared, now_ms, SEQ_MODULUS - 1)  # raises before anything goes out; with the longest seq
        if device_id in self._tables:
            self.device_death(device_id, now_ns)
        topic = self._topic(MessageType.DBIRTH, device_id)
        self._publish(topic, now_ns, lambda now_ms, seq: self._encode_birth(prepared, now_ms, seq))
        self._tables[device_id] = table_of_birth(prepared, None)

    def device_death(self, device_id: str, now_ns: int) -> None:
        """A device was lost (tck-id-operational-behavior-device-ddeath)."""
        self._input(EdgeInput.PUBLISH)
        self._table(device_id)
        topic = self._topic(MessageType.DDEATH, device_id)
        self._publish(topic, now_ns, codec.encode_empty)
        del self._tables[device_id]

    def receive_message(self, topic: str, payload: bytes, now_ns: int, *, retain: bool = False) -> None:
        """A message came on one of the subscriptions."""
        if self._state in {EdgeState.DISCONNECTED, EdgeState.CONNECTING, EdgeState.LEAVING}:
            return  # of a connection that is over
        if not topic.startswith(f"{NAMESPACE}/"):
            self._events.append(OtherMessage(topic, payload, retain))
            return
        try:
            parsed = parse_topic(topic)
        except RemoteProtocolError as error:
            self._events.append(CommandIgnored(topic, str(error)))
            return
        if isinstance(parsed, StateTopic):
            if topic == self._state_topic:  # phid-wait-id: another host's STATE says nothing
                self._receive_state(topic, payload, now_ns)
        elif parsed.edge_node == self.descriptor and parsed.message_type in {MessageType.NCMD, MessageType.DCMD}:
            self._receive_command(parsed, payload, now_ns, retain=retain)

    def receive_timer(self, now_ns: int) -> None:
        """The deadline has come."""
        if self._rebirth_due_ns is not None and now_ns >= self._rebirth_due_ns:
            self._rebirth()
        if self._host_silent_ns is not None and now_ns >= self._host_silent_ns:
            self._host_silent_ns = None
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        self._events.append(HostAwaited(self._when_host_silent))
        if self._when_host_silent == "leave":
            self._input(EdgeInput.CLOSE)
            self._leave(Offline("primary_host_silent"))
        elif self._when_host_silent == "publish":
            self._input(EdgeInput.HOST_WAIVED)
            self._events.append(BirthDue("host_waived"))

    def receive_clock(self, wall_ns: int, now_ns: int) -> None:
        """What the wall clock shows while the session's own time is ``now_ns``; call it now and then.

        A wall clock that was set back ends the session: its births and stamps would lie in the future for as long as
        it lasts. A wall clock that was set forward is followed by the caller, who makes ``now_ns``.
        """
        if now_ns - wall_ns > CLOCK_STEP_BACK_MAX_MS * _NS_PER_MS and self._state in _CONNECTED:
            self._input(EdgeInput.CLOSE)
            self._leave(Offline("clock_set_back"))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receive_disconnected(self, now_ns: int) -> None:  # noqa: ARG002
        """The connection is gone, for whatever reason; or could not be made."""
        was = self._state
        self._input(EdgeInput.DISCONNECTED)
        self._actions.clear()  # they belonged to that connection
        self._forget_birth_due()
        self._forget_session()
        if was not in {EdgeState.DISCONNECTED, EdgeState.LEAVING}:  # leaving was told when it was decided
            self._events.append(Offline("connection_lost"))

    def close(self, now_ns: int) -> None:  # noqa: ARG002
        """End the session on purpose: NDEATH, then DISCONNECT (edge-node-intentional-disconnect-ndeath)."""
        was = self._state
        self._input(EdgeInput.CLOSE)
        if was not in {EdgeState.DISCONNECTED, EdgeState.LEAVING}:
            self._leave(Offline("closed"))

    def _leave(self, event: Offline) -> None:
        # QoS 0: an open QoS 1 window could hold it back until DISCONNECT has discarded the will. Before the NBIRTH
        # there is nothing to die (principles-birth-certificates-order: the birth is the first message).
        if self._seq is not None and self._bd_seq is not None:
            death = Message(self._topic(MessageType.NDEATH), codec.encode_death(self._bd_seq))
            self._actions.append(Publish(death))
        self._actions.append(Disconnect())
        self._forget_birth_due()
        self._events.append(event)
        self._rebirth_due_ns = self._host_silent_ns = None

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _input(self, received: EdgeInput) -> None:
        self._state = next_state(EDGE_TRANSITIONS, self._state, received)

    def _forget_birth_due(self) -> None:
        """A birth that nobody has read of yet is not due any more."""
        self._events = [event for event in self._events if not isinstance(event, BirthDue)]

    def _topic(self, message_type: MessageType, device_id: str | None = None) -> str:
        return self.descriptor.topic(message_type, device_id)

    def _table(self, device_id: str | None) -> AliasTable:
        table = self._tables.get(device_id)
        if table is None:
            what = "the node" if device_id is None else f"device {device_id!r}"
            raise LocalProtocolError(
                f"{what} is not born in this session",
                where=str(self.descriptor),
                expected="birth() or device_birth() first (tck-id-message-flow-device-birth-publish-nbirth-wait)",
            )
        return table

    def _time_ms(self, now_ns: int) -> int:
        """Times on payloads never go back inside a session, whatever the clock does."""
        return max(self._stamped_ms, now_ns // _NS_PER_MS)

    def _publish(self, topic: str, now_ns: int, encode: Callable[[int, int], bytes]) -> Message:
        # The number is kept only with its message: a message that cannot be encoded leaves no hole.
        seq = next_seq(self._seq or 0)
        now_ms = self._time_ms(now_ns)
        payload = encode(now_ms, seq)
        if len(payload) > codec.PAYLOAD_BYTES_MAX:
            raise too_large(topic, payload)
        self._seq = seq
        self._stamped_ms = now_ms
        message = Message(topic, payload)
        self._actions.append(Publish(message))
        return message

    def _control_metrics(self, now_ms: int) -> list[BirthMetric]:
        return [
            BirthMetric(name=BD_SEQ, datatype=DataType.INT64, value=self._bd_seq, timestamp_ms=now_ms),
            BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=False, timestamp_ms=now_ms),
            BirthMetric(name=SESSION_METRIC, datatype=DataType.STRING, value=self._session_id, timestamp_ms=now_ms),
        ]

    def _prepare(self, device_id: str | None, metrics: Sequence[BirthMetric], now_ms: int) -> list[BirthMetric]:
        """Check, give aliases, and put into time order (operational-behavior-data-publish-nbirth-order)."""
        names: set[str] = set()
        prepared = []
        for metric in metrics:
            size = len(metric.name.encode(errors="replace"))
            if metric.name in names or not 0 < size <= codec.NAME_BYTES_MAX:
                raise LocalProtocolError(
                    f"metric name {metric.name!r} of {device_id or 'the node'} is empty, too long or there twice",
                    expected=f"unique names of 1 to {codec.NAME_BYTES_MAX} bytes",
                )
            if metric.datatype not in METRIC_TYPES:
                raise LocalProtocolError(
                    f"metric {metric.name!r} has datatype {metric.datatype.label}", expected="a type that metrics have"
                )
            names.add(metric.name)
            alias = None if metric.name in CONTROL_METRICS else self._alias(device_id, metric.name, metric.datatype)
            time_ms = now_ms if metric.timestamp_ms is None else metric.timestamp_ms
            prepared.append(msgspec.structs.replace(metric, alias=alias, timestamp_ms=time_ms))
        prepared.sort(key=attrgetter("timestamp_ms"))
        return prepared

    def _alias(self, device_id: str | None, name: str, datatype: DataType) -> int:
        # Unique over the node and all its devices (payloads-alias-uniqueness), the same after a rebirth. A metric that
        # comes back with another type gets another alias: no held birth of this session can then misread its data.
        # The low byte is the bdSeq, so that the births of another session cannot resolve it either: a host that missed
        # the NBIRTH sees unknown metrics instead of wrong values. Never 0, which careless readers take for "no alias".
        fresh = ((len(self._aliases) + 1) * SEQ_MODULUS) + (self._bd_seq or 0)
        return self._aliases.setdefault((device_id, name, datatype), fresh)

    def _rebirth(self) -> None:
        self._rebirth_due_ns = None
        self._input(EdgeInput.REBIRTH_REQUESTED)
        self._events.append(BirthDue("rebirth"))

    def _receive_state(self, topic: str, payload: bytes, now_ns: int) -> None:
        try:
            state = decode_state(payload)
        except RemoteProtocolError as error:
            self._events.append(CommandIgnored(topic, str(error)))
            return
        if not self._primary_host.accept(state):
            return
        was = self._state
        if state.online != bool(self._primary_host_online):
            self._events.append(HostStateChanged(state.online, state.timestamp))
        self._primary_host_online = state.online
        self._input(EdgeInput.HOST_ONLINE if state.online else EdgeInput.HOST_OFFLINE)
        if self._state is EdgeState.BIRTH_DUE:
            self._host_silent_ns = None
        if was is EdgeState.WAITING_FOR_HOST and self._state is EdgeState.BIRTH_DUE:
            self._events.append(BirthDue("primary_host"))
        elif self._state is not was:
            self._forget_birth_due()
        if self._state is EdgeState.LEAVING:
            self._leave(Offline("primary_host_offline"))
        elif self._state is EdgeState.WAITING_FOR_HOST and (was is not self._state or self._leaves_offline_host):
            self._wait_for_host(now_ns)

    def _receive_command(self, topic: NodeTopic | DeviceTopic, payload: bytes, now_ns: int, *, retain: bool) -> None:
        if retain:  # a stored command is old: it must not act on what runs now
            self._events.append(CommandIgnored(str(topic), "retained"))
            return
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        table = self._tables.get(device_id)
        try:
            command = codec.decode_command(payload, table or AliasTable())
        except RemoteProtocolError as error:
            self._events.append(CommandIgnored(str(topic), str(error)))
            return
        metrics = []
        for metric in command.metrics:
            if metric.name != REBIRTH or device_id is not None:
                metrics.append(metric)
            elif metric.value is True:
                self._receive_rebirth_request(now_ns)
        if table is None:
            if metrics or command.rejected:
                self._events.append(CommandIgnored(str(topic), "not born yet"))
        elif metrics or command.rejected:
            self._events.append(CommandReceived(device_id, metrics, command.rejected))

    def _receive_rebirth_request(self, now_ns: int) -> None:
        # Requests while a birth is awaited are answered by that birth. While none is: at most one per interval.
        if self._state is not EdgeState.ONLINE or self._rebirth_due_ns is not None:
            return
        since_ns = now_ns - (self._born_at_ns or 0)
        if 0 <= since_ns < self._rebirth_interval_ns:
            self._rebirth_due_ns = now_ns + self._rebirth_interval_ns - since_ns
        else:
            self._rebirth()


_CONNECTED = frozenset(EdgeState) - {EdgeState.DISCONNECTED, EdgeState.CONNECTING, EdgeState.LEAVING}
