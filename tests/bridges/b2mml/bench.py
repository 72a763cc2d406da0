"""A broker, a host and a b2mml bridge as processes, below one directory, for tests that may kill them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import msgspec

from benchmarks.emulated_edge import EmulatedEdge
from tests.faults.process import Child, python_module, until
from tests.runtime.plants import births_of
from tests.servers import mosquitto
from uns.adapters.broker import MosquittoProcess
from uns.adapters.mqtt import BrokerAddress
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.context.facts import Fact
from uns.namespace.loader import load_tree
from uns.runtime.fact_sender import FactSender
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["TREE", "MesBench"]

TREE = """\
uns: 1
enterprise: acme
classes:
  BatchReactor:
    context: {requires: [job]}
    metrics:
      temperature: {type: Float,  unit: CEL, range: [-20, 250], role: quality}
      batch/count: {type: UInt32, unit: C62, role: counter, counts: good, rollover: 4294967296}
      batch/scrap: {type: UInt32, unit: C62, role: counter, counts: scrap, rollover: 4294967296}
sites:
  dallas:
    time_zone: America/Chicago
    equipment:
      line2:
        level: ProcessCell
        equipment:
          reactor4: {level: Unit, class: BatchReactor, gateways: [gw-1]}
          reactor5: {level: Unit, class: BatchReactor, gateways: [gw-1]}
context:
  erp:     {provides: [job], precedence: 5}
  mes:     {provides: [job], precedence: 10}
  scanner: {provides: [lot], precedence: 10}
"""


Wrap = Callable[[Path, list[str]], list[str]]  # (directory, command) to the command to start instead


class MesBench:
    """Made, then :meth:`start_host` and ``bridge.start()``. Leave it as a context manager."""

    def __init__(
        self, directory: Path, *, tree: str = TREE, target: str = "", settings: str = "", wrap: Wrap | None = None
    ) -> None:
        self.directory = directory
        self.broker: MosquittoProcess = mosquitto(directory)
        self.tree = directory / "topic_tree.yaml"
        self.tree.write_text(tree)
        self.inbox, self.outbox = directory / "in", directory / "out"
        for folder in (self.inbox, self.outbox):
            folder.mkdir()
        self.config = directory / "mes.bridge.yaml"
        self.sockets = Path(tempfile.mkdtemp(prefix="uns-"))
        self._target = target or "{source: erp, inbox: in, outbox: out, sender: uns-dallas, poll: 50ms, settle: 0s}"
        self._settings = settings or "grace: 0s\nretry: {first: 50ms, max: 200ms}\n"
        command = python_module("uns", "bridge", "run", "--config", str(self.config), "--log-json")
        self.bridge = Child(
            "bridge", command if wrap is None else wrap(directory, command), log=directory / "bridge.log"
        )
        self.host: Child | None = None
        self._finished = 0
        self._began = datetime.now(UTC) - timedelta(hours=3)

    def __enter__(self) -> Self:
        self.broker.start()
        self.config.write_text(
            f"uns: 1\nbridge: mes\nkind: b2mml\nhost: {{store: host}}\nbroker: {{url: '{self.broker.url}'}}\n"
            f"tree: topic_tree.yaml\n{self._settings}target: {self._target}\n"
        )
        self.host = Child(
            "host",
            python_module(
                "uns", "host", "run", "--tree", str(self.tree), "--broker", self.broker.url,
                "--store", str(self.directory / "host"), "--api", f"unix:{self.sockets / 'host.sock'}", "--log-json",
            ),
            log=self.directory / "host.log",
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.bridge.kill()
        if self.host is not None:
            self.host.kill()
        self.broker.stop()

    async def start_host(self) -> None:
        assert self.host is not None
        self.host.start()
        host = self.host
        await until(lambda: "host started" in host.output, "the host has made its log, tables and all")

    def drop(self, body: bytes, name: str) -> None:
        part = self.inbox / f".{name}.part"
        part.write_bytes(body)
        part.rename(self.inbox / name)

    def waiting(self) -> list[str]:
        return sorted(path.name for path in self.inbox.glob("*.xml"))

    def archived(self) -> list[str]:
        return sorted(path.name for path in self.inbox.glob("archive/*/*.xml"))

    def facts(self) -> list[Fact]:
        """Every message that the host accepted."""
        with contextlib.closing(RecordCursor(self.directory / "host/records.db")) as cursor:
            return [msgspec.json.decode(row[10], type=Fact) for row in cursor.facts()]

    async def finish(self, *jobs: str, equipment: str = "reactor4", gateway: str = "gw-1", **fields: Any) -> None:
        """Jobs of a minute each that ran one after the other, hours ago; each counts 5."""
        tree, address = load_tree(self.tree), BrokerAddress(url=self.broker.url)
        node = EdgeNodeDescriptor("acme.dallas", gateway)
        edge = EmulatedEdge(address, node, {equipment: births_of(tree, equipment)}, mark_interval_ms=50)
        task = asyncio.create_task(edge.run())
        try:
            async with FactSender(address, tree, client_id="mes", keep_session=False) as sender:
                for name in jobs:
                    begin = self._began + timedelta(minutes=self._finished)
                    self._finished += 1
                    at_ms = int(begin.timestamp() * 1000)
                    samples = [(at_ms - 1000, self._finished * 5), (at_ms + 1000, self._finished * 5 + 5)]
                    edge.put(equipment, [("batch/count", value, time_ms) for time_ms, value in samples])
                    await until(lambda: edge.waiting == 0, "the host has the samples")
                    values: dict[str, Any] = {
                        "id": f"mes:{name}",
                        "kind": "job",
                        "equipment": equipment,
                        "job_order": name,
                        "state": "completed",
                        "valid_from": begin,
                        "valid_to": begin + timedelta(minutes=1),
                        "source": "mes",
                        "source_rev": "1",
                    }
                    answer = await sender.tell(Fact(**(values | fields)))
                    assert answer.accepted, answer.reason
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def stats(self) -> dict[str, Any]:
        """What the running bridge last said of itself."""
        found: dict[str, Any] = json.loads((self.directory / "mes.bridge.db.stats.json").read_bytes())
        return found

    def command(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "uns", *words], cwd=self.directory,
            capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def listed(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.command("bridge", "list", "--json", str(self.config)))
        return found[0]
