"""What the standard promises of an edge node's messages. Each checker names its requirements."""

from __future__ import annotations

from typing import Any

from schemas.sparkplug_b_pb2 import Payload
from tests.simulation.broker import Connection
from tests.simulation.checking import BIRTHS, DATA, EDGE_TYPES, REBIRTH, Checker, Seen, is_edge, will_of

__all__ = [
    "AliasChecker",
    "BdSeqChecker",
    "BirthContentChecker",
    "BirthOrderChecker",
    "DataShapeChecker",
    "DeathChecker",
    "PropertyChecker",
    "SequenceChecker",
]

BOOLEAN, INT64, STRING, INT32 = 11, 4, 12, 3
METRIC_TYPES = {*range(1, 20), *range(22, 35)}  # all but those of properties
PROPERTY_TYPES = {*range(1, 15), 20, 21}
QUALITIES = {0, 192, 500}


class SequenceChecker(Checker):
    """seq: 0 at NBIRTH, then one more for each message of the connection, modulo 256; none in NDEATH and commands."""

    tck_ids = (
        "tck-id-topics-nbirth-seq-num",
        "tck-id-payloads-sequence-num-always-included",
        "tck-id-payloads-sequence-num-incrementing",
        "tck-id-payloads-sequence-num-req-nbirth",
        "tck-id-topics-dbirth-seq",
        "tck-id-topics-ndata-seq-num",
        "tck-id-topics-ddata-seq-num",
        "tck-id-topics-ddeath-seq-num",
        "tck-id-payloads-nbirth-seq",
        *(
            f"tck-id-payloads-{kind}-{what}"
            for kind in ("dbirth", "ndata", "ddata", "ddeath")
            for what in ("seq", "seq-inc")
        ),
        "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq",
        "tck-id-message-flow-device-birth-publish-dbirth-payload-seq",
        "tck-id-topics-ndeath-seq",
        "tck-id-payloads-ndeath-seq",
        "tck-id-payloads-ncmd-seq",
        "tck-id-payloads-dcmd-seq",
        "tck-id-payloads-ddeath-seq-number",
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
        "tck-id-payloads-nbirth-bdseq",
        "tck-id-topics-nbirth-bdseq-included",
        "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
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
        "tck-id-payloads-ndeath-will-message-publisher",
        "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311",
        "tck-id-message-flow-edge-node-birth-publish-will-message",
        "tck-id-message-flow-edge-node-birth-publish-will-message-payload",
        "tck-id-message-flow-edge-node-birth-publish-will-message-qos",
        "tck-id-message-flow-edge-node-birth-publish-will-message-will-retained",
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
        "tck-id-operational-behavior-data-publish-dbirth",
        "tck-id-payloads-name-requirement",
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
        "tck-id-operational-behavior-data-publish-dbirth-values",
        "tck-id-topics-dbirth-metrics",
        "tck-id-payloads-metric-datatype-value",
        "tck-id-payloads-metric-datatype-value-type",
        "tck-id-payloads-nbirth-rebirth-req",
        "tck-id-operational-behavior-data-publish-nbirth-order",
        "tck-id-operational-behavior-data-commands-rebirth-name",
        "tck-id-operational-behavior-data-commands-rebirth-datatype",
        "tck-id-operational-behavior-data-commands-rebirth-value",
    )

    def __init__(self) -> None:
        self.sessions: dict[int, str] = {}

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind not in BIRTHS:
            return
        times = [metric.timestamp for metric in seen.payload.metrics]
        ordered = times == sorted(times)
        self.require(ordered, "tck-id-operational-behavior-data-publish-nbirth-order", f"{times} in {seen.where}")
        for metric in seen.payload.metrics:
            self.require(metric.HasField("datatype"), "tck-id-payloads-metric-datatype-req", f"{metric.name}")
            known = metric.datatype in METRIC_TYPES
            self.require(known, "tck-id-payloads-metric-datatype-value", f"{metric.name}: {metric.datatype}")
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


class PropertyChecker(Checker):
    """Properties of metrics: as many keys as values, each with a type in births; Quality is one of three numbers."""

    tck_ids = (
        "tck-id-payloads-propertyset-keys-array-size",
        "tck-id-payloads-propertyset-values-array-size",
        "tck-id-payloads-metric-propertyvalue-type-type",
        "tck-id-payloads-metric-propertyvalue-type-value",
        "tck-id-payloads-metric-propertyvalue-type-req",
        "tck-id-payloads-propertyset-quality-value-type",
        "tck-id-payloads-propertyset-quality-value-value",
    )

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind not in BIRTHS | DATA:
            return
        for metric in seen.payload.metrics:
            if metric.HasField("properties"):
                self.check(metric.properties, seen, f"{metric.name or metric.alias} in {seen.where}")

    def check(self, properties: Any, seen: Seen, where: str) -> None:
        keys, values = properties.keys, properties.values
        self.require(len(keys) == len(values), self.tck_ids[0], f"{len(keys)} keys, {len(values)} values of {where}")
        for key, value in zip(keys, values, strict=True):
            if value.HasField("type"):
                self.require(value.type in PROPERTY_TYPES, self.tck_ids[3], f"{key}: {value.type} of {where}")
            else:
                self.require(seen.kind not in BIRTHS, self.tck_ids[4], f"{key} of {where}")
            if key == "Quality":
                self.require(value.type == INT32, self.tck_ids[5], f"{value.type} of {where}")
                self.require(value.int_value in QUALITIES, self.tck_ids[6], f"{value.int_value} of {where}")
