"""A mapping that makes one item of each sample, and a fake target in memory that outlives the bridge."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence

import msgspec

from uns.bridges.port import (
    Auth,
    Business,
    Delivered,
    Emit,
    Finding,
    LogBatch,
    OutboundItem,
    Outcome,
    Poison,
    RecordReader,
    Transient,
)

__all__ = ["FakeBooks", "FakeTarget", "SampleMapping"]


class SampleMapping:
    """One item a sample; the value's whole part is the order key, so 1.0 and 1.5 stay in order."""

    wants_samples = True

    def __init__(self) -> None:
        self.seen = 0
        self._changed = False

    def load(self, state: Map[str, bytes], reader: RecordReader) -> None:
        self.seen = int(state.get("seen", b"0"))

    def receive_batch(self, batch: LogBatch, now_ns: int) -> list[OutboundItem]:
        self.seen += len(batch.samples)
        self._changed = True
        return [
            OutboundItem(
                key=f"sample:{sample.position}",
                kind="sample",
                body=msgspec.json.encode(sample.value),
                subject=f"value {sample.value!r}",
                order_key=f"group {sample.value!r}".split(".", maxsplit=1)[0],
                first_position=sample.position,
                last_position=sample.position,
            )
            for sample in batch.samples
        ]

    def receive_timer(self, now_ns: int) -> list[OutboundItem]:
        return []

    def next_deadline_ns(self) -> int | None:
        return None

    def drain_state(self) -> dict[str, bytes | None]:
        changed, self._changed = self._changed, False
        return {"seen": str(self.seen).encode()} if changed else {}


class FakeBooks:
    """What the fake target has, and how it behaves now."""

    def __init__(self) -> None:
        self.taken: list[str] = []  # keys, in order
        self.values: list[float] = []
        self.calls = 0
        self.trouble: Outcome | None = None  # for everything
        self.refusals: dict[float, Outcome] = {}  # by value


class FakeTarget:
    name = "fake"
    items_max = 4

    def __init__(self, books: FakeBooks) -> None:
        self.books = books

    async def start(self) -> int | Transient | Auth | None:
        return None

    async def deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        self.books.calls += 1
        return [self._take(item) for item in items]

    def _take(self, item: OutboundItem) -> Outcome:
        books = self.books
        value = msgspec.json.decode(item.body)
        refusal = books.trouble or books.refusals.get(value)
        if refusal is not None:
            return refusal
        books.taken.append(item.key)
        books.values.append(value)
        return Delivered(receipt=f"fake-{len(books.taken)}")

    async def read_back(self, item: OutboundItem) -> bool | None:
        return item.key in self.books.taken

    def split(self, item: OutboundItem) -> list[OutboundItem]:
        return []

    async def inbound(self, emit: Emit) -> None:
        return

    async def check(self) -> list[Finding]:
        return []

    async def close(self) -> None:
        return


REFUSALS: dict[str, Outcome] = {
    "transient": Transient("the fake is down"),
    "business": Business("the fake says no", "ask the fake"),
    "poison": Poison("the fake cannot read it"),
    "auth": Auth("the fake does not know us", "give it the password"),
}
