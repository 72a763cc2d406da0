"""The host over MQTT 5: the same plant, the same accounts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.runtime.plants import plant
from tests.servers import eventually, mosquitto
from uns.adapters.mqtt import BrokerAddress

pytestmark = pytest.mark.integration


async def test_a_host_of_mqtt_5_records_and_confirms_and_hears_facts_that_were_told_while_it_was_away(tmp_path: Path):
    with mosquitto(tmp_path, settings=("max_inflight_messages 5",)) as broker:
        address = BrokerAddress(url=broker.url, mqtt5=True)
        async with plant(tmp_path, broker.url) as made:
            host = await made.start_host(broker=address)
            await eventually(lambda: host.facts.connected, what="facts are connected")
            await made.start_edge()
            start_ms = time.time_ns() // 1_000_000
            for n in range(20):
                made.edge.put("reactor4", [("temperature", float(n), start_ms + n)])
            made.account(await made.until_drained())
            await made.stop_host()
            await made.publish(
                "uns1/acme/dallas/_fact/mes/job",
                b'{"schema":"uns1.fact/1","id":"7","source":"mes","source_rev":"1","kind":"job",'
                b'"equipment":"reactor4","from":"2026-01-01T00:00:00Z","job_order":"J1","work_order":"W1"}',
            )
            again = await made.start_host(broker=address)
            await eventually(lambda: again.facts.counters["facts_received"] == 1, what="the fact waited for the host")
            status = await made.until_drained()
            made.account(status)
            assert status["counters"]["recorded"] == 20
