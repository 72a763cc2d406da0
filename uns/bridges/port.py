"""What a bridge is: a pure mapping from the record log to items, and a target that takes items.

    record log ─▶ Mapping.receive_batch ─▶ items ─▶ outbox (one commit with the cursor) ─▶ Target.deliver ─▶ outcome

The runtime between them (:mod:`uns.runtime.bridge`) owns everything that must not go wrong twice: the cursor, the
outbox, retries, read-back, dead letters. A mapping decides what is sent, a target how; neither keeps a list of what
was sent. What every target must do is tested by ``tests/bridges/contract``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Mapping as Map
from typing import Literal, Protocol

import msgspec

from uns.context.facts import Fact, FactAnswer
from uns.enrichment.log import LogBatch, LogSample, RecordReader

__all__ = [
    "Auth",
    "Business",
    "Delivered",
    "Emit",
    "Finding",
    "LogBatch",
    "LogSample",
    "Mapping",
    "OutboundItem",
    "Outcome",
    "Poison",
    "RecordReader",
    "Target",
    "Transient",
    "Unknown",
]


class OutboundItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to deliver. ``key`` names it for ever, here and in the target's own books: equal key, equal content."""

    key: str
    kind: str  # the mapping's own word: performance, log_range …
    body: bytes
    subject: str = ""  # for people: what it is about
    order_key: str = ""  # items with the same one go one after the other; "": no order
    first_position: int = 0  # log positions it speaks of, where there are any
    last_position: int = 0
    created_at_ns: int = 0  # set by the runtime, as is the next one
    attempts: int = 0


# ── outcomes: one for each item, in order ────────────────────────────────────────────────────────────────────────────


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The target has it in its books. ``receipt`` is what the target calls it."""

    receipt: str = ""


class Transient(msgspec.Struct, frozen=True, tag="transient"):
    """Not taken now, surely; later it may be.

    ``whole_target``: it is the target that is down, full or busy: everything waits, no attempt is counted. Otherwise
    it is this item (an order that someone has locked): it waits alone, and its attempts are counted.
    """

    reason: str
    whole_target: bool = True


class Business(msgspec.Struct, frozen=True, tag="business"):
    """The target understood and said no. A human decides: ``next_step`` says what to do."""

    reason: str
    next_step: str


class Poison(msgspec.Struct, frozen=True, tag="poison"):
    """No target could take it: the item itself is broken."""

    reason: str
    next_step: str = "show the item, report it with the release, then drop it"


class Auth(msgspec.Struct, frozen=True, tag="auth"):
    """The target refuses *us*: password, certificate, rights, schema. Everything pauses, nothing is spent."""

    reason: str
    next_step: str


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """It was sent and no answer came: it is read back before anything is sent again."""

    reason: str


Outcome = Delivered | Transient | Business | Poison | Auth | Unknown


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What ``uns bridge check`` tells of the target."""

    rule: str
    text: str
    next_step: str = ""
    severity: Literal["error", "warning", "info"] = "error"
    unreachable: bool = False  # nobody answered: exit code 3 instead of 1

    def __str__(self) -> str:
        step = f"; {self.next_step}" if self.next_step else ""
        return f"{self.severity}: {self.rule}: {self.text}{step}"


# ── the mapping ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Mapping(Protocol):
    """From the log to items. Pure: no clock, no network; the same calls give the same items.

    What it must remember between batches it gives to :meth:`drain_state`: that is committed with the cursor and the
    items, and handed to :meth:`load` at the next start.
    """

    wants_samples: bool

    def load(self, state: Map[str, bytes], reader: RecordReader) -> None:
        """Before anything else, and again after a commit that failed: what follows builds on this state alone."""

    def receive_batch(self, batch: LogBatch, now_ns: int) -> list[OutboundItem]:
        """What follows from new records."""

    def receive_timer(self, now_ns: int) -> list[OutboundItem]:
        """What follows from the time: called when :meth:`next_deadline_ns` has come."""

    def next_deadline_ns(self) -> int | None:
        """When :meth:`receive_timer` wants to be called."""

    def drain_state(self) -> dict[str, bytes | None]:
        """What changed of the state since the last call; None forgets a key."""


# ── the target ───────────────────────────────────────────────────────────────────────────────────────────────────────

Emit = Callable[[Fact], Awaitable[FactAnswer]]  # tells the host a fact until it is answered; UnreachableError if not


class Target(Protocol):
    """The other side. Methods raise nothing but bugs: what the world does is an outcome."""

    name: str
    items_max: int  # items of one deliver() call

    async def start(self) -> int | Transient | Auth | None:
        """Get ready; called until it gives no trouble, before the first delivery.

        A number is the log position up to which the target's own books have everything, so that a target that was
        restored from a backup gets again what it lost. None: it keeps no such books.
        """

    async def deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        """Send; an outcome for each item, in order. Cancelled at shutdown: the items count as Unknown then."""

    async def read_back(self, item: OutboundItem) -> bool | None:
        """Whether the target's books have it; None while that cannot be told."""

    def split(self, item: OutboundItem) -> list[OutboundItem]:
        """Parts of an item that is refused as a whole, so that what is wrong stays alone; empty: it has no parts."""

    async def inbound(self, emit: Emit) -> None:
        """Bring facts in until cancelled; return at once where nothing comes from this target."""

    async def check(self) -> list[Finding]:
        """What is wrong with the target now."""

    async def close(self) -> None:
        """Let go of connections."""
