"""The order of one edge node's messages, as a host sees it by ``seq`` (operational-behavior-host-reordering-*)."""

from __future__ import annotations

from enum import StrEnum

from uns.sparkplug.sequences import SEQ_MODULUS, next_seq, seq_distance

__all__ = ["LATE_WINDOW", "Arrival", "SeqTracker"]

# A number that lies up to this many steps behind is a repeated or late message; one further back is a long gap ahead.
LATE_WINDOW = 16
_NOTHING = (-1, 0)


class Arrival(StrEnum):
    """How a message stands to those before it."""

    IN_ORDER = "in_order"
    AHEAD = "ahead"  # something before it is missing
    LATE = "late"  # it was missing
    REPEATED = "repeated"  # it was here already
    RENUMBERED = "renumbered"  # a new message with a number that is over: an NBIRTH, or nearly all numbers, was missed


class SeqTracker:
    """Follows ``seq`` from a birth on. It only says what it sees: data is never held back.

    ``fingerprint`` tells one message from another, where the caller knows it: a number that is over is then a repeated
    message only if the same message had it. A node that was born again unheard begins at 0, and after a loss of nearly
    256 messages numbers come from just behind as well; taken for repeated, they would count for nothing.
    """

    __slots__ = ("_ahead", "_expected_at", "_here", "expected", "holes", "is_copy", "position")

    def __init__(self) -> None:
        self._here = [_NOTHING] * LATE_WINDOW  # at seq modulo its length: seq and fingerprint of the newest there
        self.expected: int | None = None  # None: any number may come next
        self._ahead: set[int] = set()  # numbers that came while one before them was missing
        self._expected_at = 0  # the position of `expected`
        self.position: int | None = None  # of the newest message among all since the first; None: it had no number
        self.is_copy = False  # the newest message came before, with the same fingerprint
        self.holes = 0  # how many numbers were ever found missing; those that came late, too

    @property
    def has_gap(self) -> bool:
        """Whether a message is missing."""
        return bool(self._ahead)

    def is_due(self, seq: int | None) -> bool:
        """Whether this number comes next, with nothing missing before it."""
        return seq is not None and seq == self.expected and not self._ahead

    def start(self, seq: int | None) -> None:
        """Begin anew after an NBIRTH with ``seq``; with None at whatever comes next."""
        self.expected = None if seq is None else next_seq(seq)
        self._expected_at += SEQ_MODULUS  # behind all that came so far
        self.position = self._expected_at - 1
        self._ahead.clear()
        self._here = [_NOTHING] * LATE_WINDOW

    def give_up(self) -> None:
        """The reorder timeout is over: go on after the newest message that came."""
        if self._ahead and self.expected is not None:
            expected = self.expected
            newest = max(self._ahead, key=lambda seq: seq_distance(expected, seq))
            self._expected_at += seq_distance(expected, newest) + 1
            self.expected = next_seq(newest)
            self._ahead.clear()

    def receive(self, seq: int | None, fingerprint: int | None = None, *, may_renumber: bool = True) -> Arrival:
        """Take in one number. A missing one is 0 where 0 is due (proto3 peers cannot write it), else no news.

        Not ``may_renumber``: a number may come again with another message, which says nothing then.
        """
        self.is_copy = False
        if seq is None:
            if self.expected != 0:
                self.position = None
                return Arrival.AHEAD if self._ahead else Arrival.IN_ORDER
            seq = 0
        seq %= SEQ_MODULUS
        if fingerprint is None:
            return self._place(seq)
        here = (seq, fingerprint)
        repeated = self._here[seq % LATE_WINDOW] == here
        arrival = self._place(seq)
        self.is_copy = repeated and arrival is Arrival.REPEATED
        if arrival is Arrival.REPEATED and not repeated and may_renumber:
            self.holes += 1
            self.start(seq)
            arrival = Arrival.RENUMBERED
        self._here[seq % LATE_WINDOW] = here
        return arrival

    def _place(self, seq: int) -> Arrival:
        if self.expected is None:
            self.expected = next_seq(seq)
            self.position = self._expected_at
            self._expected_at += 1
            return Arrival.IN_ORDER
        distance = seq_distance(self.expected, seq)
        self.position = self._expected_at + distance
        if distance == 0:
            late = bool(self._ahead)
            self.expected = next_seq(seq)
            self._expected_at += 1
            while self.expected in self._ahead:
                self._ahead.remove(self.expected)
                self.expected = next_seq(self.expected)
                self._expected_at += 1
            return Arrival.LATE if late else Arrival.IN_ORDER
        if seq in self._ahead:
            return Arrival.REPEATED
        if distance >= SEQ_MODULUS - LATE_WINDOW:
            self.position -= SEQ_MODULUS
            return Arrival.REPEATED
        # A gap within a gap: a number below one that is here already is late, too.
        newest = max((seq_distance(self.expected, other) for other in self._ahead), default=-1)
        late = newest > distance
        if not late:
            self.holes += distance - newest - 1
        self._ahead.add(seq)
        return Arrival.LATE if late else Arrival.AHEAD
