"""The two companions of ``benchmarks.host``, each a process: one makes load, one subscribes. JSON lines in and out.

python -m benchmarks.host_load load URL TREE METRICS      {"payloads_per_s": 500, "seconds": 5} → {"stored": …}
python -m benchmarks.host_load subscribe URL              {"reset": true} → {"samples": …, "p50_ms": …, "p99_ms": …}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.emulated_edge import EmulatedEdge
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.namespace.loader import load_tree
from uns.namespace.mapping import device_properties
from uns.sparkplug.metrics import BirthMetric

__all__ = ["GATEWAY"]

GATEWAY = "gw-load"


class _Sample(msgspec.Struct):
    time: str


class _Tick(msgspec.Struct):
    samples: list[_Sample]


async def commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def load(url: str, tree_file: str) -> None:
    tree = load_tree(Path(tree_file))
    equipment = [tree.equipment[e.id] for e in tree.fed_by(GATEWAY)]
    edge_node = tree.edge_node(GATEWAY)
    names: dict[str, list[str]] = {}
    births: dict[str, list[BirthMetric]] = {}
    for place in equipment:
        equipment_class = tree.class_of(place.id)
        assert equipment_class is not None
        names[place.id] = list(equipment_class.metrics)
        births[place.id] = [
            *device_properties(tree, place),
            *(BirthMetric(name=c.name, datatype=c.datatype) for c in equipment_class.metrics.values()),
        ]
    edge = EmulatedEdge(BrokerAddress(url=url), edge_node, births, mark_interval_ms=200, confirm_timeout_ms=10_000)
    running = asyncio.create_task(edge.run())
    reader = await commands()
    while not edge.online:
        await asyncio.sleep(0.01)
    say({"online": True})
    newest_ms = 0
    while line := await reader.readline():
        command = json.loads(line)
        per_s, seconds = command["payloads_per_s"], command["seconds"]
        devices = list(names)
        began = time.perf_counter()
        stored, sent, late_s = edge.stored, 0, 0.0
        values = {
            d: [[180.0 + ((i * 7 + k) % 400) / 10 for i in range(len(n))] for k in range(50)] for d, n in names.items()
        }
        times: dict[str, int] = {}
        while (elapsed := time.perf_counter() - began) < seconds:
            due = int(elapsed * per_s)
            while sent < due:
                device = devices[sent % len(devices)]
                # A device has one value per metric and ms; at high rates its clock runs ahead of ours by a little.
                at = times[device] = max(time.time_ns() // 1_000_000, times.get(device, newest_ms) + 1)
                metrics = names[device]
                edge.put_columns(device, metrics, values[device][sent // len(devices) % 50], [at] * len(metrics))
                sent += 1
            late_s = max(late_s, elapsed - sent / per_s)
            await asyncio.sleep(0.001)
        newest_ms = max(times.values())
        ended = time.perf_counter()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(command.get("patience_s", 10.0)):
                while edge.waiting:
                    await asyncio.sleep(0.005)
        say(
            {
                "stored": edge.stored - stored,
                "payloads": sent,
                "seconds": ended - began,
                "drained_s": time.perf_counter() - ended,
                "waiting": edge.waiting,
                "late_s": late_s,
                "sessions": len(edge.sessions),
            }
        )
    running.cancel()


async def subscribe(url: str) -> None:
    decoder = msgspec.json.Decoder(_Tick)
    latencies: list[float] = []
    samples = 0
    async with MqttConnection(BrokerAddress(url=url), client_id="bench-subscriber") as connection:
        await connection.subscribe([("uns1/+/+/_data/#", 1)])
        say({"online": True})

        async def receive() -> None:
            nonlocal samples
            while True:
                batch = await connection.next_batch()
                now_s = time.time()
                for message in batch:
                    if not samples % 7:  # each look costs; a part of them tells as much
                        tick = decoder.decode(message.payload)
                        at = datetime.fromisoformat(tick.samples[0].time).timestamp()
                        latencies.append((now_s - at) * 1000)
                    samples += message.payload.count(b'"metric":')

        receiving = asyncio.create_task(receive())
        reader = await commands()
        while line := await reader.readline():
            if json.loads(line).get("reset"):
                latencies.clear()
                samples = 0
            ordered = sorted(latencies)
            count = len(ordered)
            say(
                {
                    "samples": samples,
                    "p50_ms": ordered[count // 2] if count else None,
                    "p99_ms": ordered[min(count - 1, count * 99 // 100)] if count else None,
                }
            )
        receiving.cancel()


def main() -> None:
    role, url, *rest = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(load(url, rest[0]) if role == "load" else subscribe(url))


if __name__ == "__main__":
    main()
