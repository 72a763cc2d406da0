"""A job as the record log knows it: who it is, where it ran, what was said of it."""

from __future__ import annotations

import msgspec

from uns.context.words import MaterialUse, ResponseState

__all__ = ["JobFact", "JobId", "JobPiece", "JobView", "LotUse"]


class JobId(msgspec.Struct, frozen=True):
    """What names a job. Senders repeat the numbers of operations, so the order belongs to the name."""

    job_order: str
    work_order: str | None = None
    operation: str | None = None

    @property
    def order(self) -> tuple[str, bool, str, bool, str]:
        """By what jobs are sorted."""
        return (
            self.job_order,
            self.work_order is not None,
            self.work_order or "",
            self.operation is not None,
            self.operation or "",
        )

    def __str__(self) -> str:
        parts = [self.job_order]
        if self.operation and self.operation not in self.job_order:
            parts.append(f"operation {self.operation}")
        if self.work_order and self.work_order not in self.job_order:
            parts.append(f"of {self.work_order}")
        return " ".join(parts)


class JobPiece(msgspec.Struct, frozen=True):
    """Equipment ran the job in [from_ns, to_ns); to_ns is MAX_NS while it does. Neighbours are one piece."""

    equipment: str
    from_ns: int
    to_ns: int
    shared: bool = False  # other jobs ran there at the same time: what was counted counts to each of them


class LotUse(msgspec.Struct, frozen=True):
    """A lot that held at the job's equipment while it ran."""

    lot: str
    material: str | None = None
    use: MaterialUse | None = None  # None: its source does not say
    other_use: str | None = None  # with use Other: the word of its source


class JobFact(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """What one source says of a job, by the revision that counts."""

    job: JobId
    source: str
    id: str
    source_rev: str
    equipment: str
    state: str  # lower case, as in docs/reference/facts.md; "" where it says none
    valid_from_ns: int
    valid_to_ns: int | None = None
    recipe: str | None = None
    deleted: bool = False


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One job at one position of the log."""

    job: JobId
    position: int  # of the log: what is later is not in it
    pieces: tuple[JobPiece, ...]  # by equipment, then time; empty: its facts were taken back, it never ran
    start_ns: int | None  # of the first piece
    end_ns: int | None  # of the last; None while it runs. A fact may say an end that is yet to come
    known_ns: int  # when its pieces became known to be as they are: knowledge time
    state: ResponseState
    facts: tuple[JobFact, ...] = ()  # by source and id
    definition: JobFact | None = None  # the plan: the newest fact that planned it, or named its recipe
    lots: tuple[LotUse, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether its end is known; it may still lie ahead, and a job that goes on is over no more."""
        return self.end_ns is not None
