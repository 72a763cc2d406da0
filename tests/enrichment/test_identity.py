"""The key of a sample: what is new, what is a duplicate, and when the record log must be asked."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest

from tests.enrichment.builders import (
    COUNT,
    PROGRAM,
    TEMPERATURE,
    TEMPERATURES,
    Host,
    at,
    batch,
    plant,
    provenance,
)
from uns.enrichment.samples import Quality
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType


def ordinals(host: Host, seconds: float, metric: str = "temperature") -> list[tuple[int, Any]]:
    return [(r.ordinal, r.value) for r in host.log.records() if r.metric == metric and r.source_time_ns == at(seconds)]


def test_the_same_value_and_status_at_a_key_is_a_duplicate():
    host = Host()
    for _ in range(3):
        host.samples((TEMPERATURE, 1.0, 1))
    assert ordinals(host, 1) == [(0, 1.0)]
    assert host.log.counters["duplicates_dropped"] == 2


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("committed", [False, True])
def test_another_value_takes_the_next_ordinal_wherever_the_first_one_is(committed: bool, restart: bool):
    host = Host()
    for value in (1.0, 2.0, 1.0, 3.0, 2.0):
        host.enricher.receive_batch(batch((TEMPERATURE, value, 1)), host.now_ns)
        if committed:
            host.commit()
        if committed and restart:
            host.restart()
    host.commit()
    assert ordinals(host, 1) == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert host.log.counters["conflicts"] == 2


def test_another_status_is_another_sample():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 1.0, 1, Quality.BAD))
    host.samples((TEMPERATURE, 1.0, 1), status_codes=[5])
    assert [o for o, _ in ordinals(host, 1)] == [0, 1, 2]


def test_equal_samples_of_one_ms_in_one_payload_are_two_and_their_resend_is_none():
    host = Host()
    for _ in range(2):
        host.samples((TEMPERATURE, 1.0, 1), (TEMPERATURE, 1.0, 1), (TEMPERATURE, 2.0, 1))
    assert ordinals(host, 1) == [(0, 1.0), (1, 1.0), (2, 2.0)]
    assert host.log.counters["conflicts"] == 0


def test_the_ordinal_of_the_payload_counts_before_the_place():
    host = Host()
    host.samples((TEMPERATURE, 2.0, 1, 0, 7))
    host.samples((TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 2.0, 1, 0, 7))
    assert ordinals(host, 1) == [(0, 1.0), (7, 2.0)]


def test_times_that_come_and_go_in_one_payload_keep_their_keys():
    host = Host()
    payload = [(TEMPERATURE, 1.0, 5), (TEMPERATURE, 1.5, 7), (TEMPERATURE, 1.0, 5, 0, 0), (TEMPERATURE, 2.0, 5)]
    host.samples(*payload)
    host.samples(*payload)
    assert ordinals(host, 5) == [(0, 1.0), (2, 2.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 2.0**80, 5])
def test_values_that_are_hard_to_compare_are_still_duplicates(value: Any):
    host = Host()
    for _ in range(2):
        host.samples((TEMPERATURE, value, 1))
        host.restart()
        host.samples((TEMPERATURE, value, 1))
    assert len(ordinals(host, 1)) == 1


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.UINT64, 2**64 - 1),
        (DataType.INT64, -(2**63)),
        (DataType.BOOLEAN, True),
        (DataType.STRING, "NaN"),
        (DataType.TEXT, ""),
        (DataType.BYTES, b"\x00\xff"),
        (DataType.DATETIME, 1_780_488_000_123),
        (DataType.DOUBLE, 0.1),
        (DataType.INT32, "no number"),
        (DataType.FLOAT, "no number"),
        (DataType.BYTES, "no base64!"),
    ],
)
def test_every_value_comes_back_from_the_log_as_it_was(datatype: DataType, value: Any):
    contract = MetricContract(name="m", datatype=datatype)
    host = Host()
    host.samples((contract, value, 1))
    host.restart()
    host.samples((contract, value, 1))
    assert ordinals(host, 1, "m") == [(0, value)]


def test_a_conflict_is_an_event_for_our_nodes_and_only_counted_ordinals_for_others():
    host = Host()
    for value in (1.0, 2.0):
        host.samples((TEMPERATURE, value, 1), ours=False)
    assert host.log.documents("/_event/reaction/line2/reactor4/conflict") == []
    assert host.log.counters["foreign_recorded"] == 2
    for value in (1.0, 2.0):
        host.samples((TEMPERATURE, value, 2))
    [event] = host.log.documents("/_event/reaction/line2/reactor4/conflict")
    assert event["metric"] == "temperature"


def test_events_of_one_kind_are_at_most_one_a_minute_and_equipment():
    host = Host()
    for second in range(3):
        for value in (1.0, 2.0):
            host.samples((TEMPERATURE, value, second + 1))
    assert host.log.counters["events_conflict"] == 1
    assert host.log.counters["events_conflict_withheld"] == 2
    host.now_ns += 60_000_000_000
    for value in (1.0, 2.0):
        host.samples((TEMPERATURE, value, 100))
    assert host.log.counters["events_conflict"] == 2


# Births


def test_a_birth_value_that_was_seen_is_in_no_term_and_another_is_recorded():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 1.0, 1), (COUNT, 5, 1), origin="birth")
    counters = host.log.counters
    assert (counters["received_joined"], counters["recorded"], counters["duplicates_dropped"]) == (2, 2, 0)
    assert (counters["births_seen"], counters["births_recorded"]) == (1, 1)
    [sample] = host.log.documents("/_data/")[-1]["samples"]
    assert (sample["metric"], sample["origin"]) == ("batch/count", "birth")
    host.samples((COUNT, 5, 1))
    assert host.log.counters["duplicates_dropped"] == 1


# When the log is asked


def test_live_samples_need_no_look_up():
    host = Host()
    for second in range(1, 50):
        host.samples(*((contract, 1.0, second) for contract in TEMPERATURES[:5]))
    assert host.enricher.identity.look_ups == 0


def test_history_that_falls_into_a_silence_needs_no_look_up():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 1.0, 3600))
    for second in range(2, 200):
        host.samples((TEMPERATURE, 2.0, second))
        host.samples((TEMPERATURE, 1.0, 3600 + second))
    assert host.enricher.identity.look_ups == 0
    host.samples((TEMPERATURE, 2.0, 100))
    assert host.enricher.identity.look_ups == 1
    assert host.log.counters["duplicates_dropped"] == 1


def test_a_rebirth_that_repeats_the_newest_sample_needs_no_look_up():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    host.samples((TEMPERATURE, 1.0, 1), origin="birth")
    assert host.enricher.identity.look_ups == 0
    host.restart()
    host.samples((TEMPERATURE, 1.0, 1), origin="birth")
    assert host.enricher.identity.look_ups == 1


def test_samples_of_the_plan_in_flight_are_known():
    host = Host()
    for value, second in ((1.0, 1), (1.0, 2), (1.0, 3)):
        host.enricher.receive_batch(batch((TEMPERATURE, value, second)), host.now_ns)
    in_flight = host.enricher.drain()
    host.enricher.receive_batch(batch((TEMPERATURE, 1.0, 1), (TEMPERATURE, 2.0, 2)), host.now_ns)
    host.log.apply(in_flight)
    host.enricher.committed()
    host.enricher.receive_batch(batch((TEMPERATURE, 2.0, 2), (TEMPERATURE, 1.0, 2, 0, 0)), host.now_ns)
    host.commit()
    assert [ordinals(host, s) for s in (1, 2, 3)] == [[(0, 1.0)], [(0, 1.0), (1, 2.0)], [(0, 1.0)]]


# Suspect stamps


LIMITS: dict[str, int | None] = {"past_max_ns": 3600 * 10**9, "future_max_ns": 5 * 10**9}


def test_a_stamp_out_of_its_limits_is_recorded_as_suspect_and_told_once():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 10), (COUNT, 1, 1), limits=LIMITS)
    host.samples((TEMPERATURE, 1.0, -4000), limits=LIMITS)
    samples = [s for tick in host.log.documents("/_data/") for s in tick["samples"]]
    assert [(s["metric"], s.get("clock_suspect", False)) for s in samples] == [
        ("temperature", True),
        ("batch/count", False),
        ("temperature", True),
    ]
    [event] = host.log.documents("/_event/reaction/line2/reactor4/clock")
    assert "check the source's clock" in event["what"]
    assert host.log.counters["clock_suspect"] == 2


def test_a_suspect_stamp_is_no_present_value():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1), limits=LIMITS)
    host.samples((TEMPERATURE, 9.0, 10), limits=LIMITS)
    messages = host.enricher.board.due(host.now_ns)
    assert next(m.payload for m in messages if m.topic.endswith("_pv/temperature")).count(b'"value":1.0') == 1


def test_limits_of_none_believe_every_stamp():
    host = Host()
    host.samples((TEMPERATURE, 1.0, -(10**9)), (COUNT, 1, 10**9))
    assert host.log.counters["clock_suspect"] == 0


def test_time_that_catches_up_with_suspect_stamps_meets_them_again():
    host = Host()
    host.samples((TEMPERATURE, 7.0, 20), limits=LIMITS)
    host.samples((TEMPERATURE, 8.0, 30), limits=LIMITS)
    for second in range(1, 40):
        host.samples(
            (TEMPERATURE, float(second), second),
            limits=LIMITS,
            provenance=provenance(received_at_ns=at(second)),
        )
    assert ordinals(host, 20) == [(0, 7.0), (1, 20.0)]
    assert ordinals(host, 30) == [(0, 8.0), (1, 30.0)]
    host.samples((TEMPERATURE, 7.0, 20), limits=LIMITS, provenance=provenance(received_at_ns=at(20)))
    assert host.log.counters["duplicates_dropped"] == 1
    before = host.enricher.identity.look_ups
    host.samples((TEMPERATURE, 1.0, 41), limits=LIMITS, provenance=provenance(received_at_ns=at(41)))
    assert host.enricher.identity.look_ups == before, "once past them, live samples need no look-up"


def test_more_suspect_stamps_than_are_remembered_cost_look_ups_and_nothing_else():
    host = Host()
    for second in range(300):
        host.samples((TEMPERATURE, 1.0, 100 + second), limits=LIMITS)
    for second in range(90, 420):
        host.samples((TEMPERATURE, 2.0, second), limits=LIMITS, provenance=provenance(received_at_ns=at(second)))
    assert ordinals(host, 150) == [(0, 1.0), (1, 2.0)]
    assert ordinals(host, 410) == [(0, 2.0)]


def test_a_stamp_that_no_calendar_has_is_rejected_and_kept():
    host = Host()
    given = batch((TEMPERATURE, 1.0, 1), (COUNT, 1, 1))
    given.times_ns[0] = 2**63
    host.enricher.receive_batch(given, host.now_ns)
    host.commit()
    host.enricher.receive_batch(given, host.now_ns)
    host.commit()
    counters = host.log.counters
    assert (counters["rejected"], counters["recorded"], counters["duplicates_dropped"]) == (1, 1, 2)
    assert counters["received_joined"] == 4
    [row] = host.log.unrecorded.values()
    assert row[7] == "out_of_range"


# Against a plain dictionary


@pytest.mark.parametrize("seed", range(40))
def test_any_mixture_of_payloads_gives_the_keys_that_the_rule_gives(seed: int):
    random_ = random.Random(seed)
    host = Host()
    expected: dict[tuple[str, int], dict[int, Any]] = {}
    now = 0
    for _ in range(120):
        samples: list[tuple[Any, ...]] = []
        now += random_.choice((0, 1, 1, 30))
        for _ in range(random_.randint(1, 4)):
            seconds = max(now - random_.choice((0, 0, 0, 1, 2, 5, 20, 60)) + random_.choice((0, 0, 0, 0, 9)), 0)
            ordinal = random_.choice((None, None, 0, 1))
            samples.append((random_.choice((TEMPERATURE, COUNT)), float(random_.randint(0, 2)), seconds, 0, ordinal))
        places: dict[tuple[str, int], int] = {}
        for contract, value, seconds, _, ordinal in samples:
            key = contract.name, at(seconds)
            place = places.get(key, 0)
            places[key] = place + 1
            start = place if ordinal is None else ordinal
            stored = expected.setdefault(key, {})
            while start in stored and stored[start] != value:
                start += 1
            stored[start] = value
        limits = None if random_.random() < 0.5 else LIMITS
        host.enricher.receive_batch(
            batch(*samples, provenance=provenance(received_at_ns=at(now))),
            host.now_ns,
            **({"past_max_ns": None, "future_max_ns": None} if limits is None else limits),
        )
        if random_.random() < 0.5:
            host.commit()
        if random_.random() < 0.1:
            host.commit()
            host.restart()
    host.commit()
    found: dict[tuple[str, int], dict[int, Any]] = {}
    for record in host.log.records():
        found.setdefault((record.metric, record.source_time_ns), {})[record.ordinal] = record.value
    assert found == expected


# Series


def test_a_retyped_metric_goes_on_under_another_series_and_the_same_keys():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    other = msgspec.structs.replace(TEMPERATURE, datatype=DataType.DOUBLE)
    host.samples((other, 2.0, 2))
    host.samples((other, 1.0, 1))
    host.restart()
    host.samples((TEMPERATURE, 3.0, 3))
    host.samples((other, 2.0, 2))
    host.samples((other, 4.0, 4))
    assert [row[3] for row in host.log.series.values()] == ["Float", "Double"]
    assert host.log.counters["duplicates_dropped"] == 2
    assert len(host.log.samples) == 4


def test_what_stood_at_the_newest_time_of_a_series_is_told_apart_as_before_when_another_type_came_between():
    """A backlog of the old type is sent again behind values of the new one: as a Float, a 2 is another content."""
    host = Host()
    old = msgspec.structs.replace(TEMPERATURE, datatype=DataType.INT32)
    host.samples((old, 2, 1))
    for samples in (((TEMPERATURE, 0.5, 0), (TEMPERATURE, 2.5, 2)), ((old, 2, 1),)):
        host.enricher.receive_batch(batch(*samples), host.now_ns, past_max_ns=None, future_max_ns=None)
    host.commit()
    assert host.log.counters["duplicates_dropped"] == 1
    assert [record.value for record in host.log.records()] == [0.5, 2, 2.5]


@pytest.mark.parametrize("seed", range(40))
def test_no_sample_is_recorded_twice_however_types_of_a_metric_alternate(seed: int):
    random_ = random.Random(seed)
    host = Host()
    in_type: dict[DataType, Any] = {
        DataType.INT32: lambda t: 2 * t,
        DataType.FLOAT: lambda t: t + 0.5,
        DataType.STRING: str,
    }
    sent: set[Any] = set()
    for step in range(100):
        datatype = random_.choice(tuple(in_type))
        contract = msgspec.structs.replace(TEMPERATURE, datatype=datatype)
        times = random_.sample(range(step // 2, step // 2 + 5), random_.randint(1, 4))
        samples = [(contract, in_type[datatype](time), time) for time in times]
        sent.update((at(time), value) for _, value, time in samples)
        host.enricher.receive_batch(batch(*samples), host.now_ns, past_max_ns=None, future_max_ns=None)
        if random_.random() < 0.4:
            host.commit()
        if random_.random() < 0.05:
            host.commit()
            host.restart()
    host.commit()
    found = [(record.source_time_ns, record.value) for record in host.log.records()]
    assert sorted(found, key=str) == sorted(sent, key=str)


def test_series_numbers_are_never_given_twice():
    host = Host(plant())
    host.samples((TEMPERATURE, 1.0, 1))
    host.restart()
    host.samples((COUNT, 1, 1))
    host.samples((PROGRAM, "81", 1), equipment="mill1")
    assert sorted(host.log.series) == [1, 2, 3]
