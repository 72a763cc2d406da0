"""Everything that somebody with the wrong credential may try: one row an attempt.

Payloads are what would do harm if they arrived: the victim's own session, its next number, its present bdSeq.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import REBIRTH, SESSION_METRIC, BirthMetric, DataBatch, MetricBinding

__all__ = ["ATTEMPTS", "EXPIRED", "FOREIGN", "FUTURE", "STANDBY", "UNKNOWN", "Attempt", "Login", "Victim"]

GROUP, VICTIM, OTHER, STANDBY = "acme.dallas", "gw-reaction-1", "gw-energy", "uns-host-2"
HOST = "uns-host-1"
SITE = "uns1/acme/dallas"
PLACE = f"{SITE}/reaction/line2/reactor4"
NODE = f"spBv1.0/{GROUP}"
STATE = f"spBv1.0/STATE/{HOST}"
ANCHOR = f"uns1/_audit/{HOST}"
MARK, CONFIRM = f"uns1/_mark/{GROUP}", f"uns1/_confirm/{GROUP}"

# Directories of certificates that no broker of ours may take, beside those that it knows.
FOREIGN, EXPIRED, FUTURE = "foreign", "expired", "future"
UNKNOWN = ("gw-unknown", "ACME.dallas/gw-reaction-1", "#", f"{GROUP}/+", f"{GROUP}/{VICTIM}/reactor4")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What an attacker holds. ``credential`` names a certificate of ``authority`` ("" is the plant's own)."""

    credential: str | None = None
    authority: str = ""
    username: str | None = None
    plain: bool = False  # no TLS


class Victim(msgspec.Struct, frozen=True):
    """What an attacker may know of the gateway that is attacked."""

    session: str
    bd_seq: int


Payload = Callable[[Victim], bytes]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """``publish``: connect and publish. ``will``: connect with it as Will, be cut off. ``take``: a client id."""

    name: str
    login: Login
    do: Literal["publish", "will", "take"] = "publish"
    topic: str = ""
    payload: Payload = lambda _victim: b""
    retain: bool = False
    client_id: str = ""


# ── payloads ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_numbers = itertools.count(1)


def _unique_ms() -> int:
    """A time that nobody else writes, so that a payload is known again wherever it arrives."""
    return time.time_ns() // 1_000_000 + 3_600_000 + next(_numbers)


def node_birth(victim: Victim) -> bytes:
    metrics = [
        BirthMetric(name="bdSeq", datatype=DataType.INT64, value=victim.bd_seq),
        BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=False),
        BirthMetric(name=SESSION_METRIC, datatype=DataType.STRING, value=victim.session),
    ]
    return codec.encode_birth(metrics, timestamp_ms=_unique_ms(), seq=0)


def device_birth(_victim: Victim) -> bytes:
    metrics = [BirthMetric(name="temperature", datatype=DataType.FLOAT, value=999.0)]
    return codec.encode_birth(metrics, timestamp_ms=_unique_ms(), seq=1)


def data(_victim: Victim) -> bytes:
    now_ms = _unique_ms()
    binding = MetricBinding("temperature", DataType.FLOAT, None, 0)
    batch = DataBatch(bindings=[binding], values=[999.0], times_ms=[now_ms])
    return codec.encode_data(batch, timestamp_ms=now_ms, seq=2)


def node_death(victim: Victim) -> bytes:
    return codec.encode_death(victim.bd_seq)


def device_death(_victim: Victim) -> bytes:
    return codec.encode_empty(_unique_ms(), 3)


def rebirth(_victim: Victim) -> bytes:
    command = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
    return codec.encode_command([command], timestamp_ms=_unique_ms())


def write(_victim: Victim) -> bytes:
    command = BirthMetric(name="temperature", datatype=DataType.FLOAT, value=250.0)
    return codec.encode_command([command], timestamp_ms=_unique_ms())


def offline(_victim: Victim) -> bytes:
    return json.dumps({"online": False, "timestamp": _unique_ms()}).encode()


def online(_victim: Victim) -> bytes:
    return json.dumps({"online": True, "timestamp": _unique_ms()}).encode()


def empty(_victim: Victim) -> bytes:
    return b""


def mark(victim: Victim) -> bytes:
    fields = {"v": 1, "session": victim.session, "host": HOST, "n": 10**6, "repeat": False, "cursor": "live"}
    return json.dumps(fields | {"mark": _unique_ms(), "messages": 0}).encode()


