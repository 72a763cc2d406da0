"""Schedules become job definitions; what is wrong with them is a finding that says what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bridges.b2mml.builders import CREATED, RECEIVED, V0401, V0600, job, options, read, request, rules, schedule
from tests.bridges.b2mml.schemas import official_schema, problems
from tests.data import require_data
from tests.enrichment.builders import plant
from uns.bridges.b2mml.document import Limits
from uns.bridges.b2mml.schedule import read_schedule
from uns.bridges.b2mml.values import FINDINGS_OF_A_RULE_MAX
from uns.context.claims import rev_key
from uns.context.records import DispatchStatus, MaterialUse, RequestState
from uns.context.store import ContextStore

LATER = "2026-06-03T12:30:00Z"


# -- what is read


def test_the_documents_of_these_tests_are_valid():
    assert problems(official_schema(), schedule()) == []
    assert problems(official_schema(), schedule(verb="Process")) == []


def test_an_order_becomes_a_definition_with_everything_it_says():
    reading = read(schedule())
    assert reading.findings == ()
    assert (reading.version, reading.verb, reading.bod_id, reading.sender) == ("V0701", "Sync", "b-1", "erp-1")
    (fact,) = reading.facts
    assert fact.kind == "job"
    assert (fact.id, fact.job_order, fact.work_order, fact.operation) == ("WO-1|WO-1/0010", "WO-1/0010", "WO-1", "0010")
    assert (fact.equipment, fact.recipe, fact.state, fact.source, fact.by) == (
        "reactor4",
        "RCP-7@3",
        "pending",
        "erp",
        "erp-1",
    )
    assert (fact.valid_from.isoformat(), fact.valid_to) == (
        "2026-06-03T19:00:00+00:00",
        datetime(2026, 6, 3, 23, tzinfo=UTC),
    )
    record = reading.definitions[0].job_order
    assert record.quantity is not None
    assert (record.quantity.value, record.quantity.unit, record.quantity.unit_as_received) == (
        Decimal("1250.500"),
        "KGM",
        "KG",
    )
    assert (record.material, record.schedule, record.priority) == ("FG-77", "S-7", Decimal(5))
    assert (record.parameters[0].id, record.parameters[0].value, record.parameters[0].unit) == ("Speed", "71.5", "RPM")
    (work_order,) = reading.work_orders
    assert (work_order.work_order, work_order.material, work_order.quantity) == ("WO-1", "FG-77", record.quantity)


def test_the_host_takes_what_is_read_and_nothing_of_it_runs():
    store = ContextStore(plant())
    for fact in read(schedule()).facts:
        answer, change = store.receive(fact, now_ns=1)
        assert answer.accepted, answer.reason
        assert change is not None
        assert change.windows == ()
    assert store.definition("reactor4", "RCP-7", 1_780_513_200_000_000_000) is not None


@pytest.mark.parametrize("status", ["Running", "Held", "Completed", "Aborted", "Closed", "Suspended", "Other"])
def test_planned_is_not_actual(status: str):
    reading = read(schedule(request(job(status=status))))
    assert reading.facts[0].state == "released"
    assert reading.definitions[0].job_order.status == DispatchStatus(status)
    assert rules(reading, "warning") == ["planned-is-not-actual"]
    assert rules(reading) == []


def test_a_quantity_below_zero_is_kept_and_said():
    reading = read(schedule(request(job(quantity="-5"), job("b", quantity="0"))))
    assert (len(reading.facts), rules(reading), rules(reading, "warning")) == (2, [], ["negative-quantity"])
    (finding,) = reading.findings
    assert finding.text == "-5 of 'FG-77' is less than nothing; it is kept as it stands"
    assert finding.line > 1
    assert reading.definitions[0].job_order.quantity is not None
    assert reading.definitions[0].job_order.quantity.value == -5


def test_the_state_of_the_request_counts_where_the_job_has_none():
    body = schedule(request(job().replace("<DispatchStatus>Pending</DispatchStatus>", ""))).replace(
        b"<ID>WO-1</ID>", b"<ID>WO-1</ID><RequestState>Forecast</RequestState>"
    )
    reading = read(body)
    assert reading.facts[0].state == "forecast"
    assert reading.work_orders[0].state is RequestState.FORECAST


@pytest.mark.parametrize(
    "body",
    [
        schedule(verb="Cancel"),
        schedule(action='<ActionCriteria><ActionExpression actionCode="Delete">/</ActionExpression></ActionCriteria>'),
        schedule(request(job(status="Cancelled"))),
    ],
)
def test_a_cancelled_order_is_a_definition_no_more(body: bytes):
    assert read(body).facts[0].state == "cancelled"


def test_leading_zeros_stay():
    reading = read(schedule(request(job("0000417-0010"), work_order="0000417")))
    assert (reading.facts[0].job_order, reading.facts[0].work_order) == ("0000417-0010", "0000417")


def test_the_later_message_counts_whenever_it_comes():
    first, second = read(schedule()).facts[0], read(schedule(created=LATER)).facts[0]
    assert first.id == second.id
    assert rev_key(second.source_rev) > rev_key(first.source_rev)
    assert read(schedule()).facts[0] == first


def test_an_undated_document_is_ordered_by_its_arrival():
    reading = read(schedule(created=""))
    assert reading.facts[0].source_rev == str(int(RECEIVED.timestamp() * 1_000_000))
    assert rules(read(schedule(created=""), received_at=None)) == ["undated", "undated"]
    dated = read(schedule(created="", header=f"<PublishedDate>{CREATED}</PublishedDate>"), received_at=None)
    assert dated.facts[0].source_rev == read(schedule()).facts[0].source_rev


def test_a_document_from_the_future_is_refused():
    reading = read(schedule(created="2026-06-09T12:00:00Z"))
    assert (reading.readable, rules(reading)) == (False, ["from-the-future"])


def test_times_without_a_zone_are_read_in_that_of_the_site_and_that_is_said():
    reading = read(schedule(request(job(start="2026-06-03T14:00:00"))))
    assert reading.facts[0].valid_from == datetime(2026, 6, 3, 19, tzinfo=UTC)
    assert rules(reading, "warning") == ["naive-time"]
    assert "America/Chicago" in reading.findings[0].text
    told = read(schedule(request(job(start="2026-06-03T14:00:00"))), zone="Europe/Berlin")
    assert told.facts[0].valid_from == datetime(2026, 6, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(("start", "words"), [("2026-03-08T02:30:00", "skipped"), ("2026-11-01T01:30:00", "twice")])
def test_a_time_that_the_clocks_skipped_or_showed_twice_is_named(start: str, words: str):
    reading = read(schedule(request(job(start=start, end="2026-12-01T00:00:00Z"))))
    assert words in reading.findings[0].text


# -- equipment


def test_several_equipment_make_a_job_of_what_they_stand_in():
    two = job().replace(
        "<EquipmentID>reactor4</EquipmentID>", "<EquipmentID>reactor4</EquipmentID><EquipmentID>reactor5</EquipmentID>"
    )
    reading = read(schedule(request(two)))
    assert reading.facts[0].equipment == "line2"
    assert reading.definitions[0].job_order.equipment == ("reactor4", "reactor5")


def test_the_scope_counts_where_no_equipment_is_required():
    scope = (
        "<HierarchyScope><EquipmentID>dallas</EquipmentID><EquipmentLevel>Site</EquipmentLevel><HierarchyScopeChild>"
        "<EquipmentID>line2</EquipmentID><EquipmentLevel>ProcessCell</EquipmentLevel></HierarchyScopeChild>"
        "</HierarchyScope>"
    )
    plain = job(after_times=scope).replace("<EquipmentID>reactor4</EquipmentID>", "")
    body = schedule(request(plain))
    assert problems(official_schema(), body) == []
    assert read(body).facts[0].equipment == "line2"


def test_the_senders_own_codes_are_translated():
    assert read(schedule(request(job(equipment="WC-4711"))), equipment={"WC-4711": "mill1"}).facts[0].equipment == (
        "mill1"
    )


def test_equipment_that_is_none_of_ours_is_passed_over_where_that_is_said():
    reading = read(schedule(request(job(equipment="TOOL-9"))), equipment={"TOOL-9": ""}, default_equipment="line2")
    assert reading.facts[0].equipment == "line2"


def test_unknown_equipment_refuses_its_order_and_no_other():
    reading = read(schedule(request(job("a", equipment="reactr4"), job("b"))))
    assert [fact.job_order for fact in reading.facts] == ["b"]
    assert (reading.refused_orders, rules(reading)) == (1, ["unknown-equipment"])
    assert "did you mean 'reactor4'?" in reading.findings[0].next_step


def test_unknown_material_refuses_its_order_and_no_other():
    reading = read(schedule(request(job("a", material="XX"), job("b"))), materials={"FG-77"})
    assert [fact.job_order for fact in reading.facts] == ["b"]
    assert rules(reading) == ["unknown-material"]


# -- broken orders


def test_an_order_that_stands_twice_is_taken_once():
    reading = read(schedule(request(job(), job())))
    assert len(reading.facts) == 1
    assert (rules(reading), rules(reading, "warning")) == ([], ["duplicate-order"])


def test_an_order_that_contradicts_itself_is_not_taken():
    reading = read(schedule(request(job(), job(quantity="7"), job("b"))))
    assert [fact.job_order for fact in reading.facts] == ["b"]
    assert rules(reading) == ["contradicting-order"]


def test_job_ids_that_repeat_from_order_to_order_are_refused_unless_they_are_qualified():
    body = schedule(request(job("0010"), work_order="A"), request(job("0010"), work_order="B"))
    reading = read(body)
    assert (reading.facts, rules(reading)) == ((), ["job-id-not-unique"])
    assert [fact.job_order for fact in read(body, qualify_jobs=True).facts] == ["A/0010", "B/0010"]


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (job(""), "no-id"),
        (job(quantity="1.250,5"), "not-a-decimal"),
        (job(quantity="NaN"), "not-a-decimal"),
        (job(quantity="1e400"), "value"),
        (job(start="yesterday"), "not-a-time"),
        (job(start="2026-02-30T00:00:00Z"), "not-a-time"),
        (job("x" * 257), "too-long"),
        (job(more="", equipment=""), "no-equipment"),
    ],
)
def test_a_broken_order_is_named_with_what_to_do_and_the_others_are_taken(order: str, rule: str):
    reading = read(schedule(request(order, job("good"))))
    assert [fact.job_order for fact in reading.facts] == ["good"]
    assert rule in rules(reading)
    assert all(finding.next_step and finding.line > 1 for finding in reading.findings)


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (job(unit="XPX"), "unknown-unit"),
        (job(status="REL"), "unknown-word"),
        (job(end="2026-06-03T10:00:00Z"), "ends-before-start"),
        (job(more="<Command>Start</Command>"), "command"),
    ],
)
def test_what_is_odd_is_reported_and_read(order: str, rule: str):
    reading = read(schedule(request(order)))
    assert len(reading.facts) == 1
    assert (rules(reading), rules(reading, "warning")) == ([], [rule])


def test_a_missing_release_id_is_a_violation_and_no_hindrance():
    reading = read(schedule(released=""))
    assert (len(reading.facts), rules(reading, "warning")) == (1, ["no-release-id"])


def test_many_findings_of_a_rule_are_counted():
    reading = read(schedule(request(*(job(f"j{n}", equipment="nowhere") for n in range(100)))))
    assert len(reading.findings) == FINDINGS_OF_A_RULE_MAX + 1
    assert "80 more" in str(reading.findings[-1])


# -- documents that cannot be read


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "xml"),
        (b"order 4711, please", "xml"),
        (schedule()[:-30], "xml"),
        (schedule() + b"<more/>", "xml"),
        (schedule().replace(b'xmlns="http://www.mesa.org/xml/B2MML"', b""), "namespace"),
        (schedule().replace(b"xml/B2MML", b"xml/B2MML-V9"), "namespace"),
        (schedule().replace(b"WorkSchedule", b"WorkPerformance"), "wrong-root"),
        (schedule(verb="Get"), "wrong-verb"),
        (schedule(verb="Show"), "wrong-verb"),
        (schedule().replace(b"?>", b'?><!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'), "doctype"),
        ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"), "doctype"),
        (b'<?xml version="1.0" encoding="UTF-7"?><a/>', "encoding"),
        (schedule(request("<A>" * 100 + "</A>" * 100)), "too-deep"),
        (schedule(request("<A>" * 100_000)), "too-deep"),
        (schedule(request(job(more="<A/>" * 60_000))), "too-many-elements"),
        (schedule(request(job(more='<A a="1" b="2"/>' * 20_000))), "too-many-elements"),
        (schedule(request(job(more="<A " + " ".join(f'a{n}=""' for n in range(300_000)) + "/>"))), "too-large"),
        (schedule(request(job(more="<!--" + "x" * 3_000_000 + "-->"))), "too-large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_that_cannot_be_read_gives_nothing_but_a_finding(body: bytes, rule: str):
    reading = read(body)
    assert (reading.readable, reading.facts, rules(reading)) == (False, (), [rule])
    assert reading.findings[0].next_step


def test_the_bounds_hold():
    assert rules(read(schedule(), limits=Limits(body_bytes_max=100))) == ["too-large"]
    assert rules(read(schedule(request(job("a"), job("b"))), limits=Limits(orders_max=1))) == ["too-many-orders"]


def test_many_orders_are_not_alive_at_once():
    body = schedule(*(request(job(f"j{n}"), work_order=f"w{n}") for n in range(3000)))
    assert len(read(body, limits=Limits(live_elements_max=200)).facts) == 3000


def test_many_jobs_of_one_order_are_not_alive_at_once():
    body = schedule(request(*(job(f"j{n}") for n in range(3000))))
    assert len(read(body, limits=Limits(live_elements_max=200)).facts) == 3000


def test_a_document_cut_anywhere_gives_nothing():
    body = schedule(request(job("a"), job("b")))
    for length in range(len(body)):
        reading = read(body[:length])
        assert not reading.readable
        assert reading.findings


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 300))
def test_no_damage_raises(garbage: bytes, at: int, length: int):
    body = schedule()
    at %= len(body)
    read(body[:at] + garbage + body[at + length :])
    read(garbage)


# -- other versions


def test_v0600_is_read_as_v0701_is():
    reading = read(schedule(namespace=V0600))
    assert (reading.version, reading.findings) == ("V0600", ())
    assert reading.facts == read(schedule()).facts


def segments(inner: str, namespace: str = V0401, noun: str = "Production") -> bytes:
    return (
        f'<Sync{noun}Schedule releaseID="" xmlns="{namespace}"><ApplicationArea><CreationDateTime>{CREATED}'
        f"</CreationDateTime></ApplicationArea><DataArea><Sync/><{noun}Schedule><{noun}Request><ID>00258456</ID>"
        f"{inner}</{noun}Request></{noun}Schedule></DataArea></Sync{noun}Schedule>"
    ).encode()


SEGMENT = (
    "<SegmentRequirement><ID>0010</ID><EarliestStartTime>2026-06-03T19:00:00Z</EarliestStartTime>"
    "<EquipmentRequirement><EquipmentID>reactor4</EquipmentID></EquipmentRequirement>"
    "<MaterialProducedRequirement><MaterialDefinitionID>FG</MaterialDefinitionID><Quantity><QuantityString>3"
    "</QuantityString><UnitOfMeasure>ST</UnitOfMeasure></Quantity></MaterialProducedRequirement>"
    "<SegmentRequirement><ID>0020</ID><EquipmentRequirement><EquipmentID>reactor5</EquipmentID></EquipmentRequirement>"
    "</SegmentRequirement></SegmentRequirement>"
)


@pytest.mark.parametrize(("namespace", "noun"), [(V0401, "Production"), (V0600, "Production"), (V0600, "Operations")])
def test_segments_are_jobs_of_their_order(namespace: str, noun: str):
    reading = read(segments(SEGMENT + "<RequestState>Released</RequestState>", namespace, noun))
    assert reading.findings == ()
    assert [(fact.job_order, fact.operation, fact.equipment) for fact in reading.facts] == [
        ("00258456/0010", "0010", "reactor4"),
        ("00258456/0010/0020", "0010/0020", "reactor5"),
    ]
    record = reading.definitions[0].job_order
    assert record.materials[0].use is MaterialUse.PRODUCED
    assert record.quantity is not None
    assert record.quantity.unit == "C62"
    assert reading.facts[0].state == "released"


def test_a_request_without_segments_is_a_job_itself():
    reading = read(segments(""), default_equipment="line2")
    assert (reading.facts[0].job_order, reading.facts[0].operation) == ("00258456", None)


def test_a_real_order_of_2012_is_read():
    file = require_data("b2mml/examples-v0401/PRO-20121210181416-27942.xml")
    reading = read_schedule(file.read_bytes(), options(default_equipment="line2"), file=file.name)
    assert (reading.readable, reading.findings, reading.version) == (True, (), "V0401")
    (definition,) = reading.definitions
    assert (definition.fact.job_order, definition.fact.operation, definition.line) == ("258456/0010", "0010", 14)
    record = definition.job_order
    assert (record.material, record.quantity and record.quantity.value) == ("SO1215", Decimal("1.000"))
    assert [m.sublot for m in record.materials if m.sublot] == ["412345670000003212", "412345670021003212"]
    assert [m.location for m in record.materials if m.location] == ["BOX3", "BOX1", "BOX3", "BOX4"]


@pytest.mark.parametrize(
    "name", ["INV-20121210175555-0001L0001_01", "LOT-20121210170718-0001L0001", "PES-20121229115825-53107"]
)
def test_real_documents_that_are_no_orders_are_named(name: str):
    file = require_data(f"b2mml/examples-v0401/{name}.xml")
    assert rules(read(file.read_bytes())) == ["wrong-root"]
