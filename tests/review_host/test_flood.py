"""What a node may send for ever at one key costs the same for the last one as for the first."""

from __future__ import annotations

import random
import sys
from collections import Counter
from types import FrameType
from typing import Any

from tests.enrichment.builders import Host, at, fact, plant, provenance
from tests.enrichment.memory_log import MemoryLog
from uns.context.store import ContextStore, KnownFact
from uns.enrichment.samples import UnrecordedSample


class CountingLog(MemoryLog):
    """Counts what look-ups read."""

    read = 0

    def unrecorded_at(self, *key: Any, **limits: Any) -> Any:
        found = super().unrecorded_at(*key, **limits)
        self.read += len(found)
        return found


def unreadable(n: int) -> UnrecordedSample:
    return UnrecordedSample(metric="", source_time_ns=None, reason="malformed", raw=f"garbage {n}".encode())


def receive(host: Host, numbers: Any) -> Counter[str]:
    """Each in a payload and a commit of its own; what was counted."""
    before = Counter(host.enricher.totals)
    for n in numbers:
        host.enricher.count_rejected([unreadable(n)], provenance(), at(0))
        host.commit()
    return host.enricher.totals - before


def flooded(payloads: int) -> tuple[Host, CountingLog]:
    host, log = Host(), CountingLog()
    host.log = log
    host.restart()
    receive(host, range(payloads))
    return host, log


def test_garbage_for_ever_is_kept_once_each_at_a_bounded_price():
    host, log = flooded(200)
    assert len(log.unrecorded) == 200
    read = log.read
    receive(host, range(200, 300))
    assert log.read - read <= 100 * 40
    host.restart()
    counted = receive(host, range(300))
    assert (counted["rejected"], counted["duplicates_dropped"]) == (0, 300)


def test_the_same_garbage_twice_in_one_payload_counts_twice_and_again_never():
    host, _ = flooded(100)
    for counted in (2, 0):
        before = host.enricher.totals["rejected"]
        host.enricher.count_rejected([unreadable(1_000), unreadable(1_000)], provenance(), at(0))
        host.commit()
        assert host.enricher.totals["rejected"] - before == counted


def test_many_facts_are_taken_back_in_any_order_without_moving_each_other():
    """Facts of a year, as the log hands them back: by id. Each would move half of the others, for minutes."""
    facts = [KnownFact(fact(id=f"job:{n}", valid_from=float(n)), 1, at(0)) for n in range(2_000)]
    random.Random(1).shuffle(facts)
    store = ContextStore(plant())
    moved = 0

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal moved
        if event == "c_call" and getattr(argument, "__name__", "") == "append":
            moved += 1

    sys.setprofile(look)
    try:
        store.load(facts)
    finally:
        sys.setprofile(None)
    assert moved < 10 * len(facts)