def confirm(victim: Victim) -> bytes:
    return json.dumps({"session": victim.session, "n": _unique_ms(), "ok": True}).encode()


def fact(kind: str, source: str) -> Payload:
    def payload(_victim: Victim) -> bytes:
        body = {"job_order": "WO-666/0010", "work_order": "WO-666"} if kind == "job" else {"lot": "L-666"}
        fields = {
            "schema": "uns1.fact/1",
            "id": f"spoof:{_unique_ms()}",
            "kind": kind,
            "equipment": "reactor4",
            "source": source,
            "source_rev": "1",
            "valid_from": "2026-06-03T19:02:11Z",
        }
        return json.dumps(fields | body).encode()

    return payload


def answer(_victim: Victim) -> bytes:
    return json.dumps({"schema": "uns1.fact_answer/1", "id": f"x:{_unique_ms()}", "source_rev": "1"}).encode()


def anchor(_victim: Victim) -> bytes:
    fields = {"schema": "uns1.audit_anchor/1", "component": HOST, "log": "0" * 32, "number": 1, "hash": "0" * 64}
    return json.dumps(fields | {"at": str(_unique_ms())}).encode()


def output(_victim: Victim) -> bytes:
    return json.dumps({"schema": "uns1.spoof/1", "value": 999.0, "at": _unique_ms()}).encode()


# ── who, what ────────────────────────────────────────────────────────────────────────────────────────────────────────

OTHER_NODE = Login(credential=f"{GROUP}/{OTHER}")
MES, SCANNER = Login(credential="fact/mes"), Login(credential="fact/scanner")
READER = Login(credential=f"reader/{GROUP}")
STANDBY_HOST, STANDBY_OUT, STANDBY_FACTS = (Login(credential=f"{STANDBY}{end}") for end in ("", "-out", "-facts"))


def _publish(name: str, login: Login, topic: str, payload: Payload, *, retain: bool = False) -> Attempt:
    return Attempt(name=name, login=login, topic=topic, payload=payload, retain=retain)


def _will(name: str, login: Login, topic: str, payload: Payload, *, retain: bool = False) -> Attempt:
    return Attempt(name=f"will: {name}", login=login, do="will", topic=topic, payload=payload, retain=retain)


def _take(client_id: str, login: Login) -> Attempt:
    return Attempt(name=f"client id {client_id} by {login.credential}", login=login, do="take", client_id=client_id)


def _login(name: str, login: Login) -> Attempt:
    return _publish(f"login: {name}", login, f"{NODE}/NBIRTH/{VICTIM}", node_birth)


