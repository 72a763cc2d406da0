"""MQTT 5 where it differs: what the broker takes at once, sessions that are kept, ends that leave the Will."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import paho.mqtt.client as paho
import pytest

from tests.servers import eventually, mosquitto
from uns.adapters.mqtt import BrokerAddress, IncomingMessage, MqttConnection
from uns.errors import ConnectionLost, LocalProtocolError

PUBLISH, DISCONNECT = 0x3, 0xE


class Out(msgspec.Struct):
    topic: str = "t"
    payload: bytes = b"x"
    qos: int = 0
    retain: bool = False


class StrictBroker:
    """Takes ``receive_maximum`` QoS 1 messages before it acknowledges, and ends a connection that sends more."""

    def __init__(self, *, receive_maximum: int, answers: bool = True) -> None:
        self._receive_maximum = receive_maximum
        self.answering = asyncio.Event()
        if answers:
            self.answering.set()
        self.payloads: list[bytes] = []
        self.seen: list[str] = []
        self.counts: Counter[str] = Counter()
        self._waiting: list[bytes] = []
        self.address = BrokerAddress(url="mqtt://127.0.0.1:1", mqtt5=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[StrictBroker]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            self.address = BrokerAddress(url=f"mqtt://127.0.0.1:{port}", mqtt5=True)
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._packet(reader)  # CONNECT
            writer.write(b"\x20\x06\x00\x00\x03\x21" + self._receive_maximum.to_bytes(2))
            answering = asyncio.create_task(self._answer(writer))
            try:
                while True:
                    kind, body = await self._packet(reader)
                    if kind >> 4 == PUBLISH:
                        self._published(kind, body, writer)
                    if kind >> 4 == DISCONNECT:
                        self.seen.append("DISCONNECT")
            finally:
                answering.cancel()
                writer.close()

    def _published(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        after = 2 + int.from_bytes(body[:2])
        qos = kind >> 1 & 3
        if qos:
            self._waiting.append(body[after : after + 2])
            after += 2
            self.counts["most"] = max(self.counts["most"], len(self._waiting))
            if len(self._waiting) > self._receive_maximum:
                writer.write(b"\xe0\x01\x93")  # Receive Maximum exceeded
                writer.close()
        self.payloads.append(body[after + 1 :])

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.answering.wait()
            if self._waiting:
                self.seen.append("PUBACK")
                writer.write(b"\x40\x02" + self._waiting.pop(0))
            await asyncio.sleep(0.002)

    @staticmethod
    async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        (kind,) = await reader.readexactly(1)
        length = shift = 0
        while True:
            (byte,) = await reader.readexactly(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, await reader.readexactly(length)


async def test_no_more_goes_out_than_the_broker_takes_and_the_order_holds():
    messages = [Out(payload=str(n).encode(), qos=n % 2) for n in range(200)]
    async with (
        StrictBroker(receive_maximum=3).running() as broker,
        MqttConnection(broker.address, client_id="x") as connection,
    ):
        connection.publish_many(messages[:50])
        done = connection.publish_many_tracked(messages[50:])
        assert connection.unacknowledged == 100
        async with asyncio.timeout(10):
            await done
            await connection.drain()
        await eventually(lambda: len(broker.payloads) == 200)
    assert [int(payload) for payload in broker.payloads] == list(range(200))
    assert broker.counts["most"] == 3
    assert connection.unacknowledged == 0


async def test_what_waits_for_the_broker_has_a_bound_and_ends_with_the_connection():
    async with StrictBroker(receive_maximum=1, answers=False).running() as broker:
        connection = MqttConnection(broker.address, client_id="x", unacknowledged_messages_max=5)
        async with connection:
            done = connection.publish_many_tracked([Out(qos=1)] * 6)
            assert not done.done()
            with pytest.raises(LocalProtocolError, match="6 QoS 1 messages without PUBACK"):
                connection.publish_many([Out(qos=1)])
            connection.abort()
            with pytest.raises(ConnectionLost):
                await done


async def test_what_waited_for_the_broker_and_cannot_be_handed_over_ends_as_lost(monkeypatch: pytest.MonkeyPatch):
    async with StrictBroker(receive_maximum=1, answers=False).running() as broker:
        connection = MqttConnection(broker.address, client_id="x")
        async with connection:
            connection.publish_many([Out(qos=1)])
            done = connection.publish_tracked(Out(qos=1))
            gone = SimpleNamespace(rc=paho.MQTT_ERR_NO_CONN)
            monkeypatch.setattr(connection._wire.paho, "publish", lambda *_: gone)
            broker.answering.set()
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionLost):
                    await done


async def test_a_clean_end_waits_for_acknowledgements_that_are_due():
    async with StrictBroker(receive_maximum=10, answers=False).running() as broker:
        connection = MqttConnection(broker.address, client_id="x")
        async with connection:
            connection.publish_many([Out(qos=1), Out(qos=1), Out()])
            ending = asyncio.create_task(connection.disconnect())
            await eventually(lambda: len(broker.payloads) == 3)
            broker.answering.set()
            await ending
        await eventually(lambda: len(broker.seen) == 3)
    assert broker.seen == ["PUBACK", "PUBACK", "DISCONNECT"]


async def test_a_clean_end_does_not_wait_for_ever():
    async with StrictBroker(receive_maximum=10, answers=False).running() as broker:
        connection = MqttConnection(broker.address, client_id="x")
        async with connection:
            connection.publish_many([Out(qos=1)])
            async with asyncio.timeout(5):
                await connection.disconnect(timeout_s=0.2)
        await eventually(lambda: broker.seen == ["DISCONNECT"])


async def _received(connection: MqttConnection, count: int) -> list[IncomingMessage]:
    found: list[IncomingMessage] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await connection.next_batch()
    return found


@pytest.mark.integration
async def test_a_session_that_is_to_be_kept_is_kept(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress(url=broker.url, mqtt5=True)
        async with MqttConnection(address, client_id="facts", clean_session=False) as first:
            assert not first.session_present
            await first.subscribe([("fact", 1)])
        async with MqttConnection(address, client_id="mes") as mes:
            await mes.publish_acknowledged(Out(topic="fact", payload=b"told while nobody listens", qos=1))
        async with MqttConnection(address, client_id="facts", clean_session=False) as second:
            assert second.session_present
            (message,) = await _received(second, 1)
        assert message.payload == b"told while nobody listens"
        async with MqttConnection(address, client_id="facts") as clean:
            assert not clean.session_present


@pytest.mark.integration
async def test_the_last_message_arrives_before_the_will_whatever_else_waits_for_an_answer(tmp_path: Path):
    """Mosquitto 2.0 ends a connection as "out of memory" when it has a PUBACK for a socket that is closed."""
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress(url=broker.url, mqtt5=True)
        async with MqttConnection(BrokerAddress(url=broker.url), client_id="watch") as watch:
            await watch.subscribe([("death", 1)])
            for _ in range(60):
                async with MqttConnection(address, client_id="node", will=Out("death", b"will", 1)) as node:
                    await node.subscribe([("anchor", 1)])
                    node.publish_many([Out("anchor", bytes(200), 1), Out("death", b"published")])
                    await node.disconnect(with_will=True)
                deaths = await _received(watch, 2)
                assert [(death.payload, death.qos) for death in deaths] == [(b"published", 0), (b"will", 1)]
        assert "out of memory" not in broker.log_file.read_text(encoding="utf-8")
