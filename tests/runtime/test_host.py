from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.plants import NODE, Plant, plant
from tests.servers import eventually, mosquitto
from uns.adapters.broker import MosquittoProcess
from uns.adapters.http import NotFoundError, get_json, stream_json
from uns.errors import ConfigurationError
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import Property

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path: Path):
    with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def made(tmp_path: Path, broker: MosquittoProcess):
    async with plant(tmp_path, broker.url) as made:
        yield made


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def put_temperatures(made: Plant, count: int, *, start_ms: int | None = None, device: str = "reactor4") -> None:
    start = now_ms() if start_ms is None else start_ms
    for n in range(count):
        made.edge.put(device, [("temperature", 180.0 + n / 10, start + n), ("pressure", 1.5, start + n)])


async def test_a_value_becomes_a_record_a_tick_and_a_present_value(made: Plant):
    await made.start_host()
    await made.start_edge()
    start = now_ms()
    put_temperatures(made, 3, start_ms=start)
    status = await made.until_drained()
    made.account(status)
    assert status["counters"]["recorded"] == 6
    assert status["counters"]["unresolved"] == 6
    await eventually(lambda: len(made.listener.ticks()) == 3)
    tick = made.listener.ticks()[0]
    assert tick["samples"][0]["metric"] == "temperature"
    assert tick["samples"][0]["value"] == 180.0
    assert tick["context"]["status"] == "unresolved"
    assert tick["source"]["edge_node_id"] == "gw-1"
    await eventually(lambda: made.listener.of("reactor4/_pv/temperature"))
    await eventually(lambda: made.listener.of("reactor4/_health"))
    assert made.listener.of("reactor4/_health")[-1]["gateways"][0]["state"] == "online"
    assert made.listener.of("reactor4/_meta/temperature")[-1]["source_address"] == "nsu=urn:plc;s=temperature"
    (row,) = made.query("SELECT value_num, unit, edge_node_id FROM records WHERE metric = 'temperature' LIMIT 1")
    assert row == (180.0, "CEL", "gw-1")


async def test_facts_are_answered_and_resolve_what_was_recorded_before(made: Plant):
    await made.start_host()
    await made.start_edge()
    put_temperatures(made, 5)
    await made.until_drained()
    began = "2020-01-01T00:00:00Z"
    answer = await made.tell(id="mes:1", kind="job", job_order="WO-1/10", work_order="WO-1", valid_from=began)
    assert (answer["id"], answer["source_rev"], answer["accepted"], answer["rev"]) == ("mes:1", "1", True, 1)
    await made.tell(id="s:1", kind="lot", source="scanner", lot="L-1", valid_from=began)
    status = await made.until_drained()
    made.account(status)
    assert status["counters"]["resolved"] == 10
    assert status["counters"]["restated_intervals"] >= 1
    await eventually(lambda: made.listener.of("/_res/"))
    assert made.query("SELECT DISTINCT work_order, status FROM records") == [("WO-1", "resolved")]
    # The same message gets the same answer, another content under the same name is refused.
    again = await made.tell(id="mes:1", kind="job", job_order="WO-1/10", work_order="WO-1", valid_from=began)
    assert again["accepted"]
    other = await made.tell(id="mes:1", kind="job", job_order="WO-2/10", work_order="WO-2", valid_from=began)
    assert not other["accepted"]


async def test_a_fact_told_while_the_host_was_away_is_taken_when_it_returns(made: Plant):
    await made.start_host()
    await made.stop_host()
    fact = {
        "schema": "uns1.fact/1", "id": "mes:9", "kind": "job", "equipment": "reactor4", "job_order": "WO-9/1",
        "work_order": "WO-9", "valid_from": "2020-01-01T00:00:00Z", "source": "mes", "source_rev": "1",
    }  # fmt: skip
    await made.publish("uns1/acme/dallas/_fact/mes/job", json.dumps(fact).encode())
    await made.start_host()
    await eventually(lambda: made.listener.of("/_fact_result/"), what="the answer")
    assert made.listener.of("/_fact_result/mes/job")[0]["accepted"]


