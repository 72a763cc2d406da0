"""A claim: one source says that something held, from when, to when. Facts and PLC runs both come down to claims.

Conflicts have one total order (:attr:`Claim.order`): higher precedence of the source, later start, higher
``source_rev``, id. What a claim adds to a record is its ``content``; ``positive_none`` is the positive statement that
there is nothing (idle, no lot).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Claim", "Covered", "Order", "RevKey", "clip", "cover", "merge_windows", "rev_key", "winner"]

RevKey = tuple[int, int, str]
Order = tuple[int, int, RevKey, str, str]
Window = tuple[int, int]


class Claim(NamedTuple):
    """One covering statement of one kind."""

    from_ns: int
    to_ns: int
    order: Order
    source: str
    content: tuple[str | None, ...]  # job: job_order, work_order, operation, recipe; lot: lot, material; else one word
    ref: str  # as it stands in a record's ``facts``
    positive_none: bool = False


class Covered(NamedTuple):
    """A stretch of time and the claims that hold there; never empty."""

    from_ns: int
    to_ns: int
    claims: tuple[Claim, ...]
    hold: bool = False


def rev_key(source_rev: str) -> RevKey:
    """Sort key of a source_rev: by number among digits, by text among others; digits come before others.

    The rule must order every set in one way, or the record would depend on the order of arrival.
    """
    if source_rev.isascii() and source_rev.isdigit():
        return (0, int(source_rev), source_rev)
    return (1, 0, source_rev)


def winner(claims: Sequence[Claim]) -> Claim:
    """The claim that counts where only one may."""
    return max(claims, key=_order)


def _order(claim: Claim) -> Order:
    return claim.order


def cover(claims: Sequence[Claim], lo: int, hi: int) -> list[Covered]:
    """Cut [lo, hi) where claims begin and end; stretches without a claim are left out."""
    if len(claims) == 1:
        only = claims[0]
        start, end = max(lo, only.from_ns), min(hi, only.to_ns)
        return [Covered(start, end, (only,))] if start < end else []
    points = {lo, hi}
    for claim in claims:
        if lo < claim.from_ns < hi:
            points.add(claim.from_ns)
        if lo < claim.to_ns < hi:
            points.add(claim.to_ns)
    waiting = sorted(claims, key=_start, reverse=True)
    active: list[Claim] = []
    found: list[Covered] = []
    cuts = sorted(points)
    for start, end in pairwise(cuts):
        while waiting and waiting[-1].from_ns <= start:
            active.append(waiting.pop())
        if any(claim.to_ns <= start for claim in active):
            active = [claim for claim in active if claim.to_ns > start]
        if active:
            found.append(Covered(start, end, tuple(active)))
    return found


def _start(claim: Claim) -> int:
    return claim.from_ns


def clip(pieces: Iterable[Covered], gaps: Sequence[Window]) -> list[Covered]:
    """The parts of ``pieces`` that lie in ``gaps``; both sorted and without overlaps."""
    found: list[Covered] = []
    at = 0
    for piece in pieces:
        while at < len(gaps) and gaps[at][1] <= piece.from_ns:
            at += 1
        here = at
        while here < len(gaps) and gaps[here][0] < piece.to_ns:
            start, end = max(piece.from_ns, gaps[here][0]), min(piece.to_ns, gaps[here][1])
            found.append(Covered(start, end, piece.claims, piece.hold))
            here += 1
    return found


def merge_windows(windows: Iterable[Window]) -> list[Window]:
    """Windows in order, those that touch joined, empty ones dropped."""
    found: list[Window] = []
    for lo, hi in sorted(windows):
        if lo >= hi:
            continue
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], hi))
        else:
            found.append((lo, hi))
    return found
