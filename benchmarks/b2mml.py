"""A WorkSchedule of many orders, streamed: time and the most memory, beside what lxml needs to parse it whole.

    python -m benchmarks.b2mml [--json] [--orders N]

The third figure is the whole way: from the file's appearance in the inbox of a bridge process until each order is a
fact that the host has committed and answered, over mosquitto, and the file lies in the archive. Each figure comes from
a process of its own; ``peak_mb`` is its highest resident memory, interpreter and document in it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from lxml import etree

from uns.bridges.b2mml.schedule import ReadOptions, read_schedule
from uns.namespace.model import ContextSource, Equipment, EquipmentLevel, Site, TopicTree

ORDERS = 10_000
NAMESPACE = "http://www.mesa.org/xml/B2MML"


@dataclass
class Figure:
    what: str
    orders: int
    document_mb: float
    seconds: float
    cpu_seconds: float  # what stays comparable when the machine has other work
    peak_mb: float


def plant() -> TopicTree:
    """One line."""
    line = Equipment(id="line2", level=EquipmentLevel.PRODUCTION_LINE, path=("acme", "dallas", "line2"), site="dallas")
    return TopicTree(
        enterprise="acme",
        sites={"dallas": Site(id="dallas", time_zone="America/Chicago")},
        classes={},
        equipment={"line2": line},
        context={"erp": ContextSource(name="erp", provides=("job",))},
        contract_hash="benchmark",
    )


def schedule(orders: int) -> bytes:
    """Orders as an ERP sends them: four materials, two parameters, times, priority."""
    text = io.StringIO()
    text.write(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<SyncWorkSchedule xmlns="{NAMESPACE}" releaseID="B2MML-V0701">'
        "<ApplicationArea><Sender><LogicalID>erp</LogicalID></Sender>"
        "<CreationDateTime>2026-06-03T12:00:00Z</CreationDateTime><BODID>b-1</BODID></ApplicationArea>"
        "<DataArea><Sync/><WorkSchedule><ID>S-1</ID>\n"
    )
    for number in range(orders):
        order = f"{number:012d}"
        text.write(
            f"<WorkRequest><ID>{order}</ID><RequestState>Released</RequestState><JobOrder><ID>{order}-0010</ID>"
            "<Description>Mix and fill</Description><StartTime>2026-06-04T06:00:00Z</StartTime>"
            "<EndTime>2026-06-04T14:00:00Z</EndTime><WorkType>Production</WorkType>"
            "<WorkMasterID>RCP-7</WorkMasterID><WorkMasterVersion>3</WorkMasterVersion><Priority>5</Priority>"
            "<DispatchStatus>Pending</DispatchStatus>\n"
        )
        for name in ("Temperature", "Speed"):
            text.write(
                f"<JobOrderParameter><ID>{name}</ID><Value><ValueString>71.5</ValueString><DataType>decimal</DataType>"
                "<UnitOfMeasure>CEL</UnitOfMeasure></Value></JobOrderParameter>\n"
            )
        text.write("<EquipmentRequirement><ID>1</ID><EquipmentID>line2</EquipmentID></EquipmentRequirement>\n")
        for position, use in enumerate(("Produced", "Consumed", "Consumed", "Consumed")):
            text.write(
                f"<MaterialRequirement><ID>{position}</ID><MaterialDefinitionID>M-{position:04d}</MaterialDefinitionID>"
                f"<MaterialUse>{use}</MaterialUse><Quantity><QuantityString>1250.500</QuantityString>"
                "<DataType>decimal</DataType><UnitOfMeasure>KG</UnitOfMeasure></Quantity></MaterialRequirement>\n"
            )
        text.write("</JobOrder></WorkRequest>\n")
    text.write("</WorkSchedule></DataArea></SyncWorkSchedule>\n")
    return text.getvalue().encode()


def read(orders: int) -> Figure:
    """What the bridge does."""
    body = schedule(orders)
    options = ReadOptions(tree=plant(), source="erp", received_at=datetime(2026, 6, 3, 12, 1, tzinfo=UTC))
    began, cpu = time.perf_counter(), time.process_time()
    reading = read_schedule(body, options)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if len(reading.definitions) != orders or reading.findings:
        raise SystemExit(f"read {len(reading.definitions)} of {orders} orders: {reading.findings[:3]}")
    return Figure("read_schedule", orders, len(body) / 1e6, seconds, cpu, peak_mb())


def parse(orders: int) -> Figure:
    """The floor: the whole document as a tree, nothing read from it."""
    body = schedule(orders)
    began, cpu = time.perf_counter(), time.process_time()
    etree.fromstring(body)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Figure("lxml whole", orders, len(body) / 1e6, seconds, cpu, peak_mb())


async def whole(directory: Path, orders: int) -> Figure:
    """The same through a bridge process, mosquitto and a host process; memory is the bridge's."""
    # Here, so that the processes of the other figures do not hold them in memory.
    from tests.bridges.b2mml.bench import MesBench  # noqa: PLC0415
    from tests.faults.process import until  # noqa: PLC0415

    body = schedule(orders).replace(b"<EquipmentID>line2<", b"<EquipmentID>reactor4<")
    with MesBench(directory) as bench:
        await bench.start_host()
        bench.bridge.start()
        await until(lambda: "bridge started" in bench.bridge.output, "the bridge runs")
        before = processor_seconds(bench.bridge.pid)
        began = time.perf_counter()
        bench.drop(body, "orders.xml")
        await until(bench.archived, "the file is archived", deadline_s=120, every_s=0.02)
        seconds = time.perf_counter() - began
        cpu = processor_seconds(bench.bridge.pid) - before
        peak = peak_mb(bench.bridge.pid)
        if len(bench.facts()) != orders:
            raise SystemExit(f"{len(bench.facts())} of {orders} orders are facts\n{bench.bridge.tail()}")
    return Figure("whole way in", orders, len(body) / 1e6, seconds, cpu, peak)


def processor_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int | str = "self") -> float:
    """Of the program that runs now; ``ru_maxrss`` would still tell of the one that started it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def measure(orders: int = ORDERS) -> list[Figure]:
    """All, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    found = []
    for what in (read, parse):
        with context.Pool(1) as pool:
            found.append(pool.apply(what, (orders,)))
    with tempfile.TemporaryDirectory() as directory:
        found.append(asyncio.run(whole(Path(directory), orders)))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true")
    options.add_argument("--orders", type=int, default=ORDERS)
    chosen = options.parse_args()
    figures = measure(chosen.orders)
    if chosen.json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    for figure in figures:
        print(
            f"{figure.what:14} {figure.orders:7,} orders {figure.document_mb:6.1f} MB in {figure.seconds:5.2f} s "
            f"({figure.cpu_seconds:.2f} s of processor), peak {figure.peak_mb:4.0f} MB"
        )


if __name__ == "__main__":
    main()
