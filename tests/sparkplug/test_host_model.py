"""A host against all that networks and peers do, held to what was truly sent: model_world.py tells the rules, a to f.

A seed that fails is made short by ``shortest``, and its steps are printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.sparkplug.model_world import Broken, Step, World, run, shortest, steps_of
from uns.sparkplug import host_lives
from uns.sparkplug.host_lives import LifeRules
from uns.sparkplug.host_nodes import NodeBook
from uns.sparkplug.host_rules import HostRules
from uns.sparkplug.host_view import HostView
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.reorder import Arrival, SeqTracker

STEPS = 60


def failure(seed: int, steps: Sequence[Step]) -> str:
    """What the oracle says; "" if it is content."""
    try:
        run(seed, steps)
    except Broken as broken:
        return str(broken)
    return ""


def play(seeds: range) -> Counter[str]:
    """Run them all; what the host told and the nodes sent."""
    told: Counter[str] = Counter()
    for seed in seeds:
        steps = steps_of(seed, STEPS)
        text = failure(seed, steps)
        if text:
            short = shortest(seed, steps, lambda seed, steps: failure(seed, steps)[:3] == text[:3])  # noqa: B023
            pytest.fail(f"seed {seed}: {failure(seed, short)}\nreplay: run({seed}, {short})")
        told.update(run(seed, steps).oracle.told)
    return told


REACHED = (
    ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"]
    + ["NodeBorn", "NodeResumed", "DeviceBorn", "DataReceived", "DataUnreadable", "NodeDied", "DeviceDied", "Violation"]
    + [f"cause {cause}" for cause in ("host_start", "unknown_session", "missed_birth", "reorder_timeout")]
    + [f"cause {cause}" for cause in ("unknown_metric", "birth_refused", "after_death")]
)


def test_host_tells_what_is_true():
    told = play(range(45))
    assert [what for what in REACHED if not told[what]] == []


@pytest.mark.long
def test_host_tells_what_is_true_for_long():
    play(range(1000, 2000))


# ── the oracle finds what is broken ──────────────────────────────────────────────────────────────────────────────


def never(*_given: object, **_named: object) -> bool:
    return False


def nothing(*_given: object, **_named: object) -> None:
    return None


def in_order(self: SeqTracker, seq: int | None, *_given: object, **_named: object) -> Arrival:
    return Arrival.IN_ORDER


def due_at_once(self: RebirthLimiter, edge_node, cause, now_ns, *, delay_ns=0, spread_ns=0, _ask=RebirthLimiter.ask):
    _ask(self, edge_node, cause, now_ns, delay_ns=delay_ns, spread_ns=spread_ns)
    if edge_node in self._nodes:
        self._nodes[edge_node].sent_at_ns = None


def fails_at_deaths(*_given: object) -> None:
    raise KeyError("planted")


PLANTS: dict[str, tuple[object, str, Callable[..., object], str]] = {
    "an old NBIRTH is taken for new": (LifeRules, "_is_late", never, "(abcf"),
    "what came before its birth is forgotten": (LifeRules, "_misses_births", never, "(b"),
    "a death that came first is forgotten": (host_lives, "_remember_death", nothing, "(b"),
    "DATA is read with any birth": (HostView, "is_of_before", never, "(ab"),
    "nothing is ever missing": (SeqTracker, "receive", in_order, "(abf"),
    "a device whose DBIRTH is lost is shown": (LifeRules, "births_are_over", nothing, "(bd"),
    "requests know no interval": (RebirthLimiter, "ask", due_at_once, "(c"),
    "births are not counted": (NodeBook, "resized", lambda *_: True, "(d"),
    "deaths of devices are passed over": (LifeRules, "receive_device_death", nothing, "(be"),
    "a deadline is never dealt with": (HostRules, "receive_timer", nothing, "(db a"),
}


TELLING = (0, 27, 65, 83, 92, 11)  # seeds that find them soon; all others are tried behind


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name, monkeypatch):
    where, what, instead, letters = PLANTS[name]
    monkeypatch.setattr(where, what, instead)
    seeds = [*TELLING, *range(200)]
    found = next((text for seed in seeds if (text := failure(seed, steps_of(seed, STEPS)))), "")
    assert found
    assert found[1] in letters, found


def test_a_long_failure_is_made_short(monkeypatch):
    monkeypatch.setattr(LifeRules, "receive_device_death", nothing)
    steps = steps_of(1, STEPS)
    short = shortest(1, steps, lambda seed, steps: bool(failure(seed, steps)))
    assert 1 <= len(short) <= 6


def test_an_exception_in_the_host_is_none_of_the_oracle(monkeypatch):
    monkeypatch.setattr(LifeRules, "receive_device_death", fails_at_deaths)
    with pytest.raises(KeyError, match="planted"):
        play(range(20))


def test_runs_can_be_told_again():
    def once() -> World:
        return run(4, steps_of(4, STEPS))

    assert once().oracle.told == once().oracle.told
