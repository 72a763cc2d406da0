"""The newest timestamp of our STATE, over restarts of the host: a small file beside the logs.

Edge nodes pass over a STATE that is older than one they saw. A host whose clock stepped back while it was down, at a
broker that lost its retained messages, would stay offline for them: nobody else could tell it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from uns.adapters.logs import Logger

__all__ = ["KeptState"]

FILE_NAME = "state.json"
FILE_BYTES_MAX = 4096


class _File(msgspec.Struct):
    state_seen_ms: int


class KeptState:
    """Reads and writes the file. It blocks on the disk for one small file: called before a CONNECT."""

    def __init__(self, store: Path, log: Logger) -> None:
        self._path = store / FILE_NAME
        self._log = log
        self._kept_ms = 0

    def load(self) -> int:
        """What was kept; 0 where nothing was, or where it cannot be read: the broker's retained STATE then tells."""
        try:
            if self._path.stat().st_size <= FILE_BYTES_MAX:
                self._kept_ms = max(0, msgspec.json.decode(self._path.read_bytes(), type=_File).state_seen_ms)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._log.warning("the newest STATE timestamp cannot be read", file=str(self._path), error=str(error))
        return self._kept_ms

    def keep(self, state_seen_ms: int) -> None:
        """Keep it if it is new. A disk that takes nothing is no reason not to connect."""
        if state_seen_ms <= self._kept_ms:
            return
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(_File(state_seen_ms)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            self._log.warning("the newest STATE timestamp cannot be kept", file=str(self._path), error=str(error))
            return
        self._kept_ms = state_seen_ms
