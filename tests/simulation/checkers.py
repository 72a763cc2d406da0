"""What the standard and the design promise of the wire, as checkers that raise :class:`BrokenPromiseError`.

They read payloads with the generated classes, not with our codec, so that a mistake in the codec cannot hide itself.
Each names the requirements it stands for; ``test_planted.py`` breaks each once.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from schemas.sparkplug_b_pb2 import Payload
from tests.simulation.broker import Connection
from tests.simulation.plant import HOST_ID
from tests.simulation.world import MS, SECOND
from uns.sparkplug.messages import Message

__all__ = ["CHECKERS", "BrokenPromiseError", "Checker", "Seen", "WireTap"]

BOOLEAN, INT64, STRING = 11, 4, 12
REBIRTH = "Node Control/Rebirth"
BIRTHS = {"NBIRTH", "DBIRTH"}
DATA = {"NDATA", "DDATA"}
EDGE_TYPES = {"NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"}
STATE_TOPIC = f"spBv1.0/STATE/{HOST_ID}"


class BrokenPromiseError(AssertionError):
    """A checker fired."""

    def __init__(self, checker: str, rule: str, text: str) -> None:
        self.checker = checker
        self.rule = rule
        super().__init__(f"{checker}: {rule}: {text}")


class Seen:
    """One message on the wire, read once for all checkers."""

    __slots__ = ("device", "kind", "message", "node", "payload", "topic")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.topic = message.topic
        levels = message.topic.split("/")
        self.kind, self.node, self.device = "", "", None
        self.payload: Any = None
        if levels[0] == "spBv1.0":
            if levels[1] == "STATE":
                self.kind, self.payload = "STATE", json.loads(message.payload)
            else:
                self.kind, self.node = levels[2], f"{levels[1]}/{levels[3]}"
                self.device = levels[4] if len(levels) > 4 else None
                self.payload = Payload.FromString(message.payload)
        elif levels[1] in ("_mark", "_confirm"):
            self.kind, self.node = levels[1], "/".join(levels[2:])
            self.payload = json.loads(message.payload)

    @property
    def where(self) -> str:
        return self.topic


class Checker:
    """Base: sees everything, says nothing."""

    tck_ids: ClassVar[tuple[str, ...]] = ()

    def on_connect(self, connection: Connection, now_ns: int) -> None: ...
    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None: ...
    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None: ...
    def on_disconnect(self, connection: Connection, now_ns: int) -> None: ...

    def require(self, condition: object, rule: str, text: str) -> None:
        if not condition:
            raise BrokenPromiseError(type(self).__name__, rule, text)


def will_of(connection: Connection) -> Message:
    """The will; a checker asks only where there has to be one."""
    if connection.will is None:
        raise BrokenPromiseError("will", "every CONNECT carries a will", connection.client_id)
    return connection.will


def is_edge(connection: Connection) -> bool:
    return connection.will is not None and "/NDEATH/" in connection.will.topic


def is_host(connection: Connection) -> bool:
    return connection.will is not None and "/STATE/" in connection.will.topic


class SequenceChecker(Checker):
    """seq: 0 at NBIRTH, then one more for each message of the connection, modulo 256; none in NDEATH and commands."""

    tck_ids = (
        "tck-id-topics-nbirth-seq-num",
        "tck-id-payloads-sequence-num-always-included",
        "tck-id-payloads-sequence-num-incrementing",
        "tck-id-topics-ndeath-seq",
        "tck-id-payloads-ncmd-seq",
    )

    def __init__(self) -> None:
        self.last: dict[int, int] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind in {"NDEATH", "NCMD", "DCMD"}:
            self.require(not seen.payload.HasField("seq"), "tck-id-topics-ndeath-seq", f"seq in {seen.where}")
        elif seen.kind in EDGE_TYPES:
            self.require(
                seen.payload.HasField("seq"), "tck-id-payloads-sequence-num-always-included", f"none in {seen.where}"
            )
            seq = seen.payload.seq
            if seen.kind == "NBIRTH":
                self.require(seq == 0, "tck-id-topics-nbirth-seq-num", f"NBIRTH with seq {seq}")
            else:
                expected = (self.last.get(connection.number, -1) + 1) % 256
                self.require(
                    seq == expected,
                    "tck-id-payloads-sequence-num-incrementing",
                    f"{seen.where} has seq {seq}, expected {expected}",
                )
            self.last[connection.number] = seq


class BirthOrderChecker(Checker):
    """NBIRTH is first, DBIRTHs follow at once, DATA only after all of them and only of what is born."""

    tck_ids = (
        "tck-id-principles-birth-certificates-order",
        "tck-id-payloads-dbirth-order",
        "tck-id-payloads-ddata-order",
        "tck-id-message-flow-device-birth-publish-nbirth-wait",
        "tck-id-operational-behavior-data-commands-rebirth-action-2",
    )

    def __init__(self) -> None:
        self.born: dict[int, set[str]] = {}
        self.known: dict[int, set[str]] = {}
        self.birthing: set[int] = set()

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if not is_edge(connection):
            return
        number = connection.number
        if seen.kind == "NBIRTH":
            self.born[number] = set()
            self.birthing.add(number)
            return
        self.require(
            number in self.born,
            "tck-id-principles-birth-certificates-order",
            f"{seen.where} before any NBIRTH of connection {number}",
        )
        known = self.known.setdefault(number, set())
        if seen.kind == "DBIRTH":
            self.born[number].add(seen.device or "")
            known.add(seen.device or "")
            return
        if seen.kind in DATA or seen.kind == "_mark":
            self.birthing.discard(number)
        if seen.kind == "DDEATH":
            self.born[number].discard(seen.device or "")
            known.discard(seen.device or "")
        if seen.kind in DATA:
            missing = known - self.born[number]
            self.require(not missing, "tck-id-payloads-dbirth-order", f"{seen.where} before the DBIRTH of {missing}")
        if seen.kind == "DDATA":
            self.require(
                seen.device in self.born[number], "tck-id-payloads-ddata-order", f"{seen.where} of a device not born"
            )


class BdSeqChecker(Checker):
    """bdSeq: one more at each CONNECT, through every crash; the same in will, NBIRTH, rebirths and NDEATH."""

    tck_ids = (
        "tck-id-topics-nbirth-bdseq-increment",
        "tck-id-topics-nbirth-bdseq-matching",
        "tck-id-payloads-nbirth-bdseq-repeat",
        "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
        "tck-id-payloads-ndeath-bdseq",
    )

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if not is_edge(connection):
            return
        bd_seq = self.read(Payload.FromString(will_of(connection).payload), "the will")
        last = self.last.get(connection.client_id)
        expected = 0 if last is None else (last + 1) % 256
        self.require(
            bd_seq == expected, "tck-id-topics-nbirth-bdseq-increment", f"CONNECT with {bd_seq}, expected {expected}"
        )
        self.last[connection.client_id] = bd_seq

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if is_edge(connection) and seen.kind in {"NBIRTH", "NDEATH"}:
            will = self.read(Payload.FromString(will_of(connection).payload), "the will")
            found = self.read(seen.payload, seen.where)
            self.require(found == will, "tck-id-topics-nbirth-bdseq-matching", f"{seen.where} {found}, will {will}")

    def read(self, payload: Any, where: str) -> int:
        found = [metric for metric in payload.metrics if metric.name == "bdSeq"]
        self.require(len(found) == 1, "tck-id-topics-nbirth-bdseq-included", f"{len(found)} metrics bdSeq in {where}")
        (metric,) = found
        self.require(metric.datatype == INT64, "bdSeq is Int64", f"{metric.datatype} in {where}")
        return int(metric.long_value)


class DeathChecker(Checker):
    """NDEATH: one metric, and a will at QoS 1 that is not retained."""

    tck_ids = (
        "tck-id-topics-ndeath-payload",
        "tck-id-payloads-ndeath-will-message",
        "tck-id-payloads-ndeath-will-message-qos",
        "tck-id-payloads-ndeath-will-message-retain",
        "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
    )

    def __init__(self) -> None:
        self.dead: set[int] = set()
        self.born: set[int] = set()

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if connection.client_id.startswith("edge:"):
            self.require(is_edge(connection), "tck-id-payloads-ndeath-will-message", "CONNECT without an NDEATH will")
            will = will_of(connection)
            self.require(will.qos == 1, "tck-id-payloads-ndeath-will-message-qos", f"QoS {will.qos}")
            self.require(not will.retain, "tck-id-payloads-ndeath-will-message-retain", "retained")
            self.check(Payload.FromString(will.payload))

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind == "NDEATH":
            self.check(seen.payload)
            self.dead.add(connection.number)
        elif seen.kind == "NBIRTH":
            self.born.add(connection.number)

    def on_disconnect(self, connection: Connection, now_ns: int) -> None:
        if connection.number in self.born:
            self.require(
                connection.number in self.dead,
                "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
                f"DISCONNECT of {connection.client_id} without NDEATH",
            )

    def check(self, payload: Any) -> None:
        names = [metric.name for metric in payload.metrics]
        self.require(names == ["bdSeq"], "tck-id-topics-ndeath-payload", f"metrics {names}")


class AliasChecker(Checker):
    """Aliases: unique over a node and its devices, constant through the session, none for Rebirth and bdSeq."""

    tck_ids = (
        "tck-id-payloads-alias-uniqueness",
        "tck-id-payloads-alias-birth-requirement",
        "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
    )

    def __init__(self) -> None:
        self.metrics: dict[int, dict[int, tuple[str | None, str]]] = {}
        self.aliases: dict[int, dict[tuple[str | None, str], int]] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind not in BIRTHS:
            return
        metrics = self.metrics.setdefault(connection.number, {})
        aliases = self.aliases.setdefault(connection.number, {})
        for metric in seen.payload.metrics:
            self.require(metric.name, "tck-id-payloads-alias-birth-requirement", f"a nameless metric in {seen.where}")
            if not metric.HasField("alias"):
                continue
            self.require(
                metric.name not in (REBIRTH, "bdSeq"),
                "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
                f"{metric.name} has alias {metric.alias}",
            )
            who = (seen.device, metric.name)
            other = metrics.setdefault(metric.alias, who)
            self.require(other == who, "tck-id-payloads-alias-uniqueness", f"alias {metric.alias}: {other} and {who}")
            before = aliases.setdefault(who, metric.alias)
            self.require(
                before == metric.alias, "aliases are fixed within a session", f"{who}: {before}, then {metric.alias}"
            )


class DataShapeChecker(Checker):
    """DATA: alias only where the birth gave one, no datatype, only metrics of the birth, each with its time."""

    tck_ids = (
        "tck-id-payloads-alias-data-cmd-requirement",
        "tck-id-payloads-metric-datatype-not-req",
        "tck-id-topics-dbirth-metric-reqs",
        "tck-id-payloads-name-birth-data-requirement",
        "tck-id-operational-behavior-data-publish-dbirth-order",
    )

    def __init__(self) -> None:
        self.births: dict[tuple[int, str | None], tuple[set[int], set[str]]] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind in BIRTHS:
            self.births[connection.number, seen.device] = (
                {metric.alias for metric in seen.payload.metrics if metric.HasField("alias")},
                {metric.name for metric in seen.payload.metrics if not metric.HasField("alias")},
            )
            return
        if seen.kind not in DATA:
            return
        aliases, names = self.births.get((connection.number, seen.device), (set(), set()))
        self.require(seen.payload.metrics, "DATA carries something", f"no metric in {seen.where}")
        newest = 0
        for metric in seen.payload.metrics:
            self.require(not metric.HasField("datatype"), "tck-id-payloads-metric-datatype-not-req", f"in {seen.where}")
            if metric.HasField("alias"):
                self.require(
                    not metric.name, "tck-id-payloads-alias-data-cmd-requirement", f"{metric.name} beside its alias"
                )
                known = metric.alias in aliases
            else:
                known = metric.name in names
            self.require(
                known, "tck-id-topics-dbirth-metric-reqs", f"{metric.alias or metric.name} is not in the birth"
            )
            self.require(
                metric.HasField("timestamp"), "tck-id-payloads-name-birth-data-requirement", f"none in {seen.where}"
            )
            if not metric.is_historical:
                self.require(
                    metric.timestamp >= newest,
                    "tck-id-operational-behavior-data-publish-dbirth-order",
                    f"{seen.where} goes back from {newest} to {metric.timestamp}",
                )
                newest = metric.timestamp


class BirthContentChecker(Checker):
    """Births: name, type, time and value of each metric; Rebirth false; the session named."""

    tck_ids = (
        "tck-id-topics-nbirth-metrics",
        "tck-id-topics-nbirth-rebirth-metric",
        "tck-id-payloads-metric-datatype-req",
        "tck-id-operational-behavior-data-publish-nbirth-values",
    )

    def __init__(self) -> None:
        self.sessions: dict[int, str] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind not in BIRTHS:
            return
        for metric in seen.payload.metrics:
            self.require(metric.HasField("datatype"), "tck-id-payloads-metric-datatype-req", f"{metric.name}")
            self.require(
                metric.HasField("timestamp"), "tck-id-payloads-name-birth-data-requirement", f"{metric.name}: no time"
            )
            valued = metric.WhichOneof("value") is not None
            self.require(
                valued != metric.is_null, "tck-id-operational-behavior-data-publish-nbirth-values", f"{metric.name}"
            )
        if seen.kind == "NBIRTH":
            rebirth = [metric for metric in seen.payload.metrics if metric.name == REBIRTH]
            self.require(
                len(rebirth) == 1
                and rebirth[0].datatype == BOOLEAN
                and rebirth[0].HasField("boolean_value")
                and not rebirth[0].boolean_value,
                "tck-id-topics-nbirth-rebirth-metric",
                f"{rebirth}",
            )
            (session,) = [metric for metric in seen.payload.metrics if metric.name == "uns/session"]
            first = self.sessions.setdefault(connection.number, session.string_value)
            self.require(
                session.datatype == STRING and first == session.string_value,
                "uns/session is the same on rebirth",
                f"{first}, then {session.string_value}",
            )


class QosRetainChecker(Checker):
    """QoS and retain of each message type."""

    tck_ids = (
        "tck-id-topics-nbirth-mqtt",
        "tck-id-topics-dbirth-mqtt",
        "tck-id-topics-ndata-mqtt",
        "tck-id-topics-ddata-mqtt",
        "tck-id-topics-ddeath-mqtt",
        "tck-id-topics-ncmd-mqtt",
        "tck-id-host-topic-phid-birth-qos",
        "tck-id-host-topic-phid-birth-retain",
    )

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind == "STATE":
            expected = (1, True)
        elif seen.kind in {"_mark", "_confirm"}:
            expected = (1, False)
        elif seen.kind:
            expected = (0, False)
        else:
            return
        found = (seen.message.qos, seen.message.retain)
        self.require(found == expected, f"tck-id-topics-{seen.kind.lower()}-mqtt", f"{seen.where}: QoS, retain {found}")


class TimestampChecker(Checker):
    """Payload timestamps are the moment of sending."""

    tck_ids = (
        "tck-id-topics-nbirth-timestamp",
        "tck-id-topics-dbirth-timestamp",
        "tck-id-topics-ndata-timestamp",
        "tck-id-topics-ddata-timestamp",
        "tck-id-topics-ddeath-timestamp",
        "tck-id-topics-ncmd-timestamp",
    )

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind in EDGE_TYPES - {"NDEATH"} | {"NCMD", "DCMD"}:
            self.require(
                seen.payload.timestamp == now_ns // MS,
                f"tck-id-topics-{seen.kind.lower()}-timestamp",
                f"{seen.where}: {seen.payload.timestamp}, now is {now_ns // MS}",
            )


class SessionChecker(Checker):
    """Clean sessions, and the subscriptions that have to stand before the birth."""

    tck_ids = (
        "tck-id-principles-persistence-clean-session-311",
        "tck-id-message-flow-phid-sparkplug-clean-session-311",
        "tck-id-message-flow-edge-node-ncmd-subscribe",
        "tck-id-message-flow-phid-sparkplug-subscription",
        "tck-id-host-topic-phid-birth-sub-required",
    )

    def __init__(self) -> None:
        self.filters: dict[int, dict[str, int]] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        self.require(connection.clean_session, "tck-id-principles-persistence-clean-session-311", connection.client_id)

    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None:
        self.filters.setdefault(connection.number, {}).update(filters)

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        granted = self.filters.get(connection.number, {})
        if seen.kind == "NBIRTH":
            topic = seen.topic.replace("/NBIRTH/", "/NCMD/")
            self.require(
                granted.get(topic) == 1, "tck-id-message-flow-edge-node-ncmd-subscribe", f"{topic} not among {granted}"
            )
        elif seen.kind == "STATE" and is_host(connection):
            self.require(
                "spBv1.0/#" in granted and granted.get(seen.topic) == 1,
                "tck-id-message-flow-phid-sparkplug-subscription",
                f"STATE with {granted}",
            )
            self.require(
                granted.get("uns1/_mark/#") == 0, "design 8.4: marks at QoS 0, or DATA overtakes them", f"{granted}"
            )


class HostStateChecker(Checker):
    """STATE: a will at each CONNECT, the birth first and with the same timestamp, a death before DISCONNECT."""

    tck_ids = (
        "tck-id-operational-behavior-host-application-connect-will",
        "tck-id-payloads-state-will-message-qos",
        "tck-id-payloads-state-will-message-retain",
        "tck-id-host-topic-phid-birth-message",
        "tck-id-host-topic-phid-birth-payload-timestamp",
        "tck-id-host-topic-phid-death-payload-timestamp-connect",
        "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
        "tck-id-operational-behavior-host-application-termination",
    )

    def __init__(self) -> None:
        self.wills: dict[int, int] = {}
        self.published: dict[int, dict[str, Any]] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if not connection.client_id.startswith("host:"):
            return
        self.require(is_host(connection), self.tck_ids[0], f"{connection.will}")
        will = will_of(connection)
        self.require((will.qos, will.retain) == (1, True), "tck-id-payloads-state-will-message-qos", f"{will}")
        state = json.loads(will.payload)
        self.require(state.get("online") is False, "tck-id-payloads-state-will-message-payload", f"{state}")
        self.require(
            state["timestamp"] >= now_ns // MS,
            "tck-id-host-topic-phid-death-payload-timestamp-connect",
            f"{state}, now is {now_ns // MS}",
        )
        self.wills[connection.number] = state["timestamp"]

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if not is_host(connection):
            return
        if seen.kind != "STATE":
            self.require(
                connection.number in self.published, "tck-id-host-topic-phid-birth-message", f"{seen.where} first"
            )
            return
        if seen.payload["online"]:
            self.require(
                seen.payload["timestamp"] == self.wills[connection.number],
                "tck-id-host-topic-phid-birth-payload-timestamp",
                f"{seen.payload}, will {self.wills[connection.number]}",
            )
        self.published[connection.number] = seen.payload

    def on_disconnect(self, connection: Connection, now_ns: int) -> None:
        if is_host(connection):
            state = self.published.get(connection.number)
            self.require(
                state is None or state["online"] is False,
                "tck-id-operational-behavior-host-application-termination",
                f"DISCONNECT with {state}",
            )


class MarkChecker(Checker):
    """Marks: numbered from 1 in each session, one unanswered, counting every DATA message since the one before."""

    tck_ids = ()

    def __init__(self) -> None:
        self.n: dict[int, int] = {}
        self.unmarked: dict[int, int] = {}
        self.newest: dict[int, dict[str, Any]] = {}
        self.answered: dict[int, int] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        number = connection.number
        if seen.kind in DATA:
            self.unmarked[number] = self.unmarked.get(number, 0) + 1
        elif seen.kind == "_mark":
            mark = seen.payload
            newest = self.newest.get(number)
            if mark["repeat"]:
                self.require(
                    newest is not None and {**newest, "repeat": True} == mark,
                    "design 8.3: a repetition is the same mark",
                    f"{newest}, then {mark}",
                )
                return
            n = self.n.get(number, 0) + 1
            self.require(mark["n"] == n, "design 8.3: n counts marks from 1", f"{mark}, expected {n}")
            self.require(
                mark["messages"] == self.unmarked.get(number, 0) > 0,
                "design 8.3: messages counts NDATA and DDATA since the mark before",
                f"{mark}, sent {self.unmarked.get(number, 0)}",
            )
            self.n[number] = n
            self.unmarked[number] = 0
            self.newest[number] = mark


class CommandChecker(Checker):
    """Rebirth requests: the right metric, and few of them (no storm)."""

    tck_ids = (
        "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
        "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
    )
    per_second_max = 12
    per_node_and_minute_max = 10

    def __init__(self) -> None:
        self.times: list[int] = []
        self.by_node: dict[str, list[int]] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind != "NCMD":
            return
        (metric,) = seen.payload.metrics
        self.require(metric.name == REBIRTH and metric.boolean_value, self.tck_ids[0], f"{metric}")
        if connection.client_id != f"host:{HOST_ID}":
            return  # of a stranger, or of another host
        self.times = [time for time in self.times if time > now_ns - SECOND] + [now_ns]
        self.require(len(self.times) <= self.per_second_max, "no rebirth storm", f"{len(self.times)} NCMD in 1 s")
        mine = [time for time in self.by_node.get(seen.node, []) if time > now_ns - 60 * SECOND]
        self.by_node[seen.node] = [*mine, now_ns]
        self.require(
            len(mine) < self.per_node_and_minute_max,
            "no rebirth storm",
            f"{len(mine) + 1} NCMD to {seen.node} in a minute",
        )


CHECKERS: tuple[type[Checker], ...] = (
    SequenceChecker,
    BirthOrderChecker,
    BdSeqChecker,
    DeathChecker,
    AliasChecker,
    DataShapeChecker,
    BirthContentChecker,
    QosRetainChecker,
    TimestampChecker,
    SessionChecker,
    HostStateChecker,
    MarkChecker,
    CommandChecker,
)


class WireTap:
    """Reads each message once and shows it to every checker."""

    def __init__(self) -> None:
        self.checkers = [checker() for checker in CHECKERS]
        self.counts: dict[str, int] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        for checker in self.checkers:
            checker.on_connect(connection, now_ns)

    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None:
        for checker in self.checkers:
            checker.on_subscribe(connection, filters, now_ns)

    def on_publish(self, connection: Connection, message: Message, now_ns: int) -> None:
        seen = Seen(message)
        self.counts[seen.kind] = self.counts.get(seen.kind, 0) + 1
        for checker in self.checkers:
            checker.on_publish(connection, seen, now_ns)

    def on_disconnect(self, connection: Connection, now_ns: int) -> None:
        for checker in self.checkers:
            checker.on_disconnect(connection, now_ns)
