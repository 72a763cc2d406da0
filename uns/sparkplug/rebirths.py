"""When a host may ask an edge node for a rebirth: seldom, spread out, and never as a storm.

Per session of a node a request needs an interval since the last one; the interval doubles while causes keep coming, and
falls back after a quiet time. A new session begins anew: what was asked of the last one says nothing of it, and a
broker that comes and goes must not silence a node for minutes. Over all nodes a number per second holds. Causes that
come while a request waits add nothing to it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import msgspec

from uns.errors import LocalProtocolError
from uns.sparkplug.messages import RebirthCause
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["RebirthLimiter", "no_jitter"]

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_SESSIONS_REMEMBERED_MAX = 4  # of one node: a late birth or mark of an old one begins nothing anew
_QUEUE_SPARE = 64  # entries that no longer match, beyond one a node, before they are thrown away


def no_jitter(span: int) -> int:  # noqa: ARG001
    """Spread nothing; for tests. Runtimes pass ``random.randrange`` or the like."""
    return 0


class _Node(msgspec.Struct):
    interval_ns: int
    sent_at_ns: int | None = None
    due_ns: int | None = None  # a request waits for this time
    causes: list[RebirthCause] = []
    sessions: tuple[str, ...] = ()  # the last few that were heard of
    unanswered: bool = False  # no NBIRTH came since a request was sent


class RebirthLimiter:
    """Keeps waiting requests and the two limits. ``jitter(span)`` gives a number from 0 up to, not including, span.

    ``per_second_max`` of 0 is for a host that only looks on beside one that asks: it never does.
    """

    def __init__(
        self, *, interval_min_ms: int, interval_max_ms: int, per_second_max: int, jitter: Callable[[int], int]
    ) -> None:
        limits = {
            "interval_min_ms": interval_min_ms,
            "interval_max_ms": interval_max_ms,
            "per_second_max": per_second_max,
        }
        for name, limit in limits.items():
            if limit < 0:
                raise LocalProtocolError(f"{name} {limit} of rebirth requests", expected="0 or more")
        self._asks = per_second_max > 0
        self._interval_min_ns = interval_min_ms * _NS_PER_MS
        self._interval_max_ns = max(interval_max_ms * _NS_PER_MS, self._interval_min_ns)
        self._token_ns = _NS_PER_S // max(per_second_max, 1)
        self._burst_ns = _NS_PER_S - self._token_ns
        self._tokens_spent_until_ns = 0
        self._jitter = jitter
        self._nodes: dict[EdgeNodeDescriptor, _Node] = {}
        self._queue: list[tuple[int, EdgeNodeDescriptor]] = []  # heap; entries that no longer match are skipped

    def ask(
        self, edge_node: EdgeNodeDescriptor, cause: RebirthCause, now_ns: int, *, delay_ns: int = 0, spread_ns: int = 0
    ) -> None:
        """Let a request come up, at the earliest after ``delay_ns`` plus a random part of ``spread_ns``."""
        if not self._asks:
            return
        node = self._nodes.get(edge_node)
        if node is None:
            node = self._nodes[edge_node] = _Node(self._interval_min_ns)
        due_ns = now_ns + delay_ns + (self._jitter(spread_ns) if spread_ns > 0 else 0)
        if node.sent_at_ns is not None:
            # A clock that stepped back must not silence the node: never wait longer than one interval.
            due_ns = max(due_ns, min(node.sent_at_ns, now_ns) + node.interval_ns)
        if node.due_ns is not None:
            if cause not in node.causes:
                node.causes.append(cause)
            if node.due_ns <= due_ns:
                return
        else:
            node.causes = [cause]
        node.due_ns = due_ns
        heapq.heappush(self._queue, (due_ns, edge_node))
        if len(self._queue) > _QUEUE_SPARE + 2 * len(self._nodes):
            self._rebuild_queue()  # a node that is asked and born in turns leaves an entry each time

    def receive_session(self, edge_node: EdgeNodeDescriptor, session_id: str, *, ours: bool = True) -> None:
        """The node is in this session now: another one than before has not been asked yet.

        A foreign one, told by its bdSeq, may be the answer to the last request: some raise it at each rebirth. It is
        asked again after the least interval, not at once, or the two would go on for ever. So may the first one that is
        heard of at all.
        """
        node = self._nodes.get(edge_node)
        if node is None:  # to know whether it is the same one, once it is asked
            node = self._nodes[edge_node] = _Node(self._interval_min_ns)
        if session_id not in node.sessions:
            if ours and node.sessions:
                node.sent_at_ns = None
            node.sessions = (*node.sessions, session_id)[-_SESSIONS_REMEMBERED_MAX:]
            node.interval_ns = self._interval_min_ns

    def cancel(self, edge_node: EdgeNodeDescriptor, causes: Iterable[RebirthCause] | None = None) -> None:
        """Take back what waits for these causes; for all of them where none are given (a birth came)."""
        node = self._nodes.get(edge_node)
        if node is not None and causes is None:
            node.unanswered = False
        if node is None or node.due_ns is None:
            return
        node.causes = [] if causes is None else [cause for cause in node.causes if cause not in set(causes)]
        if not node.causes:
            node.due_ns = None

    def waits(self, edge_node: EdgeNodeDescriptor) -> bool:
        """Whether a request waits for its time."""
        node = self._nodes.get(edge_node)
        return node is not None and node.due_ns is not None

    def is_unanswered(self, edge_node: EdgeNodeDescriptor) -> bool:
        """Whether a request was sent and no NBIRTH came since."""
        node = self._nodes.get(edge_node)
        return node is not None and node.unanswered

    def forget(self, edge_node: EdgeNodeDescriptor) -> None:
        """The node is kept no longer: nothing waits for it, and what was asked of it is not remembered."""
        self._nodes.pop(edge_node, None)

    def cancel_all(self) -> None:
        """The host's connection is gone: nothing waits any more. The limits stay."""
        for node in self._nodes.values():
            node.due_ns = None
            node.causes = []
        self._queue.clear()

    def receive_clock_set_back(self, step_ns: int) -> None:
        """What waits keeps its distance from now."""
        for node in self._nodes.values():
            if node.due_ns is not None:
                node.due_ns -= step_ns
        self._rebuild_queue()

    def _rebuild_queue(self) -> None:
        self._queue = [(node.due_ns, name) for name, node in self._nodes.items() if node.due_ns is not None]
        heapq.heapify(self._queue)

    def take_due(self, now_ns: int) -> list[tuple[EdgeNodeDescriptor, RebirthCause]]:
        """The requests to send now, within both limits."""
        due: list[tuple[EdgeNodeDescriptor, RebirthCause]] = []
        # A clock that stepped back must not silence the host. More than a second is never spent by itself.
        if self._tokens_spent_until_ns - now_ns > _NS_PER_S:
            self._tokens_spent_until_ns = now_ns + self._burst_ns
        while (edge_node := self._first()) is not None:
            node = self._nodes[edge_node]
            if node.due_ns is None or node.due_ns > now_ns or self._tokens_spent_until_ns - now_ns > self._burst_ns:
                break
            heapq.heappop(self._queue)
            self._tokens_spent_until_ns = max(self._tokens_spent_until_ns, now_ns) + self._token_ns
            due.append((edge_node, node.causes[0]))
            self._sent(node, now_ns)
        return due

    def _sent(self, node: _Node, now_ns: int) -> None:
        quiet_ns = None if node.sent_at_ns is None else now_ns - node.sent_at_ns
        if quiet_ns is None or quiet_ns >= 2 * node.interval_ns:
            node.interval_ns = self._interval_min_ns
        else:
            node.interval_ns = min(2 * node.interval_ns, self._interval_max_ns)
        node.sent_at_ns, node.unanswered = now_ns, True
        node.due_ns = None
        node.causes = []

    def next_deadline_ns(self) -> int | None:
        """When ``take_due`` has something to give."""
        edge_node = self._first()
        if edge_node is None:
            return None
        due_ns = self._nodes[edge_node].due_ns or 0
        return max(due_ns, self._tokens_spent_until_ns - self._burst_ns)

    def _first(self) -> EdgeNodeDescriptor | None:
        """The node whose request comes up first; entries that were cancelled or moved are thrown away."""
        while self._queue:
            due_ns, edge_node = self._queue[0]
            node = self._nodes.get(edge_node)
            if node is not None and node.due_ns == due_ns:
                return edge_node
            heapq.heappop(self._queue)
        return None
