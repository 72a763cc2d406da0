"""Orders and lots on a real host and broker; and that their view may fail without anybody noticing."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.plants import Plant, plant
from tests.servers import eventually, mosquitto
from uns.actuals.order_board import OrderLimits
from uns.adapters.broker import MosquittoProcess
from uns.adapters.mqtt import MqttConnection
from uns.namespace.acl import access_grants
from uns.runtime.host.order_state import OrderFollower, OrderStateLimits

pytestmark = pytest.mark.integration

WO = "uns1/acme/dallas/_wo/WO-1"
LOT = "uns1/acme/dallas/_lot/L-1"
BEGAN = "2020-01-01T00:00:00Z"
QUICK = OrderStateLimits(shown=OrderLimits(interval_ns=50_000_000), share_max=0.5, look_every_s=0.02)


@pytest.fixture
def broker(tmp_path: Path):
    with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def made(tmp_path: Path, broker: MosquittoProcess) -> AsyncIterator[Plant]:
    async with plant(tmp_path, broker.url) as made:
        yield made


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def count(made: Plant, value: int) -> None:
    made.edge.put("reactor4", [("batch/count", value, now_ms())])


async def start_job(made: Plant, *, valid_from: str = BEGAN, **fields: Any) -> None:
    names = {"id": "mes:1", "job_order": "WO-1/10", "work_order": "WO-1", "operation": "10"}
    answer = await made.tell(kind="job", valid_from=valid_from, **names | fields)
    assert answer["accepted"], answer


def good_of(document: Any) -> str | None:
    found: str | None = document["jobs"][0].get("good", {}).get("value")
    return found


async def retained(made: Plant, topic: str) -> Any:
    """What a client is given that subscribes now."""
    async with MqttConnection(made.address, client_id="late") as connection:
        await connection.subscribe([(topic, 1)])
        message = (await connection.next_batch())[0]
        assert message.retain
        assert message.qos == 1
        return json.loads(message.payload)


async def shown(made: Plant, topic: str, quantity: str) -> Any:
    await eventually(
        lambda: any(d and good_of(d) == quantity for d in made.listener.of(topic)[-1:]), what=f"{quantity} on {topic}"
    )
    return made.listener.of(topic)[-1]


async def test_an_order_and_its_lot_are_retained_and_follow_the_counter(made: Plant) -> None:
    await made.start_host(orders=QUICK)
    await made.start_edge()
    await start_job(made)
    await made.tell(id="s:1", kind="lot", source="scanner", lot="L-1", use="Produced", valid_from=BEGAN)
    count(made, 10)
    count(made, 14)
    document = await shown(made, WO, "4")
    assert (document["schema"], document["state"]) == ("uns1.work_order_state/1", "Running")
    await shown(made, LOT, "4")
    count(made, 20)
    await shown(made, WO, "10")
    assert good_of(await retained(made, WO)) == "10"
    status = await made.until_drained()
    assert status["orders"]["topics"] == 2
    assert status["orders"]["failures"] == 0


async def test_after_a_crash_they_are_derived_from_the_log_and_a_deleted_fact_takes_them_away(made: Plant) -> None:
    await made.start_host(orders=QUICK)
    await made.start_edge()
    await start_job(made)
    count(made, 10)
    count(made, 14)
    await shown(made, WO, "4")
    await made.crash_host()
    seen = len(made.listener.of(WO))
    await made.start_host(orders=QUICK)
    await eventually(lambda: len(made.listener.of(WO)) > seen, what="the order is shown again")
    assert good_of(made.listener.of(WO)[-1]) == "4"
    await start_job(made, source_rev="2", action="delete")
    await eventually(lambda: made.listener.of(WO)[-1] is None, what="the order is taken away")


class Broken(OrderFollower):
    """Fails at each step."""

    def step(self, now_ns: int) -> Any:
        raise RuntimeError("planted")


async def test_a_view_that_fails_neither_slows_nor_stops_recording_and_is_told(
    made: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = OrderFollower.step
    monkeypatch.setattr(OrderFollower, "step", Broken.step)
    await made.start_host(orders=QUICK)
    await made.start_edge()
    await start_job(made)
    for value in range(200):
        count(made, value)
    status = await made.until_drained()
    made.account(status)
    assert status["counters"]["recorded"] == 200
    await eventually(lambda: made.host is not None and made.host.orders.failures > 0, what="it has failed")
    status = await made.status()
    assert "planted" in status["orders"]["trouble"]
    assert status["troubles"] == {}
    assert made.listener.of(WO) == []
    monkeypatch.setattr(OrderFollower, "step", step)
    await shown(made, WO, "199")
    assert (await made.status())["orders"]["trouble"] is None


def test_the_output_connection_alone_may_write_them(made: Plant) -> None:
    grants = access_grants(made.tree)
    for topic in ("uns1/acme/dallas/_wo/+", "uns1/acme/dallas/_lot/+"):
        assert [grant.credential for grant in grants if topic in grant.write] == ["uns-host-1-out"]
