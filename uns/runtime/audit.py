"""The audit log of a running component: its life, what has no transaction of its own, and the anchor outside.

An anchor is shown after the commit of what it vouches for, at most once a second, and at a clean stop. Before the first
one of a life, the one that is found outside is held against the log: if the log is shorter or another, that becomes an
entry, with the anchor that was found, and the component goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.logs import Logger
from uns.adapters.sqlite.audit_log import AuditLog
from uns.audit.anchoring import ANCHOR_BYTES_MAX, judge, parse_anchor
from uns.audit.chain import AuditEvent, anchor_of
from uns.audit.coalescing import Coalescer
from uns.audit.events import ANCHOR_ABSENT, ANCHOR_SPOILED, MISMATCH, Life, mismatch
from uns.errors import StorageError
from uns.namespace.topics import audit_topic

__all__ = ["AuditTrail", "Watch", "os_user"]

ANCHOR_EVERY_S = 1.0
RETAINED_WITHIN_S = 1.0  # after the subscription; then there is none
NOTES_MAX = 10_000  # that wait for the disk; what comes beyond is counted
_MORE = "audit.notes_lost"


Blocking = Callable[[Callable[[], Any]], Awaitable[Any]]  # runs a call in the thread of the database


class Watch(msgspec.Struct, frozen=True):
    """A topic that is read over a connection that writes it: what its own retained message was before, and becomes."""

    topic: str
    subscribed: Callable[[], None]
    receive: Callable[[bytes], Awaitable[None]]


def os_user() -> str:
    """Who the operating system says we are."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


