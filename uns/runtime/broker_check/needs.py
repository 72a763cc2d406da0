"""What this product needs beyond the eight: access rights that show, queues, sizes, order, retained STATE."""

from __future__ import annotations

import msgspec

from uns.adapters.raw_mqtt import MQTT_3_1_1, MQTT_5, RawMqtt, RawWill
from uns.delivery.messages import confirm_topic, mark_topic
from uns.errors import ConnectionLost, UnreachableError
from uns.runtime.broker_check.probing import ARRIVAL_S, QUIET_S, Probe, Probing, Verdict
from uns.sparkplug.codec import PAYLOAD_BYTES_MAX, encode_death, encode_empty
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

__all__ = ["NEEDS"]

Outcome = tuple[Verdict, str]

QUEUE_MESSAGES = 5_000  # a second of a busy plant
QUEUE_MESSAGE_BYTES = 1_024
_SMALL_BUFFER_BYTES = 16_384
ORDER_MESSAGES = 400
OWN_PAYLOAD_BYTES_MAX = 256 << 10  # of what we send ourselves
# No session has this bdSeq, so by the standard every host ignores the death: it shows the right to write, nothing else.
HARMLESS_BD_SEQ = (1 << 62) - 1


async def _rights(probing: Probing) -> Outcome:
    """Whether what is written on the prefix arrives: a broker denies silently."""
    topic = probing.topic("rights")
    async with await probing.connect("rights", only=topic) as client:
        try:
            codes = await client.subscribe((topic, 1))
        except ConnectionLost:
            return "fails", f"the broker ends the connection at SUBSCRIBE {topic}"
        if codes and codes[0] >= 0x80:
            return "fails", f"SUBSCRIBE {topic} is refused"
        await client.publish(topic, b"seen?")
        if await client.receive(ARRIVAL_S) is not None:
            return "ok", f"what is written on {probing.prefix}/# arrives"
    probing.denied = True
    return "fails", f"PUBACK came, the message did not: {probing.prefix}/# is denied silently, {await _which(probing)}"


async def _which(probing: Probing) -> str:
    """Writing, reading or either: MQTT 5 has an answer to a denied publish, where the broker speaks it."""
    topic = probing.topic("rights")
    try:
        async with await probing.connect("which", version=MQTT_5, only=topic) as client:
            code = await client.publish(topic, b"seen?")
    except UnreachableError:
        return "to write or to read"
    return f"to write (MQTT 5 says so: reason code {code})" if code >= 0x80 else "to write or to read"


async def _node_rights(probing: Probing) -> Outcome:
    """As the gateway of the credential: whether it may write its topics, and read what it has to."""
    if probing.node is None:
        return "not_probed", "no node is named: --as GROUP/NODE probes the topics of that gateway with its credential"
    node = EdgeNodeDescriptor(*probing.node)
    version = MQTT_5 if probing.speaks_5 else MQTT_3_1_1
    written = (node.topic(MessageType.NDEATH), node.topic(MessageType.NDATA), mark_topic(node))
    read = (node.topic(MessageType.NCMD), confirm_topic(node), "spBv1.0/STATE/+")
    denied: list[str] = []
    unknown: list[str] = []
    async with await probing.connect("node", version=version) as client:
        for name in read:
            codes = await client.subscribe((name, 1))
            denied += [f"read {name}"] if codes and codes[0] >= 0x80 else []
        for topic in written:
            code = await _publish_seen(client, topic, answers=version == MQTT_5)
            denied += [f"write {topic}"] if code == "denied" else []
            unknown += [topic] if code == "unknown" else []
    if denied:
        return "fails", f"denied: {', '.join(denied)}"
    if unknown:
        return "warns", (
            f"{', '.join(unknown)}: not answered with a denial, and not seen: this credential may not read what it "
            "writes, and the broker tells it nothing"
        )
    return "ok", f"{len(written)} topics of {node} take what is written, {len(read)} are granted to read"


