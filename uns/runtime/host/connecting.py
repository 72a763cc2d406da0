"""What the log says of a connection that is not there: what is new at once, what goes on once a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from uns.adapters.logs import Logger
from uns.runtime.backoff import STEADY_S

__all__ = ["ConnectionLog"]

REPEAT_S = 60.0
_SHORT_LIVES = 2  # after so many, one behind the other, it is no accident


class _Timer(Protocol):
    def cancel(self) -> None: ...


def _call_later(delay_s: float, call: Callable[[], None]) -> _Timer:
    return asyncio.get_running_loop().call_later(delay_s, call)


class ConnectionLog:
    """Tells of one of the host's connections, which the logger names. Never more than a line a minute of the same.

    A broker throws the older of two clients with one id out, and most say nothing of it: connections that end soon
    after they began, again and again, are told as that. The next one is told when it lasts.
    """

    def __init__(
        self,
        log: Logger,
        *,
        client_id: str,
        broker: str,
        call_later: Callable[[float, Callable[[], None]], _Timer] = _call_later,
    ) -> None:
        self._log = log
        self._call_later = call_later
        self._timer: _Timer | None = None
        self._client_id = client_id
        self._broker = broker
        self._worked_since_s: float | None = None
        self._short_lives = 0
        self._attempts = 0
        self._told = ""
        self._told_at_s = 0.0

    def works(self) -> None:
        """The connection is there."""
        self._worked_since_s = time.monotonic()
        if self._short_lives < _SHORT_LIVES:
            self._log.info("connected", broker=self._broker)
        else:
            self._timer = self._call_later(STEADY_S, self._lasts)

    def _lasts(self) -> None:
        self._timer = None
        self._short_lives, self._attempts, self._told = 0, 0, ""
        self._log.info("connected", broker=self._broker)

    def failed(self, error: Exception, *, wait_s: float) -> None:
        """An attempt failed, or the connection ended."""
        now_s = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._worked_since_s is None:
            self._short_lives = 0
        elif now_s - self._worked_since_s < STEADY_S:
            self._short_lives += 1
        else:
            self._short_lives, self._attempts, self._told = 0, 0, ""
        self._worked_since_s = None
        self._attempts += 1
        text = str(error)
        told = f"{text} {self._short_lives >= _SHORT_LIVES}"
        if told == self._told and now_s - self._told_at_s < REPEAT_S:
            return
        self._told, self._told_at_s = told, now_s
        more: dict[str, object] = {}
        if self._short_lives >= _SHORT_LIVES:
            more["next_step"] = (
                f"it ends soon after it began, again and again: another client may connect as {self._client_id!r}, "
                "a second host with this --host-id? The broker's log tells"
            )
        self._log.warning(
            "no broker, trying again",
            error=text,
            attempts=self._attempts,
            wait_s=round(wait_s, 2),
            **more,
        )
