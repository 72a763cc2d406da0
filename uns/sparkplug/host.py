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

from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.codec import DEFAULT_LENIENCY, Leniency
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host_bounds import HostBounds, HostDelays
from uns.sparkplug.host_nodes import BirthSize, NodeState
from uns.sparkplug.host_rules import Arrived, HostRules
from uns.sparkplug.messages import (
    Action,
    Connect,
    Disconnect,
    HeldBirths,
    HostEvent,
    HostStateHealed,
    Message,
    OtherMessage,
    Publish,
    RebirthCause,
    RebirthRequested,
    Subscribe,
)
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.state import TIMESTAMP_MS_MAX, HostState, decode_state, encode_state, state_topic
from uns.sparkplug.topics import (
    ID_BYTES_MAX,
    NAMESPACE,
    EdgeNodeDescriptor,
    MessageType,
    StateTopic,
    Topic,
    is_id_too_long,
    parse_topic,
    unfit_character,
)
from uns.sparkplug.transitions import HOST_TRANSITIONS, HostInput, HostSessionState, next_state

__all__ = ["HostBounds", "HostSession"]

_NS_PER_MS = 1_000_000
_TOPICS_REMEMBERED_MAX = 50_000
_LISTENING = frozenset({HostSessionState.SUBSCRIBING, HostSessionState.ONLINE})
_HEAL_INTERVAL_NS = 10_000 * _NS_PER_MS  # a hostile writer of our STATE makes us reconnect this often at most