async def _publish_seen(client: RawMqtt, topic: str, *, answers: bool) -> str:
    """``allowed``, ``denied``, or ``unknown`` where neither a reason code nor the message itself tells.

    With MQTT 5 (``answers``) a denial has a reason code; with 3.1.1 it has the PUBACK of a success.
    """
    await client.subscribe((topic, 1))
    await client.receive_all(QUIET_S / 2)
    payload = b"{}"
    if topic.startswith("spBv1.0/"):
        payload = encode_death(HARMLESS_BD_SEQ) if "/NDEATH/" in topic else encode_empty(0, 0)
    code = await client.publish(topic, payload)
    if code >= 0x80:
        return "denied"
    seen = await client.receive(QUIET_S)
    return "allowed" if answers or (seen is not None and seen.payload == payload) else "unknown"


async def _queue(probing: Probing) -> Outcome:
    topic = probing.topic("queue")
    slow = await probing.connect("slow", only=topic, receive_buffer_bytes=_SMALL_BUFFER_BYTES)
    try:
        await slow.subscribe((topic, 0))
        slow.pause()
        body = b"." * (QUEUE_MESSAGE_BYTES - 8)
        async with await probing.connect("fast") as fast:
            for n in range(QUEUE_MESSAGES):
                fast.publish_now(topic, b"%08d" % n + body)
                if n % 100 == 99:
                    await fast.drain()
            await fast.publish(probing.topic("queue-end"), b"")  # its PUBACK comes after all the others were taken
        slow.resume()
        got = await slow.receive_all(1.5, QUEUE_MESSAGES)
        gone = slow.is_gone
    finally:
        await slow.disconnect()
    if gone:
        return "warns", f"the broker cut a subscriber that was slow for {QUEUE_MESSAGES:,} messages"
    if len(got) < QUEUE_MESSAGES:
        return (
            "warns",
            f"{len(got):,} of {QUEUE_MESSAGES:,} messages reached a subscriber that stood still a moment",
        )
    return "ok", f"all {QUEUE_MESSAGES:,} messages reached a subscriber that stood still a moment"


async def _payload(probing: Probing) -> Outcome:
    largest = 0
    for size in (OWN_PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX):
        topic = probing.topic("payload")
        async with await probing.connect("large", only=topic) as client:
            await client.subscribe((topic, 0))
            try:
                client.publish_now(topic, b"\0" * size)
                await client.drain()
                message = await client.receive(ARRIVAL_S)
            except ConnectionLost:
                message = None
            if message is None or len(message.payload) != size:
                break
            largest = size
    if largest == PAYLOAD_BYTES_MAX:
        return "ok", f"{largest:,} bytes arrived"
    if largest:
        return "warns", f"{largest:,} bytes arrived, {PAYLOAD_BYTES_MAX:,} did not"
    return "fails", f"{OWN_PAYLOAD_BYTES_MAX:,} bytes did not arrive"


async def _order(probing: Probing) -> Outcome:
    """QoS 0 data with QoS 1 marks between, as gateways send; read at QoS 0 as the host does."""
    topic = probing.topic("order")
    async with await probing.observer(topic, qos=0) as observer, await probing.connect("orders") as sender:
        for n in range(ORDER_MESSAGES):
            sender.publish_now(topic, b"%d" % n, qos=n % 10 == 9)
        await sender.drain()
        got = [int(message.payload) for message in await observer.receive_all(1.5, ORDER_MESSAGES)]
    if got == list(range(ORDER_MESSAGES)):
        return "ok", f"{ORDER_MESSAGES} messages of QoS 0 and 1 came in order"
    if sorted(got) == list(range(ORDER_MESSAGES)):
        late = next(n for n, value in enumerate(got) if n != value)
        return "fails", f"message {late} of {ORDER_MESSAGES} was overtaken"
    return "fails", f"{len(set(got))} of {ORDER_MESSAGES} messages came"


async def _qos(probing: Probing) -> Outcome:
    topic = probing.topic("qos")
    async with await probing.observer(topic, qos=1) as observer, await probing.connect("qos") as sender:
        await sender.publish(topic, b"0", qos=0)
        await sender.publish(topic, b"1", qos=1)
        got = {message.payload: message.qos for message in await observer.receive_all(QUIET_S, 2)}
    if got == {b"0": 0, b"1": 1}:
        return "ok", "QoS 0 is delivered at QoS 0, QoS 1 at QoS 1"
    if len(got) < 2:
        return "fails", f"{len(got)} of 2 messages came"
    return "warns", f"QoS 0 is delivered at QoS {got[b'0']}, QoS 1 at QoS {got[b'1']}"


