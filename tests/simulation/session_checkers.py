"""What follows from what a client was told: STATE, commands, deaths. Each checker names its requirements."""

from __future__ import annotations

import contextlib
import json
from functools import partial

from google.protobuf.message import DecodeError

from schemas.sparkplug_b_pb2 import Payload
from tests.simulation.broker import Connection
from tests.simulation.checking import (
    DATA,
    EDGE_TYPES,
    REBIRTH,
    STATE_TOPIC,
    Checker,
    Seen,
    is_edge,
    is_host,
    will_of,
)
from tests.simulation.walking import PROOF_CLIENT
from tests.simulation.world import MS, SECOND
from uns.sparkplug.messages import Message

__all__ = [
    "OneConnectionChecker",
    "PrimaryHostChecker",
    "RebirthAnswerChecker",
    "StateNeverOlderChecker",
    "TopicChecker",
]

REBIRTH_ANSWER_MAX_S = 5
REBIRTH_INTERVAL_MS = 1_000  # at the least, between two births
LEAVES_WITHIN_MS = 1


class TopicChecker(Checker):
    """Everyone writes where it may: an edge node under its own name, a host commands and its own STATE."""

    tck_ids = (
        "tck-id-topic-structure",
        "tck-id-topics-nbirth-topic",
        "tck-id-topics-ndata-topic",
        "tck-id-topics-ndeath-topic",
        "tck-id-topics-ncmd-topic",
        "tck-id-topics-dbirth-topic",
        "tck-id-topics-ddata-topic",
        "tck-id-topics-ddeath-topic",
        "tck-id-topics-dcmd-topic",
        "tck-id-host-topic-phid-birth-topic",
        "tck-id-payloads-nbirth-edge-node-descriptor",
        "tck-id-message-flow-edge-node-birth-publish-nbirth-topic",
        "tck-id-message-flow-edge-node-birth-publish-will-message-topic",
        "tck-id-message-flow-device-birth-publish-dbirth-topic",
        "tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic",
        "tck-id-operational-behavior-host-application-connect-will-topic",
        "tck-id-operational-behavior-host-application-connect-birth-topic",
        "tck-id-operational-behavior-host-application-death-topic",
        "tck-id-topic-structure-namespace-a",
        *(
            f"tck-id-intro-{what}-id-{rule}"
            for what in ("group", "edge-node", "device")
            for rule in ("string", "chars")
        ),
        *(f"tck-id-topic-structure-namespace-valid-{what}-id" for what in ("group", "edge-node", "device")),
        "tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node",
        "tck-id-host-topic-phid-death-topic",
        "tck-id-topic-structure-namespace-device-id-associated-message-types",
        "tck-id-topic-structure-namespace-device-id-non-associated-message-types",
    )

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if is_edge(connection):
            group_id, _, edge_node_id = connection.client_id.removeprefix("edge:").partition("/")
            expected = f"spBv1.0/{group_id}/NDEATH/{edge_node_id}"
            self.require(will_of(connection).topic == expected, "tck-id-topics-ndeath-topic", will_of(connection).topic)

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        kind, topic = seen.kind, seen.topic
        rule = f"tck-id-topics-{kind.lower()}-topic"
        fits = topic.isprintable() and not {"+", "#"} & set(topic) and all(topic.split("/"))
        self.require(fits, "tck-id-topic-structure-namespace-valid-device-id", repr(topic))
        if not kind:
            self.require(topic.startswith("uns1/"), "tck-id-topic-structure-namespace-a", topic)
        if kind == "STATE":
            self.require(
                topic == will_of(connection).topic == f"spBv1.0/STATE/{connection.client_id.removeprefix('host:')}",
                "tck-id-host-topic-phid-birth-topic",
                topic,
            )
        elif kind in EDGE_TYPES:
            self.require(seen.node == connection.client_id.removeprefix("edge:"), rule, topic)
            self.require(len(topic.split("/")) == 4 + kind.startswith("D"), "tck-id-topic-structure", topic)
        elif kind in {"NCMD", "DCMD"}:
            may = is_host(connection) or connection.client_id.startswith(PROOF_CLIENT)
            self.require(may, rule, f"{topic} of {connection.client_id}")
            self.require(len(topic.split("/")) == 4 + kind.startswith("D"), "tck-id-topic-structure", topic)


class OneConnectionChecker(Checker):
    """An edge node is at one broker at a time, with one connection."""

    tck_ids = ("tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server",)

    def __init__(self) -> None:
        self.newest: dict[str, Connection] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if is_edge(connection):
            before = self.newest.get(connection.client_id)
            self.require(
                before is None or not before.client_open, self.tck_ids[0], f"{connection.client_id} has another open"
            )
            self.newest[connection.client_id] = connection


