"""Which jobs there are: a follower of the record log that reads no samples.

Interval revisions say where jobs ran, facts what was said of them, and the touched ranges of a batch which jobs have
samples that they had not. What a follower must remember comes out of :meth:`JobBook.drain_state` piece by piece.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from uns.actuals.jobs import JobId, JobPiece, JobView, LotUse
from uns.actuals.statements import Statements
from uns.actuals.timelines import JobTimeline, Stretch
from uns.context.timeline import ContextBody
from uns.context.times import MAX_NS
from uns.enrichment.log import LogBatch, Touched
from uns.enrichment.plan import IntervalRow
from uns.namespace.model import MetricContract, TopicTree

__all__ = ["JOBS_MAX", "STRETCHES_MAX", "JobBook", "Leaning", "is_actual"]

# Jobs that are over are forgotten, the oldest first, beyond these; what comes late for one of them is counted only.
JOBS_MAX = 10_000
STRETCHES_MAX = 200_000  # of all jobs together; one more for each change of lot or parallel job

_LeaningOn = tuple[int, int, tuple[str, bool, str, bool, str], JobId]  # from_ns, back_to_ns, and who leans
_body = msgspec.json.Decoder(ContextBody)


class Leaning(msgspec.Struct, frozen=True):
    """Totals lean on samples of [back_to_ns, from_ns), before a piece of their job: a baseline, a state that held."""

    equipment: str
    metric: str
    back_to_ns: int
    from_ns: int


class _Book(msgspec.Struct):
    """What is no piece and no fact."""

    position: int = 0
    forgotten: dict[str, int] = {}


def is_actual(metric: MetricContract) -> bool:
    """Whether totals of a job are made from a metric."""
    return metric.role in ("counter", "quality") or metric.times is not None


class JobBook:
    """Follows the log. The same batches give the same book, however they are cut."""

    def __init__(self, tree: TopicTree, *, jobs_max: int = JOBS_MAX, stretches_max: int = STRETCHES_MAX) -> None:
        self.tree = tree
        self.jobs_max = jobs_max
        self.stretches_max = stretches_max
        self._book = _Book()
        self._statements = Statements(tree)
        self._timelines: dict[str, JobTimeline] = {}
        self._stretches: dict[JobId, set[Stretch]] = {}
        self._parallel: dict[str, set[Stretch]] = {}  # those that name a job beside the first, by its job_order
        self._with_lot: dict[str, set[Stretch]] = {}
        self._leanings: dict[JobId, tuple[Leaning, ...]] = {}
        self._leaning_on: dict[tuple[str, str], list[_LeaningOn]] = {}
        self._views: dict[JobId, JobView] = {}  # as last built, to tell what changed
        self._changed: dict[JobId, None] = {}
        self._gone: list[JobId] = []
        self._dirty: set[str] = {"book"}
        self._metrics: dict[str, frozenset[str]] = {}  # per class: those that totals are made from

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def position(self) -> int:
        """How far it has followed."""
        return self._book.position

    @property
    def forgotten(self) -> Mapping[str, int]:
        """What was dropped at a bound: ``jobs``, ``facts``."""
        return self._book.forgotten

    def receive_batch(self, batch: LogBatch) -> None:
        """Take the next batch. One that lies behind is not taken again."""
        self._gone = []
        affected: dict[JobId, None] = {}
        affected.update(dict.fromkeys(self._take_facts(batch)))
        if batch.to > self.position:
            for row in batch.intervals:
                affected.update(dict.fromkeys(self._lay(row)))
            self._book.position = batch.to
            self._dirty.add("book")
        for job in affected:
            self._compare(job)
        for touched in batch.touched:
            self._changed.update(dict.fromkeys(self._touch(touched)))
        self._forget()

    def note(self, job: JobId, leanings: Sequence[Leaning]) -> None:
        """Totals of a job were told: from now on late samples of what they lean on change it too."""
        if job not in self._stretches:
            return
        self._unlean(job)
        if leanings:
            self._leanings[job] = tuple(leanings)
            for leaning in leanings:
                on = self._leaning_on.setdefault((leaning.equipment, leaning.metric), [])
                insort(on, (leaning.from_ns, leaning.back_to_ns, job.order, job))
        self._dirty.add(_key("leaning", job))

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def take_changed(self) -> list[JobId]:
        """Jobs that began, ended, moved, or got samples or statements since the last call; ask in the same turn."""
        changed, self._changed = self._changed, {}
        return sorted(changed, key=_order)

    def take_forgotten(self) -> list[JobId]:
        """Jobs that the last batch made it forget. One that comes again does so without what it was before."""
        gone, self._gone = self._gone, []
        return gone

    def jobs(self) -> list[JobId]:
        """Every job that is remembered."""
        return sorted(self._stretches, key=_order)

    def job(self, job: JobId) -> JobView | None:
        """A job as it stands now; None for one that never ran or is forgotten."""
        if job not in self._stretches:
            return None
        view = self._views.get(job)
        if view is None:
            view = self._views[job] = self._view(job)
        return msgspec.structs.replace(view, position=self.position)

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────

    def drain_state(self) -> dict[str, bytes | None]:
        """What changed since the last call, by key; None forgets a key."""
        dirty, self._dirty = self._dirty, set()
        found: dict[str, bytes | None] = {}
        for key in sorted(dirty):
            kind, _, rest = key.partition("/")
            value: Any = None
            if kind == "book":
                value = self._book
            elif kind == "stretch":
                equipment, _, from_ns = rest.rpartition("/")
                timeline = self._timelines.get(equipment)
                value = None if timeline is None else timeline.starting(int(from_ns))
            else:
                job = msgspec.json.decode(rest, type=JobId)
                value = None if job not in self._stretches else self._leanings.get(job, ())
            found[key] = None if value is None else msgspec.json.encode(value)
        return found | self._statements.drain_state()

    def load(self, state: Mapping[str, bytes]) -> None:
        """Take back what :meth:`drain_state` gave, in a new book."""
        leanings: list[tuple[JobId, tuple[Leaning, ...]]] = []
        for key, body in sorted(state.items()):
            kind, _, rest = key.partition("/")
            if kind == "book":
                self._book = msgspec.json.decode(body, type=_Book)
            elif kind == "stretch":
                self._enter(msgspec.json.decode(body, type=Stretch))
            elif kind == "leaning":
                leanings.append(
                    (msgspec.json.decode(rest, type=JobId), msgspec.json.decode(body, type=tuple[Leaning, ...]))
                )
        for job, found in leanings:
            self._stretches.setdefault(job, set())  # told, and taken back since
            self.note(job, found)
        self._statements.load(state)
        self._views = {job: self._view(job) for job in self._stretches}
        self._dirty.clear()

    # ── intervals ────────────────────────────────────────────────────────────────────────────────────────────────

    def _lay(self, row: IntervalRow) -> set[JobId]:
        """One revision: what holds over its time from now on; gives the jobs that had or get a stretch of it."""
        equipment, from_ns, to_ns, known_ns = row[1], row[2], row[3], row[5]
        timeline = self._timelines.setdefault(equipment, JobTimeline())
        body = _body.decode(row[9])
        new = None
        if body.job_order is not None:
            others = tuple(name for name in body.job_orders if name != body.job_order)
            new = Stretch(
                equipment,
                from_ns,
                to_ns,
                known_ns,
                self._ids(equipment, JobId(body.job_order, body.work_order, body.operation), others, from_ns, to_ns),
                body.lots,
            )
        gone, come = timeline.lay(from_ns, to_ns, known_ns, new)
        affected: set[JobId] = set()
        for stretch in gone:
            affected.update(stretch.jobs)
            self._leave(stretch)
        for stretch in come:
            affected.update(stretch.jobs)
            self._index(stretch)
        return affected

    def _ids(self, equipment: str, first: JobId, others: Iterable[str], from_ns: int, to_ns: int) -> tuple[JobId, ...]:
        """A record names its parallel jobs by job_order alone: facts tell the rest."""
        return (first, *(self._statements.identify(name, equipment, from_ns, to_ns) for name in others))

    def _enter(self, stretch: Stretch) -> None:
        self._timelines.setdefault(stretch.equipment, JobTimeline()).add(stretch)
        self._index(stretch)

    def _index(self, stretch: Stretch) -> None:
        for job in stretch.jobs:
            self._stretches.setdefault(job, set()).add(stretch)
        for job in stretch.jobs[1:]:
            self._parallel.setdefault(job.job_order, set()).add(stretch)
        for lot in stretch.lots:
            self._with_lot.setdefault(lot, set()).add(stretch)
        self._dirty.add(stretch.key)

    def _leave(self, stretch: Stretch) -> None:
        for job in stretch.jobs:
            self._stretches[job].discard(stretch)
        for job in stretch.jobs[1:]:
            _discard(self._parallel, job.job_order, stretch)
        for lot in stretch.lots:
            _discard(self._with_lot, lot, stretch)
        self._dirty.add(stretch.key)

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_facts(self, batch: LogBatch) -> set[JobId]:
        affected: set[JobId] = set()
        for row in batch.facts:
            jobs, lots = self._statements.take(row)
            for job in jobs:
                affected.add(job)
                affected.update(self._identify_again(job.job_order))
            for lot in lots:
                for stretch in self._with_lot.get(lot, ()):
                    affected.update(stretch.jobs)
        return affected

    def _identify_again(self, job_order: str) -> set[JobId]:
        """A fact about a job that stands beside others: now its order may be known."""
        affected: set[JobId] = set()
        for stretch in list(self._parallel.get(job_order, ())):
            others = [job.job_order for job in stretch.jobs[1:]]
            jobs = self._ids(stretch.equipment, stretch.jobs[0], others, stretch.from_ns, stretch.to_ns)
            if jobs != stretch.jobs:
                self._leave(stretch)
                renamed = msgspec.structs.replace(stretch, jobs=jobs)
                self._timelines[stretch.equipment].add(renamed)
                self._index(renamed)
                affected.update(stretch.jobs, jobs)
        return affected

    # ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _touch(self, touched: Touched) -> set[JobId]:
        """Jobs whose totals may differ after samples were added there."""
        affected: set[JobId] = set()
        timeline = self._timelines.get(touched.equipment)
        if timeline is None or touched.metric not in self._metrics_of(touched.equipment):
            return affected
        for stretch in timeline.overlapping(touched.from_ns, touched.to_ns):
            affected.update(stretch.jobs)
        leaning = self._leaning_on.get((touched.equipment, touched.metric), ())
        for at in range(bisect_right(leaning, touched.from_ns, key=_from), len(leaning)):
            _, back_to_ns, _, job = leaning[at]
            if back_to_ns < touched.to_ns:
                affected.add(job)
        return affected

    def _metrics_of(self, equipment: str) -> frozenset[str]:
        """Metrics that totals are made from; none where the tree has lost the equipment."""
        place = self.tree.equipment.get(equipment)
        if place is None or place.class_name is None:
            return frozenset()
        found = self._metrics.get(place.class_name)
        if found is None:
            metrics = self.tree.classes[place.class_name].metrics.values()
            found = self._metrics[place.class_name] = frozenset(m.name for m in metrics if is_actual(m))
        return found

    # ── views ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _compare(self, job: JobId) -> None:
        """Whether a job looks different now."""
        if job not in self._stretches:
            return
        before = self._views.get(job)
        view = self._views[job] = self._view(job)
        if before != view:
            self._changed[job] = None

    def _view(self, job: JobId) -> JobView:
        stretches = sorted(self._stretches[job], key=_place)
        pieces: list[JobPiece] = []
        for stretch in stretches:
            shared = len(stretch.jobs) > 1
            last = pieces[-1] if pieces else None
            if last is not None and (last.equipment, last.to_ns, last.shared) == (
                stretch.equipment,
                stretch.from_ns,
                shared,
            ):
                pieces[-1] = JobPiece(last.equipment, last.from_ns, stretch.to_ns, shared)
            else:
                pieces.append(JobPiece(stretch.equipment, stretch.from_ns, stretch.to_ns, shared))
        end_ns = max((piece.to_ns for piece in pieces), default=MAX_NS)
        over = None if end_ns == MAX_NS else end_ns
        facts = self._statements.of(job)
        return JobView(
            job=job,
            position=0,
            pieces=tuple(pieces),
            start_ns=min((piece.from_ns for piece in pieces), default=None),
            end_ns=over,
            known_ns=max((stretch.known_ns for stretch in stretches), default=0),
            state=self._statements.state(facts, over=over is not None)
            if pieces
            else self._statements.state_without_run(facts),
            facts=facts,
            definition=self._statements.definition(facts),
            lots=self._lots(stretches),
        )

    def _lots(self, stretches: Sequence[Stretch]) -> tuple[LotUse, ...]:
        found: dict[LotUse, None] = {}
        for stretch in stretches:
            for lot in stretch.lots:
                for use in self._statements.uses(lot, stretch.equipment, stretch.from_ns, stretch.to_ns):
                    found[use] = None
        return tuple(sorted(found, key=lambda use: (use.lot, use.use or "", use.material or "", use.other_use or "")))

    # ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _forget(self) -> None:
        if len(self._stretches) > self.jobs_max or self._count() > self.stretches_max:
            over = [(job, self._end(job)) for job in self._stretches]
            for job, end_ns in sorted(over, key=lambda item: (item[1], _order(item[0]))):
                if end_ns == MAX_NS or (
                    len(self._stretches) <= self.jobs_max * 7 // 8 and self._count() <= self.stretches_max * 7 // 8
                ):
                    break
                self._forget_job(job)
        self._statements.forget(self._stretches)
        facts = self._statements.forgotten
        if facts != self._book.forgotten.get("facts", 0):
            self._book.forgotten["facts"] = facts
            self._dirty.add("book")

    def _count(self) -> int:
        return sum(len(timeline) for timeline in self._timelines.values())

    def _end(self, job: JobId) -> int:
        return max((stretch.to_ns for stretch in self._stretches[job]), default=0)

    def _forget_job(self, job: JobId) -> None:
        for stretch in list(self._stretches[job]):
            self._leave(stretch)
            timeline = self._timelines[stretch.equipment]
            timeline.remove(stretch)
            left = tuple(other for other in stretch.jobs if other != job)
            if left:
                self._enter(msgspec.structs.replace(stretch, jobs=left))
        self._unlean(job)
        self._dirty.add(_key("leaning", job))
        del self._stretches[job]
        self._views.pop(job, None)
        self._changed.pop(job, None)
        self._gone.append(job)
        self._book.forgotten["jobs"] = self._book.forgotten.get("jobs", 0) + 1
        self._dirty.add("book")

    def _unlean(self, job: JobId) -> None:
        for leaning in self._leanings.pop(job, ()):
            on = self._leaning_on[leaning.equipment, leaning.metric]
            at = bisect_left(on, (leaning.from_ns, leaning.back_to_ns, job.order, job))
            del on[at]


def _discard(index: dict[str, set[Stretch]], name: str, stretch: Stretch) -> None:
    held = index[name]
    held.discard(stretch)
    if not held:
        del index[name]


def _key(kind: str, job: JobId) -> str:
    return f"{kind}/{msgspec.json.encode(job).decode()}"


def _order(job: JobId) -> tuple[str, bool, str, bool, str]:
    return job.order


def _place(stretch: Stretch) -> tuple[str, int]:
    return stretch.equipment, stretch.from_ns


def _from(leaning: _LeaningOn) -> int:
    return leaning[0]
