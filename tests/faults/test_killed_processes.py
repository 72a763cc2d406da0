"""Processes that die and connections that break under load lose nothing that was stored (issue: faults)."""

from __future__ import annotations

import msgspec
import pytest

from tests.faults.campaign import CAMPAIGNS, run_campaign, stopped_host

pytestmark = pytest.mark.integration

SEED = 20260603
TIMES = 5  # `python -m tests.reliability` does each 50 times


@pytest.mark.parametrize("name", list(CAMPAIGNS))
async def test_faults_in_a_row_lose_and_double_nothing(name, tmp_path):
    outcome = await run_campaign(CAMPAIGNS[name], tmp_path, times=TIMES, seed=SEED, wait_for_recovery=False)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.account.recorded > 500, "there was hardly any load"


async def test_a_stopped_host_loses_nothing(tmp_path):
    outcome = await run_campaign(stopped_host(5), tmp_path, times=1, seed=SEED)
    assert not outcome.faults, "\n".join(outcome.faults)


async def test_the_harness_notices_what_a_broker_drops(tmp_path):
    """With the broker's word in place of the host's, a dead host costs values: the oracle must say so."""
    campaign = CAMPAIGNS["host"]
    trusting = msgspec.structs.replace(campaign, options=msgspec.structs.replace(campaign.options, level="broker"))
    outcome = await run_campaign(trusting, tmp_path, times=1, seed=SEED)
    assert outcome.account.lost > 0
    assert outcome.account.comparison.missing
    assert outcome.faults
