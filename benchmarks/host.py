"""What one host process takes: ``python -m benchmarks.host [--json] [--seconds N]``.

mosquitto, the real host process pinned to one core, a load process that speaks the real edge session and delivery, and
a QoS 1 subscriber of ``_data``. Raw and record log with ``synchronous=FULL``, ``_pv`` at 1/s.

1. The reference load: 10 devices of 100 metrics, 50 payloads/s each, is 50,000 metrics/s.
2. The most that is sustained, with 100-metric and with 10-metric payloads: the highest offered rate after which
   everything is confirmed, joined and published within ``SETTLE_S``, and half of it came within ``QUEUE_MS``.
3. Latency from the source time of a sample to the subscriber, at half of that.

Beside it stand limits measured in the same run: the same MQTT adapter receiving and publishing without any work, and
SQLite taking the same rows without anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import msgspec

from benchmarks.host_load import GATEWAY
from uns.adapters.broker import MosquittoProcess
from uns.adapters.http import get_json
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.sqlite.raw_log import RawLog, RawMessage
from uns.adapters.sqlite.record_log import RecordLog
from uns.enrichment.plan import RecordPlan
from uns.errors import UnsError

DEVICES = 10
REFERENCE_PAYLOADS_PER_S = 500  # 10 devices, 50 each
FLOORS = {100: 60_000, 10: 10_000}
START_PAYLOADS_PER_S = {100: 600, 10: 1_000}
SETTLE_S = 1.0
QUEUE_MS = 250.0
STEP = 1.3
HOST_CORE = 0


def tree_text(metrics: int) -> str:
    lines = "\n".join(f"      m/{n:03d}: {{type: Float, unit: CEL}}" for n in range(metrics))
    equipment = "\n".join(
        f"          unit{n:02d}: {{level: Unit, class: Load, gateways: [{GATEWAY}]}}" for n in range(DEVICES)
    )
    return (
        f"uns: 1\nenterprise: acme\nclasses:\n  Load:\n    context: {{requires: [job]}}\n    metrics:\n{lines}\n"
        "sites:\n  dallas:\n    time_zone: America/Chicago\n    equipment:\n      line:\n        level: ProcessCell\n"
        f"        equipment:\n{equipment}\ncontext:\n  mes: {{provides: [job]}}\n"
    )


class Companion:
    """A child that answers one JSON line with one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def read(self, timeout_s: float = 60.0) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self.process.stdout.readline()
        if not line:
            raise UnsError("a process of the benchmark ended")
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, timeout_s: float = 120.0, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.read(timeout_s)


