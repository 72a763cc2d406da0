"""500 seeds, and every one that ever found something. A failing seed says how to play it again.

At length 20,000, over all processors: a quarter of an hour on two quiet ones. A slower machine stops after twice that,
and says how many it played.
"""

from __future__ import annotations

import pytest

from tests.simulation.hunt import hunt
from tests.simulation.hunt import play as play_piece
from tests.simulation.run import run_seed
from tests.simulation.seeds import FOUND

CHUNK = 25
SEEDS = 500
SEEDS_LONG = 20_000
BUDGET_LONG_S = 1800.0


def play(seeds) -> None:
    for seed in seeds:
        run_seed(seed)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_holds(first):
    play(range(first, first + CHUNK))


@pytest.mark.parametrize("seed", [seed for seed in FOUND if seed >= SEEDS])
def test_what_was_found_stays_mended(seed):
    play([seed])


@pytest.mark.long
@pytest.mark.timeout(BUDGET_LONG_S + 120)
def test_every_promise_holds_at_length(capsys):
    def tell(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    found = hunt(SEEDS, SEEDS_LONG, budget_s=BUDGET_LONG_S, tell=tell)
    tell(f"\nsimulation: {found}")
    assert not found.failures


def test_a_hunt_plays_each_seed_once_tells_failures_and_keeps_its_time(monkeypatch):
    monkeypatch.setattr("tests.simulation.hunt.PROGRESS_EVERY_S", 3600.0)
    lines: list[str] = []
    found = hunt(0, 60, budget_s=60.0, tell=lines.append, processes=1)
    assert (found.played, found.failures, lines) == (60, {}, [])
    none = hunt(0, 60, budget_s=-1.0, tell=lines.append, processes=1)
    assert (none.played, str(none).split(",")[0]) == (0, "0 of 60 seeds when the time was up")
    monkeypatch.setattr("tests.simulation.run.check_at_rest", lambda simulation, **options: 1 / 0)
    played, failures = play_piece(range(2))
    assert (played, list(failures)) == (2, [0, 1])


def test_a_seed_plays_the_same_every_time():
    def trace(seed: int) -> list[str]:
        lines: list[str] = []
        run_seed(seed, trace=lines.append)
        return lines

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_a_failing_seed_says_how_to_play_it_again(monkeypatch):
    monkeypatch.setattr("tests.simulation.run.check_at_rest", lambda simulation, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:
        run_seed(3)
    assert raised.value.__notes__ == ["replay: python -m tests.simulation.replay --seed 3"]
