"""500 seeds, and every one that ever found something. A failing seed says how to play it again."""

from __future__ import annotations

import pytest

from tests.simulation.run import run_seed
from tests.simulation.seeds import FOUND

CHUNK = 25
SEEDS = 500
SEEDS_LONG = 5_000


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
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SEEDS_LONG, 250))
def test_every_promise_holds_at_length(first):
    play(range(first, first + 250))


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
