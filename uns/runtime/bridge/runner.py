"""One bridge at work: reading, delivering, bringing in, as three tasks over one store.

    reader: record log ─▶ mapping ─▶ outbox + cursor (one commit)
    sender: outbox ─▶ `sending` on disk ─▶ target ─▶ outcome on disk

Both may stop at any point. The reader reads again from the committed cursor; what the sender had in the air is read
back from the target before anything is sent again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from uns.adapters.logs import Logger, get_logger
from uns.adapters.sqlite.bridge_store import BridgeStore, StoredItem
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.audit.events import Life
from uns.bridges.port import (
    Auth,
    Emit,
    Mapping,
    Outcome,
    Poison,
    Target,
    Transient,
    Unknown,
)
from uns.bridges.rules import RetryPolicy, Settled, back_off_ns, settle
from uns.errors import StorageError
from uns.runtime.audit import AuditTrail
from uns.runtime.backoff import Backoff

__all__ = ["BridgeRunner", "BridgeStats", "RunnerLimits"]

RunState = Literal["starting", "running", "paused", "dry_run", "stopped"]

_T = TypeVar("_T")
_SECOND_NS = 1_000_000_000
_HOUSEKEEPING_S = 60.0
_LAST_ENTRY_S = 2.0  # a quarter of it where draining took its time


class RunnerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and rhythms."""

    positions_max: int = 20_000  # of one batch
    outbox_items_max: int = 10_000  # waiting; beyond it reading pauses
    poll_s: float = 0.2
    drain_s: float = 7.0  # of the 10 s that a stop may take
    items_per_second: float | None = None
    keep_delivered_ns: int = 30 * 86_400 * _SECOND_NS
    keep_inbound_ns: int = 366 * 86_400 * _SECOND_NS  # documents and orders that nobody sent since


class BridgeStats(msgspec.Struct, kw_only=True):
    """What ``--stats-json`` and ``uns bridge list`` show."""

    schema: str = "uns1.bridge_stats/1"
    bridge: str
    kind: str
    state: RunState
    reason: str = ""  # why it is paused
    next_step: str = ""
    error_class: str = ""
    position: int = 0
    head: int = 0
    lag_positions: int = 0
    pending: int = 0  # what the mapping will make into items when its time comes: finished jobs within `grace`
    waiting: int = 0
    in_doubt: int = 0
    dead_letters: int = 0
    oldest_unsent_s: float | None = None
    inbound_reason: str = ""  # what keeps orders from being brought in
    quarantined: int = 0  # files that were set aside and still lie there
    counters: dict[str, int] = {}
    at_ns: int = 0