async def _state(probing: Probing) -> Outcome:
    """A host's STATE: retained at QoS 1, deleted by an empty one, and a Will with retain takes its place."""
    topic = probing.topic("STATE")
    online = msgspec.json.encode({"online": True, "timestamp": 1})
    probing.kept.add(topic)
    host = await probing.connect("host", will=RawWill(topic, b"offline", retain=True))
    await host.publish(topic, online, retain=True)
    async with await probing.observer(topic) as first:
        kept = await first.receive(ARRIVAL_S)
        host.cut()
        await first.receive(ARRIVAL_S)
    if kept is None or not kept.retain or kept.payload != online:
        return "fails", "a retained message does not reach a later subscriber" + (" as retained" if kept else "")
    async with await probing.observer(topic) as second:
        will = await second.receive(ARRIVAL_S)
    if will is None or will.payload != b"offline":
        return "fails", "the Will with retain is not kept: a host that died looks online"
    await probing.clear()
    async with await probing.observer(topic) as third:
        if await third.receive(QUIET_S) is not None:
            return "fails", "an empty retained message deletes nothing"
    if kept.qos != 1:
        return "warns", f"kept and replaced by the Will, delivered at QoS {kept.qos}"
    return "ok", "kept at QoS 1, replaced by the Will, deleted by an empty message"


NEEDS: tuple[Probe, ...] = (
    Probe(
        name="rights",
        title="rights of this user on the probe topics",
        run=_rights,
        means_ok="the other probes mean what they say",
        means_not="the other probes cannot be trusted: what they publish is denied, and MQTT 3.1.1 does not say so",
        next_step="allow this user `topic readwrite uns-probe/#` for the check, or use another user",
        needs_two=False,
    ),
    Probe(
        name="node_rights",
        title="rights of a gateway on its own topics",
        run=_node_rights,
        means_ok=(
            "its deaths and marks reach the host; that commands and answers reach it shows when a host sends some, "
            "since mosquitto grants what it then does not deliver"
        ),
        means_not="its values wait in its store: it says `DATA does not arrive: check the broker's ACL`, or nothing",
        next_step="load the list that `uns tree render acl` prints; mosquitto reads its file again on SIGHUP",
    ),
    Probe(
        name="queue",
        title="what a slow subscriber misses",
        run=_queue,
        means_ok="a host that stands still for a moment misses nothing",
        means_not=(
            "DATA is dropped toward a host that stands still; the counts in the marks show it, and gateways send "
            "again from their stores"
        ),
        next_step="mosquitto: max_queued_messages 100000; other brokers have a limit of the same kind",
    ),
    Probe(
        name="payload",
        title="largest payload",
        run=_payload,
        means_ok="births of thousands of metrics pass",
        means_not="a large birth cuts its gateway off, again and again",
        next_step=f"raise the limit to {PAYLOAD_BYTES_MAX + 65_536:,} bytes (mosquitto: message_size_limit)",
        needs_two=False,
    ),
    Probe(
        name="order",
        title="order of QoS 0 data and QoS 1 marks",
        run=_order,
        means_ok="a mark says what came before it",
        means_not="marks overtake data: they are refused and the data sent again, so delivery crawls",
        next_step="use another broker, or `delivery: {level: broker}` without the promise of the host",
        tck_ids=("tck-id-conformance-mqtt-qos0", "tck-id-conformance-mqtt-qos1"),
    ),
    Probe(
        name="qos",
        title="QoS of the publisher is kept",
        run=_qos,
        means_ok="`uns doctor` can grade the QoS of messages at this broker",
        means_not="the QoS of messages cannot be graded here; more acknowledgements than needed",
        next_step="none",
        tck_ids=("tck-id-conformance-mqtt-qos0", "tck-id-conformance-mqtt-qos1"),
    ),
    Probe(
        name="state",
        title="retained STATE of a host",
        run=_state,
        means_ok="gateways that wait for a primary host find its STATE",
        means_not="gateways with `primary_host` wait for ever, or follow a host that is gone",
        next_step="leave `primary_host` out of node files at this broker, or use another one",
        tck_ids=("tck-id-conformance-mqtt-retained", "tck-id-conformance-mqtt-will-messages"),
    ),
)
