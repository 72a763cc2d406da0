"""Child processes that tests may kill, stop, continue and start again."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["REPOSITORY", "Child", "LateError", "python_module", "until"]

REPOSITORY = Path(__file__).resolve().parents[2]


class LateError(AssertionError):
    """A condition did not come true before its deadline."""


async def until(
    condition: Callable[[], object | Awaitable[object]],
    what: str,
    *,
    deadline_s: float = 20.0,
    every_s: float = 0.05,
) -> float:
    """Poll ``condition`` until it is true; give back the seconds that took, raise :class:`LateError` when too many."""
    started = time.monotonic()
    while True:
        outcome = condition()
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        elapsed = time.monotonic() - started
        if outcome:
            return elapsed
        if elapsed > deadline_s:
            raise LateError(f"after {deadline_s:g} s still not: {what}")
        await asyncio.sleep(every_s)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


class Child:
    """A command in a process group of its own, with its output appended to a log file over all its lives."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def output(self) -> str:
        """All that it wrote, over all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if _libc is not None else None,  # noqa: PLW1509 - it makes one call
            )
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; a process that is gone already is no error."""
        if self.running:
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and reap: afterwards it is gone."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait(timeout=10)

    def stop(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    async def terminate(self, *, deadline_s: float = 15.0) -> int:
        """SIGTERM, wait, give back the exit code; one that does not go in time is killed and fails the test."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return await self.wait(deadline_s=deadline_s)

    async def wait(self, *, deadline_s: float = 15.0) -> int:
        try:
            await until(lambda: not self.running, f"{self.name} ends", deadline_s=deadline_s)
        except LateError as error:
            self.kill()
            raise LateError(f"{error}\n{self.tail()}") from None
        code = self.exit_code
        assert code is not None
        return code

    def tail(self, lines: int = 25) -> str:
        """The end of its log, for the message of a failing test."""
        return f"--- {self.name} ---\n" + "\n".join(self.output.splitlines()[-lines:])


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """In the child, before exec: a test run that is killed itself leaves nothing running."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