class PrimaryHostChecker(Checker):
    """Where an edge node waits for a host: nothing before its STATE says online, and nothing after offline.

    Judged by what was delivered on this connection alone; what a node remembers of others makes it stricter.
    """

    tck_ids = (
        "tck-id-message-flow-edge-node-birth-publish-phid-wait",
        "tck-id-message-flow-edge-node-birth-publish-phid-wait-id",
        "tck-id-message-flow-edge-node-birth-publish-phid-wait-online",
        "tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp",
        "tck-id-message-flow-edge-node-birth-publish-phid-offline",
        "tck-id-operational-behavior-edge-node-termination-host-offline",
        "tck-id-operational-behavior-edge-node-termination-host-offline-timestamp",
        "tck-id-operational-behavior-edge-node-birth-sequence-wait",
    )

    def __init__(self) -> None:
        self.waits: set[int] = set()
        self.born: set[int] = set()
        self.told: dict[int, tuple[bool, int, int]] = {}  # online, newest, newest online

    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None:
        if is_edge(connection) and (STATE_TOPIC, 1) in filters:
            self.waits.add(connection.number)

    def on_deliver(self, connection: Connection, message: Message) -> None:
        if connection.number not in self.waits or message.topic != STATE_TOPIC:
            return
        try:
            state = json.loads(message.payload)
            online, stamp = state["online"], state["timestamp"]
        except (ValueError, KeyError, TypeError):
            return
        if type(online) is not bool or type(stamp) is not int or not 0 <= stamp < 1 << 63:
            return
        _, newest, newest_online = self.told.get(connection.number, (False, -1, -1))
        if stamp >= (newest if online else newest_online):
            if not online and connection.number in self.born:
                connection.world.after(LEAVES_WITHIN_MS, partial(self.check_left, connection))
            self.told[connection.number] = (online, max(newest, stamp), stamp if online else newest_online)

    def check_left(self, connection: Connection) -> None:
        rule = "tck-id-operational-behavior-edge-node-termination-host-offline"
        self.require(not connection.client_open, rule, f"{connection.client_id} stays where its host is offline")

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if connection.number in self.waits and seen.kind == "NBIRTH":
            self.born.add(connection.number)
        if connection.number in self.waits and seen.kind in EDGE_TYPES - {"NDEATH"} | {"_mark"}:
            online = self.told.get(connection.number, (False, 0, 0))[0]
            rule = (
                self.tck_ids[0] if seen.kind == "NBIRTH" else "tck-id-message-flow-edge-node-birth-publish-phid-offline"
            )
            self.require(online, rule, f"{seen.where} while the host is not online")


class RebirthAnswerChecker(Checker):
    """A rebirth that was asked for comes, unless the connection ends before; until then nothing else does.

    Requests within the shortest interval between two births wait for its end, and data goes on meanwhile.
    """

    tck_ids = (
        "tck-id-operational-behavior-data-commands-rebirth-action-1",
        "tck-id-operational-behavior-data-commands-rebirth-action-2",
        "tck-id-operational-behavior-data-commands-rebirth-action-3",
    )

    def __init__(self) -> None:
        self.born: dict[int, int] = {}
        self.asked_ns: dict[int, int] = {}

    def on_deliver(self, connection: Connection, message: Message) -> None:
        if connection.number not in self.born or "/NCMD/" not in message.topic:
            return
        with contextlib.suppress(DecodeError):
            metrics = Payload.FromString(message.payload).metrics
            if any(metric.name == REBIRTH and metric.boolean_value for metric in metrics):
                self.asked_ns.setdefault(connection.number, connection.world.now_ns)

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if seen.kind == "NBIRTH":
            self.born[connection.number] = connection.world.now_ns
            self.asked_ns.pop(connection.number, None)
        elif (asked_ns := self.asked_ns.get(connection.number)) is not None and seen.kind != "NDEATH":
            rested = asked_ns - self.born[connection.number] >= REBIRTH_INTERVAL_MS * MS
            self.require(not rested or seen.kind not in DATA, self.tck_ids[0], f"{seen.where} after NCMD")
            waited_s = (connection.world.now_ns - asked_ns) / SECOND
            self.require(waited_s <= REBIRTH_ANSWER_MAX_S, self.tck_ids[1], f"{seen.where} {waited_s:.1f} s after NCMD")


class StateNeverOlderChecker(Checker):
    """A host's STATE is newer with each CONNECT, whatever its clock does, and over its crashes."""

    tck_ids = (
        "tck-id-message-flow-phid-sparkplug-state-publish-payload-timestamp",
        "tck-id-operational-behavior-host-application-multi-server-timestamp",
    )

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}

    def on_connect(self, connection: Connection, now_ns: int) -> None:
        if is_host(connection):
            stamp = json.loads(will_of(connection).payload)["timestamp"]
            before = self.newest.get(connection.client_id, -1)
            self.require(stamp > before, self.tck_ids[0], f"CONNECT with {stamp} after {before}")
            self.newest[connection.client_id] = stamp

    def on_publish(self, connection: Connection, seen: Seen, now_ns: int) -> None:
        if is_host(connection) and seen.kind == "STATE":
            stamp = seen.payload["timestamp"]
            self.newest[connection.client_id] = max(self.newest.get(connection.client_id, -1), stamp)