async def test_a_broken_fact_is_refused_with_the_reason_and_kept(made: Plant):
    await made.start_host()
    await made.publish("uns1/acme/dallas/_fact/mes/job", b'{"id":"x","source_rev":"7","kind":"job"}')
    await eventually(lambda: made.listener.of("/_fact_result/mes/job"))
    answer = made.listener.of("/_fact_result/mes/job")[0]
    assert (answer["id"], answer["source_rev"], answer["accepted"]) == ("x", "7", False)
    await eventually(lambda: made.listener.of("uns1/_dlq/host"))
    await made.publish("uns1/acme/dallas/_fact/mes/job", b"\xff\x00")
    await eventually(lambda: len(made.listener.of("/_fact_result/mes/job")) == 2)
    await made.publish("uns1/acme/nowhere/_fact/mes/job", b"{}")
    await eventually(lambda: len(made.listener.of("uns1/_dlq/host")) == 3)
    assert (await made.status())["facts_connected"]


async def test_strange_values_are_recorded_as_they_are(made: Plant):
    await made.start_host()
    await made.start_edge()
    at = now_ms()
    bad = (Property("status_code", DataType.UINT32, 0x80050000), Property("Quality", DataType.INT32, 0))
    made.edge.put("reactor4", [("temperature", float("nan"), at), ("total", 2**64 - 1, at)])
    made.edge.put("reactor4", [("pressure", None, at)], properties={0: bad})
    made.edge.put("reactor4", [("temperature", 1.0, at)], properties={0: (Property("ordinal", DataType.UINT32, 1),)})
    made.account(await made.until_drained())
    rows = made.query(
        "SELECT metric, value_num, value_int, value_text, quality, ordinal FROM records ORDER BY position"
    )
    assert rows == [
        ("temperature", None, None, "NaN", "good", 0),
        ("total", None, None, str(2**64 - 1), "good", 0),
        ("pressure", None, None, None, "bad", 0),
        ("temperature", 1.0, None, None, "good", 1),
    ]


async def test_what_the_tree_does_not_know_is_announced_counted_and_kept(made: Plant):
    from uns.sparkplug.metrics import BirthMetric

    made.edge._devices["reactor4"].append(BirthMetric(name="vibration", datatype=DataType.DOUBLE))
    made.edge._devices["mystery"] = [BirthMetric(name="x", datatype=DataType.INT32)]
    await made.start_host()
    await made.start_edge()
    at = now_ms()
    made.edge.put("reactor4", [("temperature", 1.0, at), ("vibration", 2.0, at)])
    made.edge.put("mystery", [("x", 5, at)])
    status = await made.until_drained()
    made.account(status)
    assert status["counters"]["unmapped"] == 2
    await eventually(lambda: made.listener.of("uns1/_unmapped/acme.dallas/gw-1/mystery"))
    report = made.listener.of("uns1/_unmapped/acme.dallas/gw-1/reactor4")[-1]
    assert [m["metric"] for m in report["metrics"]] == ["vibration"]
    assert made.query("SELECT kind, device_id, metric FROM unrecorded ORDER BY device_id") == [
        ("unmapped", "mystery", "x"),
        ("unmapped", "reactor4", "vibration"),
    ]


async def test_garbage_on_sparkplug_topics_stops_nobody(made: Plant):
    await made.start_host()
    await made.start_edge()
    for topic in (
        "spBv1.0/acme.dallas/DDATA/gw-1/reactor4",
        "spBv1.0/acme.dallas/NBIRTH/gw-9",
        "spBv1.0/acme.dallas/NONSENSE/gw-1",
        "spBv1.0/acme.dallas",
        "uns1/_mark/acme.dallas/gw-1",
    ):
        await made.publish(topic, b"\xff\xff\xff\xff garbage", qos=0)
    put_temperatures(made, 10)
    status = await made.until_drained()
    counters = status["counters"]
    assert counters["recorded"] == 20
    assert counters["rejected"] == 1  # the malformed DDATA, as one; its count makes a mark fail, and rows come again
    assert counters["received"] == 21 + counters["duplicates_dropped"]
    await eventually(lambda: made.listener.of("uns1/_dlq/host"))


