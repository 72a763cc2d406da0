"""The sentence of the README, from a record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from uns.runtime.sentence import equipment_name, local_time, sentence


def time_ns(text: str) -> int:
    moment = datetime.fromisoformat(text)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


def said(**changes: Any) -> str:
    fields: dict[str, Any] = {
        "value": 182.0, "unit": "CEL", "equipment": "reactor4", "work_order": "WO-10234", "lots": ["L-8891"],
        "time_ns": time_ns("2026-06-03T19:32:00.125+00:00"), "time_zone": "America/Chicago",
    }  # fmt: skip
    return sentence(**{**fields, **changes})


def test_the_sentence() -> None:
    assert said() == (
        "182.0 °C was read on Reactor 4, during Work Order WO-10234, producing Lot L-8891, "
        "at 14:32:00.125 \u221205:00 on 3 June."
    )


def test_time_is_the_sites_own_with_its_offset_of_that_day() -> None:
    assert local_time(time_ns("2026-01-31T23:30:00+00:00"), "Europe/Berlin") == ("00:30:00.000 +01:00", "1 February")
    assert local_time(time_ns("2026-07-31T23:30:00+00:00"), "Asia/Kolkata") == ("05:00:00.000 +05:30", "1 August")


def test_without_a_lot_it_does_not_speak_of_one() -> None:
    assert "producing" not in said(lots=[])


def test_a_value_without_unit_stands_alone() -> None:
    assert said(value=41, unit="C62").startswith("41 was read")


def test_an_unknown_unit_is_shown_as_it_is() -> None:
    assert said(unit="ZZZ").startswith("182.0 ZZZ was")


@pytest.mark.parametrize(
    ("equipment", "name"),
    [("reactor4", "Reactor 4"), ("mill1", "Mill 1"), ("Mazak03", "Mazak 03"), ("oven", "Oven"), ("7", "7")],
)
def test_equipment_is_named_as_people_say_it(equipment: str, name: str) -> None:
    assert equipment_name(equipment) == name
