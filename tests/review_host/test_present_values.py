"""A retained present value never goes back in time, also while the logs take nothing and when they take again."""

from __future__ import annotations

import json
from typing import Any

from tests.enrichment.builders import SECOND, TEMPERATURE, Host, batch
from uns.runtime.host.groups import WorkItem
from uns.runtime.host.intake import Clock, Work
from uns.runtime.host.live_preview import LivePreview

UNLIMITED = Clock(past_max_ns=None, future_max_ns=None)


class Retained:
    """The topic of one metric at a broker."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.host = Host()
        self.preview = LivePreview(self.show)

    def show(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/_pv/temperature"):
            self.values.append(json.loads(payload)["value"])

    def not_logged(self, value: float, seconds: float) -> None:
        given = batch((TEMPERATURE, value, seconds))
        work = Work(batches=[(given, UNLIMITED)], provenance=given.provenance, samples=1)
        self.preview.receive([WorkItem(1, work)])
        self.look()

    def recorded(self, value: float, seconds: float) -> None:
        self.host.samples((TEMPERATURE, value, seconds))
        self.look()

    def look(self) -> None:
        self.host.now_ns += 2 * SECOND
        self.preview.due(self.host.enricher, self.host.now_ns)
        for message in self.host.enricher.board.due(self.host.now_ns):
            self.show(message.topic, message.payload)


def test_history_that_comes_again_while_the_log_is_full_is_not_shown():
    topic = Retained()
    topic.recorded(100.0, 100)
    topic.not_logged(50.0, 50)
    assert topic.values == [100.0]


def test_what_is_recorded_after_a_preview_is_shown_from_the_previews_time_on():
    topic = Retained()
    topic.recorded(100.0, 100)
    topic.not_logged(200.0, 200)
    for seconds in (150, 200, 250):
        topic.recorded(float(seconds), seconds)
    assert topic.values == [100.0, 200.0, 200.0, 250.0]
