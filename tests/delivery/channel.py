"""A tiny lossy channel between one EdgeDelivery and one HostDelivery, with the oracle beside it.

Rows are their ids. A DATA message is the tuple of ids in it; the host commits in groups and may crash before. Every
message may vanish at every hop, come twice, or be overtaken by others.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from uns.delivery.edge import DeleteRows, EdgeDelivery, Level, PublishMark
from uns.delivery.host import HostDelivery
from uns.delivery.messages import Confirm, Cursor, Mark, digest_of
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("g", "n")
MS = 1_000_000


@dataclass(frozen=True)
class Data:
    session: str
    rows: tuple[int, ...]
    number: int  # tells it from every other one, as seq and time stamps do

    @property
    def digest(self) -> int:
        return digest_of(repr(self).encode())


@dataclass(frozen=True)
class Birth:
    session: str


@dataclass
class Channel:
    """The whole world: ``step_*`` methods are what may happen next."""

    level: Level = "host"
    rows_per_message: int = 2
    now_ns: int = 0
    head: int = 0
    stored: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    committed: set[int] = field(default_factory=set)
    sessions: int = 0
    numbered: int = 0
    connected: bool = False
    up: deque[Data | Mark | Birth] = field(default_factory=deque)  # edge to host
    down: deque[Confirm] = field(default_factory=deque)
    host_session: str | None = None  # whose births the host decodes with
    held_session: str | None = None  # what its store kept
    uncommitted: set[int] = field(default_factory=set)
    answers: list[Confirm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.edge = EdgeDelivery(host_id="h", level=self.level, mark_messages_max=4, history_backoff_ms=1_000)
        self.host = HostDelivery("h")

    # the edge

    def connect(self) -> None:
        """A new connection; what was under way may still arrive, both ways, up to where the caller cuts it."""
        if self.connected:
            self.edge.session_ended()
        self.sessions += 1
        self.connected = True
        session = f"s{self.sessions}"
        self.edge.session_started(session, head=self.head, now_ns=self.now_ns)
        self.up.append(Birth(session))

    def rebirth(self) -> None:
        if self.connected and self.edge.session_id is not None:
            self.up.append(Birth(self.edge.session_id))

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.edge.session_ended()
            self.drain_edge()

    def crash_edge(self) -> None:
        """Everything but the store is gone."""
        self.connected = False
        self.edge = EdgeDelivery(host_id="h", level=self.level, mark_messages_max=4, history_backoff_ms=1_000)

    def store(self, count: int) -> None:
        self.stored.update(range(self.head, self.head + count))
        self.head += count

    def send(self, cursor: Cursor) -> bool:
        """One message of a cursor, if there is one to send."""
        if not self.connected or self.edge.session_id is None:
            return False
        if cursor == "history" and not self.edge.may_send_history(self.now_ns):
            return False
        start = self.edge.live_position if cursor == "live" else self.edge.history_position
        end = self.head if cursor == "live" else self.edge.live_start
        rows = [row for row in range(start, end) if row in self.stored - self.deleted][: self.rows_per_message]
        if not rows:
            if cursor == "history":
                self.edge.history_exhausted(self.now_ns)
                self.drain_edge()
            return False
        self.numbered += 1
        data = Data(self.edge.session_id, tuple(rows), self.numbered)
        self.up.append(data)
        self.edge.sent(
            cursor, from_id=start, next_id=rows[-1] + 1, messages=1, digest=self.digest_of(data), now_ns=self.now_ns
        )
        self.drain_edge()
        return True

    def digest_of(self, data: Data) -> int | None:
        """What the gateway says of a message."""
        return data.digest

    def pass_time(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * MS
        self.edge.receive_timer(self.now_ns)
        self.drain_edge()

    def drain_edge(self) -> None:
        for action in self.edge.actions():
            if isinstance(action, PublishMark):
                assert action.mark.messages > 0
                if self.connected:
                    self.up.append(action.mark)
            elif isinstance(action, DeleteRows):
                gone = {row for row in self.stored - self.deleted if action.from_id <= row < action.below_id}
                self.deleted |= gone
        self.edge.events()

    def receive_confirms(self, count: int) -> None:
        for _ in range(min(count, len(self.down))):
            confirm = self.down.popleft()
            if self.connected:
                self.edge.receive_confirm(confirm, self.now_ns)
                self.drain_edge()

    # the way

    def lose_up(self, index: int) -> None:
        if self.up:
            del self.up[index % len(self.up)]

    def overtake_up(self, index: int) -> None:
        """One message falls back behind some that were sent after it."""
        if self.up:
            index %= len(self.up)
            message = self.up[index]
            del self.up[index]
            self.up.insert(index + 1 + index % 4, message)

    def duplicate_up(self, index: int) -> None:
        if self.up:
            message = self.up[index % len(self.up)]
            self.up.insert(index % (len(self.up) + 1), message)

    def lose_down(self, index: int) -> None:
        if self.down:
            del self.down[index % len(self.down)]

    def cut_up(self, keep: int) -> None:
        """The connection broke: what is behind ``keep`` never arrives."""
        while len(self.up) > keep:
            self.up.pop()
        self.disconnect()

    def duplicate_confirm(self, index: int) -> None:
        if self.down:
            self.down.append(self.down[index % len(self.down)])

    def overtake_down(self, index: int) -> None:
        if self.down:
            confirm = self.down[index % len(self.down)]
            self.down.remove(confirm)
            self.down.append(confirm)

    def refuse_from_elsewhere(self, _index: int) -> None:
        """A second host of our host's id, which knows nothing, is quicker."""
        self._confirm(0, ok=False)

    def confirm_ahead(self, index: int) -> None:
        """An answer to a mark that was not made yet proves nothing, whoever says so."""
        self._confirm(1 + index, ok=True)

    def _confirm(self, ahead: int, *, ok: bool) -> None:
        if self.connected and self.edge.session_id is not None and self.edge.waiting_for_answer:
            confirm = Confirm(session=self.edge.session_id, n=self.edge._n + ahead, ok=ok)
            self.edge.receive_confirm(confirm, self.now_ns)
            self.drain_edge()

    # the host

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            message = self.up.popleft()
            if isinstance(message, Birth):
                self.host_session = message.session
                self.host.receive_birth(NODE, message.session)
            elif isinstance(message, Data):
                if self.host_session == message.session:
                    self.uncommitted.update(message.rows)
                    self.host.count(NODE, message.session, digest=message.digest)
            else:
                if message.session == self.held_session and self.host_session is None:
                    self.host_session = message.session
                held = message.session == self.host_session
                if not held:
                    self.host_session = None
                confirm = self.host.receive_mark(NODE, message, session_held=held)
                if confirm is not None:
                    self.answers.append(confirm)
                if not held:
                    self.rebirth()

    def commit(self) -> None:
        self.committed |= self.uncommitted
        self.uncommitted = set()
        self.held_session = self.host_session or self.held_session
        self.down.extend(self.answers)
        self.answers = []

    def fail_commit(self) -> None:
        """The disk is full: the group is gone, and so are the answers that stood on it."""
        self.uncommitted = set()
        self.answers = []
        self.host.forget_all()

    def reconnect_host(self) -> None:
        self.up.clear()  # its queue at the broker dies with the connection
        self.commit()
        self.host_session = None
        self.host.forget_all()

    def crash_host(self) -> None:
        self.up.clear()
        self.uncommitted = set()
        self.answers = []
        self.host_session = None
        self.host = HostDelivery("h")

    # the promise

    def check(self) -> None:
        lost = self.deleted - self.committed
        assert not lost, f"deleted at the edge, never committed at the host: {sorted(lost)}"

    def settle(self) -> None:
        """No more faults: all that is stored arrives, and the edge knows."""
        if not self.connected:
            self.connect()
        for _ in range(2_000):
            while self.send("live"):
                pass
            self.send("history")
            self.deliver(len(self.up))
            self.commit()
            self.receive_confirms(len(self.down))
            self.check()
            if self.stored == self.deleted:
                return
            deadline = self.edge.next_deadline_ns()
            self.pass_time(max(1, -(-((deadline or 0) - self.now_ns) // MS)))
        raise AssertionError(f"rows never confirmed: {sorted(self.stored - self.deleted)}")
