"""The context store: every fact ever stated, and the ones that count.

Two times: a fact holds from ``valid_from`` to ``valid_to`` (its own time) and is known since we accepted it (ours).
History is never changed; of each (source, id) the message with the highest ``source_rev`` counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC

import msgspec

from uns.context.claims import Claim, Window, merge_windows, rev_key
from uns.context.facts import Fact, FactAnswer
from uns.context.levels import (
    EMPTY_LEVEL,
    EffectiveFact,
    FactLevel,
    Overlap,
    definition_applies,
    effective,
    end_group,
    fact_name,
    is_definition,
    makes_interval,
    says_the_same,
)
from uns.context.steps import StepSeries
from uns.context.times import MAX_NS, MIN_NS
from uns.context.validation import TEXT_CHARACTERS_MAX, refusal
from uns.namespace.model import TopicTree
from uns.sparkplug.datatypes import Value

__all__ = ["FACTS_MAX", "PLC_SOURCE", "ContextStore", "FactChange", "KnownFact", "describe", "fact_hash", "valid_ns"]

FACTS_MAX = 1_000_000  # messages in memory; a new fact beyond it is refused with a reason
PLC_SOURCE = "plc"


class KnownFact(msgspec.Struct, frozen=True):
    """One accepted message with what is ours: how often the fact was stated by then, and since when we know it."""

    fact: Fact
    rev: int
    known_at_ns: int


class FactChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an accepted message changed; ``windows`` are (equipment, from, to): there and below, context may differ."""

    known: KnownFact
    counts: bool = False  # whether it is the message that counts now, not an older one that came late
    windows: tuple[tuple[str, int, int], ...] = ()
    overlaps: tuple[Overlap, ...] = ()


class _History(msgspec.Struct):
    messages: dict[str, KnownFact]
    top: Fact


