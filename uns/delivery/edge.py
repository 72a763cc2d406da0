"""The edge's half of the delivery protocol: two cursors, one unanswered mark, nothing deleted without an answer.

Theory. DATA travels at QoS 0 and may vanish anywhere. After some DATA the edge sends a *mark*: "I handed
``messages`` messages to this connection since my last mark, and this is the sum of the digests of their payloads". A
host that took exactly that many with exactly that sum, and committed them, proves by its answer that none is missing,
in whatever order they came. ``seq`` could not: a loss of 256, 512, … messages leaves it whole, and a rebirth begins it
anew.

    store ids   0 ──────────────── live_start ───────────────── head
                     history                      live
                ▲ history_position            ▲ live_position

* **live** carries rows stored since the session's NBIRTH, **history** all older ones, oldest first.
* One mark is unanswered at a time. It counts the messages of both cursors, so its ``ok`` proves the rows of both:
  every earlier mark was either confirmed or refused, and a refusal sends history back to its start.
* A refusal proves nothing about any row before that mark: what was live before it becomes history.
* Without an answer nothing is resent: the mark is repeated, live goes on, history waits.
* History keeps to a window of messages of its own per mark; live cannot fill it. A refusal divides it by four, a
  confirmation widens it a little: many gateways that come back at once fill the broker's queue to the host, and would
  refill it for ever with full windows.

Numbers only: rows, clocks and connections belong to the caller.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from uns.delivery.messages import DIGEST_MODULUS, Confirm, Cursor, Mark
from uns.errors import LocalProtocolError

__all__ = [
    "STARVED_TEXT",
    "Confirmed",
    "DeleteRows",
    "EdgeDelivery",
    "EdgeDeliveryAction",
    "EdgeDeliveryEvent",
    "Level",
    "PublishMark",
    "Recovered",
    "Refused",
    "RestartHistory",
    "Starved",
    "Unanswered",
]

Level = Literal["host", "broker", "none"]
STARVED_TEXT = "DATA does not arrive: check the broker's ACL"
WINDOW_DIVISOR = 4  # of the history window, at a refusal
WINDOW_STEPS = 20  # confirmations from the smallest window to the largest
_NS_PER_MS = 1_000_000


class PublishMark(msgspec.Struct, frozen=True):
    """Publish this mark at QoS 1 on the session's connection, behind all DATA handed over so far."""

    mark: Mark


class DeleteRows(msgspec.Struct, frozen=True):
    """Rows with ``from_id <= id < below_id`` are safe elsewhere: delete them and count them as confirmed."""

    from_id: int
    below_id: int


class RestartHistory(msgspec.Struct, frozen=True):
    """Forget rows read ahead for history; read again from ``history_position``."""


class Confirmed(msgspec.Struct, frozen=True):
    """Mark ``n`` was confirmed."""

    n: int


class Refused(msgspec.Struct, frozen=True):
    """Mark ``n`` was refused; ``running`` refusals in a row count towards :class:`Starved`."""

    n: int
    running: int


class Unanswered(msgspec.Struct, frozen=True):
    """Mark ``n`` is being repeated for the ``repeats``-th time: the host does not answer."""

    n: int
    repeats: int


class Starved(msgspec.Struct, frozen=True):
    """Marks arrive and the DATA before them does not; history backs off. For health and the log."""

    text: str = STARVED_TEXT


class Recovered(msgspec.Struct, frozen=True):
    """The first confirmation after :class:`Starved`."""


EdgeDeliveryAction = PublishMark | DeleteRows | RestartHistory
EdgeDeliveryEvent = Confirmed | Refused | Unanswered | Starved | Recovered


class _Outstanding(msgspec.Struct):
    """The one mark that waits for its answer, and how far both cursors were when it was made."""

    mark: Mark
    live_below: int
    history_below: int
    repeat_at_ns: int
    repeats: int = 0
    filled: bool = False  # history used the whole window


