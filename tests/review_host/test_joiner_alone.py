"""Promise 6 in the joiner: an error that belongs to one payload or fact costs that one, a moment's trouble none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.review_host.stages import Node, Stages, now_ms, stages
from tests.review_host.test_facts import Intake, fact
from tests.servers import eventually
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.errors import StorageError
from uns.runtime.accounting import host_equations
from uns.runtime.host import joiner as joiner_module
from uns.runtime.host.rejoin import RawReader


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner_module, "_RETRY_S", 0.01)


def account(host: Stages) -> dict[str, int]:
    counters = host.counters()
    for equation in host_equations(counters):
        assert equation.holds, equation
    return counters


async def test_a_look_up_that_fails_for_a_moment_rejects_nothing(tmp_path: Path, monkeypatch):
    async with stages(tmp_path) as host:
        node, at = Node(host.tree), now_ms()
        two = node.data(("temperature", 0.0, at - 10)), node.data(("temperature", 1.0, at))
        await host.receive(*node.births(), *two)
        await host.idle()
        look_up, failures = RecordIndexReader.at, [StorageError("disk I/O error")]

        def failing(self: RecordIndexReader, *key: Any, **page: Any) -> Any:
            if failures:
                raise failures.pop()
            return look_up(self, *key, **page)

        monkeypatch.setattr(RecordIndexReader, "at", failing)
        await host.receive(node.data(("temperature", 0.5, at - 5)))
        await host.idle()
        assert not failures
        assert (account(host)["recorded"], account(host)["rejected"]) == (3, 0)


async def test_a_fact_is_not_refused_because_a_look_up_failed_for_a_moment(tmp_path: Path, monkeypatch):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())))
        await host.idle()
        count, failures = RecordIndexReader.count, [StorageError("disk I/O error")]

        def failing(self: RecordIndexReader, *key: Any, **page: Any) -> Any:
            if failures:
                raise failures.pop()
            return count(self, *key, **page)

        monkeypatch.setattr(RecordIndexReader, "count", failing)
        assert (await Intake(host).tell(fact(valid_from="2020-01-01T00:00:00Z")))["accepted"]
        assert not failures


def poison_commits(monkeypatch: pytest.MonkeyPatch, *, set_aside_too: bool) -> None:
    """Commits whose plan holds 666.0 (or what is kept of it when it is set aside), or a fact with it, fail."""
    commit = RecordLog.commit

    def poisoned(self: RecordLog, plan: Any, **named: Any) -> Any:
        kept = any(b"666" in row[8] for row in plan.unrecorded) and set_aside_too
        if kept or any(row[4] == 666.0 for row in plan.samples) or any("666" in row[1] for row in plan.facts):
            raise OverflowError("a bug of ours")
        return commit(self, plan, **named)

    monkeypatch.setattr(RecordLog, "commit", poisoned)


@pytest.mark.parametrize("set_aside_too", [False, True])
async def test_a_payload_that_breaks_the_commit_is_set_aside_alone(tmp_path: Path, monkeypatch, set_aside_too: bool):
    poison_commits(monkeypatch, set_aside_too=set_aside_too)
    async with stages(tmp_path) as host:
        node, at = Node(host.tree), now_ms()
        await host.receive(
            *node.births(),
            *(node.data(("temperature", float(n), at + n), ("pressure", 1.0, at + n)) for n in range(660, 672)),
            node.mark(),
        )
        await host.idle()
        assert [answer.ok for answer in host.answers] == [True]
        assert (account(host)["recorded"], account(host)["rejected"]) == (22, 2)
    async with stages(tmp_path) as host:
        await host.idle()
        assert (account(host)["recorded"], account(host)["rejected"]) == (22, 2)


async def test_a_fact_that_breaks_the_commit_is_refused_alone(tmp_path: Path, monkeypatch):
    poison_commits(monkeypatch, set_aside_too=False)
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())))
        intake = Intake(host)
        assert not (await intake.tell(fact(id="mes:666")))["accepted"]
        assert (await intake.tell(fact(id="mes:667")))["accepted"]
        await host.idle()
        assert account(host)["recorded"] == 1


async def test_a_logged_message_that_cannot_be_read_again_is_set_aside_alone(tmp_path: Path, monkeypatch):
    async with stages(tmp_path) as host:
        node, at = Node(host.tree), now_ms()
        host.tasks[1].cancel()  # nothing is joined in this life
        await host.receive(
            *node.births(), *(node.data(("temperature", float(n), at + n), ("pressure", 1.0, at + n)) for n in range(3))
        )
        await eventually(lambda: host.joiner.head == 5)
    read = RawReader.read

    def failing(self: RawReader, message: Any) -> Any:
        if message.position == 4:
            raise KeyError("a bug of ours")
        return read(self, message)

    monkeypatch.setattr(RawReader, "read", failing)
    async with stages(tmp_path) as host:
        await host.idle()
        assert (account(host)["recorded"], account(host)["rejected"]) == (4, 2)


async def test_data_whose_birth_is_gone_from_the_raw_log_is_rejected_sample_by_sample(tmp_path: Path):
    """It should never be; if it is, the sum still holds."""
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        host.tasks[1].cancel()
        await host.receive(
            *node.births(), node.data(("temperature", 1.0, now_ms()), ("pressure", 1.0, now_ms())), node.mark()
        )
        await eventually(lambda: host.answers)
        host.raw._database.connection.execute("DELETE FROM messages WHERE position <= 2")
    async with stages(tmp_path) as host:
        await host.idle()
        assert account(host)["rejected"] == 2


async def test_a_fact_that_waits_while_the_raw_log_cannot_be_read_is_still_answered(tmp_path: Path, monkeypatch):
    async with stages(tmp_path, waiting_samples_max=0) as host:
        node, failures = Node(host.tree), [StorageError("disk I/O error")]
        read = host.raw.read

        def failing(*place: Any, **named: Any) -> Any:
            if failures:
                raise failures.pop()
            return read(*place, **named)

        monkeypatch.setattr(host.raw, "read", failing)
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())))
        assert (await Intake(host).tell(fact()))["accepted"]
        assert not failures
