"""The audit log of a gateway: how it was configured and by whom it was started, commands, and what its store dropped.

It lies in a file of its own beside the store: the store is emptied as values are confirmed and is bounded to the page,
the audit log is neither. A gateway that cannot write it goes on: values come first, and the log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

import uns
from edge_nodes.node_file import NodeConfig, SourceConfig
from uns.adapters.logs import get_logger
from uns.adapters.sqlite.audit_log import AUDIT_TABLES, AuditLog
from uns.adapters.sqlite.database import Database, Migration
from uns.audit.chain import AuditEvent
from uns.audit.events import Life
from uns.context.times import rfc3339
from uns.errors import StorageError
from uns.namespace.topics import audit_topic
from uns.runtime.audit import AuditTrail, os_user
from uns.sparkplug.messages import Message

__all__ = ["EdgeAudit", "audit_path"]

BYTES_MAX = 50_000_000
WAITING_MAX = 1_000  # events before the file is open
RETRY_S = 5.0
NAMES_MAX = 20
_MIGRATIONS = (Migration(1, AUDIT_TABLES),)


def audit_path(store: Path) -> Path:
    """``gw-1.audit.db`` beside ``gw-1.db``."""
    return store.with_name(f"{store.stem}.audit.db")


class EdgeAudit:
    """Fed from the event loop. :attr:`anchor` is what the Sparkplug connection has to show, retained."""

    def __init__(
        self, config: NodeConfig, definition_hash: str, *, wall_ns: Callable[[], int], wake: Callable[[], None]
    ) -> None:
        self.component = str(config.edge_node)
        self.topic = audit_topic(self.component)
        self.anchor: Message | None = None
        self._path = audit_path(config.store.path)
        self._wall_ns = wall_ns
        self._wake = wake
        self._life = Life(
            component=self.component,
            actor=os_user(),
            release=uns.__version__,
            configuration=_told(config, definition_hash),
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._trail: AuditTrail | None = None
        self._database: Database | None = None
        self._waiting: deque[AuditEvent] = deque(maxlen=WAITING_MAX)
        self._is_connected = False
        self._came: bytes | None = None  # on :attr:`topic`, before the file is open
        self._log = get_logger("audit")

    async def run(self) -> None:
        """Open the file, as soon as the disk takes it, and keep the log. Ends by cancellation only."""
        said = False
        while True:
            try:
                trail = await self._open()
                await trail.start()
                break
            except StorageError as error:
                if not said:
                    self._log.warning("the audit log cannot be opened, trying again", error=str(error))
                    said = True
                await asyncio.sleep(RETRY_S)
        self._trail = trail
        if self._is_connected:
            trail.connected()
        if self._came is not None:
            await trail.receive(self._came)
        while self._waiting:
            trail.note(self._waiting.popleft())
        await trail.run()

    async def stop(self, **detail: Any) -> None:
        """A clean stop; the last anchor is :attr:`anchor` afterwards."""
        if self._trail is not None:
            with contextlib.suppress(StorageError):
                await self._trail.stop(**detail)

    def close(self) -> None:
        """Close the file, after everything."""
        if self._database is not None:
            self._thread.submit(self._database.close)
        self._thread.shutdown(wait=True)

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────

    def command_refused(self, target: str, names: Sequence[str], reason: str) -> None:
        """Somebody told the gateway to do what it does not do."""
        self._note("command.refused", "unknown", target, {"metrics": list(names)[:NAMES_MAX], "reason": reason})

    def command_executed(self, command: str) -> None:
        """A command was carried out: a rebirth is the only one."""
        self._note("command.executed", "unknown", self.component, {"command": command})

    def dropped(self, count: int, policy: str) -> None:
        """The store was full."""
        self._note("store.dropped", self.component, self.component, {"count": count, "policy": policy})

    def clock_stepped(self, from_ns: int, to_ns: int, *, ended: str = "") -> None:
        """The wall clock was set; ``ended`` is the session that could not go on at an earlier time."""
        detail = {"from": rfc3339(from_ns), "to": rfc3339(to_ns), "seconds": round((to_ns - from_ns) / 1e9, 3)}
        action = "clock.set_back" if to_ns < from_ns else "clock.set_forward"
        self._note(action, "unknown", self.component, {**detail, "session_ended": ended} if ended else detail)

    def connected(self) -> None:
        """The connection reads :attr:`topic`."""
        self._is_connected = True
        if self._trail is not None:
            self._trail.connected()

    async def receive(self, payload: bytes) -> None:
        """A message on :attr:`topic`; the last one waits until the file is open."""
        if self._trail is None:
            self._came = payload
        else:
            await self._trail.receive(payload)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self) -> AuditTrail:
        log = await self._blocking(self._open_file)
        return AuditTrail(
            log, self._life, blocking=self._blocking, log=self._log, show=self._show, now_ns=self._wall_ns
        )

    def _open_file(self) -> AuditLog:
        if self._database is None:
            self._database = Database(
                self._path, kind="audit log", migrations=_MIGRATIONS, page_bytes=4096, bytes_max=BYTES_MAX
            )
        return AuditLog(self._database, schema=_MIGRATIONS[-1].version, holds=lambda _connection: {})

    async def _blocking(self, call: Callable[[], Any]) -> Any:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, call))

    def _show(self, topic: str, payload: bytes) -> None:
        self.anchor = Message(topic, payload, qos=1, retain=True)
        self._wake()

    def _note(self, action: str, actor: str, subject: str, detail: dict[str, Any]) -> None:
        event = AuditEvent(at_ns=self._wall_ns(), actor=actor, action=action, subject=subject, detail=detail)
        if self._trail is None:
            self._waiting.append(event)
        else:
            self._trail.note(event)


def _told(config: NodeConfig, definition_hash: str) -> dict[str, Any]:
    """The configuration, without the thousands of points: those are a hash each source."""
    told = {
        "contract_hash": config.tree.contract_hash,
        "definition": definition_hash,
        "brokers": msgspec.to_builtins(config.brokers, enc_hook=str),
        "store": msgspec.to_builtins(config.store, enc_hook=str),
        "delivery": msgspec.to_builtins(config.delivery, enc_hook=str),
        "primary_host": config.primary_host,
        "primary_host_wait_ms": config.primary_host_wait_ms,
        "when_host_silent": config.when_host_silent,
        **{f"source {source.options.name}": _source(source) for source in config.sources},
    }
    # As it will be read again: a tuple that comes back as a list would be a change at each start.
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(told))
    return found


def _source(source: SourceConfig) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(source, enc_hook=str)
    points = told.pop("points")
    return {**told, "points": len(points), "points_sha256": hashlib.sha256(msgspec.json.encode(points)).hexdigest()}