@contextlib.asynccontextmanager
async def child(*arguments: str, cores: set[int] | None = None) -> AsyncIterator[Companion]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 22,
        preexec_fn=None if cores is None else (lambda: os.sched_setaffinity(0, cores)),
    )
    try:
        yield Companion(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(12):
                await process.wait()
        except TimeoutError:
            process.kill()


class Rig:
    """Broker, host, load and subscriber for one size of payload."""

    def __init__(self, directory: Path, metrics: int, *, profile: Path | None = None) -> None:
        self.directory = directory
        self.metrics = metrics
        self.profile = profile
        self.api = f"unix:{directory}/h.sock"

    async def __aenter__(self) -> Self:
        self.stack = contextlib.AsyncExitStack()
        enter = self.stack.enter_async_context
        tree = self.directory / "tree.yaml"
        tree.write_text(tree_text(self.metrics))
        broker = await enter(MosquittoProcess(directory=self.directory / "broker"))
        others = set(range(os.cpu_count() or 1)) - {HOST_CORE} or {HOST_CORE}
        assert broker.process is not None
        os.sched_setaffinity(broker.process.pid, others)
        options = ["--tree", str(tree), "--broker", broker.url, "--store", str(self.directory / "store")]
        command = ["uns", "host", "run", *options, "--api", self.api, "--log-level", "warning"]
        if self.profile is not None:
            command = ["cProfile", "-o", str(self.profile), "-m", *command]
        self.host = await enter(child(*command, cores={HOST_CORE}))
        await self.until_connected()
        self.subscriber = await enter(child("benchmarks.host_load", "subscribe", broker.url, cores=others))
        await self.subscriber.read()
        self.load = await enter(child("benchmarks.host_load", "load", broker.url, str(tree), cores=others))
        await self.load.read()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def until_connected(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(UnsError):
                if (await get_json(self.api, "/health"))["ok"]:
                    return
            if time.monotonic() > deadline:
                raise UnsError("the host does not connect")
            await asyncio.sleep(0.1)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.host.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.host.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def trial(self, payloads_per_s: float, seconds: float) -> dict[str, Any]:
        """Offer a load; whether it was taken."""
        await self.subscriber.ask(reset=True)
        cpu = self.cpu_s()
        made = await self.load.ask(payloads_per_s=payloads_per_s, seconds=seconds, patience_s=20.0)
        settled = time.perf_counter() - made["drained_s"]
        while True:
            health = await get_json(self.api, "/status", timeout_s=30)
            log = health["log"]
            if health["counters"]["unjoined"] == 0 and log["outbox_unacknowledged"] == 0:
                break
            if time.perf_counter() - settled > 30:
                break
            await asyncio.sleep(0.05)
        settle_s = time.perf_counter() - settled
        seen = await self.subscriber.ask()
        stored = made["stored"]
        return {
            "offered_metrics_per_s": payloads_per_s * self.metrics,
            "metrics_per_s": stored / made["seconds"],
            "settle_s": settle_s,
            "cpu_us_per_metric": (self.cpu_s() - cpu) / stored * 1e6,
            "host_cpu_share": (self.cpu_s() - cpu) / (made["seconds"] + settle_s),
            "host_rss_mb": self.rss_mb(),
            "p50_ms": seen["p50_ms"],
            "p99_ms": seen["p99_ms"],
            "subscriber_samples": seen["samples"],
            "lost": made["waiting"] + health["counters"]["unjoined"],
            "sustained": settle_s < SETTLE_S
            and made["waiting"] == 0
            and made["late_s"] < 0.5
            and (seen["p50_ms"] or 0.0) < QUEUE_MS,
        }

    async def search(self, seconds: float) -> dict[str, Any]:
        """The highest sustained rate, to about 10 %."""
        rate = float(START_PAYLOADS_PER_S[self.metrics])
        best: dict[str, Any] | None = None
        failed: float | None = None
        for _ in range(10):
            trial = await self.trial(rate, seconds)
            if trial["sustained"]:
                best = trial
                rate = rate * STEP if failed is None else (rate + failed) / 2
            else:
                failed = rate
                low = 0.0 if best is None else best["offered_metrics_per_s"] / self.metrics
                rate = (low + failed) / 2
            if best is not None and failed is not None and failed * self.metrics < best["offered_metrics_per_s"] * 1.12:
                break
        if best is None:
            raise UnsError("no rate is sustained")
        return best


async def bare_mqtt(directory: Path, metrics: int) -> float:
    """Payloads/s of a process on one core that takes each and publishes one, with nothing in between."""
    incoming, outgoing = bytes(18 * metrics + 20), bytes(110 * metrics + 300)

    class Out(msgspec.Struct):
        topic: str
        payload: bytes
        qos: int = 0
        retain: bool = False

    async with MosquittoProcess(directory=directory / "bare") as broker:
        address = BrokerAddress(url=broker.url)
        async with (
            MqttConnection(address, client_id="a") as feeder,
            MqttConnection(address, client_id="b") as taker,
            MqttConnection(address, client_id="c") as giver,
        ):
            await taker.subscribe([("in", 0)])
            count = 4_000
            began = time.process_time()
            feeding = asyncio.create_task(_feed(feeder, [Out("in", incoming)] * count))
            taken = 0
            used = 0.0
            while taken < count:
                batch = await taker.next_batch()
                start = time.thread_time()
                taken += len(batch)
                await giver.publish_many_tracked([Out("out", outgoing, 1)] * len(batch))
                used += time.thread_time() - start
            await feeding
            # The feeder is in this process: what it costs is measured alone and taken off.
            total = time.process_time() - began
            began = time.process_time()
            await _feed(feeder, [Out("nobody", incoming)] * count)
            await feeder.drain()
            total -= time.process_time() - began
    return count / total


async def _feed(connection: MqttConnection, messages: list[Any]) -> None:
    for at in range(0, len(messages), 50):
        await connection.writable()
        connection.publish_many(messages[at : at + 50])
        await asyncio.sleep(0)


def bare_sqlite(directory: Path, metrics: int) -> dict[str, float]:
    """Metrics/s that the logs' own writers take, in commits of about 2,000 samples, all of it on disk."""
    per_commit = max(2_000 // metrics, 1)
    raw = RawLog(directory / "bare-raw.db")
    rows = 40_000 // metrics
    payload = bytes(18 * metrics + 20)
    began = time.perf_counter()
    for at in range(0, rows, per_commit):
        raw.append([RawMessage(at + n + 1, 0, "t", "s", metrics, payload) for n in range(per_commit)])
    raw_rate = rows * metrics / (time.perf_counter() - began)
    raw.close()
    records = RecordLog(directory / "bare-records.db")
    records.load()
    began = time.perf_counter()
    position = 0
    for commit in range(0, rows, per_commit):
        plan = RecordPlan(next_position=1)
        if commit == 0:
            count = DEVICES * metrics
            plan.series = [
                (n + 1, f"unit{n // metrics:02d}", f"m/{n % metrics:03d}", "Float", "CEL") for n in range(count)
            ]
        for n in range(per_commit):
            payload_id = commit + n + 1
            plan.payloads.append((payload_id, "g", "n", "d", "s", 0, 0, 0, 0, 0, payload_id))
            for m in range(metrics):
                position += 1
                series = (payload_id % DEVICES) * metrics + m + 1
                plan.samples.append(
                    (position, series, payload_id * 1_000_000, 0, 182.5, None, None, 0, 0, 0, payload_id)
                )
        records.commit(plan, joined=commit)
    record_rate = rows * metrics / (time.perf_counter() - began)
    records.close()
    return {"raw_metrics_per_s": raw_rate, "record_metrics_per_s": record_rate}


async def measure(seconds: float, sizes: list[int], profile: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "benchmark": "host",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "sizes": {},
    }
    for metrics in sizes:
        with tempfile.TemporaryDirectory(prefix="uns-bench-") as name:
            directory = Path(name)
            result: dict[str, Any] = {"floor_metrics_per_s": FLOORS[metrics]}
            async with Rig(directory, metrics, profile=profile) as rig:
                await rig.trial(200, 1.0)  # warm
                if metrics == 100 or profile is not None:
                    found["reference"] = await rig.trial(REFERENCE_PAYLOADS_PER_S if metrics == 100 else 1_000, seconds)
                if profile is None:
                    result["most"] = await rig.search(seconds)
                    half = result["most"]["offered_metrics_per_s"] / metrics / 2
                    result["half"] = await rig.trial(half, seconds)
            if profile is None:
                payloads = await bare_mqtt(directory, metrics)
                result["limits"] = {"mqtt_metrics_per_s": payloads * metrics, **bare_sqlite(directory, metrics)}
            found["sizes"][str(metrics)] = result
    return found


def show(found: dict[str, Any]) -> None:
    def line(name: str, trial: dict[str, Any]) -> None:
        print(
            f"  {name:26} {trial['metrics_per_s']:>9,.0f} metrics/s   {trial['cpu_us_per_metric']:5.1f} µs CPU each   "
            f"p50 {trial['p50_ms'] or 0:6.1f} ms  p99 {trial['p99_ms'] or 0:6.1f} ms   {trial['host_rss_mb']:.0f} MB"
        )

    print(f"Host on one core of {found['cores']}, Python {found['python']}, SQLite {found['sqlite']}, FULL")
    if "reference" in found:
        line("reference load", found["reference"])
    for size, result in found["sizes"].items():
        if "most" not in result:
            continue
        most = result["most"]
        floor = result["floor_metrics_per_s"]
        verdict = "met" if most["metrics_per_s"] >= floor else "MISSED"
        print(f"{size}-metric payloads (floor {floor:,} metrics/s: {verdict})")
        line("most sustained", most)
        line("half of it", result["half"])
        limits = result["limits"]
        print(
            f"  limits beside it: bare MQTT in and out {limits['mqtt_metrics_per_s']:,.0f}, "
            f"SQLite raw {limits['raw_metrics_per_s']:,.0f}, records {limits['record_metrics_per_s']:,.0f} metrics/s"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each trial")
    parser.add_argument("--size", type=int, choices=sorted(FLOORS), action="append", help="metrics per payload")
    parser.add_argument("--profile", type=Path, help="profile the host at the reference load; nothing else is measured")
    options = parser.parse_args()
    sizes = options.size or ([100] if options.profile else [100, 10])
    found = asyncio.run(measure(options.seconds, sizes, options.profile))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    missed = [s for s, r in found["sizes"].items() if "most" in r and r["most"]["metrics_per_s"] < FLOORS[int(s)]]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
