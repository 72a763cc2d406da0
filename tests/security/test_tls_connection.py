"""What the MQTT port promises holds over TLS too, where bytes wait inside records that no poll sees."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from examples.secure_plant.make_certificates import make_certificates
from examples.secure_plant.plant import SecurePlant
from tests.servers import require_mosquitto
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.sparkplug.messages import Message

pytestmark = pytest.mark.integration

MESSAGES = 20_000
ACL = "\nuser sender\ntopic write load/#\nuser receiver\ntopic read load/#\n"


@pytest.fixture
async def plant(tmp_path):
    require_mosquitto()
    people = ("sender", "receiver")
    async with SecurePlant(tmp_path, further_credentials=people, change_acl=lambda acl: acl + ACL) as made:
        yield made


@pytest.mark.parametrize("incoming_messages_max", [7, 20_000])
async def test_all_arrives_in_order_through_small_bounds_and_large_messages(plant, incoming_messages_max):
    def payload(number: int) -> bytes:
        return number.to_bytes(4, "big") + b"x" * (300_000 if number % 2_000 == 0 else number % 900)

    async def send() -> None:
        async with MqttConnection(plant.address("sender"), client_id="", outgoing_bytes_max=100_000) as connection:
            for number in range(MESSAGES):
                connection.publish_many([Message(f"load/{number % 7}", payload(number), qos=number % 2)])
                await connection.writable()
            # Leaving with PUBACKs unread would reset the connection, and what the broker has not read goes with it.
            await connection.publish_acknowledged(Message("load/end", b"", qos=1))

    receiver = MqttConnection(plant.address("receiver"), client_id="", incoming_messages_max=incoming_messages_max)
    async with receiver:
        await receiver.subscribe([("load/#", 0)])
        sending = asyncio.create_task(send())
        received: list[bytes] = []
        async with asyncio.timeout(60):
            while len(received) < MESSAGES:
                received += [message.payload for message in await receiver.next_batch()]
        await sending
    assert received[:MESSAGES] == [payload(number) for number in range(MESSAGES)]


async def test_many_messages_in_one_tls_record_all_arrive_although_no_poll_tells_of_them(tmp_path):
    """mosquitto writes a record for each message; other brokers put hundreds into one."""
    messages = 1_000  # more than one turn of reading takes
    make_certificates(tmp_path, [])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)  # CONNECT
        writer.write(bytes([0x20, 2, 0, 0]))
        subscribe = await reader.read(1_000)
        writer.write(bytes([0x90, 3, *subscribe[2:4], 0]))
        await writer.drain()
        writer.write(b"".join(b"\x30\x05\x00\x01t" + number.to_bytes(2, "big") for number in range(messages)))
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"mqtts://localhost:{server.sockets[0].getsockname()[1]}"
    async with server, MqttConnection(BrokerAddress(url=url, ca_file=str(tmp_path / "ca.pem")), client_id="x") as one:
        await one.subscribe([("t", 0)])
        received: list[int] = []
        async with asyncio.timeout(5):
            while len(received) < messages:
                received += [int.from_bytes(message.payload, "big") for message in await one.next_batch()]
    assert received == list(range(messages))