class ContextStore:
    """Facts and PLC steps of one tree. ``receive`` decides about a fact; the timeline asks for claims."""

    def __init__(self, tree: TopicTree, *, facts_max: int = FACTS_MAX) -> None:
        self.tree = tree
        self.facts_max = facts_max
        self.facts_known = 0
        self._histories: dict[tuple[str, str], _History] = {}
        self._placed: dict[tuple[str, str], EffectiveFact] = {}  # facts that make a claim, by (source, id)
        self._levels: dict[tuple[str, str], FactLevel] = {}  # by (equipment, kind)
        self._definitions: dict[str, dict[tuple[str, str], EffectiveFact]] = {}
        self._steps: dict[tuple[str, str], dict[str, StepSeries]] = {}  # (equipment, kind) to metric to series
        plc = tree.context.get(PLC_SOURCE)
        self.plc_precedence = 0 if plc is None else plc.precedence
        self._precedence = {name: source.precedence for name, source in tree.context.items()}

    def load(self, facts: Iterable[KnownFact]) -> None:
        """Take back what was accepted before, in any order."""
        for known in facts:
            self._remember(known)
        # In order of time, so that each goes to the end of its level: a fact before others moves what is behind it.
        for history in sorted(self._histories.values(), key=lambda history: history.top.valid_from):
            self._place(history.top)

    def receive(
        self, fact: Fact, *, now_ns: int, source_of_topic: str | None = None
    ) -> tuple[FactAnswer, FactChange | None]:
        """Accept or refuse one message. The same message again gets the same answer and changes nothing."""
        history = self._histories.get((fact.source, fact.id))
        held = None if history is None else history.messages.get(fact.source_rev)
        reason = refusal(fact, self.tree, source_of_topic)
        if reason is None and held is not None and held.fact != fact:
            reason = (
                f"(id, source_rev) = ({fact.id!r}, {fact.source_rev!r}) was accepted with other content before; "
                "state the change with a new source_rev"
            )
        if reason is None and held is None and self.facts_known >= self.facts_max:
            reason = f"the context store holds facts_max = {self.facts_max} facts; raise it or shorten the retention"
        if reason is not None:
            return FactAnswer(id=fact.id, source_rev=fact.source_rev, accepted=False, reason=reason), None
        if held is not None:
            return FactAnswer(id=fact.id, source_rev=fact.source_rev, accepted=True, rev=held.rev), None
        known = KnownFact(fact, 1 if history is None else len(history.messages) + 1, now_ns)
        answer = FactAnswer(id=fact.id, source_rev=fact.source_rev, accepted=True, rev=known.rev)
        before = None if history is None else history.top
        self._remember(known)
        if before is not None and self._histories[(fact.source, fact.id)].top is before:
            # An older statement: history only, but it may turn out to have said first what counts.
            return answer, FactChange(known=known, windows=tuple(self._replace(before, before)))
        return answer, FactChange(
            known=known, counts=True, windows=tuple(self._replace(before, fact)), overlaps=tuple(self._overlaps(fact))
        )

    def receive_step(
        self, equipment: str, metric: str, kind: str, *, source_time_ns: int, ordinal: int, value: Value
    ) -> Window | None:
        """One good sample of a metric that provides ``kind``; gives the window in which its runs changed."""
        if value is None:
            return None
        series = self._steps.setdefault((equipment, kind), {}).setdefault(metric, StepSeries())
        return series.add(source_time_ns, ordinal, step_text(value))

    def level(self, equipment: str, kind: str) -> FactLevel:
        """What facts claim of a kind at an equipment itself."""
        return self._levels.get((equipment, kind), EMPTY_LEVEL)

    def steps(self, equipment: str, kind: str) -> dict[str, StepSeries] | None:
        """The PLC metrics that provide a kind at an equipment itself, by name."""
        return self._steps.get((equipment, kind))

    def definition(self, equipment: str, program: str, start_ns: int) -> Fact | None:
        """The job that begins when a PLC starts to show ``program``: nearest level first.

        Among those of one level: a plan that covers the start, else one for later (the nearest), else one that is over;
        then the order of conflicts.
        """
        for level in self.tree.lineage(equipment):
            fitting = [
                item for item in self._definitions.get(level.id, {}).values() if definition_applies(item.fact, program)
            ]
            if fitting:
                return max(fitting, key=lambda item: _definition_rank(item, start_ns)).fact
        return None

    def current(self, *, equipment: str | None = None, kind: str | None = None) -> list[Fact]:
        """The messages that count, definitions among them, deleted ones not; by equipment, kind, start, id."""
        found = [
            history.top
            for history in self._histories.values()
            if history.top.action != "delete"
            and (equipment is None or history.top.equipment == equipment)
            and (kind is None or history.top.kind == kind)
        ]
        return sorted(found, key=lambda f: (f.equipment, f.kind, f.valid_from, f.source, f.id))

    def history(self, source: str, fact_id: str) -> list[KnownFact]:
        """Every message about one fact, in the order in which we learnt of them."""
        history = self._histories.get((source, fact_id))
        return [] if history is None else sorted(history.messages.values(), key=lambda known: known.rev)

    def _remember(self, known: KnownFact) -> None:
        fact = known.fact
        key = (fact.source, fact.id)
        history = self._histories.get(key)
        if history is None:
            self._histories[key] = _History({fact.source_rev: known}, fact)
        else:
            history.messages[fact.source_rev] = known
            if rev_key(fact.source_rev) > rev_key(history.top.source_rev):
                history.top = fact
        self.facts_known += 1

    def _place(self, fact: Fact) -> set[Claim]:
        """Enter the counting message of a fact where the timeline looks for it."""
        if fact.equipment not in self.tree.equipment:
            return set()  # the tree lost this equipment; its history stays
        key = (fact.source, fact.id)
        item = effective(fact, self._precedence.get(fact.source, 0), self._stated_by(fact))
        if is_definition(fact) and fact.action != "delete":
            self._definitions.setdefault(fact.equipment, {})[key] = item
        elif makes_interval(fact):
            self._placed[key] = item
            return self._levels.setdefault((fact.equipment, fact.kind), FactLevel()).add(item)
        return set()

    def _stated_by(self, fact: Fact) -> str:
        """The revision that first said what ``fact`` (the counting message) says, and was not contradicted since."""
        messages = self._histories[fact.source, fact.id].messages
        if len(messages) == 1 or not makes_interval(fact):
            return fact.source_rev
        first = fact.source_rev
        for source_rev in sorted(messages, key=rev_key, reverse=True):
            if not says_the_same(messages[source_rev].fact, fact):
                break
            first = source_rev
        return first

    def _displace(self, fact: Fact) -> set[Claim]:
        """Take a message out again that counts no more."""
        key = (fact.source, fact.id)
        self._definitions.get(fact.equipment, {}).pop(key, None)
        item = self._placed.pop(key, None)
        return set() if item is None else self._levels[fact.equipment, fact.kind].remove(item)

    def _replace(self, before: Fact | None, fact: Fact) -> list[tuple[str, int, int]]:
        """Let ``fact`` count instead of ``before``; where that may change anything."""
        changed: dict[str, set[Claim]] = {}
        if before is not None:
            changed[before.equipment] = self._displace(before)
        placed = self._place(fact)
        # What goes and comes again is the same.
        changed[fact.equipment] = changed.get(fact.equipment, set()) ^ placed
        windows = [
            (equipment, lo, hi)
            for equipment, claims in changed.items()
            for lo, hi in merge_windows((claim.from_ns, claim.to_ns) for claim in claims)
        ]
        for definition in (before, fact):
            if definition is not None and is_definition(definition):
                windows += self._windows_of_definition(definition)
        return windows

    def _windows_of_definition(self, definition: Fact) -> list[tuple[str, int, int]]:
        """The PLC runs that a definition may name, at its equipment and below."""
        found: list[tuple[str, int, int]] = []
        if definition.equipment not in self.tree.equipment:
            return found
        for equipment in self.tree.subtree(definition.equipment):
            for series in self._steps.get((equipment.id, "job"), {}).values():
                found += [
                    (equipment.id, start, end)
                    for start, end, value in series.runs(MIN_NS, MAX_NS)
                    if value and definition_applies(definition, value)
                ]
        return found

    def _overlaps(self, fact: Fact) -> list[Overlap]:
        """Explicit overlaps of a single kind with other facts of its source: findings, not refusals."""
        if fact.kind in ("lot", "person", "material") or not makes_interval(fact):
            return []
        equipment_class = self.tree.class_of(fact.equipment)
        if fact.kind == "job" and equipment_class is not None and equipment_class.allow_parallel:
            return []
        mine, level = self._placed[fact.source, fact.id], self.level(fact.equipment, fact.kind)
        until = mine.valid_from_ns + 1 if mine.valid_to_ns is None else mine.valid_to_ns
        found: list[Overlap] = []
        for item in map(level.fact_of, level.overlapping(mine.valid_from_ns, until)):
            if item is mine or end_group(item.fact) != end_group(fact):
                continue
            first, second = sorted((mine, item), key=lambda x: (x.valid_from_ns, x.order))
            if first.valid_to_ns is not None and first.valid_to_ns > second.valid_from_ns:
                end = MAX_NS if second.valid_to_ns is None else second.valid_to_ns
                found.append(Overlap(first.fact, second.fact, second.valid_from_ns, min(first.valid_to_ns, end)))
        return sorted(found, key=lambda o: (o.from_ns, o.first.id, o.second.id))


