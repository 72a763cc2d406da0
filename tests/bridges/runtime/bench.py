"""A bridge to PostgreSQL as a process, over a hand-written record log, that a test may kill."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.bridges.logs import HandLog
from tests.bridges.postgres.harness import PostgresHarness
from tests.bridges.postgres.server import PostgresServer
from tests.faults.process import Child, python_module, until

__all__ = ["Bench", "kill_often"]


class Bench:
    """A bridge file, a record log, a database, and the process that a test may kill."""

    def __init__(self, directory: Path, server: PostgresServer) -> None:
        self.directory = directory
        self.log = HandLog(directory / "host")
        self.harness = PostgresHarness(server)
        self.harness.log = self.log
        self.config = directory / "history.bridge.yaml"
        address = self.harness.address
        self.config.write_text(
            f"uns: 1\nbridge: history\nkind: postgres\nhost: {{store: host}}\nbatch: 50\n"
            f"retry: {{first: 50ms, max: 200ms}}\n"
            f"target: {{host: {address.host}, database: {address.database}, user: {address.user}}}\n"
        )
        self.child = Child(
            "bridge",
            python_module("uns", "bridge", "run", "--config", str(self.config), "--log-json"),
            log=directory / "bridge.log",
        )

    def command(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "uns", *words, "--config", str(self.config)],
            capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def count(self) -> int:
        with self.harness.admin() as connection:
            if connection.execute("SELECT to_regclass('uns.samples')").fetchone()[0] is None:
                return 0
            found: int = connection.execute("SELECT count(*) FROM uns.samples").fetchone()[0]
            return found


async def kill_often(bench: Bench, *, kills: int, seed: int) -> int:
    """Kill the bridge at random moments while the log grows; then everything is there, once. How many samples."""
    chance = random.Random(seed)
    written = 0
    for _ in range(kills):
        bench.child.start()
        # From before it has opened anything to well into its work.
        end = time.monotonic() + chance.uniform(0.3, 1.6)
        while time.monotonic() < end:
            bench.log.write(*[float(n) for n in range(written, written + 40)])
            written += 40
            await asyncio.sleep(0.02)
        bench.child.kill()
    bench.child.start()
    await until(lambda: bench.count() == written, f"all {written} samples are in the copy", deadline_s=60)
    assert await bench.child.terminate() == 0
    delivered = await bench.harness.delivered()  # joined with the books: a range taken twice would show twice
    assert sorted(delivered) == [float(n) for n in range(written)]
    return written
