"""What is not there at start: ``run`` waits and goes on when it appears, ``check`` says so and exits 3."""

from __future__ import annotations

import asyncio
import subprocess
import time

import pytest

from tests.faults.plant import Options, plant
from tests.faults.process import REPOSITORY, python_module, until

pytestmark = pytest.mark.integration


async def check(made) -> subprocess.CompletedProcess[str]:
    command = python_module("edge_nodes.cli", "check", "--config", str(made.node_file))
    return await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, timeout=40, check=False
    )


async def test_run_waits_for_plc_and_broker_and_check_names_what_is_missing(tmp_path):
    async with plant(tmp_path, Options(through_proxy=False), started=False) as made:
        made.broker.kill()
        made.edge.start()
        made.host.start()

        nothing = await check(made)
        assert nothing.returncode == 3, nothing.stdout + nothing.stderr
        said = nothing.stdout + nothing.stderr
        assert "Traceback" not in said
        assert str(made.plc_port) in said
        assert str(made.broker.port) in said
        assert made.edge.running, made.edge.tail()
        assert made.host.running, made.host.tail()

        made.broker.start()
        half = await check(made)
        assert half.returncode == 3, half.stdout + half.stderr
        assert str(made.plc_port) in half.stdout + half.stderr

        made.plc.start()
        await until(lambda: made.newest_recorded_ms() > 0, "values are recorded", deadline_s=40)
        assert made.edge_stats()["bd_seq"] == 0  # attempts that reached no broker raise nothing
        made.count()
        await made.until_recorded_since(time.time_ns() // 1_000_000)
        whole = await check(made)
        assert whole.returncode == 0, whole.stdout + whole.stderr

        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=False) == []
        assert "Traceback" not in made.edge.output + made.host.output
        assert made.edge.starts == made.host.starts == 1


async def test_a_plc_that_dies_is_read_again_when_it_is_back(tmp_path):
    async with plant(tmp_path) as made:
        made.plc.kill()
        made.oracle_file.rename(tmp_path / "oracle-before.txt")
        made.plc.start()
        await until(lambda: made.oracle().tags, "the PLC serves again", deadline_s=30)
        made.count()
        await made.until_recorded_since(time.time_ns() // 1_000_000)
        assert made.edge.running, made.edge.tail()
        assert "Traceback" not in made.edge.output
