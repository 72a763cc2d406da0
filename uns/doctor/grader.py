"""The grader: takes every message as it came, judges it by the table, and remembers what later ones are held against.

Called by whoever listens: ``receive`` for each message in its order, ``receive_timer`` about once a second,
``receive_interruption`` after a lost connection, ``look_again`` before it subscribes once more to see what the broker
keeps, and ``finish`` when that has come. ``report`` may be asked for at any time.

Every collection has a bound with a name; what did not fit is counted in the report, never silent. Messages are hostile:
nothing in a topic or payload raises.
"""

from __future__ import annotations

from uns.delivery.messages import CONFIRM_ROOT, MARK_ROOT, decode_confirm, decode_mark, parse_mark_topic
from uns.doctor.budget import Budget
from uns.doctor.following import remember_message, remember_state
from uns.doctor.memory import Bounds, HostMemory, NodeMemory
from uns.doctor.reading import (
    METRICS_MAX,
    PAYLOAD_BYTES_MAX,
    RawPayload,
    Unreadable,
    inflate,
    read_metric,
    read_payload,
)
from uns.doctor.report import printable
from uns.doctor.rules import BY_KIND, BY_KIND_RETAINED, REBIRTH_ANSWER_S, RULES, rebirth_overdue
from uns.doctor.rules_sessions import death_of_another
from uns.doctor.sight import (
    BIRTHS,
    COMMANDS,
    DATA,
    DEATHS,
    PAYLOADS,
    STATE,
    TOPIC,
    Outcome,
    Rule,
    Sight,
    StateView,
    read_state,
)
from uns.doctor.verdicts import Verdicts
from uns.errors import RemoteProtocolError
from uns.sparkplug.topics import (
    NAMESPACE,
    DeviceTopic,
    EdgeNodeDescriptor,
    MessageType,
    NodeTopic,
    StateTopic,
    is_id_too_long,
    parse_topic,
)

__all__ = [
    "BIRTH_METRICS_PER_SECOND_MAX",
    "BIRTH_SECONDS_SAVED",
    "CERTIFICATES_FILTER",
    "DATA_METRICS_PER_SECOND_MAX",
    "HOSTS_MAX",
    "LEGACY_STATE_FILTER",
    "NODES_MAX",
    "TOPICS_MAX",
    "UNCONFIRMED_S",
    "Grader",
]

NODES_MAX = 2_000
HOSTS_MAX = 100
TOPICS_MAX = 10_000  # topics that the broker keeps a message on, as far as we remember them
DATA_METRICS_PER_SECOND_MAX = 20_000  # read whole; of DATA beyond it the head alone, so that we do not fall behind
BIRTH_METRICS_PER_SECOND_MAX = 30_000
BIRTH_SECONDS_SAVED = 10  # births come all at once, after a broker's restart: so many seconds' worth may
METRIC_BYTES = 100  # of a payload count as one metric at least: few metrics may hold much
DEATH_BYTES_MAX = 256  # a death of so little is always read
UNCONFIRMED_S = 10  # a mark that waits longer is worth a note
STATE_BYTES_MAX = 4096
CERTIFICATES_FILTER = "$sparkplug/certificates/#"
LEGACY_STATE_FILTER = "STATE/+"

_CERTIFICATES = "$sparkplug/certificates/"
_COMPRESSED = "SPBV1.0_COMPRESSED"
_S = 1_000_000_000
_MS = 1_000_000


