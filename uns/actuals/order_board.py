"""What is shown of orders and lots: which, how often, for how long. A follower of the record log; it keeps no store.

    LogBatch ─▶ receive ─▶ which orders and lots look different now ─▶ due ─▶ retained messages

An order is shown from the first fact that plans it, or from its first record, until ``horizon_ns`` after its end or its
last correction; then its message is taken away. Who needs it later asks the log. A lot is shown with its jobs of orders
that are shown, or would be if there were room. Jobs that name no work order are not shown.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from uns.actuals.book import Leaning
from uns.actuals.jobs import JobId, JobPiece, JobView
from uns.actuals.order_book import OrderBook, RecentReader, lean
from uns.actuals.orders import (
    JobState,
    LotJob,
    LotState,
    UpTo,
    WorkOrderState,
    is_counted,
    job_state,
    lot_job,
    lot_state,
    planned_state,
    work_order_state,
)
from uns.actuals.totals import JobActuals, JobRuns, job_actuals
from uns.context.times import MAX_NS, MIN_NS, rfc3339
from uns.enrichment.log import LogBatch, MetricRow, RecordReader, Touched
from uns.enrichment.plan import IntervalRow, OutboxMessage
from uns.namespace.model import TopicTree
from uns.namespace.topics import Uns1Topics

__all__ = ["OrderBoard", "OrderLimits", "Subject"]

_LOOK_EVERY_NS = 10_000_000_000  # at what is to be taken away, and at what takes its place


class OrderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what is shown. What is beyond them is not shown, and counted."""

    interval_ns: int = 1_000_000_000  # a topic changes at most so often
    horizon_ns: int = 7 * 86_400_000_000_000  # so long after its end, or after it last became known
    topics_max: int = 2_000  # orders and lots; open ones first, then the newest
    document_bytes_max: int = 64 * 1024
    runs_max: int = 1_000  # totals that go on with new samples only; others are read again from the start of the job
    recent_rows_max: int = 200_000  # samples that are held until the totals have gone on with them
    stated_max: int = 100_000  # facts about jobs that are remembered by name


class Subject(NamedTuple):
    """What a topic is about."""

    kind: Literal["order", "lot"]
    site: str
    name: str


class _Entry(msgspec.Struct):
    """What is known of a subject."""

    jobs: dict[JobId, None] = {}
    shown: bytes | None = None  # the document without its provenance; None: nothing is retained
    at_ns: int = MIN_NS  # of the last message
    newest_ns: int = MIN_NS  # when it ended, or became known
    is_open: bool = False
    is_inherited: bool = False  # an earlier life of the host may have left a message
    is_over: bool = False  # beyond the horizon
    is_hidden: bool = False  # beyond the horizon or the bound
    is_cut: bool = False  # the book has forgotten jobs of it: what it would say is not the whole


class _Stated(msgspec.Struct, frozen=True):
    job_order: str | None = None
    work_order: str | None = None
    operation: str | None = None


_stated = msgspec.json.Decoder(_Stated)
_encode = msgspec.json.Encoder().encode
_RunKey = tuple[JobId, Subject]