class EdgeDelivery:
    """Decides when to mark, what to delete and what to send again, for one edge node.

    The caller reads rows with ``live_position <= id < head`` as live and rows with
    ``history_position <= id < live_start`` as history, publishes them, and calls :meth:`sent` at once; it drains
    :meth:`actions` after every call, in order, on the same connection.
    """

    def __init__(
        self,
        *,
        host_id: str,
        level: Level = "host",
        mark_interval_ms: int = 500,
        mark_messages_max: int = 200,
        confirm_timeout_ms: int = 5_000,
        refusals_max: int = 3,
        history_backoff_ms: int = 5_000,
        history_backoff_max_ms: int = 300_000,
    ) -> None:
        self.level = level
        self.host_id = host_id
        self._mark_interval_ns = mark_interval_ms * _NS_PER_MS
        self._mark_messages_max = mark_messages_max
        self._confirm_timeout_ns = confirm_timeout_ms * _NS_PER_MS
        self._refusals_max = refusals_max
        self._backoff_ns = history_backoff_ms * _NS_PER_MS
        self._backoff_max_ns = history_backoff_max_ms * _NS_PER_MS
        self._actions: list[EdgeDeliveryAction] = []
        self._events: list[EdgeDeliveryEvent] = []
        self._session_id: str | None = None
        self._refusals = 0
        self._window = mark_messages_max  # messages of history per mark
        self._starved = False
        self._history_from_ns = 0  # back-off: history rests until then
        self._begin(head=0)

    def _begin(self, *, head: int) -> None:
        self._live_start = self._live_position = self._live_confirmed = head
        self._history_position = self._history_confirmed = 0
        self._n = 0
        self._messages = 0  # handed over since mark n
        self._history_messages = 0  # of these, of history
        self._digest: int | None = 0  # of their payloads; None where the caller does not say
        self._live_moved = self._history_moved = False  # since mark n
        self._unmarked_since_ns: int | None = None
        self._mark_at_once = False
        self._outstanding: _Outstanding | None = None
        self._expect_refusal = False

    # What the caller reads

    @property
    def session_id(self) -> str | None:
        """The session between :meth:`session_started` and :meth:`session_ended`."""
        return self._session_id

    @property
    def live_start(self) -> int:
        """Rows below are history."""
        return self._live_start

    @property
    def live_position(self) -> int:
        """The next row to send as live."""
        return self._live_position

    @property
    def history_position(self) -> int:
        """The next row to send as history, if it is below :attr:`live_start`."""
        return self._history_position

    @property
    def starved(self) -> bool:
        """True from the third refusal in a row to the next confirmation."""
        return self._starved

    @property
    def waiting_for_answer(self) -> bool:
        """True while a mark is unanswered."""
        return self._outstanding is not None

    def may_send_history(self, now_ns: int) -> bool:
        """Tell whether a history message may go out now."""
        return self.history_room(now_ns) > 0

    def history_room(self, now_ns: int) -> int:
        """How many history messages may go out now. Ask again after each :meth:`sent`.

        None while an unanswered mark is being repeated, during back-off, when the next answer is known to be a refusal,
        and when the window is full. A starved node probes with one message at a time.
        """
        if self._session_id is None or self._history_position >= self._live_start or now_ns < self._history_from_ns:
            return 0
        if self._expect_refusal:
            return 0
        waiting = self._outstanding
        if waiting is not None and (waiting.repeats > 0 or now_ns >= waiting.repeat_at_ns):
            return 0
        if self._starved:
            return int(waiting is None and self._messages == 0)
        return max(0, self._window - self._history_messages)

    # What happened

    def session_started(self, session_id: str, *, head: int, now_ns: int) -> None:
        """Call when the session's first NBIRTH is handed over; ``head`` is the next row id to be assigned then.

        A rebirth is no new session: do not call this for it.
        """
        self._session_id = session_id
        self._begin(head=head)
        if self._starved:  # a new connection deserves a fresh look; refusals go on counting
            self._history_from_ns = min(self._history_from_ns, now_ns + self._backoff_ns)

    def reborn(self, now_ns: int) -> None:
        """Call when births went out again at a host's request: what it refused may have been for want of them.

        An ACL that denies DATA brings no such request, so its back-off stays.
        """
        self._refusals = 0
        self._history_from_ns = min(self._history_from_ns, now_ns)

    def session_ended(self) -> None:
        """Call when the connection is gone. Whatever is stored and unconfirmed will be history of the next session.

        A mark that did not leave any more is void, what was confirmed is deleted all the same.
        """
        self._session_id = None
        self._actions = [action for action in self._actions if not isinstance(action, PublishMark)]
        self._begin(head=0)

    def sent(
        self,
        cursor: Cursor,
        *,
        from_id: int,
        next_id: int,
        messages: int,
        now_ns: int,
        digest: int | None = None,
    ) -> None:
        """Rows ``from_id <= id < next_id`` of ``cursor`` were handed to the connection in ``messages`` messages.

        Every NDATA and DDATA of the session has to be told, because the host counts them all. ``digest`` is the sum of
        :func:`~uns.delivery.messages.digest_of` over their payloads; without it marks carry counts alone, which prove
        nothing where a network lets DATA change places with its mark. ``from_id`` is the
        cursor's position as it was when the rows were read: rows read before a :class:`RestartHistory` are refused
        here, for skipping what lies before them would lose it.
        """
        if self._session_id is None:
            raise LocalProtocolError("rows sent outside a session", expected="session_started() first")
        position = self._live_position if cursor == "live" else self._history_position
        if from_id != position or next_id < from_id:
            raise LocalProtocolError(
                f"{cursor} rows [{from_id}, {next_id}) do not continue at {position}",
                expected="rows read from the cursor's present position",
                next_step="after RestartHistory drop what was read ahead",
            )
        if messages < 1:
            raise LocalProtocolError(f"{messages} messages for {cursor} rows [{from_id}, {next_id})", expected=">= 1")
        if cursor == "live":
            self._live_position = next_id
            self._live_moved = True
        else:
            if next_id > self._live_start:
                raise LocalProtocolError(
                    f"history rows up to {next_id} reach into live rows", expected=f"at most {self._live_start}"
                )
            self._history_position = next_id
            self._history_moved = True
            self._mark_at_once = self._mark_at_once or next_id == self._live_start
        if self.level == "none":
            self._actions.append(DeleteRows(from_id, next_id))
            return
        self._messages += messages
        if cursor == "history":
            self._history_messages += messages
        if digest is None or self._digest is None:
            self._digest = None
        else:
            self._digest = (self._digest + digest) % DIGEST_MODULUS
        if self._unmarked_since_ns is None:
            self._unmarked_since_ns = now_ns
        self._mark_if_due(now_ns)

    def history_exhausted(self, now_ns: int) -> None:
        """No rows are left in ``[history_position, live_start)``: what was sent of history gets its mark at once."""
        if self._session_id is None or self._history_position >= self._live_start:
            return
        self._history_position = self._live_start
        self._mark_at_once = self._messages > 0
        self._mark_if_due(now_ns)

    def receive_confirm(self, confirm: Confirm, now_ns: int) -> None:
        """Take the host's answer. One for another session, or for a mark that no longer waits, says nothing new."""
        waiting = self._outstanding
        if (
            self.level != "host"
            or waiting is None
            or confirm.session != self._session_id
            or confirm.n != waiting.mark.n
        ):
            return
        if confirm.ok:
            self._confirmed(waiting)
        else:
            self._refused(waiting, now_ns)
        self._mark_if_due(now_ns)

    def receive_puback(self, n: int, now_ns: int) -> None:
        """Take the broker's PUBACK of mark ``n``; it confirms at level ``broker`` only."""
        waiting = self._outstanding
        if self.level != "broker" or waiting is None or n != waiting.mark.n:
            return
        self._confirmed(waiting)
        self._mark_if_due(now_ns)

    def receive_timer(self, now_ns: int) -> None:
        """Call at :meth:`next_deadline_ns`; calling early does no harm."""
        waiting = self._outstanding
        if waiting is not None and now_ns >= waiting.repeat_at_ns:
            waiting.repeats += 1
            waiting.repeat_at_ns = now_ns + self._confirm_timeout_ns
            self._actions.append(PublishMark(msgspec.structs.replace(waiting.mark, repeat=True)))
            self._events.append(Unanswered(waiting.mark.n, waiting.repeats))
        if now_ns >= self._history_from_ns:
            self._history_from_ns = 0  # rested; no deadline any more
        self._mark_if_due(now_ns)

    # What to do

    def actions(self) -> list[EdgeDeliveryAction]:
        """Drain what is to be done, in order."""
        drained, self._actions = self._actions, []
        return drained

    def events(self) -> list[EdgeDeliveryEvent]:
        """Drain what is to be told."""
        drained, self._events = self._events, []
        return drained

    def next_deadline_ns(self) -> int | None:
        """When to call :meth:`receive_timer`, or ask :meth:`may_send_history` again; None: nothing is due."""
        if self._session_id is None:
            return None
        deadlines = []
        if self._outstanding is not None:
            deadlines.append(self._outstanding.repeat_at_ns)
        elif self._unmarked_since_ns is not None:
            deadlines.append(self._unmarked_since_ns + self._mark_interval_ns)
        if self._history_from_ns and self._history_position < self._live_start:
            deadlines.append(self._history_from_ns)
        return min(deadlines, default=None)

    # Rules

    def _mark_if_due(self, now_ns: int) -> None:
        since = self._unmarked_since_ns
        if self._outstanding is not None or since is None or self._session_id is None:
            return
        filled = self._history_messages >= self._window
        full = filled or self._messages >= self._mark_messages_max
        if not (self._mark_at_once or full or now_ns >= since + self._mark_interval_ns):
            return
        self._n += 1
        cursor: Cursor = "live" if self._live_moved else "history"
        mark = Mark(
            session=self._session_id,
            host=self.host_id,
            n=self._n,
            repeat=False,
            cursor=cursor,
            mark=self._live_position if cursor == "live" else self._history_position,
            messages=self._messages,
            digest=self._digest,
        )
        self._outstanding = _Outstanding(
            mark,
            self._live_position,
            self._history_position,
            now_ns + self._confirm_timeout_ns,
            filled=filled,
        )
        self._messages = self._history_messages = self._digest = 0
        self._live_moved = self._history_moved = False
        self._unmarked_since_ns = None
        self._mark_at_once = False
        self._actions.append(PublishMark(mark))

    def _confirmed(self, waiting: _Outstanding) -> None:
        self._outstanding = None
        self._expect_refusal = False
        if waiting.history_below > self._history_confirmed:
            self._actions.append(DeleteRows(self._history_confirmed, waiting.history_below))
            self._history_confirmed = waiting.history_below
        if waiting.live_below > self._live_confirmed:
            self._actions.append(DeleteRows(self._live_confirmed, waiting.live_below))
            self._live_confirmed = waiting.live_below
        self._events.append(Confirmed(waiting.mark.n))
        self._refusals = 0
        if waiting.filled:
            self._window = min(self._mark_messages_max, self._window + 1 + self._mark_messages_max // WINDOW_STEPS)
        if self._starved:
            self._starved = False
            self._history_from_ns = 0
            self._events.append(Recovered())

    def _refused(self, waiting: _Outstanding, now_ns: int) -> None:
        self._outstanding = None
        # Everything before the mark may be missing; what was live there is sent again as history.
        self._live_start = self._live_confirmed = waiting.live_below
        self._history_position = self._history_confirmed
        self._actions.append(RestartHistory())
        if not self._expect_refusal:
            self._refusals += 1
            self._window = max(1, self._window // WINDOW_DIVISOR)
        self._events.append(Refused(waiting.mark.n, self._refusals))
        # The host starts to count at the mark that reached it. If that was a repetition, what went out between the
        # mark and its repetition is in the next mark's count but not in the host's: ask at once, and let no history
        # go into a window that is lost already.
        self._expect_refusal = waiting.repeats > 0 and self._messages > 0
        self._mark_at_once = self._mark_at_once or self._expect_refusal
        if self._refusals >= self._refusals_max:
            doublings = min(self._refusals - self._refusals_max, 30)
            self._history_from_ns = now_ns + min(self._backoff_ns << doublings, self._backoff_max_ns)
            if not self._starved:
                self._starved = True
                self._events.append(Starved())
