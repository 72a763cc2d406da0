"""Orders of a file become facts at the host: read once, told many at a time, answered one by one, written down.

What a file said is told to its end before the file is put away, so nothing of it is lost; facts have a name and a
revision, so nothing of it counts twice however often it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from uns.adapters.folder import InboxFile, Verdict
from uns.adapters.logs import get_logger
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.bridges.b2mml.document import Limits
from uns.bridges.b2mml.report import IntakeResult, RefusedFact, report_of
from uns.bridges.b2mml.schedule import JobDefinition, ReadOptions, ScheduleReading, read_schedule
from uns.bridges.port import Emit
from uns.context.facts import FactAnswer
from uns.context.records import JobOrder

__all__ = ["FACTS_IN_FLIGHT_MAX", "OrderIntake"]

# Told and not yet answered. Brokers keep so many messages for one client (mosquitto: 1,000) and drop the rest.
FACTS_IN_FLIGHT_MAX = 200
_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Work(msgspec.Struct):
    """A file that is being taken; it stays until the host has answered all of it."""

    digest: bytes
    reading: ScheduleReading
    answers: dict[int, FactAnswer]


class OrderIntake:
    """Handler of a :class:`~uns.adapters.folder.FolderInbox`; ``store`` are the bridge's books, opened when needed."""

    def __init__(
        self,
        options: ReadOptions,
        store: Path,
        *,
        bytes_max: int | None = None,
        limits: Limits | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._options = options
        self._store_path = store
        self._bytes_max = bytes_max
        self._limits = limits or Limits()
        self._now_ns = now_ns
        self._books: BridgeStore | None = None
        self._work: _Work | None = None
        self._log = get_logger("inbox")

    async def handle(self, file: InboxFile, emit: Emit) -> Verdict:
        """Take one file; :class:`~uns.errors.UnreachableError` where the host does not answer now."""
        work = await _in_daemon(lambda: self._open(file))
        await self._tell(work, emit)
        result = await asyncio.to_thread(self._finish, file, work)
        self._work = None
        self._log.info(
            "document read",
            file=file.name,
            version=result.reading.version,
            orders=len(result.reading.definitions) + result.reading.refused_orders,
            accepted=result.accepted,
            refused=len(result.refused) + result.reading.refused_orders,
        )
        return Verdict("quarantine" if result.needs_a_person else "archive", report_of(result))

    def close(self) -> None:
        """Let go of the books."""
        books, self._books = self._books, None
        if books is not None:
            books.close()

    # ── in a worker thread ───────────────────────────────────────────────────────────────────────────────────────

    def _open(self, file: InboxFile) -> _Work:
        self._store.check_there()
        digest = hashlib.sha256(file.data).digest()
        if self._work is not None and self._work.digest == digest:
            return self._work  # the host did not answer all of it last time
        # A document without a date is ordered by its arrival: the same for every try, and for every copy of it.
        seen_ns = self._store.see_document(digest, file.name, self._now_ns())
        reading = read_schedule(
            file.data,
            msgspec.structs.replace(self._options, received_at=_EPOCH + timedelta(microseconds=seen_ns // 1000)),
            file=file.name,
            limits=self._limits,
        )
        self._work = _Work(digest, reading, {})
        return self._work

    def _finish(self, file: InboxFile, work: _Work) -> IntakeResult:
        reading, answers = work.reading, work.answers
        accepted = [found for number, found in enumerate(reading.definitions) if answers[number].accepted]
        refused = [
            RefusedFact(found, answers[number].reason or "it gives no reason")
            for number, found in enumerate(reading.definitions)
            if not answers[number].accepted
        ]
        same_bod = None if reading.bod_id is None else self._store.same_bod(reading.bod_id, work.digest)
        result = IntakeResult(
            file=file.name, reading=reading, accepted=len(accepted), refused=refused, same_bod=same_bod
        )
        self._store.finish_document(
            work.digest,
            bod_id=reading.bod_id,
            readable=reading.readable,
            orders=_kept(accepted),
            counters={
                "files_quarantined" if result.needs_a_person else "files_taken": 1,
                "orders_read": len(reading.definitions) + reading.refused_orders,
                "orders_refused": reading.refused_orders,
                "facts_accepted": len(accepted),
                "facts_refused": len(refused),
            },
            now_ns=self._now_ns(),
        )
        return result

    @property
    def _store(self) -> BridgeStore:
        if self._books is None:
            self._books = BridgeStore(self._store_path, bytes_max=self._bytes_max)
        return self._books

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell(self, work: _Work, emit: Emit) -> None:
        """Tell what is not answered yet, many at a time, each until it is answered."""
        definitions = work.reading.definitions
        left = iter([number for number in range(len(definitions)) if number not in work.answers])

        async def teller() -> None:
            for number in left:
                work.answers[number] = await emit(definitions[number].fact)

        many = min(FACTS_IN_FLIGHT_MAX, len(definitions) - len(work.answers))
        tellers = [asyncio.create_task(teller(), name="telling") for _ in range(many)]
        try:
            await asyncio.gather(*tellers)
        finally:
            for one in tellers:
                one.cancel()
            await asyncio.gather(*tellers, return_exceptions=True)


async def _in_daemon(call: Callable[[], _T]) -> _T:
    """In a thread that an end of the process does not wait for: reading a file of 64 MiB outlasts SIGTERM's 10 s."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_result(cast("_T", result)) if error is None else future.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="uns-bridge-read", daemon=True).start()
    return await future


def _kept(accepted: Sequence[JobDefinition]) -> list[tuple[str, int, bytes]]:
    """Of each order what its performance will need: not its parameters and materials, which are the most of it."""
    return [
        (
            found.fact.id,
            int(found.fact.source_rev),
            msgspec.json.encode(_head(found.job_order)),
        )
        for found in accepted
    ]


def _head(order: JobOrder) -> JobOrder:
    return msgspec.structs.replace(order, parameters=(), materials=(), persons=())
