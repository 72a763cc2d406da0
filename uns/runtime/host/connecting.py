"""What the log says of a connection that is not there: what is new at once, what goes on once a minute."""

from __future__ import annotations

import time

from uns.adapters.logs import Logger
from uns.runtime.backoff import STEADY_S

__all__ = ["ConnectionLog"]

REPEAT_S = 60.0
_SHORT_LIVES = 2  # after so many, one behind the other, it is no accident


class ConnectionLog:
    """Tells of one of the host's connections, which the logger names. Never more than a line a minute of the same.

    A broker throws the older of two clients with one id out, and most say nothing of it: connections that end soon
    after they began, again and again, are told as that.
    """

    def __init__(self, log: Logger, *, client_id: str, broker: str) -> None:
        self._log = log
        self._client_id = client_id
        self._broker = broker
        self._worked_since_s: float | None = None
        self._short_lives = 0
        self._attempts = 0
        self._told = ""
        self._told_at_s = 0.0

    def works(self) -> None:
        """The connection is there."""
        if self._short_lives < _SHORT_LIVES:
            self._log.info("connected", broker=self._broker)
        self._worked_since_s = time.monotonic()

    def failed(self, error: Exception, *, wait_s: float) -> None:
        """An attempt failed, or the connection ended."""
        now_s = time.monotonic()
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
