"""One Modbus unit as a source. The only module of the edge that sees pymodbus, and the home of its guards.

* One request is in flight on a connection; its deadline is the library's own (a shorter one around it would let a late
  answer be taken for the next). After a second silence, and after anything that does not fit its request, the socket is
  closed: a late answer must never be read as another register's.
* Sources do not share connections: a dead unit behind a gateway costs its own source's time only, and is asked at a low
  rate until it answers.
* An address that does not exist fails a whole block. The block is halved until the guilty metric stands alone; it is
  marked bad, the others go on, and after a while the whole block is tried again.
* A block that stays silent while the unit answers for others is marked bad as a whole and left out for a while; the
  connection is made anew, the source stays up. Where nothing answers, the unit is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_nodes.conversion import Refusal
from edge_nodes.modbus.config import ModbusConfig
from edge_nodes.modbus.registers import Block, BlockDecoder, RegisterPoint, RegisterTable, plan_blocks
from edge_nodes.wiring import MetricKey
from uns.errors import UnreachableError
from uns.runtime.backoff import Backoff
from uns.source import Readings, RefusedReading, SourceSink, TimeSource

__all__ = ["ModbusSource"]

SILENT_REQUESTS_MAX = 2
RECONNECT_MAX_S = 5.0  # a device that is back is asked again within this
REMERGE_S = 60.0  # after which a block that was halved is tried whole again
SILENT_RETRY_S = 30.0  # after which a silent block is asked again: two time-outs, in which nothing else is read
BAD_NO_ANSWER = 0x80310000
BAD_NOT_FOUND = 0x803E0000
BAD_DEVICE_FAILURE = 0x808B0000
_ADDRESS_ERRORS = (1, 2, 3)  # illegal function, address, value: the block's shape is the cause
_GATEWAY_ERRORS = (10, 11)  # the gateway says that the unit does not answer
_EXCEPTION_NAMES = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what it tells, the source tells once


class _LostError(Exception):
    """The connection, or the unit behind it, is of no use any more."""


class _SilentError(_LostError):
    """A request was answered by nothing, twice."""


class _BlockSilentError(_LostError):
    """One block is silent, others of the same poll are not: a new connection is needed, and no more than that."""


class _BlockError(Exception):
    """The unit answered with a Modbus exception."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(_EXCEPTION_NAMES.get(code, f"exception {code}"))


