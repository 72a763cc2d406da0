"""Payloads as the sessions publish them: births, data, deaths, commands."""

from __future__ import annotations

from collections.abc import Sequence

from uns.errors import LocalProtocolError
from uns.sparkplug.codec.parsing import TIMESTAMP_MS_MAX, Payload
from uns.sparkplug.codec.writing_values import (
    FLOAT_MAX,
    check_float,
    not_writable,
    put_metadata,
    put_metric,
    put_properties,
    put_uint32_into_long,
    put_value,
    wire_integer,
    write,
)
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BD_SEQ, BirthMetric, DataBatch, MetricBinding, MetricValue, TemplateValue

__all__ = ["encode_birth", "encode_command", "encode_data", "encode_death", "encode_empty"]


def encode_birth(
    metrics: Sequence[BirthMetric], *, timestamp_ms: int, seq: int | None, uint32_in_long: bool = False
) -> bytes:
    """NBIRTH or DBIRTH: every metric with name, datatype, timestamp and value (tck-id-topics-nbirth-metrics)."""
    message = _message(timestamp_ms, seq)
    add = message.metrics.add
    for metric in metrics:
        wire = add()
        _put_time(wire, metric, timestamp_ms)
        put_metric(wire, metric)
        if uint32_in_long:
            put_uint32_into_long(wire, metric.datatype, metric.value)
    return message.SerializeToString()


def encode_data(  # noqa: C901, PLR0912  # hot
    batch: DataBatch, *, timestamp_ms: int, seq: int, uint32_in_long: bool = False
) -> bytes:
    """NDATA or DDATA: alias where the birth gave one, else the name; no datatype (payloads-metric-datatype-not-req)."""
    message = _message(timestamp_ms, seq)
    add = message.metrics.add
    is_historical = batch.is_historical
    count = len(batch.bindings)
    if len(batch.values) != count or len(batch.times_ms) != count:
        raise LocalProtocolError(
            f"{count} bindings, {len(batch.values)} values, {len(batch.times_ms)} times", expected="lists of one length"
        )
    binding = None
    try:
        for binding, value, time_ms in zip(batch.bindings, batch.values, batch.times_ms, strict=True):
            wire = add()
            if (alias := binding.alias) is None:
                wire.name = binding.name
            else:
                wire.alias = alias
            wire.timestamp = time_ms
            if is_historical:
                wire.is_historical = True
            if value is None:
                wire.is_null = True
                continue
            field = binding.value_field
            limit = binding.limit
            if limit is not None:
                if not 0 <= value < limit:  # type: ignore[operator]  # a string here raises TypeError, caught below
                    value = wire_integer(value, binding.datatype, binding.name)  # noqa: PLW2901
            elif field == "float_value":
                if not -FLOAT_MAX < value < FLOAT_MAX:  # type: ignore[operator]
                    check_float(value, binding.name)
            elif not field:
                _put_composed(wire, binding, value)
                continue
            setattr(wire, field, value)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise not_writable(str(error), binding.name if binding else "") from error
    for index, properties in batch.properties.items():
        put_properties(message.metrics[index].properties, properties, batch.bindings[index].name)
    for index, metadata in batch.metadata.items():
        put_metadata(message.metrics[index].metadata, metadata, batch.bindings[index].name)
    if uint32_in_long:
        for wire, binding, value in zip(message.metrics, batch.bindings, batch.values, strict=True):
            put_uint32_into_long(wire, binding.datatype, value)
    return message.SerializeToString()


def _put_composed(wire: Payload.Metric, binding: MetricBinding, value: MetricValue) -> None:
    put_value(wire, binding.datatype, value, binding.name)
    if isinstance(value, TemplateValue):
        _check_instance(binding, value)
        _clear_types(wire.template_value)


def _clear_types(template: Payload.Template) -> None:
    for member in template.metrics:
        member.ClearField("datatype")  # tck-id-payloads-metric-datatype-not-req; the birth said it
        if member.HasField("template_value"):
            _clear_types(member.template_value)


def _check_instance(binding: MetricBinding, value: TemplateValue) -> None:
    if value.is_definition:
        raise LocalProtocolError(
            f"metric {binding.name!r}: a template definition in DATA",
            expected="definitions in the NBIRTH only (tck-id-payloads-template-definition-nbirth-only)",
        )
    if binding.members is None:
        raise not_writable("its birth showed no instance that says the members' types", binding.name)
    for member in value.metrics:
        row = binding.members.by_name.get(member.name)
        if row is None or row.datatype is not member.datatype:
            raise LocalProtocolError(
                f"metric {binding.name!r}: member {member.name!r} of {member.datatype.label} is not in the birth",
                expected="some of the members that the birth showed (tck-id-payloads-template-instance-members)",
            )
        if isinstance(member.value, TemplateValue):
            _check_instance(row, member.value)


def encode_death(bd_seq: int) -> bytes:
    """NDEATH: bdSeq alone, named, Int64; no seq (tck-id-topics-ndeath-payload, tck-id-topics-ndeath-seq)."""
    message = Payload()
    wire = message.metrics.add()
    wire.name = BD_SEQ
    wire.datatype = DataType.INT64
    wire.long_value = bd_seq
    return message.SerializeToString()


def encode_empty(timestamp_ms: int, seq: int) -> bytes:
    """DDEATH: timestamp and seq, no metrics (tck-id-payloads-ddeath-seq)."""
    return _message(timestamp_ms, seq).SerializeToString()


def encode_command(
    metrics: Sequence[BirthMetric], *, timestamp_ms: int, uint32_in_long: bool = False, with_datatype: bool = False
) -> bytes:
    """NCMD or DCMD: alias or name, value, no seq (tck-id-payloads-ncmd-seq).

    ``with_datatype``: for nodes that read no command without; the standard would rather have none there.
    """
    message = _message(timestamp_ms, None)
    for metric in metrics:
        wire = message.metrics.add()
        if metric.alias is None:
            write(wire, "name", metric.name, metric.name)
        else:
            write(wire, "alias", metric.alias, metric.name)
        if with_datatype:
            wire.datatype = metric.datatype
        _put_time(wire, metric, timestamp_ms)
        put_value(wire, metric.datatype, metric.value, metric.name)
        if metric.metadata is not None:
            put_metadata(wire.metadata, metric.metadata, metric.name)
        if uint32_in_long:
            put_uint32_into_long(wire, metric.datatype, metric.value)
    return message.SerializeToString()


def _message(timestamp_ms: int, seq: int | None) -> Payload:
    if not 0 <= timestamp_ms <= TIMESTAMP_MS_MAX:
        raise LocalProtocolError(f"payload timestamp {timestamp_ms} ms", expected=f"0 to {TIMESTAMP_MS_MAX}")
    if seq is None:
        return Payload(timestamp=timestamp_ms)
    return Payload(timestamp=timestamp_ms, seq=seq)


def _put_time(wire: Payload.Metric, metric: BirthMetric, timestamp_ms: int) -> None:
    write(wire, "timestamp", timestamp_ms if metric.timestamp_ms is None else metric.timestamp_ms, metric.name)
