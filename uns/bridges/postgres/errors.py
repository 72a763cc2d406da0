"""What an SQLSTATE means for us, as a table: the longest prefix that fits counts.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

from uns.bridges.port import Auth, Business, Poison, Transient

__all__ = ["SQLSTATES", "Refusal", "outcome_of"]

Refusal = Transient | Business | Poison | Auth

_RIGHTS = "give the bridge's role its rights (docs/reference/postgres.md), then send the bridge SIGHUP"
_DATA = "look at the row with `uns dlq show`; relax the constraint or trigger that refuses it, then retry it"

# prefix → (class, next step)
SQLSTATES: dict[str, tuple[str, str]] = {
    "08": ("transient", ""),  # connection exception
    "22": ("poison", "look at the row with `uns dlq show` and report it with the release"),  # data exception
    "23": ("business", _DATA),  # integrity constraint violation
    "25006": ("transient", ""),  # read-only: a standby, until it is promoted
    "2BP01": ("auth", "drop your view that depends on the bridge's, let the bridge migrate, then make it again"),
    "28": ("auth", "check user, password and pg_hba.conf, then send the bridge SIGHUP"),
    "3D000": ("auth", "create the database, or give the right name"),
    "3F000": ("auth", "restore the schema that was dropped, or start again with another one"),
    "40": ("transient", ""),  # serialization failure, deadlock
    "42501": ("auth", _RIGHTS),
    "42": ("auth", "restore the tables as the bridge made them: something was dropped or altered"),
    "53": ("transient", ""),  # disk full, out of memory, too many connections
    "54": ("poison", "look at the row with `uns dlq show` and report it with the release"),  # program limit exceeded
    "55": ("transient", ""),  # lock not available, object in use
    "57": ("transient", ""),  # shutdown, cannot connect now, statement timeout
    "58": ("transient", ""),  # system error
    "P0001": ("business", _DATA),  # a trigger raised it
    "XX": ("transient", ""),  # internal error
}


def outcome_of(sqlstate: str | None, text: str) -> Refusal:
    """The outcome of an item, surely not committed."""
    reason = f"PostgreSQL: {' '.join(text.split())}" + (f" (SQLSTATE {sqlstate})" if sqlstate else "")
    if sqlstate is None:
        return Transient(reason)
    prefixes = (sqlstate[:length] for length in range(len(sqlstate), 1, -1))
    kind, next_step = next((SQLSTATES[p] for p in prefixes if p in SQLSTATES), ("item", ""))
    match kind:
        case "transient":
            return Transient(reason)
        case "auth":
            return Auth(reason, next_step)
        case "business":
            return Business(reason, next_step)
        case "poison":
            return Poison(reason, next_step)
        case _:
            return Transient(reason, whole_target=False)