class AuditTrail:
    """Give it the log and a way to the broker. Fed from the event loop; the disk is touched by ``blocking`` alone.

    ``show`` keeps a retained message at :attr:`topic`; None where there is no broker. ``anchor_file`` is another place.
    ``shared``: other processes write to the log too, so that its head is looked for.
    """

    def __init__(
        self,
        audit: AuditLog,
        life: Life,
        *,
        blocking: Blocking,
        log: Logger,
        show: Callable[[str, bytes], None] | None = None,
        anchor_file: Path | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        shared: bool = False,
    ) -> None:
        self.topic = audit_topic(life.component)
        self._audit = audit
        self._life = life
        self._blocking = blocking
        self._log = log
        self._show = show
        self._anchor_file = anchor_file
        self._file_trouble = ""
        self._now_ns = now_ns
        self._shared = shared
        self._coalescer = Coalescer(life.component)
        self._notes: deque[AuditEvent] = deque()
        self._notes_lost = 0
        self._writing = asyncio.Lock()  # one takes notes to the disk at a time: who stops meets who runs
        self._taken: asyncio.Future[None] | None = None
        self._trouble = ""
        self._wake = asyncio.Event()
        self._judged = False  # what stood at the broker before us; until then it stays there
        self._retained_until_s: float | None = None
        self._first_life = audit.head.number == 0
        self._shown: object = None
        self._filed: object = None
        self._filing: asyncio.Future[None] | None = None
        self.counters = {"audit_notes_lost": 0, "audit_anchors": 0}

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Write down that the component starts. Raises :class:`StorageError`."""
        found = None if self._anchor_file is None else await self._blocking(self._read_file)
        if found is not None:
            await self._hold_against(found, str(self._anchor_file), MISMATCH)
        now_ns = self._now_ns()
        await self._blocking(lambda: self._audit.start(self._life, now_ns))
        self._wake.set()

    async def run(self) -> None:
        """Write notes and show anchors for as long as it runs. Ends by cancellation only."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANCHOR_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._write_notes()
                if self._shared:
                    await self._blocking(self._audit.refresh)
            except StorageError as error:
                if self._trouble != str(error):
                    self._trouble = str(error)
                    self._log.warning("audit entries cannot be written, trying again", error=self._trouble)
                await asyncio.sleep(ANCHOR_EVERY_S)
                continue
            self._trouble = ""
            self._nothing_retained()
            if await self._anchor():
                await asyncio.sleep(ANCHOR_EVERY_S)

    async def stop(self, **detail: Any) -> None:
        """Write down a clean stop, and show the last anchor. Raises :class:`StorageError`."""
        await self._write_notes(everything=True)
        now_ns = self._now_ns()
        await self._blocking(lambda: self._audit.stop(self._life, now_ns, **detail))
        self._judged = self._judged or self._retained_until_s is not None
        await self._anchor()
        if self._filing is not None:  # maybe an older one, on its way yet
            await asyncio.shield(self._filing)
            await self._anchor()
            await asyncio.shield(self._filing)

    # --- what happens --------------------------------------------------------------------------------------------

    def note(self, event: AuditEvent) -> None:
        """Let an event become an entry soon, within the bounds of :mod:`uns.audit.coalescing`."""
        admitted = self._coalescer.receive(event)
        if admitted is None:
            return
        if len(self._notes) >= NOTES_MAX:
            self._notes_lost += 1
            self.counters["audit_notes_lost"] += 1
            return
        self._notes.append(admitted)
        self._wake.set()

    def admit(self, event: AuditEvent) -> AuditEvent | None:
        """For one that is written in somebody's transaction: itself, or None where it is only counted now."""
        return self._coalescer.receive(event)

    def committed(self) -> None:
        """Entries were committed with something else: the anchor follows."""
        self._wake.set()

    # --- the broker ----------------------------------------------------------------------------------------------

    @property
    def watch(self) -> Watch:
        """What the connection has to read."""
        return Watch(self.topic, self.connected, self.receive)

    def connected(self) -> None:
        """The subscription to :attr:`topic` stands (or was refused): a retained anchor comes now or never."""
        if not self._judged and self._retained_until_s is None:
            self._retained_until_s = time.monotonic() + RETAINED_WITHIN_S
        self._wake.set()

    async def receive(self, payload: bytes) -> None:
        """A message on :attr:`topic`: the retained one at the start, our own, or somebody else's."""
        action = ANCHOR_SPOILED if self._judged else MISMATCH
        if not payload and not self._judged:
            return
        with contextlib.suppress(StorageError):
            if not await self._hold_against(payload, self.topic, action):
                self._shown = None  # ours belongs there
        self._judged = True
        self._wake.set()

    async def _hold_against(self, payload: bytes, where: str, action: str) -> bool:
        """Whether the log holds what an anchor names; if not, that becomes an entry."""
        found = parse_anchor(payload)
        number = -1 if found is None else found.number
        hash_at = await self._blocking(lambda: self._audit.entry_hash_at(number))
        head = self._audit.head
        judgement = judge(found, head, hash_at)
        if judgement.fits:
            return True
        what = judgement.what
        if action == ANCHOR_SPOILED:
            what = "somebody else wrote there" if payload else "somebody took the anchor away"
            self._log.warning("the anchor of the audit log was spoiled and is restored", what=what, where=where)
        else:
            self._log.error("the audit log does not fit its anchor", what=what, where=where)
        event = mismatch(
            action,
            found,
            head,
            component=self._life.component,
            what=what,
            where=where,
            at_ns=self._now_ns(),
        )
        if action == MISMATCH:
            self._notes.append(event)
        else:
            self.note(event)
        return False

    def _nothing_retained(self) -> None:
        if self._judged or self._retained_until_s is None or time.monotonic() < self._retained_until_s:
            return
        self._judged = True
        if not self._first_life:
            self._log.warning("no anchor of the audit log is retained at the broker", topic=self.topic)
            what = "no anchor is retained at the broker: it keeps nothing over a restart, or somebody took it away"
            event = mismatch(
                ANCHOR_ABSENT,
                None,
                self._audit.head,
                component=self._life.component,
                what=what,
                where=self.topic,
                at_ns=self._now_ns(),
            )
            self._notes.append(event)
            self._wake.set()

    # --- inside --------------------------------------------------------------------------------------------------

    async def _write_notes(self, *, everything: bool = False) -> None:
        now_ns = self._now_ns()
        for event in self._coalescer.due(now_ns, everything=everything):
            self._notes.append(event)
        if self._notes_lost:
            detail = {"count": self._notes_lost}
            self._notes.append(
                AuditEvent(
                    at_ns=now_ns,
                    actor=self._life.component,
                    action=_MORE,
                    subject=f"{self._notes_lost} more",
                    detail=detail,
                )
            )
            self._notes_lost = 0
        if self._notes:  # the disk takes them or not, whether somebody waits for it or not
            self._taken = asyncio.ensure_future(self._take_notes())
            await asyncio.shield(self._taken)

    async def _take_notes(self) -> None:
        async with self._writing:
            notes = list(self._notes)
            if notes:
                await self._blocking(lambda: self._audit.append(notes))
            for _ in notes:
                self._notes.popleft()

    async def _anchor(self) -> bool:
        """Show the newest head where it is not shown yet; whether anything was."""
        head = self._audit.head
        anchor = msgspec.json.encode(anchor_of(head, self._life.component, self._now_ns()))
        shown = False
        told = not any(event.action == MISMATCH for event in self._notes)  # before that the old one is the evidence
        if self._show is not None and self._judged and told and head != self._shown:
            self._show(self.topic, anchor)
            self._shown, shown = head, True
            self.counters["audit_anchors"] += 1
        is_free = self._filing is None or self._filing.done()  # its place may hang: the thread of the database may not
        if self._anchor_file is not None and is_free and told and head != self._filed:
            self._filing = asyncio.ensure_future(asyncio.to_thread(self._write_file, anchor))
            self._filed, shown = head, True
        return shown

    def _read_file(self) -> bytes | None:
        assert self._anchor_file is not None  # noqa: S101 - by its caller
        try:
            with self._anchor_file.open("rb") as file:
                return file.read(ANCHOR_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.warning("the anchor file cannot be read", file=str(self._anchor_file), error=str(error))
            return None

    def _write_file(self, anchor: bytes) -> None:
        assert self._anchor_file is not None  # noqa: S101 - by its caller
        part = self._anchor_file.with_name(f".{self._anchor_file.name}.part")
        try:
            part.write_bytes(anchor + b"\n")
            part.replace(self._anchor_file)
            self._file_trouble = ""
        except OSError as error:
            if self._file_trouble != str(error):
                self._file_trouble = str(error)
                self._log.warning("the anchor file cannot be written", file=str(self._anchor_file), error=str(error))
