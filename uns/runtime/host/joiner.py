"""Joining: logged payloads and facts go through the enricher into the record log, one plan after the other.

Crash-only: there is one way to begin, from what the logs hold. It is taken at start, after a failed commit, and when
joining fell so far behind that the work waiting in memory had to be dropped: the raw log has it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import msgspec

from uns.adapters.logs import Logger
from uns.adapters.sqlite.raw_log import RawBirth, RawLog, RawMessage
from uns.adapters.sqlite.record_log import AddressRow, RecordIndexReader, RecordLog
from uns.context.facts import Fact, FactAnswer
from uns.enrichment.pipeline import Enricher
from uns.enrichment.plan import OutboxMessage
from uns.enrichment.samples import UnrecordedSample
from uns.errors import StorageError, StorageFullError
from uns.namespace.model import TopicTree
from uns.runtime.host.fact_audit import FactAudit, Told
from uns.runtime.host.groups import AliveItem, DeathItem, FactItem, Item, WorkItem
from uns.runtime.host.intake import malformed_work
from uns.runtime.host.output import Output
from uns.runtime.host.rejoin import RawReader, died_ns
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["Joiner", "JoinerLimits"]

_T = TypeVar("_T")
_RETRY_S = 1.0
_IDLE_FORGET_S = 0.2
_ERROR_LOG_EVERY_S = 10.0


class JoinerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of joining. Above ``waiting_samples_max`` work is dropped from memory and read from the raw log again."""

    waiting_samples_max: int = 200_000
    commit_samples_max: int = 5_000
    reread_messages_max: int = 500
    facts_max: int = 1_000


