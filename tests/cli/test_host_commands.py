"""The commands that talk to a running host: the real command line, a real host, real mosquitto."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.emulated_edge import EmulatedEdge
from tests.runtime.plants import NODE, Plant, births_of, plant
from tests.servers import eventually, mosquitto

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path: Path):
    with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def made(tmp_path: Path, broker):
    async with plant(tmp_path, broker.url) as made:
        await made.start_host()
        await made.start_edge()
        yield made


async def uns(*arguments: str, stdin: bytes | None = None, made: Plant | None = None) -> tuple[int, str, str]:
    """Run the command; exit code, stdout, stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("UNS_")}
    if made is not None:
        environment |= {
            "UNS_HOST_API": made.api,
            "UNS_BROKER": made.address.url,
            "UNS_TREE": str(made.directory / "topic_tree.yaml"),
        }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uns", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 30)
    assert process.returncode is not None
    assert "Traceback" not in err.decode(), err.decode()
    return process.returncode, out.decode(), err.decode()


async def document(*arguments: str, made: Plant) -> Any:
    code, out, err = await uns(*arguments, "--json", made=made)
    assert code == 0, err
    return json.loads(out)


async def test_the_story_is_told_from_fact_to_record(made: Plant):
    began = "2020-01-01T00:00:00Z"
    code, out, err = await uns(
        "context", "put", "--kind", "job", "--equipment", "line2", "--job-order", "WO-10234/0010",
        "--work-order", "WO-10234", "--operation", "0010", "--id", "mes:4711", "--valid-from", began, made=made,
    )  # fmt: skip
    assert (code, out) == (0, "mes:4711@1: accepted (revision 1)\n"), err
    facts = [
        {"id": "scan:88", "kind": "lot", "equipment": "reactor4", "lot": "L-8891", "source": "scanner",
         "source_rev": "1", "valid_from": began},
    ]  # fmt: skip
    code, out, err = await uns("context", "put", "-", stdin=json.dumps(facts).encode(), made=made)
    assert code == 0, err
    made.edge.put("reactor4", [("temperature", 182.0, 1_780_515_120_125)])
    await made.until_drained()

    code, out, _ = await uns("explain", "reactor4/temperature", made=made)
    assert code == 0
    assert out.startswith(
        "182.0 °C was read on Reactor 4, during Work Order WO-10234, producing Lot L-8891, "
        "at 14:32:00.125 −05:00 on 3 June.\n"  # noqa: RUF001
    )
    for part in ("nsu=urn:plc;s=temperature", "gateway       gw-1", "mes:4711", "scan:88", "Revisions"):
        assert part in out

    code, out, _ = await uns("get", "reactor4/temperature", made=made)
    assert "182.0 °C" in out
    assert "resolved: work order WO-10234, operation 0010, lot L-8891" in out
    code, out, _ = await uns("get", "reactor4", made=made)
    assert "no record yet" in out
    code, out, _ = await uns("ls", "acme/dallas/line2", made=made)
    assert "reactor4" in out
    assert "BatchReactor" in out
    listed = await document("context", "list", made=made)
    assert {fact["id"] for fact in listed["facts"]} == {"mes:4711", "scan:88"}
    code, out, _ = await uns("context", "list", "--kind", "job", made=made)
    assert "job order WO-10234/0010" in out
    await made.tell(id="mes:4712", kind="job", state="dispatched", job_order="WO-10235/0010", valid_from=began)
    code, out, _ = await uns("context", "list", "--kind", "job", made=made)
    assert "job order WO-10235/0010, dispatched\n" in out  # a plan is told from what ran
    status = await document("host", "status", made=made)
    assert status["counters"]["resolved"] == 1
    code, out, _ = await uns("host", "status", made=made)
    assert "recorded 1 = resolved 1 + unassigned 0 + unresolved 0" in out
    assert "acme.dallas/gw-1" in out


async def test_the_status_names_what_is_silent(tmp_path: Path, broker):
    async with plant(tmp_path, broker.url) as made:
        await made.start_host()
        code, out, _ = await uns("host", "status", made=made)
        assert code == 0
        assert "  ! not heard of since this host started" in out, "a gateway of the tree that never came"
        made.edge = EmulatedEdge(made.address, NODE, {"reactor4": births_of(made.tree, "reactor4")})
        await made.start_edge()
        made.edge.put("reactor4", [("temperature", 182.0, 1_780_515_120_125)])
        await made.until_drained()
        assert (await document("host", "status", made=made))["edge_nodes"][0]["not_heard"] == ["reactor5"]
        code, out, _ = await uns("host", "status", made=made)
        assert "  ! nothing comes from reactor5: `uns-edge check`" in out


