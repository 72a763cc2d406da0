from __future__ import annotations

import msgspec

from tests.enrichment.builders import COUNT, PHASE, TEMPERATURE, Host, at, fact
from uns.enrichment.records import Tick


def test_a_value_is_recorded_with_the_work_order_and_lot_of_its_time():
    host = Host()
    host.fact(fact("job", valid_from=0))
    host.fact(fact("lot", valid_from=0, lot="L-8891", material="FG-77"))
    host.samples((PHASE, "React", 5.0), (TEMPERATURE, 182.0, 5.0), (COUNT, 41, 5.0))
    [tick] = host.log.documents("/_data/")
    assert tick["context"] == {
        "status": "resolved",
        "work_order": "WO-1",
        "operation": "0010",
        "job_order": "WO-1/0010",
        "lots": ["L-8891"],
        "material": "FG-77",
        "phase": "React",
        "facts": ["job:WO-1/0010@1", "lot:L-8891@1", "recipe_phase:React@plc:2026-06-03T12:00:05.000Z"],
    }
    assert tick["samples"][1] == {
        "metric": "temperature",
        "type": "Float",
        "unit": "CEL",
        "value": 182.0,
        "time": "2026-06-03T12:00:05.000Z",
    }
    assert tick["rev"] == 0
    assert tick["log"]["to"] - tick["log"]["from"] == 2
    msgspec.json.decode(host.log.outbox[-1].payload, type=Tick)
    assert at(5) > 0
