"""Two gateways with one credential, behind the rendered listener and access list: at least one of them says so.

A node has no right to ask itself for a rebirth, and with one it could not ask either: the broker makes the credential
the client id, so that the question would end the connection of the one who is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
import pytest_asyncio

from edge_nodes.brokers import Brokers
from examples.secure_plant.plant import SecurePlant
from tests.servers import require_mosquitto
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.errors import ConnectionLost, UnreachableError
from uns.namespace.topics import online_topic
from uns.sparkplug.messages import Message
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.walk import SessionEnd

pytestmark = pytest.mark.integration

NODE = EdgeNodeDescriptor("acme.dallas", "gw-energy")
FOUND_WITHIN_S = 30.0


@pytest_asyncio.fixture
async def address(tmp_path) -> AsyncIterator[BrokerAddress]:
    require_mosquitto()
    async with SecurePlant(tmp_path) as plant:
        yield plant.address(str(NODE))


async def live(address: BrokerAddress, brokers: Brokers) -> None:
    """As a gateway does: connect, look, be born, be cut off, wait, come back."""
    while True:
        end = SessionEnd.NOT_REACHED
        with contextlib.suppress(ConnectionLost, UnreachableError):
            async with MqttConnection(address, client_id=f"edge:{NODE}") as connection:
                brokers.connected(uuid4().hex)
                end = SessionEnd.LOST
                await brokers.watch(connection)
                brokers.show(connection)
                while True:
                    for message in await connection.next_batch():
                        assert brokers.receive_presence(message)
        await asyncio.sleep(await brokers.ended(end))


@contextlib.asynccontextmanager
async def gateway(address: BrokerAddress) -> AsyncIterator[Brokers]:
    brokers = Brokers([address], NODE, wall_ns=time.time_ns)
    task = asyncio.create_task(live(address, brokers))
    try:
        yield brokers
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_of_two_gateways_with_one_credential_at_least_one_says_so(address):
    async with gateway(address) as first:
        await until(lambda: first._shown_at)
        async with gateway(address) as second:
            await until(lambda: first.trouble or second.trouble)
    assert "look for a second gateway" in first.trouble + second.trouble


async def test_a_gateway_that_was_cut_off_or_started_again_is_no_second_one(address):
    async with gateway(address) as first:
        await until(lambda: first._shown_at)
    async with gateway(address) as again:
        await until(lambda: again._shown_at)
        for _ in range(2):
            again._shown_at.clear()
            async with MqttConnection(address, client_id="cuts it off, and leaves no word"):
                pass
            await until(lambda: again._shown_at)
    assert not again.trouble


async def test_only_the_node_itself_may_say_that_it_is_online(tmp_path):
    require_mosquitto()
    async with SecurePlant(tmp_path) as plant:
        async with MqttConnection(plant.address("fact/mes"), client_id="x") as stranger:
            await stranger.publish_acknowledged(Message(online_topic(NODE), b"somebody", qos=1, retain=True))
        async with gateway(plant.address(str(NODE))) as ours:
            await until(lambda: ours._shown_at)
        assert not ours._known_before


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(FOUND_WITHIN_S):
        while not condition():
            await asyncio.sleep(0.02)
