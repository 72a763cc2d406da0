"""The loop that carries a session over a connection: deadlines, losses, goodbyes, wrong use."""

from __future__ import annotations

import time

import pytest

from tests.servers import free_port, mosquitto
from uns.adapters.mqtt import MqttConnection
from uns.adapters.sparkplug import BrokerAddress, SparkplugConnection
from uns.errors import ConnectionLost, LocalProtocolError, UnreachableError
from uns.sparkplug import EdgeNodeDescriptor, EdgeNodeSession, EdgeState, HostSession, NodeBirth
from uns.sparkplug.messages import BirthDue, NodeBorn, NodeDied, Offline, Online

NODE = EdgeNodeDescriptor("g", "n")


def asked(bd_seq: int = 0, **options) -> EdgeNodeSession:
    session = EdgeNodeSession(NODE, **options)
    session.connect(bd_seq=bd_seq, session_id=f"s{bd_seq}", now_ns=time.time_ns())
    return session


def asking_host() -> HostSession:
    session = HostSession("h", jitter=lambda _span: 0)
    session.connect(time.time_ns())
    return session


async def test_no_broker_is_an_error_and_the_session_may_connect_again() -> None:
    session = asked()
    with pytest.raises(UnreachableError):
        async with SparkplugConnection(session, BrokerAddress(url=f"mqtt://127.0.0.1:{free_port()}")):
            pass
    assert session.state is EdgeState.DISCONNECTED
    session.connect(bd_seq=1, session_id="s1", now_ns=time.time_ns())


async def test_a_session_that_asks_for_no_connection_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="asks for no connection"):
        await SparkplugConnection(EdgeNodeSession(NODE), BrokerAddress(url="mqtt://127.0.0.1:1")).__aenter__()
    with pytest.raises(LocalProtocolError, match="not open"):
        await SparkplugConnection(asked(), BrokerAddress(url="mqtt://127.0.0.1:1")).receive()


@pytest.mark.integration
async def test_leaving_says_goodbye_and_the_connection_is_over(tmp_path) -> None:
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress(url=broker.url)
        async with SparkplugConnection(asking_host(), address) as host:
            edge_session = asked(bd_seq=3)
            async with SparkplugConnection(edge_session, address) as edge:
                assert await edge.receive() == [BirthDue("connected")]
                edge_session.birth(NodeBirth(), time.time_ns())
                assert await edge.receive() == [Online("s3", reborn=False)]
                assert await edge.receive(timeout_s=0.01) == ()
                assert isinstance((await host.receive(timeout_s=10))[0], NodeBorn)
            (death,) = await host.receive(timeout_s=10)
            assert isinstance(death, NodeDied)
            assert death.reason == "ndeath"
            with pytest.raises(ConnectionLost):
                await edge.receive()
            with pytest.raises(LocalProtocolError, match="new SparkplugConnection"):
                await edge.__aenter__()


@pytest.mark.integration
async def test_deadlines_of_the_session_are_kept_without_any_message(tmp_path) -> None:
    """The host asks twice within the interval of the node: the second birth is due when that ends."""
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress(url=broker.url)
        session = asked(rebirth_interval_min_ms=300)
        host_session = asking_host()
        async with SparkplugConnection(host_session, address), SparkplugConnection(session, address) as edge:
            await edge.receive()
            born_ns = time.time_ns()
            session.birth(NodeBirth(), born_ns)
            await edge.receive()
            async with MqttConnection(address, client_id="asker") as asker:
                host_session.request_rebirth(NODE, "request", time.time_ns())
                request = next(a.message for a in host_session.actions() if hasattr(a, "message"))
                asker.publish_many([request])
                assert await edge.receive(timeout_s=10) == [BirthDue("rebirth")]
            assert time.time_ns() - born_ns >= 300_000_000


@pytest.mark.integration
async def test_a_lost_broker_ends_the_session_and_then_the_loop(tmp_path) -> None:
    with mosquitto(tmp_path) as broker:
        session = asked()
        async with SparkplugConnection(session, BrokerAddress(url=broker.url)) as edge:
            await edge.receive()
            broker.kill()
            assert await edge.receive(timeout_s=10) == [Offline("connection_lost")]
            with pytest.raises(ConnectionLost):
                await edge.receive()
        assert session.state is EdgeState.DISCONNECTED
