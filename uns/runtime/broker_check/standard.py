"""The eight probes: what Sparkplug needs of any broker, and where known brokers fail."""

from __future__ import annotations

import asyncio
import time

from uns.adapters.raw_mqtt import MQTT_5, RawMqtt, RawWill
from uns.errors import ConnectionLost, UnreachableError
from uns.runtime.broker_check.probing import ARRIVAL_S, QUIET_S, Probe, Probing, Verdict

__all__ = ["KEEP_ALIVE_S", "STANDARD_PROBES"]

KEEP_ALIVE_S = 2
# The standard allows 1.5 times the keep-alive, 3 s. mosquitto looks every 5 s only: 8.4 s were measured.
KEEP_ALIVE_WAIT_S = 15.0
SHARE_MESSAGES = 20
Outcome = tuple[Verdict, str]


async def _will(probing: Probing) -> Outcome:
    topic = probing.topic("will")
    async with await probing.observer(topic) as observer:
        dying = await probing.connect("dies", will=RawWill(topic, b"cut"))
        began = time.monotonic()
        dying.cut()
        message = await observer.receive(ARRIVAL_S)
        if message is None:
            return "fails", f"no Will within {ARRIVAL_S:g} s after the connection was cut"
        after = time.monotonic() - began
        leaving = await probing.connect("leaves", will=RawWill(topic, b"left"))
        await leaving.disconnect()
        if await observer.receive(QUIET_S) is not None:
            return "fails", "a Will after DISCONNECT, too"
        if message.qos != 1:
            return "fails", f"the Will of QoS 1 came at QoS {message.qos}"
    return "ok", f"the Will came {after:.1f} s after the cut, none after DISCONNECT"


async def _takeover(probing: Probing) -> Outcome:
    topic = probing.topic("takeover")
    client_id = probing.client_id("twice")
    async with await probing.observer(topic) as observer:
        first = await probing.connect("first", client_id=client_id, will=RawWill(topic, b"taken over"))
        second = await RawMqtt.open(probing.address, client_id=client_id)
        try:
            closed = await first.gone(2.0)
            will = await observer.receive(ARRIVAL_S if closed else QUIET_S)
            refused = second.code != 0 or second.is_gone
        finally:
            await second.disconnect()
            first.cut()
    if refused:
        return "fails", f"the second client is refused (code {second.code}), the first stays"
    if not closed:
        return "fails", "both clients with one id stay connected" + ("" if will else ", no Will")
    return (
        ("ok", "the old connection is closed and its Will sent") if will else ("warns", "closed, but no Will is sent")
    )


async def _keep_alive(probing: Probing) -> Outcome:
    topic = probing.topic("keep-alive")
    async with await probing.observer(topic) as observer:
        silent = await probing.connect("silent", keep_alive_s=KEEP_ALIVE_S, will=RawWill(topic, b"silent"))
        try:
            began = time.monotonic()
            message = await observer.receive(KEEP_ALIVE_WAIT_S)
            after = time.monotonic() - began
        finally:
            silent.cut()
    if message is None:
        return "fails", f"keep-alive {KEEP_ALIVE_S} s, silent for {KEEP_ALIVE_WAIT_S:g} s: still connected, no Will"
    return "ok", f"keep-alive {KEEP_ALIVE_S} s: the Will of the silent client came after {after:.1f} s"


async def _mqtt_5(probing: Probing) -> Outcome:
    try:
        client = await RawMqtt.open(probing.address, client_id=probing.client_id("five"), version=MQTT_5)
    except ConnectionLost as error:
        return "warns", f"{error.what}"
    async with client:
        if client.code:
            return "warns", f"refused with code {client.code}"
        probing.speaks_5 = True
        probing.properties = client.properties
        await client.subscribe((probing.topic("five"), 0))
        code = await client.publish(probing.topic("five"), b"5")
        if code >= 0x80:
            return "ok", f"accepted; a denied publish is answered with reason code {code}"
        if probing.denied:
            return "ok", "accepted; what it delivers was not probed: see `rights`"
        if await client.receive(ARRIVAL_S) is None:
            return "warns", "accepted, but nothing is delivered"
    return "ok", "accepted"


async def _share(probing: Probing) -> Outcome:
    topic = probing.topic("share")
    consumers = [await probing.connect(f"share{n}", only=topic) for n in range(2)]
    try:
        granted = [await client.subscribe((f"$share/uns-probe/{topic}", 0)) for client in consumers]
        if any(code >= 0x80 for codes in granted for code in codes):
            return "ok", "shared subscriptions are refused"
        async with await probing.connect("sends") as sender:
            for n in range(SHARE_MESSAGES):
                sender.publish_now(topic, str(n).encode())
            await sender.drain()
            counts = [len(await client.receive_all(QUIET_S)) for client in consumers]
    except ConnectionLost:
        return "warns", "the broker ends the connection of whoever asks for one"
    finally:
        for client in consumers:
            await client.disconnect()
    got = " and ".join(map(str, counts))
    if not sum(counts):
        return "warns", "granted, and nothing is ever delivered"
    if sum(counts) != SHARE_MESSAGES:
        return "warns", f"{SHARE_MESSAGES} messages were delivered as {got}"
    return "ok", f"{SHARE_MESSAGES} messages went to two consumers as {got}"


