"""The guards around asyncua: trust, sequence numbers, silence."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_nodes.opcua.config import OpcUaConfig
from edge_nodes.opcua.source import OpcUaSource, _Session
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually
from uns.adapters.broker import free_port
from uns.errors import UnreachableError
from uns.source import Readings

pytestmark = pytest.mark.integration

WIRING = 'temperature: {node: "nsu=urn:plc4;s=Temp"}'


class Sink:
    def __init__(self) -> None:
        self.values: list[Any] = []
        self.reasons: list[str] = []

    async def put(self, readings: Readings) -> None:
        self.values += readings.values

    def connected(self, source: str) -> None:
        self.reasons.append("connected")

    def lost(self, source: str, reason: str) -> None:
        self.reasons.append(reason)


def source_of(tmp_path: Path, node: str) -> OpcUaSource:
    config = load(tmp_path, node)
    (source,) = config.sources
    assert isinstance(source, OpcUaConfig)
    return OpcUaSource(source, {w.key: 1 for w in config.metrics})


async def certificate(directory: Path, name: str, use: Any) -> tuple[Path, Path]:
    key, cert = directory / f"{name}.key.pem", directory / f"{name}.der"
    await setup_self_signed_certificate(key, cert, f"urn:{name}", "127.0.0.1", [use], {"commonName": name})
    key.chmod(0o600)
    return key, cert


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256_Sha256_RsaPss"])
async def test_a_server_is_believed_only_once_its_certificate_is_trusted(tmp_path: Path, policy: str) -> None:
    key, cert = await certificate(tmp_path, "plc", ExtendedKeyUsageOID.SERVER_AUTH)
    await certificate(tmp_path, "gw", ExtendedKeyUsageOID.CLIENT_AUTH)
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    server = Server()
    await server.init()
    server.set_endpoint(url)
    await server.set_application_uri("urn:plc")
    server.set_security_policy(
        [
            ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
        ]
    )
    await server.load_certificate(str(cert))
    await server.load_private_key(str(key))
    index = await server.register_namespace("urn:plc4")
    await server.nodes.objects.add_variable(ua.NodeId("Temp", index), "Temp", 20.5, ua.VariantType.Float)
    security = f"security: {{policy: {policy}, trust: trust, cert_file: gw.der, key_file: gw.key.pem}}"
    source = source_of(tmp_path, opcua_node(WIRING, url=url, source=security))
    async with server:
        with pytest.raises(UnreachableError):
            await source.check()
        (rejected,) = (tmp_path / "trust" / "rejected").iterdir()
        assert rejected.read_bytes() == cert.read_bytes()
        (tmp_path / "trust" / "trusted").mkdir()
        shutil.move(rejected, tmp_path / "trust" / "trusted")
        assert await source.check() == []
        sink = Sink()
        task = asyncio.create_task(source.run(sink))
        await eventually(lambda: sink.values == [20.5])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def notification(value: float) -> Any:
    data = ua.DataValue(ua.Variant(value, ua.VariantType.Float))
    return ua.DataChangeNotification(MonitoredItems=[ua.MonitoredItemNotification(ClientHandle=1, Value=data)])


def published(sequence: int, value: float) -> Any:
    message = ua.NotificationMessage(SequenceNumber=sequence, NotificationData=[notification(value)])
    return SimpleNamespace(NotificationMessage=message)


def a_session(tmp_path: Path, kept: dict[int, float]) -> tuple[_Session, OpcUaSource, Sink]:
    async def republish(_subscription: int, sequence: int) -> Any:
        if sequence not in kept:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadMessageNotAvailable)
        return published(sequence, kept[sequence]).NotificationMessage

    client = SimpleNamespace(uaclient=SimpleNamespace(session=SimpleNamespace(republish=republish)))
    source, sink = source_of(tmp_path, opcua_node(WIRING)), Sink()
    session = _Session(source, client, sink)
    session._subscription_id = 5
    return session, source, sink


async def test_what_a_jump_of_the_sequence_leaves_out_is_asked_for_again(tmp_path: Path) -> None:
    session, source, sink = a_session(tmp_path, {2: 2.0, 3: 3.0})
    await session._receive(published(1, 1.0))
    await session._receive(published(4, 4.0))
    assert sink.values == [1.0, 2.0, 3.0, 4.0]
    assert (source.counters()["sequence_jumps"], source.counters()["notifications_lost"]) == (1, 0)


async def test_what_the_server_does_not_keep_is_counted_as_lost(tmp_path: Path) -> None:
    session, source, sink = a_session(tmp_path, {2: 2.0})
    await session._receive(published(1, 1.0))
    await session._receive(published(5, 5.0))
    assert sink.values == [1.0, 2.0, 5.0]
    assert source.counters()["notifications_lost"] == 2


async def test_a_number_that_comes_again_is_no_loss_of_four_billion(tmp_path: Path) -> None:
    session, source, sink = a_session(tmp_path, {})
    for number in (1, 2, 2, 3):
        await session._receive(published(number, float(number)))
    assert sink.values == [1.0, 2.0, 2.0, 3.0]  # what was read before is found out by its time
    assert (source.counters()["sequence_jumps"], source.counters()["notifications_lost"]) == (1, 0)


async def test_the_sequence_wraps_to_one(tmp_path: Path) -> None:
    session, source, _ = a_session(tmp_path, {})
    await session._receive(published(0xFFFFFFFF, 1.0))
    await session._receive(published(1, 2.0))
    assert source.counters()["sequence_jumps"] == 0


async def test_a_notification_that_cannot_be_read_ends_the_session(tmp_path: Path) -> None:
    session, _, _ = a_session(tmp_path, {})
    await session._receive(SimpleNamespace(NotificationMessage=SimpleNamespace(NotificationData=[1])))
    assert session._lost.is_set()
    assert "cannot be read" in session._reason


async def test_a_server_that_accepts_and_says_nothing_is_no_server(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    node = opcua_node(WIRING, url=f"opc.tcp://127.0.0.1:{port}", source="timeout: 200ms")
    source, sink = source_of(tmp_path, node), Sink()
    task = asyncio.create_task(source.run(sink))
    await eventually(lambda: len(sink.reasons) >= 2, what="it gives up and tries again")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "connected" not in sink.reasons
    listener.close()


async def test_a_password_file_that_others_can_read_is_not_used_while_it_runs(tmp_path: Path) -> None:
    secret = tmp_path / "plc.password"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    source = source_of(tmp_path, opcua_node(WIRING, source="username: u\npassword_file: plc.password"))
    secret.chmod(0o644)
    with pytest.raises(UnreachableError, match="chmod 600"):
        await source.check()
