from __future__ import annotations

import asyncio
import datetime as dt
import gc
import importlib.metadata
import inspect
import ipaddress
import socket
import warnings
from pathlib import Path

import aiomqtt
import msgspec
import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import eventually, mosquitto
from uns.adapters.broker import EmbeddedBroker, MosquittoProcess
from uns.adapters.mqtt import BrokerAddress, IncomingMessage, MqttConnection, paho_client_of, parse_broker_url
from uns.errors import ConfigurationError, ConnectionLost, LocalProtocolError, UnreachableError


class Out(msgspec.Struct):
    topic: str = "t"
    payload: bytes = b"x"
    qos: int = 0
    retain: bool = False


@pytest.fixture
def broker(tmp_path: Path):
    with mosquitto(tmp_path) as running:
        yield running


def connection(broker: MosquittoProcess | EmbeddedBroker, client_id: str = "c", **options) -> MqttConnection:
    return MqttConnection(BrokerAddress(url=broker.url), client_id=client_id, **options)


async def receive(conn: MqttConnection, count: int, *, timeout_s: float = 10.0) -> list[IncomingMessage]:
    found: list[IncomingMessage] = []
    async with asyncio.timeout(timeout_s):
        while len(found) < count:
            found += await conn.next_batch()
    return found


# --- addresses and secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("mqtt://h", ("h", 1883, False)),
        ("mqtts://h", ("h", 8883, True)),
        ("mqtt://h:99/", ("h", 99, False)),
        ("h:5", ("h", 5, False)),
        ("mqtt://[::1]:7", ("::1", 7, False)),
    ],
)
def test_a_broker_url_is_scheme_host_and_port(url, parsed):
    assert parse_broker_url(url) == parsed


@pytest.mark.parametrize("url", ["http://h", "mqtt://", "mqtt://h/path", "mqtt://h:x", "mqtt://h:70000"])
def test_another_url_is_refused_with_the_expected_form(url):
    with pytest.raises(ConfigurationError, match="mqtt://host"):
        parse_broker_url(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(ConfigurationError) as caught:
        parse_broker_url("mqtt://user:secret@h")
    assert "secret" not in str(caught.value)


def test_a_password_is_a_reference_that_is_read_when_needed(tmp_path, monkeypatch):
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    assert BrokerAddress(url="mqtt://h", password_file=str(file)).password() == "s3cret"
    monkeypatch.setenv("BROKER_PASSWORD", "other")
    assert BrokerAddress(url="mqtt://h", password_env="BROKER_PASSWORD").password() == "other"
    assert "s3cret" not in repr(BrokerAddress(url="mqtt://h", password_file=str(file)))


def test_a_password_that_others_can_read_or_that_is_absent_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "password"
    file.write_text("x")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        BrokerAddress(url="mqtt://h", password_file=str(file)).password()
    with pytest.raises(ConfigurationError, match="password file"):
        BrokerAddress(url="mqtt://h", password_file=str(tmp_path / "none")).password()
    file.write_bytes(b"geheim \xff")
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="UTF-8") as caught:
        BrokerAddress(url="mqtt://h", password_file=str(file)).password()
    assert "geheim" not in str(caught.value)
    monkeypatch.delenv("BROKER_PASSWORD", raising=False)
    with pytest.raises(ConfigurationError, match="BROKER_PASSWORD"):
        BrokerAddress(url="mqtt://h", password_env="BROKER_PASSWORD").password()


async def test_tls_files_that_cannot_be_used_are_a_configuration_error(tmp_path):
    address = BrokerAddress(url="mqtts://127.0.0.1:1", ca_file=str(tmp_path / "no.pem"))
    with pytest.raises(ConfigurationError, match=r"no\.pem"):
        async with MqttConnection(address, client_id="c"):
            pass


# --- the seam ----------------------------------------------------------------------------------------------------


