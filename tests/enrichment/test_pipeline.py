"""From payloads and facts to ticks, restatements, events and rows."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import msgspec
import pytest

from tests.enrichment.builders import (
    COUNT,
    PHASE,
    PROGRAM,
    START,
    TEMPERATURE,
    TEMPERATURES,
    Host,
    at,
    batch,
    fact,
    plant,
    provenance,
)
from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.plan import FLAG_BIRTH, FLAG_CLOCK_SUSPECT, FLAG_TIME_GATEWAY
from uns.enrichment.records import Tick
from uns.enrichment.samples import Quality, UnrecordedSample
from uns.errors import LocalProtocolError
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType


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
    assert (tick["rev"], tick["path"]) == (0, "acme/dallas/reaction/line2/reactor4")
    assert tick["source"]["received_at"] == "2026-06-03T12:00:00.000Z"
    assert host.log.outbox[-1].topic == "uns1/acme/dallas/_data/reaction/line2/reactor4"
    msgspec.json.decode(host.log.outbox[-1].payload, type=Tick)


# Context metrics


def test_a_context_metric_holds_for_the_measurements_of_its_own_payload():
    host = Host()
    host.samples((PHASE, "Heat", 1), (TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 2.0, 2), (TEMPERATURE, 3.0, 3), (PHASE, "React", 3))
    assert [host.context(s)["phase"] for s in (1, 2, 3)] == ["Heat", "Heat", "React"]
    assert host.log.documents("/_res/") == [], "nothing had to be corrected"


def test_a_context_metric_that_comes_late_restates_what_it_concerns():
    host = Host()
    host.samples((PHASE, "Heat", 1))
    host.samples(*((TEMPERATURE, float(s), s) for s in range(2, 10)))
    host.samples((PHASE, "React", 5))
    [restatement] = host.log.documents("/_res/")
    assert restatement["samples"] == 5
    assert (restatement["from"], restatement["to"]) == ("2026-06-03T12:00:05.000Z", None)
    assert restatement["old"]["phase"] == "Heat"
    assert restatement["new"]["phase"] == "React"
    assert restatement["rev"] == 1
    assert "reactor4 batch/phase" in restatement["reason"]
    assert [host.context(s)["phase"] for s in (4, 5, 9)] == ["Heat", "React", "React"]


@pytest.mark.parametrize(("value", "quality"), [(None, Quality.GOOD), ("React", Quality.BAD), ("React", Quality.STALE)])
def test_null_bad_and_stale_context_samples_are_recorded_and_change_nothing(value: Any, quality: Quality):
    host = Host()
    host.samples((PHASE, "Heat", 1))
    host.samples((PHASE, value, 2, quality), (TEMPERATURE, 1.0, 2))
    assert host.context(2)["phase"] == "Heat"
    assert len(host.log.samples) == 3
    host.restart()
    host.samples((TEMPERATURE, 1.0, 3))
    assert host.context(3)["phase"] == "Heat"


def test_the_program_of_a_mill_starts_the_job_of_its_recipe():
    host = Host()
    host.fact(
        fact(id="d", equipment="line2", recipe="81@2", state="released", job_order="WO-7/0010", work_order="WO-7")
    )
    host.samples((PROGRAM, "81", 1), (TEMPERATURE, 1.0, 2), equipment="mill1")
    assert host.context(2, "mill1")["work_order"] == "WO-7"
    host.samples((PROGRAM, "99", 3), (TEMPERATURE, 1.0, 4), equipment="mill1")
    assert host.context(4, "mill1") == {"status": "unresolved", "missing": ["job"]}
    host.fact(fact(id="e", equipment="mill1", recipe="99", state="planned", job_order="WO-8/0010", work_order="WO-8"))
    assert host.context(4, "mill1")["work_order"] == "WO-8"


# Late facts


def test_a_late_fact_restates_intervals_and_not_samples():
    host = Host()
    host.fact(fact("lot"))
    for second in range(1, 21):
        host.samples((TEMPERATURE, float(second), second))
    rows = list(host.log.samples)
    host.now_ns = at(60)
    host.fact(fact("job", valid_from=5, valid_to=15))
    assert host.log.samples == rows
    [restatement] = host.log.documents("/_res/")
    assert (restatement["samples"], restatement["old"]["status"], restatement["new"]["status"]) == (
        10,
        "unresolved",
        "resolved",
    )
    assert restatement["reason"] == "fact job:1@1 (add job WO-1/0010)"
    assert host.log.by_status() == {"resolved": 10, "unresolved": 10}


def test_a_correction_is_a_revision_and_what_was_known_before_is_still_there():
    host = Host()
    host.fact(fact("lot"))
    host.fact(fact("job"))
    host.samples((TEMPERATURE, 1.0, 1))
    host.now_ns = at(100)
    host.fact(fact("job", source_rev="2", work_order="WO-2"))
    host.now_ns = at(200)
    host.fact(fact("job", source_rev="3", action="delete"))
    assert [r["rev"] for r in host.log.documents("/_res/")] == [1, 2]
    seen = [host.log.records(as_known_at_ns=at(s))[0].context.get("work_order") for s in (50, 150, 250)]
    assert seen == ["WO-1", "WO-2", None]


def test_a_fact_about_a_line_restates_every_equipment_below_in_order_of_place():
    host = Host()
    for name in ("tank9", "reactor5", "reactor4"):
        host.samples((TEMPERATURE, 1.0, 1), equipment=name)
    host.fact(fact("job", equipment="line2"))
    assert [r["equipment"] for r in host.log.documents("/_res/")] == ["reactor4", "reactor5", "tank9"]


def test_a_fact_that_touches_no_sample_is_not_restated():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    host.fact(fact("job", valid_from=100))
    assert host.log.documents("/_res/") == []
    assert host.log.counters["restated_intervals"] == 0


def test_a_refused_fact_changes_nothing_but_a_counter():
    host = Host()
    answer = host.fact(fact("job", equipment="nowhere"))
    assert not answer.accepted
    assert host.log.counters == {"facts_refused": 1}
    assert host.log.facts == {}


def test_the_same_fact_again_is_answered_and_not_stored_again():
    host = Host()
    answers = [host.fact(fact("job")) for _ in range(2)]
    host.restart()
    answers.append(host.fact(fact("job")))
    assert {(a.accepted, a.rev) for a in answers} == {(True, 1)}
    assert len(host.log.facts) == 1
    assert host.log.counters["facts_repeated"] == 2


def test_an_older_revision_that_comes_late_is_kept_without_an_event():
    host = Host()
    host.fact(fact("job", source_rev="2"))
    host.fact(fact("job", source_rev="1"))
    assert len(host.log.facts) == 2
    assert len(host.log.documents("/_event/reaction/line2/reactor4/job")) == 1


# Events


def test_unresolved_is_told_once_per_interval_when_its_first_sample_comes():
    host = Host()
    host.fact(fact("lot"))
    for second in range(1, 5):
        host.samples((TEMPERATURE, float(second), second))
    host.restart()
    host.samples((TEMPERATURE, 9.0, 9))
    [event] = host.log.documents("/unresolved")
    assert (event["missing"], event["samples"], event["from"]) == (["job"], 1, "2026-06-03T12:00:00.000Z")


def test_a_restatement_to_unresolved_is_told_and_the_rest_of_a_cut_interval_is_not_told_again():
    host = Host()
    host.fact(fact("lot"))
    host.fact(fact("job"))
    host.samples(*((TEMPERATURE, float(s), s) for s in range(1, 10)))
    host.fact(fact("job", source_rev="2", valid_to=5))
    [event] = host.log.documents("/unresolved")
    assert event["samples"] == 5
    host.samples((TEMPERATURE, 1.0, 20))
    host.fact(fact("shift", shift="B", valid_from=15, valid_to=16))
    host.samples((TEMPERATURE, 1.0, 30))
    assert len(host.log.documents("/unresolved")) == 1


def test_jobs_lots_and_overlaps_are_events():
    host = Host()
    host.fact(fact("job", valid_to=10))
    host.fact(fact("lot", material="FG-77"))
    host.fact(fact("job", id="j2", valid_from=5))
    jobs = host.log.documents("/_event/reaction/line2/reactor4/job")
    assert [(e["job_order"], e["state"], e["facts"]) for e in jobs] == [
        ("WO-1/0010", "running", ["job:1@1"]),
        ("WO-1/0010", "running", ["j2@1"]),
    ]
    [lot] = host.log.documents("/_event/reaction/line2/reactor4/lot")
    assert (lot["lot"], lot["material"]) == ("L-1", "FG-77")
    [overlap] = host.log.documents("/_event/reaction/line2/reactor4/conflict")
    assert overlap["facts"] == ["job:1@1", "j2@1"]


# Ticks


def test_a_payload_becomes_as_many_ticks_as_it_has_intervals_in_order_of_time():
    host = Host()
    host.samples((PHASE, "A", 1), (PHASE, "B", 10), (PHASE, "C", 20))
    host.samples(*((TEMPERATURE, float(s), s) for s in (25, 5, 15, 6)))
    ticks = host.log.documents("/_data/")[3:]
    assert [[s["value"] for s in tick["samples"]] for tick in ticks] == [[5.0, 6.0], [15.0], [25.0]]
    assert [tick["context"]["phase"] for tick in ticks] == ["A", "B", "C"]
    assert [row[0] for row in host.log.samples] == sorted(row[0] for row in host.log.samples)


def test_the_log_of_each_equipment_has_no_gap_unless_a_message_is_missing():
    host = Host()
    for second in range(1, 5):
        host.samples((TEMPERATURE, 1.0, second))
        host.samples((TEMPERATURE, 1.0, second), equipment="reactor5")
    host.restart()
    host.fact(fact("job", equipment="line2"))
    host.samples((TEMPERATURE, 1.0, 9))
    for equipment in ("reactor4", "reactor5"):
        spans = [
            json.loads(m.payload)["log"]
            for m in host.log.outbox
            if m.topic.endswith(equipment) and "_event" not in m.topic
        ]
        assert [span["after"] for span in spans] == [0, *(span["to"] for span in spans[:-1])]


def test_a_tick_stays_below_its_bound_and_one_huge_sample_stays_whole():
    text = MetricContract(name="text", datatype=DataType.STRING)
    host = Host(tick_bytes_max=2000)
    host.samples(*((contract, 1.0, 1) for contract in TEMPERATURES))
    host.samples((text, "é" * 5000, 2), (TEMPERATURE, 1.0, 2))
    payloads = [m.payload for m in host.log.outbox if "/_data/" in m.topic]
    assert [len(p) > 2000 for p in payloads].count(True) == 1
    assert sum(len(json.loads(p)["samples"]) for p in payloads) == 102
    assert json.loads(payloads[-2])["samples"][0]["value"] == "é" * 5000
    spans = [json.loads(p)["log"] for p in payloads]
    assert all(a["to"] == b["after"] and a["to"] + 1 == b["from"] for a, b in itertools.pairwise(spans))


def test_what_is_not_the_default_stands_in_the_sample_and_in_its_row():
    host = Host()
    host.samples(
        (TEMPERATURE, math.nan, 1, Quality.UNCERTAIN, 3),
        (COUNT, None, 1, Quality.BAD),
        status_codes=[1083179008, 0],
        time_source="gateway",
        origin="birth",
        limits={"past_max_ns": 0, "future_max_ns": 0},
    )
    [tick] = host.log.documents("/_data/")
    assert tick["samples"] == [
        {
            "metric": "temperature",
            "type": "Float",
            "unit": "CEL",
            "value": None,
            "special": "NaN",
            "time": "2026-06-03T12:00:01.000Z",
            "ordinal": 3,
            "quality": "uncertain",
            "status_code": 1083179008,
            "clock_suspect": True,
            "time_source": "gateway",
            "origin": "birth",
        },
        {
            "metric": "batch/count",
            "type": "UInt32",
            "unit": "C62",
            "value": None,
            "time": "2026-06-03T12:00:01.000Z",
            "quality": "bad",
            "clock_suspect": True,
            "time_source": "gateway",
            "origin": "birth",
        },
    ]
    flags = FLAG_BIRTH | FLAG_CLOCK_SUSPECT | FLAG_TIME_GATEWAY
    assert [row[3:10] for row in host.log.samples] == [
        (3, None, None, "NaN", 1, 1083179008, flags),
        (0, None, None, None, 2, 0, flags),
    ]


def test_samples_of_a_node_itself_have_no_device():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1), provenance=provenance(device_id=None))
    assert "device_id" not in host.log.documents("/_data/")[0]["source"]
    assert next(iter(host.log.payloads.values()))[3] is None


def test_an_empty_batch_and_one_of_duplicates_leave_no_rows():
    host = Host()
    host.samples()
    assert host.enricher.drain().is_empty()
    host.samples((TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 1.0, 1))
    assert len(host.log.payloads) == 1


def test_equipment_that_the_tree_does_not_have_is_the_callers_mistake():
    with pytest.raises(LocalProtocolError, match="count_unmapped"):
        Host().samples((TEMPERATURE, 1.0, 1), equipment="nowhere")


def test_the_plan_tells_up_to_where_the_raw_log_is_joined():
    host = Host()
    host.enricher.receive_batch(batch((TEMPERATURE, 1.0, 1), provenance=provenance(raw_position=7)), host.now_ns)
    host.enricher.count_rejected([], provenance(raw_position=9), host.now_ns)
    assert host.enricher.drain().raw_position == 9


# What is no record


def unrecorded(metric: str = "m", raw: bytes = b"1", **fields: Any) -> UnrecordedSample:
    return UnrecordedSample(metric=metric, source_time_ns=at(1), reason="wrong_type", raw=raw, **fields)


@pytest.mark.parametrize("kind", ["rejected", "unmapped"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_cannot_be_a_record_is_kept_by_key_and_counted_once(kind: str, restart: bool):
    host = Host()
    given = [unrecorded(), unrecorded(), unrecorded("n"), unrecorded(ordinal=5)]
    for _ in range(2):
        receive = host.enricher.count_rejected if kind == "rejected" else host.enricher.count_unmapped
        receive(given, provenance(), host.now_ns)
        host.commit()
        if restart:
            host.restart()
    assert sorted((row[4], row[6]) for row in host.log.unrecorded.values()) == [("m", 0), ("m", 1), ("m", 5), ("n", 0)]
    counters = host.log.counters
    assert (counters["received_joined"], counters[kind], counters["duplicates_dropped"]) == (8, 4, 4)


def test_foreign_nodes_are_counted_apart():
    host = Host()
    host.enricher.count_unmapped([unrecorded()], provenance(), host.now_ns, ours=False)
    host.samples((TEMPERATURE, 1.0, 1), ours=False)
    assert host.log.counters["foreign_unmapped"] == 1
    assert host.log.counters["foreign_received_joined"] == 2
    assert host.log.counters["received_joined"] == 0


def test_other_content_at_the_same_key_is_another_row():
    host = Host()
    for raw in (b"1", b"2", b"1"):
        host.enricher.count_rejected([unrecorded(raw=raw)], provenance(), host.now_ns)
    host.commit()
    assert len(host.log.unrecorded) == 2


# Start


def test_knowledge_time_never_runs_back():
    host = Host()
    host.fact(fact("lot"))
    host.now_ns = at(100)
    host.samples((TEMPERATURE, 1.0, 1))
    host.now_ns = at(50)
    host.fact(fact("job"))
    assert host.log.records(as_known_at_ns=at(99)) == []
    known = [row[5] for row in host.log.intervals.values()]
    assert known == sorted(known)


def test_intervals_that_do_not_cover_all_time_are_refused_at_start():
    host = Host()
    host.fact(fact("job"))
    host.samples((TEMPERATURE, 1.0, 1))
    host.log.intervals.popitem()
    with pytest.raises(LocalProtocolError, match="cover all time"):
        host.restart()


def test_equipment_that_left_the_tree_keeps_its_records():
    host = Host()
    host.fact(fact("job"))
    host.samples((TEMPERATURE, 1.0, 1))
    before = host.log.records()
    smaller = plant()
    del smaller.equipment["reactor4"]
    host.restart(smaller)
    assert host.log.records() == before
    host.samples((TEMPERATURE, 1.0, 1), equipment="reactor5")
    assert len(host.log.samples) == 2


def test_intervals_tile_all_time_from_the_first_sample_on():
    host = Host()
    host.fact(fact("job", valid_to=10))
    assert host.log.intervals == {}
    host.samples((TEMPERATURE, 1.0, 1))
    rows = sorted(host.log.intervals.values(), key=lambda row: row[2])
    assert [(row[2], row[3]) for row in rows] == [(MIN_NS, at(0)), (at(0), at(10)), (at(10), MAX_NS)]
    assert {row[4] for row in rows} == {0}
    assert START.year == 2026
