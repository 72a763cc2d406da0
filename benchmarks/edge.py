"""The edge under load: 1,000 OPC UA tags at 10 Hz, store on, everything confirmed. ``python -m benchmarks.edge``.

Real processes: an asyncua server, mosquitto, ``uns-edge run``, and the smallest confirming host. In the same run, on
the same server, a bare asyncua subscription that does nothing but count: what asyncua itself costs. Elsewhere, and
without a store, ThingsBoard Gateway took 36 % of a core and 97 MB for the same tags.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from benchmarks.opcua_load import NAMESPACE
from uns.adapters.broker import MosquittoProcess, find_mosquitto

PEER = {"name": "ThingsBoard Gateway (no store, elsewhere)", "cpu_percent": 36.0, "rss_mb": 97.0}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process:
    """A module of ours as a child, with its CPU time and memory."""

    def __init__(self, *arguments: str, log: TextIO) -> None:
        self.name = " ".join(arguments)
        self.child = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=log, text=True)

    def line(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        text = self.child.stdout.readline()
        if not text:
            raise SystemExit(f"a process of the benchmark ended early: {self.name}")
        found: dict[str, Any] = json.loads(text)
        return found

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def rss_mb(self) -> float:
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        return 0.0

    def share(self, seconds: float) -> tuple[float, float]:
        """CPU in percent of a core over ``seconds``, and memory at their end."""
        began, cpu = time.monotonic(), self.cpu_s()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - cpu) / (time.monotonic() - began), self.rss_mb()

    def end(self) -> dict[str, Any]:
        self.child.send_signal(signal.SIGTERM)
        out, _ = self.child.communicate(timeout=20)
        found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return found

    def kill(self) -> None:
        self.child.kill()
        self.child.communicate()


def write_files(directory: Path, *, tags: int, opcua_url: str, broker_url: str) -> Path:
    metrics = "\n".join(f"      t{tag:05d}: {{type: Double}}" for tag in range(tags))
    (directory / "topic_tree.yaml").write_text(
        f"uns: 1\nenterprise: acme\nclasses:\n  Load:\n    metrics:\n{metrics}\n"
        "sites:\n  dallas:\n    time_zone: America/Chicago\n    equipment:\n"
        "      load1: {level: Unit, class: Load, gateways: [gw-load]}\n"
    )
    wiring = "\n".join(f'        t{tag:05d}: {{node: "nsu={NAMESPACE};s=T{tag:05d}"}}' for tag in range(tags))
    node = directory / "node.yaml"
    node.write_text(
        f"uns: 1\ngateway: gw-load\ntree: topic_tree.yaml\nbroker: {{url: {broker_url}}}\n"
        "store: {path: store.db}\ndelivery: {level: host, confirm_host_id: uns-host-1}\n"
        f"sources:\n  plc:\n    kind: opcua\n    url: {opcua_url}\n    publishing: 100ms\n"
        f"    trigger: status_value_timestamp\n    equipment:\n      load1:\n{wiring}\n"
    )
    return node


def stats_of(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def wait_for(what: str, condition: Any, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the benchmark waited {seconds} s in vain: {what}")
        time.sleep(0.1)


def measure(directory: Path, *, tags: int, hertz: float, seconds: float) -> dict[str, Any]:
    log = (directory / "log.txt").open("w")
    processes: list[Process] = []

    def start(*arguments: str) -> Process:
        processes.append(Process(*arguments, log=log))
        return processes[-1]

    with MosquittoProcess(port=0, directory=directory / "mosquitto") as broker:
        try:
            server = start("benchmarks.opcua_load", "serve", "--tags", str(tags), "--hertz", str(hertz))
            url = str(server.line()["url"])
            host = start("benchmarks.confirming_host", "--broker", broker.url)
            node = write_files(directory, tags=tags, opcua_url=url, broker_url=broker.url)
            stats_file = directory / "stats.json"
            edge = start("edge_nodes.cli", "run", "-c", str(node), "--stats-json", str(stats_file))
            wait_for("all tags stored once", lambda: stats_of(stats_file).get("stored", 0) >= tags)
            server.child.send_signal(signal.SIGUSR1)
            time.sleep(3)
            before = stats_of(stats_file)
            cpu, rss = edge.share(seconds)
            after = stats_of(stats_file)
            server.child.send_signal(signal.SIGUSR2)
            wait_for("all confirmed", lambda: stats_of(stats_file).get("waiting") == 0)
            last = edge.end()
            received = host.end()["received"]

            bare = start("benchmarks.opcua_load", "subscribe", "--tags", str(tags), "--url", url)
            bare.line()
            server.child.send_signal(signal.SIGUSR1)
            time.sleep(3)
            bare_cpu, bare_rss = bare.share(seconds)
            server.child.send_signal(signal.SIGUSR2)
            changes = bare.end()["changes"]
            written = server.end()
        finally:
            for process in processes:
                if process.child.poll() is None:
                    process.kill()
            log.close()
    rate = (after["read"] - before["read"]) / max(1e-9, _seconds(after) - _seconds(before))
    return {
        "tags": tags,
        "hertz": hertz,
        "seconds": seconds,
        "edge": {
            "values_per_second": round(rate),
            "cpu_percent": round(cpu, 1),
            "rss_mb": round(rss, 1),
            "us_per_value": round(1e4 * cpu / rate, 1) if rate else None,
            **{key: last[key] for key in ("read", "reduced", "stored", "confirmed", "waiting", "dropped", "refused")},
        },
        "host_received": received,
        "all_confirmed": last["stored"] == last["confirmed"] == received and last["dropped"] == 0,
        "bare_asyncua": {"cpu_percent": round(bare_cpu, 1), "rss_mb": round(bare_rss, 1), "changes": changes},
        "peer": PEER,
        "server": written,
    }


def _seconds(stats: dict[str, Any]) -> float:
    return datetime.fromisoformat(stats["time"]).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure each (20)")
    parser.add_argument("--tags", type=int, default=1000)
    parser.add_argument("--hertz", type=float, default=10.0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if find_mosquitto() is None:
        raise SystemExit("this benchmark needs mosquitto: apt-get install mosquitto")
    with tempfile.TemporaryDirectory(prefix="uns-edge-benchmark-") as directory:
        result = measure(Path(directory), tags=options.tags, hertz=options.hertz, seconds=options.seconds)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    edge, bare, peer = result["edge"], result["bare_asyncua"], result["peer"]
    print(f"{result['tags']} OPC UA tags at {result['hertz']:g} Hz, measured {result['seconds']:g} s")
    print(f"  {'':44}{'CPU of a core':>14}{'memory':>10}")
    print(f"  {'uns-edge (store on, all confirmed)':44}{edge['cpu_percent']:>13}%{edge['rss_mb']:>7} MB")
    print(f"  {'bare asyncua subscription (counts only)':44}{bare['cpu_percent']:>13}%{bare['rss_mb']:>7} MB")
    print(f"  {peer['name'][:44]:44}{peer['cpu_percent']:>13}%{peer['rss_mb']:>7} MB")
    print(f"  {edge['values_per_second']} values/s, {edge['us_per_value']} µs CPU each")
    offered = result["tags"] * result["hertz"]
    if edge["values_per_second"] < 0.95 * offered:
        print(f"  the server did not keep its rate of {offered:g} values/s on this machine: look at the µs per value")
    print(
        f"  read {edge['read']} = reduced {edge['reduced']} + stored {edge['stored']} + refused {edge['refused']}; "
        f"confirmed {edge['confirmed']}, waiting {edge['waiting']}, host received {result['host_received']}"
    )
    if not result["all_confirmed"]:
        raise SystemExit("not everything that was stored is confirmed")


if __name__ == "__main__":
    main()
