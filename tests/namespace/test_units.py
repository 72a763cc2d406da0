"""The table of units against the recommendation it is taken from."""

from __future__ import annotations

import csv
import unicodedata

import pytest

from tests.data import require_data
from uns.namespace.units import UNITS, code_of, symbol_of


def test_every_code_is_in_the_recommendation_with_its_symbol():
    path = require_data("opcua/UNECE_to_OPCUA.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        symbols = {row["UNECECode"]: row["DisplayName"] for row in csv.DictReader(file)}
    # Two symbols are ours: people write % and 1/min where the recommendation writes "% or pct" and "min⁻¹".
    # NFC: the ohm sign and the Greek letter are the same character.
    ours = {"P1": "%", "C94": "1/min"}
    for code, unit in UNITS.items():
        assert code in symbols, f"{code} is no code of Rec 20"
        assert unit.symbol == ours.get(code, unicodedata.normalize("NFC", symbols[code])), code


def test_symbols_are_for_people():
    assert symbol_of("CEL") == "°C"
    assert symbol_of(None) == symbol_of("C62") == ""
    assert symbol_of("XYZ") == "XYZ"


@pytest.mark.parametrize(
    ("written", "code"), [("°C", "CEL"), ("kWh", "KWH"), ("bar", "BAR"), ("EA", "C62"), ("KG", "KGM"), ("cel", "CEL")]
)
def test_what_people_write_finds_its_code(written, code):
    assert code_of(written) == code


def test_what_nobody_knows_finds_none():
    assert code_of("furlong") is None
