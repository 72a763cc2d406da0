"""Out: one WorkPerformance for each finished job, and a new one that reverses it when what was said turns out wrong.

    log ─▶ JobBook ─▶ which jobs changed ─▶ due `grace` after its end ─▶ totals ─▶ said before? ─▶ document

What is remembered of each job is the key and content of what stands in the receiver's books. A job is told when it is
over and `grace` has passed since its end and since that was known; a change after that waits `grace` too, so that a
gateway's flush of an hour makes one correction and not a hundred. Equal content is never told again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Map
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from uns.actuals.book import JobBook
from uns.actuals.jobs import JobId, JobView
from uns.actuals.response import job_response
from uns.actuals.totals import job_actuals
from uns.bridges.b2mml.mapping import fact_id, joined, response_id
from uns.bridges.b2mml.performance import QUANTITIES, TIMES, canonical, write_performance
from uns.bridges.port import LogBatch, OutboundItem, RecordReader
from uns.context.records import (
    PRODUCING,
    JobOrder,
    JobResponse,
    MaterialActual,
    Quantity,
    ResponseAction,
    ResponseState,
)
from uns.errors import StorageError
from uns.namespace.model import TopicTree

__all__ = ["FAILED", "PENDING_MAX", "PERFORMANCE", "TOLD_MAX", "Failure", "PerformanceMapping"]

PERFORMANCE = "performance"
FAILED = "performance_failed"  # an item that no target can take: the document could not be made
PENDING_MAX = 2_000  # jobs that wait; beyond it those whose time has come are told while the log is still being read
TURN_MAX = 16  # documents of one turn: so many are committed together
TOLD_MAX = 50_000  # jobs whose document is remembered; what changes in older ones is told as if for the first time
WITHDRAWN = "Withdrawn"  # the state of a job that was taken back and of which not even a plan stands
_REASON_CHARACTERS_MAX = 1000
_SECOND_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOK = "book:"

Orders = Callable[[str], JobOrder | None]  # what was ordered, by the id of its fact


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an item that could not be made."""

    job: JobId
    error: str


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the receiver's books of a job."""

    key: str | None  # None: it was taken back
    revision: int
    digest: str
    figures: dict[str, str]  # for people: what a correction corrects
    at_ns: int = 0  # when it was told
    is_closed: bool = False  # the book has forgotten the job: what it would say of it later is not the whole


