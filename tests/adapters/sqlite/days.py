"""A generated day in a real record log: facts in any order, samples late and live, deaths, other sessions, drops."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec

from tests.enrichment.builders import at, provenance, when
from tests.enrichment.test_promises import Day
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.context.facts import Fact
from uns.enrichment.pipeline import Enricher
from uns.enrichment.samples import SampleBatch
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["FIRST_KNOWN_NS", "write_day"]

FIRST_KNOWN_NS = 2 * 10**18
NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")


def write_day(path: Path, seed: int, *, step_ns: int = 1) -> tuple[Enricher, list[int]]:
    """Write it; the enricher at its end, and the times at which something became known."""
    day, dice = Day(seed), random.Random(seed)
    log, index = RecordLog(path), RecordIndexReader(path)
    enricher = Enricher(day.tree, index)
    enricher.load(log.load()[0], 0)
    inputs: list[SampleBatch | Fact | str] = [*day.facts, *day.batches, *(["death"] * 3), *(["drop"] * 2)]
    dice.shuffle(inputs)
    known: list[int] = []
    session = 1
    for number, given in enumerate(inputs):
        now_ns = FIRST_KNOWN_NS + number * step_ns
        known.append(now_ns)
        if isinstance(given, Fact):
            enricher.receive_fact(given, now_ns)
        elif isinstance(given, SampleBatch):
            session += dice.random() < 0.2
            given.provenance = msgspec.structs.replace(
                given.provenance, session=f"s{session}", historical=dice.random() < 0.3
            )
            enricher.receive_batch(given, now_ns, past_max_ns=None, future_max_ns=None)
        elif given == "death":
            enricher.receive_death(NODE, dice.choice((None, "reactor4")), now_ns)
        else:
            start = dice.randint(0, 20)
            text = {"from": when(start).isoformat(), "to": when(start + 5).isoformat(), "count": 7, "reason": "full"}
            enricher.receive_gap(json.dumps(text), provenance(device_id=None), now_ns)
        if dice.random() < 0.6:
            log.commit(enricher.drain(), joined=0)
            enricher.committed()
    log.commit(enricher.drain(), joined=0)
    index.close()
    log.close()
    assert at(0) < FIRST_KNOWN_NS
    return enricher, known
