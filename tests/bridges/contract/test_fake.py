from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bridges.contract.harness import Work
from tests.bridges.contract.suite import BridgeContract
from tests.bridges.fake import REFUSALS, FakeBooks, FakeTarget, SampleMapping


class FakeHarness:
    name = "fake"
    ordered = True
    positions_max = 1000
    kinds = frozenset({"transient", "auth", "business", "poison"})

    def __init__(self) -> None:
        self.books = FakeBooks()

    def bridge(self) -> Any:
        return SampleMapping(), FakeTarget(self.books)

    async def delivered(self) -> list[float]:
        return self.books.values

    async def trouble(self, kind: str | None) -> None:
        self.books.trouble = None if kind is None else REFUSALS[kind]

    async def refuse(self, value: float, kind: str | None) -> None:
        if kind is None:
            self.books.refusals.pop(value, None)
        else:
            self.books.refusals[value] = REFUSALS[kind]


@pytest.fixture
def work(tmp_path: Path):
    made = Work(FakeHarness(), tmp_path)
    yield made
    made.log.close()


class TestFakeBridge(BridgeContract):
    pass
