"""What enrichment costs per metric: identity, as-of join, rows, JSON of the tick and present value, without I/O.

Runs beside msgspec encoding the same tick from ready structs, which does none of the rest.

    python -m benchmarks.enrichment [--json] [--payloads N]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import msgspec

from uns.context.facts import Fact
from uns.enrichment.pipeline import Enricher
from uns.enrichment.records import Tick
from uns.enrichment.samples import Provenance, SampleBatch, StoredSample, StoredUnrecorded
from uns.namespace.model import (
    ContextSource,
    Equipment,
    EquipmentClass,
    EquipmentLevel,
    MetricContract,
    Site,
    TopicTree,
)
from uns.sparkplug.datatypes import DataType, Value

START_NS = 1_780_488_000_000_000_000
TICK_NS = 20_000_000


class EmptyIndex:
    """A record log with nothing in it; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def at(self, *_key: object, first: int = 0, limit: int | None = None) -> list[StoredSample]:  # noqa: ARG002
        self.asked += 1
        return []

    def holds(self, *_key: object, first: int, below: int) -> bool:  # noqa: ARG002
        return False

    def count(self, *_window: object, foreign: bool = False) -> int:  # noqa: ARG002
        return 0

    def unrecorded_at(self, *_key: object, first: int = 0, limit: int = 0) -> list[StoredUnrecorded]:  # noqa: ARG002
        return []

    def holds_dropped(self, *_key: object, from_ns: int, to_ns: int, samples: int) -> bool:  # noqa: ARG002
        return False


@dataclass
class Figure:
    metrics_per_payload: int
    payloads: int
    enrich_us_per_metric: float
    enrich_metrics_per_s: float
    present_values_us_per_metric: float
    msgspec_encode_us_per_metric: float
    bytes_per_metric: float
    look_ups: int


def tree_of(metrics: int) -> TopicTree:
    types = (DataType.FLOAT, DataType.DOUBLE, DataType.UINT32, DataType.FLOAT, DataType.BOOLEAN)
    contracts = {
        f"group/m{n}": MetricContract(name=f"group/m{n}", datatype=types[n % len(types)], unit="CEL")
        for n in range(metrics)
    }
    path = ("acme", "dallas", "reaction", "line2", "reactor4")
    return TopicTree(
        enterprise="acme",
        sites={"dallas": Site(id="dallas", time_zone="America/Chicago")},
        classes={"Reactor": EquipmentClass(name="Reactor", metrics=contracts, requires=("job", "lot"))},
        equipment={
            "reactor4": Equipment(
                id="reactor4", level=EquipmentLevel.UNIT, path=path, site="dallas", class_name="Reactor"
            )
        },
        context={"mes": ContextSource(name="mes", provides=("job", "lot"))},
        contract_hash="benchmark",
    )


def batches(tree: TopicTree, payloads: int) -> list[SampleBatch]:
    contracts = list(tree.classes["Reactor"].metrics.values())
    found = []
    for n in range(payloads):
        values: list[Value] = []
        for at, contract in enumerate(contracts):
            match contract.datatype:
                case DataType.FLOAT:
                    values.append((n * 7 + at) % 2000 / 8.0)
                case DataType.DOUBLE:
                    values.append((n * 31 + at) / 7.0)
                case DataType.BOOLEAN:
                    values.append((n + at) % 2 == 0)
                case _:
                    values.append(n + at)
        time_ns = START_NS + n * TICK_NS
        found.append(
            SampleBatch(
                equipment="reactor4",
                metrics=contracts,
                values=values,
                times_ns=[time_ns] * len(contracts),
                provenance=Provenance(
                    group_id="acme.dallas",
                    edge_node_id="gw",
                    device_id="reactor4",
                    session="s",
                    bd_seq=0,
                    seq=n % 256,
                    historical=False,
                    received_at_ns=time_ns + 1_000_000,
                    raw_position=n + 1,
                ),
            )
        )
    return found


def facts() -> list[Fact]:
    common = {"equipment": "reactor4", "valid_from": "2026-06-03T00:00:00Z", "source": "mes", "source_rev": "1"}
    job = {"id": "mes:1", "kind": "job", "job_order": "WO-10234/0010", "work_order": "WO-10234", "operation": "0010"}
    lot = {"id": "mes:2", "kind": "lot", "lot": "L-8891", "material": "FG-77"}
    return [msgspec.convert({**common, **kind}, Fact) for kind in (job, lot)]


def timed(work: Callable[[], None]) -> float:
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / 1000


def measure(metrics: int, payloads: int) -> Figure:
    tree = tree_of(metrics)
    index = EmptyIndex()
    enricher = Enricher(tree, index)
    for fact in facts():
        answer = enricher.receive_fact(fact, START_NS)
        if not answer.accepted:
            raise RuntimeError(answer.reason)
    enricher.drain()
    given = batches(tree, payloads)
    ticks: list[bytes] = []
    board_us = 0.0

    def enrich() -> None:
        for n, batch in enumerate(given):
            enricher.receive_batch(batch, START_NS + n * TICK_NS)
            if n % 20 == 19:
                ticks.extend(message.payload for message in enricher.drain().outbox)

    enrich_us = timed(enrich)

    def show() -> None:
        for n in range(0, payloads, 50):
            for series in enricher.board.dirty:
                series.pv_published_ns = -(2**62)
            enricher.board.due(START_NS + n * TICK_NS + 10**12)
            enricher.receive_batch(
                SampleBatch(
                    equipment="reactor4",
                    metrics=given[0].metrics,
                    values=given[0].values,
                    times_ns=[START_NS + (payloads + n) * TICK_NS] * metrics,
                    provenance=given[0].provenance,
                ),
                START_NS + (payloads + n) * TICK_NS,
            )

    board_us = timed(show)
    structs = [msgspec.json.decode(payload, type=Tick) for payload in ticks[: min(len(ticks), 2000)]]
    encoder = msgspec.json.Encoder()

    def encode() -> None:
        for tick in structs:
            encoder.encode(tick)

    encode_us = timed(encode)
    total = metrics * payloads
    rounds = (payloads + 49) // 50
    return Figure(
        metrics_per_payload=metrics,
        payloads=payloads,
        enrich_us_per_metric=round(enrich_us / total, 3),
        enrich_metrics_per_s=round(total / enrich_us * 1e6),
        present_values_us_per_metric=round((board_us / rounds - enrich_us / payloads) / metrics, 3),
        msgspec_encode_us_per_metric=round(encode_us / sum(len(t.samples) for t in structs), 3),
        bytes_per_metric=round(sum(map(len, ticks)) / total, 1),
        look_ups=index.asked,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--payloads", type=int, default=2000)
    arguments = parser.parse_args()
    figures = [measure(metrics, arguments.payloads) for metrics in (1, 10, 100)]
    if arguments.json:
        print(json.dumps({"benchmark": "enrichment", "figures": [asdict(figure) for figure in figures]}))
        return
    for figure in figures:
        print(
            f"{figure.metrics_per_payload:4d} metrics a payload: {figure.enrich_us_per_metric:6.2f} us a metric"
            f" ({figure.enrich_metrics_per_s:,}/s), present values {figure.present_values_us_per_metric:.2f} us each,"
            f" msgspec alone encodes it in {figure.msgspec_encode_us_per_metric:.2f} us,"
            f" {figure.bytes_per_metric:.0f} bytes"
        )


if __name__ == "__main__":
    main()
