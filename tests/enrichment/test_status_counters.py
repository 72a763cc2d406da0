"""Samples by status are counters that move with restatements; the rows, counted, say the same."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from tests.enrichment.builders import TEMPERATURE, Host, batch, fact, provenance
from tests.enrichment.test_promises import Day, play
from uns.enrichment.plan import FOREIGN_STATUS_COUNTERS, STATUS_COUNTERS


def counted(host: Host, names: dict[str, str]) -> dict[str, int]:
    return {status: host.log.counters[name] for status, name in names.items()}


def of_foreign_nodes(host: Host) -> Counter[str]:
    """Counted row by row."""
    session_of = {
        (*host.log.series[row[1]][1:3], row[2], row[3]): host.log.payloads[row[10]][4] for row in host.log.samples
    }
    return Counter(r.context["status"] for r in host.log.records() if session_of[r.key] == "")


@pytest.mark.parametrize("seed", range(25))
def test_the_counters_say_what_the_rows_say(seed: int):
    day = Day(seed)
    random_ = random.Random(seed)
    for given in day.batches:
        if random_.random() < 0.4:
            given.ours, given.provenance = False, msgspec.structs.replace(given.provenance, session="")
    host = play(day, random_, restarts=True, duplicates=True, bulk=seed % 2 == 0)
    host.commit()
    for names, rows in ((STATUS_COUNTERS, host.log.by_status()), (FOREIGN_STATUS_COUNTERS, of_foreign_nodes(host))):
        assert counted(host, names) == {status: rows[status] for status in names}


def test_samples_that_are_not_committed_yet_move_too():
    host = Host()
    for session in ("s1", ""):
        host.enricher.receive_batch(
            batch((TEMPERATURE, 1.0, 5), (TEMPERATURE, 1.0, 7), provenance=provenance(session=session)), host.now_ns
        )
        host.enricher.receive_batch(
            batch((TEMPERATURE, len(session) + 2.0, 6), provenance=provenance(session=session)), host.now_ns
        )
    host.enricher.receive_fact(fact("job", valid_from=0.0), host.now_ns)
    host.enricher.receive_fact(fact("lot", equipment="reactor4", valid_from=6.0, lot="L"), host.now_ns)
    host.commit()
    rows = host.log.by_status()
    assert len(rows) == 2
    assert counted(host, STATUS_COUNTERS) == {status: rows[status] for status in STATUS_COUNTERS}
    foreign = of_foreign_nodes(host)
    assert foreign.total() == 1
    assert counted(host, FOREIGN_STATUS_COUNTERS) == {status: foreign[status] for status in STATUS_COUNTERS}
