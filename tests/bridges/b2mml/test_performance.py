"""What is written is valid against the official schemas, and says what the record says."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings

from tests.bridges.b2mml.schemas import official_schema, problems
from tests.bridges.b2mml.strategies import responses
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
    values = {
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
                max=Decimal("84"),
                last=Decimal("70"),
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
