"""Run the secured plant for a while and balance its books: ``python -m examples.secure_plant --seconds 10``.

An order file goes in through a bridge, its job runs, its performance lies in the outbox; then ``uns audit verify``
holds each audit log against the anchor that the broker retains.

Exit code 0: every value came through TLS and the access list, every equation holds, and every audit log is fine. 1: one
is not. 3: something did not start (mosquitto must be installed).
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from examples.secure_plant.mes import TERMINAL, OrderLoop, render_tree
from examples.secure_plant.plant import GATEWAYS, HOST_ID, SecurePlant
from uns.adapters.sqlite.record_rows import open_rows
from uns.audit.verification import Verification
from uns.errors import UnsError
from uns.namespace.acl import Bridge
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
from uns.runtime.children import ChildFailedError
from uns.runtime.demo.story import IDLE_AT, Told, first_start, opening, story
from uns.runtime.performances import missing_library
from uns.runtime.plant_run import terms_of

BRIDGE = Bridge("mes", source="mes")
CYCLES, CYCLE_S_MAX = 4, 20.0  # of the reactor while the order runs


async def play(directory: Path, seconds: float) -> list[Equation]:
    """Start everything, let it run, drain, look at the audit logs; the equations."""
    run = f"{time.time_ns():x}"
    async with SecurePlant(directory, tree_file=render_tree(directory), bridges=[BRIDGE]) as plant:
        print(f"broker at {plant.url}: TLS, client certificates, {len(plant.grants)} credentials")
        await plant.start_host()
        print("host is connected, with a certificate for each of its three connections")
        loop = await _start_bridge(plant, seconds, run)
        await _tell(plant, opening(time.time_ns(), run=run))
        for gateway, options in _simulators(seconds).items():
            await plant.start_gateway(gateway, *options)
            print(f"{gateway} is online")
        if loop is not None:
            print(await loop.order())
        await _tell(plant, first_start(time.time_ns(), run=run))
        ends = story(time.time_ns(), seconds, run=run)[0]
        await asyncio.sleep(seconds * IDLE_AT)
        await _tell(plant, [ends])
        await asyncio.sleep(seconds * (1 - IDLE_AT))
        edges = await plant.run.stop_edges()
        await plant.run.stop_simulators()
        status = await plant.run.joined()
        if loop is not None:
            for said in await loop.told():
                print(said)
        await plant.run.stop_host()
        audited = [await _audited(plant, *log) for log in _audit_logs(plant, with_bridge=loop is not None)]
    of_orders = [] if loop is None else loop.equations()
    return [*_balance(directory, edges, status), *of_orders, *audited]


async def _start_bridge(plant: SecurePlant, seconds: float, run: str) -> OrderLoop | None:
    missing = missing_library()
    if missing:
        print(f"the bridge is left out, {missing}")
        return None
    loop = OrderLoop(plant, seconds=seconds, run=run)
    await loop.start()
    print("bridge mes is connected, with the certificate of its source")
    return loop


def _simulators(seconds: float) -> dict[str, tuple[str, ...]]:
    """Each gateway and what its simulated PLCs are told."""
    cycle_s = min(CYCLE_S_MAX, seconds * IDLE_AT / CYCLES)
    return {gateway: ("--cycle-seconds", str(cycle_s)) if "reaction" in gateway else () for gateway in GATEWAYS}


async def _tell(plant: SecurePlant, events: Sequence[Told]) -> None:
    """Jobs are told at the terminal of the line, everything else by its own source."""
    for told in events:
        fact = told.fact
        if fact.kind == "job":
            fact = msgspec.structs.replace(fact, source=TERMINAL, id=fact.id.replace("mes:", f"{TERMINAL}:"))
        answer = await plant.tell(fact)
        print(f"{fact.source}: {told.says}{'' if answer.accepted else f' (refused: {answer.reason})'}")


def _audit_logs(plant: SecurePlant, *, with_bridge: bool) -> list[tuple[str, Path]]:
    """Each component with its store."""
    logs = [(HOST_ID, plant.run.store)]
    logs += [(str(plant.tree.edge_node(gateway)), plant.directory / f"{gateway}.audit.db") for gateway in GATEWAYS]
    return [*logs, (BRIDGE.name, plant.directory / "mes.bridge.db")] if with_bridge else logs


async def _audited(plant: SecurePlant, component: str, store: Path) -> Equation:
    """What ``uns audit verify`` says of a log, run with the certificate of a reader."""
    command = plant.audit_command(component, store)
    print(shlex.join(command))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "--json"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, trouble = await process.communicate()
    try:
        found = msgspec.json.decode(out, type=Verification)
    except msgspec.DecodeError:
        text = trouble.decode(errors="replace").strip()
        raise ChildFailedError(f"uns audit verify of {component}: exit code {process.returncode}, {text}") from None
    told = "; ".join(finding.text for finding in found.findings)
    return Equation(
        subject=f"audit log of {component}",
        text=f"good {found.good} = entries {found.entries}, vouched for by the broker's anchor {found.anchored}"
        + (f": {told}" if told else ""),
        holds=found.ok and found.good == found.entries == found.anchored > 0,
    )


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
