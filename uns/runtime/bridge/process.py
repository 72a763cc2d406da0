"""The process of one bridge: opens what the file names, runs until SIGTERM, keeps its figures where others look."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

import uns
from uns.adapters.logs import get_logger
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.adapters.sqlite.record_log import RecordLog
from uns.audit.events import Life
from uns.bridges.port import Emit, Finding, Mapping, Target
from uns.errors import ConfigurationError, StorageError, UnsError
from uns.runtime.audit import os_user
from uns.runtime.bridge.anchors import AnchorKeeper
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.bridge.emitter import FactEmitter
from uns.runtime.bridge.kinds import load_kind
from uns.runtime.bridge.runner import BridgeRunner, BridgeStats

__all__ = ["check_bridge", "list_bridge", "run_bridge", "stats_path"]

_STATS_EVERY_S = 1.0
STALE_STATS_S = 10.0
_LAST_ANCHOR_S = 1.0  # of the 10 s that a stop may take


def stats_path(config: BridgeConfig) -> Path:
    """Where a running bridge leaves its figures for ``uns bridge list``."""
    return config.store.with_name(config.store.name + ".stats.json")


def run_bridge(config: BridgeConfig, *, stats_file: Path | None = None) -> None:
    """Run until SIGTERM or SIGINT. :class:`ConfigurationError` for what no waiting mends."""
    if config.broker is not None:
        config.broker.check()
    try:
        with _lock(config):
            asyncio.run(_main(config, stats_file))
    except* UnsError as group:
        raise _first(group) from None


async def _main(config: BridgeConfig, stats_file: Path | None) -> None:
    log = get_logger("bridge").bind(bridge=config.name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    record_log = await _open_log(config, stop)
    if record_log is None:
        return
    with contextlib.closing(record_log), contextlib.closing(RecordCursor(config.record_log)) as target_log:
        mapping, target = _build(config, target_log)
        store = BridgeStore(
            config.store, bytes_max=config.store_bytes_max, audit_sums=load_kind(config.kind).audit_sums
        )
        emitter = FactEmitter(config) if config.broker is not None and config.tree is not None else None
        keeper = None if config.broker is None else AnchorKeeper(config, emitter, log=log)
        runner = BridgeRunner(
            name=config.name,
            kind=config.kind,
            mapping=mapping,
            target=target,
            store=store,
            log=record_log,
            retry=config.retry,
            limits=config.limits,
            dry_run=config.dry_run,
            emit=_emit_of(emitter),
            life=Life(
                component=config.name, actor=os_user(), release=uns.__version__, configuration=config.for_audit()
            ),
            show=None if keeper is None else keeper.show,
            anchor_file=config.anchor_file,
            logger=log,
        )
        loop.add_signal_handler(signal.SIGHUP, runner.nudge)
        log.info("bridge started", kind=config.kind, store=str(config.store), dry_run=config.dry_run)
        anchoring = None
        if keeper is not None and runner.trail is not None:
            keeper.watch(runner.trail.watch)
            anchoring = asyncio.create_task(keeper.run(), name="anchor")
        work = asyncio.create_task(runner.run(), name="bridge")
        files = [stats_path(config), *([stats_file] if stats_file is not None else [])]
        try:
            await _watch(runner, work, stop, files)
        finally:
            if keeper is not None and anchoring is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_ANCHOR_S):
                        await keeper.drained()
                anchoring.cancel()
                await asyncio.wait([anchoring])
            if emitter is not None:
                await emitter.close()
            with contextlib.suppress(StorageError, OSError):
                stats = await runner.stats()
                _write(files, stats)
                log.info("bridge stopped", waiting=stats.waiting, dead_letters=stats.dead_letters)
            runner.close()
            store.close()


async def _watch(runner: BridgeRunner, work: asyncio.Task[None], stop: asyncio.Event, files: list[Path]) -> None:
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        while not work.done() and not stopping.done():
            with contextlib.suppress(StorageError, OSError):
                _write(files, await runner.stats())
            await asyncio.wait([work, stopping], timeout=_STATS_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        runner.stop()
        await work
    finally:
        stopping.cancel()


async def _open_log(config: BridgeConfig, stop: asyncio.Event) -> RecordCursor | None:
    """The record log; waits for a host that has not made it yet, and says so once."""
    said = False
    while not stop.is_set():
        try:
            record_log = RecordCursor(config.record_log)
            record_log.head()
            return record_log
        except StorageError as error:
            if not said:
                get_logger("bridge").warning("waiting for the record log", error=str(error))
                said = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stop.wait()
    return None


def _emit_of(emitter: FactEmitter | None) -> Emit | None:
    return None if emitter is None else emitter.tell


def _build(config: BridgeConfig, target_log: RecordCursor) -> tuple[Mapping, Target]:
    return load_kind(config.kind).build(config, target_log)


def _write(files: list[Path], stats: BridgeStats) -> None:
    document = msgspec.json.format(msgspec.json.encode(stats), indent=2)
    for file in files:
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(document)
        part.replace(file)


@contextlib.contextmanager
def _lock(config: BridgeConfig) -> Iterator[None]:
    """One process a bridge: two would deliver everything twice."""
    path = config.store.with_name(config.store.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigurationError(
            f"the store cannot be used: {error.strerror}", where=str(path), next_step="check path and rights"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"bridge {config.name} runs already", where=str(path), next_step="stop the other process first"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _first(group: BaseExceptionGroup[UnsError]) -> UnsError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, UnsError)  # noqa: S101 - by its caller
    return found


# ── looking from outside ─────────────────────────────────────────────────────────────────────────────────────────────


def check_bridge(config: BridgeConfig) -> list[Finding]:
    """What is wrong with the broker's files, the record log, the store and the target now."""
    findings: list[Finding] = []
    try:
        if config.broker is not None:
            config.broker.check()
    except ConfigurationError as error:
        findings.append(Finding(rule="broker", text=str(error)))
    findings += _check_store(config)
    with contextlib.ExitStack() as stack:
        log, finding = _log_to_check(config, stack)
        findings.append(finding)
        _, target = _build(config, log)
        findings += asyncio.run(_check_target(target))
    return findings