def test_the_private_accessor_and_the_paho_calls_it_serves_still_exist():
    # A failing line here means: read the release notes, then uns/adapters/mqtt/ top to bottom.
    assert importlib.metadata.version("aiomqtt").startswith("2.5.")
    assert importlib.metadata.version("paho-mqtt").startswith("2.")
    for name in ("loop_read", "loop_write", "loop_misc", "want_write", "publish", "ack", "manual_ack_set", "socket"):
        assert callable(getattr(paho.Client, name))
    source = inspect.getsource(paho.Client.publish)
    assert "_max_inflight_messages == 0" in source, "0 must still mean an open window: order depends on it"
    assert "self._client: mqtt.Client" in inspect.getsource(aiomqtt.Client.__init__)


async def test_the_accessor_gives_the_paho_client():
    assert isinstance(paho_client_of(aiomqtt.Client("h")), paho.Client)


# --- with a real broker ------------------------------------------------------------------------------------------


@pytest.mark.integration
async def test_messages_arrive_in_the_order_of_calls_across_qos(broker):
    async with connection(broker, "sub") as sub, connection(broker, "pub") as pub:
        await sub.subscribe([("t/#", 1)])
        # Fewer than mosquitto keeps for one subscriber (1,000): a slow moment of ours drops none.
        sent = [Out(topic=f"t/{n % 3}", payload=str(n).encode(), qos=n % 2) for n in range(900)]
        pub.publish_many(sent)
        found = await receive(sub, len(sent))
    # To one subscriber mosquitto keeps one order too, as long as its window for QoS 1 is not full.
    assert sorted(int(m.payload) for m in found) == list(range(900))
    zeros = [int(m.payload) for m in found if m.qos == 0]
    ones = [int(m.payload) for m in found if m.qos == 1]
    assert zeros == sorted(zeros)
    assert ones == sorted(ones)


@pytest.mark.integration
async def test_the_wire_keeps_the_order_of_calls_for_qos_0_and_1():
    packets = bytearray()
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"\x20\x02\x00\x00")
        while data := await reader.read(65536):
            packets.extend(data)
        done.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    conn = MqttConnection(BrokerAddress(url=f"mqtt://127.0.0.1:{port}"), client_id="c")
    async with conn:
        for n in range(0, 300, 3):
            conn.publish_many([Out(payload=bytes([n % 251])), Out(payload=bytes([(n + 1) % 251]), qos=1)])
            conn.publish_many([Out(payload=bytes([(n + 2) % 251]))])
        await conn.drain()
        conn.abort()
    await asyncio.wait_for(done.wait(), 5)
    server.close()
    await server.wait_closed()
    found, at = [], 0
    while at < len(packets):
        length = packets[at + 1]
        body = packets[at + 2 : at + 2 + length]
        found.append(body[-1])
        at += 2 + length
    assert found == [n % 251 for n in range(300)]


@pytest.mark.integration
async def test_a_tracked_publish_ends_with_the_puback(broker):
    async with connection(broker) as conn:
        await conn.publish_acknowledged(Out(qos=1))
        futures = [conn.publish_tracked(Out(qos=1)) for _ in range(50)]
        whole = conn.publish_many_tracked([Out(qos=1), Out(qos=0)])
        await asyncio.wait_for(asyncio.gather(*futures, whole), 5)
        assert conn.unacknowledged == 0
        await asyncio.wait_for(conn.publish_tracked(Out(qos=0)), 5)


@pytest.mark.integration
async def test_a_lost_broker_is_connection_lost_everywhere(broker):
    async with connection(broker) as conn:
        broker.process.send_signal(19)  # SIGSTOP: the publish below stays unanswered
        waiting = asyncio.ensure_future(conn.publish_acknowledged(Out(qos=1)))
        reading = asyncio.ensure_future(conn.next_batch())
        abandoned = conn.publish_tracked(Out(qos=1))
        await asyncio.sleep(0)
        broker.kill()
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(reading, 5)
        assert conn.lost
        assert abandoned.done()
        with pytest.raises(ConnectionLost):
            conn.publish_many([Out()])
        with pytest.raises(ConnectionLost):
            await conn.writable()
        with pytest.raises(ConnectionLost):
            await conn.drain()
        with pytest.raises(ConnectionLost):
            await conn.subscribe([("t", 0)])


