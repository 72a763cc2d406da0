"""Promise 1 at every point: the process dies, or a commit fails, before or after any commit of either log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.review_host.stages import Node, Stages, now_ms, stages
from uns.errors import StorageError
from uns.runtime.accounting import host_equations
from uns.runtime.host import joiner as joiner_module
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BirthMetric

ROUNDS = 3
POINTS = range(1, 4 * ROUNDS + 4)


class KilledError(BaseException):
    """The process ends here."""


class Points:
    """Raises once, at the ``at``-th begin or end of a commit."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self.left = at
        self.error = error

    def wrap(self, call: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.pass_by()
            found = call(*arguments, **named)
            if after:
                self.pass_by()
            return found

        return wrapped

    def pass_by(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error("injected")


class Rows:
    """The store of an edge node: what is not confirmed is sent again."""

    def __init__(self, host: Stages) -> None:
        self.node = Node(host.tree)
        self.node.metrics.append(BirthMetric(name="vibration", datatype=DataType.DOUBLE))
        at = now_ms()
        self.waiting = [
            [("temperature", float(n), at + n), ("batch/phase", f"phase {n}", at + n), ("vibration", 1.5, at + n)]
            for n in range(ROUNDS)
        ]
        self.stored = sum(len(row) for row in self.waiting)

    async def offer(self, host: Stages, row: list[tuple[str, Any, int]]) -> None:
        """Send one row with its mark; when the mark is confirmed, the row goes."""
        answers = len(host.answers)
        await host.receive(self.node.data(*row), self.node.mark())
        await host.idle()
        assert len(host.answers) <= answers + 1
        if len(host.answers) > answers and host.answers[-1].ok:
            self.waiting.remove(row)


async def finish(host: Stages, rows: Rows) -> None:
    for _ in range(3):
        for row in list(rows.waiting):
            await rows.offer(host, row)
    assert not rows.waiting
    counters = host.counters()
    for equation in host_equations(counters):
        assert equation.holds, equation
    assert rows.stored == counters["recorded"] + counters["unmapped"], counters
    assert host.query("SELECT count(*) FROM outbox WHERE topic LIKE '%/_data/%'") == [(ROUNDS,)]
    spans = host.query(
        "SELECT payload ->> '$.log.after', payload ->> '$.log.to' FROM outbox WHERE topic LIKE '%/_data/%' "
        "OR topic LIKE '%/_res/%' ORDER BY id"
    )
    assert [after for after, _ in spans[1:]] == [to for _, to in spans[:-1]]


def inject(host: Stages, points: Points, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    monkeypatch.setattr(host.raw, "append", points.wrap(host.raw.append, after=after))
    monkeypatch.setattr(host.records, "commit", points.wrap(host.records.commit, after=after))


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_any_commit_loses_and_doubles_nothing(tmp_path: Path, point: int, monkeypatch):
    async with stages(tmp_path) as host:
        rows = Rows(host)
        inject(host, Points(point, KilledError), monkeypatch, after=True)
        try:
            await host.receive(*rows.node.births())
            for row in list(rows.waiting):
                await rows.offer(host, row)
        except KilledError:
            pass
    async with stages(tmp_path) as host:
        await host.idle()
        await host.receive(rows.node.mark())  # names the session; refused, for it counts more than this host heard
        await host.idle()
        if not host.query("SELECT 1 FROM births", "raw.db"):
            await host.receive(*rows.node.births())
        rows.node.sent = 0
        await finish(host, rows)


@pytest.mark.parametrize("point", POINTS)
async def test_any_commit_that_fails_loses_and_doubles_nothing(tmp_path: Path, point: int, monkeypatch):
    monkeypatch.setattr(joiner_module, "_RETRY_S", 0.01)
    async with stages(tmp_path) as host:
        rows = Rows(host)
        inject(host, Points(point, StorageError), monkeypatch, after=False)
        await host.receive(*rows.node.births())
        await finish(host, rows)
    async with stages(tmp_path) as host:
        await host.idle()
        counters = host.counters()
        assert counters["recorded"] + counters["unmapped"] == rows.stored
