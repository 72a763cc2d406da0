"""What was said of jobs and lots: of each fact the revision that counts, as far as a response needs it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TypeVar

import msgspec

from uns.actuals.jobs import JobFact, JobId, LotUse
from uns.context.claims import RevKey, rev_key
from uns.context.facts import Fact
from uns.context.levels import DEFINITION_STATES, NEVER_STATES, state_word
from uns.context.times import MAX_NS
from uns.context.words import MaterialUse, ResponseState
from uns.enrichment.plan import FactRow
from uns.namespace.model import TopicTree

__all__ = ["FACTS_MAX", "Statements"]

# Facts about jobs and lots. Beyond it those of jobs that do not run are forgotten, the oldest first.
FACTS_MAX = 100_000

_fact = msgspec.json.Decoder(Fact)

# What a fact's state says of a job that is over, and of one that is not.
_ENDED: Mapping[str, ResponseState] = {
    "completed": ResponseState.COMPLETED,
    "complete": ResponseState.COMPLETED,
    "ended": ResponseState.COMPLETED,
    "closed": ResponseState.CLOSED,
    "stopped": ResponseState.ABORTED,
    "aborted": ResponseState.ABORTED,
    "cancelled": ResponseState.ABORTED,
    "canceled": ResponseState.ABORTED,
}
_WAITING: Mapping[str, ResponseState] = {
    "held": ResponseState.HELD,
    "interrupted": ResponseState.HELD,
    "suspended": ResponseState.SUSPENDED,
    "paused": ResponseState.PAUSED,
    "other": ResponseState.OTHER,
}
_READY = frozenset({"ready", "loaded", "dispatched"})
_USES = {use.value.lower(): use for use in MaterialUse}


class _LotFact(msgspec.Struct, frozen=True, kw_only=True, tag="lot"):
    source: str
    id: str
    source_rev: str
    equipment: str
    lot: str
    material: str | None
    use: str | None
    valid_from_ns: int
    valid_to_ns: int | None
    deleted: bool


_kept: msgspec.json.Decoder[JobFact | _LotFact] = msgspec.json.Decoder(JobFact | _LotFact)
_Key = tuple[str, str]  # source, id
_Name = TypeVar("_Name")
_Kept = TypeVar("_Kept")


class Statements:
    """The facts of kind job and lot that count, by what they speak of."""

    def __init__(self, tree: TopicTree, *, facts_max: int = FACTS_MAX) -> None:
        self._tree = tree
        self.facts_max = facts_max
        self.forgotten = 0
        self._jobs: dict[_Key, JobFact] = {}
        self._lots: dict[_Key, _LotFact] = {}
        self._by_job: dict[JobId, dict[_Key, JobFact]] = {}
        self._by_job_order: dict[str, dict[_Key, JobFact]] = {}
        self._by_lot: dict[str, dict[_Key, _LotFact]] = {}
        self._dirty: set[str] = set()

    def take(self, row: FactRow) -> tuple[set[JobId], set[str]]:
        """One accepted message, perhaps seen before; gives the jobs and the lots of which something else is said."""
        source, fact_id, source_rev, _, kind, equipment, action, valid_from_ns, valid_to_ns = row[:9]
        if kind not in ("job", "lot"):
            return set(), set()
        key = (source, fact_id)
        held = self._jobs.get(key) or self._lots.get(key)
        if held is not None and rev_key(held.source_rev) >= rev_key(source_rev):
            return set(), set()
        jobs, lots = self._drop(key)
        fact = _fact.decode(row[10])
        if fact.kind == "job" and fact.job_order is not None:
            job = JobFact(
                job=JobId(fact.job_order, fact.work_order, fact.operation),
                source=source,
                id=fact_id,
                source_rev=source_rev,
                equipment=equipment,
                state=state_word(fact),
                valid_from_ns=valid_from_ns,
                valid_to_ns=valid_to_ns,
                recipe=fact.recipe,
                deleted=action == "delete",
            )
            self._place_job(key, job)
            jobs.add(job.job)
        elif fact.kind == "lot" and fact.lot is not None:
            lot = _LotFact(
                source=source,
                id=fact_id,
                source_rev=source_rev,
                equipment=equipment,
                lot=fact.lot,
                material=fact.material,
                use=fact.use,
                valid_from_ns=valid_from_ns,
                valid_to_ns=valid_to_ns,
                deleted=action == "delete",
            )
            self._place_lot(key, lot)
            lots.add(lot.lot)
        self._dirty.add(_text(key))
        return jobs, lots

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def of(self, job: JobId) -> tuple[JobFact, ...]:
        """What is said of a job."""
        return tuple(fact for _, fact in sorted(self._by_job.get(job, {}).items()))

    def identify(self, job_order: str, equipment: str, from_ns: int, to_ns: int) -> JobId:
        """Who is meant by a job_order at an equipment; its facts tell, the one that began last before all."""
        above = self._above(equipment)
        found = [
            fact
            for fact in self._by_job_order.get(job_order, {}).values()
            if not fact.deleted and fact.equipment in above
        ]
        covering = [fact for fact in found if _overlaps(fact, from_ns, to_ns)]
        best = max(covering or found, key=self._rank, default=None)
        return JobId(job_order) if best is None else best.job

    def state(self, facts: Sequence[JobFact], *, over: bool) -> ResponseState:
        """The state that a response tells: by the fact that counts most, and by whether the job still runs."""
        told = [fact for fact in facts if not fact.deleted and fact.state not in DEFINITION_STATES]
        best = max(told, key=self._rank, default=None)
        word = "" if best is None else best.state
        if word in _WAITING:
            return _WAITING[word]
        if over:
            return _ENDED.get(word, ResponseState.COMPLETED)
        return ResponseState.RUNNING

    @staticmethod
    def state_without_run(facts: Sequence[JobFact]) -> ResponseState:
        """The state of a job that did not run, by what is planned of it; Other where nothing is."""
        words = {fact.state for fact in facts if not fact.deleted}
        if words & NEVER_STATES:
            return ResponseState.ABORTED
        if words & _READY:
            return ResponseState.READY
        return ResponseState.WAITING if words & DEFINITION_STATES else ResponseState.OTHER

    def definition(self, facts: Sequence[JobFact]) -> JobFact | None:
        """The plan of a job: what defined it; else what else was said that names a recipe."""
        standing = [fact for fact in facts if not fact.deleted]
        planned = [fact for fact in standing if fact.state in DEFINITION_STATES]
        return max(planned or [f for f in standing if f.recipe is not None], key=self._rank, default=None)

    def uses(self, lot: str, equipment: str, from_ns: int, to_ns: int) -> list[LotUse]:
        """What a lot was used for at an equipment in [from, to)."""
        above = self._above(equipment)
        found = [
            fact
            for fact in self._by_lot.get(lot, {}).values()
            if not fact.deleted and fact.equipment in above and _overlaps(fact, from_ns, to_ns)
        ]
        return [_use(fact) for fact in found] or [LotUse(lot)]

    def _rank(self, fact: JobFact) -> tuple[int, int, RevKey, str, str]:
        source = self._tree.context.get(fact.source)
        precedence = 0 if source is None else source.precedence
        return precedence, fact.valid_from_ns, rev_key(fact.source_rev), fact.source, fact.id

    def _above(self, equipment: str) -> frozenset[str]:
        if equipment not in self._tree.equipment:
            return frozenset({equipment})
        return frozenset(place.id for place in self._tree.lineage(equipment))

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────

    def drain_state(self) -> dict[str, bytes | None]:
        """What changed, by key."""
        dirty, self._dirty = self._dirty, set()
        found: dict[str, bytes | None] = {}
        for text in sorted(dirty):
            source, fact_id = msgspec.json.decode(text.partition("/")[2], type=_Key)
            fact = self._jobs.get((source, fact_id)) or self._lots.get((source, fact_id))
            found[text] = None if fact is None else msgspec.json.encode(fact)
        return found

    def load(self, state: Mapping[str, bytes]) -> None:
        """Take back what was drained."""
        for text, body in state.items():
            kind, _, rest = text.partition("/")
            if kind == "fact":
                key = msgspec.json.decode(rest, type=_Key)
                fact = _kept.decode(body)
                if isinstance(fact, JobFact):
                    self._place_job(key, fact)
                else:
                    self._place_lot(key, fact)

    def forget(self, running: Container[JobId]) -> None:
        """Keep to the bound: facts of jobs that are not in the book go first, then the oldest."""
        if len(self._jobs) + len(self._lots) <= self.facts_max:
            return
        facts = [(fact.job in running, fact.valid_from_ns, key) for key, fact in self._jobs.items()]
        facts += [(False, lot.valid_from_ns, key) for key, lot in self._lots.items()]
        order = sorted(facts)
        for _, _, key in order[: len(order) - self.facts_max * 7 // 8]:
            self._drop(key)
            self._dirty.add(_text(key))
            self.forgotten += 1

    def _place_job(self, key: _Key, fact: JobFact) -> None:
        self._jobs[key] = fact
        self._by_job.setdefault(fact.job, {})[key] = fact
        self._by_job_order.setdefault(fact.job.job_order, {})[key] = fact

    def _place_lot(self, key: _Key, fact: _LotFact) -> None:
        self._lots[key] = fact
        self._by_lot.setdefault(fact.lot, {})[key] = fact

    def _drop(self, key: _Key) -> tuple[set[JobId], set[str]]:
        """Take out what a fact said; gives of what it spoke."""
        job, lot = self._jobs.pop(key, None), self._lots.pop(key, None)
        if job is not None:
            _take_out(self._by_job, job.job, key)
            _take_out(self._by_job_order, job.job.job_order, key)
        if lot is not None:
            _take_out(self._by_lot, lot.lot, key)
        return (set() if job is None else {job.job}), (set() if lot is None else {lot.lot})


def _take_out(index: dict[_Name, dict[_Key, _Kept]], name: _Name, key: _Key) -> None:
    held = index[name]
    del held[key]
    if not held:
        del index[name]


def _text(key: _Key) -> str:
    return f"fact/{msgspec.json.encode(key).decode()}"


def _overlaps(fact: JobFact | _LotFact, from_ns: int, to_ns: int) -> bool:
    end_ns = MAX_NS if fact.valid_to_ns is None else fact.valid_to_ns
    return fact.valid_from_ns < to_ns and end_ns > from_ns


def _use(fact: _LotFact) -> LotUse:
    if not fact.use:
        return LotUse(fact.lot, fact.material)
    use = _USES.get(fact.use.strip().lower(), MaterialUse.OTHER)
    return LotUse(fact.lot, fact.material, use, fact.use.strip() if use is MaterialUse.OTHER else None)