async def test_a_dead_edge_node_makes_its_values_stale(made: Plant):
    await made.start_host()
    await made.start_edge()
    put_temperatures(made, 1)
    await made.until_drained()
    await eventually(lambda: made.listener.of("reactor4/_pv/temperature"))
    assert made.edge.connection is not None
    made.tasks.pop("edge").cancel()
    await eventually(lambda: made.listener.of("reactor4/_pv/temperature")[-1]["quality"] == "stale")
    assert made.listener.of("reactor4/_health")[-1]["gateways"][0]["state"] == "offline"


async def test_history_written_while_the_host_was_down_arrives_once(made: Plant):
    await made.start_edge()
    start = now_ms()
    put_temperatures(made, 50, start_ms=start)
    await asyncio.sleep(0.3)  # marks go unanswered meanwhile; nothing depends on how many
    await made.start_host()
    put_temperatures(made, 50, start_ms=start + 1_000)
    status = await made.until_drained()
    made.account(status)
    assert status["counters"]["recorded"] == 200


async def test_a_crash_between_raw_log_and_join_loses_nothing_and_doubles_nothing(made: Plant):
    host = await made.start_host()
    await made.start_edge()
    put_temperatures(made, 20)
    await made.until_drained()
    # The raw log takes and confirms, the record log takes nothing any more: then the process dies.
    host.joiner._record_writes.submit(time.sleep, 0.7)
    put_temperatures(made, 200)
    await eventually(lambda: made.edge.waiting == 0, what="all is confirmed")
    assert host.joiner.joined < host.joiner.head
    await made.crash_host()
    await made.start_host()
    status = await made.until_drained()
    made.account(status)
    assert status["activity"]["reread"] > 0
    assert status["counters"]["duplicates_dropped"] == 0


async def test_a_restarted_host_reads_the_births_it_held_and_asks_for_no_rebirth(made: Plant):
    await made.start_host()
    await made.start_edge()
    put_temperatures(made, 5)
    await made.until_drained()
    births = made.edge.births
    await made.stop_host()
    put_temperatures(made, 5, start_ms=now_ms() + 10)
    await asyncio.sleep(0.2)
    await made.start_host()
    status = await made.until_drained()
    made.account(status)
    assert made.edge.births == births
    assert status["edge_nodes"][0]["online"]


async def test_a_restarted_broker_is_found_again_and_nothing_is_lost(made: Plant, broker: MosquittoProcess):
    await made.start_host()
    await made.start_edge()
    put_temperatures(made, 30)
    broker.kill()
    put_temperatures(made, 30, start_ms=now_ms() + 100)
    await asyncio.sleep(0.2)
    broker.start()
    put_temperatures(made, 30, start_ms=now_ms() + 200)
    status = await made.until_drained(timeout_s=30)
    made.account(status)
    assert status["counters"]["recorded"] == 180


async def test_the_host_waits_for_a_broker_that_is_not_there_yet(tmp_path: Path, broker: MosquittoProcess):
    broker.kill()
    async with plant(tmp_path, broker.url) as made:
        starting = asyncio.create_task(made.start_host())
        await eventually(lambda: made.host is not None and made.host.session is not None)
        await asyncio.sleep(0.3)
        assert not starting.done()
        broker.start()
        await asyncio.wait_for(starting, 20)


