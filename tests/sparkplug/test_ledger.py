"""The ledger of Sparkplug 3.0: every requirement by its tck-id is done (which test), exempt (why) or open (why)."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from uns.adapters.mqtt import MqttConnection

TESTS = Path(__file__).parents[1]
ROWS = [line.split("\t") for line in (Path(__file__).parent / "ledger.tsv").read_text().splitlines()]


def test_every_requirement_has_one_verdict():
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids)) == 299
    assert ids == sorted(ids)
    assert {row[1] for row in ROWS} == {"done", "exempt", "open"}
    assert all(re.fullmatch(r"tck-id-[A-Za-z0-9-]+", row[0]) and len(row[2]) > 10 for row in ROWS)


def test_every_test_that_the_ledger_names_exists():
    for tck_id, verdict, where in ROWS:
        if verdict != "done":
            continue
        module, _, test = where.partition("::")
        file = TESTS / f"{module}.py"
        assert file.is_file(), f"{tck_id}: {file} is gone"
        assert re.search(rf"^(async )?def {test}\(", file.read_text(), re.MULTILINE), f"{tck_id}: {where} is gone"


def test_every_tck_id_that_the_sources_name_is_in_the_ledger():
    known = {row[0] for row in ROWS}
    for file in (TESTS.parent / "uns").rglob("*.py"):
        # an id with a * or a trailing - stands for a family
        for found in re.findall(r"tck-id-[A-Za-z0-9-]+", file.read_text()):
            family = found.rstrip("-")
            assert any(tck_id.startswith(family) for tck_id in known), f"{file}: {found}"


def test_connections_are_clean_by_default():
    assert inspect.signature(MqttConnection).parameters["clean_session"].default is True
