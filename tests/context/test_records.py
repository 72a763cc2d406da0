"""Records of ISA-95: texts keep their zeros, decimals their digits and units, times their zone."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from schemas.json_schemas import DOCUMENTS, PARTS, schema_text
from tests.bridges.b2mml.strategies import responses
from tests.enrichment.test_schemas import fits
from uns.context.records import (
    DECIMAL_DIGITS_MAX,
    RECORD_TEXT_CHARACTERS_MAX,
    Disposition,
    EquipmentPlacement,
    Interval,
    JobOrder,
    JobResponse,
    Lot,
    MaterialActual,
    MaterialUse,
    Person,
    PersonAssignment,
    Quantity,
    Shift,
    WorkOrder,
    normal_unit,
    quantity,
)

NOON = datetime(2026, 6, 3, 12, tzinfo=UTC)
DAY = Interval(start=NOON, end=datetime(2026, 6, 4, 12, tzinfo=UTC))

RECORDS: list[tuple[str, msgspec.Struct]] = [
    ("work_order", WorkOrder(work_order="0000417", quantity=quantity("1.50", "KG"), planned=DAY)),
    ("job_order", JobOrder(job_order="0000417/0010", operation="0010", equipment=("reactor4",))),
    ("job_response", JobResponse(response_id="r-1", job_order="0010", published_at=NOON, actual=DAY)),
    ("lot", Lot(lot="0000001", material="FG", disposition=Disposition.RESTRICTED, expires_at=NOON)),
    ("material_actual", MaterialActual(material="RM", use=MaterialUse.BY_PRODUCT_PRODUCED)),
    ("equipment_placement", EquipmentPlacement(equipment="reactor4", path=("acme", "dallas"), valid=DAY)),
    ("shift", Shift(shift="B", equipment="line2", interval=DAY, time_zone="America/Chicago")),
    ("person", Person(person="op-17", roles=("operator",))),
    ("person_assignment", PersonAssignment(person="op-17", equipment="line2", interval=DAY)),
]


@pytest.mark.parametrize(("name", "record"), RECORDS, ids=[name for name, _ in RECORDS])
def test_a_record_fits_its_schema_and_comes_back(name: str, record: msgspec.Struct):
    import json

    schema = json.loads(schema_text(name))
    encoded = msgspec.json.encode(record)
    assert fits(json.loads(encoded), schema, schema) == []
    assert msgspec.json.decode(encoded, type=(DOCUMENTS | PARTS)[name][1]) == record


@settings(max_examples=100, deadline=None)
@given(responses())
def test_every_response_comes_back_from_json(response: JobResponse):
    assert msgspec.json.decode(msgspec.json.encode(response), type=JobResponse) == response


@pytest.mark.parametrize(
    ("received", "code"),
    [
        ("KG", "KGM"),
        ("kg", "KGM"),
        ("KGM", "KGM"),
        ("EA", "C62"),
        ("PC", "C62"),
        ("ST", "C62"),
        ("L", "LTR"),
        ("H", "HUR"),
        ("STD", "HUR"),
        ("MIN", "MIN"),
        ("TO", "TNE"),
        ("M2", "MTK"),
        ("%", "P1"),
        ("\u00b0C", "CEL"),
        ("", ""),
        ("PAL7", ""),
        ("TON", ""),
    ],
)
def test_the_units_of_erp_systems_are_made_normal(received: str, code: str):
    assert normal_unit(received) == code


def test_a_quantity_keeps_its_digits_and_the_unit_as_received():
    made = quantity("1250.500", "ST")
    assert msgspec.json.encode(made) == b'{"value":"1250.500","unit":"C62","unit_as_received":"ST"}'


def test_a_number_is_no_identifier():
    with pytest.raises(msgspec.ValidationError, match="Expected `str`"):
        msgspec.json.decode(b'{"schema":"uns1.lot/1","lot":10,"material":"FG"}', type=Lot)


BROKEN: list[tuple[type[msgspec.Struct], dict[str, Any], str]] = [
    (Lot, {"lot": "L", "material": "FG", "made_at": datetime(2026, 6, 3)}, "has no zone"),
    (Lot, {"lot": "L", "material": "FG", "made_at": datetime(1500, 1, 1, tzinfo=UTC)}, "1678 to 2261"),
    (Lot, {"lot": "", "material": "FG"}, "is empty"),
    (Lot, {"lot": "L", "material": "FG", "location": ""}, "is empty"),
    (Lot, {"lot": " L", "material": "FG"}, "blank"),
    (Lot, {"lot": "L\n1", "material": "FG"}, "unprintable"),
    (Lot, {"lot": "L\ud800", "material": "FG"}, "unprintable"),
    (Lot, {"lot": "L" * (RECORD_TEXT_CHARACTERS_MAX + 1), "material": "FG"}, "at most"),
    (Quantity, {"value": Decimal("NaN")}, "finite"),
    (Quantity, {"value": Decimal("Infinity")}, "finite"),
    (Quantity, {"value": Decimal(f"1e{DECIMAL_DIGITS_MAX}")}, "round it"),
    (Quantity, {"value": Decimal(f"1e-{DECIMAL_DIGITS_MAX + 1}")}, "round it"),
    (Interval, {"start": DAY.end, "end": DAY.start}, "before it starts"),
    (JobResponse, {"response_id": "a b", "job_order": "j", "published_at": NOON}, "no key"),
    (JobResponse, {"response_id": "r", "job_order": "j", "published_at": NOON, "reverses": "q"}, "reverses"),
    (JobResponse, {"response_id": "r", "job_order": "j", "published_at": NOON, "action": "replace"}, "reverses"),
    (EquipmentPlacement, {"equipment": "e", "path": ("a", " b"), "valid": DAY}, "blank"),
]


@pytest.mark.parametrize(("record", "fields", "word"), BROKEN, ids=[word for _, _, word in BROKEN])
def test_a_record_that_cannot_be_is_not_made(record: type[msgspec.Struct], fields: dict[str, Any], word: str):
    with pytest.raises(ValueError, match=word):
        record(**fields)
