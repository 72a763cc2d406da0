"""What becomes of an item after each outcome, as one table.

| outcome | item | attempts | the bridge |
|---|---|---|---|
| delivered | delivered | | goes on |
| transient, whole target | waiting | not counted | pauses with back-off |
| transient, this item | waiting with back-off; dead after ``attempts_max`` | counted | goes on |
| business | dead | counted | goes on |
| poison | dead | counted | goes on |
| auth | waiting | not counted | pauses for ``auth_retry`` and says so |
| unknown | unknown: read back before it is sent again | not counted | pauses with back-off |

A dead item holds later items of its order key until it is retried or dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from uns.bridges.port import Auth, Business, Delivered, Outcome, Poison, Transient, Unknown

__all__ = ["RULES", "Pause", "RetryPolicy", "Rule", "Settled", "State", "back_off_ns", "settle"]

State = Literal["waiting", "sending", "unknown", "delivered", "dead", "dropped"]
Pause = Literal["none", "back_off", "auth"]
Jitter = Callable[[int], int]  # a number in [0, n)

_SECOND_NS = 1_000_000_000


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how late."""

    first_ns: int = _SECOND_NS
    max_ns: int = 300 * _SECOND_NS
    attempts_max: int = 10
    auth_retry_ns: int = 300 * _SECOND_NS


class Rule(msgspec.Struct, frozen=True):
    """One line of the table."""

    state: State
    counts: bool = False
    pause: Pause = "none"


RULES: dict[str, Rule] = {
    "delivered": Rule("delivered"),
    "transient": Rule("waiting", pause="back_off"),
    "transient_item": Rule("waiting", counts=True),
    "business": Rule("dead", counts=True),
    "poison": Rule("dead", counts=True),
    "auth": Rule("waiting", pause="auth"),
    "unknown": Rule("unknown", pause="back_off"),
}


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one item."""

    state: State
    error_class: str = ""
    reason: str = ""
    next_step: str = ""
    receipt: str = ""
    attempts: int = 0
    due_at_ns: int = 0
    pause: Pause = "none"


def settle(outcome: Outcome, *, attempts: int, retry: RetryPolicy, now_ns: int, jitter: Jitter) -> Settled:
    """Apply the table to one outcome of an item that had ``attempts`` before."""
    name, reason, next_step = _read(outcome)
    rule = RULES[name]
    attempts += rule.counts
    if isinstance(outcome, Delivered):
        return Settled(state=rule.state, receipt=outcome.receipt, attempts=attempts)
    if name == "transient_item" and attempts >= retry.attempts_max:
        return Settled(
            state="dead",
            error_class="transient",
            reason=f"{reason} (after {attempts} attempts)",
            next_step="mend what the reason names, then retry it",
            attempts=attempts,
        )
    wait_ns = back_off_ns(attempts - 1, retry, jitter) if name == "transient_item" else 0
    return Settled(
        state=rule.state,
        error_class=name.removesuffix("_item"),
        reason=reason,
        next_step=next_step,
        attempts=attempts,
        due_at_ns=now_ns + wait_ns,
        pause=rule.pause,
    )


def back_off_ns(failures: int, retry: RetryPolicy, jitter: Jitter) -> int:
    """Between half and the whole of a step that doubles from ``first`` to ``max``."""
    step = min(retry.first_ns << min(failures, 40), retry.max_ns)
    return step // 2 + jitter(step - step // 2 + 1)


def _read(outcome: Outcome) -> tuple[str, str, str]:
    match outcome:
        case Delivered():
            return "delivered", "", ""
        case Transient(reason, whole_target):
            return ("transient" if whole_target else "transient_item"), reason, "nothing: it is tried again"
        case Business(reason, next_step):
            return "business", reason, next_step
        case Poison(reason, next_step):
            return "poison", reason, next_step
        case Auth(reason, next_step):
            return "auth", reason, next_step
        case Unknown(reason):
            return "unknown", reason, "nothing: the target is asked whether it has it"
