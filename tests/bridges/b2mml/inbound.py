"""An inbox at work in this process, over a host that is a context store, and its answers as a test wants them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bridges.b2mml.builders import options
from tests.enrichment.builders import plant
from uns.adapters.folder import FolderInbox
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.context.facts import Fact, FactAnswer
from uns.context.store import ContextStore
from uns.errors import UnreachableError
from uns.runtime.bridge.b2mml_intake import OrderIntake

__all__ = ["ARRIVED_NS", "FakeHost", "Inbox"]

ARRIVED_NS = 1_780_488_060 * 1_000_000_000  # 2026-06-03T12:01:00Z


class FakeHost:
    """Decides as the real one does; ``away_after`` facts it answers no more."""

    def __init__(self) -> None:
        self.store = ContextStore(plant())
        self.told: list[Fact] = []
        self.away_after: int | None = None
        self.refuses: set[str] = set()

    async def tell(self, fact: Fact) -> FactAnswer:
        await asyncio.sleep(0)
        if self.away_after is not None and len(self.told) >= self.away_after:
            raise UnreachableError("the host does not answer", next_step="start it")
        self.told.append(fact)
        if fact.job_order in self.refuses:
            return FactAnswer(id=fact.id, source_rev=fact.source_rev, accepted=False, reason="not this one; ask")
        return self.store.receive(fact, now_ns=len(self.told))[0]

    @property
    def jobs(self) -> dict[str, str]:
        """Job order to source_rev, of what counts now."""
        return {fact.job_order or "": fact.source_rev for fact in self.store.current(kind="job")}


class Inbox:
    """Folders, books and a host below a directory."""

    def __init__(self, directory: Path, **fields: Any) -> None:
        self.directory = directory
        self.folder = directory / "in"
        self.folder.mkdir()
        self.host = FakeHost()
        self.options = options(received_at=None, **fields)
        self.now_ns = ARRIVED_NS

    @property
    def store(self) -> BridgeStore:
        return BridgeStore(self.directory / "bridge.db")

    @asynccontextmanager
    async def running(self) -> Any:
        inbox = FolderInbox(
            self.folder,
            archive=self.folder / "archive",
            quarantine=self.folder / "quarantine",
            poll_s=0.01,
            settle_s=0.0,
        )
        intake = OrderIntake(self.options, self.directory / "bridge.db", now_ns=lambda: self.now_ns)
        task = asyncio.create_task(inbox.run(lambda file: intake.handle(file, self.host.tell)))
        try:
            yield inbox
            if task.done():
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            intake.close()

    def drop(self, body: bytes, name: str = "order.xml") -> None:
        part = self.folder / f".{name}.part"
        part.write_bytes(body)
        part.rename(self.folder / name)

    def archived(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("archive/*/*"))

    def quarantined(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("quarantine/*"))

    def report(self) -> str:
        """The only report there is."""
        (found,) = self.folder.rglob("*.report.txt")
        return found.read_text()

    def waiting(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.xml"))
