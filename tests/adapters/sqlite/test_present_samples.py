from __future__ import annotations

from pathlib import Path

from tests.enrichment.builders import COUNT, SECOND, START_NS, TEMPERATURE, plant, provenance
from tests.enrichment.memory_log import MemoryLog
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.enrichment.pipeline import Enricher
from uns.enrichment.samples import Quality, SampleBatch


def test_the_newest_sample_of_each_series_comes_back_with_the_way_it_came(tmp_path: Path):
    log, twin = RecordLog(tmp_path / "records.db"), MemoryLog()
    state, _ = log.load()
    index = RecordIndexReader(tmp_path / "records.db")
    enricher = Enricher(plant(), index)
    enricher.load(state, START_NS)
    enricher.receive_batch(
        SampleBatch(
            equipment="reactor4",
            metrics=[TEMPERATURE, TEMPERATURE, COUNT, TEMPERATURE],
            values=[1.0, 3.0, 7, 2.0],
            times_ns=[START_NS, START_NS + SECOND, START_NS, START_NS + SECOND],
            qualities=[Quality.GOOD, Quality.GOOD, Quality.GOOD, Quality.UNCERTAIN],
            status_codes=[0, 0, 0, 0x4092_0000],
            ordinals=[0, 0, 0, 1],
            provenance=provenance(),
        ),
        START_NS + SECOND,
    )
    plan = enricher.drain()
    log.commit(plan, joined=1)
    twin.apply(plan)
    present = sorted(log.load()[0].present, key=lambda sample: sample.series)
    index.close()
    log.close()
    assert present == sorted(twin.state(plant()).present, key=lambda sample: sample.series)
    assert [(sample.value, sample.ordinal, sample.edge_node_id) for sample in present] == [
        (2.0, 1, "gw-1"),
        (7, 0, "gw-1"),
    ]
