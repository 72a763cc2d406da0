"""What the standard and the design promise of the wire, as checkers that raise :class:`BrokenPromiseError`.

Those of edge nodes alone are in :mod:`tests.simulation.edge_checkers`. ``test_planted.py`` breaks each once.
"""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from tests.simulation.broker import Connection
from tests.simulation.checking import (
    BIRTHS,
    DATA,
    EDGE_TYPES,
    REBIRTH,
    STATE_TOPIC,
    BrokenPromiseError,
    Checker,
    Seen,
    is_edge,
    is_host,
    will_of,
)
from tests.simulation.edge_checkers import (
    AliasChecker,
    BdSeqChecker,
    BirthContentChecker,
    BirthOrderChecker,
    DataShapeChecker,
    DeathChecker,
    PropertyChecker,
    SequenceChecker,
)
from tests.simulation.plant import HOST_ID
from tests.simulation.session_checkers import (
    OneConnectionChecker,
    PrimaryHostChecker,
    RebirthAnswerChecker,
    StateNeverOlderChecker,
    TopicChecker,
)
from tests.simulation.walk_checkers import ClockChecker, WalkChecker
from tests.simulation.world import MS, SECOND
from uns.sparkplug.messages import Message

if TYPE_CHECKING:
    from tests.simulation.edge import EdgeProcess
    from tests.simulation.host import HostProcess

__all__ = ["CHECKERS", "STATE_TOPIC", "BrokenPromiseError", "Checker", "WireTap"]


VALUE_FIELDS = {7: "int_value", 4: "long_value", 8: "long_value", 10: "double_value", 12: "string_value"}
AT_ONCE_MS = 1
HEALED_WITHIN_MS = 200  # a host reads in batches


