"""What an edge session checks and makes without regard to where it stands: births, their tables, the order of data."""

from __future__ import annotations

from collections.abc import Sequence
from operator import le

from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable, binding_of
from uns.sparkplug.metrics import BirthMetric, DataBatch, TemplateValue
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["check_bindings", "client_id_of", "encode_birth", "in_time_order", "table_of_birth", "too_large"]


def client_id_of(descriptor: EdgeNodeDescriptor) -> str:
    """Stable, so that a broker ends the old connection of this node when the new one comes."""
    return f"edge:{descriptor}"


def encode_birth(metrics: Sequence[BirthMetric], now_ms: int, seq: int, *, uint32_in_long: bool = False) -> bytes:
    """NBIRTH or DBIRTH; raise :class:`LocalProtocolError` where no payload takes so much."""
    payload = codec.encode_birth(metrics, timestamp_ms=now_ms, seq=seq, uint32_in_long=uint32_in_long)
    if len(payload) > codec.PAYLOAD_BYTES_MAX:
        raise too_large(f"a birth of {len(metrics)} metrics", payload)
    return payload


def too_large(where: str, payload: bytes) -> LocalProtocolError:
    """The error of a payload beyond ``PAYLOAD_BYTES_MAX``."""
    return LocalProtocolError(
        f"payload of {len(payload)} bytes",
        where=where,
        expected=f"at most {codec.PAYLOAD_BYTES_MAX}",
        next_step="spread the metrics over more devices or messages",
    )


def table_of_birth(metrics: Sequence[BirthMetric], old: AliasTable | None) -> AliasTable:
    """The table of a birth; rows that say the same as before stay the same objects."""
    table = AliasTable()
    for position, metric in enumerate(metrics):
        kept = None if old is None else old.by_name.get(metric.name)
        said = (metric.datatype, metric.alias, position)
        if (
            kept is None
            or (kept.datatype, kept.alias, kept.position) != said
            or isinstance(metric.value, TemplateValue)
        ):
            kept = binding_of(metric, position)
        table.add(kept)
    return table


def check_bindings(batch: DataBatch, table: AliasTable) -> None:
    """A binding of another session or device would write a value under another metric's alias."""
    by_name = table.by_name
    for binding in batch.bindings:
        known = by_name.get(binding.name)
        if known is not binding and (
            known is None or known.alias != binding.alias or known.datatype != binding.datatype
        ):
            raise LocalProtocolError(
                f"metric {binding.name!r} (alias {binding.alias}) is not in the birth that stands",
                expected="bindings() of this session, taken after its newest birth",
            )


def in_time_order(batch: DataBatch) -> DataBatch:
    """tck-id-operational-behavior-data-publish-nbirth-order, -dbirth-order."""
    times = batch.times_ms
    if len(times) != len(batch.bindings) or all(map(le, times, times[1:])):
        return batch
    order = sorted(range(len(times)), key=times.__getitem__)
    return DataBatch(
        bindings=[batch.bindings[i] for i in order],
        values=[batch.values[i] for i in order],
        times_ms=[times[i] for i in order],
        properties={new: batch.properties[old] for new, old in enumerate(order) if old in batch.properties},
    )
