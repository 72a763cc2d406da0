"""A plant with a real record log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.actuals.plants import Plant
from uns.namespace.model import TopicTree


@pytest.fixture
def make_plant(tmp_path: Path) -> Iterator[Callable[..., Plant]]:
    plants: list[Plant] = []

    def make(tree: TopicTree | None = None) -> Plant:
        plants.append(Plant(tmp_path / f"plant{len(plants)}", tree))
        return plants[-1]

    yield make
    for made in plants:
        made.close()


@pytest.fixture
def plant(make_plant: Callable[..., Plant]) -> Plant:
    return make_plant()
