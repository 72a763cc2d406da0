"""The promises as equations over counters, each printed with its numbers and whether it holds.

Edge:  ``read = reduced + stored + refused`` and ``stored = confirmed + waiting + dropped``.
Host:  ``received = recorded + duplicates_dropped + rejected + unmapped + unjoined`` and
``recorded = resolved + unassigned + unresolved``.
Drained: ``lost = stored - (recorded + rejected + unmapped)`` is 0, or at most ``dropped`` where a policy dropped.
Record log: what its rows say, counted by a second look, is what the host counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = [
    "EDGE_TERMS",
    "HOST_TERMS",
    "STATUSES",
    "Equation",
    "edge_equations",
    "host_equations",
    "loss_equation",
    "lost",
    "record_log_equations",
]

EDGE_TERMS = ("read", "reduced", "stored", "refused", "confirmed", "waiting", "dropped")
HOST_TERMS = (
    "received",
    "recorded",
    "duplicates_dropped",
    "rejected",
    "unmapped",
    "unjoined",
    "resolved",
    "unassigned",
    "unresolved",
)
STATUSES = ("resolved", "unassigned", "unresolved")
Terms = Mapping[str, int]


class Equation(msgspec.Struct, frozen=True, kw_only=True):
    """One promise with the numbers of this run."""

    subject: str  # whose: "gw-reaction-1", "host"
    text: str  # with its numbers: "read 512 = reduced 300 + stored 212 + refused 0"
    holds: bool

    def __str__(self) -> str:
        return f"{'✓' if self.holds else '✗'} {self.subject}: {self.text}"


def sum_equation(subject: str, whole: str, parts: tuple[str, ...], terms: Terms) -> Equation:
    """``whole = part + part + …`` over the named terms; a term that is missing makes it fail, and says so."""
    missing = [name for name in (whole, *parts) if name not in terms]
    if missing:
        return Equation(subject=subject, text=f"{whole} = {' + '.join(parts)}: no {', '.join(missing)}", holds=False)
    right = " + ".join(f"{part} {terms[part]}" for part in parts)
    holds = terms[whole] == sum(terms[part] for part in parts)
    return Equation(subject=subject, text=f"{whole} {terms[whole]} = {right}", holds=holds)


def edge_equations(gateway: str, edge: Terms) -> list[Equation]:
    """Both promises of an edge node."""
    return [
        sum_equation(gateway, "read", ("reduced", "stored", "refused"), edge),
        sum_equation(gateway, "stored", ("confirmed", "waiting", "dropped"), edge),
    ]


def host_equations(host: Terms) -> list[Equation]:
    """Both promises of the host."""
    return [
        sum_equation("host", "received", ("recorded", "duplicates_dropped", "rejected", "unmapped", "unjoined"), host),
        sum_equation("host", "recorded", ("resolved", "unassigned", "unresolved"), host),
    ]


def lost(edges: Mapping[str, Terms], host: Terms) -> int:
    """What was stored at the edges and is neither recorded nor kept with a reason at the host."""
    stored = sum(edge.get("stored", 0) for edge in edges.values())
    return stored - sum(host.get(name, 0) for name in ("recorded", "rejected", "unmapped"))


def loss_equation(edges: Mapping[str, Terms], host: Terms) -> Equation:
    """Drained, nothing that was stored is missing, save what a policy dropped and counted."""
    stored = sum(edge.get("stored", 0) for edge in edges.values())
    dropped = sum(edge.get("dropped", 0) for edge in edges.values())
    kept = [f"{name} {host.get(name, 0)}" for name in ("recorded", "rejected", "unmapped")]
    missing = lost(edges, host)
    return Equation(
        subject="edges → host",
        text=f"lost {missing} = stored {stored} - ({' + '.join(kept)})" + (f", dropped {dropped}" if dropped else ""),
        holds=0 <= missing <= dropped,
    )


def record_log_equations(host: Terms, *, recorded: int, duplicates: int, statuses: Terms) -> list[Equation]:
    """Counters that lie would make every other equation hold: the rows, counted one by one, are what was counted."""
    by_status = {name: statuses.get(name, 0) for name in STATUSES}
    return [
        Equation(subject="record log", text=f"keys held twice {duplicates} = 0", holds=duplicates == 0),
        Equation(
            subject="record log",
            text=f"rows {recorded} = recorded {host.get('recorded')}",
            holds=recorded == host.get("recorded"),
        ),
        Equation(
            subject="record log",
            text=f"rows by status {' + '.join(f'{name} {n}' for name, n in by_status.items())} = counted",
            holds=all(n == host.get(name) for name, n in by_status.items()),
        ),
    ]
