"""Decoding Modbus blocks: precompiled structs beside pymodbus tag by tag. ``python -m benchmarks.modbus_decode``."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from pymodbus.client.mixin import ModbusClientMixin

from edge_nodes.modbus.registers import FORMATS, ORDERS, Block, BlockDecoder, RegisterPoint, RegisterTable, plan_blocks
from uns.sparkplug.datatypes import DataType


def blocks_of(tags: int) -> list[Block]:
    """Float tags side by side, in all byte orders."""
    points = [
        RegisterPoint(
            metric=i,
            datatype=DataType.FLOAT,
            table=RegisterTable.HOLDING,
            offset=2 * i,
            format=FORMATS["float32"],
            order=ORDERS[i % len(ORDERS)],
        )
        for i in range(tags)
    ]
    return plan_blocks(points)


def values_per_second(run: Callable[[], object], tags: int, seconds: float) -> float:
    rounds, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        run()
        rounds += 1
    return rounds * tags / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--tags", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = random.Random(1)
    blocks = blocks_of(options.tags)
    decoders = [BlockDecoder(block) for block in blocks]
    answers = [[source.randrange(0x3F80, 0x4780) for _ in range(block.count)] for block in blocks]
    convert, kind = ModbusClientMixin.convert_from_registers, ModbusClientMixin.DATATYPE.FLOAT32

    def ours() -> None:
        for decoder, registers in zip(decoders, answers, strict=True):
            decoder.decode(registers)

    def peer() -> None:
        for block, registers in zip(blocks, answers, strict=True):
            for point in block.points:
                start = point.offset - block.offset
                convert(registers[start : start + 2], kind, word_order="little")

    result = {
        "tags": options.tags,
        "requests": len(blocks),
        "ours_values_per_second": round(values_per_second(ours, options.tags, options.seconds)),
        "pymodbus_values_per_second": round(values_per_second(peer, options.tags, options.seconds)),
    }
    result["times_faster"] = round(result["ours_values_per_second"] / result["pymodbus_values_per_second"], 1)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{result['tags']} float32 tags in four byte orders, {result['requests']} requests")
        print(f"  precompiled structs      {result['ours_values_per_second']:>12,} values/s")
        print(f"  pymodbus, tag by tag     {result['pymodbus_values_per_second']:>12,} values/s")


if __name__ == "__main__":
    main()
