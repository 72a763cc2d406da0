"""Every checker can fail: each promise is broken once, and its checker fires."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation import final
from tests.simulation.checkers import CHECKERS, BrokenPromiseError
from tests.simulation.plants import PLANTED
from tests.simulation.run import Simulation
from tests.simulation.session_checkers import HostViewChecker
from tests.simulation.world import BusyLoopError
from uns.errors import LocalProtocolError

REQUIREMENTS_REACHED = 150  # of 299: what shows on the wire, or at a host, while things go wrong


@pytest.mark.parametrize(("plant", "checker"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_broken_promise_is_noticed(plant, checker, monkeypatch):
    plant(monkeypatch)
    others = set()
    for seed in range(10_000, 10_150):
        try:
            Simulation(seed).run()
        except (BrokenPromiseError, BusyLoopError) as error:
            if error.checker == checker:
                return
            others.add(error.checker)
        except LocalProtocolError as error:
            others.add(str(error))
    pytest.fail(f"{checker} did not fire in 150 seeds; others did: {others}")


def test_checkers_name_requirements_that_there_are():
    ledger = (Path(__file__).parents[1] / "conformance" / "requirements.yaml").read_text()
    known = {line[:-1] for line in ledger.splitlines() if line.startswith("tck-id-")}
    named = set(HostViewChecker.tck_ids).union(*(checker.tck_ids for checker in CHECKERS))
    assert named - known == set()
    assert len(named) >= REQUIREMENTS_REACHED


def test_every_checker_is_planted():
    names = {checker.__name__ for checker in (*CHECKERS, HostViewChecker)} | {check.__name__ for check in final.CHECKS}
    assert names - {checker for _, checker in PLANTED} == set()
