"""``uns-edge run``: one process, one TaskGroup, everything with a name and an end.

sources ─▶ intake (queue, reduction, group commits) ─▶ store ─▶ publisher (sessions, marks) ─▶ broker
                                                         ▲ deletions ◀── confirmations
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from edge_nodes.audit import EdgeAudit
from edge_nodes.definition import Definition, metric_names
from edge_nodes.intake import Intake, StoreThread
from edge_nodes.modbus.config import ModbusConfig
from edge_nodes.node_file import NodeConfig, SourceConfig
from edge_nodes.publisher import Publisher
from edge_nodes.reduction import Reducer
from edge_nodes.retired import retired_metrics
from edge_nodes.store import EdgeStore
from edge_nodes.wiring import MetricKey
from uns.errors import ConfigurationError, ConnectionLost, LocalProtocolError
from uns.runtime.backoff import Backoff
from uns.source import Source
from uns.sparkplug.edge import EdgeNodeSession

__all__ = ["EdgeRuntime", "make_source", "refuse_births_that_do_not_fit", "run"]

STATS_INTERVAL_S = 1.0
DRAIN_STORE_S = 2.0  # commit what was read
DRAIN_CONFIRM_S = 4.0  # wait for the host's answers
LAST_ENTRY_S = 1.0  # the audit log tells of the stop
DRAIN_LEAVE_S = 1.5  # NDEATH and DISCONNECT; together below the 10 s after which SIGKILL may come


def make_source(config: SourceConfig, numbers: Mapping[MetricKey, int]) -> Source:
    """The source that a configuration asks for; its library is loaded only now."""
    if isinstance(config, ModbusConfig):
        from edge_nodes.modbus.source import ModbusSource  # noqa: PLC0415 a gateway without Modbus never loads it

        return ModbusSource(config, numbers)
    from edge_nodes.opcua.source import OpcUaSource  # noqa: PLC0415 the same

    return OpcUaSource(config, numbers)


def refuse_births_that_do_not_fit(config: NodeConfig, definition: Definition) -> None:
    """Raise :class:`ConfigurationError` where the births cannot be published, before anybody waits for them."""
    session = EdgeNodeSession(config.edge_node)
    session.connect(bd_seq=0, session_id="check", now_ns=0)
    session.receive_connected(0)
    session.receive_subscribed(0)
    try:
        session.birth(definition.node_birth(definition.devices, definition.longest_samples()), 0)
    except LocalProtocolError as error:
        old = len(definition.retired)
        raise ConfigurationError(
            str(error),
            where=str(config.file),
            next_step=f"{old} retired metrics wait to be confirmed: run the old definition until waiting is 0"
            if old
            else "spread the metrics over more equipment or gateways",
        ) from error


class EdgeRuntime:
    """All parts of one gateway, wired."""

    def __init__(self, config: NodeConfig, store: EdgeStore) -> None:
        """Wire everything; raises :class:`ConfigurationError` where the births do not fit into payloads."""
        names = metric_names(config)
        numbers = store.register(names, units=[wiring.contract.unit for wiring in config.metrics])
        retired = retired_metrics(store.orphans(names), store.registered, names, units=store.units)
        self.config = config
        self.definition = Definition(config, numbers, retired)
        refuse_births_that_do_not_fit(config, self.definition)
        store.register([], definition=self.definition.definition_hash)
        self.store = StoreThread(store)
        last = {metric: samples for metric, samples in store.last_samples().items() if samples}
        reducer = Reducer(
            self.definition.reductions(),
            last_samples={metric: [sample[:4] for sample in samples] for metric, samples in last.items()},
        )
        self.audit = EdgeAudit(
            config,
            self.definition.definition_hash,
            wall_ns=time.time_ns,
            wake=lambda: self.publisher.wake(),  # noqa: PLW0108 - it is made next
        )
        self.publisher = Publisher(
            config,
            self.definition,
            self.store,
            {metric: samples[-1] for metric, samples in last.items()},
            wall_ns=time.time_ns,
            audit=self.audit,
        )
        self.intake = Intake(
            self.store,
            reducer,
            self.definition,
            self.publisher,
            wall_ns=time.time_ns,
            commit_interval_s=config.store.commit_interval_ms / 1000,
            on_dropped=self.audit.dropped,
        )
        self.sources = [make_source(source, self.definition.numbers) for source in config.sources]
        self._log = structlog.get_logger(component="uns-edge")

    async def run(self, stop: asyncio.Event, *, stats_file: Path | None) -> dict[str, Any]:
        """Until ``stop``; then drain. Gives the last stats."""
        async with asyncio.TaskGroup() as group:
            publisher = group.create_task(self.publisher.run(), name="publisher")
            intake = group.create_task(self.intake.run(), name="intake")
            helpers = [
                group.create_task(self.publisher.deletions.run(), name="deletions"),
                group.create_task(self.audit.run(), name="audit"),
            ]
            if stats_file is not None:
                helpers.append(group.create_task(self._write_stats(stats_file), name="stats"))
            sources = [group.create_task(self._keep_running(s), name=f"source {s.name}") for s in self.sources]
            await stop.wait()
            self._log.info("stopping", waiting=self.store.store.counters.waiting)
            await _cancel(sources)
            self.intake.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_STORE_S):
                    await asyncio.shield(intake)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_CONFIRM_S):
                    await self.publisher.wait_confirmed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_ENTRY_S):
                    await self.audit.stop(waiting=self.store.store.counters.waiting)
            with contextlib.suppress(TimeoutError, ConnectionLost):
                async with asyncio.timeout(DRAIN_LEAVE_S):
                    await self.publisher.leave()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await asyncio.shield(publisher)
            await _cancel([intake, publisher, *helpers])
        stats = self.stats()
        await self.store.close()
        self.audit.close()
        if stats_file is not None:
            _write_atomically(stats_file, stats)
        self._log.info("stopped", **{key: stats[key] for key in ("stored", "confirmed", "waiting", "dropped")})
        return stats

    async def _keep_running(self, source: Source) -> None:
        """A source that breaks is a bug of ours; the others go on, and it is begun again."""
        backoff = Backoff(first_s=1.0, max_s=30.0)
        while True:
            try:
                await source.run(self.intake)
            except Exception:  # noqa: BLE001 whatever it is, it stays alone and is logged whole
                self._log.exception("source failed", source=source.name)
                self.intake.lost(source.name, "failed; see the log")
            await asyncio.sleep(backoff.next_s())

    def stats(self) -> dict[str, Any]:
        """The committed counters, and how everything is."""
        counters = self.store.store.counters
        publisher = self.publisher
        return {
            "gateway": self.config.gateway,
            "edge_node": str(self.config.edge_node),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **msgspec.structs.asdict(counters),
            "waiting": counters.waiting,
            **msgspec.structs.asdict(publisher.counters),
            "bd_seq": publisher.bd_seq,
            "online": publisher.is_online,
            "broker": publisher.broker,
            "health": publisher.health or ("the disk takes nothing" if self.intake.disk_full else ""),
            "retired": len(self.definition.retired),
            "store_set_aside": None if self.store.store.set_aside is None else str(self.store.store.set_aside),
            "sources": {
                source.name: {"state": self.intake.sources.get(source.name, "connecting"), **source.counters()}
                for source in self.sources
            },
        }

    async def _write_stats(self, path: Path) -> None:
        while True:
            try:
                await asyncio.to_thread(_write_atomically, path, self.stats())
            except OSError as error:
                self._log.warning("stats cannot be written", file=str(path), reason=str(error))
            await asyncio.sleep(STATS_INTERVAL_S)


async def run(config: NodeConfig, *, stats_file: Path | None = None) -> dict[str, Any]:
    """Run a gateway until SIGTERM or SIGINT; gives the last stats."""
    store_config = config.store
    store = EdgeStore(
        store_config.path,
        identity=str(config.edge_node),
        bytes_max=store_config.bytes_max,
        when_full=store_config.when_full,
    )
    log = structlog.get_logger(component="uns-edge")
    if store.set_aside is not None:
        log.error("the store was corrupt and is set aside; a new one is begun", file=str(store.set_aside))
    try:
        runtime = EdgeRuntime(config, store)
    except BaseException:
        store.close()
        raise
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info(
        "started",
        gateway=config.gateway,
        edge_node=str(config.edge_node),
        metrics=len(config.metrics),
        waiting=store.counters.waiting,
        retired=len(runtime.definition.retired),
    )
    return await runtime.run(stop, stats_file=stats_file)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _write_atomically(path: Path, stats: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(msgspec.json.encode(stats) + b"\n")
    beside.replace(path)
