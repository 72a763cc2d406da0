"""Where an edge node connects next, and when: the walk over its brokers, the back-off, and a second node of its name.

    how the last connection ended          next broker     pause

    not reached                            the next        } doubles once per round over all brokers,
    the primary host is offline there      the next        } with jitter, and never beyond ``pause_max_ms``
    the primary host is silent there       the next        }
    lost                                   the same        the first step again after a steady session
    lost soon, again and again             the next        as above
    the wall clock was set back            the same        the first step
    taken over by another client           the same        long, once it is a habit

There is one connection at a time (…-multiple-servers-single-server): the caller asks where to go after each end.

Two clients with one identity end each other's connections for ever. On MQTT 5 the broker says so; on 3.1.1 it only cuts
the connection soon after CONNACK, as a bad line does, so that after two of these the caller is asked for a proof: to
look, without connecting as the node, whether somebody answers in its name. A node that knows of its double comes back
seldom and keeps saying why; which of the two is wrong, only people know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from uns.errors import LocalProtocolError

__all__ = ["WALK_RULES", "BrokerWalk", "SessionEnd", "WalkRule"]

_NS_PER_MS = 1_000_000
STEADY_MS = 10_000  # a connection that lasted as long begins the back-off anew
SOON_MS = 2_000  # after CONNACK: a connection that ends by then was perhaps taken over
SOON_ENDS_MAX = 3  # running: then the next broker is tried; and where no proof can be had, a double is taken for likely
TAKEOVERS = 2  # within TAKEOVER_WINDOW_MS make a double
TAKEOVER_WINDOW_MS = 60_000
ALONE_MS = 60_000  # a connection that lasted as long shows that there is no double any more
DOUBLE_PAUSE_MS, DOUBLE_PAUSE_MAX_MS = 40_000, 320_000


class SessionEnd(StrEnum):
    """How a connection ended, as the caller sees it."""

    NOT_REACHED = "not_reached"
    LOST = "lost"
    TAKEN_OVER = "taken_over"  # the broker said so (MQTT 5, reason 0x8E)
    HOST_OFFLINE = "primary_host_offline"
    HOST_SILENT = "primary_host_silent"
    CLOCK_SET_BACK = "clock_set_back"
    FAILED = "failed"  # nothing could be published: ours to mend


class WalkRule(msgspec.Struct, frozen=True):
    """What follows from an end."""

    moves: bool  # to the next broker
    eases: bool = False  # the back-off begins anew


WALK_RULES: Mapping[SessionEnd, WalkRule] = {
    SessionEnd.NOT_REACHED: WalkRule(moves=True),
    SessionEnd.LOST: WalkRule(moves=False),
    SessionEnd.TAKEN_OVER: WalkRule(moves=False),
    SessionEnd.HOST_OFFLINE: WalkRule(moves=True),  # edge-node-termination-host-offline-reconnect
    SessionEnd.HOST_SILENT: WalkRule(moves=True),
    SessionEnd.CLOCK_SET_BACK: WalkRule(moves=False, eases=True),
    SessionEnd.FAILED: WalkRule(moves=False),
}


class BrokerWalk:
    """Told of each CONNACK and each end; says where to go (``broker``), and after which pause.

    ``jitter(n)`` draws from 0 to n - 1, so that the gateways of a site do not come back together.
    """

    def __init__(
        self,
        brokers: int,
        *,
        jitter: Callable[[int], int],
        pause_first_ms: int = 500,
        pause_max_ms: int = 5_000,
    ) -> None:
        if brokers < 1:
            raise LocalProtocolError("no broker to connect to", expected="at least one")
        self._brokers = brokers
        self._jitter = jitter
        self._first_ms = min(pause_first_ms, pause_max_ms)
        self._max_ms = pause_max_ms
        self._step_ms = self._first_ms
        self._moved = 0  # brokers since the last connection that stood
        self._connected_ns: int | None = None
        self._soon_ends = 0  # running
        self._takeovers: list[int] = []  # when
        self._double_ms: int | None = None  # the pause, while there is a double
        self.broker = 0

    @property
    def has_double(self) -> bool:
        """Whether another client has this node's identity."""
        return self._double_ms is not None

    @property
    def wants_proof(self) -> bool:
        """Whether the caller should look for a double before it connects again; tell with ``receive_proof``."""
        return self._double_ms is None and self._soon_ends >= TAKEOVERS

    def next_deadline_ns(self) -> int | None:
        """When ``receive_timer`` wants to be called."""
        if self._double_ms is None or self._connected_ns is None:
            return None
        return self._connected_ns + ALONE_MS * _NS_PER_MS

    def receive_connected(self, now_ns: int) -> None:
        """CONNACK came."""
        self._connected_ns = now_ns

    def receive_timer(self, now_ns: int) -> None:
        """The deadline has come: nobody has taken this connection over, so the double is gone."""
        due = self.next_deadline_ns()
        if due is not None and now_ns >= due:
            self._double_ms = None
            self._takeovers.clear()

    def receive_proof(self, *, found: bool | None) -> None:
        """Whether somebody else is online under this node's name; None: the broker does not let us ask."""
        if found or (found is None and self._soon_ends >= SOON_ENDS_MAX):
            self._double_ms = self._double_ms or DOUBLE_PAUSE_MS

    def receive_end(self, end: SessionEnd, now_ns: int) -> int:
        """The connection ended, or could not be made. Gives the pause in ms before the next attempt, at ``broker``."""
        self.receive_timer(now_ns)
        since, self._connected_ns = self._connected_ns, None
        lasted_ms = None if since is None else (now_ns - since) // _NS_PER_MS
        soon = end in {SessionEnd.LOST, SessionEnd.TAKEN_OVER} and lasted_ms is not None and lasted_ms < SOON_MS
        self._soon_ends = self._soon_ends + 1 if soon else 0
        if end is SessionEnd.TAKEN_OVER:
            self._note_takeover(now_ns)
        rule = WALK_RULES[end]
        if rule.eases or (lasted_ms is not None and lasted_ms >= STEADY_MS):
            self._step_ms, self._moved = self._first_ms, 0
        pause_ms = self._step_ms
        if rule.moves or self._soon_ends >= SOON_ENDS_MAX:
            self.broker = (self.broker + 1) % self._brokers
            self._moved += 1
        if not rule.moves or self._moved % self._brokers == 0:  # a round is over, or there is none
            self._step_ms = min(2 * self._step_ms, self._max_ms)
        return self._jittered(pause_ms)

    def pause_for_double_ms(self) -> int:
        """The pause instead of the other one while there is a double; longer each time."""
        pause_ms = self._double_ms or DOUBLE_PAUSE_MS
        self._double_ms = min(2 * pause_ms, DOUBLE_PAUSE_MAX_MS)
        return self._jittered(pause_ms)

    def _note_takeover(self, now_ns: int) -> None:
        oldest = now_ns - TAKEOVER_WINDOW_MS * _NS_PER_MS
        self._takeovers = [at for at in self._takeovers if at >= oldest] + [now_ns]
        if len(self._takeovers) >= TAKEOVERS:
            self.receive_proof(found=True)

    def _jittered(self, pause_ms: int) -> int:
        half = pause_ms // 2
        return pause_ms - half + self._jitter(half + 1) if half else pause_ms
