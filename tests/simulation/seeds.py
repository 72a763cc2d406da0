"""Seeds that once found something, each with a word on what. They run in every ``make test``.

A seed means something only as long as the simulation draws in the same order; the word says what to look for when it
does not. What can be said without a seed is a test of its own beside the part that was wrong.
"""

from __future__ import annotations

__all__ = ["FOUND"]

# No number survives a change of what is drawn; what each found is therefore held by a rule elsewhere as well.
FOUND: dict[int, str] = {
    1541: "host: a group committed over a reconnect was answered before STATE on the new connection",
    624: "edge: full windows of history refilled a small broker queue for ever; a refusal now narrows the window",
    301: "host: a birth in a failed raw commit was never logged; DATA behind it became unreadable after a restart",
    1247: "the same with the record log full instead of a crash",
    32055: "host: a device that had died was taken for alive when its session was named; its data was read by a birth "
    "that the raw log holds for dead, and could not be read again",
    249: "host: values of a device stayed stale after its session was named",
    3886: "host: a device whose DBIRTH was lost at a rebirth, and nothing behind it, was shown alive for ever",
    914: "host: the timestamp of a clean death was not kept; after a step of the clock the next life was older than it",
    557: "host: an older online STATE by somebody else stayed retained, where edge nodes pass over it and wait",
    6615: "host: DATA behind a rebirth that was lost was taken for repeated, and its marks refused for hours",
    6706: "the same behind a loss of nearly 256 messages",
    4037: "marks: DATA that changed places with its mark made up for a lost message of the next window; marks have a "
    "digest since, and are no longer kept in their place by the network",
    3507: "host: a raw log read again forgot, at a rebirth, the devices that the session had been resumed with",
    1306: "a STATE that is no JSON, spoiled while the host is down",
    6152: "host: nodes stayed online after it had decided to connect anew for a newer STATE; an NDEATH in "
    "the same batch was passed over",
    9851: "the same with the will of a node that was taken over, behind a path that was frozen",
}
