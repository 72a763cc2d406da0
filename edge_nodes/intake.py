"""From the sources into the store: a bounded queue, reduction, group commits, and a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

import msgspec
import structlog

from edge_nodes.definition import Definition
from edge_nodes.gaps import Gap, merge_gaps
from edge_nodes.opcua.mapping import BAD_NO_COMMUNICATION
from edge_nodes.reduction import Reducer, Rows
from edge_nodes.store import Committed, EdgeStore
from uns.errors import StorageFullError
from uns.source import Readings, TimeSource

__all__ = ["CommitListener", "Intake", "StoreThread"]

QUEUE_READINGS_MAX = 50_000  # between sources and store; then the sources wait
COMMIT_ROWS_MAX = 20_000
HELD_ROWS_MAX = 200_000  # while the disk takes nothing; then the newest are dropped, counted
DISK_RETRY_S = 1.0
COUNTS_INTERVAL_S = 1.0  # readings that were all reduced are counted in the store at least this often

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StoreThread:
    """The one thread in which the store is used."""

    def __init__(self, store: EdgeStore) -> None:
        self.store = store
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a method of the store; finishes even when the caller is cancelled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._executor, lambda: function(*args, **kwargs)))

    async def close(self) -> None:
        """Close the store and end the thread."""
        await self.call(self.store.close)
        self._executor.shutdown()


class CommitListener(Protocol):
    """Who wants to know what is stored, in order."""

    def committed(self, rows: Rows, commit: Committed) -> None:
        """Rows are on disk."""
        ...

    def source_changed(self, source: str, *, is_up: bool) -> None:
        """A source came or went; all that it gave before is on disk."""
        ...


class _SourceState(msgspec.Struct, frozen=True):
    """Stands in the queue where a source came or went, so that births and deaths keep their place among the rows."""

    source: str
    is_up: bool


class Intake:
    """The sink of all sources."""

    def __init__(
        self,
        store: StoreThread,
        reducer: Reducer,
        definition: Definition,
        listener: CommitListener,
        *,
        wall_ns: Callable[[], int],
        commit_interval_s: float,
        on_dropped: Callable[[int, str], None] = lambda _count, _policy: None,
    ) -> None:
        self._on_dropped = on_dropped
        self._store = store
        self._reducer = reducer
        self._definition = definition
        self._listener = listener
        self._wall_ns = wall_ns
        self._commit_interval_s = commit_interval_s
        self._queue: deque[Readings | _SourceState] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._forgotten: Rows | None = None
        self._forgotten_gap: Gap | None = None
        self._log = structlog.get_logger(component="intake")
        self.sources: dict[str, str] = {}  # by name: "connected", or why not
        self._up: set[str] = set()  # sources as the queue tells it: as of the rows that are being committed
        self._lost: set[str] = set()  # sources that were there and are not
        self.disk_full = False
        self._draining = False
        self._drain_wanted = asyncio.Event()

    # ── SourceSink ──────────────────────────────────────────────────────────────────────────────────────────────

    async def put(self, readings: Readings) -> None:
        """Queue readings; then wait while too many are queued.

        In this order, so that a source that ends while it waits leaves nothing behind that it took from its server.
        """
        self._queue.append(readings)
        self._queued += len(readings)
        self._wake.set()
        while self._queued >= QUEUE_READINGS_MAX:
            self._room.clear()
            await self._room.wait()

    def connected(self, source: str) -> None:
        """The source delivers."""
        if self.sources.get(source) != "connected":
            self._log.info("source connected", source=source)
            self.sources[source] = "connected"
            self._queue.append(_SourceState(source, is_up=True))
            self._wake.set()

    def lost(self, source: str, reason: str) -> None:
        """The source is gone; it tries again by itself."""
        before = self.sources.get(source)
        if before != reason:
            self._log.warning(
                "source lost" if before == "connected" else "source not reached", source=source, reason=reason
            )
            self.sources[source] = reason
        if before == "connected":
            self._queue.append(_SourceState(source, is_up=False))
            self._wake.set()

    # ── the one task ────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Reduce and commit until :meth:`drain` and the queue is empty."""
        loop = asyncio.get_running_loop()
        next_commit = next_counts = 0.0
        rows = Rows()
        while True:
            if not self._queue and not self._draining:
                self._wake.clear()
                try:
                    async with asyncio.timeout(None if rows.is_empty else COUNTS_INTERVAL_S):
                        await self._wake.wait()
                except TimeoutError:
                    await self._commit(rows)
                    rows = Rows()
                    continue
            if not self._draining and (wait := next_commit - loop.time()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._drain_wanted.wait()
            change = self._reduce_queued(rows)
            if rows.metrics or change is not None or self._draining or loop.time() >= next_counts:
                next_commit = loop.time() + self._commit_interval_s
                next_counts = loop.time() + COUNTS_INTERVAL_S
                await self._commit(rows)
                rows = Rows()
            if change is not None:
                await self._source_changed(change)
            if self._draining and not self._queue:
                return

    def drain(self) -> None:
        """The sources have ended: commit what is queued, then let :meth:`run` return."""
        self._draining = True
        self._drain_wanted.set()
        self._wake.set()

    def _reduce_queued(self, rows: Rows) -> _SourceState | None:
        """Take from the queue until a commit is full or a source came or went."""
        while self._queue and len(rows) < COMMIT_ROWS_MAX:
            entry = self._queue.popleft()
            if isinstance(entry, _SourceState):
                return entry
            self._queued -= len(entry)
            self._reducer.receive(entry, rows)
        self._room.set()
        for refusal in self._reducer.first_refusals():
            self._log.warning(
                "readings refused",
                metric=self._definition.name_of(refusal.metric),
                reason=refusal.reason,
                example=refusal.text,
            )
        return None

    async def _source_changed(self, change: _SourceState) -> None:
        if change.is_up:
            self._up.add(change.source)
            self._lost.discard(change.source)
        else:
            self._up.discard(change.source)
            self._lost.add(change.source)
        for source in sorted(self._lost):  # a device may live again by another source than the one that was lost first
            await self._mark_bad(source)
        self._listener.source_changed(change.source, is_up=change.is_up)

    async def _mark_bad(self, source: str) -> None:
        """Where another source still feeds the device, the lost one's metrics are stored once as bad.

        A device that loses its only source dies as a whole, which says the same without a row per metric.
        """
        numbers = [
            number
            for number in self._definition.numbers_of_source(source)
            if self._definition.sources_of_device[str(self._definition.device_of[number])] & self._up
            and self._reducer.status_of(number) not in (None, BAD_NO_COMMUNICATION)
        ]
        n = len(numbers)
        rows = Rows()
        self._reducer.receive(
            Readings(numbers, [None] * n, [self._wall_ns()] * n, [BAD_NO_COMMUNICATION] * n, TimeSource.GATEWAY), rows
        )
        await self._commit(rows)

    # ── commits ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _commit(self, rows: Rows) -> None:
        if rows.is_empty:
            return
        while True:
            try:
                await self._commit_forgotten()
                committed = await self._store.call(self._store.store.commit, rows)
            except StorageFullError as error:
                if not self.disk_full:
                    self.disk_full = True
                    self._log.error("the disk takes nothing; values wait in memory", reason=str(error))
                if self._draining:  # the process ends: what cannot be stored is not read
                    return
                await asyncio.sleep(DISK_RETRY_S)
                self._hold(rows)
                continue
            if self.disk_full:
                self.disk_full = False
                self._log.info("the disk takes values again")
            if committed.dropped:
                self._log.error(
                    "store full: values dropped", count=committed.dropped, policy=self._store.store.when_full
                )
                self._on_dropped(committed.dropped, self._store.store.when_full)
            if not committed.holds(rows):
                self._reducer.take_back(rows)
            self._listener.committed(rows, committed)
            return

    def _hold(self, rows: Rows) -> None:
        """Keep on reading into memory while the disk is full, up to a bound; count what lies beyond."""
        while self._queue and not isinstance(self._queue[0], _SourceState):
            entry = self._queue.popleft()
            assert isinstance(entry, Readings)  # noqa: S101 the loop's condition, for the type checker
            self._queued -= len(entry)
            if len(rows) < HELD_ROWS_MAX:
                self._reducer.receive(entry, rows)
                continue
            lost = Rows()
            self._reducer.receive(entry, lost)
            self._reducer.take_back(lost)
            if lost.times_ns:
                gap = Gap.of(lost.times_ns, reason="disk full")
                self._forgotten_gap = merge_gaps(self._forgotten_gap, gap)
            kept = Rows() if self._forgotten is None else self._forgotten  # Rows without rows are falsy
            self._forgotten = Rows(
                read=kept.read + lost.read, reduced=kept.reduced + lost.reduced, refused=kept.refused + lost.refused
            )
        self._room.set()

    async def _commit_forgotten(self) -> None:
        counts, gap = self._forgotten, self._forgotten_gap
        if counts is None:
            return
        await self._store.call(self._store.store.count_dropped, counts, gap)
        self._forgotten = self._forgotten_gap = None
        if gap is not None:
            self._log.error("disk full: values dropped", count=gap.count)
            self._on_dropped(gap.count, "disk full")
