"""What the sources say of one kind at one equipment, before anything is inherited or decided.

Open ends are settled here: ``valid_to: null`` ends at the next ``valid_from`` of the same (source, kind, equipment),
for lots also of the same ``use``. Persons and materials stay until they are closed; nothing ends at a fact that says
``also``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
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
    """The fact message that counts for its (source, id), with its times as integers.

    ``stated_by`` is the ``source_rev`` that first said this content: a message that only ends the fact, or moves
    its times, states nothing new, and records need not be restated for its sake.
    """

    fact: Fact
    valid_from_ns: int
    valid_to_ns: int | None
    order: Order
    stated_by: str


def effective(fact: Fact, precedence: int, stated_by: str | None = None) -> EffectiveFact:
    """Ready a checked fact for comparison."""
    start = ns_of(fact.valid_from)
    return EffectiveFact(
        fact,
        MIN_NS if start is None else start,
        None if fact.valid_to is None else ns_of(fact.valid_to),
        (precedence, MIN_NS if start is None else start, rev_key(fact.source_rev), fact.id, fact.source),
        fact.source_rev if stated_by is None else stated_by,
    )


class Overlap(NamedTuple):
    """Two facts of one source about one equipment that say different things of one time, explicitly."""

    first: Fact
    second: Fact
    from_ns: int
    to_ns: int


class FactLevel:
    """The claims that facts make of one kind at one equipment.

    Adding or removing a fact costs what it changes: its own claim, and the ends of open facts just before it.
    """

    __slots__ = ("_by_order", "_claims", "_ends_so_far", "_groups", "_keys")

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str | None], list[EffectiveFact]] = {}  # each in order of start
        self._by_order: dict[Order, tuple[EffectiveFact, Claim]] = {}
        self._claims: list[Claim] = []
        self._keys: list[tuple[int, Order]] = []  # (start, order) of the claims, for bisection
        self._ends_so_far: list[int] = []  # highest end up to here: tells how far back a window must look

    def add(self, item: EffectiveFact) -> set[Claim]:
        """Take a fact; gives the claims that are no more, and those that are new."""
        insort(self._groups.setdefault(end_group(item.fact), []), item, key=_start_and_order)
        return self._renew(item)

    def remove(self, item: EffectiveFact) -> set[Claim]:
        """Forget a fact; gives the claims that are no more, and those that are new."""
        group = self._groups[end_group(item.fact)]
        del group[bisect_left(group, _start_and_order(item), key=_start_and_order)]
        return self._renew(item)

    def overlapping(self, lo: int, hi: int) -> list[Claim]:
        """Claims that hold somewhere in [lo, hi)."""
        at = bisect_left(self._keys, (hi,)) - 1
        found: list[Claim] = []
        while at >= 0 and self._ends_so_far[at] > lo:
            claim = self._claims[at]
            if claim.to_ns > lo:
                found.append(claim)
            at -= 1
        return found

    def fact_of(self, claim: Claim) -> EffectiveFact:
        """The fact that makes a claim."""
        return self._by_order[claim.order][0]

    def _renew(self, item: EffectiveFact) -> set[Claim]:
        """Make anew the claims of a group from the last fact on that ends others, up to ``item``'s own start."""
        group = self._groups[end_group(item.fact)]
        last = bisect_right(group, item.valid_from_ns, key=_start)
        first = bisect_left(group, item.valid_from_ns, key=_start)
        while first > 0:
            first -= 1
            if not group[first].fact.also:
                first = bisect_left(group, group[first].valid_from_ns, key=_start)
                break
        old: set[Claim] = set()
        new: set[Claim] = set()
        if item.order in self._by_order:
            old.add(self._by_order.pop(item.order)[1])
        for at in range(first, last):
            renewed = group[at]
            claim = _claim(renewed, _end(group, at))
            held = self._by_order.get(renewed.order)
            if held is None or held[1] != claim:
                if held is not None:
                    old.add(held[1])
                self._by_order[renewed.order] = (renewed, claim)
                new.add(claim)
        self._exchange(old, new)
        return {claim for claim in old | new if claim.from_ns < claim.to_ns}

    def _exchange(self, old: set[Claim], new: set[Claim]) -> None:
        lowest = len(self._claims)
        for claim in old:
            if claim.from_ns < claim.to_ns:
                at = bisect_left(self._keys, (claim.from_ns, claim.order))
                del self._keys[at], self._claims[at]
                lowest = min(lowest, at)
        for claim in new:
            if claim.from_ns < claim.to_ns:
                at = bisect_left(self._keys, (claim.from_ns, claim.order))
                self._keys.insert(at, (claim.from_ns, claim.order))
                self._claims.insert(at, claim)
                lowest = min(lowest, at)
        del self._ends_so_far[lowest:]
        end = self._ends_so_far[-1] if self._ends_so_far else MIN_NS
        for claim in self._claims[lowest:]:
            end = max(end, claim.to_ns)
            self._ends_so_far.append(end)


EMPTY_LEVEL = FactLevel()


def _end(group: list[EffectiveFact], at: int) -> int:
    """Where a fact ends: as it says, else at the next start in its group of one that does not say ``also``."""
    item = group[at]
    if item.valid_to_ns is not None:
        return item.valid_to_ns
    if item.fact.kind in _OPEN_UNTIL_CLOSED:
        return MAX_NS
    for after in range(bisect_right(group, item.valid_from_ns, key=_start), len(group)):
        if not group[after].fact.also:
            return group[after].valid_from_ns
    return MAX_NS


def _start(item: EffectiveFact) -> int:
    return item.valid_from_ns


def _start_and_order(item: EffectiveFact) -> tuple[int, Order]:
    return item.valid_from_ns, item.order


def end_group(fact: Fact) -> tuple[str, str | None]:
    """Facts whose open ends meet: same source (kind and equipment are given), for lots the same use."""
    return fact.source, fact.use if fact.kind == "lot" else None


def _claim(item: EffectiveFact, end: int) -> Claim:
    fact = item.fact
    idle = fact.kind == "job" and fact.job_order is None
    return Claim(
        from_ns=item.valid_from_ns,
        to_ns=end,
        order=item.order,
        source=fact.source,
        content=content_of(fact),
        ref=f"{fact.kind}:{fact_name(fact)}@{item.stated_by}",
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


def says_the_same(one: Fact, other: Fact) -> bool:
    """Whether two messages of one fact make the same claim, their times aside."""
    return (
        makes_interval(one)
        and makes_interval(other)
        and (one.kind, one.equipment) == (other.kind, other.equipment)
        and end_group(one) == end_group(other)
        and content_of(one) == content_of(other)
    )


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
