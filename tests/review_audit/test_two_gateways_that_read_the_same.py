"""Two gateways that bring the same samples: the second one's are known already, and still show that it is there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.enrichment.builders import COUNT, SECOND, Host, at, provenance
from uns.context.times import MAX_NS
from uns.sparkplug.topics import EdgeNodeDescriptor


class Pair(Host):
    def live(self, gateway: str, *seconds: float, historical: bool = False) -> None:
        self.now_ns = max(self.now_ns, at(max(seconds))) + SECOND
        way = provenance(device_id="reactor4", edge_node_id=gateway, historical=historical, received_at_ns=self.now_ns)
        self.samples(*((COUNT, int(second), second) for second in seconds), provenance=way)

    def dies(self, gateway: str) -> None:
        self.enricher.receive_death(EdgeNodeDescriptor("acme.dallas", gateway), None, self.now_ns)
        self.commit()

    def gaps(self) -> list[Any]:
        return [
            (row[5], row[8], (row[9] - at(0)) / SECOND, None if row[10] == MAX_NS else (row[10] - at(0)) / SECOND)
            for row in self.log.current_gaps()
        ]


def test_a_gateway_that_returns_as_the_second_ends_its_gap():
    pair = Pair()
    pair.live("gw-1", 1, 2)
    pair.dies("gw-1")
    pair.live("gw-2", 5)
    pair.live("gw-1", 5)
    assert pair.gaps() == [("gw-1", "closed", 2, 5)]
    pair.live("gw-2", 9)
    pair.live("gw-1", 9)
    pair.dies("gw-1")
    assert pair.gaps() == [("gw-1", "closed", 2, 5), ("gw-1", "open", 9, None)]


@pytest.mark.parametrize("second", [2, 1])
def test_what_it_said_before_it_died_ends_nothing(second: float):
    pair = Pair()
    pair.live("gw-1", 1, 2)
    pair.dies("gw-1")
    pair.live("gw-1", second)
    assert pair.gaps() == [("gw-1", "open", 2, None)]


def test_a_known_sample_from_the_future_ends_nothing():
    pair = Pair()
    limits = {"past_max_ns": None, "future_max_ns": SECOND}
    pair.live("gw-1", 1)
    pair.dies("gw-1")
    way = {"device_id": "reactor4", "received_at_ns": pair.now_ns}
    for gateway in ("gw-2", "gw-1"):
        pair.samples((COUNT, 7, 10_000), limits=limits, provenance=provenance(edge_node_id=gateway, **way))
    assert pair.gaps() == [("gw-1", "open", 1, None)]