class QosRetainChecker(Checker):
    """QoS and retain of each message type."""

    tck_ids = (
        "tck-id-topics-nbirth-mqtt",
        "tck-id-topics-dbirth-mqtt",
        "tck-id-topics-ndata-mqtt",
        "tck-id-topics-ddata-mqtt",
        "tck-id-topics-ddeath-mqtt",
        "tck-id-topics-ncmd-mqtt",
        "tck-id-topics-dcmd-mqtt",
        "tck-id-host-topic-phid-birth-qos",
        "tck-id-host-topic-phid-birth-retain",
        "tck-id-operational-behavior-host-application-connect-birth-qos",
        "tck-id-operational-behavior-host-application-connect-birth-retained",
        "tck-id-operational-behavior-host-application-death-qos",
        "tck-id-operational-behavior-host-application-death-retained",
        "tck-id-message-flow-edge-node-birth-publish-nbirth-qos",
        "tck-id-message-flow-edge-node-birth-publish-nbirth-retained",
        "tck-id-message-flow-device-birth-publish-dbirth-qos",
        "tck-id-message-flow-device-birth-publish-dbirth-retained",
        *(
            f"tck-id-payloads-{kind}-{what}"
            for kind in ("nbirth", "dbirth", "ndata", "ddata", "ncmd", "dcmd")
            for what in ("qos", "retain")
        ),
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
    """Payload timestamps are the moment of sending, and never go back inside a session, whatever the clock does."""

    tck_ids = (
        "tck-id-topics-nbirth-timestamp",
        "tck-id-topics-dbirth-timestamp",
        "tck-id-topics-ndata-timestamp",
        "tck-id-topics-ddata-timestamp",
        "tck-id-topics-ncmd-timestamp",
        "tck-id-topics-dcmd-timestamp",
        *(
            f"tck-id-payloads-{kind}-timestamp"
            for kind in ("nbirth", "dbirth", "ndata", "ddata", "ddeath", "ncmd", "dcmd")
        ),
    )

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind in EDGE_TYPES - {"NDEATH"}:
            stamp, newest = seen.payload.timestamp, self.newest.get(connection.number, 0)
            self.require(stamp >= newest, "payload times never go back", f"{seen.where}: {stamp} after {newest}")
            self.newest[connection.number] = stamp
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
        "tck-id-payloads-state-subscribe",
        "tck-id-message-flow-edge-node-birth-publish-connect",
        "tck-id-message-flow-device-dcmd-subscribe",
    )

    def __init__(self) -> None:
        self.filters: dict[int, dict[str, int]] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        self.require(connection.clean_session, "tck-id-principles-persistence-clean-session-311", connection.client_id)

    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None:
        self.filters.setdefault(connection.number, {}).update(filters)

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        granted = self.filters.get(connection.number, {})
        self.require(connection.reached_ns, "tck-id-message-flow-edge-node-birth-publish-connect", seen.where)
        if seen.kind == "NBIRTH":
            topic = seen.topic.replace("/NBIRTH/", "/NCMD/")
            self.require(
                granted.get(topic) == 1, "tck-id-message-flow-edge-node-ncmd-subscribe", f"{topic} not among {granted}"
            )
        elif seen.kind == "DBIRTH":
            topic = seen.topic.replace("/DBIRTH/", "/DCMD/")
            self.require(granted.get(topic) == 1, "tck-id-message-flow-device-dcmd-subscribe", f"{topic}: {granted}")
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
        "tck-id-host-topic-phid-birth-payload",
        "tck-id-host-topic-phid-death-payload",
        "tck-id-payloads-state-birth",
        "tck-id-payloads-state-birth-payload",
        "tck-id-payloads-state-will-message",
        "tck-id-payloads-state-will-message-payload",
        "tck-id-operational-behavior-host-application-connect-will-payload",
        "tck-id-operational-behavior-host-application-connect-will-qos",
        "tck-id-operational-behavior-host-application-connect-will-retained",
        "tck-id-operational-behavior-host-application-connect-birth",
        "tck-id-operational-behavior-host-application-connect-birth-payload",
        "tck-id-operational-behavior-host-application-death-payload",
        "tck-id-host-topic-phid-death-payload-timestamp-connect",
        "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
        "tck-id-operational-behavior-host-application-termination",
        "tck-id-intro-sparkplug-host-state",
        "tck-id-components-ph-state",
        "tck-id-conformance-primary-host",
        "tck-id-host-topic-phid-birth-required",
        "tck-id-host-topic-phid-death-qos",
        "tck-id-host-topic-phid-death-required",
        "tck-id-host-topic-phid-death-retain",
        "tck-id-message-flow-phid-sparkplug-state-publish",
        "tck-id-message-flow-phid-sparkplug-state-publish-payload",
        "tck-id-message-flow-hid-sparkplug-state-message-delivered",
        "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state",
    )

    def __init__(self) -> None:
        self.wills: dict[int, int] = {}
        self.published: dict[int, dict[str, Any]] = {}
        self.said_ns: dict[int, int] = {}

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
        self.require(
            seen.payload.keys() == {"online", "timestamp"}
            and type(seen.payload["online"]) is bool
            and type(seen.payload["timestamp"]) is int,
            "tck-id-host-topic-phid-birth-payload",
            f"{seen.payload}",
        )
        if seen.payload["online"]:
            self.require(
                seen.payload["timestamp"] == self.wills[connection.number],
                "tck-id-host-topic-phid-birth-payload-timestamp",
                f"{seen.payload}, will {self.wills[connection.number]}",
            )
        self.published[connection.number] = seen.payload
        self.said_ns[connection.number] = connection.world.now_ns

    def on_granted(self, connection: Connection) -> None:
        if is_host(connection):
            connection.world.after(AT_ONCE_MS, partial(self.check_born, connection))

    def check_born(self, connection: Connection) -> None:
        born = connection.number in self.published or not connection.client_open
        self.require(born, "tck-id-host-topic-phid-birth-required", f"{connection.client_id} subscribed, and is silent")

    def on_deliver(self, connection: Connection, message: Message) -> None:
        """A host that is online and hears that it is offline says at once what is true."""
        born = self.published.get(connection.number)
        if born is None or not born["online"] or message.topic != will_of(connection).topic:
            return
        with contextlib.suppress(ValueError, AttributeError):
            if json.loads(message.payload).get("online") is False:
                heard_ns = connection.world.now_ns
                connection.world.after(HEALED_WITHIN_MS, partial(self.check_healed, connection, heard_ns))

    def check_healed(self, connection: Connection, heard_ns: int) -> None:
        if cast("HostProcess", connection.client).frozen:
            connection.world.after(HEALED_WITHIN_MS, partial(self.check_healed, connection, heard_ns))
            return
        healed = not connection.client_open or self.said_ns.get(connection.number, 0) >= heard_ns
        rule = "tck-id-message-flow-hid-sparkplug-state-message-delivered"
        self.require(healed, rule, f"{connection.client_id} lets it stand that it is offline")

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
        self.waits: set[int] = set()  # for the host's answers; where PUBACKs count, nobody else sees them
        self.answered: dict[int, int] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if is_edge(connection) and cast("EdgeProcess", connection.client).edge.options.level == "host":
            self.waits.add(connection.number)

    def on_deliver(self, connection: Connection, message: Message) -> None:
        newest = self.newest.get(connection.number)
        if newest is not None and message.topic.startswith("uns1/_confirm/"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                confirm = json.loads(message.payload)
                if confirm["session"] == newest["session"]:
                    self.answered[connection.number] = max(self.answered.get(connection.number, 0), confirm["n"])

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
            waits = connection.number in self.waits and self.answered.get(number, 0) < n - 1
            self.require(not waits, "design 8.3: one mark waits for an answer", f"{newest}, then {mark}")
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
    """Rebirth requests: the right metric, and few of them (no storm). Writes: metrics of the births, in their types."""

    tck_ids = (
        "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
        "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
        "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
        "tck-id-topics-ncmd-payload",
        "tck-id-operational-behavior-data-commands-ncmd-verb",
        "tck-id-operational-behavior-data-commands-ncmd-metric-name",
        "tck-id-operational-behavior-data-commands-ncmd-metric-value",
        "tck-id-topics-dcmd-payload",
        "tck-id-operational-behavior-data-commands-dcmd-verb",
        "tck-id-operational-behavior-data-commands-dcmd-metric-name",
        "tck-id-operational-behavior-data-commands-dcmd-metric-value",
    )
    per_second_max = 12
    per_node_and_minute_max = 10

    def __init__(self) -> None:
        self.times: list[int] = []
        self.by_node: dict[str, list[int]] = {}
        self.born: dict[tuple[str, str | None], dict[int | str, int]] = {}  # alias or name to datatype

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind in BIRTHS:
            born = self.born.setdefault((seen.node, seen.device), {})
            born |= {metric.alias or metric.name: metric.datatype for metric in seen.payload.metrics}
        elif seen.kind == "DCMD":
            self.check_written(seen)
        elif seen.kind == "NCMD":
            self.check_asked(connection, seen, now_ns)

    def check_written(self, seen: Seen) -> None:
        born = self.born.get((seen.node, seen.device), {})
        for metric in seen.payload.metrics:
            datatype = born.get(metric.alias or metric.name)
            rule = "tck-id-operational-behavior-data-commands-dcmd-metric"
            self.require(datatype is not None, f"{rule}-name", f"{metric.alias or metric.name} to {seen.where}")
            fits = metric.WhichOneof("value") == VALUE_FIELDS.get(datatype or 0)
            self.require(fits, f"{rule}-value", f"{metric} to {seen.where}, its birth says {datatype}")

    def check_asked(self, connection: Connection, seen: Seen, now_ns: int) -> None:
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
    OneConnectionChecker,  # before the one for bdSeq, which a second connection breaks as well
    TopicChecker,  # before those that judge by a topic
    BirthOrderChecker,
    SequenceChecker,
    BdSeqChecker,
    DeathChecker,
    AliasChecker,
    DataShapeChecker,
    BirthContentChecker,
    PropertyChecker,
    QosRetainChecker,
    TimestampChecker,
    SessionChecker,
    HostStateChecker,
    MarkChecker,
    CommandChecker,
    PrimaryHostChecker,
    RebirthAnswerChecker,
    StateNeverOlderChecker,
    WalkChecker,
    ClockChecker,
)


class WireTap:
    """Reads each message once and shows it to every checker."""

    def __init__(self) -> None:
        self.checkers = [checker() for checker in CHECKERS]
        self.told = [checker for checker in self.checkers if type(checker).on_deliver is not Checker.on_deliver]
        self.counts: dict[str, int] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        for checker in self.checkers:
            checker.on_connect(connection, now_ns)

    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None:
        for checker in self.checkers:
            checker.on_subscribe(connection, filters, now_ns)

    def on_granted(self, connection: Connection) -> None:
        for checker in self.checkers:
            checker.on_granted(connection)

    def on_publish(self, connection: Connection, message: Message, now_ns: int) -> None:
        seen = Seen(message)
        self.counts[seen.kind] = self.counts.get(seen.kind, 0) + 1
        for checker in self.checkers:
            checker.on_publish(connection, seen, now_ns)

    def on_disconnect(self, connection: Connection, now_ns: int) -> None:
        for checker in self.checkers:
            checker.on_disconnect(connection, now_ns)

    def on_deliver(self, connection: Connection, message: Message) -> None:
        for checker in self.told:
            checker.on_deliver(connection, message)
