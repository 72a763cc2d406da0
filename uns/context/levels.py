"""What the sources say of one kind at one equipment, before anything is inherited or decided.

Open ends are settled here: ``valid_to: null`` ends at the next ``valid_from`` of the same (source, kind, equipment),
for lots also of the same ``use``. Persons and materials stay until they are closed; nothing ends at a fact that says
``also``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from uns.context.claims import Claim, Order, rev_key
from uns.context.facts import Fact
from uns.context.times import MAX_NS, MIN_NS, ns_of

__all__ = [
    "DEFINITION_STATES",
    "EffectiveFact",
    "FactLevel",
    "Overlap",
    "definition_applies",
    "is_definition",
    "states",
]

# Job states, lower case, as B2MML, OPC 10031-4 and ISA-88 have them. Planned is not actual.
DEFINITION_STATES = frozenset(
    {"forecast", "planned", "released", "waiting", "pending", "dispatched", "ready", "loaded"}
)
RUNNING_STATES = frozenset({"running", "held", "suspended", "paused", "interrupted", "other"})
ENDED_STATES = frozenset({"completed", "complete", "closed", "ended", "stopped", "aborted"})
NEVER_STATES = frozenset({"cancelled", "canceled"})  # it will not run and did not
IDLE_STATE = "idle"

_OPEN_UNTIL_CLOSED = frozenset({"person", "material"})


def states() -> list[str]:
    """Every state of a job that is understood, for messages."""
    return sorted(DEFINITION_STATES | RUNNING_STATES | ENDED_STATES | NEVER_STATES)


def state_word(fact: Fact) -> str:
    """The state as we compare it."""
    return (fact.state or "").strip().lower()


def is_definition(fact: Fact) -> bool:
    """A job that is known and has not begun: it makes no interval, but a PLC may name it."""
    return fact.kind == "job" and fact.job_order is not None and state_word(fact) in DEFINITION_STATES


def makes_interval(fact: Fact) -> bool:
    """Whether a fact says that something held."""
    if fact.action == "delete":
        return False
    return not (fact.kind == "job" and (is_definition(fact) or state_word(fact) in NEVER_STATES))


class EffectiveFact(NamedTuple):
    """The fact message that counts for its (source, id), with its times as integers."""

    fact: Fact
    valid_from_ns: int
    valid_to_ns: int | None
    order: Order


def effective(fact: Fact, precedence: int) -> EffectiveFact:
    """Ready a checked fact for comparison."""
    start = ns_of(fact.valid_from)
    return EffectiveFact(
        fact,
        MIN_NS if start is None else start,
        None if fact.valid_to is None else ns_of(fact.valid_to),
        (precedence, MIN_NS if start is None else start, rev_key(fact.source_rev), fact.id, fact.source),
    )


class Overlap(NamedTuple):
    """Two facts of one source about one equipment that say different things of one time, explicitly."""

    first: Fact
    second: Fact
    from_ns: int
    to_ns: int


class FactLevel:
    """The claims that facts make of one kind at one equipment; immutable, made anew when a fact changes."""

    __slots__ = ("_ends_so_far", "_starts", "claims")

    def __init__(self, facts: Iterable[EffectiveFact]) -> None:
        groups: dict[tuple[str, str | None], list[EffectiveFact]] = {}
        for item in facts:
            groups.setdefault(end_group(item.fact), []).append(item)
        found: list[Claim] = []
        for members in groups.values():
            found.extend(_claims_of_group(members))
        found.sort(key=lambda claim: (claim.from_ns, claim.order))
        self.claims = found
        self._starts = [claim.from_ns for claim in found]
        self._ends_so_far: list[int] = []  # highest end up to here: tells how far back a window must look
        end = MIN_NS
        for claim in found:
            end = max(end, claim.to_ns)
            self._ends_so_far.append(end)

    def overlapping(self, lo: int, hi: int) -> list[Claim]:
        """Claims that hold somewhere in [lo, hi)."""
        at = bisect_left(self._starts, hi) - 1
        found: list[Claim] = []
        while at >= 0 and self._ends_so_far[at] > lo:
            claim = self.claims[at]
            if claim.to_ns > lo:
                found.append(claim)
            at -= 1
        return found


EMPTY_LEVEL = FactLevel(())


def end_group(fact: Fact) -> tuple[str, str | None]:
    """Facts whose open ends meet: same source (kind and equipment are given), for lots the same use."""
    return fact.source, fact.use if fact.kind == "lot" else None


def _claims_of_group(members: list[EffectiveFact]) -> list[Claim]:
    members.sort(key=lambda item: (item.valid_from_ns, item.order))
    found: list[Claim] = []
    next_start = MAX_NS  # of facts that end what was open before them
    pending = MAX_NS
    last = MAX_NS
    for item in reversed(members):
        if item.valid_from_ns < last:
            next_start, last = pending, item.valid_from_ns
        if not item.fact.also:
            pending = item.valid_from_ns
        if item.valid_to_ns is not None:
            end = item.valid_to_ns
        elif item.fact.kind in _OPEN_UNTIL_CLOSED:
            end = MAX_NS
        else:
            end = next_start
        if item.valid_from_ns < end:
            found.append(_claim(item, end))
    return found


def _claim(item: EffectiveFact, end: int) -> Claim:
    fact = item.fact
    idle = fact.kind == "job" and fact.job_order is None
    return Claim(
        from_ns=item.valid_from_ns,
        to_ns=end,
        order=item.order,
        source=fact.source,
        content=content_of(fact),
        ref=f"{fact.kind}:{fact_name(fact)}@{fact.source_rev}",
        positive_none=idle,
    )


def content_of(fact: Fact) -> tuple[str | None, ...]:
    """What a fact adds to a record."""
    match fact.kind:
        case "job":
            return (fact.job_order, fact.work_order, fact.operation, fact.recipe)
        case "lot":
            return (fact.lot, fact.material)
        case _:
            return (fact_name(fact),)


def fact_name(fact: Fact) -> str:
    """What the fact is about, in one word; ``idle`` for a job that is none."""
    name: str | None
    match fact.kind:
        case "job":
            name = fact.job_order or IDLE_STATE
        case "lot":
            name = fact.lot
        case "recipe_phase":
            name = fact.phase
        case "shift":
            name = fact.shift
        case "person":
            name = fact.person
        case "material":
            name = fact.material
        case "placement":
            name = fact.placement
    return name or ""


def definition_applies(definition: Fact, program: str) -> bool:
    """Whether a PLC that shows ``program`` runs this job: its recipe is the program, with or without a revision."""
    recipe = definition.recipe
    return recipe is not None and (recipe == program or recipe.startswith(f"{program}@"))
