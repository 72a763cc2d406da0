"""What makes a fact acceptable. Each refusal says what was wrong, what was expected and what to send instead."""

from __future__ import annotations

from collections.abc import Callable

from uns.context.facts import SET_KINDS, Fact
from uns.context.levels import DEFINITION_STATES, ENDED_STATES, IDLE_STATE, NEVER_STATES, RUNNING_STATES, state_word
from uns.context.levels import states as job_states
from uns.context.times import ns_of
from uns.namespace.model import TopicTree

__all__ = ["TEXT_CHARACTERS_MAX", "refusal"]

SCHEMA = "uns1.fact/1"
TEXT_CHARACTERS_MAX = 256  # of each identifier in a fact


def refusal(fact: Fact, tree: TopicTree, source_of_topic: str | None) -> str | None:
    """Why a fact cannot be accepted; None if it can."""
    for check in _CHECKS:
        reason = check(fact, tree, source_of_topic)
        if reason is not None:
            return reason
    return None


def _envelope(fact: Fact, _tree: TopicTree, _source: str | None) -> str | None:
    if fact.schema_name != SCHEMA:
        return f"schema {fact.schema_name!r} is not known here; send {SCHEMA!r}"
    for name in ("id", "source", "source_rev", "equipment"):
        if not getattr(fact, name).strip():
            return f"{name} is empty; a fact needs one"
    for name in _TEXTS:
        text = getattr(fact, name)
        if text is not None and len(text) > TEXT_CHARACTERS_MAX:
            return f"{name} has {len(text)} characters; at most {TEXT_CHARACTERS_MAX} are taken"
        if text is not None and any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in text):
            return f"{name} holds control characters; send printable text"
    return None


def _source(fact: Fact, tree: TopicTree, source_of_topic: str | None) -> str | None:
    if source_of_topic is not None and fact.source != source_of_topic:
        return f"source {fact.source!r} does not own the topic of {source_of_topic!r}; publish under your own source"
    source = tree.context.get(fact.source)
    if source is None:
        known = ", ".join(sorted(tree.context)) or "none"
        return f"source {fact.source!r} is not declared (declared: {known}); add it under 'context:' in the topic tree"
    if fact.kind not in source.provides:
        return (
            f"source {fact.source!r} does not provide {fact.kind!r} (it provides: {', '.join(source.provides)}); "
            "add the kind to its 'provides' in the topic tree"
        )
    return None


def _equipment(fact: Fact, tree: TopicTree, _source: str | None) -> str | None:
    if fact.equipment in tree.equipment:
        return None
    return f"equipment {fact.equipment!r} is not in the topic tree; use the id of an equipment, not its path"


def _times(fact: Fact, _tree: TopicTree, _source: str | None) -> str | None:
    for name in ("valid_from", "valid_to"):
        moment = getattr(fact, name)
        if moment is None:
            continue
        if moment.tzinfo is None:
            return f"{name} has no zone; write RFC 3339 with Z or an offset"
        if ns_of(moment) is None:
            return f"{name} {moment.isoformat()} lies outside of the years 1678 to 2261; correct it"
    if fact.valid_to is not None and fact.valid_to <= fact.valid_from:
        return "valid_to is not later than valid_from; the interval is closed on the left and open on the right"
    return None


def _content(fact: Fact, tree: TopicTree, _source: str | None) -> str | None:
    if fact.action == "delete":
        return None
    if fact.kind == "job":
        return _job(fact) or _also(fact, tree)
    field = _FIELD_OF_KIND[fact.kind]
    text = getattr(fact, field)
    if text is None or not text.strip():
        return f"a {fact.kind} fact needs {field!r}; to end it, state valid_to or action 'delete'"
    return _also(fact, tree)


def _also(fact: Fact, tree: TopicTree) -> str | None:
    equipment_class = tree.class_of(fact.equipment)
    parallel_jobs = fact.kind == "job" and equipment_class is not None and equipment_class.allow_parallel
    if fact.also and fact.kind not in SET_KINDS and not parallel_jobs:
        return f"'also' leaves earlier facts open, but only one {fact.kind} can hold here at a time; leave it out"
    return None


def _job(fact: Fact) -> str | None:
    state = state_word(fact)
    if fact.job_order is None:
        if state not in ("", IDLE_STATE):
            return f"job_order null says idle, which does not go with state {fact.state!r}; leave the state out"
        if fact.work_order is not None or fact.operation is not None:
            return "job_order null says idle, which does not go with a work_order or operation; give the job_order"
        return None
    if not fact.job_order.strip():
        return "job_order is blank; null says idle, anything else is the job's name"
    if state in ENDED_STATES and fact.valid_to is None:
        return f"state {fact.state!r} without valid_to would run for ever; say when the job ended"
    if state and state not in DEFINITION_STATES | RUNNING_STATES | ENDED_STATES | NEVER_STATES:
        return f"job state {fact.state!r} is not known; use one of: {', '.join(job_states())}"
    return None


_TEXTS = (
    "id",
    "source",
    "source_rev",
    "equipment",
    "by",
    "state",
    "job_order",
    "work_order",
    "operation",
    "recipe",
    "lot",
    "material",
    "use",
    "phase",
    "shift",
    "person",
    "role",
    "placement",
)
_FIELD_OF_KIND = {
    "lot": "lot",
    "recipe_phase": "phase",
    "shift": "shift",
    "person": "person",
    "material": "material",
    "placement": "placement",
}
_CHECKS: tuple[Callable[[Fact, TopicTree, str | None], str | None], ...] = (
    _envelope,
    _source,
    _equipment,
    _times,
    _content,
)
