"""``_wo`` and ``_lot``: the state of orders and lots, derived from the record log as it grows.

A view. It reads the log by a cursor of its own, in a thread of its own, and gives retained messages to the output. What
goes wrong here is counted and logged, and it begins anew from the log; recording neither waits for it nor notices. It
takes at most ``share_max`` of one processor: where orders change faster than that, their messages come later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

import msgspec

from uns.actuals.order_board import OrderBoard, OrderLimits
from uns.adapters.logs import Logger
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.enrichment.log import LogBatch
from uns.enrichment.plan import OutboxMessage
from uns.namespace.model import TopicTree
from uns.runtime.backoff import Backoff

__all__ = ["OrderFollower", "OrderState", "OrderStateLimits"]

_T = TypeVar("_T")


class OrderStateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the view; :class:`OrderLimits` says what is shown."""

    shown: OrderLimits = OrderLimits()
    share_max: float = 0.1  # of one processor
    look_every_s: float = 0.25  # whether the log has grown
    positions_max: int = 20_000  # of one step
    step_s: float = 0.2  # then what is ready is published


class OrderFollower:
    """One life of the view; blocks on the disk. A new one derives everything from the log."""

    def __init__(self, tree: TopicTree, path: Path, limits: OrderStateLimits, now_ns: int) -> None:
        self._limits = limits
        self._cursor = RecordCursor(path)
        # What left the horizon before the log was last written to was taken away then.
        alive_ns = self._cursor.last_recorded_ns()
        since_ns = min(now_ns, now_ns if alive_ns is None else alive_ns) - limits.shown.horizon_ns
        self.board = OrderBoard(tree, limits=limits.shown, since_ns=since_ns)
        head, intervals = self._cursor.standing(since_ns=since_ns)
        self._progress = Progress(position=head)
        self.board.receive(LogBatch(after=0, to=head, intervals=intervals))
        self._caught_up = False
        self._is_stopping = False

    def step(self, now_ns: int) -> tuple[list[OutboxMessage], bool]:
        """Read on; what is to be retained now, and whether there is more to do at once."""
        end_s = time.monotonic() + self._limits.step_s
        behind = True
        while behind and not self._is_enough(end_s):
            behind = self._read()
        if not self._caught_up:  # facts come in parts, and orders are not shown without what was said of them
            if behind:
                return [], True
            self._caught_up = True
            self.board.caught_up()
        messages, more = self.board.due(self._cursor, now_ns, is_enough=lambda: self._is_enough(end_s))
        return messages, more or behind

    def _read(self) -> bool:
        """The next batch; False where there is none."""
        cursor = self._cursor
        batch, self._progress, _ = cursor.read(self._progress, positions_max=self._limits.positions_max)
        if batch.is_empty():
            return False
        orders = self.board.orders_to_read(batch.intervals)
        metrics = self.board.metrics_to_read(batch.touched)
        self.board.receive(
            batch,
            standing=cursor.standing(work_orders=orders)[1] if orders else (),
            rows=cursor.rows_between(batch.after, batch.to, metrics) if metrics else None,
        )
        return True

    def _is_enough(self, end_s: float) -> bool:
        return self._is_stopping or time.monotonic() >= end_s

    def figures(self) -> dict[str, int]:
        """What is shown and what is left out."""
        return {**self.board.figures(), "position": self.board.position}

    def interrupt(self) -> None:
        """Let a step under way end soon; may be called from another thread."""
        self._is_stopping = True
        self._cursor.interrupt()

    def close(self) -> None:
        """Close the cursor."""
        self._cursor.close()


class OrderState:
    """Runs a follower for as long as the host runs."""

    def __init__(
        self,
        tree: TopicTree,
        path: Path,
        *,
        show: Callable[[str, bytes], None],
        thread: Executor,
        log: Logger,
        limits: OrderStateLimits,
        make: Callable[[TopicTree, Path, OrderStateLimits, int], OrderFollower] = OrderFollower,
    ) -> None:
        self._tree = tree
        self._path = path
        self._show = show
        self._thread = thread
        self._log = log
        self._limits = limits
        self._make = make
        self._follower: OrderFollower | None = None
        self._figures: dict[str, int] = {}
        self.failures = 0
        self.trouble: str | None = None

    def figures(self) -> dict[str, int | str | None]:
        """For ``uns host status``: what is shown, what is left out, and what went wrong last."""
        return {**self._figures, "failures": self.failures, "trouble": self.trouble}

    async def run(self) -> None:
        """Follow the log; begin anew after a failure. Ends by cancellation only."""
        backoff = Backoff(first_s=1.0, max_s=60.0)
        try:
            while True:
                try:
                    await self._follow(backoff)
                except Exception as error:  # noqa: BLE001 - a view: whatever fails in it, recording goes on
                    self.failures += 1
                    self.trouble = repr(error)
                    self._log.exception("the state of orders cannot be derived, beginning anew")
                finally:
                    await self._end()
                await asyncio.sleep(backoff.next_s())
        finally:
            await self._end()

    async def _follow(self, backoff: Backoff) -> None:
        limits = self._limits
        follower = await self._in_thread(lambda: self._make(self._tree, self._path, limits, time.time_ns()))
        self._follower = follower
        while True:
            began = time.monotonic()
            messages, more = await self._in_thread(lambda: follower.step(time.time_ns()))
            took_s = time.monotonic() - began
            for message in messages:
                self._show(message.topic, message.payload)
            self._figures = follower.figures()
            self.trouble = None
            backoff.works()
            rest_s = took_s * (1 - limits.share_max) / limits.share_max
            await asyncio.sleep(rest_s if more else max(rest_s, limits.look_every_s))

    async def _end(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.interrupt()
            with contextlib.suppress(Exception):  # it failed before; what is left is to let go of the file
                await self._in_thread(follower.close)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
