"""A machine's recorded day behind an OPC UA server: ``python -m edge_nodes.simulators.replay --file FILE``.

Rows are written in file order with their own times. It waits until every variable has its subscriber, writes in
batches, and waits after each until the server has handed all of it over: no queue can overflow, so a row that does not
arrive was lost by somebody else.

stdout, one JSON object a line: ``{"ready":true,"port":…,"url":…}``, then ``{"written":n}`` now and then, at the end
``{"written":n,"done":true}``. It goes on serving until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_nodes.simulators.opcua_server import OpcUaServer, ServerVariable
from edge_nodes.simulators.process import run_until_signalled, say, wait
from edge_nodes.simulators.shdr import Day, Observation, load_day
from uns.errors import ConfigurationError

__all__ = ["NAMESPACE_URI", "batches", "main", "variables_of"]

NAMESPACE_URI = "urn:machine"
BATCH_ROWS_MAX = 500
JUMP_S = 6 * 3600.0  # a longer gap is a stale snapshot at the head of a file, not a pause of the machine
_POLL_S = 0.005


def variables_of(day: Day) -> list[ServerVariable]:
    """One variable for each key that has a value in the day."""
    return [ServerVariable(metric.name, day.machine, metric.name, metric.kind) for metric in day.metrics.values()]


def batches(observations: Sequence[Observation], *, rows_max: int = BATCH_ROWS_MAX) -> Iterator[list[Observation]]:
    """The rows in file order, at most ``rows_max`` at a time."""
    for start in range(0, len(observations), rows_max):
        yield list(observations[start : start + rows_max])


class Pace:
    """When a row is due, if the day plays at ``speed`` times real time. Time stamps that go back are due at once."""

    def __init__(self, speed: float, *, now_s: float) -> None:
        self._speed = speed
        self._began_s = now_s
        self._played_s = 0.0
        self._newest_us: int | None = None

    def due_s(self, observation: Observation) -> float:
        """On the clock that ``now_s`` was read from."""
        if self._newest_us is None:
            self._newest_us = observation.time_us
        gap_s = (observation.time_us - self._newest_us) / 1e6
        if gap_s > 0:
            self._newest_us = observation.time_us
            if gap_s < JUMP_S:
                self._played_s += gap_s
        return self._began_s + self._played_s / self._speed


async def serve(day: Day, *, port: int, speed: float | None, stop: asyncio.Event) -> None:
    """Play the day once, then keep serving until ``stop`` is set."""
    async with OpcUaServer(namespace_uri=NAMESPACE_URI, variables=variables_of(day), port=port) as server:
        say(ready=True, port=server.port, url=server.url, variables=len(day.metrics))
        while not (stop.is_set() or server.subscribed()):
            await wait(stop, _POLL_S)
        await _drained(server, stop)
        if speed is None:
            await _play_fast(server, day, stop)
        else:
            await _play_paced(server, day, speed, stop)
        if not stop.is_set():
            say(written=len(day.observations), done=True)
        await stop.wait()


async def _play_fast(server: OpcUaServer, day: Day, stop: asyncio.Event) -> None:
    written = 0
    for batch in batches(day.observations):
        if stop.is_set():
            return
        for observation in batch:
            await server.write(day.metrics[observation.key].name, observation.value, observation.time_us)
        await _drained(server, stop)
        written += len(batch)
        say(written=written)


async def _play_paced(server: OpcUaServer, day: Day, speed: float, stop: asyncio.Event) -> None:
    pace = Pace(speed, now_s=time.monotonic())
    said_s = time.monotonic()
    for written, observation in enumerate(day.observations):
        now_s = time.monotonic()
        if now_s - said_s >= 1.0:
            said_s = now_s
            say(written=written)
        due_s = pace.due_s(observation)
        if due_s > now_s or written % BATCH_ROWS_MAX == 0:
            await _drained(server, stop)
            await wait(stop, due_s - now_s)
        if stop.is_set():
            return
        await server.write(day.metrics[observation.key].name, observation.value, observation.time_us)


async def _drained(server: OpcUaServer, stop: asyncio.Event) -> None:
    while server.unpublished() and not stop.is_set():
        await wait(stop, _POLL_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, read the file, serve."""
    parser = argparse.ArgumentParser(prog="python -m edge_nodes.simulators.replay", description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="SHDR rows, plain or gzipped")
    parser.add_argument("--port", type=int, default=0, help="0: any free port, told on the first line")
    parser.add_argument(
        "--speed", type=float, default=None, help="times real time; as fast as the reader, if not given"
    )
    options = parser.parse_args(arguments)
    if options.speed is not None and not options.speed > 0:
        parser.error("--speed must be above 0")
    try:
        day = load_day(options.file)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run_until_signalled(lambda stop: serve(day, port=options.port, speed=options.speed, stop=stop))


if __name__ == "__main__":
    sys.exit(main())
