"""``uns bridge run`` as a process: told to end, killed at any point, its commands beside it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bridges.postgres.server import PostgresServer
from tests.bridges.runtime.bench import Bench, kill_often
from tests.faults.process import until

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(server: PostgresServer, tmp_path: Path):
    made = Bench(tmp_path, server)
    yield made
    made.child.kill()
    made.log.close()


@pytest.mark.timeout(120)
async def test_killed_at_random_moments_nothing_is_lost_and_nothing_twice(bench: Bench) -> None:
    await kill_often(bench, kills=6, seed=1)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_killed_at_fifty_random_moments_nothing_is_lost_and_nothing_twice(bench: Bench) -> None:
    await kill_often(bench, kills=50, seed=2)


async def test_sigterm_ends_it_in_time_also_while_the_target_is_down(bench: Bench) -> None:
    bench.log.write(1.0)
    bench.harness.server.stop()
    try:
        bench.child.start()
        await until(lambda: "waiting for the target" in bench.child.output, "it waits")
        started = time.monotonic()
        assert await bench.child.terminate() == 0
        assert time.monotonic() - started < 10
    finally:
        bench.harness.server.start()
    stats = json.loads((bench.directory / "history.bridge.db.stats.json").read_text())
    assert (stats["state"], stats["waiting"]) == ("stopped", 1)
    assert "PostgreSQL" in stats["reason"]


async def test_a_server_that_dies_after_commit_and_before_its_answer(bench: Bench) -> None:
    """The backend is killed while the bridge waits for its COMMIT; the server recovers; nothing is there twice."""
    chance = random.Random(3)
    bench.child.start()
    written = 0
    for _ in range(5):
        end = time.monotonic() + chance.uniform(0.2, 0.6)
        while time.monotonic() < end:
            bench.log.write(*[float(n) for n in range(written, written + 40)])
            written += 40
            await asyncio.sleep(0.01)
        bench.harness.server.stop(mode="immediate")
        bench.harness.server.start()
    await until(lambda: bench.count() == written, f"all {written} samples are in the copy", deadline_s=60)
    assert sorted(await bench.harness.delivered()) == [float(n) for n in range(written)]


async def test_two_processes_of_one_bridge_are_refused(bench: Bench) -> None:
    bench.child.start()
    await until(lambda: "bridge started" in bench.child.output, "it runs")
    assert "runs already" in bench.command("bridge", "run", code=2)


async def test_the_commands_look_and_decide_beside_the_running_bridge(bench: Bench) -> None:
    await bench.harness.refuse(2.0, "business")
    bench.log.write(1.0, 2.0, 3.0)
    assert "can run" in bench.command("bridge", "check")
    bench.child.start()

    def listed() -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(
            subprocess.run(
                [sys.executable, "-m", "uns", "bridge", "list", "--json", str(bench.config)],
                capture_output=True, text=True, timeout=30, check=True,
            ).stdout
        )  # fmt: skip
        return found[0]

    await until(lambda: listed()["dead_letters"] == 1 and listed()["state"] == "running", "it is dead and shown")
    letters = bench.command("dlq", "list")
    assert "refused 2" in letters
    key = letters.split()[0]
    shown = bench.command("dlq", "show", key)
    assert "P0001" in shown
    assert re.search(r"^created_at +20\d\d-.*Z$", shown, re.MULTILINE)
    await bench.harness.refuse(2.0, None)
    bench.command("dlq", "retry", key)
    await until(lambda: bench.count() == 3, "it is delivered")
    assert "no dead letters" in bench.command("dlq", "list")
    assert "see `uns dlq list`" in bench.command("dlq", "drop", key, "--reason", "x", code=1)
    assert await bench.child.terminate() == 0
    assert listed()["state"] == "stopped"


async def test_it_waits_for_a_host_that_has_not_run_yet(bench: Bench) -> None:
    log = bench.log.path
    bench.log.close()
    log.rename(log.with_suffix(".away"))
    bench.child.start()
    await until(lambda: "waiting for the record log" in bench.child.output, "it waits")
    log.with_suffix(".away").rename(log)
    await until(lambda: "bridge started" in bench.child.output, "it goes on")
    bench.child.signal(signal.SIGHUP)
    assert await bench.child.terminate() == 0
