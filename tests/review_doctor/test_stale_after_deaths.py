"""What the ledger claims of deaths, looked at where people look: the quality of the present value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.review_host.stages import Node, Stages, stages
from tests.review_host.test_liveness import shown


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Stages]:
    async with stages(tmp_path) as made:
        yield made


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
)
async def test_the_values_of_a_node_that_died_are_shown_stale(host: Stages) -> None:
    node = Node(host.tree)
    followed = await shown(host, node)
    await host.receive(node.death())
    await host.idle()
    assert followed.look() == "stale"


@pytest.mark.tck("tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale")
async def test_the_values_of_a_device_that_died_are_shown_stale(host: Stages) -> None:
    node = Node(host.tree)
    followed = await shown(host, node)
    await host.receive(node.death("reactor4"))
    await host.idle()
    assert followed.look() == "stale"
