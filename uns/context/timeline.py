"""The as-of question: what equipment E was doing at time t, as far as we know now.

    per kind:   the nearest of E and its ancestors where a claim covers t;  there: the order of conflicts, or a set
    then:       gaps between equal contents of one source are bridged where that source allows it
    then:       status, from what the class requires

The answer over a stretch of time is a tiling of segments, a pure function of the set of facts and PLC samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from uns.context.claims import Claim, Covered, Order, Window, clip, cover, winner
from uns.context.facts import KINDS, SINGLE_KINDS
from uns.context.levels import IDLE_STATE
from uns.context.store import PLC_SOURCE, ContextStore
from uns.context.times import later, rfc3339
from uns.namespace.model import Equipment

__all__ = ["ContextBody", "Segment", "Status", "Timeline"]

Status = Literal["resolved", "unassigned", "unresolved"]


class ContextBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a record says of its circumstances, in the order in which it says it."""

    status: Status
    missing: tuple[str, ...] = ()  # required kinds without a claim, where unresolved
    hold: bool = False  # resolved over a bridged gap
    work_order: str | None = None
    operation: str | None = None
    job_order: str | None = None
    job_orders: tuple[str, ...] = ()  # where several run in parallel
    lots: tuple[str, ...] = ()
    material: str | None = None
    materials: tuple[str, ...] = ()  # where there is more than one
    recipe: str | None = None
    phase: str | None = None
    shift: str | None = None
    persons: tuple[str, ...] = ()
    placement: str | None = None
    facts: tuple[str, ...] = ()  # which statements were used: kind:name@source_rev


class Segment(msgspec.Struct, frozen=True):
    """One context over [from_ns, to_ns); ``text`` is the body as JSON, which is how bodies are compared."""

    from_ns: int
    to_ns: int
    body: ContextBody
    text: str


_KINDS = tuple(sorted(KINDS))
_encoder = msgspec.json.Encoder()


class Timeline:
    """Segments of context per equipment, from the claims of a :class:`ContextStore`."""

    def __init__(self, store: ContextStore) -> None:
        self._store = store
        self._tree = store.tree
        self._lineages: dict[str, tuple[Equipment, ...]] = {}
        self._requires: dict[str, tuple[str, ...]] = {}
        self._bridges = {name: source.bridge_ns for name, source in self._tree.context.items() if source.bridge_ns > 0}
        # How far a change reaches beyond itself: a gap that begins or ends there may open or close.
        self.reach_ns = max(self._bridges.values(), default=-1) + 1

    def widen(self, window: Window) -> Window:
        """The window in which segments may differ after claims changed in ``window``."""
        return later(window[0], -self.reach_ns), later(window[1], self.reach_ns)

    def context_at(self, equipment: str, at_ns: int) -> ContextBody:
        """The context at one moment."""
        return self.segments(equipment, at_ns, at_ns + 1)[0].body

    def segments(self, equipment: str, lo: int, hi: int) -> list[Segment]:
        """[lo, hi) in order, without holes; neighbours differ."""
        raw_lo, raw_hi = self.widen((lo, hi))
        pieces = [self._resolve(equipment, kind, raw_lo, raw_hi) for kind in _KINDS]
        cuts = {lo, hi}
        for covered in pieces:
            for piece in covered:
                if lo < piece.from_ns < hi:
                    cuts.add(piece.from_ns)
                if lo < piece.to_ns < hi:
                    cuts.add(piece.to_ns)
        found: list[Segment] = []
        requires = self._requires_of(equipment)
        cursors = [0] * len(pieces)
        ordered = sorted(cuts)
        for start, end in pairwise(ordered):
            present: dict[str, Covered] = {}
            for index, covered in enumerate(pieces):
                at = cursors[index]
                while at < len(covered) and covered[at].to_ns <= start:
                    at += 1
                cursors[index] = at
                if at < len(covered) and covered[at].from_ns <= start:
                    present[_KINDS[index]] = covered[at]
            body = body_of(present, requires)
            text = _encoder.encode(body).decode()
            if found and found[-1].text == text:
                found[-1] = Segment(found[-1].from_ns, end, found[-1].body, text)
            else:
                found.append(Segment(start, end, body, text))
        return found

    def _requires_of(self, equipment: str) -> tuple[str, ...]:
        requires = self._requires.get(equipment)
        if requires is None:
            equipment_class = self._tree.class_of(equipment)
            requires = () if equipment_class is None else equipment_class.requires
            self._requires[equipment] = requires
        return requires

    def _resolve(self, equipment: str, kind: str, lo: int, hi: int) -> list[Covered]:
        """What covers [lo, hi) of one kind after inheritance and conflicts, gaps bridged."""
        lineage = self._lineages.get(equipment)
        if lineage is None:
            lineage = self._lineages[equipment] = self._tree.lineage(equipment)
        gaps: list[Window] = [(lo, hi)]
        found: list[Covered] = []
        for level in lineage:
            claims = self._claims(level.id, kind, gaps[0][0], gaps[-1][1])
            if not claims:
                continue
            here = clip([self._decide(level.id, kind, c) for c in cover(claims, gaps[0][0], gaps[-1][1])], gaps)
            if not here:
                continue
            found += here
            found.sort(key=_from)
            gaps = _gaps(found, lo, hi)
            if not gaps:
                break
        return self._bridge(found) if self._bridges and len(found) > 1 else found

    def _claims(self, equipment: str, kind: str, lo: int, hi: int) -> list[Claim]:
        claims = self._store.level(equipment, kind).overlapping(lo, hi)
        steps = self._store.steps(equipment, kind)
        if steps is not None:
            for metric, series in steps.items():
                for run in series.runs(lo, hi):
                    claim = self._claim_of_run(equipment, metric, kind, run)
                    if claim is not None:
                        claims.append(claim)
        return claims

    def _claim_of_run(self, equipment: str, metric: str, kind: str, run: tuple[int, int, str]) -> Claim | None:
        """A PLC run as a claim; None for a program that no job definition names."""
        start, end, value = run
        name, source_rev = value, PLC_SOURCE
        content: tuple[str | None, ...] = (value,)
        if kind == "job" and value:
            definition = self._store.definition(equipment, value, start)
            if definition is None:
                return None
            name = definition.job_order or value
            source_rev = f"{definition.source_rev}/{PLC_SOURCE}"
            content = (definition.job_order, definition.work_order, definition.operation, definition.recipe)
        elif kind == "lot":
            content = (value, None)
        nothing = IDLE_STATE if kind == "job" else "none"
        return Claim(
            from_ns=start,
            to_ns=end,
            order=(self._store.plc_precedence, start, (0, 0, ""), f"{equipment}:{metric}", PLC_SOURCE),
            source=PLC_SOURCE,
            content=content if value else (),
            ref=f"{kind}:{name or nothing}@{source_rev}:{rfc3339(start)}",
            positive_none=not value,
        )

    def _decide(self, equipment: str, kind: str, covered: Covered) -> Covered:
        """Among the claims of one level: all of a set, in a fixed order, or the one that wins first."""
        claims = covered.claims
        if kind not in SINGLE_KINDS:
            return Covered(covered.from_ns, covered.to_ns, tuple(sorted(claims, key=_ref)))
        if len(claims) == 1:
            return covered
        best = winner(claims)
        equipment_class = self._tree.class_of(equipment)
        if kind == "job" and not best.positive_none and equipment_class is not None and equipment_class.allow_parallel:
            others = sorted((c for c in claims if c is not best and not c.positive_none), key=_ref)
            return Covered(covered.from_ns, covered.to_ns, (best, *others))
        return Covered(covered.from_ns, covered.to_ns, (best,))

    def _bridge(self, pieces: list[Covered]) -> list[Covered]:
        found = [pieces[0]]
        for piece in pieces[1:]:
            before = found[-1]
            gap = piece.from_ns - before.to_ns
            if gap > 0 and _said(before) == _said(piece):
                allowed = min(self._bridges.get(claim.source, 0) for claim in piece.claims)
                if gap <= allowed:
                    found.append(Covered(before.to_ns, piece.from_ns, before.claims, hold=True))
            found.append(piece)
        return found


