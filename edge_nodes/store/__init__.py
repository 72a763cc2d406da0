"""The edge's own store: what was read and nobody has confirmed yet."""

from edge_nodes.store.edge_store import (
    Committed,
    Counters,
    EdgeStore,
    WhenFull,
    registered_metrics,
    registered_units,
    waiting_orphans,
)

__all__ = [
    "Committed",
    "Counters",
    "EdgeStore",
    "WhenFull",
    "registered_metrics",
    "registered_units",
    "waiting_orphans",
]
