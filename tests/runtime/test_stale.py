"""Since when and why present values are stale, from the wire to the retained document."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.review_host.stages import Node
from tests.runtime.plants import Plant, plant
from tests.servers import eventually, mosquitto
from uns.adapters.mqtt import MqttConnection
from uns.context.times import rfc3339
from uns.sparkplug import codec
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

pytestmark = pytest.mark.integration

FOREIGN = EdgeNodeDescriptor("acme.dallas", "gw-1")


async def node_with_a_value(made: Plant, node: Node | None = None) -> Node:
    node = node or Node(made.tree, name=FOREIGN, ours=False)
    births = node.births()
    async with MqttConnection(made.address, client_id="foreign") as connection:  # one: brokers order no two
        connection.publish_many([*births, node.data(("temperature", 180.5, time.time_ns() // 1_000_000))])
        await connection.drain()
    await eventually(lambda: shown(made).get("quality") == "good", what="the value is shown")
    return node


def shown(made: Plant) -> dict[str, Any]:
    """The present value as it is retained now."""
    values = made.listener.of("/reactor4/_pv/temperature")
    return {} if not values else values[-1]


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
)
async def test_a_ddeath_says_since_when_an_ndeath_counts_from_its_receipt(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()
            node = await node_with_a_value(made)
            died_ms = time.time_ns() // 1_000_000 - 5_000
            topic = FOREIGN.topic(MessageType.DDEATH, "reactor4")
            await made.publish(topic, codec.encode_empty(died_ms, node.seq + 1), qos=0)
            await eventually(lambda: shown(made)["quality"] == "stale", what="it is stale")
            assert (shown(made)["stale_since"], shown(made)["stale_reason"]) == (rfc3339(died_ms * 1_000_000), "ddeath")

            await node_with_a_value(made, node)
            assert "stale_since" not in shown(made)
            before = rfc3339(time.time_ns())
            await made.publish(node.death().topic, node.death().payload, qos=0)
            await eventually(lambda: shown(made)["quality"] == "stale", what="it is stale again")
            assert shown(made)["stale_reason"] == "ndeath"
            assert before <= shown(made)["stale_since"] <= rfc3339(time.time_ns())


async def test_a_host_that_loses_its_broker_says_so_of_what_came_through_it(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()
            await node_with_a_value(made)
            before = rfc3339(time.time_ns())
            broker.kill()
            broker.start()
            await eventually(lambda: shown(made)["quality"] == "stale", what="it is stale")
            assert shown(made)["stale_reason"] == "host_disconnected"
            assert before <= shown(made)["stale_since"] <= rfc3339(time.time_ns())


async def test_after_a_restart_a_ddeath_still_says_since_when(tmp_path: Path):
    """The store knows when it came; the raw log has what it said."""
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()
            node = await node_with_a_value(made)
            died_ms = time.time_ns() // 1_000_000 - 5_000
            topic = FOREIGN.topic(MessageType.DDEATH, "reactor4")
            await made.publish(topic, codec.encode_empty(died_ms, node.seq + 1), qos=0)
            await eventually(lambda: shown(made)["quality"] == "stale", what="it is stale")
            await made.stop_host()
            before = len(made.listener.of("/reactor4/_pv/temperature"))
            await made.start_host()
            await eventually(lambda: len(made.listener.of("/reactor4/_pv/temperature")) > before, what="it is shown")
            assert (shown(made)["stale_since"], shown(made)["stale_reason"]) == (rfc3339(died_ms * 1_000_000), "ddeath")
