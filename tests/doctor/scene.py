"""A plant made of messages, right by default; each test breaks what it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from schemas.sparkplug_b_pb2 import Payload
from uns.doctor.grader import Grader
from uns.doctor.report import Finding, Report
from uns.doctor.reporting import build_report

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000_000 * MS
Change = Callable[[Any], Any] | None

BOOLEAN, DOUBLE, INT64, STRING, INT32, DATASET, TEMPLATE = 11, 10, 4, 12, 3, 16, 19


def unchanged(_payload: Any) -> None:
    """Leave the message as it is."""


class Scene:
    """One node ``G/E`` with device ``D``, one host ``h``; every helper sends one message a millisecond later."""

    def __init__(self, grader: Grader | None = None, *, group: str = "G") -> None:
        self.now = T0
        self.grader = Grader(self.now) if grader is None else grader
        self.group = group
        self.seq = 0
        self.bd_seq = 0
        self.value = 0.0
        self.finished = False

    # ── the world ────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        self.now += MS
        self.grader.receive(topic, payload, qos, retain, self.now)

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * S)
        self.grader.receive_timer(self.now)

    def report(self, *, look_again: bool = True) -> Report:
        if not self.finished:
            if look_again:
                self.grader.look_again()
            self.grader.finish(self.now)
            self.finished = True
        return build_report(self.grader, now_ns=self.now, broker="mqtt://test")

    def findings(self, rule: str | None = None) -> list[Finding]:
        found = [finding for subject in self.report().subjects for finding in subject.findings]
        return [finding for finding in found if rule is None or finding.rule == rule]

    # ── payloads ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def now_ms(self) -> int:
        return self.now // MS

    def payload(self, seq: int | None = None) -> Any:
        made = Payload(timestamp=self.now_ms)
        if seq is not None:
            made.seq = seq
        return made

    def add(self, payload: Any, name: str | None, datatype: int | None = None, *, alias: int | None = None, **value):
        metric = payload.metrics.add()
        metric.timestamp = self.now_ms
        if name is not None:
            metric.name = name
        if datatype is not None:
            metric.datatype = datatype
        if alias is not None:
            metric.alias = alias
        for field, held in value.items():
            setattr(metric, field, held)
        return metric

    def next_seq(self) -> int:
        self.seq = (self.seq + 1) % 256
        return self.seq

    def _send(
        self, kind: str, made: Any, change: Change, *, node: str, device: str | None, extra: bytes = b"", **more: Any
    ) -> None:
        """``extra`` is appended to the payload: what protobuf would not write."""
        if change is not None:
            change(made)
        topic = f"spBv1.0/{self.group}/{kind}/{node}" + ("" if device is None else f"/{device}")
        self.send(topic, made.SerializeToString() + extra, **more)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────

    def nbirth(self, change: Change = None, *, node: str = "E", **more: Any) -> None:
        self.seq = 0
        made = self.payload(0)
        self.add(made, "bdSeq", INT64, long_value=self.bd_seq)
        self.add(made, "Node Control/Rebirth", BOOLEAN, boolean_value=False)
        self.add(made, "uptime", DOUBLE, alias=1, double_value=1.0)
        self._send("NBIRTH", made, change, node=node, device=None, **more)

    def dbirth(
        self, change: Change = None, *, node: str = "E", device: str = "D", alias: int = 10, **more: Any
    ) -> None:
        made = self.payload(self.next_seq())
        self.add(made, "temperature", DOUBLE, alias=alias, double_value=2.0)
        self.add(made, "phase", STRING, string_value="idle")
        self._send("DBIRTH", made, change, node=node, device=device, **more)

    def ndata(self, change: Change = None, *, node: str = "E", **more: Any) -> None:
        self.value += 1
        made = self.payload(self.next_seq())
        self.add(made, None, alias=1, double_value=self.value)
        self._send("NDATA", made, change, node=node, device=None, **more)

    def ddata(self, change: Change = None, *, node: str = "E", device: str = "D", **more: Any) -> None:
        self.value += 1
        made = self.payload(self.next_seq())
        self.add(made, None, alias=10, double_value=self.value)
        self._send("DDATA", made, change, node=node, device=device, **more)

    def ndeath(self, change: Change = None, *, node: str = "E", qos: int = 1, **more: Any) -> None:
        made = Payload()
        metric = made.metrics.add()
        metric.name, metric.datatype, metric.long_value = "bdSeq", INT64, self.bd_seq
        self._send("NDEATH", made, change, node=node, device=None, qos=qos, **more)

    def ddeath(self, change: Change = None, *, node: str = "E", device: str = "D", **more: Any) -> None:
        self._send("DDEATH", self.payload(self.next_seq()), change, node=node, device=device, **more)

    def ncmd(self, change: Change = None, *, node: str = "E", **more: Any) -> None:
        made = self.payload()
        self.add(made, "Node Control/Rebirth", boolean_value=True)
        self._send("NCMD", made, change, node=node, device=None, **more)

    def dcmd(self, change: Change = None, *, node: str = "E", device: str = "D", **more: Any) -> None:
        made = self.payload()
        self.add(made, None, alias=10, double_value=3.0)
        self._send("DCMD", made, change, node=node, device=device, **more)

    def state(
        self, *, online: bool = True, timestamp: int | None = None, host: str = "h", qos: int = 1, **more
    ) -> None:
        document = {"online": online, "timestamp": self.now_ms if timestamp is None else timestamp}
        self.send(f"spBv1.0/STATE/{host}", json.dumps(document).encode(), qos=qos, **more)

    # ── sequences ────────────────────────────────────────────────────────────────────────────────────────────────

    def births(self, change: Change = None) -> None:
        self.nbirth()
        self.dbirth(change)

    def reconnect(self) -> None:
        """A death and the next CONNECT."""
        self.ndeath()
        self.bd_seq = (self.bd_seq + 1) % 256
        self.births()


def broken(scene: Scene) -> set[tuple[str, str, str]]:
    return {(finding.rule, finding.message_type, finding.subject) for finding in scene.findings()}
