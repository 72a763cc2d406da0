"""What the MQTT port promises holds over TLS too, where bytes wait inside records that no poll sees."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from pathlib import Path

import msgspec
import pytest

from examples.secure_plant.make_certificates import make_certificates
from examples.secure_plant.plant import SecurePlant
from tests.servers import require_mosquitto
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.raw_mqtt import RawMqtt
from uns.errors import UnreachableError
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


def of_nobody(tmp_path: Path, address: BrokerAddress) -> BrokerAddress:
    """A certificate of an authority that the broker does not know."""
    make_certificates(tmp_path / "other", ["sender"])
    files = {"cert_file": tmp_path / "other/sender.pem", "key_file": tmp_path / "other/sender.key"}
    return msgspec.structs.replace(address, **{name: str(file) for name, file in files.items()})


def without(_tmp_path: Path, address: BrokerAddress) -> BrokerAddress:
    return msgspec.structs.replace(address, cert_file=None, key_file=None)


def of_another_authority(tmp_path: Path, address: BrokerAddress) -> BrokerAddress:
    make_certificates(tmp_path / "other", [])
    return msgspec.structs.replace(address, ca_file=str(tmp_path / "other/ca.pem"))


async def open_raw(address: BrokerAddress) -> None:
    await (await RawMqtt.open(address, client_id="x")).disconnect()


async def open_connection(address: BrokerAddress) -> None:
    async with MqttConnection(address, client_id="x"):
        pass


@pytest.mark.parametrize("opening", [open_raw, open_connection])
@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (without, "take this client's certificate: is one given"),
        (of_nobody, "take this client's certificate: is one given"),
        (of_another_authority, "is signed by the CA file, bears the URL's name"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_told_by_every_command(plant, tmp_path, opening, mistake, hint):
    await opening(plant.address("sender"))
    told = ""
    try:
        await opening(mistake(tmp_path, plant.address("sender")))
    except UnreachableError as error:
        told = str(error)
    with warnings.catch_warnings():  # paho leaves the socket of a failed handshake to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert hint in told