async def _retained_after_restart(probing: Probing) -> Outcome:
    if probing.restart is None:
        return "not_probed", "this broker is not ours to restart (`uns broker check --kind mosquitto` restarts its own)"
    topic = probing.topic("restart")
    async with await probing.connect("keeps") as client:
        await probing.keep(client, topic, b"kept")
    await probing.restart()
    async with await probing.observer(topic) as observer:
        message = await observer.receive(1.5)
    if message is None:
        return "warns", "retained messages are gone after a restart"
    return "ok", "the retained message was there after a restart"


async def _spaces(probing: Probing) -> Outcome:
    topic = probing.topic("a space/in each level")
    async with await probing.connect("space", only=topic) as client:
        try:
            await client.subscribe((topic, 0))
            client.publish_now(topic, b"x")
            message = await client.receive(ARRIVAL_S)
        except ConnectionLost:
            return "fails", "the broker ends the connection of whoever uses a space in a topic"
        if client.is_gone:
            return "fails", "the broker ends the connection of whoever uses a space in a topic"
    if message is None or message.topic != topic:
        return "fails", "not delivered" if message is None else f"delivered as {message.topic!r}"
    return "ok", "delivered"


async def _retained_leak(probing: Probing) -> Outcome:
    kept, other = probing.topic("kept"), probing.topic("other")
    async with await probing.connect("keeps") as keeper:
        await probing.keep(keeper, kept, b"kept")
        async with await probing.observer(kept) as owner:
            if await owner.receive(ARRIVAL_S) is None:
                return "fails", "a retained message is not delivered at all"
            async with await probing.connect("leak") as stranger:
                leaked = await stranger.receive_all(QUIET_S)
                await stranger.subscribe((other, 1))
                leaked += await stranger.receive_all(QUIET_S)
            again = await owner.receive_all(QUIET_S)
    if leaked:
        return "fails", f"a client that did not ask got {leaked[0].topic}"
    if again:
        return "fails", f"the first subscriber got it {len(again)} times more when others connected"
    return "ok", "only who subscribed got the retained message"


async def restore(probing: Probing) -> None:
    """Wait until a broker that was restarted takes connections again."""
    end = time.monotonic() + 10
    while True:
        try:
            async with await probing.connect("again"):
                return
        except UnreachableError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)


STANDARD_PROBES: tuple[Probe, ...] = (
    Probe(
        name="will",
        title="Will when a connection is cut",
        run=_will,
        means_ok="a gateway that is cut off is shown stale at once",
        means_not="a gateway that is cut off stays shown as online, with values that are stale",
        next_step="use another broker: NDEATH and host STATE are Wills",
        tck_ids=("tck-id-conformance-mqtt-will-messages", "tck-id-conformance-mqtt-qos1"),
    ),
    Probe(
        name="takeover",
        title="takeover by a client with the same id",
        run=_takeover,
        means_ok="a gateway that reconnects replaces its own half-open connection",
        means_not=(
            "an old, half-open connection of a gateway lives on beside the new one; the host goes by bdSeq and "
            "stays right, others may see both"
        ),
        next_step="shorten the keep-alive, or use another broker",
    ),
    Probe(
        name="keep_alive",
        title="keep-alive of a silent peer",
        run=_keep_alive,
        means_ok="a gateway that vanished without FIN is found dead after 1.5 times its keep-alive",
        means_not="a gateway that loses power or network never dies: no NDEATH, its values look fresh for ever",
        next_step="use another broker in a plant; the embedded one is for trying things out",
        tck_ids=("tck-id-conformance-mqtt-will-messages",),
    ),
    Probe(
        name="mqtt_5",
        title="MQTT 5",
        run=_mqtt_5,
        means_ok="a denied publish is answered with a reason to gateways with `mqtt: 5`; all else of ours speaks 3.1.1",
        means_not="gateways cannot be set to `mqtt: 5` there; all of ours speaks 3.1.1 unless told so",
        next_step="none",
        needs_two=False,
    ),
    Probe(
        name="share",
        title="shared subscriptions ($share)",
        run=_share,
        means_ok="may be used for stateless consumers of uns1/…; never for spBv1.0, whose messages belong together",
        means_not="consumers that share a subscription would silently get nothing, or not all",
        next_step="do not use $share at this broker",
    ),
    Probe(
        name="retained_after_restart",
        title="retained messages after a restart",
        run=_retained_after_restart,
        means_ok="uns1/… shows its last state right after a restart of the broker",
        means_not="state topics are empty after a restart until their values change; nothing of ours relies on them",
        next_step="mosquitto: persistence true",
    ),
    Probe(
        name="spaces",
        title="spaces in topics",
        run=_spaces,
        means_ok="group, node and device ids may have spaces",
        means_not="an id with a space, which Sparkplug allows, cuts its gateway off",
        next_step="use ids without spaces, or another broker",
        tck_ids=("tck-id-conformance-mqtt-qos0",),
        needs_two=False,
    ),
    Probe(
        name="retained_leak",
        title="retained messages go only to who subscribed",
        run=_retained_leak,
        means_ok="a new connection gets what it asks for",
        means_not="clients get topics that they did not ask for; ours drop them, others may trip over them",
        next_step="use another broker where topics are confidential",
        tck_ids=("tck-id-conformance-mqtt-retained",),
    ),
)
