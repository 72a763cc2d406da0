"""A bridge that is killed at any moment loses nothing and does nothing twice in the target's own books."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.mes_day import bridge_killed

pytestmark = pytest.mark.integration

SEED = 20260603


@pytest.mark.timeout(180)
@pytest.mark.parametrize("times", [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_a_b2mml_bridge_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, times: int) -> None:
    outcome = await bridge_killed(tmp_path, times=times, seed=SEED)
    assert outcome.faults == []
    assert (outcome.lost, outcome.twice) == (0, 0)
    assert outcome.kills == times
