"""MES and scanner of the simulation: they state each fact until it is answered, now and then twice."""

from __future__ import annotations

from functools import partial

from tests.simulation.host import SimulatedHost
from tests.simulation.world import World
from uns.context.facts import Fact, FactAnswer

__all__ = ["FactSources"]

REPEAT_MS = 2_000


class FactSources:
    """Everyone who states facts. ``answers`` holds the first answer to each message."""

    def __init__(self, world: World, host: SimulatedHost, facts: list[tuple[float, Fact]]) -> None:
        self.world = world
        self.host = host
        self.facts = facts
        self.answers: dict[tuple[str, str], FactAnswer] = {}

    def start(self) -> None:
        for sent_s, fact in self.facts:
            self.world.after(sent_s * 1_000, partial(self._state, fact))
            if self.world.chance(0.2):
                self.world.after(sent_s * 1_000 + self.world.random.uniform(0, 9_000), partial(self._state, fact))

    @property
    def all_answered(self) -> bool:
        return len(self.answers) == len(self.facts)

    def _state(self, fact: Fact) -> None:
        process = self.host.process
        if process is not None and not process.frozen:
            process.submit(fact, partial(self._receive, fact))
        self.world.after(REPEAT_MS, lambda: None if self._key(fact) in self.answers else self._state(fact))

    def _receive(self, fact: Fact, answer: FactAnswer) -> None:
        first = self.answers.setdefault(self._key(fact), answer)
        assert first == answer, f"one message, two answers: {first} and {answer}"
        assert answer.accepted, f"{fact}: {answer.reason}"

    def _key(self, fact: Fact) -> tuple[str, str]:
        return fact.id, fact.source_rev
