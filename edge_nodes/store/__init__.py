"""The edge's own store: what was read and nobody has confirmed yet."""

from edge_nodes.store.edge_store import (
    GAP,
    Committed,
    Counters,
    EdgeStore,
    LastSample,
    MetricName,
    StoredRows,
    WhenFull,
    waiting_orphans,
)

__all__ = [
    "GAP",
    "Committed",
    "Counters",
    "EdgeStore",
    "LastSample",
    "MetricName",
    "StoredRows",
    "WhenFull",
    "waiting_orphans",
]
