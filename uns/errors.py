"""Every exception of the project, in one tree.

    UnsError
    ├── LocalProtocolError      our own caller broke a rule: raised, a bug to mend
    ├── RemoteProtocolError     a peer sent what the standard forbids: becomes an event, the host carries on
    ├── ConfigurationError      a tree, node or option that cannot be used; carries the findings (exit code 2)
    ├── UnreachableError        a broker, PLC or host that does not answer (exit code 3 for `check` commands)
    │   └── ConnectionLost      … any more: what was in flight is in doubt, open a new connection
    └── StorageError            a store that cannot take what it was given
        └── StorageFullError    … because the disk or its own bound is full

An error says what happened, where, what was expected, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ConfigurationError",
    "ConnectionLost",
    "LocalProtocolError",
    "RemoteProtocolError",
    "StorageError",
    "StorageFullError",
    "UnreachableError",
    "UnsError",
]


class UnsError(Exception):
    """Base of all errors that users of this project may want to catch."""

    def __init__(self, what: str, *, where: str = "", expected: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            text += f" (expected {self.expected})"
        if self.next_step:
            text += f"; {self.next_step}"
        return text


class LocalProtocolError(UnsError):
    """The application called a session in a way its state does not allow."""


class RemoteProtocolError(UnsError):
    """A peer broke a rule. ``tck_id`` names the requirement where the standard has one."""

    def __init__(
        self, what: str, *, where: str = "", expected: str = "", next_step: str = "", tck_id: str = ""
    ) -> None:
        super().__init__(what, where=where, expected=expected, next_step=next_step)
        self.tck_id = tck_id


class ConfigurationError(UnsError):
    """A file or option that cannot be used. ``findings`` are printable lines, one each."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        next_step: str = "",
        findings: Sequence[str] = (),
    ) -> None:
        super().__init__(what, where=where, expected=expected, next_step=next_step)
        self.findings = tuple(findings)


class UnreachableError(UnsError):
    """What should be talked to does not answer."""


class ConnectionLost(UnreachableError):  # noqa: N818 - it says what happened
    """An open connection ended. Whether what was in flight arrived is unknown; the delivery rules decide."""


class StorageError(UnsError):
    """A store could not do what was asked; what it held before is intact."""


class StorageFullError(StorageError):
    """The disk, or the bound given to the store, is full."""
