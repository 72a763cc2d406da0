"""What every command shares: JSON on stdout, one clear message on stderr, and an exit code that tells the kind.

0 fine · 1 findings or a failed check · 2 wrong usage or configuration · 3 unreachable · 130 interrupted
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from uns.errors import ConfigurationError, UnreachableError, UnsError

__all__ = [
    "EXIT_CONFIGURATION",
    "EXIT_FINDINGS",
    "EXIT_INTERRUPTED",
    "EXIT_UNREACHABLE",
    "exit_code",
    "never_fail_to_encode",
    "print_document",
    "print_line",
    "report",
]

EXIT_FINDINGS = 1
EXIT_CONFIGURATION = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


def never_fail_to_encode() -> None:
    """Let a terminal that cannot show ° show ? instead; call it before anything is printed.

    A stream that the caller closed (``>&-``) is none in Python: what goes there is lost, as it was meant to be.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for ever
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def print_document(value: Any) -> None:
    """One JSON document, indented: what ``--json`` prints where there is one answer."""
    _write(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_line(value: Any) -> None:
    """One JSON document on one line, at once: what ``--json`` prints where answers stream."""
    _write(msgspec.json.encode(value))
    sys.stdout.flush()


def _write(encoded: bytes) -> None:
    sys.stdout.write(encoded.decode() + "\n")


def exit_code(error: UnsError) -> int:
    """The exit code that tells the kind of an error."""
    match error:
        case ConfigurationError():
            return EXIT_CONFIGURATION
        case UnreachableError():
            return EXIT_UNREACHABLE
        case _:
            return EXIT_FINDINGS


def report(error: UnsError) -> None:
    """Say on stderr what is wrong: the findings one per line, then one line that sums up."""
    if isinstance(error, ConfigurationError):
        for finding in error.findings:
            print(finding, file=sys.stderr)
    print(f"uns: {error}", file=sys.stderr)
