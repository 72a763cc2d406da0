"""``uns bridge run`` of kind b2mml as a process, with a real broker and host."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.bridges.b2mml.bench import MesBench
from tests.bridges.b2mml.builders import job, request, schedule
from tests.faults.process import until

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(tmp_path: Path):
    with MesBench(tmp_path) as made:
        yield made


async def test_orders_come_in_over_the_broker_and_what_happened_is_counted(bench: MesBench) -> None:
    await bench.start_host()
    bench.bridge.start()
    bench.drop(schedule(request(*(job(f"j{n}") for n in range(300)))), "1.xml")
    bench.drop(schedule(request(job("x", equipment="nowhere"), job("y")), created="2026-06-03T12:05:00Z"), "2.xml")
    bench.drop(b"<no", "3.xml")
    await until(lambda: not bench.waiting(), "the inbox is empty")
    assert sorted(fact.job_order or "" for fact in bench.facts()) == sorted(["y", *(f"j{n}" for n in range(300))])
    assert bench.archived() == ["1.xml"]
    assert sorted(path.name for path in (bench.inbox / "quarantine").iterdir()) == [
        "2.xml", "2.xml.report.txt", "3.xml", "3.xml.report.txt",
    ]  # fmt: skip
    counters = bench.listed()["counters"]
    assert (counters["orders_read"], counters["orders_refused"]) == (302, 1)
    assert (counters["facts_accepted"], counters["files_taken"], counters["files_quarantined"]) == (301, 1, 2)
    said = "2 files lie in the quarantine of the inbox"
    await until(lambda: said in bench.command("bridge", "list", str(bench.config)), "who asks is told of them")
    assert await bench.bridge.terminate() == 0


async def test_without_a_host_orders_wait_and_the_bridge_says_so(bench: MesBench) -> None:
    await bench.start_host()
    assert bench.host is not None
    bench.host.kill()
    bench.broker.stop()
    bench.bridge.start()
    bench.drop(schedule(), "1.xml")
    await until(lambda: "the inbox waits" in bench.bridge.output, "it says so")
    await until(lambda: bench.listed()["inbound_reason"], "its figures say so")
    assert "orders do not come in: waiting:" in bench.command("bridge", "list", str(bench.config))
    assert bench.waiting() == ["1.xml"]
    bench.broker.start()
    bench.host.start()
    await until(lambda: not bench.waiting(), "the inbox is empty", deadline_s=60)
    assert [fact.job_order for fact in bench.facts()] == ["WO-1/0010"]
    started = time.monotonic()
    assert await bench.bridge.terminate() == 0
    assert time.monotonic() - started < 10


async def test_check_says_what_is_wrong_with_the_folders(bench: MesBench) -> None:
    await bench.start_host()
    assert "the bridge can run" in bench.command("bridge", "check", "--config", str(bench.config))
    bench.outbox.rename(bench.directory / "elsewhere")
    assert f"{bench.outbox}: the folder is gone; mount or make it again" in bench.command(
        "bridge", "check", "--config", str(bench.config), code=3
    )