class OrderBoard:
    """Told of every batch of the log, in order; :meth:`due` gives what is to be retained now.

    ``since_ns``: what ended before was taken away by an earlier life of the host.
    """

    def __init__(self, tree: TopicTree, *, limits: OrderLimits | None = None, since_ns: int = MIN_NS) -> None:
        self.limits = limits or OrderLimits()
        self.counters = {"published": 0, "taken_away": 0, "too_large": 0, "read_anew": 0}
        self._tree = lean(tree)
        self._topics = Uns1Topics(tree)
        self._since_ns = since_ns
        self._book = OrderBook(self._tree)
        self._entries: dict[Subject, _Entry] = {}
        self._subjects: dict[JobId, frozenset[Subject]] = {}
        self._stated: OrderedDict[tuple[str, str], JobId] = OrderedDict()
        self._known_orders: set[str] = set()
        self._states: dict[_RunKey, JobState] = {}
        self._runs: OrderedDict[_RunKey, JobRuns] = OrderedDict()
        self._runs_at: dict[str, set[_RunKey]] = {}
        # Samples that came since totals were made, of equipment with running totals: nobody has to look for them again.
        self._recent: dict[str, dict[str, list[MetricRow]]] = {}
        self._recent_rows = 0
        self._read_pieces: dict[_RunKey, tuple[JobPiece, ...]] = {}
        self._leanings: dict[JobId, dict[str, tuple[Leaning, ...]]] = {}
        self._dirty: dict[Subject, None] = {}
        self._shown = 0
        self._forgotten_jobs = 0
        self._looked_ns = MIN_NS
        self._is_caught_up = False

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def position(self) -> int:
        """Up to which position of the log it holds."""
        return self._book.position

    def figures(self) -> dict[str, int]:
        """What is shown, what is left out, and why."""
        return {
            "topics": self._shown,
            "beyond_horizon": sum(entry.is_over for entry in self._entries.values()),
            "beyond_bound": sum(entry.is_hidden and not entry.is_over for entry in self._entries.values()),
            "waiting": len(self._dirty),
            "forgotten_jobs": self._book.forgotten.get("jobs", 0),
            "forgotten_facts": self._book.forgotten.get("facts", 0),
            **self.counters,
        }

    def orders_to_read(self, intervals: Iterable[IntervalRow]) -> set[str]:
        """Work orders that come up in a batch and are not in the book: all that stands of them must be in it too."""
        return {row[8] for row in intervals if row[8] is not None} - self._known_orders

    def metrics_to_read(self, touched: Iterable[Touched]) -> list[tuple[str, str]]:
        """(equipment, metric) of the samples of a batch that running totals go on with."""
        found: list[tuple[str, str]] = []
        for one in touched:
            if self._runs_at.get(one.equipment):
                equipment_class = self._tree.class_of(one.equipment)
                if equipment_class is not None and one.metric in equipment_class.metrics:
                    found.append((one.equipment, one.metric))
        return found

    def receive(
        self,
        batch: LogBatch,
        *,
        standing: Sequence[IntervalRow] = (),
        rows: Mapping[tuple[str, str], Sequence[MetricRow]] | None = None,
    ) -> None:
        """Take the next batch.

        ``standing`` are older intervals of the orders that :meth:`orders_to_read` asked for, ``rows`` the samples that
        :meth:`metrics_to_read` asked for.
        """
        for (equipment, metric), recent in (rows or {}).items():
            self._recent.setdefault(equipment, {}).setdefault(metric, []).extend(recent)
            self._recent_rows += len(recent)
        if standing:
            older = [row for row in standing if row[0] <= batch.after]
            batch = msgspec.structs.replace(batch, intervals=(*older, *batch.intervals))
        self._known_orders.update(row[8] for row in batch.intervals if row[8] is not None)
        self._book.receive_batch(batch)
        self._book.drain_state()  # nothing is kept: a new follower derives all of it
        for touched in batch.touched:
            for key in self._runs_at.get(touched.equipment, ()):
                self._runs[key].receive_touched(touched)
        changed = dict.fromkeys(self._book.take_changed())
        for row in batch.facts:
            if row[4] == "job":
                changed.update(dict.fromkeys(self._name(row[0], row[1], row[10])))
        for job in changed:
            self._place(job)
        if self._recent_rows > self.limits.recent_rows_max:
            self._forget_recent(also_needed=True)
        if self._book.forgotten.get("jobs", 0) != self._forgotten_jobs:
            self._forgotten_jobs = self._book.forgotten["jobs"]
            self._cut()

    def _forget_recent(self, *, also_needed: bool = False) -> None:
        """Let go of samples that all totals have gone on with; of the others too, whose totals are made anew then."""
        for equipment in list(self._recent):
            waiting = [key for key in self._runs_at.get(equipment, ()) if key[1] in self._dirty]
            if waiting and not also_needed:
                continue
            for key in waiting:
                self._drop_run(key)
            self._recent_rows -= sum(map(len, self._recent.pop(equipment).values()))

    def caught_up(self) -> None:
        """What comes from now on is news: nothing of it can have been shown by an earlier life of the host."""
        self._is_caught_up = True

    def _name(self, source: str, fact_id: str, body: str) -> list[JobId]:
        """Jobs of which a fact speaks, and of which its older message spoke."""
        key = (source, fact_id)
        before = self._stated.pop(key, None)
        found = _stated.decode(body)
        if found.job_order is not None:
            self._stated[key] = JobId(found.job_order, found.work_order, found.operation)
            if len(self._stated) > self.limits.stated_max:
                self._stated.popitem(last=False)
        return [job for job in (before, self._stated.get(key)) if job is not None]

    def _place(self, job: JobId) -> None:
        """A job looks different: to which subjects it belongs now, and did before."""
        view = self._view(job)
        subjects = frozenset() if view is None else frozenset(self._subjects_of(view))
        before = self._subjects.get(job, frozenset())
        if subjects:
            self._subjects[job] = subjects
        else:
            self._subjects.pop(job, None)
        for subject in before | subjects:
            self._states.pop((job, subject), None)
            entry = self._entries.get(subject)
            if entry is None:
                entry = self._entries[subject] = _Entry(is_inherited=not self._is_caught_up, is_over=True)
            if entry.is_over:
                self._looked_ns = MIN_NS  # it may be back within the horizon
            if subject in subjects:
                entry.jobs[job] = None
            else:
                entry.jobs.pop(job, None)
                self._drop_run((job, subject))
            self._measure(entry)
            self._dirty[subject] = None

    def _cut(self) -> None:
        """The book is at its bound and has forgotten jobs: no order is shown without some of its jobs."""
        for job in [job for job in self._subjects if self._view(job) is None]:
            for subject in self._subjects.pop(job):
                self._entries[subject].is_cut = True
                self._dirty[subject] = None

    def _view(self, job: JobId) -> JobView | None:
        view = self._book.job(job)
        return view if view is not None and view.pieces else self._book.planned(job)

    def _subjects_of(self, view: JobView) -> Iterable[Subject]:
        places = [piece.equipment for piece in view.pieces] or [f.equipment for f in view.facts if not f.deleted]
        sites = {self._tree.equipment[place].site for place in places if place in self._tree.equipment}
        if view.job.work_order is None:
            return
        for site in sites:
            yield Subject("order", site, view.job.work_order)
            for lot in {use.lot for use in view.lots}:
                yield Subject("lot", site, lot)

    def _measure(self, entry: _Entry) -> None:
        entry.newest_ns, entry.is_open = MIN_NS, False
        for job in entry.jobs:
            view = self._view(job)
            if view is None:
                continue
            times = [view.known_ns, *(piece.to_ns for piece in view.pieces if piece.to_ns != MAX_NS)]
            if view.pieces:
                entry.is_open = entry.is_open or view.end_ns is None
            else:
                times += [time for f in view.facts for time in (f.valid_from_ns, f.valid_to_ns) if time is not None]
            entry.newest_ns = max(entry.newest_ns, *times)

    # ── what is due ──────────────────────────────────────────────────────────────────────────────────────────────

    def due(
        self, reader: RecordReader, now_ns: int, *, is_enough: Callable[[], bool] = lambda: False
    ) -> tuple[list[OutboxMessage], bool]:
        """What is to be retained now, and whether there is more; reads the samples that came since the last time.

        ``is_enough`` is asked before each topic but the first.
        """
        if not 0 <= now_ns - self._looked_ns < _LOOK_EVERY_NS:
            self._look(now_ns)
        found: list[OutboxMessage] = []
        looked_at = 0
        for subject in sorted(self._dirty, key=self._rank):
            entry = self._entries.get(subject)
            if entry is not None and 0 <= now_ns - entry.at_ns < self.limits.interval_ns:
                continue
            if looked_at and is_enough():
                self._forget_recent()
                return found, True
            looked_at += 1
            del self._dirty[subject]
            if entry is not None and (message := self._message(subject, entry, reader, now_ns)) is not None:
                entry.at_ns = now_ns
                found.append(message)
        self._forget_recent()
        return found, False

    def _rank(self, subject: Subject) -> tuple[bool, int, Subject]:
        """Open ones first, then the newest."""
        entry = self._entries.get(subject)
        return (True, 0, subject) if entry is None else (not entry.is_open, -entry.newest_ns, subject)

    def _look(self, now_ns: int) -> None:
        """Which subjects are within horizon and bound."""
        self._looked_ns = now_ns
        horizon_ns = now_ns - self.limits.horizon_ns
        room = self.limits.topics_max
        for subject in sorted(self._entries, key=self._rank):
            entry = self._entries[subject]
            is_over = not (entry.is_open or entry.newest_ns >= horizon_ns)
            is_hidden = is_over or entry.is_cut or room <= 0
            room -= not is_hidden
            if is_hidden is not entry.is_hidden:
                self._dirty[subject] = None
            if is_over is not entry.is_over:
                for job in entry.jobs:  # its lots were shown with it
                    self._dirty.update(dict.fromkeys(self._subjects.get(job, ())))
            entry.is_hidden, entry.is_over = is_hidden, is_over

    def _message(self, subject: Subject, entry: _Entry, reader: RecordReader, now_ns: int) -> OutboxMessage | None:
        order = subject.kind == "order"
        topic = (self._topics.work_order if order else self._topics.lot)(subject.site, subject.name)
        shown, payload = None, b""
        if entry.shown is None and self._shown >= self.limits.topics_max:
            entry.is_hidden = True  # until the next look
        if entry.jobs and not (entry.is_hidden or entry.is_cut):
            as_of = rfc3339(now_ns)
            document = self._order(subject, entry, reader, as_of) if order else self._lot(subject, entry, reader, as_of)
            if document is not None:
                payload = _encode(document)
                shown = _encode(msgspec.structs.replace(document, as_of="", log=_NOWHERE))
            if len(payload) > self.limits.document_bytes_max:
                self.counters["too_large"] += 1
                shown, payload = None, b""
        was_shown = entry.shown is not None or (entry.is_inherited and entry.newest_ns >= self._since_ns)
        same = shown == entry.shown and not (shown is None and was_shown)
        self._shown += (shown is not None) - (entry.shown is not None)
        entry.shown, entry.is_inherited = shown, False
        if shown is None:
            self._let_go(subject, entry)
        if same:
            return None
        self.counters["published" if payload else "taken_away"] += 1
        return OutboxMessage(topic, payload, qos=1, retain=True)

    def _let_go(self, subject: Subject, entry: _Entry) -> None:
        """Nothing is shown: no totals are kept for it; one without jobs is forgotten."""
        for job in entry.jobs:
            self._states.pop((job, subject), None)
            self._drop_run((job, subject))
        if not entry.jobs:
            del self._entries[subject]
            if subject.kind == "order":
                self._known_orders.discard(subject.name)

    # ── documents ────────────────────────────────────────────────────────────────────────────────────────────────

    def _order(self, subject: Subject, entry: _Entry, reader: RecordReader, as_of: str) -> WorkOrderState | None:
        jobs: list[JobState] = []
        for job in entry.jobs:
            state = self._states.get((job, subject)) or self._job(job, subject, reader)
            if state is not None:
                self._states[job, subject] = state
                jobs.append(state)
        if not jobs:
            return None
        return work_order_state(
            jobs,
            enterprise=self._tree.enterprise,
            site=subject.site,
            work_order=subject.name,
            position=self.position,
            as_of=as_of,
        )

    def _job(self, job: JobId, subject: Subject, reader: RecordReader) -> JobState | None:
        view = self._view(job)
        here = None if view is None else self._at(view, subject.site, view.pieces)
        if view is None or here is None or not here.pieces:
            self._drop_run((job, subject))
            return None if view is None or view.pieces else planned_state(view)
        actuals = self._actuals(here, subject, reader)
        leanings = self._leanings.setdefault(job, {})
        leanings[subject.site] = actuals.leanings
        self._book.note(job, [leaning for site in sorted(leanings) for leaning in leanings[site]])
        return job_state(here, actuals)

    def _lot(self, subject: Subject, entry: _Entry, reader: RecordReader, as_of: str) -> LotState | None:
        found: list[LotJob] = []
        counted: set[JobId] = set()
        for job, pieces in self._book.pieces_of_lot(subject.name).items():
            view = self._book.job(job)
            here = None if view is None or self._is_over(job, subject.site) else self._at(view, subject.site, pieces)
            if here is None or not here.pieces:
                continue
            actuals: JobActuals | None = None
            for use in here.lots:
                if use.lot == subject.name:
                    if is_counted(use):
                        actuals = actuals or self._actuals(here, subject, reader)
                        counted.add(job)
                    found.append(lot_job(here, use, actuals if is_counted(use) else None))
        for job in entry.jobs.keys() - counted:  # totals that do not go on are made anew
            self._drop_run((job, subject))
        if not found:
            return None
        return lot_state(
            found,
            enterprise=self._tree.enterprise,
            site=subject.site,
            lot=subject.name,
            position=self.position,
            as_of=as_of,
        )

    def _is_over(self, job: JobId, site: str) -> bool:
        """Whether the order of a job is beyond the horizon; a job without an order is not shown at all."""
        entry = None if job.work_order is None else self._entries.get(Subject("order", site, job.work_order))
        return entry is None or entry.is_over

    def _at(self, view: JobView, site: str, pieces: Sequence[JobPiece]) -> JobView:
        """A job in some of its pieces, at one site."""
        equipment = self._tree.equipment
        here = tuple(
            piece for piece in pieces if piece.equipment in equipment and equipment[piece.equipment].site == site
        )
        end_ns = max((piece.to_ns for piece in here), default=MAX_NS)
        return msgspec.structs.replace(
            view,
            pieces=here,
            start_ns=min((piece.from_ns for piece in here), default=None),
            end_ns=None if end_ns == MAX_NS else end_ns,
        )

    # ── totals ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _actuals(self, view: JobView, subject: Subject, reader: RecordReader) -> JobActuals:
        key = (view.job, subject)
        runs = self._runs.pop(key, None)
        if runs is None:
            self.counters["read_anew"] += 1
            runs = JobRuns()
        if self._read_pieces.get(key) == view.pieces:  # else it may reach over older samples, too
            reader = RecentReader(reader, self._recent, runs)
        actuals = job_actuals(self._tree, reader, view, runs=runs)
        self._read_pieces[key] = view.pieces
        self._runs[key] = runs
        for piece in view.pieces:
            self._runs_at.setdefault(piece.equipment, set()).add(key)
        while len(self._runs) > self.limits.runs_max:
            self._drop_run(next(iter(self._runs)))
        return actuals

    def _drop_run(self, key: _RunKey) -> None:
        if self._runs.pop(key, None) is not None:
            del self._read_pieces[key]
            for keys in self._runs_at.values():
                keys.discard(key)


_NOWHERE = UpTo(0)
