"""Samples to JSON and to rows, in one pass: the hottest loop of the host."""

from __future__ import annotations

from collections.abc import Sequence

from uns.context.times import rfc3339
from uns.enrichment.identity import Accepted
from uns.enrichment.plan import (
    FLAG_BIRTH,
    FLAG_CLOCK_SUSPECT,
    FLAG_TIME_GATEWAY,
    FLAG_TIME_SERVER,
    PresentSample,
    SampleRow,
    columns_of,
)
from uns.enrichment.samples import Provenance, Quality, SampleBatch
from uns.enrichment.series import Series
from uns.enrichment.values import FLOAT_TEXTS, ValueKind, float32_text, value_text

__all__ = ["render", "restore"]

_TIME_FLAGS = {"device": 0, "server": FLAG_TIME_SERVER, "gateway": FLAG_TIME_GATEWAY}
_TIME_SUFFIX = {"device": "", "server": ',"time_source":"server"', "gateway": ',"time_source":"gateway"'}
_QUALITY_SUFFIX = ("", ',"quality":"uncertain"', ',"quality":"bad"', ',"quality":"stale"')


def render(
    batch: SampleBatch,
    accepted: Sequence[Accepted],
    *,
    position: int,
    payload: int,
    rows: list[SampleRow],
    dirty: list[Series],
) -> list[str]:
    """The JSON of each sample; appends their rows, from ``position`` on, and series whose present value changed."""
    values, times, qualities, codes = batch.values, batch.times_ns, batch.qualities, batch.status_codes
    provenance = batch.provenance
    birth = batch.origin == "birth"
    base_flags = _TIME_FLAGS[batch.time_source] | (FLAG_BIRTH if birth else 0)
    base_suffix = _TIME_SUFFIX[batch.time_source] + (',"origin":"birth"' if birth else "")
    float_texts, double_kind = FLOAT_TEXTS, ValueKind.DOUBLE
    number: float | None
    integer: int | None
    string: str | None
    parts: list[str] = []
    time_before, time_text = None, ""
    for at, series, ordinal, suspect in accepted:
        value = values[at]
        time_ns = times[at]
        if time_ns != time_before:
            time_text = f',"time":"{rfc3339(time_ns)}"'
            time_before = time_ns
        kind = series.kind
        if value.__class__ is float and kind <= double_kind and value - value == 0.0:
            number, integer, string = value, None, None
            text = repr(value) if kind is double_kind else float_texts.get(value) or float32_text(value)
        else:
            if kind <= double_kind and isinstance(value, int):
                value = float(value)
            number, integer, string = columns_of(value)
            text = value_text(kind, value)
        quality = code = 0
        flags, suffix = base_flags, base_suffix
        if qualities is not None or codes is not None or ordinal or suspect:
            quality = 0 if qualities is None else int(qualities[at])
            code = 0 if codes is None else codes[at]
            suffix = _suffix(quality, code, ordinal, suspect=suspect) + base_suffix
            if suspect:
                flags |= FLAG_CLOCK_SUSPECT
        part = f"{series.prefix}{text}{time_text}{suffix}}}"
        parts.append(part)
        rows.append((position, series.number, time_ns, ordinal, number, integer, string, quality, code, flags, payload))
        position += 1
        newest_ns = series.pv_time_ns
        if suspect or time_ns < newest_ns or (time_ns == newest_ns and ordinal < series.pv_ordinal):
            continue
        series.pv_time_ns = time_ns
        series.pv_ordinal = ordinal
        series.pv_part = part
        series.pv_quality = quality
        series.pv_provenance = provenance
        series.pv_stale = False
        if not series.pv_dirty:
            series.pv_dirty = True
            dirty.append(series)
    return parts


def restore(series: Series, sample: PresentSample) -> None:
    """Give a series the present value that it had before a restart."""
    if sample.flags & FLAG_CLOCK_SUSPECT:
        return
    way = Provenance(
        group_id=sample.group_id,
        edge_node_id=sample.edge_node_id,
        device_id=sample.device_id,
        session="",
        bd_seq=0,
        seq=0,
        historical=False,
        received_at_ns=0,
        raw_position=0,
    )
    batch = SampleBatch(
        equipment=series.equipment,
        metrics=[series.contract],
        values=[sample.value],
        times_ns=[sample.source_time_ns],
        qualities=[Quality(sample.quality)],
        status_codes=[sample.status_code],
        time_source="gateway"
        if sample.flags & FLAG_TIME_GATEWAY
        else "server"
        if sample.flags & FLAG_TIME_SERVER
        else "device",
        origin="birth" if sample.flags & FLAG_BIRTH else "data",
        provenance=way,
    )
    render(batch, [(0, series, sample.ordinal, False)], position=0, payload=0, rows=[], dirty=[])
    series.pv_dirty = False


def _suffix(quality: int, code: int, ordinal: int, *, suspect: bool) -> str:
    text = f',"ordinal":{ordinal}' if ordinal else ""
    text += _QUALITY_SUFFIX[quality]
    if code:
        text += f',"status_code":{code}'
    if suspect:
        text += ',"clock_suspect":true'
    return text
