"""RFC 3339 back to nanoseconds, for tests that read what was published."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_ns(text: str) -> int:
    head, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))