def _definition_rank(item: EffectiveFact, start_ns: int) -> tuple[int, int, int, tuple[int, int, str], str, str]:
    precedence, _, revision, fact_id, source = item.order
    if item.valid_from_ns > start_ns:
        return 1, precedence, -item.valid_from_ns, revision, fact_id, source
    over = item.valid_to_ns is not None and item.valid_to_ns <= start_ns
    return 0 if over else 2, precedence, item.valid_from_ns, revision, fact_id, source


def step_text(value: Value) -> str:
    """The word a PLC value stands for: text without blanks around it, whole numbers without a fraction."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip("\0 \t\r\n")[:TEXT_CHARACTERS_MAX]


def fact_hash(fact: Fact) -> str:
    """Hash over the content of a message, the same for every spelling of its times."""
    utc = msgspec.structs.replace(
        fact,
        valid_from=fact.valid_from.astimezone(UTC),
        valid_to=None if fact.valid_to is None else fact.valid_to.astimezone(UTC),
    )
    return hashlib.sha256(msgspec.json.encode(utc)).hexdigest()


def describe(fact: Fact) -> str:
    """A fact in the few words of a revision's reason."""
    return f"fact {fact.id}@{fact.source_rev} ({fact.action} {fact.kind} {fact_name(fact)})"


def valid_ns(fact: Fact) -> tuple[int, int | None]:
    """Both ends of a checked fact."""
    item = effective(fact, 0)
    return item.valid_from_ns, item.valid_to_ns
