"""Confirmed rows leave the store: many ids in one transaction, and never so many that commits wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from edge_nodes.intake import StoreThread
from uns.errors import StorageFullError

__all__ = ["Deletions"]

INTERVAL_S = 1.0
IDS_MAX = 20_000  # of one DELETE


class Deletions:
    """Collects ranges of ids and deletes them about once a second; ``after`` is awaited when some were deleted."""

    def __init__(self, store: StoreThread, *, after: Callable[[], Awaitable[None]] | None = None) -> None:
        self._store = store
        self._after = after
        self._ranges: list[tuple[int, int]] = []
        self._log = structlog.get_logger(component="store")

    def add(self, from_id: int, below_id: int) -> None:
        """Rows with ``from_id <= id < below_id`` are confirmed."""
        if self._ranges and self._ranges[-1][1] == from_id:
            from_id = self._ranges.pop()[0]
        self._ranges.append((from_id, below_id))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Delete and count all that was added."""
        store = self._store.store
        if not self._ranges:
            return
        while self._ranges:
            ranges, self._ranges = self._ranges, []
            try:
                first_id = await self._store.call(store.first_id)
                for from_id, below_id in ranges:
                    for start in range(max(from_id, first_id), below_id, IDS_MAX):
                        await self._store.call(store.delete, [(start, min(start + IDS_MAX, below_id))])
            except StorageFullError as error:
                # Deleting again what is gone does no harm: rows are counted where they are deleted.
                self._ranges = ranges + self._ranges
                self._log.warning("confirmed rows cannot be deleted yet", reason=str(error))
                return
        if self._after is not None:
            await self._after()