async def test_a_full_raw_log_refuses_marks_keeps_values_alive_and_recovers(made: Plant):
    host = await made.start_host()
    await made.start_edge()
    put_temperatures(made, 5)
    await made.until_drained()
    host.raw.limit(host.raw._database.used_bytes() + 8192)
    stored = made.edge.stored
    for n in range(300):
        made.edge.put("reactor4", [("temperature", float(n), now_ms() + n), ("batch/phase", "x" * 2_000, now_ms() + n)])
    await eventually(lambda: host.announcer.troubles.get("raw_log"), what="the host says that its log is full")
    assert made.edge.waiting > 0
    await eventually(lambda: "host" in made.listener.of("reactor4/_health")[-1], what="_health says so")
    made.edge.put("reactor4", [("pressure", 9.5, now_ms() + 1_000)])
    await eventually(
        lambda: any(pv["value"] == 9.5 for pv in made.listener.of("reactor4/_pv/pressure")), what="_pv is alive"
    )
    host.raw.limit(None)
    status = await made.until_drained(timeout_s=40)
    made.account(status)
    assert made.edge.stored > stored
    await eventually(lambda: not host.announcer.troubles, what="it works again")
    await eventually(lambda: "host" not in made.listener.of("reactor4/_health")[-1], what="_health says so")


async def test_a_full_record_log_holds_joining_back_and_loses_nothing(made: Plant):
    host = await made.start_host()
    await made.start_edge()
    put_temperatures(made, 5)
    await made.until_drained()
    host.records.limit(host.records.used_bytes() + 8192)
    put_temperatures(made, 2_000)
    await eventually(lambda: host.announcer.troubles.get("record_log"), what="the host says that its log is full")
    await eventually(lambda: made.edge.waiting == 0, what="the raw log confirms meanwhile")
    host.records.limit(None)
    made.account(await made.until_drained(timeout_s=30))
    await eventually(lambda: not host.announcer.troubles, what="it works again")


async def test_joining_that_falls_behind_reads_the_raw_log_again(made: Plant):
    from uns.runtime.host.joiner import JoinerLimits

    host = await made.start_host(
        joining=JoinerLimits(waiting_samples_max=50, commit_samples_max=20, reread_messages_max=7)
    )
    await made.start_edge()
    host.joiner._record_writes.submit(time.sleep, 0.5)
    put_temperatures(made, 300)
    status = await made.until_drained()
    made.account(status)
    assert status["activity"]["fell_behind"] >= 1
    assert status["activity"]["reread"] > 100


async def test_a_payload_that_breaks_the_enricher_is_set_aside_alone(made: Plant, monkeypatch):
    from uns.enrichment.pipeline import Enricher

    receive = Enricher.receive_batch

    def poisoned(self, batch, now_ns, **limits):
        if 666.0 in batch.values:
            raise RuntimeError("a bug of ours")
        receive(self, batch, now_ns, **limits)

    monkeypatch.setattr(Enricher, "receive_batch", poisoned)
    await made.start_host()
    await made.start_edge()
    put_temperatures(made, 10)
    made.edge.put("reactor4", [("temperature", 666.0, now_ms() + 500), ("pressure", 1.0, now_ms() + 500)])
    put_temperatures(made, 10, start_ms=now_ms() + 1_000)
    status = await made.until_drained()
    made.account(status)
    assert status["counters"]["rejected"] == 2
    assert status["counters"]["recorded"] == 40


async def test_the_outbox_is_published_after_a_restart_without_a_broker_in_between(
    made: Plant, broker: MosquittoProcess
):
    host = await made.start_host()
    await made.start_edge()
    put_temperatures(made, 3)
    await made.until_drained()
    await eventually(lambda: len(made.listener.ticks()) == 3)
    host.output._limits = type(host.output._limits)(unacknowledged_messages_max=0)  # publishes nothing any more
    put_temperatures(made, 4, start_ms=now_ms() + 100)
    await eventually(lambda: host.output.outbox_waiting == 4)
    await made.crash_host()
    assert made.query("SELECT count(*) FROM outbox") == [(4,)]
    await made.start_host()
    await eventually(lambda: len(made.listener.ticks()) == 7)
    spans = [(tick["log"]["after"], tick["log"]["to"]) for tick in made.listener.ticks()]
    assert all(after == before_to for (_, before_to), (after, _) in itertools.pairwise(spans)), spans