class Grader:
    """See the module. ``now_ns`` is wall time; it may step."""

    def __init__(self, now_ns: int) -> None:
        self.began_ns = now_ns
        self.nodes: dict[EdgeNodeDescriptor, NodeMemory] = {}
        self.hosts: dict[str, HostMemory] = {}
        self.bounds = Bounds()
        self.verdicts = Verdicts()
        self.messages = 0  # live; what the broker kept comes as often as we subscribe
        self.retained = 0
        self.cleared = 0
        self.bytes = 0
        self.payload_bytes_max = 0
        self.births_unread = 0
        self.payloads_too_large = 0
        self.nodes_not_remembered = 0
        self.topics_too_long = 0
        self.interruptions = 0
        self.qos_0_seen = False
        self.qos_1_seen = False
        self.looked_again = False
        self.finished = False
        self.certificates: set[tuple[str, str, str]] = set()  # group, message type and edge node
        self.aware = False
        self._kept: set[str] = set()
        self._own: set[tuple[str, int]] = set()  # what the listener itself sent: topic and hash
        self._live_kinds: set[tuple[EdgeNodeDescriptor, str]] = set()
        self._folded: dict[str, str] = {}
        self._data_budget = Budget(DATA_METRICS_PER_SECOND_MAX, 1, now_ns)
        self._birth_budget = Budget(BIRTH_METRICS_PER_SECOND_MAX, BIRTH_SECONDS_SAVED, now_ns)
        self._number = 0  # of the newest message

    @property
    def data_metrics_unread(self) -> int:
        """Metrics of DATA that came faster than they are read."""
        return self._data_budget.refused

    # --- from the world ------------------------------------------------------------------------------------------

    def receive(self, topic: str, payload: bytes, qos: int, retain: bool, now_ns: int) -> None:
        """Judge one message. ``retain`` is the flag of its delivery: it came because we subscribed."""
        if topic.startswith((f"{MARK_ROOT}/", f"{CONFIRM_ROOT}/")):
            self._receive_mark(topic, payload, now_ns)
            return
        if topic.startswith("$"):
            self._receive_certificate(topic, payload, retain)
            return
        self._number += 1
        self._count(len(payload), qos, retain)
        if topic.startswith("STATE/"):
            self._receive_legacy_state(topic, payload)
            return
        if retain and not payload:
            return
        sight = self._look(topic, payload, qos, retain, now_ns)
        if not payload and sight.kind in PAYLOADS:
            self._receive_clearing(sight)
            return
        if retain and not self._is_news(sight, payload):
            return
        if not retain and sight.node is not None:
            self._settle_death(sight, sight.node)
        own = (topic, hash(payload)) in self._own
        for rule in () if own else (BY_KIND_RETAINED if retain else BY_KIND)[sight.kind]:
            outcome = rule.check(sight)
            if outcome is not None:
                self._record(rule, sight.meant, sight.subject, outcome, sight.topic, now_ns)
        self._remember(sight, payload)

    def _count(self, size: int, qos: int, retain: bool) -> None:
        # What was kept comes at the lower QoS of two; it proves that this broker does not lower QoS 1, nothing else.
        self.qos_1_seen |= qos > 0
        self.payload_bytes_max = max(self.payload_bytes_max, size)
        if retain:
            self.retained += 1
            return
        self.messages += 1
        self.bytes += size
        self.qos_0_seen |= qos == 0

    def _receive_clearing(self, sight: Sight) -> None:
        """No bytes at all: whoever deletes what the broker keeps sends this, and no node. Nobody is blamed."""
        self.cleared += 1
        self._kept.discard(sight.topic)
        if sight.node is not None:
            sight.node.cleared += 1

    def _settle_death(self, sight: Sight, node: NodeMemory) -> None:
        """The node goes on after an NDEATH of an earlier bdSeq: that was a late Will. Born anew: it was its own."""
        doubt = node.doubtful
        if doubt is None or sight.kind in COMMANDS:
            return
        if sight.kind == "NDEATH":
            node.doubtful = None if sight.bd_seq == doubt.born_as else doubt
            return
        node.doubtful = None
        if sight.kind == "NBIRTH" and sight.bd_seq not in {None, doubt.born_as}:
            seen = death_of_another(doubt.bd_seq, doubt.born_as)
            topic = node.descriptor.topic(MessageType.NDEATH)
            number = doubt.message
            self._record(RULES["bdseq.death"], "NDEATH", sight.subject, seen, topic, doubt.now_ns, number=number)

    def _is_news(self, sight: Sight, payload: bytes) -> bool:
        """Whether what the broker kept was not graded before: it hands it out again when we look again."""
        if sight.kind != STATE:
            if sight.topic in self._kept or len(self._kept) >= TOPICS_MAX:
                return False
            self._kept.add(sight.topic)
        elif sight.host is not None and sight.host.newest == hash(payload):
            sight.host.retained_seen = True
            if sight.host.online is None and sight.state is not None:
                sight.host.online = sight.state.online  # it was forgotten while we were away, and holds still
            return False
        return True

    def expect_own(self, topic: str, payload: bytes) -> None:
        """The listener is about to send this: it comes back, is followed, and blamed on nobody."""
        self._own.add((topic, hash(payload)))

    def receive_timer(self, now_ns: int) -> None:
        """Find what did not come in time."""
        for node in self.nodes.values():
            overdue = rebirth_overdue(node, now_ns)
            if overdue is not None:
                topic = node.descriptor.topic(MessageType.NBIRTH)
                self._record(
                    RULES["rebirth.answered"], "NBIRTH", str(node.descriptor), overdue, topic, now_ns, number=0
                )
            asked = node.rebirth_asked_ns
            if asked is not None and (node.life == "dead" or now_ns - asked > REBIRTH_ANSWER_S * _S):
                node.rebirth_asked_ns = None

    def receive_interruption(self) -> None:
        """The connection was lost: what was missed meanwhile is nobody's fault."""
        self.interruptions += 1
        self.looked_again = False
        for node in self.nodes.values():
            node.break_off(self.bounds)
        for host in self.hosts.values():
            host.online = None
            host.retained_seen = False

    def look_again(self) -> None:
        """The listener subscribes once more: what the broker keeps is delivered again, with the retain flag."""
        self.looked_again = True
        for host in self.hosts.values():
            host.retained_seen = False

    def finish(self, now_ns: int) -> None:
        """Judge what takes the whole time. Once."""
        if self.finished:
            return
        self.finished = True
        self.receive_timer(now_ns)
        if self.looked_again:
            self._judge_retain(now_ns)
        self._judge_hosts(now_ns)
        self._judge_changes(now_ns)

    # --- looking -------------------------------------------------------------------------------------------------

    def _look(self, topic: str, payload: bytes, qos: int, retain: bool, now_ns: int) -> Sight:
        too_long = is_id_too_long(topic)
        self.topics_too_long += too_long
        try:
            parsed = parse_topic(topic)
        except RemoteProtocolError:
            parsed = None
        kind = TOPIC if parsed is None else STATE if isinstance(parsed, StateTopic) else parsed.message_type.value
        sight = Sight(number=self._number, topic=topic, kind=kind, now_ns=now_ns, qos=qos, retain=retain)
        match parsed:
            case StateTopic(host_id):
                sight.subject = f"host {host_id}"
                sight.host = None if too_long else self._host(host_id)
                if len(payload) > STATE_BYTES_MAX:
                    sight.state = StateView(f"{len(payload)} bytes", None, None, legacy=False)
                else:
                    sight.state = read_state(payload) if payload else None
            case NodeTopic() | DeviceTopic():
                self._look_at_node(sight, parsed, payload, too_long=too_long)
            case _:
                sight.subject = f"topic {printable(topic, 120)}"
        return sight

    def _look_at_node(self, sight: Sight, parsed: NodeTopic | DeviceTopic, payload: bytes, *, too_long: bool) -> None:
        first_of_node = parsed.edge_node not in self.nodes
        node = None if too_long else self._node(parsed.edge_node, sight.now_ns)
        sight.node = node
        sight.subject = str(parsed.edge_node)
        if sight.kind in COMMANDS:
            sight.subject = f"commands to {parsed.edge_node}"
        if isinstance(parsed, DeviceTopic):
            sight.device_id = parsed.device_id
        if node is not None:
            devices = len(node.devices)
            sight.device = node.device(sight.device_id, self.bounds)
            self._judge_ids(sight, node, first_of_node=first_of_node, first_of_device=len(node.devices) > devices)
        if len(payload) > PAYLOAD_BYTES_MAX:
            self.payloads_too_large += 1
            return
        try:
            sight.raw = head = read_payload(payload)
            if head.uuid == _COMPRESSED:
                head, payload = self._inflate(sight, payload)
        except Unreadable as error:
            sight.payload_problem = f"{len(payload)} bytes: a message that {error}"
            return
        budget = self._data_budget if sight.kind in {*DATA, *COMMANDS} else self._birth_budget
        # A death is small, and unread it would take down whom it does not mean.
        free = sight.kind in DEATHS and len(payload) <= DEATH_BYTES_MAX
        cost = max(head.metrics_total, len(payload) // METRIC_BYTES)
        if sight.retain or not (free or budget.take(cost, sight.now_ns)):
            self.births_unread += budget is self._birth_budget and not sight.retain
            return
        sight.metrics = [read_metric(payload, start, end) for start, end in head.spans]
        sight.whole = head.metrics_total <= METRICS_MAX and head.body_bytes == 0
        sight.read_control_metrics()

    @staticmethod
    def _inflate(sight: Sight, payload: bytes) -> tuple[RawPayload, bytes]:
        """The payload inside; its outer timestamp and seq stand."""
        outer = sight.raw
        assert outer is not None  # noqa: S101 - set by the caller
        inner = inflate(payload[outer.body_start : outer.body_start + outer.body_bytes])
        head = read_payload(inner)
        sight.raw = RawPayload(
            timestamp=head.timestamp if outer.timestamp is None else outer.timestamp,
            seq=head.seq if outer.seq is None else outer.seq,
            uuid=head.uuid,
            body_start=0,
            body_bytes=0,
            spans=head.spans,
            metrics_total=head.metrics_total,
            faults=head.faults,
        )
        return sight.raw, inner

    def _judge_ids(self, sight: Sight, node: NodeMemory, *, first_of_node: bool, first_of_device: bool) -> None:
        """Ids that are told apart by case alone: once for each node, and for each device of it."""
        group, name = node.descriptor.group_id, str(node.descriptor)
        outcomes: list[Outcome] = []
        if first_of_node:
            first_group = self._folded.setdefault(f"{group.lower()}/", group)
            first = self._folded.setdefault(name.lower(), name)
            told = f"{first!r} and {name!r}" if first != name else f"group {first_group!r} and {group!r}"
            outcomes.append((first, first_group) == (name, group) or told)
        if sight.device_id is not None and first_of_device:
            twin = node.folded.setdefault(sight.device_id.lower(), sight.device_id)
            outcomes.append(twin == sight.device_id or f"device {twin!r} and {sight.device_id!r}")
        for outcome in outcomes:
            self._record(RULES["ids.folded"], sight.kind, str(node.descriptor), outcome, sight.topic, sight.now_ns)

    def _node(self, descriptor: EdgeNodeDescriptor, now_ns: int) -> NodeMemory | None:
        node = self.nodes.get(descriptor)
        if node is None:
            if len(self.nodes) >= NODES_MAX:
                self.nodes_not_remembered += 1
                return None
            node = self.nodes[descriptor] = NodeMemory(descriptor, now_ns)
        return node

    def _host(self, host_id: str) -> HostMemory | None:
        host = self.hosts.get(host_id)
        if host is None and len(self.hosts) < HOSTS_MAX:
            host = self.hosts[host_id] = HostMemory(host_id)
        return host

    # --- remembering ---------------------------------------------------------------------------------------------

    def _remember(self, sight: Sight, payload: bytes) -> None:
        if sight.kind == STATE:
            if sight.host is not None and sight.state is not None:
                sight.host.newest = hash(payload)
                remember_state(sight.host, sight.state, retain=sight.retain, now_ns=sight.now_ns)
        elif sight.node is not None and not sight.retain:
            self._live_kinds.add((sight.node.descriptor, sight.kind))
            remember_message(sight.node, sight, len(payload), self.bounds)

    def _receive_mark(self, topic: str, payload: bytes, now_ns: int) -> None:
        """Marks and answers of our own gateways: they show where an access list swallows DATA or answers."""
        try:
            if topic.startswith(MARK_ROOT):
                mark = decode_mark(payload)
                node = self._node(parse_mark_topic(topic), now_ns)
                if node is not None:
                    node.marks += 1
                    node.marks_without_data += mark.messages > 0 and node.data_since_mark == 0
                    node.data_since_mark = 0
                    if node.first_unconfirmed_ns is None:
                        node.first_unconfirmed_ns = now_ns
            else:
                confirm = decode_confirm(payload)
                node = self._node(parse_mark_topic(MARK_ROOT + topic.removeprefix(CONFIRM_ROOT)), now_ns)
                if node is not None:
                    node.confirms += 1
                    node.refusals += not confirm.ok
                    node.first_unconfirmed_ns = None
        except RemoteProtocolError:
            return

    def _receive_certificate(self, topic: str, payload: bytes, retain: bool) -> None:
        if not topic.startswith(_CERTIFICATES) or not payload:
            return
        self.aware = True
        if (retain or not self.looked_again) and len(self.certificates) < TOPICS_MAX:
            self.certificates |= _senders({topic.removeprefix(_CERTIFICATES)})

    def _receive_legacy_state(self, topic: str, payload: bytes) -> None:
        host = self._host(topic.removeprefix("STATE/")) if not is_id_too_long(topic) else None
        if host is not None:
            host.legacy = printable(payload[:16].decode(errors="replace"))

    # --- judging over time ---------------------------------------------------------------------------------------

    def _judge_retain(self, now_ns: int) -> None:
        rule = RULES["retain.off"]
        certificate = RULES["certificate.there"]
        kept = _senders(self._kept)
        for descriptor, kind in sorted(self._live_kinds):
            topic = descriptor.topic(MessageType(kind), "+" if kind.startswith("D") else None)
            sender = (descriptor.group_id, kind, descriptor.edge_node_id)
            if sender not in kept:
                subject = f"commands to {descriptor}" if kind in COMMANDS else str(descriptor)
                self._record(rule, kind, subject, True, topic, now_ns, number=0)
            if self.aware and kind in BIRTHS and len(self.certificates) < TOPICS_MAX:
                there = sender in self.certificates
                seen = there or f"no certificate of {topic}"
                self._record(certificate, kind, "broker", seen, topic, now_ns, number=0)

    def _judge_hosts(self, now_ns: int) -> None:
        for host in self.hosts.values():
            subject, topic = f"host {host.host_id}", f"{NAMESPACE}/STATE/{host.host_id}"
            if host.v3_seen:
                self._record(RULES["state.topic"], STATE, subject, True, topic, now_ns, number=0)
            elif host.legacy:
                seen = f"STATE/{host.host_id} with {host.legacy!r} of version 2.2, and no spBv1.0/STATE/{host.host_id}"
                self._record(RULES["state.topic"], STATE, subject, seen, f"STATE/{host.host_id}", now_ns, number=0)
            if self.looked_again and host.online is not None:
                key = "state.retained" if host.online else "state.death_retained"
                seen_kept: Outcome = host.retained_seen or "the broker keeps none"
                self._record(RULES[key], STATE, subject, seen_kept, topic, now_ns, number=0)

    def _judge_changes(self, now_ns: int) -> None:
        rule = RULES["data.changes"]
        for node in self.nodes.values():
            for kind, (samples, unchanged) in node.changes.items():
                if samples < node.CHANGES_MIN:
                    continue
                share = unchanged / samples
                outcome: Outcome = share <= 0.9 or f"{unchanged} of {samples} values were those of before"
                topic = node.descriptor.topic(MessageType(kind), "+" if kind == "DDATA" else None)
                self._record(rule, kind, str(node.descriptor), outcome, topic, now_ns, number=0)

    def _record(  # noqa: PLR0917
        self,
        rule: Rule,
        kind: str,
        subject: str,
        outcome: Outcome,
        topic: str,
        now_ns: int,
        *,
        number: int | None = None,
    ) -> None:
        """``number`` is that of the message, where it was an earlier one; 0 for what only the whole watch shows."""
        message = self._number if number is None else number
        self.verdicts.record(rule, kind, subject, outcome, topic=topic, message=message, now_ns=now_ns)


def _senders(topics: set[str]) -> set[tuple[str, str, str]]:
    """Group, message type and edge node of each topic."""
    return {(levels[1], levels[2], levels[3]) for topic in topics if len(levels := topic.split("/")) > 3}
