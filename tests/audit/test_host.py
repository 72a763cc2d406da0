"""A host with a real broker: what it writes down, what its anchor shows, and what an attacker leaves behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.audit.builders import linked
from tests.runtime.plants import Plant, plant
from tests.servers import eventually, mosquitto
from uns.adapters.broker import MosquittoProcess
from uns.adapters.mqtt import MqttConnection
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.audit.chain import AuditEntry
from uns.sparkplug.messages import Message

pytestmark = pytest.mark.integration

TOPIC = "uns1/_audit/uns-host-1"
BEGAN = "2020-01-01T00:00:00Z"


@pytest.fixture
def broker(tmp_path: Path):
    with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def made(tmp_path: Path, broker: MosquittoProcess):
    async with plant(tmp_path, broker.url) as made:
        yield made


def entries(made: Plant, **query: Any) -> list[AuditEntry]:
    with AuditReader(made.store / "records.db") as reader:
        return list(reader.find(AuditQuery(**query)))


def detail_of(entry: AuditEntry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(entry.detail)
    return found


def actions(made: Plant) -> list[str]:
    return [entry.action for entry in entries(made)]


async def uns(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uns", "audit", *words]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


async def verify(made: Plant, *words: str) -> tuple[int, dict[str, Any]]:
    ended = await uns("verify", "--store", str(made.store), "--broker", made.address.url, "--json", *words)
    assert ended.returncode in {0, 1}, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


async def until_anchored(made: Plant) -> dict[str, Any]:
    """The anchor names the last entry of the log."""

    def newest() -> bool:
        anchors = made.listener.of("/_audit/")
        return bool(anchors and anchors[-1]) and anchors[-1]["number"] == entries(made)[-1].number

    await eventually(newest, what="the anchor is the head")
    found: dict[str, Any] = made.listener.of("/_audit/")[-1]
    return found


def tamper(made: Plant, *statements: str) -> None:
    with closing(sqlite3.connect(made.store / "records.db", isolation_level=None, timeout=5)) as connection:
        for name in ("audit_log_is_not_changed", "audit_log_is_not_shortened"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        for statement in statements:
            connection.execute(statement)


async def facts_put(made: Plant) -> None:
    for n in range(1, 6):
        await made.tell(id=f"mes:{n}", kind="job", job_order=f"WO-{n}/10", work_order=f"WO-{n}", valid_from=BEGAN)
    await made.tell(
        id="mes:1", kind="job", job_order="WO-1/20", work_order="WO-1", valid_from=BEGAN, source_rev="2",
        action="change", by="op-17", reason="typed wrong",
    )  # fmt: skip
    await made.tell(id="mes:9", kind="lot", lot="L-1", valid_from=BEGAN)  # mes may not state lots


async def test_facts_put_are_written_down_anchored_and_verified_while_the_host_runs(made: Plant):
    await made.start_host()
    await facts_put(made)
    await made.publish("uns1/acme/dallas/_fact/mes/job", b"no fact at all")
    await eventually(lambda: len(entries(made, action="fact.refused")) == 2, what="both refusals are written down")

    changed = entries(made, subject="mes/mes:1@2")[0]
    assert (changed.actor, changed.action) == ("op-17", "fact.accepted")
    detail = detail_of(changed)
    assert detail["before"] == {"rev": 1, "source_rev": "1"}
    assert detail["changed"] == {"action": ["add", "change"], "job_order": ["WO-1/10", "WO-1/20"]}
    assert (detail["rev"], detail["reason"], detail["source"]) == (2, "typed wrong", "mes")
    first = detail_of(entries(made, subject="mes/mes:1@1")[0])
    assert first["set"]["work_order"] == "WO-1"
    refused = [(entry.actor, detail_of(entry)["reason"]) for entry in entries(made, action="fact.refused")]
    assert refused[0][0] == "mes"
    assert "lot" in refused[0][1]

    anchor = await until_anchored(made)
    assert anchor["component"] == "uns-host-1"
    assert anchor["hash"] == entries(made)[-1].hash
    code, found = await verify(made)
    assert (code, found["ok"], found["findings"]) == (0, True, [])
    assert found["anchored"] == found["entries"] == found["good"] == 3 + 6 + 2


async def test_the_same_message_again_is_no_change(made: Plant):
    await made.start_host()
    for _ in range(2):
        await made.tell(id="mes:1", kind="job", job_order="WO-1/10", work_order="WO-1", valid_from=BEGAN)
    assert len(entries(made, action="fact.")) == 1


async def test_starts_stops_kills_and_settings_are_written_down(made: Plant):
    await made.start_host()
    await made.stop_host()
    anchor = made.listener.of("/_audit/")[-1]
    assert anchor["number"] == entries(made)[-1].number, "a clean stop leaves the newest anchor behind"
    await made.start_host(raw_retention_ns=3_600_000_000_000)
    await made.crash_host()
    await made.start_host(raw_retention_ns=3_600_000_000_000)
    assert actions(made) == [
        "audit.begun",
        "component.started",
        "configuration.set",
        "component.stopped",
        "component.started",
        "configuration.changed",
        "component.stopped_unclean",
        "component.started",
    ]
    changed = detail_of(entries(made)[5])["changed"]
    assert changed == {"raw_retention_ns": [7 * 86_400 * 10**9, 3_600_000_000_000]}
    await until_anchored(made)
    assert (await verify(made))[0] == 0


async def test_a_rebirth_request_is_a_command_and_is_written_down_with_its_cause(made: Plant):
    await made.start_host()
    await made.start_edge()
    await made.stop_host()
    shutil.rmtree(made.store)  # a host that knows no births: it must ask
    await made.start_host()
    made.edge.put("reactor4", [("temperature", 180.0, time.time_ns() // 1_000_000)])
    await eventually(lambda: entries(made, action="command."), what="the command is written down")
    command = entries(made, action="command.")[0]
    assert (command.action, command.actor, command.subject) == ("command.sent", "uns-host-1", "acme.dallas/gw-1")
    assert detail_of(command)["command"] == "rebirth"
    assert detail_of(command)["cause"]


async def test_a_tampered_entry_is_named_while_the_host_runs(made: Plant):
    await made.start_host()
    await facts_put(made)
    await until_anchored(made)
    tamper(made, "UPDATE audit_log SET actor = 'nobody' WHERE number = 9")
    code, found = await verify(made)
    assert code == 1
    assert (found["first_bad"]["kind"], found["first_bad"]["number"], found["good"]) == ("changed", 9, 8)
    ended = await uns("verify", "--store", str(made.store))
    assert ended.returncode == 1
    assert "error: changed: entry 9" in ended.stdout
    assert "now there:" in ended.stdout
    assert "8 entries before it are good" in ended.stdout


async def test_a_tampered_fact_is_named_with_the_entry_that_tells_of_it(made: Plant):
    await made.start_host()
    await facts_put(made)
    await until_anchored(made)
    tamper(made, "UPDATE facts SET body = replace(body, 'op-17', 'op-18') WHERE source_rev = '2'")
    code, found = await verify(made)
    number = entries(made, subject="mes/mes:1@2")[0].number
    assert (code, found["first_bad"]["kind"], found["first_bad"]["number"]) == (1, "differs", number)


async def test_a_log_that_is_cut_with_its_head_is_seen_by_the_anchor_and_written_down_at_the_next_start(made: Plant):
    await made.start_host()
    await facts_put(made)
    anchor = await until_anchored(made)
    await made.crash_host()
    tamper(
        made,
        "DELETE FROM facts WHERE source_rev = '2'",
        "DELETE FROM audit_log WHERE number > 8",
        "UPDATE audit_head SET number = 8, hash = (SELECT hash FROM audit_log WHERE number = 8)",
    )
    assert (await uns("verify", "--store", str(made.store))).returncode == 0, "the chain alone cannot tell"
    code, found = await verify(made)
    assert (code, found["first_bad"]["kind"], found["first_bad"]["number"]) == (1, "truncated", 9)

    await made.start_host()
    await eventually(lambda: entries(made, action="audit.mismatch"), what="the host writes down what it found")
    (recorded,) = entries(made, action="audit.mismatch")
    assert detail_of(recorded)["found"] == anchor, "the anchor is kept: a new one takes its place"
    await until_anchored(made)
    code, found = await verify(made)
    assert (code, found["first_bad"]["kind"], found["first_bad"]["number"]) == (1, "recorded", recorded.number)
    assert (await verify(made, "--known", str(recorded.number)))[0] == 0


async def test_a_log_that_is_computed_anew_is_seen_by_the_anchor(made: Plant, tmp_path: Path):
    await made.start_host()
    await facts_put(made)
    anchor = await until_anchored(made)
    saved = tmp_path / "saved.jsonl"
    assert (
        await uns("anchor", "--broker", made.address.url, "--store", str(made.store), "--save", str(saved))
    ).returncode == 0
    await made.crash_host()
    before = entries(made)
    log = anchor["log"]
    forged = [msgspec.structs.replace(e, actor="nobody") if e.number == 9 else e for e in before]
    with closing(sqlite3.connect(made.store / "records.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER audit_log_is_not_changed")
        for e in linked(forged, log=log):
            connection.execute(
                "UPDATE audit_log SET actor = ?, previous = ?, hash = ? WHERE number = ?",
                (e.actor, e.previous, e.hash, e.number),
            )
        connection.execute("UPDATE audit_head SET hash = (SELECT hash FROM audit_log ORDER BY number DESC LIMIT 1)")
    assert (await uns("verify", "--store", str(made.store))).returncode == 0, "the chain alone cannot tell"
    code, found = await verify(made)
    assert (code, found["first_bad"]["kind"]) == (1, "rewritten")
    ended = await uns("verify", "--store", str(made.store), "--anchor", str(saved))
    assert ended.returncode == 1
    assert "error: rewritten: entry 1 to 10" in ended.stdout, ended.stdout


async def test_another_log_in_the_place_of_this_one_is_seen_by_the_anchor(made: Plant):
    await made.start_host()
    await facts_put(made)
    await until_anchored(made)
    await made.crash_host()
    shutil.rmtree(made.store)
    await made.start_host()
    await eventually(lambda: entries(made, action="audit.mismatch"), what="the host writes down what it found")
    assert "another log" in detail_of(entries(made, action="audit.mismatch")[0])["what"]


async def test_an_anchor_that_somebody_forges_is_put_right_and_written_down(made: Plant):
    await made.start_host()
    await facts_put(made)
    good = await until_anchored(made)
    await made.publish(TOPIC, json.dumps(good | {"hash": "0" * 64}).encode(), retain=True)
    await eventually(lambda: entries(made, action="audit.anchor_spoiled"), what="it is written down")
    anchor = await until_anchored(made)
    assert anchor["hash"] == entries(made)[-1].hash
    await made.publish(TOPIC, b"", retain=True)
    await eventually(lambda: len(entries(made, action="audit.anchor_spoiled")) == 2, what="a deletion too")
    await until_anchored(made)
    assert (await verify(made))[0] == 0


async def test_a_broker_that_lost_the_anchor_is_a_warning(made: Plant):
    await made.start_host()
    await made.stop_host()
    async with MqttConnection(made.address, client_id="somebody") as connection:
        await connection.publish_acknowledged(Message(TOPIC, b"", qos=1, retain=True))
    code, found = await verify(made)
    assert (code, found["first_bad"]["kind"]) == (1, "anchor")
    await made.start_host()
    await eventually(lambda: entries(made, action="audit.anchor_absent"), what="it is written down")
    await until_anchored(made)
    code, found = await verify(made)
    assert code == 0
    assert [finding["severity"] for finding in found["findings"]] == ["warning"]


async def test_an_anchor_file_is_kept_and_held_against_the_log_at_a_start(made: Plant, tmp_path: Path):
    file = tmp_path / "anchor.json"
    await made.start_host(anchor_file=file)
    await facts_put(made)
    await eventually(lambda: json.loads(file.read_bytes())["number"] == entries(made)[-1].number)
    assert (await uns("verify", "--store", str(made.store), "--anchor", str(file))).returncode == 0
    await made.crash_host()
    tamper(
        made,
        "DELETE FROM audit_log WHERE number > 5",
        "UPDATE audit_head SET number = 5, hash = (SELECT hash FROM audit_log WHERE number = 5)",
    )
    assert (await uns("verify", "--store", str(made.store), "--anchor", str(file))).returncode == 1
    await made.start_host(anchor_file=file)
    await eventually(lambda: entries(made, action="audit.mismatch"), what="the host writes down what it found")
    where = {detail_of(entry)["where"] for entry in entries(made, action="audit.mismatch")}
    assert str(file) in where


async def test_a_flood_of_refused_facts_costs_a_bounded_number_of_entries(made: Plant):
    await made.start_host()
    topic = "uns1/acme/dallas/_fact/mes/job"
    async with MqttConnection(made.address, client_id="flood") as connection:
        connection.publish_many([Message(topic, b"nonsense %d" % n, qos=1) for n in range(300)])
        await connection.drain()
        assert made.host is not None
        await eventually(lambda: made.host and made.host.facts.counters["facts_unreadable"] == 300)
    await made.stop_host()
    assert len(entries(made, action="fact.refused")) == 61
    (total,) = entries(made, action="fact.refused.more")
    assert total.subject == "240 more"
    assert detail_of(total)["subjects"] == {topic: 240}