async def test_full_outbox_bounds_hold_joining_back_while_marks_are_answered(made: Plant):
    from uns.runtime.host.output import OutputLimits

    host = await made.start_host(output=OutputLimits(outbox_messages_max=10, unacknowledged_messages_max=0))
    await made.start_edge()
    for _ in range(6):
        put_temperatures(made, 20, start_ms=now_ms() + 100)
        await asyncio.sleep(0.1)
    await eventually(lambda: made.edge.waiting == 0, what="marks are answered")
    assert host.joiner.joined < host.joiner.head
    host.output._limits = OutputLimits()
    host.output._wake.set()
    made.account(await made.until_drained())


async def test_a_second_host_on_the_same_store_is_refused(made: Plant):
    from uns.runtime.host.process import _lock

    with _lock(made.store), pytest.raises(ConfigurationError, match="another host"), _lock(made.store):
        pass


async def test_a_dropped_gap_becomes_an_event_and_a_row(made: Plant):
    await made.start_host()
    await made.start_edge()
    text = '{"from":"2026-06-03T12:00:01.000Z","to":"2026-06-03T12:00:09.000Z","count":5,"reason":"store full"}'
    made.edge.put(None, [("uns/gap", text, now_ms())])
    await eventually(lambda: made.listener.of("/_event/line2/reactor4/gap"))
    made.account(await made.until_drained())
    question = "SELECT from_time, to_time, samples, detail FROM gaps WHERE equipment = 'reactor4'"
    assert made.query(question) == [("2026-06-03T12:00:01.000Z", "2026-06-03T12:00:09.000Z", 5, "store full")]


@pytest.mark.parametrize(("silent_s", "status"), [(1, "filled"), (100, "closed")])
async def test_a_lost_connection_leaves_the_gap_that_history_does_not_cover(made: Plant, silent_s: int, status: str):
    await made.start_host()
    await made.start_edge()
    after = now_ms() - 1_000
    before, during = after - 1_000 * silent_s - 1_000, after - 1_000 * silent_s
    made.edge.put("reactor4", [("temperature", 181.0, before)])
    await made.until_drained()
    assert made.edge.connection is not None
    made.edge.connection.abort()
    made.edge.put("reactor4", [("temperature", 182.0, during)])  # it was read, and not sent
    await eventually(lambda: len(made.edge.sessions) == 2)
    made.edge.put("reactor4", [("temperature", 183.0, after)])
    made.account(await made.until_drained())
    gaps = "SELECT status, reason, from_ns / 1000000, to_ns / 1000000 FROM gaps WHERE equipment = 'reactor4'"
    assert made.query(gaps) == [(status, "death", during, after)]
    first = "SELECT status, from_ns / 1000000 FROM gaps_all_revisions WHERE equipment = 'reactor4' ORDER BY rev"
    assert made.query(first)[0] == ("open", before)


# --- the API ------------------------------------------------------------------------------------------------------