BIRTHS_AND_DATA = (
    _publish("NBIRTH of another node", OTHER_NODE, f"{NODE}/NBIRTH/{VICTIM}", node_birth),
    _publish("retained NBIRTH of another node", OTHER_NODE, f"{NODE}/NBIRTH/{VICTIM}", node_birth, retain=True),
    _publish("NDATA of another node", OTHER_NODE, f"{NODE}/NDATA/{VICTIM}", data),
    _publish("NDEATH of another node", OTHER_NODE, f"{NODE}/NDEATH/{VICTIM}", node_death),
    _publish("DBIRTH of another node's device", OTHER_NODE, f"{NODE}/DBIRTH/{VICTIM}/reactor4", device_birth),
    _publish("DDATA of another node's device", OTHER_NODE, f"{NODE}/DDATA/{VICTIM}/reactor4", data),
    _publish("DDEATH of another node's device", OTHER_NODE, f"{NODE}/DDEATH/{VICTIM}/reactor4", device_death),
    _publish("DBIRTH of a device it does not feed", OTHER_NODE, f"{NODE}/DBIRTH/{OTHER}/mill1", device_birth),
    _publish("DDATA of a device it does not feed", OTHER_NODE, f"{NODE}/DDATA/{OTHER}/mill1", data),
    _publish("NBIRTH of a node nobody declared", OTHER_NODE, f"{NODE}/NBIRTH/gw-ghost", node_birth),
    _publish("NBIRTH in another group", OTHER_NODE, f"spBv1.0/acme.houston/NBIRTH/{OTHER}", node_birth),
    _publish("NBIRTH by a reader", READER, f"{NODE}/NBIRTH/{VICTIM}", node_birth),
    _publish("DDATA by a fact source", MES, f"{NODE}/DDATA/{VICTIM}/reactor4", data),
    _publish("DDATA by a host's output", STANDBY_OUT, f"{NODE}/DDATA/{VICTIM}/reactor4", data),
    _publish("NDEATH by another host", STANDBY_HOST, f"{NODE}/NDEATH/{VICTIM}", node_death),
)
HOST_STATE = (
    _publish("STATE offline by an edge node", OTHER_NODE, STATE, offline, retain=True),
    _publish("STATE newer by an edge node", OTHER_NODE, STATE, online, retain=True),
    _publish("STATE deleted by an edge node", OTHER_NODE, STATE, empty, retain=True),
    _publish("STATE offline by another host", STANDBY_HOST, STATE, offline, retain=True),
    _publish("STATE offline by a host's output", STANDBY_OUT, STATE, offline, retain=True),
    _publish("STATE of a host nobody declared", READER, "spBv1.0/STATE/ghost", online, retain=True),
)
COMMANDS = (
    _publish("rebirth request by an edge node", OTHER_NODE, f"{NODE}/NCMD/{VICTIM}", rebirth),
    _publish("rebirth request to itself", OTHER_NODE, f"{NODE}/NCMD/{OTHER}", rebirth),
    _publish("rebirth request by a fact source", SCANNER, f"{NODE}/NCMD/{VICTIM}", rebirth),
    _publish("rebirth request by a host's facts connection", STANDBY_FACTS, f"{NODE}/NCMD/{VICTIM}", rebirth),
    _publish("device command by an edge node", OTHER_NODE, f"{NODE}/DCMD/{VICTIM}/reactor4", write),
    _publish("device command by a reader", READER, f"{NODE}/DCMD/{VICTIM}/reactor4", write),
    _publish("device command by another host", STANDBY_HOST, f"{NODE}/DCMD/{VICTIM}/reactor4", write),
    _publish("request toward equipment", OTHER_NODE, f"{PLACE}/_cmd/start", output),
)
DELIVERY = (
    _publish("mark of another node", OTHER_NODE, f"{MARK}/{VICTIM}", mark),
    _publish("mark of a node nobody declared", OTHER_NODE, f"{MARK}/gw-ghost", mark),
    _publish("mark by a host", STANDBY_HOST, f"{MARK}/{VICTIM}", mark),
    _publish("presence of another node", OTHER_NODE, f"uns1/_online/{GROUP}/{VICTIM}", output, retain=True),
    _publish("presence of a node by a host", STANDBY_HOST, f"uns1/_online/{GROUP}/{VICTIM}", output, retain=True),
    _publish("confirmation for another node", OTHER_NODE, f"{CONFIRM}/{VICTIM}", confirm),
    _publish("confirmation for itself", OTHER_NODE, f"{CONFIRM}/{OTHER}", confirm),
    _publish("confirmation by a reader", READER, f"{CONFIRM}/{VICTIM}", confirm),
    _publish("confirmation by a host's output", STANDBY_OUT, f"{CONFIRM}/{VICTIM}", confirm),
)
FACTS = (
    _publish("job of MES by the scanner", SCANNER, f"{SITE}/_fact/mes/job", fact("job", "mes")),
    _publish("a kind that the scanner may not state", SCANNER, f"{SITE}/_fact/scanner/job", fact("job", "scanner")),
    _publish("lot of the scanner by an edge node", OTHER_NODE, f"{SITE}/_fact/scanner/lot", fact("lot", "scanner")),
    _publish("phase as the PLC by MES", MES, f"{SITE}/_fact/plc/recipe_phase", fact("job", "plc")),
    _publish("job in a site that is not there", MES, "uns1/acme/houston/_fact/mes/job", fact("job", "mes")),
    _publish("job of MES by a reader", READER, f"{SITE}/_fact/mes/job", fact("job", "mes")),
    _publish("job of MES by a host's output", STANDBY_OUT, f"{SITE}/_fact/mes/job", fact("job", "mes")),
    _publish("answer to MES by the scanner", SCANNER, f"{SITE}/_fact_result/mes/job", answer),
)
OUTPUTS = (
    _publish("tick by an edge node", OTHER_NODE, f"{SITE}/_data/reaction/line2/reactor4", output),
    _publish("tick by a reader", READER, f"{SITE}/_data/reaction/line2/reactor4", output),
    _publish("present value by an edge node", OTHER_NODE, f"{PLACE}/_pv/temperature", output, retain=True),
    _publish("snapshot by a fact source", SCANNER, f"{PLACE}/_pv", output, retain=True),
    _publish("context by MES itself", MES, f"{PLACE}/_ctx", output, retain=True),
    _publish("health deleted by an edge node", OTHER_NODE, f"{PLACE}/_health", empty, retain=True),
    _publish("restatement by an edge node", OTHER_NODE, f"{SITE}/_res/reaction/line2/reactor4", output),
    _publish("event by a reader", READER, f"{SITE}/_event/reaction/line2/reactor4/alarm", output),
    _publish("state of an order by MES", MES, f"{SITE}/_wo/WO-10234", output, retain=True),
    _publish("dead letter by an edge node", OTHER_NODE, "uns1/_dlq/sparkplug", output),
    _publish("output by a host's Sparkplug connection", STANDBY_HOST, f"{PLACE}/_ctx", output, retain=True),
)
ANCHORS = (
    _publish("anchor of the host's audit log by an edge node", OTHER_NODE, ANCHOR, anchor, retain=True),
    _publish("anchor of the host's audit log by a fact source", MES, ANCHOR, anchor, retain=True),
    _publish("anchor of the host's audit log by another host", STANDBY_OUT, ANCHOR, anchor, retain=True),
    _publish("anchor of the host's audit log by its facts name", STANDBY_FACTS, ANCHOR, anchor, retain=True),
    _publish("anchor of the host's audit log deleted by a reader", READER, ANCHOR, empty, retain=True),
    _publish("anchor of a bridge by an edge node", OTHER_NODE, "uns1/_audit/history", anchor, retain=True),
    _publish("anchor of nobody by another host", STANDBY_OUT, "uns1/_audit/ghost", anchor, retain=True),
    _will("anchor of the host's audit log", SCANNER, ANCHOR, anchor, retain=True),
)
WILLS = (
    _will("NDEATH of another node", OTHER_NODE, f"{NODE}/NDEATH/{VICTIM}", node_death),
    _will("STATE offline", OTHER_NODE, STATE, offline, retain=True),
    _will("rebirth request", READER, f"{NODE}/NCMD/{VICTIM}", rebirth),
    _will("confirmation", SCANNER, f"{CONFIRM}/{VICTIM}", confirm),
    _will("mark of another node", STANDBY_OUT, f"{MARK}/{VICTIM}", mark),
    _will("job of MES", SCANNER, f"{SITE}/_fact/mes/job", fact("job", "mes")),
    _will("present value", READER, f"{PLACE}/_pv/temperature", output, retain=True),
)
CLIENT_IDS = (
    _take(f"host:{HOST}", OTHER_NODE),
    _take(f"{HOST}-out", OTHER_NODE),
    _take(f"{HOST}-facts", READER),
    _take(f"edge:{GROUP}/{VICTIM}", SCANNER),
    _take(f"{GROUP}/{VICTIM}", OTHER_NODE),  # what a secured broker calls it
    _take(HOST, STANDBY_HOST),
)
LOGINS = (
    _login("no TLS", Login(plain=True)),
    _login("no certificate", Login()),
    _login("no certificate, the victim's user name", Login(username=f"{GROUP}/{VICTIM}")),
    _login("another's certificate, the victim's user name", Login(credential="fact/mes", username=f"{GROUP}/{VICTIM}")),
    _login("the victim's name from another authority", Login(credential=f"{GROUP}/{VICTIM}", authority=FOREIGN)),
    _login("the victim's name, expired", Login(credential=f"{GROUP}/{VICTIM}", authority=EXPIRED)),
    _login("the victim's name, not valid yet", Login(credential=f"{GROUP}/{VICTIM}", authority=FUTURE)),
    _login("the broker's own certificate", Login(credential="broker")),
    *(_login(f"certified as {name!r}", Login(credential=name)) for name in UNKNOWN),
)

ATTEMPTS = (
    *BIRTHS_AND_DATA,
    *HOST_STATE,
    *COMMANDS,
    *DELIVERY,
    *FACTS,
    *OUTPUTS,
    *ANCHORS,
    *WILLS,
    *CLIENT_IDS,
    *LOGINS,
)
