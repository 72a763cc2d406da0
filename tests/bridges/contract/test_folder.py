"""The folder as a target, with a mapping that makes one file a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bridges.contract.harness import Work
from tests.bridges.contract.suite import BridgeContract
from tests.bridges.fake import SampleMapping
from uns.adapters.folder import FolderOutbox
from uns.bridges.port import Emit


class OutwardOnly(FolderOutbox):
    async def inbound(self, emit: Emit) -> None:
        return


class FolderHarness:
    name = "folder"
    ordered = True
    positions_max = 1000
    kinds = frozenset({"transient", "business"})

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "out"
        self.away = directory / "out-unmounted"
        self.folder.mkdir()
        self.refused: set[Path] = set()

    def bridge(self) -> Any:
        return SampleMapping(), OutwardOnly(self.folder, suffix=".json", name_of=lambda i: f"{i.body.decode()}.json")

    async def delivered(self) -> list[float]:
        if not self.folder.exists():
            return []
        files = sorted(set(self.folder.glob("*.json")) - self.refused, key=lambda path: path.stat().st_mtime_ns)
        return [msgspec.json.decode(path.read_bytes()) for path in files]

    async def trouble(self, kind: str | None) -> None:
        if kind is None:
            if self.away.exists():
                self.away.rename(self.folder)
        else:
            self.folder.rename(self.away)

    async def refuse(self, value: float, kind: str | None) -> None:
        path = self.folder / f"{value}.json"
        if kind is None:
            path.unlink()
            self.refused.discard(path)
        else:
            path.write_text('"of somebody else"')
            self.refused.add(path)


@pytest.fixture
def work(tmp_path: Path):
    made = Work(FolderHarness(tmp_path), tmp_path)
    yield made
    made.log.close()


class TestFolderBridge(BridgeContract):
    pass