async def test_the_api_shows_the_namespace_and_tells_the_story_of_a_record(made: Plant):
    await made.start_host()
    await made.start_edge()
    began = "2020-01-01T00:00:00Z"
    await made.tell(id="mes:1", kind="job", job_order="WO-1/10", work_order="WO-1", valid_from=began)
    await made.tell(id="s:1", kind="lot", source="scanner", lot="L-1", valid_from=began)
    at = 1_780_515_120_125  # 2026-06-03T19:32:00.125Z
    made.edge.put("reactor4", [("temperature", 182.0, at)])
    await made.until_drained()
    shown = await get_json(made.api, "/ls", {})
    assert [child["name"] for child in shown["children"]] == ["dallas"]
    shown = await get_json(made.api, "/ls", {"path": "acme/dallas/line2"})
    assert [child["id"] for child in shown["children"]] == ["reactor4", "reactor5"]
    got = await get_json(made.api, "/get", {"path": "reactor4/temperature"})
    assert (got["value"], got["time"], got["context"]["work_order"]) == (182.0, "2026-06-03T19:32:00.125Z", "WO-1")
    got = await get_json(made.api, "/get", {"path": "acme/dallas/line2/reactor4"})
    assert {m["metric"]: m.get("value") for m in got["metrics"]}["temperature"] == 182.0
    story = await get_json(made.api, "/explain", {"path": "reactor4/temperature"})
    assert story["sentence"] == (
        "182.0 °C was read on Reactor 4, during Work Order WO-1, producing Lot L-1, at 14:32:00.125 −05:00 on 3 June."  # noqa: RUF001
    )
    assert story["way"]["gateway"] == "gw-1"
    assert story["way"]["source_address"] == "nsu=urn:plc;s=temperature"
    assert {fact["id"] for fact in story["facts"]} == {"mes:1", "s:1"}
    assert story["revisions"][-1]["work_order"] == "WO-1"
    facts = await get_json(made.api, "/facts", {"kind": "lot"})
    assert [fact["id"] for fact in facts["facts"]] == ["s:1"]
    assert (await get_json(made.api, "/health"))["ok"]
    assert (await get_json(made.api, "/tick"))["tick"]["context"]["work_order"] == "WO-1"
    for path in ("nothing", "reactor4/nothing"):
        with pytest.raises(NotFoundError):
            await get_json(made.api, "/get", {"path": path})
    with pytest.raises(NotFoundError, match="before"):
        await get_json(made.api, "/get", {"path": "reactor4/temperature", "at": "2001-01-01T00:00:00Z"})
    with pytest.raises(ConfigurationError, match="zone"):
        await get_json(made.api, "/get", {"path": "reactor4/temperature", "at": "2001-01-01T00:00:00"})


async def test_a_32_bit_value_is_shown_as_it_was_said(made: Plant):
    await made.start_host()
    await made.start_edge()
    made.edge.put("reactor4", [("temperature", 26.1, 1_780_515_120_125)])  # 26.100000381469727 in 64 bits
    await made.until_drained()
    assert (await get_json(made.api, "/get", {"path": "reactor4/temperature"}))["value"] == 26.1
    story = await get_json(made.api, "/explain", {"path": "reactor4/temperature"})
    assert story["sentence"].startswith("26.1 °C was read on Reactor 4")


async def test_the_revisions_of_a_record_begin_when_it_was_recorded(made: Plant):
    await made.start_host()
    await made.start_edge()
    began = "2026-06-03T19:00:00Z"
    for lot in (
        "L-1",
        "L-2",
        "L-3",
    ):  # none has an end: each speaks of all the future
        await made.tell(id="s:1", source_rev=lot[2:], kind="lot", source="scanner", lot=lot, valid_from=began)
    made.edge.put("reactor4", [("temperature", 182.0, 1_780_515_120_125)])
    await made.until_drained()
    await made.tell(id="s:1", source_rev="4", kind="lot", source="scanner", lot="L-4", valid_from=began)
    story = await get_json(made.api, "/explain", {"path": "reactor4/temperature"})
    assert [revision["context"]["lots"] for revision in story["revisions"]] == [["L-3"], ["L-4"]]


async def test_watching_shows_samples_as_they_are_recorded(made: Plant):
    await made.start_host()
    await made.start_edge()
    lines: list[dict[str, Any]] = []

    async def watch() -> None:
        async for line in stream_json(made.api, "/watch", {"path": "reactor4/temperature"}):
            lines.append(line)  # noqa: PERF401 - seen while it grows

    task = asyncio.create_task(watch())
    await eventually(lambda: lines, what="the stream has begun")
    put_temperatures(made, 2)
    put_temperatures(made, 2, device="reactor5")
    await eventually(lambda: len(lines) == 3)
    assert [line["value"] for line in lines[1:]] == [180.0, 180.1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_node_of_these_tests_is_the_trees():
    assert str(NODE) == "acme.dallas/gw-1"


async def test_a_stop_without_a_broker_ends_in_time(made: Plant, broker: MosquittoProcess):
    await made.start_host()
    await made.start_edge()
    put_temperatures(made, 5)
    await made.until_drained()
    broker.kill()
    began = time.monotonic()
    await made.stop_host()
    assert time.monotonic() - began < 10
