"""Secrets by reference: a file that its owner alone may read, or an environment variable; never a value in a file."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from uns.errors import ConfigurationError

__all__ = ["Secret"]


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """Where a password is kept; read each time it is needed, so that a changed one is taken."""

    file: Path | None = None
    variable: str | None = None

    def read(self) -> str | None:
        """The secret; None where none is named. :class:`ConfigurationError` where it cannot be had."""
        if self.file is not None:
            return _read_file(self.file)
        if self.variable is None:
            return None
        value = os.environ.get(self.variable)
        if value is None:
            raise ConfigurationError(
                f"environment variable {self.variable} is not set",
                where="password_env",
                next_step="set it for this process, or use password_file",
            )
        return value


def _read_file(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(
                "others can read the password file", where=str(path), next_step=f"chmod 600 {path}"
            )
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(
            f"password file: {error.strerror}", where=str(path), next_step="check password_file"
        ) from error
