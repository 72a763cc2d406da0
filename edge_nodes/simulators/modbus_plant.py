"""The energy meter and the packaging machine as Modbus TCP servers behind one port.

``python -m edge_nodes.simulators.modbus_plant --port 0``: the meter is unit 3, the packaging machine unit 4. The first
line of stdout says where it listens: ``{"ready":true,"port":…,"url":"modbus+tcp://…"}``. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_nodes.simulators.plant import EnergyMeter, PackagingMachine
from edge_nodes.simulators.process import LOOPBACK, free_port, run_until_signalled, say

__all__ = ["METER_UNIT_ID", "PACKER_UNIT_ID", "main", "meter_registers", "packer_registers"]

METER_UNIT_ID = 3
PACKER_UNIT_ID = 4
METER_ENERGY = 11  # entity 40012; uint32, CDAB (low word first), tenths of kWh
PACKER_GOOD = 100  # entity 40101; uint32, ABCD
PACKER_SCRAP = 102  # uint32, ABCD
PACKER_STATE = 104  # uint16, PackML
PACKER_SPEED = 105  # int16, tenths of packs per minute


def meter_registers(meter: EnergyMeter, elapsed_s: float) -> dict[int, int]:
    """Holding registers of the meter, by address."""
    high, low = _words(meter.tenths_of_kwh(elapsed_s))
    return {METER_ENERGY: low, METER_ENERGY + 1: high}


def packer_registers(packer: PackagingMachine, elapsed_s: float) -> dict[int, int]:
    """Holding registers of the packaging machine, by address."""
    state = packer.at(elapsed_s)
    good_high, good_low = _words(state.good)
    scrap_high, scrap_low = _words(state.scrap)
    return {
        PACKER_GOOD: good_high,
        PACKER_GOOD + 1: good_low,
        PACKER_SCRAP: scrap_high,
        PACKER_SCRAP + 1: scrap_low,
        PACKER_STATE: state.state,
        PACKER_SPEED: round(state.speed * 10),
    }


def _words(number: int) -> tuple[int, int]:
    high, low = struct.unpack(">HH", struct.pack(">I", number))
    return high, low


def _device(unit_id: int, registers: Callable[[float], dict[int, int]], began: float) -> SimDevice:
    """A device that computes its registers at each read, so that a value is as old as the answer that carries it."""
    addresses = sorted(registers(0.0))
    first = addresses[0]

    async def compute(
        _function: int, start: int, _address: int, _count: int, current: list[int], new: list[int] | list[bool] | None
    ) -> Any:
        if new is None:
            for address, word in registers(time.monotonic() - began).items():
                current[address - start] = word
        return None

    block = SimData(first, values=[0] * (addresses[-1] - first + 1), datatype=DataType.REGISTERS, readonly=True)
    return SimDevice(unit_id, [block], action=compute)


async def serve(meter: EnergyMeter, packer: PackagingMachine, *, port: int, stop: asyncio.Event) -> None:
    """Answer until ``stop`` is set."""
    began = time.monotonic()
    devices = [
        _device(METER_UNIT_ID, lambda elapsed_s: meter_registers(meter, elapsed_s), began),
        _device(PACKER_UNIT_ID, lambda elapsed_s: packer_registers(packer, elapsed_s), began),
    ]
    port = port or free_port()
    server = ModbusTcpServer(devices, address=(LOOPBACK, port))
    await server.serve_forever(background=True)
    say(ready=True, port=port, url=f"modbus+tcp://{LOOPBACK}:{port}")
    await stop.wait()
    await server.shutdown()  # type: ignore[no-untyped-call]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m edge_nodes.simulators.modbus_plant", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port, told on the first line")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.getLogger("pymodbus").setLevel(logging.ERROR)
    return run_until_signalled(
        lambda stop: serve(EnergyMeter(options.seed), PackagingMachine(options.seed), port=options.port, stop=stop)
    )


if __name__ == "__main__":
    sys.exit(main())
