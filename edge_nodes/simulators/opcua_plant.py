"""The reactor and the CNC machine behind one OPC UA server: ``python -m edge_nodes.simulators.opcua_plant --port 0``.

The first line of stdout says where it listens: ``{"ready":true,"port":…,"url":"opc.tcp://…"}``. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

import msgspec

from edge_nodes.simulators.opcua_server import OpcUaServer, ServerVariable, Value
from edge_nodes.simulators.plant import BatchReactor, MillingMachine
from edge_nodes.simulators.process import run_until_signalled, say, wait

__all__ = ["NAMESPACE_URI", "VARIABLES", "Plant", "main"]

NAMESPACE_URI = "urn:plc4"

VARIABLES = (
    ServerVariable("R4.Temp", "Reactor4", "Temperature", "Float"),
    ServerVariable("R4.Press", "Reactor4", "Pressure", "Float"),
    ServerVariable("R4.Count", "Reactor4", "BatchCount", "UInt32"),
    ServerVariable("R4.Phase", "Reactor4", "Phase", "String"),
    ServerVariable("M1.Program", "Mill1", "Program", "String"),
    ServerVariable("M1.Execution", "Mill1", "Execution", "String"),
    ServerVariable("M1.SpindleLoad", "Mill1", "SpindleLoad", "Double"),
    ServerVariable("M1.SpindleSpeed", "Mill1", "SpindleSpeed", "Double"),
    ServerVariable("M1.PartCount", "Mill1", "PartCount", "UInt32"),
)


class Plant(msgspec.Struct, frozen=True):
    """Both machines behind the PLC; what it shows is a function of elapsed time."""

    reactor: BatchReactor
    mill: MillingMachine

    def values(self, elapsed_s: float) -> dict[str, Value]:
        """Every variable's value, by node id. The phase stands before the temperature that belongs to it."""
        reactor, mill = self.reactor.at(elapsed_s), self.mill.at(elapsed_s)
        return {
            "R4.Phase": reactor.phase,
            "R4.Temp": reactor.temperature,
            "R4.Press": reactor.pressure,
            "R4.Count": reactor.count,
            "M1.Program": mill.program,
            "M1.Execution": mill.execution,
            "M1.SpindleLoad": mill.spindle_load,
            "M1.SpindleSpeed": mill.spindle_speed,
            "M1.PartCount": mill.part_count,
        }


async def serve(plant: Plant, *, port: int, interval_s: float, stop: asyncio.Event) -> None:
    """Play the plant until ``stop`` is set: one scan every ``interval_s``, all values of a scan with its time."""
    async with OpcUaServer(namespace_uri=NAMESPACE_URI, variables=VARIABLES, port=port) as server:
        began = time.monotonic()
        scan = 0
        written: dict[str, Value] = {}
        while not stop.is_set():
            now_us = time.time_ns() // 1000
            for node_id, value in plant.values(scan * interval_s).items():
                if written.get(node_id) != value:
                    await server.write(node_id, value, now_us)
                    written[node_id] = value
            if scan == 0:
                say(ready=True, port=server.port, url=server.url)
            scan += 1
            await wait(stop, began + scan * interval_s - time.monotonic())


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m edge_nodes.simulators.opcua_plant", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port, told on the first line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycle-seconds", type=float, default=20.0, help="length of a batch")
    parser.add_argument("--interval-seconds", type=float, default=0.1, help="scan time of the PLC")
    options = parser.parse_args(arguments)
    plant = Plant(BatchReactor(options.seed, options.cycle_seconds), MillingMachine(options.seed))
    return run_until_signalled(
        lambda stop: serve(plant, port=options.port, interval_s=options.interval_seconds, stop=stop)
    )


if __name__ == "__main__":
    sys.exit(main())
