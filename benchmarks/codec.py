"""Metrics per second through the Sparkplug codec, beside what upb itself costs.

``python -m benchmarks.codec [--json]``. The limit that it runs beside is protobuf's own C library: parsing the bytes
and touching nothing, or serializing a message that is built already. Figures are the best of some rounds on one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import google.protobuf

from schemas.sparkplug_b_pb2 import Payload
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.metrics import BirthMetric, DataBatch, Property

SIZES = (1, 10, 100, 1000)
TARGETS = {"decode_data": 1_500_000.0, "encode_data": 1_000_000.0}  # metrics/s at 100 metrics
ROUNDS = 7
ROUND_S = 0.12
T0_MS = 1_700_000_000_000
MIX: tuple[tuple[DataType, Value], ...] = (
    (DataType.DOUBLE, 182.0625),
    (DataType.FLOAT, 4.5),
    (DataType.INT32, -17),
    (DataType.UINT32, 41),
    (DataType.BOOLEAN, True),
    (DataType.STRING, "React"),
    (DataType.INT64, 1 << 40),
    (DataType.INT16, 7),
)


def metrics_per_second(work: Callable[[], object], metrics: int) -> float:
    """Best of some rounds: the machine has other things to do as well."""
    best = float("inf")
    for _ in range(ROUNDS):
        calls = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < ROUND_S:
            for _ in range(20):
                work()
            calls += 20
        best = min(best, elapsed / calls)
    return metrics / best


def measure(size: int) -> dict[str, float]:
    metrics = [
        BirthMetric(
            name=f"reactor/m{i}",
            datatype=MIX[i % len(MIX)][0],
            value=MIX[i % len(MIX)][1],
            timestamp_ms=T0_MS,
            alias=(i + 1) * 256 + 7,  # as the edge session gives them
            properties=(Property("unit", DataType.STRING, "CEL"), Property("Quality", DataType.INT32, 192)),
        )
        for i in range(size)
    ]
    birth = codec.encode_birth(metrics, timestamp_ms=T0_MS, seq=0)
    table = AliasTable.of_birth(codec.decode_birth(birth))
    batch = DataBatch(
        bindings=list(table.by_name.values()),
        values=[metric.value for metric in metrics],
        times_ms=[T0_MS + i for i in range(size)],
    )
    data = codec.encode_data(batch, timestamp_ms=T0_MS, seq=1)
    parsed_data, parsed_birth = Payload.FromString(data), Payload.FromString(birth)
    work: dict[str, Callable[[], object]] = {
        "decode_data": lambda: codec.decode_data(data, table),
        "decode_data_upb_parse_only": lambda: Payload.FromString(data),
        "encode_data": lambda: codec.encode_data(batch, timestamp_ms=T0_MS, seq=1),
        "encode_data_upb_prebuilt": parsed_data.SerializeToString,
        "decode_birth": lambda: codec.decode_birth(birth),
        "decode_birth_upb_parse_only": lambda: Payload.FromString(birth),
        "encode_birth": lambda: codec.encode_birth(metrics, timestamp_ms=T0_MS, seq=0),
        "encode_birth_upb_prebuilt": parsed_birth.SerializeToString,
    }
    figures = {name: metrics_per_second(call, size) for name, call in work.items()}
    figures["data_bytes_per_metric"] = len(data) / size
    figures["birth_bytes_per_metric"] = len(birth) / size
    return figures


def report() -> dict[str, Any]:
    sizes = {str(size): measure(size) for size in SIZES}
    at_100 = sizes["100"]
    return {
        "python": platform.python_version(),
        "protobuf": google.protobuf.__version__,
        "unit": "metrics/s",
        "by_metrics_per_payload": sizes,
        "targets_at_100": {
            name: {"target": target, "measured": at_100[name], "met": at_100[name] >= target}
            for name, target in TARGETS.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    found = report()
    if parser.parse_args().json:
        print(json.dumps(found, indent=2))
    else:
        print(f"Sparkplug codec, Python {found['python']}, protobuf {found['protobuf']} (upb); million metrics/s")
        print(f"{'metrics per payload':32}" + "".join(f"{size:>9}" for size in SIZES))
        for name in found["by_metrics_per_payload"]["1"]:
            scale = 1.0 if name.endswith("per_metric") else 1e6
            cells = (found["by_metrics_per_payload"][str(size)][name] / scale for size in SIZES)
            print(f"{name:32}" + "".join(f"{cell:>9.2f}" for cell in cells))
        for name, row in found["targets_at_100"].items():
            verdict = "met" if row["met"] else "missed"
            print(f"{name} of 100 metrics: {row['measured'] / 1e6:.2f}, target {row['target'] / 1e6:.2f}: {verdict}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
