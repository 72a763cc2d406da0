"""The namespace as a subscriber of ``uns1/#`` sees it: newest values, contexts, and one record worth a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from uns.context.facts import FactAnswer
from uns.errors import RemoteProtocolError
from uns.namespace.topics import parse_uns1_topic

__all__ = ["EquipmentView", "MetricView", "NamespaceView", "example_sample"]

TOPICS_MAX = 100_000  # counted by name, and answers kept; a namespace larger than this is not looked at on one screen


class MetricView(msgspec.Struct):
    """The newest sample of a metric."""

    value: Any
    unit: str | None
    time: str
    samples: int = 1


class EquipmentView(msgspec.Struct):
    """What is known of one equipment."""

    path: str
    context: dict[str, Any] = {}
    metrics: dict[str, MetricView] = {}
    ticks: int = 0
    restatements: int = 0


class _Tick(msgspec.Struct):
    """The parts of a tick that are looked at here."""

    equipment: str
    path: str
    context: dict[str, Any]
    samples: list[dict[str, Any]]


class _Restatement(msgspec.Struct):
    equipment: str


class NamespaceView:
    """Feed it messages; ask it what there is. ``wanted`` is the reading that makes the best example."""

    def __init__(self, *, wanted_metric: str, wanted_value: float, wanted_work_order: str) -> None:
        self.equipment: dict[str, EquipmentView] = {}
        self.topics: set[str] = set()
        self.messages = 0
        self.unreadable = 0
        self.answers: dict[str, FactAnswer] = {}  # what the host answered last, by the id of the fact
        self.example: dict[str, Any] | None = None  # a whole resolved tick, as it came
        self._wanted = (wanted_metric, wanted_value, wanted_work_order)
        self._example_worth = 0
        self._tick = msgspec.json.Decoder(_Tick)
        self._restatement = msgspec.json.Decoder(_Restatement)
        self._answer = msgspec.json.Decoder(FactAnswer)

    def receive(self, topic: str, payload: bytes) -> None:
        """Take one message of the namespace."""
        self.messages += 1
        if len(self.topics) < TOPICS_MAX:
            self.topics.add(topic)
        try:
            match parse_uns1_topic(topic).class_name:
                case "data":
                    self._receive_tick(self._tick.decode(payload), payload)
                case "res":
                    restated = self.equipment.get(self._restatement.decode(payload).equipment)
                    if restated is not None:
                        restated.restatements += 1
                case "fact_result":
                    answer = self._answer.decode(payload)
                    if answer.id in self.answers or len(self.answers) < TOPICS_MAX:
                        self.answers[answer.id] = answer
                case _:
                    pass
        except (msgspec.DecodeError, RemoteProtocolError, UnicodeDecodeError):
            self.unreadable += 1

    def _receive_tick(self, tick: _Tick, payload: bytes) -> None:
        view = self.equipment.setdefault(tick.equipment, EquipmentView(tick.path))
        view.ticks += 1
        view.context = tick.context
        for sample in tick.samples:
            name, time = sample["metric"], sample["time"]
            known = view.metrics.get(name)
            if known is None:
                view.metrics[name] = MetricView(sample["value"], sample.get("unit"), time)
                continue
            known.samples += 1
            if time >= known.time:
                known.value, known.unit, known.time = sample["value"], sample.get("unit"), time
        worth = self._worth(tick)
        if worth > self._example_worth:
            self._example_worth = worth
            self.example = msgspec.json.decode(payload)

    def _worth(self, tick: _Tick) -> int:
        """How good an example a tick makes: 0 none at all, 3 the sentence itself."""
        context = tick.context
        if context.get("status") != "resolved" or not context.get("work_order"):
            return 0
        metric, value, work_order = self._wanted
        if context["work_order"] != work_order or not context.get("lots"):
            return 1
        return 3 if any(s["metric"] == metric and s["value"] == value for s in tick.samples) else 2


def example_sample(example: Mapping[str, Any], metric: str, value: float) -> Mapping[str, Any]:
    """The sample of a tick that the sentence speaks of: the wanted one, or its first."""
    samples: list[Mapping[str, Any]] = example["samples"]
    return next((s for s in samples if s["metric"] == metric and s["value"] == value), samples[0])