class ModbusSource:
    """Polls one unit for as long as it runs."""

    def __init__(self, config: ModbusConfig, numbers: Mapping[MetricKey, int]) -> None:
        self.name = config.options.name
        self._config = config
        self._points = [msgspec.structs.replace(point, metric=numbers[key]) for key, point in config.points]
        self._names = {numbers[key]: f"{key[0]}/{key[1]}" for key, _ in config.points}
        self._log = structlog.get_logger(component="modbus", source=self.name)
        self._decoders: list[BlockDecoder] = []
        self._bad: dict[int, str] = {}
        self._silent_metrics: set[int] = set()  # of those the ones whose block did not answer
        self._answered = False  # a block, in this poll
        self._known_bad: dict[int, str] = {}
        self._told_bad: set[int] = set()
        self._remerge_at = 0.0
        self._silent = 0
        self._connections = self._requests = self._failed_requests = self._late_cycles = 0
        self._plan()

    def counters(self) -> dict[str, int]:
        """What happened on the way from the unit."""
        return {
            "connections": self._connections,
            "requests": self._requests,
            "failed_requests": self._failed_requests,
            "late_cycles": self._late_cycles,
            "blocks": len(self._decoders),
            "bad_registers": len(self._bad),
        }

    async def run(self, sink: SourceSink) -> None:
        """Connect, poll, and again; until cancelled."""
        backoff = Backoff(max_s=RECONNECT_MAX_S, steady_s=0.0)
        while True:
            client = self._client()
            try:
                await self._connect(client)
                await self._poll_until_lost(client, sink, backoff)
            except _BlockSilentError:
                continue  # with one block less each time
            except _LostError as error:
                sink.lost(self.name, str(error))
                if self._silent_metrics:  # it was the unit, then: all of it is asked again
                    self._plan()
            finally:
                client.close()
            await asyncio.sleep(backoff.next_s())

    async def check(self) -> list[str]:
        """Read every block once."""
        is_read = False
        while not is_read:
            client = self._client()
            try:
                await self._connect(client)
                await self._cycle(client, [])
                is_read = True
            except _BlockSilentError:
                pass
            except _LostError as error:
                raise UnreachableError(str(error), where=self._config.url) from error
            finally:
                client.close()
        return [f"{self._names[metric]}: {reason}" for metric, reason in self._bad.items()]

    # ── connection ──────────────────────────────────────────────────────────────────────────────────────────────

    def _client(self) -> AsyncModbusTcpClient:
        config = self._config
        return AsyncModbusTcpClient(
            config.host,
            port=config.port,
            name=self.name,
            timeout=config.timeout_ms / 1000,
            retries=0,  # the library repeats with the same transaction id: a late answer would pass for a new one
            reconnect_delay=0,
        )

    async def _connect(self, client: AsyncModbusTcpClient) -> None:
        self._silent = 0
        self._told_bad.clear()
        try:
            async with asyncio.timeout(2 * self._config.timeout_ms / 1000 + 1):
                connected = await client.connect()
        except (OSError, TimeoutError, ModbusException) as error:
            raise _LostError(_told(error)) from error
        if not connected:
            raise _LostError(f"no connection to {self._config.host}:{self._config.port}")
        self._connections += 1

    async def _poll_until_lost(self, client: AsyncModbusTcpClient, sink: SourceSink, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        every_s = self._config.every_ms / 1000
        due = loop.time()
        while True:
            found: list[Readings] = []
            lost: _LostError | None = None
            try:
                await self._cycle(client, found)
                backoff.works()
                sink.connected(self.name)
            except _LostError as error:
                lost = error
            for part in found:  # what was answered was read, whatever came after it
                await sink.put(part)
            if lost is not None:
                raise lost
            due += every_s
            now = loop.time()
            if due < now:
                self._late_cycles += 1
                due = now
            await asyncio.sleep(due - now)

    # ── one poll ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _cycle(self, client: AsyncModbusTcpClient, found: list[Readings]) -> None:
        """Read every block once into ``found``; raises :class:`_LostError` where unit or connection is gone."""
        if self._bad and asyncio.get_running_loop().time() >= self._remerge_at:
            self._plan()
        self._answered = False
        pending = list(self._decoders)
        while pending:
            decoder = pending.pop(0)
            block = decoder.block
            try:
                registers = await self._read(client, block)
            except _SilentError:
                self._decoders.remove(decoder)
                if not self._answered:
                    self._decoders.append(decoder)  # next time the others are asked first
                    raise
                self._leave_out(block)
                raise _BlockSilentError from None
            except _BlockError as error:
                self._answered = True
                if error.code in _GATEWAY_ERRORS:
                    raise _LostError(f"unit {self._config.modbus_unit_id}: {error}") from error
                if error.code not in _ADDRESS_ERRORS:
                    found.append(_bad(block.points, BAD_DEVICE_FAILURE))
                    continue
                parts = _halves(block)
                self._decoders.remove(decoder)
                if parts:
                    smaller = [BlockDecoder(part) for part in parts]
                    self._decoders += smaller
                    pending = smaller + pending
                else:
                    self._mark_bad(block.points, str(error))
                self._remerge_at = asyncio.get_running_loop().time() + REMERGE_S
                continue
            self._answered = True
            found.append(_readings(decoder, registers))
        untold = [point for point in self._points if point.metric in self._bad.keys() - self._told_bad]
        silent = [point for point in untold if point.metric in self._silent_metrics]
        missing = [point for point in untold if point.metric not in self._silent_metrics]
        found += [_bad(points, code) for points, code in ((silent, BAD_NO_ANSWER), (missing, BAD_NOT_FOUND)) if points]
        self._told_bad = set(self._bad)

    async def _read(self, client: AsyncModbusTcpClient, block: Block) -> Sequence[int]:
        read = {
            RegisterTable.HOLDING: client.read_holding_registers,
            RegisterTable.INPUT: client.read_input_registers,
            RegisterTable.COIL: client.read_coils,
            RegisterTable.DISCRETE: client.read_discrete_inputs,
        }[block.table]
        while True:
            self._requests += 1
            try:
                answer: Any = await read(block.offset, count=block.count, device_id=self._config.modbus_unit_id)
            except (ModbusException, OSError, TimeoutError) as error:
                self._failed_requests += 1
                self._silent += 1
                was_silence = "No response" in str(error)
                if self._silent >= SILENT_REQUESTS_MAX or not was_silence or not client.connected:
                    if was_silence:
                        raise _SilentError("the unit does not answer") from error
                    raise _LostError(_told(error)) from error
                continue
            if answer.isError():
                self._failed_requests += 1
                raise _BlockError(int(answer.exception_code))
            self._silent = 0
            values: Sequence[int] = answer.bits[: block.count] if block.table.holds_bits else answer.registers
            if len(values) != block.count:
                raise _LostError(f"an answer of {len(values)} for {block.count} asked")
            return values

    # ── bad registers ───────────────────────────────────────────────────────────────────────────────────────────

    def _plan(self) -> None:
        blocks = plan_blocks(self._points, gap_max=self._config.gap_max)
        # What was silent is asked last: others have answered then, and a source is not lost for one block.
        blocks.sort(key=lambda block: any(point.metric in self._silent_metrics for point in block.points))
        self._decoders = [BlockDecoder(block) for block in blocks]
        self._known_bad, self._bad = self._bad, {}
        self._silent_metrics.clear()

    def _leave_out(self, block: Block) -> None:
        self._mark_bad(block.points, "no answer, while the unit answers for others")
        self._silent_metrics.update(point.metric for point in block.points)
        self._remerge_at = asyncio.get_running_loop().time() + SILENT_RETRY_S

    def _mark_bad(self, points: Sequence[RegisterPoint], reason: str) -> None:
        for point in points:
            self._bad[point.metric] = reason
            if point.metric not in self._known_bad:
                self._log.warning(
                    "register cannot be read",
                    metric=self._names[point.metric],
                    register=f"{point.table}:#{point.offset}",
                    reason=reason,
                )


def _halves(block: Block) -> list[Block]:
    """Smaller blocks of the same points: first without the registers that nobody asked for, then by halves."""
    without_gaps = plan_blocks(block.points, gap_max=0)
    if len(without_gaps) > 1:
        return without_gaps
    if len(block.points) == 1:
        return []
    middle = len(block.points) // 2
    return [*plan_blocks(block.points[:middle], gap_max=0), *plan_blocks(block.points[middle:], gap_max=0)]


def _readings(decoder: BlockDecoder, registers: Sequence[int]) -> Readings:
    now_ns = time.time_ns()
    readings = Readings([], [], [], [], TimeSource.GATEWAY)
    for point, value in zip(decoder.block.points, decoder.decode(registers), strict=True):
        if isinstance(value, Refusal):
            readings.refused.append(RefusedReading(point.metric, value.reason, value.text))
            continue
        readings.metrics.append(point.metric)
        readings.values.append(value)
    n = len(readings.metrics)
    readings.times_ns = [now_ns] * n
    readings.status_codes = [0] * n
    return readings


def _bad(points: Sequence[RegisterPoint], status_code: int) -> Readings:
    n = len(points)
    return Readings(
        [point.metric for point in points],
        [None] * n,
        [time.time_ns()] * n,
        [status_code] * n,
        TimeSource.GATEWAY,
    )


def _told(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).removeprefix("Modbus Error: ") or type(error).__name__
