"""The host process: receive, log, confirm, join, record, publish. One TaskGroup.

    Sparkplug connection ─▶ Receiver ─▶ RawWriter ─▶ Joiner ─▶ Output ─▶ output connection
              ▲                            │            ▲
              └────────── answers ─────────┘            └── FactIntake ◀─ facts connection

Three connections: a Sparkplug host must connect clean, facts need a session that the broker keeps, and a slow output
must hold neither back. What each stage promises stands in its module.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import uns
from uns.adapters.http import ApiServer, parse_api_address
from uns.adapters.logs import Logger, get_logger
from uns.adapters.sqlite.raw_log import RawLog
from uns.adapters.sqlite.record_log import RecordLog
from uns.adapters.sqlite.record_queries import RecordQueries
from uns.audit.events import Life, command_sent
from uns.delivery.host import HostDelivery
from uns.delivery.messages import MARK_FILTER, confirm_topic
from uns.errors import ConfigurationError, StorageError
from uns.namespace.acl import host_credentials
from uns.namespace.loader import load_tree
from uns.namespace.model import TopicTree
from uns.runtime.audit import AuditTrail, os_user
from uns.runtime.host.announcements import Announcer
from uns.runtime.host.api import HostApi
from uns.runtime.host.fact_audit import FactAudit
from uns.runtime.host.fact_intake import FactIntake
from uns.runtime.host.groups import Item
from uns.runtime.host.intake import DeviceReader
from uns.runtime.host.joiner import Joiner
from uns.runtime.host.kept_state import KeptState
from uns.runtime.host.live_preview import LivePreview
from uns.runtime.host.liveness import Liveness
from uns.runtime.host.options import HostOptions
from uns.runtime.host.order_state import OrderState
from uns.runtime.host.output import Output
from uns.runtime.host.raw_writer import Answers, RawWriter
from uns.runtime.host.receiver import DeliveryGate, Receiver
from uns.runtime.host.sparkplug_link import SparkplugLink
from uns.runtime.host.status import HostStatus
from uns.sparkplug.host import HostBounds, HostSession
from uns.sparkplug.messages import (
    HeldBirths,
    HostEvent,
    HostStateHealed,
    Message,
    RebirthRequested,
)
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["Host", "run_host"]

TICK_S = 0.05  # how often timers are looked at
DRAIN_S = 7.0  # of the 10 s that a stop may take
LAST_STATUS_S = 2.0  # likewise
LAST_ENTRY_S = 0.5  # likewise, where draining took its time
_T = TypeVar("_T")


class Host:
    """One host. :meth:`run` returns after a stop was asked for and everything is drained (or the time for it is up)."""

    def __init__(self, options: HostOptions, tree: TopicTree, log: Logger) -> None:
        self.options = options
        self.tree = tree
        self.log = log
        self.started_ns = time.time_ns()
        self._stop = asyncio.Event()
        self._stop_is_written = False
        self._is_open = False
        self._threads = {
            name: ThreadPoolExecutor(1, thread_name_prefix=f"uns-{name}")
            for name in ("raw-writes", "raw-reads", "record-writes", "queries", "orders")
        }
        self._closers: list[tuple[str, Callable[[], None]]] = []
        self.final_status: dict[str, Any] | None = None
        declared = _edge_nodes_of(tree)
        bounds = HostBounds()
        # Every node that the session keeps has its count.
        self.gate = DeliveryGate(HostDelivery(options.host_id, edge_nodes_max=bounds.nodes_max + len(declared)))
        self.kept_state = KeptState(options.store, log)
        self.session = HostSession(
            options.host_id,
            jitter=random.randrange,
            bounds=bounds,
            leniency=options.leniency,
            declared=declared.__contains__,
            reorder_timeout_ms=options.reorder_timeout_ms,
            rebirths_per_second_max=options.rebirths_per_second_max,
            state_seen_ms=self.kept_state.load(),
            extra_filters=((MARK_FILTER, 0),),  # at QoS 0, or DATA could overtake queued marks
        )
        self.output = Output(
            options.broker.of_connection(f"{options.host_id}-out"),
            client_id=f"{options.host_id}-out",
            log=get_logger("output"),
            limits=options.output,
        )
        self.announcer = Announcer(
            tree, show=self.output.show, notice=self.output.notice, now_ns=time.time_ns, log=get_logger("sparkplug")
        )
        self.preview = LivePreview(self.output.show)
        self.liveness = Liveness(lambda: self.session.nodes, on_sweep=self.announcer.follow)

    @property
    def connected(self) -> bool:
        """Whether the Sparkplug connection is up and our STATE is out."""
        return self._is_open and self.link.connected

    def stop(self) -> None:
        """Ask for the end; what is received so far is still joined and published."""
        self._stop.set()

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Open the store, connect, work until :meth:`stop`."""
        await self._open()
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self.writer.run(), name="raw log"),
                    tasks.create_task(self.joiner.run(), name="joiner"),
                    tasks.create_task(self.output.run(), name="output"),
                    tasks.create_task(self.facts.run(), name="facts"),
                    tasks.create_task(self.trail.run(), name="audit"),
                    tasks.create_task(self.orders.run(), name="orders"),
                    tasks.create_task(self._tick(), name="timers"),
                ]
                sparkplug = tasks.create_task(self.link.run(), name="sparkplug")
                async with ApiServer(
                    parse_api_address(self.options.api_address),
                    answers={**self.status.answers, **self.api.answers},
                    streams=self.api.streams,
                ) as server:
                    self.log.info("host started", host_id=self.options.host_id, api=str(server.address))
                    await self._stop.wait()
                    self.log.info("host stopping")
                    await self._drain(sparkplug)
                    if self.options.stats_file is not None:
                        self.final_status = await self._last_status()
                for task in work:
                    task.cancel()
        finally:
            await self._close()
        self.log.info("host stopped", joined=self.joiner.joined)

    async def _open(self) -> None:
        options = self.options
        for name in host_credentials(options.host_id):
            options.broker.of_connection(name).check()
        await self._open_logs()
        await self._open_joining()
        await self._open_receiving()
        self.orders = OrderState(
            self.tree,
            self.records.path,
            show=self.output.show,
            thread=self._threads["orders"],
            log=get_logger("orders"),
            limits=options.orders,
        )
        self.status = HostStatus(self)
        self.api = HostApi(self)
        self._is_open = True
        self.announcer.show_all()

    async def _open_logs(self) -> None:
        """What was received, what became of it, and the audit log that lies with it."""
        options, closers = self.options, self._closers
        is_context = _context_metrics(self.tree)
        raw = self.raw = await self._patiently(
            "raw-writes",
            lambda: RawLog(
                options.store / "raw.db", bytes_max=options.raw_bytes_max, retention_ns=options.raw_retention_ns
            ),
        )
        closers.append(("raw-writes", raw.close))
        records = self.records = await self._patiently(
            "record-writes",
            lambda: RecordLog(options.store / "records.db", is_context=is_context, bytes_max=options.record_bytes_max),
        )
        closers.append(("record-writes", records.close))
        self.trail = AuditTrail(
            records.audit,
            Life(
                component=options.host_id,
                actor=os_user(),
                release=uns.__version__,
                configuration={"contract_hash": self.tree.contract_hash, **options.for_audit()},
            ),
            blocking=lambda call: self._in_thread("record-writes", call),
            log=get_logger("audit"),
            show=self.output.show,
            anchor_file=options.anchor_file,
        )
        await self._patiently_async(self.trail.start)
        self.output.watch = self.trail.watch

    async def _open_joining(self) -> None:
        """From the raw log and the facts to records, and who asks for these."""
        options = self.options
        fact_audit = FactAudit(self.trail)
        self.joiner = Joiner(
            self.tree,
            self.raw,
            self.records,
            self.output,
            raw_reads=self._threads["raw-reads"],
            record_writes=self._threads["record-writes"],
            log=get_logger("joiner"),
            limits=options.joining,
            on_health=lambda text: self.announcer.trouble("record_log", text),
            on_gap=self.announcer.gap,
            unlimited_time=options.unlimited_time,
            audit=fact_audit,
        )
        self._closers.append(("raw-reads", self.joiner.close))
        await self._patiently_async(self.joiner.start)
        self.facts = FactIntake(
            options.broker.of_connection(f"{options.host_id}-facts"),
            self.tree,
            client_id=f"{options.host_id}-facts",
            joiner=self.joiner,
            output=self.output,
            log=get_logger("facts"),
            dead_letter=self.announcer.dead_letter,
            audit=fact_audit,
        )
        self.queries = await self._in_thread("queries", lambda: RecordQueries(self.records.path))
        self._closers.append(("queries", self.queries.close))

    async def _open_receiving(self) -> None:
        """From the Sparkplug connection to the raw log, behind all that is logged already."""
        options, raw = self.options, self.raw
        await self._patiently("raw-writes", lambda: raw.read_with(options.leniency, from_position=self.joiner.head + 1))
        self.receiver = Receiver(
            self.tree,
            self.session,
            self.gate,
            next_position=self.joiner.head + 1,
            on_event=self._on_event,
        )
        for held in await self._in_thread("raw-reads", raw.held):
            self.session.hold_births(
                HeldBirths(held.edge_node, held.session, held.bd_seq, held.payload, held.devices), time.time_ns()
            )
        self.writer = RawWriter(
            raw,
            self.gate,
            writes=self._threads["raw-writes"],
            log=get_logger("raw_log"),
            answer=self._answer,
            hand_over=self._hand_over,
            on_dropped=self.preview.receive,
            on_health=lambda text: self.announcer.trouble("raw_log", text),
            joined=lambda: self.joiner.joined,
        )
        self.link = SparkplugLink(
            options.broker.of_connection(options.host_id),
            session=self.session,
            receiver=self.receiver,
            writer=self.writer,
            gate=self.gate,
            kept_state=self.kept_state,
            liveness=self.liveness,
            log=self.log,
        )

    async def _close(self) -> None:
        for thread, close in reversed(self._closers):
            with contextlib.suppress(StorageError):
                await self._in_thread(thread, close)
        for executor in self._threads.values():
            executor.shutdown(wait=False)

    async def _drain(self, sparkplug: asyncio.Task[None]) -> None:
        """Stop receiving, finish what was received, as far as the time allows: the logs hold the rest."""
        try:
            async with asyncio.timeout(DRAIN_S):
                sparkplug.cancel()
                await asyncio.wait([sparkplug])
                while not (self.writer.is_idle() and self.joiner.is_idle()):  # noqa: ASYNC110 - three states, one look
                    await asyncio.sleep(0.01)
                await self._audit_stop(drained=True, within_s=DRAIN_S)
                while self.output.connected and not self.output.is_idle():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            self.log.warning(
                "stopped before everything was published; it is in the logs", outbox=self.output.outbox_waiting
            )
            await self._audit_stop(drained=False, within_s=LAST_ENTRY_S)

    async def _audit_stop(self, *, drained: bool, within_s: float) -> None:
        """A clean stop is an entry, once, and the anchor tells of it."""
        if self._stop_is_written:
            return
        self._stop_is_written = True
        try:
            async with asyncio.timeout(within_s):
                await self.trail.stop(drained=drained)
        except (StorageError, TimeoutError) as error:
            self.log.warning("the audit log does not tell of this stop", error=str(error))

    async def _last_status(self) -> dict[str, Any] | None:
        """The status at the end; None where it cannot be had: a stop does not fail for a report."""
        try:
            async with asyncio.timeout(LAST_STATUS_S):
                return await self.status.status({})
        except Exception:  # a log that cannot be read, or a look that takes too long
            self.log.exception("no status could be taken at the end")
            return None

    # --- Sparkplug -----------------------------------------------------------------------------------------------

    def _on_event(self, event: HostEvent, reader: DeviceReader | None) -> None:
        if isinstance(event, RebirthRequested):
            self.trail.note(
                command_sent(
                    "rebirth",
                    str(event.edge_node),
                    cause=event.cause,
                    actor=self.options.host_id,
                    at_ns=time.time_ns(),
                )
            )
        if isinstance(event, HostStateHealed) and event.reconnecting:  # else soon: no fsync for each forged one
            self.kept_state.keep(self.session.state_seen_ms)
        self.liveness.receive(event)
        self.announcer.receive(event, reader)

    def _answer(self, answers: Answers) -> None:
        self.link.publish(
            [Message(confirm_topic(edge_node), msgspec.json.encode(confirm), qos=1) for edge_node, confirm in answers]
        )

    def _hand_over(self, items: Sequence[Item], head: int) -> None:
        self.joiner.hand_over(items, head)
        if "record_log" in self.announcer.troubles:
            self.preview.receive(items)

    async def _tick(self) -> None:
        """Timers of the session and of present values."""
        while True:
            await asyncio.sleep(TICK_S)
            now_ns = time.time_ns()
            await self.link.look(now_ns)
            self.announcer.due()
            board = self.joiner.enricher.board
            if not self._stop.is_set():  # a host that stops says so by its STATE and _health; its next life judges anew
                self.liveness.due(board, now_ns, behind=self.joiner.behind)
            self.preview.due(self.joiner.enricher, now_ns)
            for message in board.due(now_ns):
                self.output.show(message.topic, message.payload)

    # --- helpers -------------------------------------------------------------------------------------------------

    async def in_queries(self, call: Callable[[], _T]) -> _T:
        """Run a question to the record log in its thread."""
        return await self._in_thread("queries", call)

    async def in_raw_reads(self, call: Callable[[], _T]) -> _T:
        """Run a question to the raw log in its thread."""
        return await self._in_thread("raw-reads", call)

    async def _in_thread(self, name: str, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads[name], call)

    async def _patiently(self, name: str, call: Callable[[], _T]) -> _T:
        async def attempt() -> _T:
            return await self._in_thread(name, call)

        return await self._patiently_async(attempt)

    async def _patiently_async(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Wait for a store that cannot be used now (a full disk), and say so; a stop ends the waiting."""
        while True:
            try:
                return await call()
            except StorageError as error:
                self.log.error("the store cannot be used, trying again", error=str(error))  # noqa: TRY400 - no traceback
                # Not wait_for: before Python 3.12 it may swallow a cancellation.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5.0):
                        await self._stop.wait()
                    raise


def _edge_nodes_of(tree: TopicTree) -> frozenset[EdgeNodeDescriptor]:
    """The nodes that the tree names: strangers never keep them out."""
    return frozenset(
        EdgeNodeDescriptor(tree.group_id(equipment.site), gateway)
        for equipment in tree.equipment.values()
        for gateway in equipment.gateways
    )


def _context_metrics(tree: TopicTree) -> Callable[[str, str], bool]:
    wanted = {
        (equipment.id, metric.name)
        for equipment in tree.equipment.values()
        if (equipment_class := tree.class_of(equipment.id)) is not None
        for metric in equipment_class.metrics.values()
        if metric.role == "context"
    }
    return lambda equipment, metric: (equipment, metric) in wanted


@contextlib.contextmanager
def _lock(store: Path) -> Iterator[None]:
    """One host per store: two would both answer marks and both number the log."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigurationError(
            f"the store cannot be used: {error.strerror}", where=str(store), next_step="check path and rights"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                "another host uses this store", where=str(store), next_step="stop it, or give another --store"
            ) from error
        yield
    finally:
        os.close(descriptor)


async def _main(options: HostOptions) -> None:
    tree = load_tree(options.tree)
    log = get_logger("host")
    with _lock(options.store):
        host = Host(options, tree, log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, host.stop)
        await host.run()
        if options.stats_file is not None and host.final_status is not None:
            document = msgspec.json.format(msgspec.json.encode(host.final_status), indent=2)
            try:
                options.stats_file.write_bytes(document)
            except OSError as error:
                log.error("the last status cannot be written", file=str(options.stats_file), error=str(error))  # noqa: TRY400


def run_host(options: HostOptions) -> None:
    """Run a host until SIGTERM or SIGINT. Raises :class:`ConfigurationError` for what no waiting mends."""
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(_main(options))
    except* ConfigurationError as group:
        raise _first(group) from None


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where it is installed (extra ``fast``): half the cost of a message that comes alone."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop


def _first(group: BaseExceptionGroup[ConfigurationError]) -> ConfigurationError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ConfigurationError):
        raise TypeError(f"expected a ConfigurationError, got {error!r}")
    return error
