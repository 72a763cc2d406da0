"""Run the secured plant for a while and balance its books: ``python -m examples.secure_plant --seconds 10``.

Exit code 0: every value came through TLS and the access list, and every equation holds. 1: one does not. 3: something
did not start (mosquitto must be installed).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.secure_plant.plant import GATEWAYS, SecurePlant
from uns.adapters.sqlite.record_rows import open_rows
from uns.errors import UnsError
from uns.runtime.accounting import (
    EDGE_TERMS,
    HOST_TERMS,
    Equation,
    edge_equations,
    host_equations,
    loss_equation,
    lost,
    record_log_equations,
)
from uns.runtime.demo.story import opening
from uns.runtime.plant_run import terms_of


async def play(directory: Path, seconds: float) -> list[Equation]:
    """Start everything, let it run, drain; the equations, and that something was recorded at all."""
    async with SecurePlant(directory) as plant:
        print(f"broker at {plant.url}: TLS, client certificates, {len(plant.grants)} credentials")
        await plant.start_host()
        print("host is connected, with a certificate for each of its three connections")
        for told in opening(time.time_ns(), run=f"{time.time_ns():x}"):
            answer = await plant.tell(told.fact)
            print(f"{told.fact.source}: {told.says}{'' if answer.accepted else f' (refused: {answer.reason})'}")
        for gateway in GATEWAYS:
            await plant.start_gateway(gateway)
            print(f"{gateway} is online")
        await asyncio.sleep(seconds)
        edges = await plant.run.stop_edges()
        await plant.run.stop_simulators()
        status = await plant.run.joined()
        await plant.run.stop_host()
    return _balance(directory, edges, status)


def _balance(directory: Path, edges: Mapping[str, Any], status: Mapping[str, Any]) -> list[Equation]:
    host = terms_of(status["counters"], HOST_TERMS)
    terms = {gateway: terms_of(stats, EDGE_TERMS) for gateway, stats in edges.items()}
    equations = [equation for gateway, each in terms.items() for equation in edge_equations(gateway, each)]
    equations += [*host_equations(host), loss_equation(terms, host)]
    gone = lost(terms, host)
    equations.append(Equation(subject="plant", text=f"lost {gone} = 0", holds=gone == 0))
    with open_rows(directory / "host" / "records.db") as rows:
        recorded = rows.recorded()
        equations += record_log_equations(
            host, recorded=recorded, duplicates=rows.duplicates(), statuses=rows.statuses()
        )
    equations.append(Equation(subject="record log", text=f"rows {recorded} > 0", holds=recorded > 0))
    return equations


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and play."""
    parser = argparse.ArgumentParser(prog="python -m examples.secure_plant", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--directory", type=Path, default=None, help="keep certificates, stores and logs there")
    options = parser.parse_args(arguments)
    try:
        if options.directory is not None:
            equations = asyncio.run(play(options.directory, options.seconds))
        else:
            with tempfile.TemporaryDirectory(prefix="uns-secure-") as directory:
                equations = asyncio.run(play(Path(directory), options.seconds))
    except UnsError as error:
        print(error, file=sys.stderr)
        return 3
    for equation in equations:
        print(f"{'holds' if equation.holds else 'BROKEN'}  {equation.subject}: {equation.text}")
    return 0 if all(equation.holds for equation in equations) else 1


if __name__ == "__main__":
    sys.exit(main())
