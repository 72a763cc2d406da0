"""Secrets by reference: a file that its owner alone may read, or an environment variable; never a value in a file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from uns.errors import ConfigurationError
from uns.namespace.yaml_file import Fields

__all__ = ["Secret", "read_secret", "refuse_readable_by_others"]


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """Where a password is kept; read each time it is needed, so that a changed one is taken."""

    file: Path | None = None
    variable: str | None = None

    def read(self, *, section: str) -> str | None:
        """The secret; None where none is named. :class:`ConfigurationError` where it cannot be had.

        ``section`` is where the reference stands (``broker``, ``target``), for the error.
        """
        if self.file is not None:
            return _read_file(self.file, section)
        if self.variable is None:
            return None
        value = os.environ.get(self.variable)
        if value is None:
            raise ConfigurationError(
                f"environment variable {self.variable} is not set",
                where=f"{section}.password_env",
                next_step="set it for this process, or use password_file",
            )
        return value


def read_secret(fields: Fields, directory: Path) -> Secret:
    """``password_file`` or ``password_env``; a value in the file itself is refused where ``password`` stands."""
    file, variable = fields.text("password_file", default=None), fields.text("password_env", default=None)
    if file is not None and variable is not None:
        fields.findings.error(
            "two-secrets", f"{fields.what} names two passwords", fields.position_of("password_env"), "keep one"
        )
    if "password" in fields:
        fields.text("password", default=None)
        fields.findings.error(
            "secret",
            "a password stands in the file",
            fields.position_of("password"),
            "write it into a file of its own (chmod 600) and name that as password_file",
        )
    return Secret(file=None if file is None else directory / file, variable=variable)


def refuse_readable_by_others(path: Path, what: str) -> None:
    """Raise :class:`ConfigurationError` where group or others may read a secret. What is not there is not told here."""
    with contextlib.suppress(OSError):  # who opens it tells what is wrong
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"others can read the {what} file", where=str(path), next_step=f"chmod 600 {path}")


def _read_file(path: Path, section: str) -> str:
    refuse_readable_by_others(path, "password")
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(
            f"password file: {error.strerror}", where=str(path), next_step=f"check {section}.password_file"
        ) from error
    except UnicodeDecodeError:  # its text would show what stands in the file
        raise ConfigurationError("password file: not UTF-8", where=str(path), next_step="save it as UTF-8") from None
