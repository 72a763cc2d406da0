"""The promises as equations over counters, each printed with its numbers and whether it holds.

Edge:  ``read = reduced + stored + refused`` and ``stored = confirmed + waiting + dropped``.
Host:  ``received = recorded + duplicates_dropped + rejected + unmapped + unjoined`` and
``recorded = resolved + unassigned + unresolved``.
Drained: ``lost = stored - (recorded + rejected + unmapped)`` is 0, or at most ``dropped`` where a policy dropped.
Record log: what its rows say, counted by a second look, is what the host counted.
Bridge: ``orders_read = facts_accepted + facts_refused + orders_refused`` and
``items = delivered + waiting + in_doubt + dead_letters + dropped``.
Performance: the quantity that a document says is the quantity that the samples show.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

__all__ = [
    "EDGE_TERMS",
    "HOST_TERMS",
    "STATUSES",
    "Equation",
    "bridge_equations",
    "bridge_terms",
    "edge_equations",
    "explanation_equation",
    "host_equations",
    "loss_equation",
    "lost",
    "performance_equation",
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
ORDER_TERMS = ("orders_read", "facts_accepted", "facts_refused", "orders_refused")
ITEM_TERMS = ("items", "delivered", "waiting", "in_doubt", "dead_letters", "dropped")
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


def bridge_terms(stats: Mapping[str, Any]) -> dict[str, int]:
    """The terms of a bridge's equations from its figures. What has not happened yet is 0; without figures, nothing."""
    counters = stats.get("counters", {})
    return {name: int(stats.get(name, counters.get(name, 0))) for name in (*ORDER_TERMS, *ITEM_TERMS)} if stats else {}


def bridge_equations(bridge: Terms) -> list[Equation]:
    """Both promises of a bridge with an inbox and an outbox: each order is answered, each item is somewhere."""
    return [
        sum_equation("bridge", ORDER_TERMS[0], ORDER_TERMS[1:], bridge),
        sum_equation("bridge", ITEM_TERMS[0], ITEM_TERMS[1:], bridge),
    ]


def performance_equation(work_order: str, *, said: Decimal | None, counted: Decimal | None, how: str) -> Equation:
    """What a document says was made is what the samples show. ``how``: which samples, for people."""
    what = f"performance good {_decimal(said)} = counted {_decimal(counted)} from samples"
    return Equation(
        subject=work_order, text=f"{what} ({how})" if how else what, holds=said is not None and said == counted
    )


def explanation_equation(work_order: str, *, said: Decimal | None, explained: Decimal | None) -> Equation:
    """What ``uns explain`` gives for a quantity is what the document says."""
    text = f"performance good {_decimal(said)} = explained {_decimal(explained)}"
    return Equation(subject=work_order, text=text, holds=said is not None and said == explained)


def _decimal(value: Decimal | None) -> str:
    return "none" if value is None else f"{value.normalize():f}"
