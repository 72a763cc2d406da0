"""What a node may send for ever at one key costs the same for the last one as for the first."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.enrichment.builders import Host, at, provenance
from tests.enrichment.memory_log import MemoryLog
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
