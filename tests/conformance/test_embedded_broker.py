"""The embedded broker as a Sparkplug aware one: what it meets, and what amqtt cannot (the ledger says `not met`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.servers import eventually
from uns.adapters.broker import CERTIFICATES_TOPIC, BirthCertificates, EmbeddedBroker
from uns.adapters.broker_address import BrokerAddress
from uns.adapters.raw_mqtt import RawMessage, RawMqtt, RawWill
from uns.runtime.broker_check.needs import NEEDS
from uns.runtime.broker_check.probing import Probing
from uns.runtime.broker_check.standard import STANDARD_PROBES
from uns.sparkplug import codec

pytestmark = pytest.mark.integration

NBIRTH = "spBv1.0/G/NBIRTH/N"
DBIRTH = "spBv1.0/G/DBIRTH/N/D"
NDEATH = "spBv1.0/G/NDEATH/N"
BIRTHS = {NBIRTH: codec.encode_birth([], timestamp_ms=1, seq=0), DBIRTH: codec.encode_birth([], timestamp_ms=1, seq=1)}


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running


def kept_by(broker: EmbeddedBroker) -> BirthCertificates:
    assert broker.certificates is not None
    return broker.certificates


def stored(broker: EmbeddedBroker) -> dict[str, bytes]:
    kept = kept_by(broker).context.retained_messages
    return {topic: bytes(message.data) for topic, message in kept.items()}


async def client(broker: EmbeddedBroker, name: str, will: RawWill | None = None) -> RawMqtt:
    return await RawMqtt.open(BrokerAddress(url=broker.url), client_id=name, will=will)


async def send(broker: EmbeddedBroker, *messages: tuple[str, bytes]) -> None:
    async with await client(broker, "sender") as sender:
        for topic, payload in messages:
            await sender.publish(topic, payload, qos=0)
        await sender.publish("done", b"x", qos=1)


async def certificates(broker: EmbeddedBroker) -> list[RawMessage]:
    async with await client(broker, "reader") as reader:
        await reader.subscribe((f"{CERTIFICATES_TOPIC}/#", 0))
        return await reader.receive_all(0.3)


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-conformance-mqtt-aware-store")
@pytest.mark.tck("tck-id-conformance-mqtt-aware-nbirth-mqtt-topic")
@pytest.mark.tck("tck-id-conformance-mqtt-aware-nbirth-mqtt-retain")
@pytest.mark.tck("tck-id-conformance-mqtt-aware-dbirth-mqtt-topic")
@pytest.mark.tck("tck-id-conformance-mqtt-aware-dbirth-mqtt-retain")
async def test_births_are_kept_as_certificates_and_nothing_else_is(broker):
    others = [(f"spBv1.0/G/{kind}/N", b"\x18\x01") for kind in ("NDATA", "NDEATH", "NCMD")]
    others += [("spBv1.0/STATE/h", b"{}"), ("spBv1.0/G/NBIRTH", b"x"), ("other/G/NBIRTH/N", b"x"), ("spBv1.0", b"x")]
    await send(broker, *BIRTHS.items(), *others)
    found = await certificates(broker)
    assert {message.topic: message.payload for message in found} == {
        "$sparkplug/certificates/spBv1.0/G/NBIRTH/N": BIRTHS[NBIRTH],
        "$sparkplug/certificates/spBv1.0/G/DBIRTH/N/D": BIRTHS[DBIRTH],
    }
    assert all(message.retain for message in found)


async def test_the_newest_birth_is_the_certificate_and_who_listens_already_gets_it(broker):
    async with await client(broker, "listener") as listener:
        await listener.subscribe((f"{CERTIFICATES_TOPIC}/#", 0))
        await send(broker, (NBIRTH, b"\x18\x00"), (NBIRTH, BIRTHS[NBIRTH]))
        live = await listener.receive_all(0.5, 2)
    assert [(message.payload, message.retain) for message in live] == [(b"\x18\x00", False), (BIRTHS[NBIRTH], False)]
    assert stored(broker) == {f"{CERTIFICATES_TOPIC}/{NBIRTH}": BIRTHS[NBIRTH]}


async def test_a_death_or_an_empty_message_leaves_the_certificate(broker):
    await send(broker, (NBIRTH, BIRTHS[NBIRTH]), (NDEATH, codec.encode_death(0)), (NBIRTH, b""))
    assert [message.payload for message in await certificates(broker)] == [BIRTHS[NBIRTH]]


async def test_certificates_do_not_come_to_who_subscribes_to_everything(broker):
    await send(broker, *BIRTHS.items())
    async with await client(broker, "all") as everything:
        await everything.subscribe(("#", 0), ("+/certificates/#", 0))
        assert await everything.receive_all(0.3) == []


@pytest.mark.parametrize("retain", [False, True])
async def test_a_client_cannot_publish_a_certificate(broker, retain):
    async with await client(broker, "listener") as listener, await client(broker, "forger") as forger:
        await listener.subscribe(("$sparkplug/#", 0))
        forger.publish_now(f"{CERTIFICATES_TOPIC}/{NBIRTH}", b"forged", retain=retain)
        await forger.drain()
        assert await listener.receive_all(0.3) == []
    assert stored(broker) == {}


async def test_a_client_cannot_leave_a_certificate_as_its_will(broker):
    forger = await client(broker, "forger", RawWill(f"{CERTIFICATES_TOPIC}/{NBIRTH}", b"forged", retain=True))
    assert forger.code != 0
    forger.cut()
    honest = await client(broker, "honest", RawWill(NDEATH, codec.encode_death(0)))
    assert honest.code == 0
    await honest.disconnect()
    assert stored(broker) == {}


async def test_what_finds_no_room_is_counted_and_an_old_certificate_does_not_stay_in_its_place(broker):
    kept = kept_by(broker)
    kept.certificates_max, kept.bytes_max = 2, 100
    await send(broker, (NBIRTH, b"x" * 40), (DBIRTH, b"x" * 40), ("spBv1.0/G/NBIRTH/other", b"x"))
    assert (kept.refused, len(stored(broker))) == (1, 2)
    await send(broker, (DBIRTH, b"x" * 61))
    await eventually(lambda: kept.refused == 2)
    assert list(stored(broker)) == [f"{CERTIFICATES_TOPIC}/{NBIRTH}"]
    await send(broker, (DBIRTH, b"x" * 60), (NBIRTH, b"x" * 39))
    assert (kept.refused, sorted(map(len, stored(broker).values()))) == (2, [39, 60])


@pytest.mark.tck("tck-id-conformance-mqtt-aware-ndeath-timestamp")
async def test_a_death_is_handed_on_as_its_node_wrote_it(broker):
    """The timestamp may be replaced, and then by the time of delivery; here it never is."""
    death = codec.encode_death(7)
    async with await client(broker, "listener") as listener:
        await listener.subscribe((NDEATH, 1))
        await send(broker, (NDEATH, death))
        dying = await client(broker, "node", RawWill(NDEATH, death))
        dying.cut()
        assert [message.payload for message in await listener.receive_all(1.0, 2)] == [death, death]


@pytest.mark.tck("tck-id-conformance-mqtt-qos1")
async def test_qos_1_is_acknowledged_and_delivered_at_qos_1(broker):
    async with await client(broker, "listener") as listener:
        await listener.subscribe(("t", 1))
        async with await client(broker, "sender") as sender:
            await sender.publish("t", b"1", qos=1)
        message = await listener.receive(5)
    assert message == RawMessage("t", b"1", qos=1, retain=False)


# ── not met by the embedded broker ───────────────────────────────────────────────────────────────────────────────────


async def verdict(broker: EmbeddedBroker, name: str) -> tuple[str, str]:
    probe = next(probe for probe in (*STANDARD_PROBES, *NEEDS) if probe.name == name)
    return await probe.run(Probing(BrokerAddress(url=broker.url), token="not-met"))


@pytest.mark.tck("tck-id-conformance-mqtt-qos0")
async def test_not_met_qos_0_is_delivered_at_qos_1(broker):
    assert await verdict(broker, "qos") == ("warns", "QoS 0 is delivered at QoS 1, QoS 1 at QoS 1")


@pytest.mark.tck("tck-id-conformance-mqtt-retained")
async def test_not_met_retained_messages_go_to_clients_that_did_not_ask(broker):
    found, text = await verdict(broker, "retained_leak")
    assert found == "fails", text


@pytest.mark.tck("tck-id-conformance-mqtt-will-messages")
@pytest.mark.tck("tck-id-conformance-mqtt-aware-basic")
async def test_not_met_a_silent_client_keeps_its_connection_and_no_will_is_sent(broker):
    found, text = await verdict(broker, "keep_alive")
    assert (found, "still connected, no Will" in text) == ("fails", True), text


@pytest.mark.tck("tck-id-conformance-mqtt-will-messages")
async def test_not_met_a_client_taken_over_stays_and_no_will_is_sent(broker):
    assert await verdict(broker, "takeover") == ("fails", "both clients with one id stay connected, no Will")


@pytest.mark.tck("tck-id-conformance-mqtt-will-messages")
async def test_not_met_after_a_publish_on_a_broker_topic_the_will_is_never_sent(broker):
    async with await client(broker, "listener") as listener:
        await listener.subscribe((NDEATH, 1))
        node = await client(broker, "node", RawWill(NDEATH, b"\x18\x01"))
        for topic in ("$sparkplug/x", "t"):  # both are acknowledged, and the broker has stopped looking at this client
            await node.publish(topic, b"x", qos=1)
        node.cut()
        assert await listener.receive(1.0) is None


async def test_clients_that_subscribe_do_not_end_one_that_comes_back(broker, caplog):
    """amqtt walks over its subscriptions, and awaits, for each client that connects."""

    async def come(number: int) -> None:
        async with await client(broker, f"client-{number}") as coming:
            for topic in range(5):
                await coming.subscribe((f"here/{number}/{topic}", 0))

    await asyncio.gather(*(come(number) for number in range(30)))
    subscriptions = broker._broker._subscriptions
    for walk in (iter(subscriptions), iter(subscriptions.items())):
        subscriptions["first"] = subscriptions["second"] = []
        next(walk)
        del subscriptions["second"]
        list(walk)
    assert "changed size" not in caplog.text
