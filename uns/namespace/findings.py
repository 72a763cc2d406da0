"""What is wrong with a file, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from uns.errors import ConfigurationError

__all__ = ["FINDINGS_MAX", "Finding", "Findings", "Position", "Severity", "clipped", "closest", "nearest", "shown"]

FINDINGS_MAX = 1000  # of one run; what lies beyond is counted in one last line

SHOWN_CHARACTERS_MAX = 80  # of a value repeated in a finding

Severity = Literal["error", "warning"]


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or doubtful, at one place."""

    file: str
    line: int
    column: int
    rule: str
    text: str
    next_step: str
    severity: Severity = "error"

    def __str__(self) -> str:
        rule = self.rule if self.severity == "error" else f"{self.severity}: {self.rule}"
        step = f"; {self.next_step}" if self.next_step else ""
        return f"{self.file}:{self.line}:{self.column}: {rule}: {self.text}{step}"


class Findings:
    """Collects findings; never more than ``FINDINGS_MAX`` are kept, the rest is counted."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._left_out = 0

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.sorted())

    def error(self, rule: str, text: str, at: Position, next_step: str = "") -> None:
        """Add what makes the file unusable."""
        self._add(rule, text, at, next_step, "error")

    def warning(self, rule: str, text: str, at: Position, next_step: str = "") -> None:
        """Add what is allowed and probably not meant."""
        self._add(rule, text, at, next_step, "warning")

    @property
    def has_errors(self) -> bool:
        """Whether anything makes the files unusable."""
        return any(finding.severity == "error" for finding in self._kept)

    def sorted(self) -> list[Finding]:
        """All of them, file by file, from the top."""
        found = sorted(self._kept, key=lambda f: (f.file, f.line, f.column))
        if self._left_out:
            last = found[-1]
            found.append(
                Finding(
                    file=last.file,
                    line=last.line,
                    column=last.column,
                    rule="findings",
                    text=f"{self._left_out} more are not shown",
                    next_step="mend these first",
                )
            )
        return found

    def check(self, what: str, *, where: str = "") -> None:
        """Raise :class:`ConfigurationError` with all findings if there is an error among them."""
        if self.has_errors:
            raise ConfigurationError(what, where=where, findings=[str(finding) for finding in self.sorted()])

    def _add(self, rule: str, text: str, at: Position, next_step: str, severity: Severity) -> None:
        # Errors are never left out in favour of warnings, or `check` could pass what is broken.
        if len(self._kept) >= FINDINGS_MAX and (severity == "warning" or self.has_errors):
            self._left_out += 1
            return
        self._kept.append(
            Finding(
                file=at.file,
                line=at.line,
                column=at.column,
                rule=rule,
                text=text,
                next_step=next_step,
                severity=severity,
            )
        )


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like ``word``, or an empty text if none does."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:SHOWN_CHARACTERS_MAX], by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""


def nearest(word: str, known: Iterable[str], other_words: Mapping[str, str] | None = None) -> str:
    """``did you mean 'x'?`` for what was probably meant, or an empty text.

    ``other_words`` (lower case) holds what people write who learned another vocabulary.
    """
    near = (other_words or {}).get(word.lower()) or closest(word, known)
    return f"did you mean {near!r}?" if near else ""


def clipped(text: str) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"


def shown(text: str) -> str:
    """The text in quotes, as a finding repeats it."""
    return repr(clipped(text))
