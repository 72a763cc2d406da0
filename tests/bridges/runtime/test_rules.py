from __future__ import annotations

import pytest

from uns.bridges.port import Auth, Business, Delivered, Outcome, Poison, Transient, Unknown
from uns.bridges.rules import RetryPolicy, back_off_ns, settle

RETRY = RetryPolicy(first_ns=1000, max_ns=8000, attempts_max=3)


def settled(outcome: Outcome, attempts: int = 0):
    return settle(outcome, attempts=attempts, retry=RETRY, now_ns=100, jitter=lambda n: n - 1)


@pytest.mark.parametrize(
    ("outcome", "state", "attempts", "pause"),
    [
        (Delivered(), "delivered", 0, "none"),
        (Transient("down"), "waiting", 0, "back_off"),
        (Transient("locked", whole_target=False), "waiting", 1, "none"),
        (Business("no", "ask"), "dead", 1, "none"),
        (Poison("broken"), "dead", 1, "none"),
        (Auth("who?", "password"), "waiting", 0, "auth"),
        (Unknown("no answer"), "unknown", 0, "back_off"),
    ],
)
def test_each_outcome_has_its_rule(outcome: Outcome, state: str, attempts: int, pause: str) -> None:
    result = settled(outcome)
    assert (result.state, result.attempts, result.pause) == (state, attempts, pause)


def test_an_item_that_stays_locked_becomes_a_dead_letter_that_says_so() -> None:
    result = settled(Transient("the order is locked", whole_target=False), attempts=2)
    assert result.state == "dead"
    assert "after 3 attempts" in result.reason
    assert result.next_step


def test_an_outage_of_the_target_spends_no_attempt() -> None:
    assert settled(Transient("down"), attempts=2).state == "waiting"


def test_back_off_doubles_to_its_bound_and_keeps_half_as_jitter() -> None:
    assert [back_off_ns(n, RETRY, lambda _n: 0) for n in range(5)] == [500, 1000, 2000, 4000, 4000]
    assert [back_off_ns(n, RETRY, lambda n: n - 1) for n in range(5)] == [1000, 2000, 4000, 8000, 8000]
    assert back_off_ns(10_000, RETRY, lambda _n: 0) == 4000
