"""Metrics per second through the Sparkplug codec, beside what upb itself costs and what others do with the same bytes.

``python -m benchmarks.codec [--json]``. The limit that it runs beside is protobuf's own C library: parsing the bytes
and touching nothing, or serializing a message that is built already. Figures are the best of some rounds, in seconds of
processor time of one core: what else the machine does counts little.
Linear: metrics/s and bytes of memory per metric stay what they are as payloads grow. Others: see ``codec_peers``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import google.protobuf

from benchmarks.codec_peers import peers
from schemas.sparkplug_b_pb2 import Payload
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.metrics import BirthMetric, DataBatch, Property

SIZES = (1, 10, 100, 1_000, 10_000)
TARGETS = {"decode_data": 1_500_000.0, "encode_data": 1_000_000.0}  # metrics/s at 100 metrics
RATIOS = {"decode_data": 6.0, "encode_data": 1.3}  # to pysparkplug, at 100 metrics
BIRTH_MS_MAX = 50.0  # a birth of 10,000 metrics, in and out
LINEAR_MAX = 2.0  # how much more a metric may cost among 10,000 than among 100
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
    batch = max(1, 200 // metrics)  # asking for the time costs as much as a small payload
    for _ in range(ROUNDS):
        calls = 0
        start = time.process_time()
        while (elapsed := time.process_time() - start) < ROUND_S:
            for _ in range(batch):
                work()
            calls += batch
        best = min(best, elapsed / calls)
    return metrics / best


def bytes_held(work: Callable[[], object]) -> tuple[int, int]:
    """What the result holds, and the peak on the way, of Python's own memory."""
    tracemalloc.start()
    kept = work()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return held, peak


class Sample:
    """A birth and a DATA of ``size`` metrics, as objects and as bytes."""

    def __init__(self, size: int) -> None:
        self.metrics = [
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
        self.birth = codec.encode_birth(self.metrics, timestamp_ms=T0_MS, seq=0)
        self.table = AliasTable.of_birth(codec.decode_birth(self.birth))
        self.batch = DataBatch(
            bindings=list(self.table.by_name.values()),
            values=[metric.value for metric in self.metrics],
            times_ms=[T0_MS + i for i in range(size)],
        )
        self.data = codec.encode_data(self.batch, timestamp_ms=T0_MS, seq=1)


def measure(size: int) -> dict[str, float]:
    given = Sample(size)
    parsed_data, parsed_birth = Payload.FromString(given.data), Payload.FromString(given.birth)
    work: dict[str, Callable[[], object]] = {
        "decode_data": lambda: codec.decode_data(given.data, given.table),
        "decode_data_upb_parse_only": lambda: Payload.FromString(given.data),
        "encode_data": lambda: codec.encode_data(given.batch, timestamp_ms=T0_MS, seq=1),
        "encode_data_upb_prebuilt": parsed_data.SerializeToString,
        "decode_birth": lambda: codec.decode_birth(given.birth),
        "decode_birth_upb_parse_only": lambda: Payload.FromString(given.birth),
        "encode_birth": lambda: codec.encode_birth(given.metrics, timestamp_ms=T0_MS, seq=0),
        "encode_birth_upb_prebuilt": parsed_birth.SerializeToString,
    }
    figures = {name: metrics_per_second(call, size) for name, call in work.items()}
    figures["data_bytes_per_metric"] = len(given.data) / size
    figures["birth_bytes_per_metric"] = len(given.birth) / size
    for name in ("decode_data", "decode_birth"):
        held, peak = bytes_held(work[name])
        figures[f"{name}_memory_bytes_per_metric"] = held / size
        figures[f"{name}_peak_bytes_per_metric"] = peak / size
    return figures


def report() -> dict[str, Any]:
    sizes = {str(size): measure(size) for size in SIZES}
    at_100, at_10_000 = sizes["100"], sizes["10000"]
    given = Sample(100)
    others = peers(given.birth, given.data, 100)
    verdicts: dict[str, tuple[float, float, bool]] = {}  # what to measured, target, met
    for name, target in TARGETS.items():
        verdicts[f"{name} of 100 metrics, metrics/s"] = (at_100[name], target, at_100[name] >= target)
    if "pysparkplug" in others:
        for name, ratio in RATIOS.items():
            found = at_100[name] / others["pysparkplug"][name]
            verdicts[f"{name} of 100 metrics, times pysparkplug"] = (found, ratio, found >= ratio)
    both_ms = 0.0
    for name in ("decode_birth", "encode_birth"):
        found = 10_000 / at_10_000[name] * 1000
        both_ms += found
        verdicts[f"{name} of 10,000 metrics, ms"] = (found, BIRTH_MS_MAX, found <= BIRTH_MS_MAX)
    verdicts["birth of 10,000 metrics in and out, ms"] = (both_ms, BIRTH_MS_MAX, both_ms <= BIRTH_MS_MAX)
    for name in ("decode_data", "encode_data", "decode_birth", "encode_birth"):
        found = at_100[name] / at_10_000[name]
        verdicts[f"{name}: time of a metric, of 10,000 to of 100"] = (found, LINEAR_MAX, found <= LINEAR_MAX)
    for name in ("decode_data_peak_bytes_per_metric", "decode_birth_peak_bytes_per_metric"):
        found = at_10_000[name] / at_100[name]
        verdicts[f"{name}, of 10,000 to of 100"] = (found, LINEAR_MAX, found <= LINEAR_MAX)
    return {
        "python": platform.python_version(),
        "protobuf": google.protobuf.__version__,
        "unit": "metrics/s",
        "by_metrics_per_payload": sizes,
        "peers_at_100": others,
        "targets": {
            name: {"target": target, "measured": measured, "met": met}
            for name, (measured, target, met) in verdicts.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    as_json = parser.parse_args().json
    found = report()
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"Sparkplug codec, Python {found['python']}, protobuf {found['protobuf']} (upb); million metrics/s")
    print(f"{'metrics per payload':38}" + "".join(f"{size:>9}" for size in SIZES))
    for name in found["by_metrics_per_payload"]["1"]:
        scale = 1.0 if name.endswith("per_metric") else 1e6
        cells = (found["by_metrics_per_payload"][str(size)][name] / scale for size in SIZES)
        print(f"{name:38}" + "".join(f"{cell:>9.2f}" for cell in cells))
    for peer, figures in found["peers_at_100"].items():
        told = ", ".join(f"{name} {value / 1e6:.2f}" for name, value in figures.items())
        print(f"{peer}, 100 metrics, same bytes: {told}")
    for name, row in found["targets"].items():
        print(f"{name}: {row['measured']:.4g}, target {row['target']:.4g}: {'met' if row['met'] else 'missed'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
