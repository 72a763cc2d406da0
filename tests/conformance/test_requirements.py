"""The ledger of Sparkplug 3.0: every requirement is done, exempt or not met, and its tests carry its tck-id."""

from __future__ import annotations

import functools
import re
import subprocess
import sys

import msgspec

from tests.conformance.ledger import LEVEL_OF, PAGE, ROOT, Collected, load, page

LEDGER = load()
FILES = sorted({test.partition("::")[0] for entry in LEDGER.values() for test in entry.tests})


@functools.cache
def collected() -> Collected:
    """Of all files that the ledger names, once for the tests here."""
    command = [sys.executable, "-m", "tests.conformance.ledger", *FILES]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return msgspec.json.decode(result.stdout, type=Collected)


def test_every_requirement_has_one_verdict():
    assert len(LEDGER) == 299
    assert list(LEDGER) == sorted(LEDGER)
    assert LEDGER.keys() == LEVEL_OF.keys()
    for tck_id, entry in LEDGER.items():
        assert entry.verdict == "done" or len(entry.exempt or entry.not_met) > 10, tck_id
        assert sorted(set(entry.tests)) == list(entry.tests), tck_id


def test_the_tests_that_the_ledger_names_are_collected_and_carry_the_ids():
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [path for path in tests if re.search(r"pytest\.mark\.tck\(", path.read_text("utf-8"))]
    assert [str(path.relative_to(ROOT)) for path in marked] == FILES
    assert collected().marked == {tck_id: list(entry.tests) for tck_id, entry in LEDGER.items() if entry.tests}


def test_pytest_k_finds_the_tests_of_every_requirement():
    """An id that begins as another one, or has other capitals, finds the tests of both."""
    for tck_id, found in collected().by_keyword.items():
        alike = [entry.tests for other, entry in LEDGER.items() if tck_id.lower() in other.lower()]
        assert set(found) == {test for tests in alike for test in tests}, tck_id


def test_a_test_that_shows_what_is_not_met_says_so():
    for entry in LEDGER.values():
        assert all(test.partition("::")[2].startswith("test_not_met_") for test in entry.shown_by)
        assert not any("not_met" in test for test in entry.done)


def test_every_tck_id_that_the_sources_name_is_in_the_ledger():
    for file in (ROOT / "uns").rglob("*.py"):
        # an id with a * or a trailing - stands for a family
        for found in re.findall(r"tck-id-[A-Za-z0-9-]+", file.read_text(encoding="utf-8")):
            family = found.rstrip("-")
            assert any(tck_id.startswith(family) for tck_id in LEDGER), f"{file}: {found}"


def test_the_page_is_made_of_the_ledger():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.conformance.ledger --write"
