"""One message in the eyes of a rule, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from uns.doctor.memory import DeviceMemory, HostMemory, NodeMemory
from uns.doctor.reading import RawMetric, RawPayload
from uns.sparkplug.metrics import BD_SEQ

__all__ = [
    "BIRTHS",
    "COMMANDS",
    "DATA",
    "DEATHS",
    "PAYLOADS",
    "STATE",
    "TOPIC",
    "Check",
    "Outcome",
    "Rule",
    "Sight",
    "StateView",
    "read_state",
]

# True: kept, in a place where it could have been broken. None: does not apply, or cannot be told. Text: broken, and
# what was seen in place of what is expected.
Outcome = str | bool | None

STATE = "STATE"
TOPIC = "TOPIC"  # a topic that is none of the standard's
BIRTHS = ("NBIRTH", "DBIRTH")
DATA = ("NDATA", "DDATA")
_STATE_MS_MIN = 1_000_000_000_000
_STATE_MS_MAX = 4_102_444_800_000
DEATHS = ("NDEATH", "DDEATH")
COMMANDS = ("NCMD", "DCMD")
PAYLOADS = (*BIRTHS, *DATA, *DEATHS, *COMMANDS)


class StateView(msgspec.Struct, frozen=True):
    """A STATE payload taken apart."""

    problem: str  # what is wrong with its form; empty: a STATE of version 3
    online: bool | None
    timestamp: int | None
    legacy: bool  # the plain text of version 2.2


def read_state(payload: bytes) -> StateView:
    """Take a STATE apart: JSON with ``online`` and ``timestamp``, and what else is on the wire."""
    text = payload[:16].strip().upper()
    if text in {b"ONLINE", b"OFFLINE"}:
        return StateView(f"the text {text.decode()} of version 2.2", text == b"ONLINE", None, legacy=True)
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return StateView(f"no JSON: {payload[:40]!r}", None, None, legacy=False)
    if not isinstance(found, dict):
        return StateView("JSON, but no object", None, None, legacy=False)
    online, timestamp = found.get("online"), found.get("timestamp")
    problem = ""
    if not isinstance(online, bool):
        problem = "no online" if online is None else f"online: {online!r}"[:80]
        online = None
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        problem = problem or ("no timestamp" if timestamp is None else f"timestamp: {timestamp!r}"[:80])
        timestamp = None
    elif not _STATE_MS_MIN <= timestamp <= _STATE_MS_MAX:
        problem = problem or f"timestamp: {timestamp}, no ms since 1970 of this century"
    return StateView(problem, online, timestamp, legacy=False)


class Sight:
    """A message with what was known before it. Rules read it; nothing in it changes while they do."""

    __slots__ = (
        "bd_seq_metrics",
        "device",
        "device_id",
        "host",
        "kind",
        "levels",
        "metrics",
        "node",
        "now_ns",
        "number",
        "payload_problem",
        "qos",
        "raw",
        "retain",
        "state",
        "subject",
        "topic",
        "whole",
    )

    def __init__(self, *, number: int, topic: str, kind: str, now_ns: int, qos: int, retain: bool) -> None:
        self.number = number
        self.topic = topic
        self.kind = kind
        self.now_ns = now_ns
        self.qos = qos
        self.retain = retain
        self.levels: list[str] = topic.split("/")
        self.subject = ""
        self.device_id: str | None = None
        self.node: NodeMemory | None = None
        self.device: DeviceMemory | None = None
        self.host: HostMemory | None = None
        self.raw: RawPayload | None = None
        self.metrics: list[RawMetric] = []
        self.bd_seq_metrics: list[RawMetric] = []
        self.whole = False  # the metrics were read, all of them
        self.payload_problem = ""
        self.state: StateView | None = None

    @property
    def bd_seq(self) -> int | None:
        """The value of the bdSeq metric."""
        for metric in self.bd_seq_metrics:
            if metric.value is not None and isinstance(metric.value.value, int):
                return metric.value.value
        return None

    @property
    def meant(self) -> str:
        """The message type that its topic names, in the wrong shape too; ``TOPIC`` where it names none."""
        is_ours = self.kind == TOPIC and self.levels[0] == "spBv1.0" and len(self.levels) > 2
        return self.levels[2] if is_ours and self.levels[2] in PAYLOADS else self.kind

    def read_control_metrics(self) -> None:
        """Find bdSeq among the metrics."""
        self.bd_seq_metrics = [metric for metric in self.metrics if metric.name == BD_SEQ]


Check = Callable[[Sight], Outcome]


class Rule(msgspec.Struct, frozen=True):
    """One line of the table: which messages it looks at, how it judges them, and what to say of a broken one."""

    key: str
    kinds: tuple[str, ...]
    check: Check
    expected: str
    next_step: str
    retained: bool = False  # looks at what the broker kept from before, too