@pytest.mark.integration
async def test_what_arrived_before_the_loss_can_still_be_read(broker):
    async with connection(broker, "sub") as sub, connection(broker, "pub") as pub:
        await sub.subscribe([("t", 0)])
        pub.publish_many([Out(payload=b"1"), Out(payload=b"2")])
        await eventually(lambda: len(sub._incoming) == 2)
        broker.kill()
        await eventually(lambda: sub.lost)
        assert [m.payload for m in await sub.next_batch()] == [b"1", b"2"]
        with pytest.raises(ConnectionLost):
            await sub.next_batch()


@pytest.mark.integration
async def test_a_full_incoming_bound_stops_reading_and_discards_nothing(broker):
    options = {"incoming_messages_max": 50}
    async with connection(broker, "sub", **options) as sub, connection(broker, "pub") as pub:
        await sub.subscribe([("t", 0)])
        pub.publish_many([Out(payload=str(n).encode()) for n in range(5_000)])
        await eventually(lambda: len(sub._incoming) >= 50)
        assert len(sub._incoming) == 50
        found: list[IncomingMessage] = []
        while len(found) < 5_000:
            batch = await asyncio.wait_for(sub.next_batch(), 10)
            assert len(batch) <= 50
            found += batch
    assert [int(m.payload) for m in found] == list(range(5_000))


@pytest.mark.integration
async def test_the_incoming_bound_counts_bytes_too(broker):
    async with connection(broker, "sub", incoming_bytes_max=100_000) as sub, connection(broker, "pub") as pub:
        await sub.subscribe([("t", 0)])
        pub.publish_many([Out(payload=bytes(20_000)) for _ in range(40)])
        await eventually(lambda: sub._incoming_bytes >= 100_000)
        assert sub._incoming_bytes == 100_000
        assert len(await receive(sub, 40)) == 40


@pytest.mark.integration
async def test_a_persistent_session_repeats_what_was_not_acknowledged_by_hand(broker):
    options = {"clean_session": False, "manual_ack": True}
    async with connection(broker, "facts", **options) as first:
        assert not first.session_present
        await first.subscribe([("fact", 1)])
        async with connection(broker, "pub") as pub:
            await pub.publish_acknowledged(Out(topic="fact", payload=b"1", qos=1))
            await pub.publish_acknowledged(Out(topic="fact", payload=b"2", qos=1))
        one, two = await receive(first, 2)
        first.ack(one)
        await first.drain()
        assert two.payload == b"2"
        first.abort()
    async with connection(broker, "facts", **options) as second:
        assert second.session_present
        (again,) = await receive(second, 1)
        assert again.payload == b"2"
        second.ack(again)
        await second.drain()


@pytest.mark.integration
async def test_an_aborted_connection_leaves_its_will_and_a_clean_one_does_not(broker):
    async with connection(broker, "sub") as sub:
        await sub.subscribe([("will/#", 1)])
        async with connection(broker, "a", will=Out(topic="will/a", payload=b"gone", qos=1)):
            pass
        async with connection(broker, "b", will=Out(topic="will/b", payload=b"gone", qos=1)) as conn:
            conn.abort()
        (will,) = await receive(sub, 1)
    assert will.topic == "will/b"


@pytest.mark.integration
async def test_what_was_published_before_a_clean_end_is_written(broker):
    async with connection(broker, "sub") as sub:
        await sub.subscribe([("t", 0)])
        async with connection(broker, "pub") as pub:
            pub.publish_many([Out(payload=bytes(1_000)) for _ in range(3_000)])
        assert len(await receive(sub, 3_000)) == 3_000


@pytest.mark.integration
async def test_a_second_connection_with_the_same_client_id_ends_the_first(broker):
    async with connection(broker, "same") as first, connection(broker, "same"):
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(first.next_batch(), 5)


@pytest.mark.integration
async def test_more_unacknowledged_messages_than_the_bound_is_the_callers_error(broker):
    async with connection(broker, unacknowledged_messages_max=10) as conn:
        with pytest.raises(LocalProtocolError, match="at most 10"):
            conn.publish_many([Out(qos=1) for _ in range(11)])


