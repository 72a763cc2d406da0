"""How much a host takes from its peers, and how long it waits for them."""

from __future__ import annotations

import msgspec

__all__ = ["HostBounds", "HostDelays"]


class HostBounds(msgspec.Struct, frozen=True):
    """How much a host takes from its peers; what goes beyond is dropped and counted in ``violations``.

    ``nodes_max`` and ``strangers_…`` are for nodes that are not declared, all together;
    :class:`~uns.sparkplug.host_nodes.NodeBook` tells who gives way.
    """

    nodes_max: int = 10_000
    away_kept_ms: int = 3_600_000  # a node that was born keeps its place so long after it went
    devices_per_node_max: int = 1000
    metrics_per_node_max: int = 100_000
    birth_bytes_per_node_max: int = 16 << 20  # of NBIRTH and DBIRTHs together
    strangers_metrics_max: int = 500_000  # a device counts as one more; a metric takes about 400 bytes of memory
    strangers_birth_bytes_max: int = 32 << 20


class HostDelays(msgspec.Struct, frozen=True):
    """How long the host waits before it concludes, in ns."""

    reorder_timeout_ns: int
    mark_wait_ns: int  # for the mark that names a session, before a rebirth is asked for
    rebirth_spread_ns: int
    host_start_spread_ns: int
