"""The order of the secured plant: its file goes in, it runs, its performance lies in the outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.secure_plant.plant import TREE_FILE, SecurePlant
from uns.runtime.accounting import Equation, bridge_terms
from uns.runtime.demo.mes import ANSWER_TIMEOUT_S, ORDERS, PERFORMANCE_TIMEOUT_S, MesPart, said_of
from uns.runtime.plant_run import render_node_file

__all__ = ["TERMINAL", "OrderLoop", "render_tree"]

PLANT_FILES = Path(__file__).parents[1] / "plant"
TERMINAL = "terminal"
_SCANNER = "  scanner: {provides: [lot], precedence: 10, grace: 300s}"
_POLL_S = 0.1


def render_tree(directory: Path) -> Path:
    """The plant's tree with one more source: the terminal of the line, where a worker starts and ends an order.

    A source of its own, because one credential is one connection: that of ``mes`` is its bridge's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tree_file = directory / TREE_FILE.name
    terminal = f"  {TERMINAL}: {{provides: [job], precedence: 20, grace: 300s}}"
    render_node_file(TREE_FILE, tree_file, {_SCANNER: f"{_SCANNER}\n{terminal}"})
    return tree_file


class OrderLoop:
    """From the order file to the performance."""

    def __init__(self, plant: SecurePlant, *, seconds: float, run: str) -> None:
        self._plant = plant
        self._part = MesPart(PLANT_FILES, plant.directory, seconds=seconds, run=run, answers={})
        self._accepted = 0
        self._terms: dict[str, int] = {}

    async def start(self) -> None:
        """Start the bridge and wait until it is ready."""
        for folder in (self._part.inbox, self._part.performances.folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._part.performances.look()  # what an earlier run left in a kept directory
        await self._plant.start_bridge(grace_s=self._part.grace_s)

    async def order(self) -> str:
        """Drop the file, wait until the host has answered each of its orders; what came of it, for people."""
        earlier = _answers(self._plant.run.bridge_stats())  # of an earlier run in a kept directory
        file = self._part.drop(time.time_ns())
        stats = await self._plant.run.until_bridge(
            lambda stats: sum(_answers(stats)) >= sum(earlier) + len(ORDERS),
            f"the orders of {file.name} are answered",
            timeout_s=ANSWER_TIMEOUT_S,
        )
        self._accepted = _answers(stats)[0] - earlier[0]
        return f"{file.name} dropped into the inbox: {self._accepted} of {len(ORDERS)} orders accepted"

    async def told(self) -> list[str]:
        """Wait until the performance says what was recorded, stop the bridge; what lies in the outbox, for people.

        If it never does, the equations tell.
        """
        deadline = time.monotonic() + self._part.grace_s + PERFORMANCE_TIMEOUT_S
        written = []
        while True:
            written += await asyncio.to_thread(self._part.performances.look)
            if await asyncio.to_thread(self._part.is_told, self._plant.run.store) or time.monotonic() > deadline:
                break
            self._plant.run.check()
            await asyncio.sleep(_POLL_S)
        self._terms = bridge_terms(await self._plant.run.stop_bridge())
        return [said_of(each) for each in written]

    def equations(self) -> list[Equation]:
        """The bridge's books, and what the performance says against the rows of the record log. Blocks on the disk."""
        plant, terms = self._plant, self._terms
        _, equations = self._part.report(plant.run.store, plant.tree, plant.tree_file, terms)
        accepted, orders = self._accepted, len(ORDERS)
        text = f"accepted now {accepted} = orders of the file {orders}"
        return [*equations, Equation(subject="bridge", text=text, holds=accepted == orders)]


def _answers(stats: Mapping[str, Any]) -> tuple[int, int, int]:
    terms = bridge_terms(stats)
    return terms.get("facts_accepted", 0), terms.get("facts_refused", 0), terms.get("orders_refused", 0)