def body_of(present: dict[str, Covered], requires: Sequence[str]) -> ContextBody:
    """The body for the claims that hold at one moment."""
    status, missing = _status(present, requires)
    job_order, work_order, operation, recipe, job_orders = _job(present.get("job"))
    lots = _contents(present.get("lot"))
    materials = sorted({str(c[0]) for c in _contents(present.get("material"))})
    if not materials and "material" not in present:
        materials = sorted({c[1] for c in lots if c[1] is not None})
    refs = {claim.ref for covered in present.values() for claim in covered.claims}
    return ContextBody(
        status=status,
        missing=missing,
        hold=status == "resolved" and any(covered.hold for covered in present.values()),
        work_order=work_order,
        operation=operation,
        job_order=job_order,
        job_orders=job_orders,
        lots=tuple(sorted({str(c[0]) for c in lots})),
        material=materials[0] if len(materials) == 1 else None,
        materials=tuple(materials) if len(materials) > 1 else (),
        recipe=recipe,
        phase=_word(present.get("recipe_phase")),
        shift=_word(present.get("shift")),
        persons=tuple(sorted({str(c[0]) for c in _contents(present.get("person"))})),
        placement=_word(present.get("placement")),
        facts=tuple(sorted(refs)),
    )


def _status(present: dict[str, Covered], requires: Sequence[str]) -> tuple[Status, tuple[str, ...]]:
    if "job" in requires and "job" in present and present["job"].claims[0].positive_none:
        return "unassigned", ()
    missing = tuple(sorted(kind for kind in requires if not _contents(present.get(kind))))
    return ("unresolved", missing) if missing else ("resolved", ())


def _job(
    covered: Covered | None,
) -> tuple[str | None, str | None, str | None, str | None, tuple[str, ...]]:
    if covered is None or covered.claims[0].positive_none:
        return None, None, None, None, ()
    job_order, work_order, operation, recipe = covered.claims[0].content
    names = sorted({str(claim.content[0]) for claim in covered.claims})
    return job_order, work_order, operation, recipe, tuple(names) if len(names) > 1 else ()


def _contents(covered: Covered | None) -> list[tuple[str | None, ...]]:
    return [] if covered is None else [claim.content for claim in covered.claims if not claim.positive_none]


def _word(covered: Covered | None) -> str | None:
    return None if covered is None or covered.claims[0].positive_none else covered.claims[0].content[0]


def _said(covered: Covered) -> list[tuple[str, tuple[str | None, ...]]]:
    return [(claim.source, claim.content) for claim in covered.claims]


def _from(covered: Covered) -> int:
    return covered.from_ns


def _ref(claim: Claim) -> tuple[str, Order]:
    return claim.ref, claim.order


def _gaps(pieces: Sequence[Covered], lo: int, hi: int) -> list[Window]:
    found: list[Window] = []
    at = lo
    for piece in pieces:
        if piece.from_ns > at:
            found.append((at, piece.from_ns))
        at = max(at, piece.to_ns)
    if at < hi:
        found.append((at, hi))
    return found
