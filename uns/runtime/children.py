"""Child processes of a command that runs a whole plant: each with its log, none of them left behind.

Every child has a process group of its own, so that Ctrl-C in a terminal reaches its parent alone, who then stops them
in order. A child whose parent dies without a word is told so by the kernel (Linux).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from uns.errors import LocalProtocolError, UnreachableError

__all__ = ["Child", "ChildFailedError", "Children"]

STOP_TIMEOUT_S = 15.0  # a process of ours drains in 10
READY_TIMEOUT_S = 30.0
LOG_LINES_SHOWN = 12
_PR_SET_PDEATHSIG = 1
_LINE_BYTES_MAX = 1 << 20


class ChildFailedError(UnreachableError):
    """A child ended, or did not get ready, although it is needed. Its last log lines are in the message."""


class Child:
    """One running child. Made by :class:`Children`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.stopping = False
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's id too."""
        return self._process.pid

    @property
    def return_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def read_message(self, *, timeout_s: float = READY_TIMEOUT_S) -> dict[str, Any]:
        """The next JSON line it writes to stdout; raise :class:`ChildFailedError` if none comes."""
        if self._process.stdout is None:
            raise LocalProtocolError(f"{self.name} was started without messages=True")
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self.failure(f"said nothing for {timeout_s:g} s") from None
        if not line:
            with suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await self._process.wait()
            raise self.failure(f"ended with exit code {self.return_code}")
        try:
            message: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            raise self.failure(f"wrote {line[:200]!r}, expected a JSON object") from None
        return message

    def failure(self, what: str) -> ChildFailedError:
        """An error that names this child and shows the end of its log."""
        tail = self.log_tail()
        shown = f"\n--- end of {self.log} ---\n{tail}" if tail else ""
        return ChildFailedError(f"{self.name} {what}{shown}")

    def log_tail(self) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LOG_LINES_SHOWN:])

    async def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, wait, SIGKILL for the group if that does not help; the exit code."""
        self.stopping = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._drained()
        self.kill()
        return await self._process.wait()

    async def _drained(self) -> None:
        if self._process.stdout is not None:
            while await self._process.stdout.read(1 << 16):
                pass  # a full pipe would keep it from ending
        await self._process.wait()

    def kill(self) -> None:
        """SIGKILL for its whole group; no error if it is gone."""
        self.stopping = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


class Children:
    """All children of one command; an async context manager that leaves none behind."""

    def __init__(self, log_directory: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self._log_directory = log_directory
        # Our own variables (UNS_BROKER and its like) speak to the parent; its children are told by options.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNS_")}
        self._environment = {**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        self._log_directory.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        running = [child for child in self._children if child.return_code is None]
        try:
            await asyncio.gather(*(child.stop(timeout_s=5.0) for child in reversed(running)))
        finally:
            for child in self._children:
                if child.return_code is None:
                    child.kill()

    async def start(self, name: str, command: Sequence[str], *, messages: bool = False) -> Child:
        """Start ``command``. With ``messages`` its stdout is read as JSON lines, else it goes to the log too."""
        log = self._log_directory / f"{name}.log"
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if messages else sink,
                stderr=sink,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                limit=_LINE_BYTES_MAX,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise :class:`ChildFailedError` if a child has ended that nobody stopped."""
        for child in self._children:
            if child.return_code is not None and not child.stopping:
                raise child.failure(f"ended by itself with exit code {child.return_code}")


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_OUR_PID = os.getpid()


def _die_with_parent() -> None:
    """In the child, before exec: SIGTERM when the thread that started it ends, which is the main thread here."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != _OUR_PID:  # it died in between
            os._exit(1)
