"""The raw log stage: group commits, then the answers that they make true, then handing over to the joiner."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from uns.adapters.logs import Logger
from uns.adapters.sqlite.raw_log import RawBirth, RawLog, RawMessage
from uns.delivery.messages import Confirm
from uns.errors import StorageError
from uns.runtime.host.groups import AliveItem, DeathItem, Group, Item
from uns.runtime.host.receiver import DeliveryGate
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["OwedBirths", "RawWriter"]

GROUPS_WAITING_MAX = 64  # then receiving waits, and with it the socket
_PRUNE_EVERY_S = 1.0
_PRUNE_MESSAGES_MAX = 2_000
_ERROR_LOG_EVERY_S = 10.0

Answers = list[tuple[EdgeNodeDescriptor, Confirm]]


class OwedBirths:
    """Births and deaths that a failed commit left out: the next commit begins with them.

    The session has taken them, so DATA that follows is decoded with them; logged without them it could not be read
    again after a restart. The newest of each node and device is enough: no DATA is logged while commits fail.
    """

    def __init__(self) -> None:
        self._owed: dict[tuple[EdgeNodeDescriptor, str | None], tuple[RawMessage, RawBirth, Item]] = {}

    def keep(self, groups: Sequence[Group]) -> None:
        """A commit of these groups failed."""
        for group in groups:
            messages = {message.position: message for message in group.messages}
            items = {item.position: item for item in group.items if not isinstance(item, AliveItem)}
            for birth in group.births:
                if (message := messages.get(birth.position)) is not None:
                    item = items.get(birth.position) or DeathItem(
                        birth.position, birth.edge_node, birth.device_id, birth.received_at_ns
                    )
                    self._owed[birth.edge_node, birth.device_id] = (message, birth, item)

    def group(self, epoch: int) -> Group:
        """What is owed, in order, to stand before the groups of the next commit."""
        owed = sorted(self._owed.values(), key=lambda one: one[1].position)
        return Group(
            epoch=epoch,
            messages=[message for message, _, _ in owed],
            births=[birth for _, birth, _ in owed],
            items=[item for _, _, item in owed],
        )

    def clear(self) -> None:
        """A commit succeeded."""
        self._owed.clear()


class RawWriter:
    """Writes groups as they come, all that wait in one commit.

    When the log cannot take a group, for whatever reason, its marks are refused by forgetting all counts: the edge
    nodes keep their rows and send them again. ``on_dropped`` sees the work that was not logged, so that present values
    stay alive.
    """

    def __init__(
        self,
        raw: RawLog,
        gate: DeliveryGate,
        *,
        writes: Executor,
        log: Logger,
        answer: Callable[[Answers], None],
        hand_over: Callable[[Sequence[Item], int], None],
        on_dropped: Callable[[Sequence[Item]], None],
        on_health: Callable[[str | None], None],
        joined: Callable[[], int],
    ) -> None:
        self._raw = raw
        self._gate = gate
        self._writes = writes
        self._log = log
        self._answer = answer
        self._hand_over = hand_over
        self._on_dropped = on_dropped
        self._on_health = on_health
        self._joined = joined
        self._queue: asyncio.Queue[Group] = asyncio.Queue(GROUPS_WAITING_MAX)
        self._busy = False
        self._error_logged_s = -_ERROR_LOG_EVERY_S
        self._pruned_s = 0.0
        self._full = False
        self._owed = OwedBirths()
        self.counters: Counter[str] = Counter(raw_commits=0, raw_commits_failed=0, messages_dropped=0, pruned=0)

    async def put(self, group: Group) -> None:
        """Take a group; waits while too many wait already."""
        if not group.is_empty():
            await self._queue.put(group)

    def is_idle(self) -> bool:
        """Whether all groups are committed."""
        return self._queue.empty() and not self._busy

    async def run(self) -> None:
        """Commit for as long as it runs. Ends by cancellation only."""
        while True:
            groups = [await self._queue.get()]
            self._busy = True
            while not self._queue.empty():
                groups.append(self._queue.get_nowait())
            await self._commit(groups)
            await self._prune()
            self._busy = False

    async def _commit(self, groups: Sequence[Group]) -> None:
        groups = [self._owed.group(self._gate.epoch), *groups]
        messages = [message for group in groups for message in group.messages]
        if messages:
            births = [birth for group in groups for birth in group.births]
            counts: Counter[tuple[str, str]] = Counter()
            for group in groups:
                counts.update(group.counts)
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._writes, lambda: self._raw.append(messages, births, counts))
            except Exception as error:  # noqa: BLE001 - whatever it is: nothing was committed, and the host goes on
                self._failed(error, groups)
                return
            self.counters["raw_commits"] += 1
            self._full = False
            self._owed.clear()
            self._on_health(None)
        answers = [answer for group in groups if group.epoch == self._gate.epoch for answer in group.answers]
        if answers:
            self._answer(answers)
        items = [item for group in groups for item in group.items]
        if items:
            self._hand_over(items, messages[-1].position if messages else 0)

    def _failed(self, error: Exception, groups: Sequence[Group]) -> None:
        text = str(error) if isinstance(error, StorageError) else f"the raw log cannot be written: {error!r}"
        self._gate.forget_all()
        self._owed.keep(groups)
        self._full = True
        self.counters["raw_commits_failed"] += 1
        self.counters["messages_dropped"] += sum(len(group.messages) for group in groups[1:])
        self._on_health(text)
        if time.monotonic() - self._error_logged_s > _ERROR_LOG_EVERY_S:
            self._error_logged_s = time.monotonic()
            self._log.error(
                "the raw log takes nothing: marks are refused, edge nodes keep their rows",
                error=text,
                exc_info=None if isinstance(error, StorageError) else error,
            )
        self._on_dropped([item for group in groups[1:] for item in group.items])

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned_s < _PRUNE_EVERY_S and not self._full:
            return
        self._pruned_s = time.monotonic()
        joined = self._joined()
        loop = asyncio.get_running_loop()
        try:
            pruned = await loop.run_in_executor(
                self._writes,
                lambda: self._raw.prune(joined=joined, now_ns=time.time_ns(), messages_max=_PRUNE_MESSAGES_MAX),
            )
        except StorageError:
            return  # the next commit says what is wrong
        except Exception:  # noqa: BLE001 - pruning is put off; it must not end the host
            self._full = False  # no turn at every commit, which would log this as often
            self._log.exception("the raw log cannot be pruned")
            return
        self.counters["pruned"] += pruned
        if pruned == _PRUNE_MESSAGES_MAX:
            self._pruned_s = 0.0  # there is more: a busy log grows by more in a second than one turn removes
