"""Processes that die and connections that break under load lose nothing that was stored (issue: faults)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.faults.campaign import CAMPAIGNS, run_campaign, stopped_host

pytestmark = pytest.mark.integration

SEED = 20260603
TIMES = 5  # `python -m tests.reliability` does each 50 times


SIDE_BY_SIDE = {  # each on a plant of its own; they mostly wait, so several fit on two cores
    "killed": [CAMPAIGNS[name] for name in ("edge", "host", "broker")],
    "cut off or stopped": [*(CAMPAIGNS[name] for name in ("cut", "host-cut", "mixed")), stopped_host(5)],
}


@pytest.mark.parametrize("campaigns", SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
async def test_faults_in_a_row_lose_and_double_nothing(campaigns, tmp_path):
    outcomes = await asyncio.gather(
        *(
            run_campaign(
                campaign,
                tmp_path / campaign.name,
                times=1 if campaign.name == "stop" else TIMES,
                seed=SEED,
                wait_for_recovery=False,
            )
            for campaign in campaigns
        )
    )
    assert {outcome.campaign: outcome.faults for outcome in outcomes if outcome.faults} == {}
    assert min(outcome.account.recorded for outcome in outcomes) > 100, "there was hardly any load"


async def test_the_harness_notices_what_a_broker_drops(tmp_path):
    """With the broker's word in place of the host's, a dead host costs values: the oracle must say so."""
    campaign = CAMPAIGNS["host"]
    trusting = msgspec.structs.replace(campaign, options=msgspec.structs.replace(campaign.options, level="broker"))
    outcome = await run_campaign(trusting, tmp_path, times=1, seed=SEED)
    assert outcome.account.lost > 0
    assert outcome.account.comparison.missing
    assert outcome.faults