class Joiner:
    """Owns the enricher and the writing side of the record log. Fed from the event loop."""

    def __init__(
        self,
        tree: TopicTree,
        raw: RawLog,
        records: RecordLog,
        output: Output,
        *,
        raw_reads: Executor,
        record_writes: Executor,
        log: Logger,
        limits: JoinerLimits,
        on_health: Callable[[str | None], None],
        on_gap: Callable[[EdgeNodeDescriptor, str], None],
        unlimited_time: bool = False,
        audit: FactAudit | None = None,
    ) -> None:
        self._audit = audit
        self._tree = tree
        self._raw = raw
        self._records = records
        self._output = output
        self._raw_reads = raw_reads
        self._record_writes = record_writes
        self._log = log
        self._limits = limits
        self._on_health = on_health
        self._on_gap = on_gap
        self._unlimited_time = unlimited_time
        self._index: RecordIndexReader | None = None
        self._waiting: deque[Item] = deque()
        self._waiting_samples = 0
        self._facts: deque[FactItem] = deque()
        self._fact_places = asyncio.Semaphore(limits.facts_max)
        self._wake = asyncio.Event()
        self._rereading: RawReader | None = None
        self._behind = True
        self._poisoned: set[int] = set()
        self._hopeless: set[int] = set()  # of these: they broke a plan although they were set aside
        self._items_apart_until = 0  # up to this position a plan holds one message
        self._facts_apart = 0  # so many facts have a plan of their own each
        self._forgotten = 0  # outbox rows deleted up to here
        self._enqueued = 0  # outbox rows made up to here
        self._busy = False
        self._error_logged_s = -_ERROR_LOG_EVERY_S
        self._first_load = True
        self.enricher: Enricher
        self._position = 0  # of the last message that was given to the enricher
        self.joined = 0  # committed
        self.head = 0  # highest position of the raw log that was committed there
        self.counters = {"commits": 0, "reloads": 0, "fell_behind": 0, "poisoned": 0, "reread": 0}

    # --- fed by the other stages ---------------------------------------------------------------------------------

    def hand_over(self, items: Sequence[Item], head: int) -> None:
        """Take what was committed to the raw log up to ``head``."""
        self.head = max(self.head, head)
        if not self._behind:
            self._waiting.extend(items)
            self._waiting_samples += sum(item.work.samples for item in items if isinstance(item, WorkItem))
            if self._waiting_samples > self._limits.waiting_samples_max:
                self._fall_behind()
        self._wake.set()

    async def submit(self, fact: Fact, *, source_of_topic: str, answer_topic: str) -> FactAnswer:
        """Take a fact; returns its answer when it is committed (the answer is in the outbox then)."""
        async with self._fact_places:
            item = FactItem(fact, source_of_topic, answer_topic, asyncio.get_running_loop().create_future())
            self._facts.append(item)
            self._wake.set()
            return await item.done

    def is_idle(self) -> bool:
        """Whether all that is in the raw log is joined and committed, and no fact waits."""
        return not (self._waiting or self._facts or self._busy) and self.joined >= self.head

    @property
    def behind(self) -> bool:
        """Whether it reads from the raw log what happened before now."""
        return self._behind

    # --- running -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load what the record log holds and hand its outbox over. Raises :class:`StorageError`."""
        await self._load()

    async def run(self) -> None:
        """Join for as long as it runs. Ends by cancellation only."""
        while True:
            self._busy = True
            try:
                if not await self._step():
                    self._busy = False
                    await self._idle()
            except StorageError as error:
                await self._fail(error)

    async def _step(self) -> bool:
        """One plan; False where there is nothing to do."""
        await self._output.room()
        items: list[Item] = []
        if self._waiting:
            items = self._take_waiting()
        elif self._behind and not self._facts_apart:
            items = await self._reread()
        facts = self._take_facts()
        if not (items or facts):
            return False
        try:
            await self._join(items, facts)
        except BaseException as error:
            failure = error
            if isinstance(error, Exception) and not isinstance(error, StorageError):
                self._log.exception("a plan cannot be made or committed")
                self._search(items, facts)
                failure = StorageError(f"a plan cannot be made or committed: {error!r}")
            self._facts.extendleft(item for item in reversed(facts) if not item.done.done())
            raise failure from error
        self._facts_apart = max(self._facts_apart - len(facts), 0)
        return True

    def _search(self, items: Sequence[Item], facts: Sequence[FactItem]) -> None:
        """Something in this plan breaks it, which is our fault: look at each part apart, and set that one aside."""
        if len(facts) == 1 and not items:
            self._refuse(facts[0])
            self._facts_apart = max(self._facts_apart - 1, 0)
        elif len(items) == 1 and not facts and isinstance(items[0], WorkItem):
            position = items[0].position
            self.counters["poisoned"] += 1
            (self._hopeless if position in self._poisoned else self._poisoned).add(position)
        else:
            logged = [item.position for item in items if not isinstance(item, AliveItem)]
            self._items_apart_until = max([self._items_apart_until, *logged])
            self._facts_apart = len(facts)

    async def _join(self, items: Sequence[Item], facts: Sequence[FactItem]) -> None:
        now_ns = time.time_ns()
        enricher = self.enricher
        addresses: list[AddressRow] = []
        told = [self._tell(item, now_ns) for item in facts]
        answers = [(one.item, one.answer) for one in told]
        for one in items:
            if isinstance(one, DeathItem):
                enricher.receive_death(one.edge_node, one.device_id, now_ns, since_ns=one.since_ns)
            elif isinstance(one, AliveItem):
                for device_id in one.devices:
                    enricher.board.mark_alive(one.edge_node, device_id)
            elif one.position in self._poisoned:
                self._set_aside(one, now_ns)
            else:
                self._receive(one, now_ns)
                if one.addresses:
                    addresses += one.addresses
        plan = enricher.drain()
        plan.outbox += [OutboxMessage(item.answer_topic, msgspec.json.encode(answer)) for item, answer in answers]
        logged = [item.position for item in items if not isinstance(item, AliveItem)]
        joined = logged[-1] if logged else self._position
        published = self._output.published
        audit = [] if self._audit is None else self._audit.events(told, plan.facts, now_ns)
        ids = await self._in_writer(
            lambda: self._records.commit(plan, joined=joined, published=published, addresses=addresses, audit=audit)
        )
        enricher.committed()
        if self._audit is not None and audit:
            self._audit.committed()
        self.counters["commits"] += 1
        self._forgotten = published
        self.joined = self._position = max(joined, self._position)
        self._output.enqueue(ids, plan.outbox)
        self._enqueued = max(self._enqueued, ids.stop - 1)
        for item, answer in answers:
            if not item.done.done():
                item.done.set_result(answer)
        self._on_health(None)

    def _tell(self, item: FactItem, now_ns: int) -> Told:
        """Give a fact to the enricher; what was known of it before belongs to its audit entry."""
        before, repeated = (None, False) if self._audit is None else self._audit.before(self.enricher, item.fact)
        return Told(item, self._receive_fact(item, now_ns), before, repeated)

    def _receive_fact(self, item: FactItem, now_ns: int) -> FactAnswer:
        fact = item.fact
        try:
            return self.enricher.receive_fact(fact, now_ns, source_of_topic=item.source_of_topic)
        except StorageError:
            raise  # a look-up failed: no fault of the fact
        except Exception as error:
            self._log.exception("a fact cannot be taken and is refused", source=fact.source, id=fact.id)
            self._refuse(item)
            raise StorageError("the enricher is half changed by a failed fact") from error

    def _refuse(self, item: FactItem) -> None:
        """Answer a fact that makes us fail, so that its sender does not send it for ever."""
        self.counters["poisoned"] += 1
        refusal = FactAnswer(
            id=item.fact.id,
            source_rev=item.fact.source_rev,
            accepted=False,
            reason="internal error: the host's log has it; report it with this fact",
        )
        self._output.notice(OutboxMessage(item.answer_topic, msgspec.json.encode(refusal)))
        if self._audit is not None:
            self._audit.refuse(item, refusal.reason or "", time.time_ns())
        if not item.done.done():
            item.done.set_result(refusal)

    def _receive(self, item: WorkItem, now_ns: int) -> None:
        """One payload. An error here is ours, but it must not stop the others: the payload is set aside next time."""
        enricher, work = self.enricher, item.work
        try:
            ours = bool(work.provenance.session)
            if work.rejected:
                enricher.count_rejected(work.rejected, work.provenance, now_ns, ours=ours)
            if work.unmapped:
                enricher.count_unmapped(work.unmapped, work.provenance, now_ns, ours=ours)
            for batch, clock in work.batches:
                if self._unlimited_time:
                    enricher.receive_batch(batch, now_ns, past_max_ns=None, future_max_ns=None)
                else:
                    enricher.receive_batch(
                        batch, now_ns, past_max_ns=clock.past_max_ns, future_max_ns=clock.future_max_ns
                    )
            for gap in work.gaps:
                if enricher.receive_gap(gap, work.provenance, now_ns):
                    self._on_gap(EdgeNodeDescriptor(work.provenance.group_id, work.provenance.edge_node_id), gap)
        except StorageError:
            raise  # a look-up failed: no fault of the payload
        except Exception as error:
            self._poisoned.add(item.position)
            self.counters["poisoned"] += 1
            self._log.exception("a payload cannot be joined and is set aside", raw_position=item.position)
            raise StorageError("the enricher is half changed by a failed payload") from error

    def _set_aside(self, item: WorkItem, now_ns: int) -> None:
        """Samples of a payload that made us fail are rejected, by key; without their values where that fails too."""
        work = item.work
        if item.position in self._hopeless:
            work = malformed_work(b"", "internal error", work.provenance, samples=work.samples)
        samples = work.rejected + work.unmapped
        for batch, _ in work.batches:
            if batch.origin == "birth":
                continue
            for at, contract in enumerate(batch.metrics):
                ordinal = None if batch.ordinals is None else batch.ordinals[at]
                samples.append(
                    UnrecordedSample(
                        metric=contract.name,
                        source_time_ns=batch.times_ns[at],
                        ordinal=ordinal,
                        reason="internal_error",
                        raw=repr(batch.values[at]).encode()[:4096],
                    )
                )
        self.enricher.count_rejected(samples, work.provenance, now_ns, ours=bool(work.provenance.session))

    def _take_facts(self) -> list[FactItem]:
        if self._facts_apart:
            facts = [self._facts.popleft()] if self._facts else []
            self._facts_apart = self._facts_apart if facts else 0
            return facts
        if self._position < self._items_apart_until:
            return []
        facts = list(self._facts)
        self._facts.clear()
        return facts

    def _take_waiting(self) -> list[Item]:
        items: list[Item] = []
        samples = 0
        while self._waiting and samples < self._limits.commit_samples_max:
            item = self._waiting.popleft()
            items.append(item)
            if isinstance(item, WorkItem):
                samples += item.work.samples
        self._waiting_samples -= samples
        return items

    # --- behind: from the raw log --------------------------------------------------------------------------------

    def _fall_behind(self) -> None:
        self._behind = True
        self._rereading = None
        self._waiting.clear()
        self._waiting_samples = 0
        self.counters["fell_behind"] += 1

    async def _reread(self) -> list[Item]:
        """The next messages of the raw log; none where memory takes over again."""
        if self._rereading is None:
            births = await self._in_reader(lambda: self._raw.births_until(self._position))
            self._rereading = RawReader(self._tree, births, await self._in_reader(self._raw.leniencies))
        limit = 1 if self._position < self._items_apart_until else self._limits.reread_messages_max
        messages = await self._in_reader(lambda: self._raw.read(self._position, messages_max=limit))
        if not messages:
            if self._position >= self.head:  # nothing was committed while we looked
                self._behind = False
                self._rereading = None
            return []
        self.counters["reread"] += len(messages)
        return [self._read_again(self._rereading, message) for message in messages]

    def _read_again(self, reader: RawReader, message: RawMessage) -> Item:
        try:
            return reader.read(message)
        except Exception as error:  # noqa: BLE001 - ours, whatever it is
            self._log.exception("a logged message cannot be read again and is set aside", raw_position=message.position)
            self.counters["poisoned"] += 1
            return reader.set_aside(message, repr(error))

    # --- beginning anew ------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        state, joined = await self._in_writer(self._records.load)
        if self._index is None:
            self._index = RecordIndexReader(self._records.path)
        enricher = Enricher(self._tree, self._index)
        enricher.load(state, time.time_ns())
        for birth, since_ns in await self._in_reader(lambda: _deaths(self._raw, joined)):
            enricher.board.mark_stale(
                birth.edge_node, birth.device_id, since_ns=since_ns, reason="ddeath" if birth.device_id else "ndeath"
            )
        if not self._first_load:
            enricher.board.counters.update(self.enricher.board.counters)
            enricher.board.previewed.update(self.enricher.board.previewed)
        self.enricher = enricher
        self.joined = self._position = joined
        self._behind, self._rereading = True, None
        self._waiting.clear()
        self._waiting_samples = 0
        if self._first_load:
            self.head = max(await self._in_reader(self._raw.head), joined)
            last = 0
            while rows := await self._in_writer(lambda after=last: self._records.outbox_after(after, messages_max=500)):  # type: ignore[misc]
                self._output.enqueue([row[0] for row in rows], [row[1] for row in rows])
                last = self._enqueued = rows[-1][0]
            self._first_load = False
        self._wake.set()

    async def _fail(self, error: StorageError) -> None:
        """Wait a little, then begin from what is committed."""
        full = isinstance(error, StorageFullError)
        if time.monotonic() - self._error_logged_s > _ERROR_LOG_EVERY_S:
            self._error_logged_s = time.monotonic()
            self._log.error("joining failed, beginning again from the log", error=str(error), joined=self.joined)
        self._on_health(str(error))
        self.counters["reloads"] += 1
        while True:
            if full or self.counters["reloads"] > self.counters["poisoned"]:
                await asyncio.sleep(_RETRY_S)
            try:
                await self._load()
            except StorageError as again:
                error, full = again, True
                self._on_health(str(error))
                continue
            return

    async def _idle(self) -> None:
        self._wake.clear()
        if self._waiting or self._facts or (self._behind and self._position < self.head):
            return
        kept = self._forgotten < self._enqueued  # outbox rows that no commit will delete on its way
        try:
            # Not wait_for: before Python 3.12 it may swallow a cancellation, and the host would never end.
            async with asyncio.timeout(_IDLE_FORGET_S if kept else None):
                await self._wake.wait()
        except TimeoutError:
            published = self._output.published
            if published > self._forgotten:
                await self._in_writer(lambda: self._records.forget_published(published))
                self._forgotten = published

    async def _in_writer(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._record_writes, call)

    async def _in_reader(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._raw_reads, call)

    def close(self) -> None:
        """Close the read connection."""
        if self._index is not None:
            self._index.close()


def _deaths(raw: RawLog, joined: int) -> list[tuple[RawBirth, int]]:
    """Nodes and devices that were dead where joining stands, with the time since when."""
    leniencies = raw.leniencies()
    found = []
    for death in raw.births_until(joined):
        if death.payload is not None:
            continue
        since_ns = death.received_at_ns
        for message in raw.read(death.position - 1, messages_max=1) if death.device_id is not None else ():
            if message.position == death.position:  # else it is pruned
                since_ns = died_ns(message, death.device_id, leniencies)
        found.append((death, since_ns))
    return found
