"""Several brokers, a primary host that goes, a second gateway of the same name, a clock that steps, MQTT 5."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from edge_nodes.brokers import answers_in_our_name
from tests.edge_nodes.gateway import Gateway, Plc, confirming_host, gateway
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually, mosquitto
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.errors import ConnectionLost
from uns.sparkplug import codec
from uns.sparkplug.messages import Message, NodeBorn
from uns.sparkplug.state import HostState, encode_state, state_topic

pytestmark = pytest.mark.integration

VARIABLES: dict[str, tuple[Any, ua.VariantType]] = {"Count": (0, ua.VariantType.UInt32)}
WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}'
EVERY = "publishing: 20ms\nkeep_alive: 500ms\ntimeout: 1s\ntrigger: status_value_timestamp"
DELIVERY = "delivery: {level: host, mark_interval: 50ms}"
STATE = state_topic("uns-host-1")


def node(plc: Plc, *urls: str, top: str = DELIVERY, more: str = "") -> str:
    made = opcua_node(WIRING, broker="BROKER", url=plc.url, source=EVERY, top=top)
    listed = ", ".join(f"{{url: {url}{more}}}" for url in urls)
    return made.replace("broker: {url: BROKER}", f"brokers: [{listed}]")


def url_of(edge: Gateway) -> str:
    return edge.runtime.publisher._brokers.address.url


async def tell_state(url: str, *, online: bool, timestamp: int) -> None:
    async with MqttConnection(BrokerAddress(url=url), client_id="state") as connection:
        state = encode_state(HostState(online, timestamp))
        await connection.publish_acknowledged(Message(STATE, state, qos=1, retain=True))


async def test_a_broker_that_dies_is_followed_by_the_next(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with mosquitto(tmp_path / "a") as one, mosquitto(tmp_path / "b") as two:
        async with (
            Plc(VARIABLES) as plc,
            confirming_host(two.url) as host,
            gateway(load(tmp_path, node(plc, one.url, two.url))) as edge,
        ):
            await eventually(lambda: edge.stats["online"] and edge.stats["stored"] == 1)
            assert url_of(edge) == one.url
            await plc.write("Count", 1)
            one.kill()
            await plc.write("Count", 2)
            await eventually(lambda: edge.stats["online"] and url_of(edge) == two.url)
            await eventually(lambda: edge.stats["waiting"] == 0)
            assert {s.value for s in host.samples} >= {0, 1, 2}
            assert edge.stats["health"] == ""


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
)
async def test_a_primary_host_that_is_offline_here_is_looked_for_at_the_next_broker(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with mosquitto(tmp_path / "a") as one, mosquitto(tmp_path / "b") as two:
        now_ms = time.time_ns() // 1_000_000
        await tell_state(one.url, online=True, timestamp=now_ms)
        await tell_state(two.url, online=False, timestamp=now_ms)
        top = f"primary_host: uns-host-1\n{DELIVERY}"
        async with Plc(VARIABLES) as plc, gateway(load(tmp_path, node(plc, one.url, two.url, top=top))) as edge:
            await eventually(lambda: edge.stats["online"])
            births = edge.stats["births"]
            async with MqttConnection(BrokerAddress(url=one.url), client_id="watch") as watch:
                await watch.subscribe([("spBv1.0/+/NDEATH/#", 0)])
                await tell_state(one.url, online=False, timestamp=now_ms - 1)  # late: of an older connection
                await tell_state(one.url, online=False, timestamp=now_ms)
                async with asyncio.timeout(10):
                    (death,) = await watch.next_batch()
                assert codec.decode_death(death.payload) == 0
            await eventually(lambda: edge.stats["connects"] >= 4, what="it walks on while the host is nowhere")
            assert edge.stats["births"] == births
            await tell_state(two.url, online=True, timestamp=now_ms - 5_000)  # each broker has a time of its own
            await eventually(lambda: url_of(edge) == two.url and edge.stats["bd_seq"] > 2, what="not taken: too old")
            await tell_state(two.url, online=True, timestamp=now_ms + 1)
            await eventually(lambda: edge.stats["online"] and url_of(edge) == two.url)


async def test_a_primary_host_that_nobody_has_heard_of_is_told(tmp_path: Path) -> None:
    top = f"primary_host: uns-host-1\nprimary_host_wait: 1s\n{DELIVERY}"
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, gateway(load(tmp_path, node(plc, broker.url, top=top))) as edge:
            await eventually(lambda: "no STATE says that primary host 'uns-host-1' is online" in edge.stats["health"])
            assert edge.stats["online"] is False
            await tell_state(broker.url, online=True, timestamp=1)
            await eventually(lambda: edge.stats["online"] and edge.stats["health"] == "")


async def test_a_gateway_may_publish_without_its_primary_host_where_it_is_told_to(tmp_path: Path) -> None:
    top = f"primary_host: uns-host-1\nprimary_host_wait: 1s\nwhen_host_silent: publish\n{DELIVERY}"
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, gateway(load(tmp_path, node(plc, broker.url, top=top))) as edge:
            await eventually(lambda: edge.stats["online"])


# ── a second gateway of the same name ────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-intro-edge-node-id-uniqueness",
    "tck-id-payloads-nbirth-edge-node-descriptor",
    "tck-id-topic-structure-namespace-unique-edge-node-descriptor",
)
@pytest.mark.parametrize("more", ["", ", mqtt: 5"])
async def test_two_gateways_of_one_name_say_so_and_do_not_flap(tmp_path: Path, more: str) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            one, two = (load(tmp_path / name, node(plc, broker.url, more=more)) for name in "ab")
            began = time.monotonic()
            async with gateway(one) as first:
                await eventually(lambda: first.stats["online"])
                async with gateway(two) as second:
                    both = (first, second)
                    text = "another client is online as acme.dallas/gw-1"
                    await eventually(lambda: any(text in g.stats["health"] for g in both), timeout_s=30)
                    assert time.monotonic() - began < 30
                    await eventually(lambda: any(g.stats["online"] for g in both))
                    connects = sum(g.stats["connects"] for g in both)
                    await asyncio.sleep(5)
                    assert sum(g.stats["connects"] for g in both) <= connects + 2
                    assert connects <= 10


async def test_nobody_answers_in_the_name_of_a_node_that_is_alone(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            config = load(tmp_path, node(plc, broker.url))
            address = BrokerAddress(url=broker.url)
            assert await answers_in_our_name(address, config.edge_node, now_ns=time.time_ns()) is False
            async with gateway(config) as edge:
                await eventually(lambda: edge.stats["online"])
                assert await answers_in_our_name(address, config.edge_node, now_ns=time.time_ns())
    assert await answers_in_our_name(address, config.edge_node, now_ns=time.time_ns()) is False


# ── time, and MQTT 5 ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_clock_that_is_set_back_begins_a_new_session_and_one_set_forward_is_followed(tmp_path: Path) -> None:
    offset_s = 0.0
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            async with gateway(load(tmp_path, node(plc, broker.url))) as edge:
                edge.runtime.publisher._clock.wall_ns = lambda: time.time_ns() + int(offset_s * 1e9)
                await eventually(lambda: edge.stats["online"] and edge.stats["waiting"] == 0)
                offset_s = 7200.0
                await eventually(lambda: edge.stats["clock_steps"] == 1)
                assert edge.stats["births"] == 1
                offset_s = 3600.0
                await eventually(lambda: edge.stats["clock_steps"] == 2 and edge.stats["births"] == 2)
                await plc.write("Count", 5)
                await eventually(lambda: 5 in {s.value for s in host.samples})
            births = [b.birth.timestamp_ms for b in host.births if isinstance(b, NodeBorn)]
            now_ms = time.time_ns() // 1_000_000
            assert births[1] is not None
            assert abs(births[1] - now_ms - 3_600_000) < 30_000


@pytest.mark.tck("tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50")
async def test_on_mqtt_5_disconnect_asks_for_the_will(tmp_path: Path) -> None:
    """After the NDEATH that is published at QoS 0, the Will comes at QoS 1 with the same bdSeq; hosts know both."""
    with mosquitto(tmp_path) as broker:
        async with (
            Plc(VARIABLES) as plc,
            confirming_host(broker.url) as host,
            MqttConnection(BrokerAddress(url=broker.url), client_id="watch") as watch,
        ):
            await watch.subscribe([("spBv1.0/+/NDEATH/#", 1)])
            async with gateway(load(tmp_path, node(plc, broker.url, more=", mqtt: 5"))) as edge:
                await eventually(lambda: edge.stats["online"] and edge.stats["confirmed"] == 1)
                assert host.received == 1
                await edge.stop()
            async with asyncio.timeout(10):
                deaths = await watch.next_batch()
                while deaths[-1].qos != 1:
                    deaths += await watch.next_batch()
    assert [(death.qos, codec.decode_death(death.payload)) for death in deaths] == [(0, 0), (1, 0)]


@pytest.mark.tck("tck-id-principles-persistence-clean-session-50")
async def test_a_connection_of_mqtt_5_starts_clean_and_leaves_no_session_behind() -> None:
    connects: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connects.append(await reader.read(1000))
        writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK, success
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(b"\xe0\x02\x8e\x00")  # DISCONNECT: session taken over
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        address = BrokerAddress(url=f"mqtt://127.0.0.1:{port}", mqtt5=True)
        async with MqttConnection(address, client_id="x") as connection:
            with pytest.raises(ConnectionLost):
                await connection.next_batch()
            assert connection.taken_over
    version, flags, properties_length = connects[0][8], connects[0][9], connects[0][12]
    assert (version, flags & 0x02, properties_length) == (5, 0x02, 0)  # no Session Expiry Interval is 0
