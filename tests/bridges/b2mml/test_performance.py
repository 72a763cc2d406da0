"""What is written is valid against the official schemas, and says what the record says."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.bridges.b2mml.schemas import official_schema, problems
from tests.bridges.b2mml.strategies import responses
from tests.data import require_data
from uns.bridges.b2mml.mapping import response_id
from uns.bridges.b2mml.performance import canonical, write_performance
from uns.bridges.b2mml.responses import read_performance
from uns.context.records import (
    EquipmentActual,
    EquipmentLevel,
    Interval,
    JobResponse,
    MaterialActual,
    MaterialUse,
    QualitySummary,
    quantity,
)


def response(**fields) -> JobResponse:
    values: dict[str, Any] = {
        "response_id": "r-1",
        "job_order": "WO-10234/0010",
        "work_order": "WO-10234",
        "operation": "0010",
        "schedule": "S-7",
        "published_at": datetime(2026, 6, 3, 20, 0, tzinfo=UTC),
        "actual": Interval(
            start=datetime(2026, 6, 3, 19, 2, 11, tzinfo=UTC), end=datetime(2026, 6, 3, 19, 50, tzinfo=UTC)
        ),
        "material": "FG-77",
        "lot": "L-8891",
        "good": quantity("1250.5", "KG"),
        "scrap": quantity("12", "KG"),
        "machine_time": quantity("2869", "SEC"),
        "materials": (
            MaterialActual(
                material="RM-1",
                lot="0000417",
                use=MaterialUse.CONSUMED,
                quantity=quantity("600", "L"),
                basis="declared",
            ),
        ),
        "equipment": (EquipmentActual(equipment="reactor4", level=EquipmentLevel.UNIT),),
        "quality": (
            QualitySummary(
                metric="temperature",
                equipment="reactor4",
                level=EquipmentLevel.UNIT,
                unit="CEL",
                samples=2869,
                min=Decimal("61.5"),
                mean=Decimal("71.25"),
                max=Decimal(84),
                last=Decimal(70),
                out_of_range_s=Decimal("4.5"),
            ),
        ),
    }
    return JobResponse(**(values | fields))


@settings(max_examples=200, deadline=None)
@given(responses())
def test_every_response_comes_back_as_it_was(made: JobResponse):
    reading = read_performance(write_performance(made, sender="uns"))
    assert [str(finding) for finding in reading.findings if finding.severity == "error"] == []
    assert reading.responses == (canonical(made),)


def test_every_response_is_valid():
    schema = official_schema()

    @settings(max_examples=200, deadline=None)
    @given(responses())
    def check(made: JobResponse) -> None:
        assert problems(schema, write_performance(made, sender="uns", receiver="erp")) == []

    check()


def test_the_same_response_gives_the_same_bytes():
    assert write_performance(response(), sender="uns") == write_performance(response(), sender="uns")


def at(body: bytes, path: str) -> list[str]:
    """The texts (or attributes) at a path of a document."""
    names = {"b": "http://www.mesa.org/xml/B2MML"}
    found: Any = etree.fromstring(body).xpath(path, namespaces=names)
    return [str(item) if not hasattr(item, "text") else item.text or "" for item in found]


def test_a_response_says_state_times_quantities_lots_equipment_and_quality():
    body = write_performance(response(), sender="uns")
    assert problems(official_schema(), body) == []
    assert at(body, "//b:BODID") == ["r-1"]
    assert at(body, "//b:JobResponse/b:JobOrderID") == ["WO-10234/0010"]
    assert at(body, "//b:JobResponse/b:JobState") == ["Completed"]
    assert at(body, "//b:JobResponse/b:StartTime") == ["2026-06-03T19:02:11Z"]
    assert at(body, "//b:JobResponse/b:EndTime") == ["2026-06-03T19:50:00Z"]
    produced = "//b:MaterialActual[b:MaterialUse='Produced']"
    assert at(body, f"{produced}/b:MaterialLotID") == ["L-8891"]
    assert at(body, f"{produced}/b:Quantity/b:QuantityString") == ["1250.5"]
    assert at(body, f"{produced}/b:Quantity/b:UnitOfMeasure") == ["KG"]
    assert at(body, f"{produced}/b:Quantity/b:QuantityString/@unitCode") == ["KGM"]
    scrap = "//b:MaterialActual[b:MaterialUse/@OtherValue='Scrap']"
    assert at(body, f"{scrap}/b:Quantity/b:QuantityString") == ["12"]
    assert at(body, "//b:MaterialActual[b:MaterialUse='Consumed']/b:MaterialLotID") == ["0000417"]
    assert at(body, "//b:EquipmentActual/b:EquipmentID") == ["reactor4"]
    quality = "//b:JobResponseData[b:ID='temperature']/b:Value"
    assert at(body, f"{quality}[b:Key='mean']/b:ValueString") == ["71.25"]
    assert at(body, f"{quality}[b:Key='mean']/b:UnitOfMeasure") == ["CEL"]
    assert at(body, f"{quality}[b:Key='out_of_range']/b:ValueString") == ["4.5"]


def test_a_correction_names_what_it_reverses_and_gives_all_values_anew():
    body = write_performance(
        response(
            response_id="r-2",
            action="replace",
            reverses="r-1",
            revision=1,
            reason="late samples",
            good=quantity("9", "KG"),
        ),
        sender="uns",
    )
    assert problems(official_schema(), body) == []
    assert at(body, "//b:ActionExpression") == ["//JobResponse[ID='r-1']"]
    assert at(body, "//b:ActionExpression/@actionCode") == ["Replaced"]
    assert at(body, "//b:Sender/b:ReferenceID") == ["r-1"]
    assert at(body, "//b:ChangeStatus/b:Reason") == ["late samples"]
    assert at(body, "//b:BODID") == ["r-2"]
    assert at(body, "//b:JobResponse/b:Version") == ["1"]
    assert at(body, "//b:MaterialActual[b:MaterialUse='Produced']/b:Quantity/b:QuantityString") == ["9"]


def test_a_response_taken_back_reports_no_material():
    body = write_performance(
        response(response_id="r-2", action="delete", reverses="r-1", revision=1, materials=()), sender="uns"
    )
    assert problems(official_schema(), body) == []
    assert at(body, "//b:ActionExpression/@actionCode") == ["Delete"]
    assert at(body, "//b:MaterialActual") == []


def test_materials_that_say_what_was_produced_are_not_said_twice():
    lots = tuple(
        MaterialActual(material="FG-77", lot=lot, use=MaterialUse.PRODUCED, quantity=quantity(600, "KG"))
        for lot in ("L-1", "L-2")
    )
    body = write_performance(response(materials=lots, scrap=None), sender="uns")
    assert at(body, "//b:MaterialActual/b:MaterialLotID") == ["L-1", "L-2"]


def test_the_key_of_a_response_depends_on_job_and_revision_alone():
    first = response_id("WO-1/0010", 0)
    assert first == response_id("WO-1/0010", 0)
    assert (
        len({first, response_id("WO-1/0010", 1), response_id("WO-1/0020", 0), response_id("WO-1/0010", 0, site="x")})
        == 4
    )


def test_a_real_performance_of_2012_is_read_with_its_violation():
    file = require_data("b2mml/examples-v0401/PES-20121229115825-53107.xml")
    reading = read_performance(file.read_bytes(), file=file.name)
    assert [finding.rule for finding in reading.findings] == ["no-release-id"]
    (read,) = reading.responses
    assert (read.job_order, read.work_order) == ("53107/Weighing", "53107")
    assert read.published_at.isoformat() == "2012-11-29T10:58:25.314955+00:00"
    (consumed,) = read.materials
    assert (consumed.material, consumed.lot, consumed.sublot, consumed.use) == (
        "CRBN0001",
        "CRBN0001_LOT01",
        "430147330000056734",
        MaterialUse.CONSUMED,
    )
    assert consumed.quantity == quantity("0.41", "KG")


def test_a_performance_cut_anywhere_gives_nothing():
    body = write_performance(response(), sender="uns").rstrip()
    for length in range(len(body)):
        assert not read_performance(body[:length]).readable


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 6000), st.integers(0, 100))
def test_no_damage_raises(garbage: bytes, start: int, length: int):
    body = write_performance(response(), sender="uns")
    start %= len(body)
    read_performance(body[:start] + garbage + body[start + length :])
