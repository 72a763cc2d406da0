"""Each requirement that the ledger calls done: its tests fail where the product breaks it.

``FAULTS`` plants one fault after the other (a message otherwise on the wire, a refusal that does not come, a message
that is passed over) and runs the tests that the ledger names. A requirement without a fault fails here, and so does a
test that none of the faults of its requirement can make fail.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.conformance import faults_edge, faults_host, faults_payloads, faults_served
from tests.conformance.ledger import load
from tests.conformance.planting import Fault, failure, failure_served, runs_here
from tests.servers import mosquitto

LEDGER = load()
DONE = {tck_id: entry.done for tck_id, entry in LEDGER.items() if entry.done}
HERE = {test for tests in DONE.values() for test in tests if runs_here(test)}
FAULTS: dict[str, list[Fault]] = defaultdict(list)
for _fault in (*faults_edge.FAULTS, *faults_host.FAULTS, *faults_payloads.FAULTS):
    for _tck_id in _fault.tck_ids:
        FAULTS[_tck_id].append(_fault)
SERVED: dict[str, list[Fault]] = defaultdict(list)
for _fault in faults_served.FAULTS:
    for _tck_id in _fault.tck_ids:
        SERVED[_tck_id].append(_fault)


def name_of(test: str) -> str:
    return test.partition("::")[2]


def test_every_requirement_that_is_done_has_a_fault():
    assert FAULTS.keys() | SERVED.keys() == DONE.keys()


@pytest.mark.parametrize("test", sorted(HERE), ids=name_of)
def test_without_a_fault_it_passes(test, tmp_path):
    assert failure(test, tmp_path) == ""


@pytest.mark.parametrize("tck_id", sorted(FAULTS))
def test_a_fault_is_seen(tck_id, tmp_path):
    unseen = [test for test in DONE[tck_id] if test in HERE]
    assert unseen, "none of its tests runs without servers: plant the fault in faults_served"
    waiting = set(unseen)
    for number, fault in enumerate(FAULTS[tck_id]):
        seen = set()
        for test in unseen:
            directory = tmp_path / f"{number}-{unseen.index(test)}"
            directory.mkdir()
            with pytest.MonkeyPatch.context() as monkeypatch:
                fault.plant(monkeypatch)
                if failure(test, directory):
                    seen.add(test)
        assert seen, f"fault {number} of {tck_id} is seen by none of {unseen}"
        waiting -= seen
    assert not waiting, "no fault makes them fail"


@pytest.mark.integration
@pytest.mark.parametrize(
    "tck_id",
    [pytest.param(name, marks=pytest.mark.long) if name == faults_served.LONG else name for name in sorted(SERVED)],
)
async def test_a_fault_is_seen_with_servers(tck_id, tmp_path):
    for number, fault in enumerate(SERVED[tck_id]):
        seen = []
        for test in DONE[tck_id]:
            if test not in HERE and test not in faults_served.SLOW:
                directory = Path(tmp_path / str(number))
                directory.mkdir(exist_ok=True)
                with pytest.MonkeyPatch.context() as monkeypatch:
                    fault.plant(monkeypatch)
                    seen.append(await failure_served(test, directory))
        assert any(seen), f"fault {number} of {tck_id}"


@pytest.mark.integration
@pytest.mark.parametrize("test", sorted({test for entry in LEDGER.values() for test in entry.shown_by}), ids=name_of)
async def test_what_is_not_met_is_met_by_a_compliant_broker(test, tmp_path):
    """The tests that show what the embedded broker breaks find nothing of it where the rule is kept."""
    with mosquitto(tmp_path) as broker:
        assert await failure_served(test, tmp_path, broker=broker)