class PerformanceMapping:
    """Implements :class:`uns.bridges.port.Mapping`."""

    wants_samples = False

    def __init__(
        self,
        tree: TopicTree,
        *,
        sender: str,
        receiver: str | None = None,
        source: str = "",
        grace_ns: int = 300 * _SECOND_NS,
        since_ns: int | None = None,
        orders: Orders | None = None,
        pending_max: int = PENDING_MAX,
        turn_max: int = TURN_MAX,
        told_max: int = TOLD_MAX,
    ) -> None:
        self._tree = tree
        self._sender = sender
        self._receiver = receiver
        self._source = source
        self._grace_ns = grace_ns
        self._since_ns = since_ns
        self._orders = orders or _no_orders
        self._pending_max = pending_max
        self._turn_max = turn_max
        self._told_max = told_max
        self._reader: RecordReader
        self._begin()

    def _begin(self) -> None:
        self._book = JobBook(self._tree)
        self._told: dict[JobId, _Told] = {}  # longest ago first
        self._due: dict[JobId, int] = {}
        self._failed: dict[JobId, str] = {}
        self._dirty: dict[str, tuple[Literal["told", "due", "failed"], JobId]] = {}

    @property
    def pending(self) -> int:
        """Jobs that are over, or changed, and wait for their time."""
        return len(self._due)

    # ── the port ─────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, state: Map[str, bytes], reader: RecordReader) -> None:
        """Take back what was told and what waits. What could not be made is tried anew: it may be mended by now."""
        self._reader = reader
        self._begin()
        for key, body in state.items():
            kind, _, rest = key.partition(":")
            if kind == "told":
                self._told[_job(rest)] = msgspec.json.decode(body, type=_Told)
            elif kind == "due":
                self._due[_job(rest)] = int(body)
            elif kind == "failed":
                self._failed[_job(rest)] = body.decode()
        self._book.load({key.removeprefix(_BOOK): body for key, body in state.items() if key.startswith(_BOOK)})
        for job in self._failed:
            self._wait(job, 0)

    def receive_batch(self, batch: LogBatch, now_ns: int) -> list[OutboundItem]:
        """See which jobs it changes, and when they are told."""
        self._book.receive_batch(batch)
        for job in self._book.take_changed():
            self._schedule(job, now_ns)
        for job in self._book.take_forgotten():
            self._close(job)
        if len(self._due) <= self._pending_max:
            return []
        return self._tell_due(now_ns, at_most=len(self._due) - self._pending_max // 2)

    def receive_timer(self, now_ns: int) -> list[OutboundItem]:
        """Tell the first of the jobs whose time has come; the others in the turns that follow."""
        return self._tell_due(now_ns, at_most=self._turn_max)

    def next_deadline_ns(self) -> int | None:
        """When the next job is told."""
        return min(self._due.values(), default=None)

    def drain_state(self) -> dict[str, bytes | None]:
        """What changed since the last call."""
        dirty, self._dirty = self._dirty, {}
        found: dict[str, bytes | None] = {}
        for key, (kind, job) in dirty.items():
            if kind == "told":
                told = self._told.get(job)
                found[key] = None if told is None else msgspec.json.encode(told)
            elif kind == "due":
                found[key] = str(self._due[job]).encode() if job in self._due else None
            else:
                found[key] = self._failed[job].encode() if job in self._failed else None
        return found | {_BOOK + key: body for key, body in self._book.drain_state().items()}

    # ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _schedule(self, job: JobId, now_ns: int) -> None:
        """A job changed: it waits for its time, or for its end."""
        view = self._book.job(job)
        told = self._told.get(job)
        stands = told is not None and told.key is not None
        is_closed = told is not None and told.is_closed
        if view is None or is_closed or (view.pieces and view.end_ns is None) or not (view.pieces or stands):
            self._wait(job, None)
            return
        end_ns = view.end_ns or 0
        if stands:
            soon_ns = now_ns + self._grace_ns  # later than that only where the clock was set back
            self._wait(job, max(min(self._due.get(job, soon_ns), soon_ns), end_ns))
        elif self._since_ns is None or end_ns >= self._since_ns:
            # Knowledge time never runs back: after a host's clock was ahead once, it stays there.
            self._wait(job, max(end_ns, min(view.known_ns, now_ns)) + self._grace_ns)

    def _close(self, job: JobId) -> None:
        """A job was forgotten: what it told stands."""
        self._wait(job, None)
        told = self._told.get(job)
        if told is not None:
            self._told[job] = msgspec.structs.replace(told, is_closed=True)
            self._mark("told", job)

    def _wait(self, job: JobId, at_ns: int | None) -> None:
        if at_ns is None:
            if self._due.pop(job, None) is None:
                return
        elif self._due.get(job) == at_ns:
            return
        else:
            self._due[job] = at_ns
        self._mark("due", job)

    def _tell_due(self, now_ns: int, *, at_most: int) -> list[OutboundItem]:
        due = sorted((at_ns, job.order, job) for job, at_ns in self._due.items() if at_ns <= now_ns)
        items: list[OutboundItem] = []
        for _, _, job in due[:at_most]:
            item = self._tell(job, now_ns)
            self._wait(job, None)
            if item is not None:
                items.append(item)
        return items

    # ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, job: JobId, now_ns: int) -> OutboundItem | None:
        """The next document of a job; None where there is nothing new. One that cannot be made stops no other."""
        try:
            item = self._document(job, now_ns)
        except StorageError:
            raise  # of the log: everything is made again from what is on disk
        except Exception as error:  # noqa: BLE001 - one job must not keep the others from being told
            self._failed[job] = f"{type(error).__name__}: {error}"
            self._mark("failed", job)
            return _failure(job, self._failed[job])
        if self._failed.pop(job, None) is not None:
            self._mark("failed", job)
        return item

    def _document(self, job: JobId, now_ns: int) -> OutboundItem | None:
        view = self._book.job(job)
        told = self._told.get(job)
        standing = None if told is None else told.key
        if view is None or (view.pieces and not view.is_over) or (standing is None and not view.pieces):
            return None
        actuals = job_actuals(self._tree, self._reader, view)
        plain = canonical(job_response(actuals, self._tree, response_id="0", published_at=_EPOCH, source=self._source))
        digest = hashlib.sha256(msgspec.json.encode(plain)).hexdigest()
        if told is not None and standing is not None and view.pieces and told.digest == digest:
            return None
        revision = 0 if told is None else told.revision + 1
        action: ResponseAction = "add" if standing is None else "replace" if view.pieces else "delete"
        figures = _figures(plain)
        at_ns = now_ns if told is None else max(now_ns, told.at_ns + 1000)  # receivers book by this time
        key = response_id(_name(job), revision, site=self._site(view))
        response = msgspec.structs.replace(
            self._dressed(plain),
            response_id=key,
            published_at=_EPOCH + timedelta(microseconds=at_ns // 1000),
            action=action,
            reverses=standing,
            other_state=WITHDRAWN if action == "delete" and plain.state is ResponseState.OTHER else None,
            revision=revision,
            reason=_reason(action, told, figures),
        )
        body = write_performance(response, sender=self._sender, receiver=self._receiver)
        self._book.note(job, actuals.leanings)
        self._remember(
            job,
            _Told(
                key=None if action == "delete" else key, revision=revision, digest=digest, figures=figures, at_ns=at_ns
            ),
        )
        return OutboundItem(
            key=key,
            kind=PERFORMANCE,
            body=body,
            subject=_subject(job, action, revision, figures),
            order_key=_name(job),
            first_position=actuals.first_position,
            last_position=actuals.last_position,
        )

    def _dressed(self, response: JobResponse) -> JobResponse:
        """With what the order says: its schedule, what it makes, and the units in which its sender books."""
        order = self._orders(fact_id(response.work_order, response.job_order))
        if order is None:
            return response
        return msgspec.structs.replace(
            response,
            schedule=order.schedule,
            kind=order.kind,
            material=response.material or order.material,
            work_master=response.work_master or order.work_master,
            work_master_version=response.work_master_version or order.work_master_version,
            description=order.description,
            materials=tuple(_as_ordered(material, order) for material in response.materials),
            **{field: _in_unit_of(getattr(response, field), order.quantity) for field in QUANTITIES},
        )

    def _site(self, view: JobView) -> str:
        """The site of a job: where it ran, else where it was said to run."""
        places = [piece.equipment for piece in view.pieces] + [fact.equipment for fact in view.facts]
        return next((self._tree.equipment[place].site for place in places if place in self._tree.equipment), "")

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _remember(self, job: JobId, told: _Told) -> None:
        self._told.pop(job, None)
        self._told[job] = told
        self._mark("told", job)
        while len(self._told) > self._told_max:
            oldest = next(iter(self._told))
            del self._told[oldest]
            self._mark("told", oldest)

    def _mark(self, kind: Literal["told", "due", "failed"], job: JobId) -> None:
        self._dirty[f"{kind}:{msgspec.json.encode(job).decode()}"] = (kind, job)


def _no_orders(_: str) -> JobOrder | None:
    return None


def _job(text: str) -> JobId:
    return msgspec.json.decode(text, type=JobId)


def _name(job: JobId) -> str:
    """What keys of its responses are made of."""
    return joined(job.work_order or "", job.job_order, job.operation or "")


def _in_unit_of(amount: Quantity | None, ordered: Quantity | None) -> Quantity | None:
    if amount is None or ordered is None or not ordered.unit_as_received or amount.unit != ordered.unit:
        return amount
    return msgspec.structs.replace(amount, unit_as_received=ordered.unit_as_received)


def _as_ordered(material: MaterialActual, order: JobOrder) -> MaterialActual:
    """In the unit of the requirement of this material, else, of what was produced, in that of the order."""
    required = [r.quantity for r in order.materials if r.material == material.material]
    units = [*required, order.quantity] if material.use in PRODUCING else required
    amount = material.quantity
    for ordered in units:
        if amount is not None and ordered is not None and ordered.unit == amount.unit:
            return msgspec.structs.replace(material, quantity=_in_unit_of(amount, ordered))
    return material


def _figures(response: JobResponse) -> dict[str, str]:
    """What a person compares, in few words each; what is long as a few characters that differ when it does."""
    actual = response.actual
    start, end = (None, None) if actual is None else (actual.start, actual.end)
    found: dict[str, str | None] = {
        "state": response.state.value,
        "start": None if start is None else start.isoformat(),
        "end": None if end is None else end.isoformat(),
        "lot": response.lot,
        "equipment": ", ".join(used.equipment for used in response.equipment) or None,
    }
    for field in (*QUANTITIES, *TIMES):
        amount: Quantity | None = getattr(response, field)
        found[field.replace("_", " ")] = None if amount is None else f"{amount.value:f} {amount.unit}".strip()
    for field in ("materials", "quality"):
        part: Sequence[object] = getattr(response, field)
        found[field] = hashlib.sha256(msgspec.json.encode(part)).hexdigest()[:8] if part else None
    return {name: text for name, text in found.items() if text}


def _reason(action: ResponseAction, told: _Told | None, figures: Map[str, str]) -> str | None:
    if action == "add" or told is None:
        return None
    if action == "delete":
        return "the job was taken back: nothing says any more that it ran"
    before = told.figures
    changes = []
    for name in dict.fromkeys((*before, *figures)):
        old, new = before.get(name), figures.get(name)
        if old != new:
            changes.append(name if name in ("materials", "quality") else f"{name} {old or 'none'} is {new or 'none'}")
    return ("restated: " + ("; ".join(changes) or "details"))[:_REASON_CHARACTERS_MAX].strip()


def _subject(job: JobId, action: ResponseAction, revision: int, figures: Map[str, str]) -> str:
    counted = ", ".join(f"{name} {figures[name]}" for name in QUANTITIES if name in figures)
    what = {"add": "", "replace": " corrected", "delete": " taken back"}[action]
    return f"{job}{what} (revision {revision})" + (f": {counted}" if counted and action != "delete" else "")


def _failure(job: JobId, error: str) -> OutboundItem:
    digest = hashlib.sha256(error.encode(errors="backslashreplace")).hexdigest()[:16]
    return OutboundItem(
        key=f"failed:{_name(job)}:{digest}",
        kind=FAILED,
        body=msgspec.json.encode(Failure(job=job, error=error)),
        subject=f"{job}: its performance cannot be made",
    )