@pytest.mark.integration
async def test_a_refused_login_says_what_to_check(tmp_path):
    with (
        mosquitto(tmp_path, settings=("allow_anonymous false",)) as broker,
        pytest.raises(UnreachableError, match="check user name and password"),
    ):
        await connection(broker).__aenter__()


@pytest.mark.integration
async def test_a_big_payload_passes_while_the_writer_waits(broker):
    async with connection(broker, "sub") as sub, connection(broker, "pub", outgoing_bytes_max=100_000) as pub:
        await sub.subscribe([("t", 0)])
        pub.publish_many([Out(payload=bytes(900_000))])
        await asyncio.wait_for(pub.writable(), 5)
        await asyncio.wait_for(pub.drain(), 5)
        (found,) = await receive(sub, 1)
    assert len(found.payload) == 900_000


async def test_nobody_there_is_unreachable_with_the_url():
    conn = MqttConnection(BrokerAddress(url="mqtt://127.0.0.1:1"), client_id="c")
    with pytest.raises(UnreachableError, match="mqtt://127"):
        async with conn:
            pass


async def test_a_silent_peer_ends_the_connect_in_time():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = BrokerAddress(url=f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        conn = MqttConnection(address, client_id="c", connect_timeout_s=0.3)
        with pytest.raises(UnreachableError, match="timed out"):
            async with conn:
                pass
        assert conn.lost


async def test_a_cancelled_connect_leaves_no_ghost_behind():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = BrokerAddress(url=f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        conn = MqttConnection(address, client_id="c", connect_timeout_s=0.5)
        task = asyncio.ensure_future(conn.__aenter__())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: conn.lost and conn._wire.paho.socket() is None)


async def test_one_object_serves_one_connect(tmp_path):
    async with EmbeddedBroker() as broker, connection(broker) as conn:
        with pytest.raises(LocalProtocolError, match="one CONNECT"):
            await conn.__aenter__()


async def test_the_embedded_broker_passes_messages_and_stops():
    async with EmbeddedBroker() as broker, connection(broker, "sub") as sub, connection(broker, "pub") as pub:
        await sub.subscribe([("t/#", 1)])
        pub.publish_many([Out(topic="t/1", payload=b"a", qos=1), Out(topic="t/2", payload=b"b")])
        assert {m.payload for m in await receive(sub, 2)} == {b"a", b"b"}


# --- TLS ---------------------------------------------------------------------------------------------------------


def _certificates(directory: Path) -> dict[str, str]:
    """A CA, and a certificate of it for 127.0.0.1."""
    now = dt.datetime.now(dt.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
    files = {}
    for name, key in keys.items():
        subject = issuer if name == "ca" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        certificate = builder.sign(keys["ca"], hashes.SHA256())
        files[f"{name}.pem"] = certificate.public_bytes(serialization.Encoding.PEM)
        files[f"{name}.key"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return {name: str(directory / name) for name in files}


async def _failure(address: BrokerAddress) -> str:
    try:
        await MqttConnection(address, client_id="c").__aenter__()
    except UnreachableError as error:
        return str(error)
    return "connected"


@pytest.mark.integration
async def test_tls_carries_messages_both_ways_and_an_unknown_ca_is_refused(tmp_path):
    files = _certificates(tmp_path)
    listener = (f"cafile {files['ca.pem']}", f"certfile {files['server.pem']}", f"keyfile {files['server.key']}")
    with mosquitto(tmp_path, listener=listener) as broker:
        url = broker.url.replace("mqtt://", "mqtts://")
        address = BrokerAddress(url=url, ca_file=files["ca.pem"])
        async with MqttConnection(address, client_id="a") as one, MqttConnection(address, client_id="b") as two:
            await one.subscribe([("t", 1)])
            two.publish_many([Out(payload=str(n).encode() * 100, qos=n % 2) for n in range(500)])
            two.publish_many([Out(payload=bytes(300_000))])
            assert sum(len(m.payload) for m in await receive(one, 501)) > 300_000
            await two.drain()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # paho leaves a socket that fails its handshake to gc
            assert "certificate" in await _failure(BrokerAddress(url=url))
            await asyncio.sleep(0)
            gc.collect()
