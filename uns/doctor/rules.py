"""The table of rules: those that look at one message, and those that the grader judges over time."""

from __future__ import annotations

from uns.doctor.rules_payloads import PAYLOAD_RULES
from uns.doctor.rules_sessions import REBIRTH_ANSWER_S, SESSION_RULES, rebirth_overdue
from uns.doctor.rules_structures import STRUCTURE_RULES
from uns.doctor.rules_topics import TOPIC_RULES
from uns.doctor.sight import BIRTHS, DATA, PAYLOADS, STATE, Outcome, Rule, Sight

__all__ = ["BY_KIND", "BY_KIND_RETAINED", "REBIRTH_ANSWER_S", "RULES", "rebirth_overdue"]


def _by_the_grader(_sight: Sight) -> Outcome:
    """Judged over time, not by one message."""
    return None


_STATE_STEP = "publish STATE, and the host's Will, with retain on: whoever connects later has to find it"

_OVER_TIME: tuple[Rule, ...] = (
    Rule(
        "ids.folded",
        PAYLOADS,
        _by_the_grader,
        "ids that differ after lower-casing",
        "rename one: file systems and databases of some hosts ignore case",
    ),
    Rule(
        "data.changes",
        DATA,
        _by_the_grader,
        "values that changed",
        "report by exception: publish a metric when it changes, not on every scan",
    ),
    Rule("state.retained", (STATE,), _by_the_grader, "a retained STATE", _STATE_STEP),
    Rule("state.death_retained", (STATE,), _by_the_grader, "a retained STATE", _STATE_STEP),
    Rule(
        "state.topic",
        (STATE,),
        _by_the_grader,
        "spBv1.0/STATE/host_id",
        "the host speaks version 2.2 only: update it, or switch its STATE of version 3 on",
    ),
    Rule(
        "certificate.there",
        BIRTHS,
        _by_the_grader,
        "the newest birth, retained, under $sparkplug/certificates/",
        "the broker is Sparkplug-aware and did not keep this birth: see its log",
    ),
)

RULES: dict[str, Rule] = {
    rule.key: rule for rule in (*TOPIC_RULES, *PAYLOAD_RULES, *STRUCTURE_RULES, *SESSION_RULES, *_OVER_TIME)
}

_KINDS = {kind for rule in RULES.values() for kind in rule.kinds}
BY_KIND: dict[str, tuple[Rule, ...]] = {
    kind: tuple(rule for rule in RULES.values() if kind in rule.kinds and rule.check is not _by_the_grader)
    for kind in _KINDS
}
BY_KIND_RETAINED: dict[str, tuple[Rule, ...]] = {
    kind: tuple(rule for rule in rules if rule.retained) for kind, rules in BY_KIND.items()
}
