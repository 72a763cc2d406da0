"""Rubbish from others on the broker stops nobody: the host goes on, and what it could not use lies in ``_dlq``."""

from __future__ import annotations

import random
import time

import aiomqtt
import pytest

from tests.faults.plant import GATEWAY, GROUP_ID, plant
from tests.faults.process import until

pytestmark = pytest.mark.integration


def rubbish(seed: int) -> list[tuple[str, bytes]]:
    rng = random.Random(seed)
    garbage = [b"", b"\x00", b"{}", b"\xff" * 300, b"[" * 5000, rng.randbytes(50), rng.randbytes(5000)]
    topics = [
        f"spBv1.0/{GROUP_ID}/NBIRTH/foreign",
        f"spBv1.0/{GROUP_ID}/NDATA/foreign",
        f"spBv1.0/{GROUP_ID}/DBIRTH/foreign/device",
        f"spBv1.0/{GROUP_ID}/DDATA/foreign/device",
        f"spBv1.0/{GROUP_ID}/NDEATH/foreign",
        f"spBv1.0/{GROUP_ID}/NOTHING/foreign",
        f"spBv1.0/{GROUP_ID}/NDEATH/{GATEWAY}",
        "spBv1.0/STATE/another-host",
        "spBv1.0/a",
        f"uns1/_mark/{GROUP_ID}/foreign",
        f"uns1/_mark/{GROUP_ID}/{GATEWAY}",
        "uns1/_mark/x",
        "uns1/acme/dallas/_fact/mes/job",
        "uns1/acme/dallas/_fact/mes/nothing",
        "uns1/acme/dallas/_fact",
    ]
    # An empty payload is a readable NDEATH; that one, for our own gateway, is obeyed and healed by a rebirth.
    spoof = (f"spBv1.0/{GROUP_ID}/NDEATH/{GATEWAY}", b"")
    return [message for topic in topics for payload in garbage if (message := (topic, payload)) != spoof]


CONFIRM_TOPIC = f"uns1/_confirm/{GROUP_ID}/{GATEWAY}"
COMMAND_TOPIC = f"spBv1.0/{GROUP_ID}/NCMD/{GATEWAY}"
FOR_THE_EDGE = (b"", b"{}", b"\xff" * 100, b'{"session":"x","n":1,"ok":true}', b"\x08" * 2000)


async def test_rubbish_on_every_topic_stops_nobody_and_costs_no_value(tmp_path):
    async with plant(tmp_path) as made:
        async with aiomqtt.Client("127.0.0.1", made.broker.port, identifier="foreign") as client:
            for topic, payload in rubbish(seed=1):
                await client.publish(topic, payload, qos=1)
            for topic in (CONFIRM_TOPIC, COMMAND_TOPIC):
                for payload in FOR_THE_EDGE:
                    await client.publish(topic, payload, qos=1)
        await made.until_recorded_since(time.time_ns() // 1_000_000)
        await until(lambda: made.observer.topics("_dlq"), "rubbish lies in the dead letters")
        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=True) == []
        assert made.host.running
        assert made.edge.running
        assert "Traceback" not in made.host.output + made.edge.output
