"""The outbound mapping over a real record log, driven as the runner drives it; its documents are held by the schema."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.actuals.plants import Plant
from tests.bridges.b2mml.schemas import official_schema, problems
from uns.adapters.sqlite.record_cursor import Progress
from uns.bridges.b2mml.outbound import PERFORMANCE, PerformanceMapping
from uns.bridges.b2mml.responses import read_performance
from uns.bridges.port import OutboundItem
from uns.context.records import JobOrder, JobResponse, Quantity

__all__ = ["Follower", "books"]

SECOND = 1_000_000_000


class Follower:
    """``tell()`` reads to the head and lets time pass; gives the responses that follow."""

    def __init__(self, plant: Plant, **settings: Any) -> None:
        self.plant = plant
        self.orders: dict[str, JobOrder] = {}
        self.settings: dict[str, Any] = {"sender": "uns-dallas", "grace_ns": 0, "orders": self.orders.get} | settings
        self.progress = Progress()
        self.state: dict[str, bytes] = {}
        self.items: list[OutboundItem] = []
        self.restart()

    def restart(self) -> None:
        """Another process: from what was committed."""
        self.mapping = PerformanceMapping(self.plant.tree, **self.settings)
        self.mapping.load(self.state, self.plant.reader)

    def step(
        self, *, now_ns: int, positions_max: int = 20_000, commits: bool = True
    ) -> tuple[list[OutboundItem], bool]:
        """One turn of the runner."""
        batch, progress, head = self.plant.reader.read(self.progress, positions_max=positions_max)
        items = [] if batch.is_empty() else self.mapping.receive_batch(batch, now_ns)
        deadline_ns = self.mapping.next_deadline_ns()
        if progress.position == head and deadline_ns is not None and deadline_ns <= now_ns:
            items += self.mapping.receive_timer(now_ns)
        state = self.mapping.drain_state()
        if not commits:
            self.mapping.load(self.state, self.plant.reader)
            return [], False
        for key, body in state.items():
            if body is None:
                self.state.pop(key, None)
            else:
                self.state[key] = body
        done = progress == self.progress and not items
        self.progress = progress
        self.items += items
        return items, not done

    def tell_items(self, *, later_s: float = 0, positions_max: int = 20_000) -> list[OutboundItem]:
        """Items until nothing more follows."""
        now_ns = self.plant.now_ns + round(later_s * SECOND) + 1
        self.plant.now_ns = now_ns
        found: list[OutboundItem] = []
        more = True
        while more:
            items, more = self.step(now_ns=now_ns, positions_max=positions_max)
            found += items
        return found

    def tell(self, **settings: Any) -> list[JobResponse]:
        return [self.read(item) for item in self.tell_items(**settings)]

    @staticmethod
    def read(item: OutboundItem) -> JobResponse:
        assert item.kind == PERFORMANCE, msgspec.json.decode(item.body)
        assert problems(official_schema(), item.body) == []
        reading = read_performance(item.body)
        assert (reading.readable, reading.findings, reading.bod_id) == (True, (), item.key)
        (response,) = reading.responses
        return response


def books(items: list[OutboundItem]) -> dict[str, tuple[str, str]]:
    """What a receiver has after all of it, by job: (good, state); as the reference says that it should book."""
    standing: dict[str, JobResponse] = {}
    for item in items:
        response = Follower.read(item)
        if response.response_id in standing:
            continue
        if response.reverses is not None:
            del standing[response.reverses]
        if response.action != "delete":
            standing[response.response_id] = response
    found = {r.job_order: (_text(r.good), r.state.value) for r in standing.values()}
    assert len(found) == len(standing), "a job stands twice in the receiver's books"
    return found


def _text(amount: Quantity | None) -> str:
    return "" if amount is None else f"{amount.value:f}"