async def test_a_refused_fact_ends_with_1_and_the_reason(made: Plant):
    code, out, _ = await uns(
        "context", "put", "--kind", "lot", "--equipment", "reactor4", "--lot", "L-1", "--source", "mes", made=made
    )
    assert code == 1
    assert "refused" in out
    code, out, _ = await uns(
        "context", "put", "--kind", "lot", "--equipment", "reactor4", "--lot", "L-1", "--source", "mes", "--json",
        made=made,
    )  # fmt: skip
    assert code == 1
    assert json.loads(out)["accepted"] is False


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("context", "put"), "--kind and --equipment"),
        (("context", "put", "--kind", "job", "--equipment", "x"), "--idle"),
        (("context", "put", "--kind", "weather", "--equipment", "x"), "weather"),
        (("context", "put", "/nowhere.json"), "cannot be read"),
        (("get", "reactor4/temperature", "--host-api", "0.0.0.0:1"), "loopback"),
        (("host", "run", "--broker", "http://x"), "mqtt://host"),
        (("host", "run", "--raw-bytes-max", "much"), "no size"),
        (("host", "run", "--host-id", "a/b"), "without + / #"),
        (("host", "run", "--broker", "mqtts://b", "--cert-file", "c.pem"), "--key-file"),
        (("host", "run", "--tree", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
async def test_wrong_usage_is_one_clear_message_and_2(arguments, text):
    code, _, err = await uns(*arguments)
    assert code == 2, err
    assert text in err
    assert len(err.strip().splitlines()) <= 2, err


async def test_a_time_that_cannot_be_read_is_wrong_usage(made: Plant):
    code, _, err = await uns("get", "reactor4/temperature", "--at", "yesterday", made=made)
    assert code == 2
    assert "'yesterday' is no time" in err


@pytest.mark.parametrize("command", [("ls",), ("get", "reactor4"), ("explain", "a/b"), ("host", "status"), ("watch",)])
async def test_without_a_host_it_ends_with_3_and_says_what_to_do(command, tmp_path):
    code, _, err = await uns(*command, "--host-api", f"unix:{tmp_path}/none.sock")
    assert code == 3
    assert "uns host run" in err


async def test_what_does_not_exist_is_said_with_a_way_on(made: Plant):
    for path in ("nowhere", "reactor4/nothing"):
        code, _, err = await uns("get", path, made=made)
        assert code == 1
        assert "uns ls" in err or "it has:" in err


@pytest.mark.parametrize("command", ["host", "context", "ls", "get", "watch", "explain"])
async def test_help_has_examples(command):
    arguments = {"host": ("host", "run"), "context": ("context", "put")}.get(command, (command,))
    code, out, _ = await uns(*arguments, "--help")
    assert code == 0
    assert "Examples" in out


async def test_a_host_process_drains_on_sigterm_and_leaves_its_status(tmp_path, broker):
    tree = tmp_path / "topic_tree.yaml"
    async with plant(tmp_path, broker.url) as made:
        stats = tmp_path / "stats.json"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uns", "host", "run", "--tree", str(tree), "--broker", broker.url,
            "--store", str(made.store), "--api", made.api, "--stats-json", str(stats), "--log-json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await made.start_edge()
        made.edge.put("reactor4", [("temperature", 1.0, time.time_ns() // 1_000_000)])
        await eventually(lambda: made.edge.waiting == 0, what="the value is confirmed")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 12)
        assert process.returncode == 0, err.decode()
        assert time.monotonic() - began < 10
        assert out == b""
        events = [json.loads(line) for line in err.splitlines()]
        assert [e["event"] for e in events][-1] == "host stopped"
        assert any(e["event"] == "edge node born" and e["level"] == "info" for e in events)
        assert json.loads(stats.read_text())["counters"]["recorded"] == 1


async def test_a_killed_host_process_recovers_everything(tmp_path, broker):
    tree = tmp_path / "topic_tree.yaml"
    async with plant(tmp_path, broker.url) as made:
        command = [
            sys.executable, "-m", "uns", "host", "run", "--tree", str(tree), "--broker", broker.url,
            "--store", str(made.store), "--api", made.api,
        ]  # fmt: skip
        await made.start_edge()

        async def produce() -> None:
            last_ms = 0
            while True:
                last_ms = max(time.time_ns() // 1_000_000, last_ms + 1)
                made.edge.put("reactor4", [("temperature", last_ms % 1_000, last_ms), ("pressure", 1.0, last_ms)])
                await asyncio.sleep(0.002)

        producing = made.tasks["produce"] = asyncio.create_task(produce())
        for _ in range(4):
            process = await asyncio.create_subprocess_exec(*command)
            confirmed = made.edge.confirmed
            wanted = confirmed + 400
            await eventually(lambda wanted=wanted: made.edge.confirmed > wanted, timeout_s=20)  # type: ignore[misc]
            process.kill()
            await process.wait()
        producing.cancel()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await eventually(lambda: made.edge.waiting == 0, timeout_s=40, what="all is confirmed")
        status = await made.until_drained(timeout_s=30)
        made.account(status)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 12) == 0