class BridgeRunner:
    """Give it a mapping and a target; :meth:`run` returns after :meth:`stop` and a drain."""

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        mapping: Mapping,
        target: Target,
        store: BridgeStore,
        log: RecordCursor,
        retry: RetryPolicy | None = None,
        limits: RunnerLimits | None = None,
        dry_run: bool = False,
        emit: Emit | None = None,
        life: Life | None = None,
        show: Callable[[str, bytes], None] | None = None,
        anchor_file: Path | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        jitter: Callable[[int], int] = random.randrange,
        logger: Logger | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.mapping = mapping
        self.target = target
        self.store = store
        self.record_log = log
        self.retry = retry or RetryPolicy()
        self.limits = limits or RunnerLimits()
        self.dry_run = dry_run
        self._emit = emit
        self.trail = (
            None
            if life is None
            else AuditTrail(
                store.audit,
                life,
                blocking=self._blocking,
                log=get_logger("audit"),
                show=show,
                anchor_file=anchor_file,
                now_ns=now_ns,
                shared=True,
            )
        )
        self._now_ns = now_ns
        self._jitter = jitter
        self._log = logger or get_logger("bridge")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="uns-bridge")
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._progress = Progress()
        self._head = 0
        self._mapping_ahead = False
        self._unsent = 0  # at most so many; counted again when the bound seems reached
        self._started = False  # the target is ready, and its books and ours agree
        self._target_position: int | None = None
        self._in_doubt = True  # what an earlier process had in the air
        self._failures = 0  # of the whole target, in a row
        self._trouble: Settled | None = None
        self._paused_until_ns = 0
        self._next_send_ns = 0
        rate = self.limits.items_per_second
        rate_ns = 0 if rate is None else int(target.items_max * _SECOND_NS / rate)
        self._wait_max_ns = max(self.retry.max_ns, self.retry.auth_retry_ns, rate_ns)
        self._storage_trouble = ""
        self.stopped = False

    def stop(self) -> None:
        """Ask for the end; what is in the air gets its answer."""
        self._stop.set()
        self._wake.set()

    @property
    def started(self) -> bool:
        """Whether the target is ready, and its books and ours agree."""
        return self._started

    def nudge(self) -> None:
        """End a pause: whoever mended the target need not wait."""
        self._paused_until_ns = 0
        self._wake.set()

    async def stats(self) -> BridgeStats:
        """What stands in the books now, and what is in the way."""
        # On the thread that reads: between two of its batches, or an item would be neither pending nor waiting.
        counts, position, head, pending = await self._blocking(
            lambda: (self.store.counts(), self._progress.position, self._head, getattr(self.mapping, "pending", 0))
        )
        now_ns = self._now_ns()
        trouble = self._trouble
        return BridgeStats(
            bridge=self.name,
            kind=self.kind,
            state=_state_of(self, trouble),
            reason=self._storage_trouble or ("" if trouble is None else trouble.reason),
            next_step="" if trouble is None else trouble.next_step,
            error_class="storage" if self._storage_trouble else "" if trouble is None else trouble.error_class,
            position=position,
            head=head,
            lag_positions=head - position,
            pending=pending,
            waiting=counts.states["waiting"],
            in_doubt=counts.states["sending"] + counts.states["unknown"],
            dead_letters=counts.states["dead"],
            oldest_unsent_s=None if counts.oldest_unsent_ns is None else (now_ns - counts.oldest_unsent_ns) / 1e9,
            inbound_reason="" if self.stopped else getattr(self.target, "inbound_trouble", ""),
            quarantined=getattr(self.target, "inbound_set_aside", 0),
            counters=counts.counters,
            at_ns=now_ns,
        )

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Work until :meth:`stop`. Raises :class:`~uns.errors.ConfigurationError` for what no waiting mends."""
        try:
            await self._patiently(self._open)
            await self._start_trail()
            async with asyncio.TaskGroup() as tasks:
                workers = [
                    tasks.create_task(self._read_log(), name="reader"),
                    tasks.create_task(self._bring_in(), name="inbound"),
                    tasks.create_task(self._keep_house(), name="housekeeping"),
                ]
                if self.trail is not None:
                    workers.append(tasks.create_task(self.trail.run(), name="audit"))
                sender = tasks.create_task(self._send(), name="sender")
                await self._stop.wait()
                for worker in workers:
                    worker.cancel()
                done, _ = await asyncio.wait([sender], timeout=self.limits.drain_s)
                sender.cancel()
                await self._stop_trail(drained=bool(done))
        finally:
            self.stopped = True
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self.target.close()

    def close(self) -> None:
        """Let go of the worker thread, after :meth:`run` and the last :meth:`stats`."""
        self._thread.shutdown(wait=True)

    def _open(self) -> None:
        self.store.claim(self.name)
        self._progress = self.store.progress()
        self.mapping.load(self.store.mapping_state(), self.record_log)
        self._head = self.record_log.head()

    async def _start_trail(self) -> None:
        while self.trail is not None:
            try:
                await self.trail.start()
                return
            except StorageError as error:
                await self._storage_failed(error)
                if self._stop.is_set():
                    raise

    async def _stop_trail(self, *, drained: bool) -> None:
        if self.trail is None:
            return
        try:
            async with asyncio.timeout(_LAST_ENTRY_S if drained else _LAST_ENTRY_S / 4):
                await self._blocking(lambda: self.store.audit.write_sums(self._now_ns(), everything=True))
                await self.trail.stop(drained=drained)
        except (StorageError, TimeoutError) as error:
            self._log.warning("the audit log does not tell of this stop", error=str(error))

    async def _patiently(self, call: Callable[[], _T]) -> _T:
        """Wait for a disk that cannot be used now, and say so."""
        while True:
            try:
                return await self._blocking(call)
            except StorageError as error:
                await self._storage_failed(error)
                if self._stop.is_set():
                    raise

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        """On the one thread that touches the disk, to its end even if we are cancelled: a commit is never half."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, call)
        return await asyncio.shield(future)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read_log(self) -> None:
        while True:
            more = False
            try:
                new, more = await self._blocking(self._read_once)
                self._storage_trouble = ""
                if new:
                    self._wake.set()
            except StorageError as error:
                await self._storage_failed(error)
            if not more:
                await asyncio.sleep(self.limits.poll_s)

    def _read_once(self) -> tuple[int, bool]:
        """One batch: how many items it made, and whether there is more to read at once."""
        self.store.check_there()
        if self._unsent >= self.limits.outbox_items_max:
            self._unsent = self.store.unsent()
            if self._unsent >= self.limits.outbox_items_max:
                return 0, False
        now_ns = self._now_ns()
        if self._mapping_ahead:
            self.mapping.load(self.store.mapping_state(), self.record_log)
        batch, progress, self._head = self.record_log.read(
            self._progress, positions_max=self.limits.positions_max, samples=self.mapping.wants_samples
        )
        self._mapping_ahead = True  # of what is on disk, until the commit below
        items = [] if batch.is_empty() else self.mapping.receive_batch(batch, now_ns)
        deadline_ns = self.mapping.next_deadline_ns()
        # While there is more to read, what is known is not all: what is due waits for it.
        if progress.position == self._head and deadline_ns is not None and deadline_ns <= now_ns:
            items += self.mapping.receive_timer(now_ns)
        state = self.mapping.drain_state()
        if items or state or progress != self._progress:
            self._unsent += self.store.take_in(items, progress=progress, state=state, now_ns=now_ns)
            self._progress = progress
        self._mapping_ahead = False
        deadline_ns = self.mapping.next_deadline_ns()
        is_due = bool(items) and deadline_ns is not None and deadline_ns <= now_ns
        return len(items), is_due or progress.position < self._head

    # ── delivering ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self) -> None:
        while not self._stop.is_set():
            worked = False
            try:
                worked = await self._send_once()
            except StorageError as error:
                await self._storage_failed(error)
            if not worked:
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.limits.poll_s):
                        await self._wake.wait()

    async def _send_once(self) -> bool:
        """One round; whether the next may follow at once."""
        now_ns = self._now_ns()
        if self.dry_run or self._waits(now_ns, self._paused_until_ns) or self._waits(now_ns, self._next_send_ns):
            return False
        if not self._started and not await self._start_target():
            return False
        if self._in_doubt and not await self._read_back():
            return False
        if not self._started:
            if self._target_position is not None:
                await self._blocking(self._align)
            self._started = True
        await self._blocking(self.store.check_there)
        limit, wait_max_ns = self.target.items_max, self._wait_max_ns
        due = await self._blocking(lambda: self.store.due(now_ns, limit=limit, wait_max_ns=wait_max_ns))
        if not due:
            return False
        await self._blocking(lambda: self.store.sending([stored.id for stored in due], now_ns))
        self._in_doubt = True  # until their outcomes are on disk
        settled = await self._deliver(due)
        if self.limits.items_per_second is not None:
            self._next_send_ns = now_ns + int(len(due) * _SECOND_NS / self.limits.items_per_second)
        await self._blocking(lambda: self._write_down(due, settled))
        self._in_doubt = any(result.state == "unknown" for result in settled)
        self._take_pauses(settled)
        return True

    def _waits(self, now_ns: int, then_ns: int) -> bool:
        """Whether to wait for a time. Nothing waits longer than the longest wait there is: the clock was set back."""
        return now_ns < then_ns <= now_ns + self._wait_max_ns

    async def _start_target(self) -> bool:
        found = await self.target.start()
        if isinstance(found, Transient | Auth):
            self._take_pauses([self._settled(found, 0)])
            return False
        self._target_position = found
        self._trouble, self._failures = None, 0
        return True

    def _align(self) -> None:
        """Go on where the target's books end, if they and ours do not agree: one of us was restored or lost."""
        position = self._target_position
        assert position is not None  # noqa: S101 - by its caller
        first = self.store.first_unsettled()
        expected = self._progress.position if first is None else first - 1
        if position == expected:
            return
        what = "less than was delivered: delivering again" if position < expected else "more than our books"
        self._log.warning(f"the target has {what}", target=position, ours=expected)
        self.store.rewind(position, expected=expected, now_ns=self._now_ns())
        self._progress = self.store.progress()

    async def _read_back(self) -> bool:
        """Ask the target for everything whose outcome is not known; whether all of it is known now."""
        now_ns = self._now_ns()
        for stored in await self._blocking(self.store.in_doubt):
            taken = await self.target.read_back(stored.item)
            if taken is None:
                self._take_pauses([self._settled(Unknown("the target does not tell whether it has it"), 0)])
                return False
            if taken:
                result = Settled(state="delivered", receipt="read back", attempts=stored.item.attempts)
            elif stored.item.attempts >= self.retry.attempts_max:
                result = Settled(
                    state="dead",
                    error_class="poison",
                    reason=stored.reason or "it fails every time",
                    next_step=Poison("").next_step,
                    attempts=stored.item.attempts,
                )
            else:
                result = Settled(state="waiting", reason=stored.reason, attempts=stored.item.attempts, due_at_ns=now_ns)
            await self._blocking(lambda id_=stored.id, result=result: self.store.settle([(id_, result)], now_ns))  # type: ignore[misc]
            self._log.info("read back", key=stored.item.key, taken=taken)
        self._in_doubt = False
        self._trouble = None
        return True

    async def _deliver(self, due: list[StoredItem]) -> list[Settled]:
        items = [stored.item for stored in due]
        try:
            outcomes = await self.target.deliver(items)
        except Exception as error:  # noqa: BLE001 - a bug of the target must not stop the others, nor send anything twice
            self._log.exception("the target failed", keys=[item.key for item in items])
            reason = f"internal error: {error!r}"
            return [
                Settled(
                    state="unknown",
                    error_class="internal",
                    reason=reason,
                    attempts=item.attempts + 1,
                    pause="back_off",
                )
                for item in items
            ]
        return [self._settled(o, item.attempts) for o, item in zip(outcomes, items, strict=True)]

    def _settled(self, outcome: Outcome, attempts: int) -> Settled:
        return settle(outcome, attempts=attempts, retry=self.retry, now_ns=self._now_ns(), jitter=self._jitter)

    def _write_down(self, due: list[StoredItem], settled: list[Settled]) -> None:
        now_ns = self._now_ns()
        kept: list[tuple[int, Settled]] = []
        for stored, result in zip(due, settled, strict=True):
            parts = self.target.split(stored.item) if result.state == "dead" else []
            if parts:
                self.store.replace(stored.id, parts, now_ns)
                continue
            kept.append((stored.id, result))
            if result.state == "dead":
                self._log.error("dead letter", key=stored.item.key, reason=result.reason, next_step=result.next_step)
        self.store.settle(kept, now_ns)

    def _take_pauses(self, settled: list[Settled]) -> None:
        if any(result.state in {"delivered", "dead"} for result in settled):
            self._failures, self._trouble = 0, None
        trouble = next((result for result in settled if result.pause != "none"), None)
        if trouble is None:
            return
        if trouble.pause == "auth":
            wait_ns = self.retry.auth_retry_ns
            self._log.error("the target refuses us: paused", reason=trouble.reason, next_step=trouble.next_step)
        else:
            wait_ns = back_off_ns(self._failures, self.retry, self._jitter)
            if self._trouble is None or self._trouble.reason != trouble.reason:
                self._log.warning("waiting for the target", reason=trouble.reason, seconds=wait_ns / _SECOND_NS)
        self._failures += 1
        self._trouble = trouble
        self._paused_until_ns = self._now_ns() + wait_ns

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _bring_in(self) -> None:
        if self._emit is None or self.dry_run:
            return
        backoff = Backoff(first_s=1.0, max_s=60.0)
        while True:
            try:
                backoff.works()  # if it lasts: a failure after days is the first one again
                await self.target.inbound(self._emit)
                return
            except Exception as error:  # noqa: BLE001 - the way out must not stop because the way in does
                self._log.exception("inbound failed, trying again", error=str(error))
                await asyncio.sleep(backoff.next_s())

    async def _keep_house(self) -> None:
        while True:
            with suppress(StorageError):
                await self._blocking(
                    lambda: self.store.forget_delivered(self._now_ns() - self.limits.keep_delivered_ns)
                )
                await self._blocking(lambda: self.store.forget_inbound(self._now_ns() - self.limits.keep_inbound_ns))
                await self._blocking(lambda: self.store.audit.write_sums(self._now_ns()))
            await asyncio.sleep(_HOUSEKEEPING_S)

    async def _storage_failed(self, error: StorageError) -> None:
        if self._storage_trouble != str(error):
            self._log.error("storage cannot be used, trying again", error=str(error))
        self._storage_trouble = str(error)
        await asyncio.sleep(2.0)


def _state_of(runner: BridgeRunner, trouble: Settled | None) -> RunState:
    if runner.stopped:
        return "stopped"
    if runner.dry_run:
        return "dry_run"
    if trouble is not None:
        return "paused"
    return "running" if runner.started else "starting"