class HostSession:
    """One host at one broker.

    ``jitter(span)`` gives a number from 0 up to, not including, ``span``: it spreads rebirth requests, which then keep
    to an interval per node (it doubles while causes keep coming) and to a number per second over all nodes; with
    ``rebirths_per_second_max`` of 0 it never asks, as one that looks on beside another host.
    ``declared`` says of a node whether the installation names it: it is then never kept out by others.
    ``state_seen_ms`` is what :attr:`state_seen_ms` was at the end of the last life of this host.
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
        bounds: HostBounds | None = None,
        leniency: Leniency = DEFAULT_LENIENCY,
        declared: Callable[[EdgeNodeDescriptor], bool] = lambda edge_node: False,  # noqa: ARG005
        state_seen_ms: int = 0,
    ) -> None:
        self.sparkplug_host_id = sparkplug_host_id
        self._state_topic = state_topic(sparkplug_host_id)
        self._filters = tuple(filters)
        self._extra_filters = tuple(extra_filters)
        self._rebirths = RebirthLimiter(
            interval_min_ms=rebirth_interval_min_ms,
            interval_max_ms=rebirth_interval_max_ms,
            per_second_max=rebirths_per_second_max,
            jitter=jitter,
        )
        self._rules = HostRules(
            rebirths=self._rebirths,
            bounds=bounds or HostBounds(),
            leniency=leniency,
            declared=declared,
            delays=HostDelays(
                reorder_timeout_ns=reorder_timeout_ms * _NS_PER_MS,
                mark_wait_ns=mark_wait_ms * _NS_PER_MS,
                rebirth_spread_ns=rebirth_spread_ms * _NS_PER_MS,
                host_start_spread_ns=host_start_spread_ms * _NS_PER_MS,
            ),
        )
        self._view = self._rules.view
        self._state = HostSessionState.DISCONNECTED
        self._actions: list[Action] = []
        self._topics: dict[str, Topic] = {}
        self._timestamp_ms = 0  # of the STATE of this CONNECT
        self._state_seen_ms = min(
            state_seen_ms, TIMESTAMP_MS_MAX
        )  # the newest timestamp that anybody wrote to our STATE
        self._healed_at_ns: int | None = None
        self._heal_due_ns: int | None = None  # to connect anew for a newer STATE, later than at once

    # ── what it is like ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> HostSessionState:
        """Where the session stands."""
        return self._state

    @property
    def nodes(self) -> Mapping[EdgeNodeDescriptor, NodeState]:
        """Every edge node that was heard of or whose births are held. To be read, not changed."""
        return MappingProxyType(self._view.nodes)

    def actions(self) -> list[Action]:
        """Drain what the adapter has to do, in this order."""
        actions, self._actions = self._actions, []
        return actions

    def events(self) -> list[HostEvent]:
        """Drain what the application should know, in order of arrival."""
        events, self._view.events = self._view.events, []
        return events

    @property
    def warnings(self) -> Counter[str]:
        """Forgiven faults of peers, by tck-id."""
        return self._view.tally.warnings

    @property
    def violations(self) -> Counter[str]:
        """Dropped messages, by kind."""
        return self._view.tally.violations

    @property
    def leniencies(self) -> Counter[str]:
        """What was forgiven and has no tck-id, by kind."""
        return self._view.tally.leniencies

    @property
    def counters(self) -> Counter[str]:
        """Gaps and their ends, repeated messages, late deaths, nodes that gave way, rebirth requests by cause."""
        return self._view.tally.counters

    @property
    def births_of_strangers(self) -> BirthSize:
        """What the births of all nodes that are not declared take, with what is reserved for their rebirths."""
        return self._view.book.births_held

    @property
    def state_seen_ms(self) -> int:
        """The newest timestamp that anybody, we too, wrote to our STATE: edge nodes pass over an older one.

        Keep it on disk before the actions of :meth:`connect` and :meth:`close` are carried out, and give it to the next
        life: the clock may have stepped back meanwhile, and the broker may have lost what was retained.
        """
        return self._state_seen_ms

    def next_deadline_ns(self) -> int | None:
        """When ``receive_timer`` wants to be called; None: not at all."""
        deadlines = [] if (conclusion := self._rules.next_deadline_ns()) is None else [conclusion]
        if self._state is HostSessionState.ONLINE and (rebirth := self._rebirths.next_deadline_ns()) is not None:
            deadlines.append(rebirth)
        if self._state is HostSessionState.ONLINE and self._heal_due_ns is not None:
            deadlines.append(self._heal_due_ns)
        return min(deadlines, default=None)

    # ── the host's own session ───────────────────────────────────────────────────────────────────────────────────

    def hold_births(self, held: HeldBirths, now_ns: int = 0) -> None:
        """After a restart: take in what the store kept of one node. Its session stays unknown until it is named."""
        self._rules.hold_births(held, now_ns)

    def connect(self, now_ns: int) -> None:
        """Ask for a connection, with STATE offline as its will (operational-behavior-host-application-connect-will).

        Will and birth of one CONNECT share one timestamp: the time of the CONNECT, but never one that edge nodes would
        take for older than what they saw.
        """
        self._input(HostInput.CONNECT)
        self._heal_due_ns = None
        self._rules.receive_host_lost(now_ns)
        self._timestamp_ms = min(max(now_ns // _NS_PER_MS, self._state_seen_ms + 1), TIMESTAMP_MS_MAX)
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
        self._rules.receive_host_online(now_ns)
        if self._state_seen_ms > self._timestamp_ms:
            self._heal("the retained STATE is newer than this connection", now_ns, newer=True)

    def receive_disconnected(self, now_ns: int) -> None:
        """The connection is gone: everything known through it is stale (specification 5.3)."""
        self._input(HostInput.DISCONNECTED)
        self._actions.clear()
        self._rules.receive_host_lost(now_ns)

    def close(self, now_ns: int) -> None:
        """Publish STATE offline with the present time, then DISCONNECT (host-application-termination).

        What is still received is passed over, deaths too: so all that is known is stale from here on, and not only
        when the connection is gone.
        """
        was = self._state
        self._input(HostInput.CLOSE)
        if was in {HostSessionState.DISCONNECTED, HostSessionState.LEAVING}:
            return
        if was is HostSessionState.ONLINE:
            self._timestamp_ms = max(now_ns // _NS_PER_MS, self._timestamp_ms)
            self._state_seen_ms = max(self._state_seen_ms, self._timestamp_ms)
            self._actions.append(Publish(self._state_message(online=False)))
        self._actions.append(Disconnect())
        self._rules.receive_host_lost(now_ns)

    def receive_timer(self, now_ns: int) -> None:
        """A deadline has come: reorder timeouts end, waiting rebirth requests go out, STATE is healed."""
        self._rules.receive_timer(now_ns)
        self._send_rebirths(now_ns)
        if self._state is HostSessionState.ONLINE and self._heal_due_ns is not None and self._heal_due_ns <= now_ns:
            self._heal("STATE is still newer than this connection", now_ns, newer=True)

    def request_rebirth(self, edge_node: EdgeNodeDescriptor, cause: RebirthCause, now_ns: int) -> None:
        """Ask a node for its births, within the limits."""
        self._rebirths.ask(edge_node, cause, now_ns)
        self._send_rebirths(now_ns)

    def publish_command(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, metrics: Sequence[BirthMetric], now_ns: int
    ) -> None:
        """NCMD (``device_id`` None) or DCMD: by alias where the birth gave one, at QoS 0, never retained.

        Names and types are those of the birth that stands (operational-behavior-data-commands-ncmd-metric-name,
        -value, and of dcmd); raises :class:`LocalProtocolError` for others, and where node or device is not online:
        it may have been born again unheard, and the alias be another metric's by now.
        """
        self._input(HostInput.PUBLISH)
        node = self._view.nodes.get(edge_node)
        device = None if node is None or device_id is None else node.devices.get(device_id)
        where = str(edge_node) if device_id is None else f"{edge_node}/{device_id}"
        if (node is not None and not node.online) or (device is not None and not device.online):
            raise LocalProtocolError(
                "a command to what is not online",
                where=where,
                expected="a birth that stands",
                next_step="wait for its birth, or ask for it: request_rebirth()",
            )
        table = (node.table if node else None) if device_id is None else (device.table if device else None)
        named = table.by_name if table else {}
        prepared = []
        for metric in metrics:
            known = named.get(metric.name)
            if known is None or known.datatype is not metric.datatype:
                expected = "a metric of its birth" if known is None else f"its datatype there, {known.datatype.label}"
                raise LocalProtocolError(
                    f"a command to {metric.name!r} as {metric.datatype.label}",
                    where=where,
                    expected=expected,
                )
            prepared.append(msgspec.structs.replace(metric, alias=known.alias))
        topic = edge_node.topic(MessageType.NCMD if device_id is None else MessageType.DCMD, device_id)
        payload = codec.encode_command(prepared, timestamp_ms=now_ns // _NS_PER_MS)
        self._actions.append(Publish(Message(topic, payload)))

    # ── what comes in ────────────────────────────────────────────────────────────────────────────────────────────

    def receive_message(self, topic: str, payload: bytes, *, retain: bool, now_ns: int, raw: object = None) -> None:
        """A message came. ``raw`` is the caller's own and comes back with the event."""
        if self._state not in _LISTENING:
            return  # of a connection that is over
        parsed = self._topics.get(topic)
        if parsed is None:
            if not topic.startswith(f"{NAMESPACE}/"):
                self._view.events.append(OtherMessage(topic, payload, retain, raw))
                return
            if is_id_too_long(topic):
                shown = f"{topic[:ID_BYTES_MAX]}…"
                self._view.violation("id_bytes_max", shown, f"an id of more than {ID_BYTES_MAX} bytes: {shown}")
                return
            if (fault := unfit_character(topic)) is not None:
                shown = ascii(topic)
                self._view.violation("id_characters", shown, f"an id with {fault}: {shown}")
                return
            try:
                parsed = self._remember_topic(topic)
            except RemoteProtocolError as error:
                self._view.violation("topic", topic, error)
                return
        if isinstance(parsed, StateTopic):
            if topic == self._state_topic:
                self._receive_own_state(payload, retain=retain, now_ns=now_ns)
        elif retain:
            # Stored, hence of some time ago: never live (some peers publish births and deaths retained).
            self._view.warn(parsed.edge_node, "tck-id-topics-nbirth-mqtt", "retained messages are passed over")
        else:
            self._rules.receive(Arrived(parsed, payload, now_ns, raw))
            self._send_rebirths(now_ns)

    def name_session(self, edge_node: EdgeNodeDescriptor, session_id: str, now_ns: int) -> bool:
        """A mark of this session came. True: its births are held, DATA that follows is decoded."""
        if self._state not in _LISTENING:
            return False  # what stood before the mark was passed over
        known = self._rules.name_session(edge_node, session_id, now_ns)
        self._send_rebirths(now_ns)
        return known

    def lost_since_mark(self, edge_node: EdgeNodeDescriptor) -> bool:
        """Whether ``seq`` told of something missing since the mark before; call once for each mark.

        Counts of messages cannot tell where a network lets DATA overtake the mark that it belongs behind.
        """
        node = self._view.nodes.get(edge_node)
        if node is None:
            return False
        before, node.holes_at_mark = node.holes_at_mark, node.tracker.holes
        return node.holes_at_mark > before

    def _remember_topic(self, topic: str) -> Topic:
        parsed = parse_topic(topic)
        if len(self._topics) >= _TOPICS_REMEMBERED_MAX:
            self._topics.clear()
        self._topics[topic] = parsed
        return parsed

    def _receive_own_state(self, payload: bytes, *, retain: bool, now_ns: int) -> None:
        """Somebody wrote to our STATE: an old will, another host with our id, a mistake."""
        try:
            state = decode_state(payload)
        except RemoteProtocolError as error:
            if self._state is HostSessionState.ONLINE:
                self._heal(str(error) if payload else "the retained STATE was deleted", now_ns, newer=False)
            return
        self._state_seen_ms = max(self._state_seen_ms, state.timestamp)
        newer = state.timestamp > self._timestamp_ms
        text = f"STATE says online={state.online} at {state.timestamp}, this connection is of {self._timestamp_ms}"
        if self._state is not HostSessionState.ONLINE:
            return  # our birth will follow
        if not state.online:
            # A retained copy that is not newer is the will of the connection before, at every start.
            self._heal(text, now_ns, newer=newer, tell=newer or not retain)
        elif state.timestamp < self._timestamp_ms:
            # Retained, it would be passed over by edge nodes that saw ours, and keep them waiting.
            self._heal(text, now_ns, newer=False, tell=not retain)
        elif newer:
            # Its own host will heal it, too: only the older of two gives way, or they would never end.
            self._view.warn(None, "tck-id-operational-behavior-host-application-host-id", f"{text}: is the id in use?")

    def _heal(self, text: str, now_ns: int, *, newer: bool, tell: bool = True) -> None:
        # tck-id-message-flow-hid-sparkplug-state-message-delivered: at once, with the timestamp of this CONNECT.
        self._actions.append(Publish(self._state_message(online=True)))
        # Edge nodes that saw a newer timestamp pass over this one; only a new CONNECT has a newer one.
        reconnecting = newer and (self._healed_at_ns is None or abs(now_ns - self._healed_at_ns) >= _HEAL_INTERVAL_NS)
        if reconnecting:
            self._healed_at_ns = now_ns
            self.close(now_ns)
        elif newer and self._healed_at_ns is not None:  # nobody may write again, and edge nodes wait for us
            self._heal_due_ns = self._healed_at_ns + _HEAL_INTERVAL_NS
        if tell:
            self._view.events.append(HostStateHealed(text, reconnecting))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _input(self, received: HostInput) -> None:
        self._state = next_state(HOST_TRANSITIONS, self._state, received)

    def _state_message(self, *, online: bool) -> Message:
        return Message(self._state_topic, encode_state(HostState(online, self._timestamp_ms)), qos=1, retain=True)

    def _send_rebirths(self, now_ns: int) -> None:
        if self._state is not HostSessionState.ONLINE:
            return
        for edge_node, cause in self._rebirths.take_due(now_ns):
            node = self._view.nodes.get(edge_node)
            # Some peers cannot read it without: docs/decisions/0015-a-rebirth-request-says-its-type.md
            foreign = node is None or not node.ours
            command = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
            payload = codec.encode_command([command], timestamp_ms=now_ns // _NS_PER_MS, with_datatype=foreign)
            self._actions.append(Publish(Message(edge_node.topic(MessageType.NCMD), payload)))
            self._view.tally.counters[f"rebirth_requests_{cause}"] += 1
            self._view.events.append(RebirthRequested(edge_node, cause))
