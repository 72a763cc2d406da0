"""What one question or one commit gets wrong ends neither the host nor its stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.review_host.stages import Node, now_ms, stages, tree_in
from tests.servers import eventually
from uns.adapters.http import get_json
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress
from uns.adapters.sqlite.raw_log import RawLog
from uns.errors import ConfigurationError
from uns.runtime.host import api as api_module
from uns.runtime.host.options import HostOptions
from uns.runtime.host.process import Host


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "inf", "nan", "1e300", "9999-12-31T00:00:00Z", "0001-01-01T00:00:00+05:00"]
)
def test_a_time_beyond_the_calendar_of_the_log_is_refused_in_one_sentence(text: str):
    with pytest.raises(ConfigurationError, match="time"):
        api_module._parse_time(text)


@pytest.mark.parametrize(("text", "time_ns"), [("1.5", 1_500_000_000), ("1970-01-01T00:00:01Z", 1_000_000_000)])
def test_a_time_is_seconds_or_rfc_3339(text: str, time_ns: int):
    assert api_module._parse_time(text) == time_ns


@pytest.mark.parametrize("error", [ValueError("a bug of ours"), OverflowError("int too large"), MemoryError()])
async def test_whatever_fails_a_commit_of_the_raw_log_refuses_its_marks_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())), node.mark())
        await host.idle()
        assert [answer.ok for answer in host.answers] == [True]
        append, failures = RawLog.append, [error]

        def failing(self: RawLog, *given: Any) -> Any:
            if failures:
                raise failures.pop()
            return append(self, *given)

        monkeypatch.setattr(RawLog, "append", failing)
        lost = node.data(("temperature", 2.0, now_ms()))
        await host.receive(lost, node.mark())
        await host.idle()
        assert len(host.answers) == 1, "an answer would have deleted what nobody holds"
        assert host.writer.counters["raw_commits_failed"] == 1
        assert host.troubles
        await host.receive(lost, node.mark())
        await host.idle()
        assert host.counters()["recorded"] >= 2


async def test_a_prune_that_fails_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def failing(*_: Any, **__: Any) -> int:
        raise ValueError("a bug of ours")

    monkeypatch.setattr(RawLog, "prune", failing)
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())))
        await host.idle()
        assert host.counters()["recorded"] == 1


async def test_a_last_status_that_fails_does_not_fail_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tree = tree_in(tmp_path)
    options = HostOptions(
        tree=tmp_path / "topic_tree.yaml",
        broker=BrokerAddress(url="mqtt://127.0.0.1:1"),
        store=tmp_path / "host",
        api=f"unix:{tmp_path / 's'}",
        stats_file=tmp_path / "stats.json",
    )
    host = Host(options, tree, get_logger("host"))
    running = asyncio.create_task(host.run())

    async def answers() -> Any:
        try:
            return await get_json(options.api_address, "/health")
        except Exception:  # noqa: BLE001 - not yet
            return None

    await eventually(lambda: running.done() or (tmp_path / "s").exists())
    assert await answers() is not None

    async def failing(_query: Any) -> Any:
        raise RuntimeError("disk I/O error")

    monkeypatch.setattr(host.status, "status", failing)
    host.stop()
    await asyncio.wait_for(running, 12)
    assert host.final_status is None
