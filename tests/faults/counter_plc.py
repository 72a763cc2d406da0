"""A PLC whose tags count: a real OPC UA server in a process of its own, and the oracle of the fault tests.

Each scan raises every tag by one and stamps all of them with one source time. The value tells its tag
(``tag * 1_000_000 + scan``), so a value under a wrong name shows. Every scan is written to the oracle file
before the values can be read.

Beside them, written at each scan as well: values that no careful PLC would have (``ODD``), and with
``--ballast N`` long texts, which fill every buffer on the way to a reader that does not read.

SIGUSR1: count. SIGUSR2: pause (answered by a line ``paused SCAN`` in the oracle file). SIGTERM: end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from asyncua import Server, ua

__all__ = ["NAMESPACE_URI", "ODD", "STEP", "ballast_name", "node_name"]

NAMESPACE_URI = "urn:uns:tests:counter-plc"
BALLAST_BYTES = 30_000
STEP = 1_000_000  # value = tag * STEP + scan

# Name, OPC UA type, and what is written at each scan.
ODD: tuple[tuple[str, ua.VariantType, bool | float | int | str], ...] = (
    ("Odd.Nan", ua.VariantType.Double, float("nan")),
    ("Odd.Infinity", ua.VariantType.Double, float("-inf")),
    ("Odd.Largest", ua.VariantType.UInt64, 2**64 - 1),
    ("Odd.Smallest", ua.VariantType.Int64, -(2**63)),
    ("Odd.Text", ua.VariantType.String, "warm"),  # wired to a Float
    ("Odd.Negative", ua.VariantType.Int32, -1),  # wired to a UInt32
)


def node_name(tag: int) -> str:
    return f"Tag.{tag:04d}"


def ballast_name(number: int) -> str:
    return f"Ballast.{number}"


async def serve(*, port: int, tags: int, scans_per_second: float, oracle: Path, ballast: int) -> None:
    server = Server()
    await server.init()
    server.iserver.max_monitored_item_queue_size = 1_000_000  # what a subscription asks for counts below it
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAMESPACE_URI)
    folder = await server.nodes.objects.add_folder(ua.NodeId("Counters", index), ua.QualifiedName("Counters", index))
    nodes = []
    for tag in range(tags):
        node_id = ua.NodeId(node_name(tag), index)
        variable = await folder.add_variable(
            node_id, ua.QualifiedName(node_name(tag), index), ua.Variant(tag * STEP, ua.VariantType.UInt32)
        )
        nodes.append(variable.nodeid)
    beside = []
    texts = [(ballast_name(number), ua.VariantType.String, "x" * BALLAST_BYTES) for number in range(ballast)]
    for name, variant_type, value in (*ODD, *texts):
        node_id = ua.NodeId(name, index)
        await folder.add_variable(node_id, ua.QualifiedName(name, index), ua.Variant(value, variant_type))
        beside.append((node_id, ua.Variant(value, variant_type)))

    counting, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, counting.set)
    loop.add_signal_handler(signal.SIGUSR2, counting.clear)
    loop.add_signal_handler(signal.SIGTERM, ended.set)

    async with server:
        with oracle.open("a") as lines:
            print(f"ready {tags}", file=lines, flush=True)
            scan, last_ms, due = 0, 0, loop.time()
            while not ended.is_set():
                if not counting.is_set():
                    print(f"paused {scan}", file=lines, flush=True)
                    waits = [asyncio.ensure_future(counting.wait()), asyncio.ensure_future(ended.wait())]
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    for wait in waits:
                        wait.cancel()
                    due = loop.time()
                    continue
                scan += 1
                last_ms = max(last_ms + 1, time.time_ns() // 1_000_000)
                stamp = datetime.fromtimestamp(last_ms / 1000, UTC).replace(microsecond=last_ms % 1000 * 1000)
                print(f"scan {scan} {last_ms}", file=lines, flush=True)
                counted = [(n, ua.Variant(tag * STEP + scan, ua.VariantType.UInt32)) for tag, n in enumerate(nodes)]
                for node_id, value in counted + beside:
                    await server.write_attribute_value(
                        node_id, ua.DataValue(value, SourceTimestamp=stamp, ServerTimestamp=stamp)
                    )
                due = max(due + 1 / scans_per_second, loop.time() - 0.2)  # a stalled machine does not make a burst
                await asyncio.sleep(max(0.0, due - loop.time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tags", type=int, default=20)
    parser.add_argument("--scans-per-second", type=float, default=20.0)
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--ballast", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(
        serve(
            port=arguments.port,
            tags=arguments.tags,
            scans_per_second=arguments.scans_per_second,
            oracle=arguments.oracle,
            ballast=arguments.ballast,
        )
    )


if __name__ == "__main__":
    main()
