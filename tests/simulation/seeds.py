"""Seeds that once found something, each with a word on what. They run in every ``make test``.

A seed means something only as long as the simulation draws in the same order; the word says what to look for when it
does not. What can be said without a seed is a test of its own beside the part that was wrong.
"""

from __future__ import annotations

__all__ = ["FOUND"]

FOUND: dict[int, str] = {
    1541: "host: a group committed over a reconnect was answered before STATE on the new connection",
}