def _log_to_check(config: BridgeConfig, stack: contextlib.ExitStack) -> tuple[RecordCursor, Finding]:
    """The record log. Where it cannot be read an empty one stands in: the target is looked at all the same."""
    path = config.record_log
    try:
        log = stack.enter_context(contextlib.closing(RecordCursor(path)))
        return log, Finding(rule="record-log", text=f"{log.head()} positions", severity="info")
    except StorageError as error:
        what, step = error.what, error.next_step or "check `host.store`"
        if not path.exists():
            what, step = "there is no record log", "start the host once, or correct `host.store`"
        expected = f" (expected {error.expected})" if error.expected else ""
        finding = Finding(rule="record-log", text=f"{error.where}: {what}{expected}", next_step=step)
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="uns-"))
    empty = Path(directory) / path.name
    RecordLog(empty).close()
    return stack.enter_context(contextlib.closing(RecordCursor(empty))), finding


def _check_store(config: BridgeConfig) -> list[Finding]:
    if not config.store.exists():
        return []
    try:
        with contextlib.closing(BridgeStore(config.store)) as store:
            store.counts()
    except (ConfigurationError, StorageError) as error:
        return [Finding(rule="store", text=str(error))]
    return []


async def _check_target(target: Target) -> list[Finding]:
    try:
        return await target.check()
    finally:
        await target.close()


def list_bridge(config: BridgeConfig) -> BridgeStats:
    """What a bridge does now, from its figures and its books; also where it does not run."""
    try:
        stats = msgspec.json.decode(stats_path(config).read_bytes(), type=BridgeStats)
    except (OSError, msgspec.DecodeError):
        stats = BridgeStats(bridge=config.name, kind=config.kind, state="stopped", reason="it has not run yet")
    if (time.time_ns() - stats.at_ns) / 1e9 > STALE_STATS_S and stats.state != "stopped":
        stats.state, stats.reason = "stopped", f"no figures for more than {STALE_STATS_S:g} s"
    if config.store.exists():
        with contextlib.closing(BridgeStore(config.store)) as store:
            counts = store.counts()
        stats.waiting, stats.dead_letters = counts.states["waiting"], counts.states["dead"]
        stats.in_doubt = counts.states["sending"] + counts.states["unknown"]
        stats.counters = counts.counters
        if counts.oldest_unsent_ns is not None:
            stats.oldest_unsent_s = (time.time_ns() - counts.oldest_unsent_ns) / 1e9
        stats.position = counts.progress.position
    if stats.state == "stopped":
        with contextlib.suppress(StorageError), contextlib.closing(RecordCursor(config.record_log)) as log:
            stats.head = log.head()
    stats.lag_positions = max(stats.head - stats.position, 0)
    return stats
