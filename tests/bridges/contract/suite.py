"""The contract that every bridge passes. A kind of bridge has a ``work`` fixture with its harness."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import Any

import pytest

from tests.bridges.contract.harness import LostAnswers, Work
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.errors import StorageFullError

__all__ = ["BridgeContract"]


class BridgeContract:
    """Subclass it with a fixture ``work``."""

    @staticmethod
    def require(work: Work, kind: str) -> None:
        if kind not in work.harness.kinds:
            pytest.skip(f"{work.harness.name} never answers so: {kind}")

    async def test_everything_is_delivered_once(self, work: Work) -> None:
        work.log.write(1.0, 2.0, 3.0)
        async with work.running():
            await work.drained()
            work.log.write(4.0)
            await work.drained()
        assert sorted(await work.harness.delivered()) == [1.0, 2.0, 3.0, 4.0]

    async def test_a_target_that_is_down_is_tried_again_and_nothing_is_dead(self, work: Work) -> None:
        await work.harness.trouble("transient")
        work.log.write(1.0, 2.0)
        async with work.running():
            stats = await work.until("it waits", state="paused", error_class="transient")
            assert stats.reason
            await asyncio.sleep(0.3)  # more pauses than an item has attempts
            assert await work.harness.delivered() == []
            await work.harness.trouble(None)
            stats = await work.drained()
        assert stats.dead_letters == 0
        assert stats.reason == ""
        assert sorted(await work.harness.delivered()) == [1.0, 2.0]

    @pytest.mark.parametrize("kind", ["business", "poison"])
    async def test_what_is_refused_becomes_a_dead_letter_and_blocks_no_other(self, work: Work, kind: Any) -> None:
        self.require(work, kind)
        await work.harness.refuse(2.0, kind)
        work.log.write(1.0, 2.0, 3.0)
        async with work.running():
            stats = await work.drained()
            assert stats.dead_letters == 1
            assert sorted(await work.harness.delivered()) == [1.0, 3.0]
        with closing(work.store()) as store:
            letter = store.dead_letters()[0]
        assert letter.error_class == kind
        assert letter.reason
        assert letter.next_step

    async def test_a_dead_letter_that_is_retried_is_delivered(self, work: Work) -> None:
        await work.harness.refuse(2.0, "business")
        work.log.write(1.0, 2.0, 3.0)
        async with work.running():
            await work.drained()
            await work.harness.refuse(2.0, None)
            with closing(work.store()) as store:
                store.retry(store.dead_letters()[0].key, actor="op-17", now_ns=1)
            stats = await work.until("it is gone", dead_letters=0, waiting=0, in_doubt=0)
        assert stats.counters["retried"] == 1
        assert sorted(await work.harness.delivered()) == [1.0, 2.0, 3.0]

    async def test_a_dead_letter_that_is_dropped_stays_away(self, work: Work) -> None:
        await work.harness.refuse(2.0, "business")
        work.log.write(1.0, 2.0)
        async with work.running():
            await work.drained()
        await work.harness.refuse(2.0, None)
        with closing(work.store()) as store:
            store.drop(store.dead_letters()[0].key, actor="op-17", reason="scrapped", now_ns=1)
        with AuditReader(work.store_path) as reader:
            (entry,) = reader.find(AuditQuery(action="dead_letter."))
        assert (entry.actor, entry.action) == ("op-17", "dead_letter.drop")
        assert json.loads(entry.detail)["reason"] == "scrapped"
        async with work.running():
            await work.drained()
        delivered = await work.harness.delivered()
        assert delivered == [1.0]

    async def test_a_refusal_of_us_pauses_everything_and_says_so(self, work: Work) -> None:
        self.require(work, "auth")
        await work.harness.trouble("auth")
        work.log.write(1.0, 2.0)
        async with work.running():
            stats = await work.until("it is paused", state="paused", error_class="auth")
            assert stats.next_step
            assert stats.dead_letters == 0
            await work.harness.trouble(None)
            assert work.runner is not None
            work.runner.nudge()  # SIGHUP; else it looks again after auth_retry
            await work.drained()
        assert sorted(await work.harness.delivered()) == [1.0, 2.0]

    @pytest.mark.parametrize("taken", [True, False])
    async def test_an_unknown_outcome_is_read_back_before_anything_is_sent_again(self, work: Work, taken: bool) -> None:
        work.log.write(1.0, 2.0, 3.0)
        async with work.running(wrap=lambda target: LostAnswers(target, taken=taken, times=2)) as target:
            await work.drained()
            assert target.read_backs > 0
        assert sorted(await work.harness.delivered()) == [1.0, 2.0, 3.0]

    async def test_what_was_in_the_air_at_a_crash_is_read_back(self, work: Work) -> None:
        work.log.write(1.0, 2.0)
        lost: list[LostAnswers] = []

        class Stuck(LostAnswers):
            async def deliver(self, items: Any) -> Any:
                lost.append(self)
                await self._target.deliver(items)
                await asyncio.Event().wait()  # the answer never comes, and the process ends

        async with work.running(wrap=lambda target: Stuck(target, taken=True), limits={"drain_s": 0.05}):
            await work.until("something is in the air", in_doubt=work_in_air(work))
            while not lost:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
        async with work.running():
            await work.drained()
        assert sorted(await work.harness.delivered()) == [1.0, 2.0]

    async def test_order_is_kept_within_a_group(self, work: Work) -> None:
        if not work.harness.ordered:
            pytest.skip(f"{work.harness.name} promises no order: its rows are keyed")
        await work.harness.refuse(1.0, "business")
        work.log.write(1.0, 2.0, 1.25, 2.25, 1.5)
        async with work.running():
            await work.until("the group waits behind its dead letter", dead_letters=1, waiting=2, position=6)
            await work.harness.refuse(1.0, None)
            with closing(work.store()) as store:
                assert store.dead_letters()[0].holds == 2
                store.retry(store.dead_letters()[0].key, actor="op-17", now_ns=1)
            await work.until("all went", dead_letters=0, waiting=0, in_doubt=0)
        delivered = await work.harness.delivered()
        assert [value for value in delivered if value < 2] == [1.0, 1.25, 1.5]
        assert [value for value in delivered if value >= 2] == [2.0, 2.25]

    async def test_a_dry_run_sends_nothing_and_its_items_wait(self, work: Work) -> None:
        work.log.write(1.0, 2.0)
        async with work.running(dry_run=True):
            stats = await work.until("everything is read", position=work.log.head, state="dry_run")
            await asyncio.sleep(0.1)
            assert stats.waiting > 0
        assert await work.harness.delivered() == []
        async with work.running():
            await work.drained()
        assert sorted(await work.harness.delivered()) == [1.0, 2.0]

    async def test_a_restart_goes_on_where_it_stopped(self, work: Work) -> None:
        work.log.write(1.0)
        async with work.running():
            await work.drained()
        work.log.write(2.0)
        async with work.running():
            stats = await work.drained()
        assert stats.counters["repeated"] == 0
        assert await work.harness.delivered() == [1.0, 2.0]

    async def test_a_commit_that_fails_is_made_again_from_what_is_on_disk(
        self, work: Work, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = BridgeStore.take_in
        failed: list[int] = []

        def full_once(store: BridgeStore, items: Any, **rest: Any) -> int:
            if items and not failed:
                failed.append(len(items))
                raise StorageFullError("the disk is full", next_step="free space")
            return real(store, items, **rest)

        monkeypatch.setattr(BridgeStore, "take_in", full_once)
        work.log.write(1.0, 2.0)
        async with work.running():
            await work.until("it says so", error_class="storage")
            await work.drained()
        assert failed
        assert sorted(await work.harness.delivered()) == [1.0, 2.0]

    async def test_reading_pauses_at_the_bound_of_the_outbox(self, work: Work) -> None:
        await work.harness.trouble("transient")
        work.log.write(*map(float, range(10, 30)))
        async with work.running(limits={"outbox_items_max": 3, "positions_max": 1}):
            await work.until("the bound is reached", waiting=3)
            await asyncio.sleep(0.1)
            await work.until("the bound holds", waiting=3)
            await work.harness.trouble(None)
            await work.drained()
        assert sorted(await work.harness.delivered()) == [float(n) for n in range(10, 30)]


def work_in_air(work: Work) -> int:
    """How many items of two go in one call."""
    return min(2, work.harness.bridge()[1].items_max)
