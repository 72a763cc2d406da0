"""Present values while the logs take nothing: shown with their context, not recorded (they come again as history)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from uns.context.times import rfc3339
from uns.enrichment.pipeline import Enricher
from uns.enrichment.records import PresentValue, QualityWord
from uns.enrichment.samples import Quality, SampleBatch
from uns.enrichment.values import kind_of, value_text
from uns.runtime.host.groups import Item, WorkItem
from uns.runtime.host.intake import Clock

__all__ = ["LivePreview"]

_INTERVAL_NS = 1_000_000_000


class _Newest(msgspec.Struct):
    """The newest sample of one metric, and when one was shown last."""

    time_ns: int
    batch: SampleBatch
    at: int  # in the batch
    shown_ns: int = 0
    dirty: bool = True


class LivePreview:
    """Newest value per metric, at most one a second each. As in records, a stamp from too far ahead never shows."""

    def __init__(self, show: Callable[[str, bytes], None]) -> None:
        self._show = show
        self._newest: dict[tuple[str, str], _Newest] = {}
        self._dirty = False

    def receive(self, items: Sequence[Item]) -> None:
        """Take work that could not be logged or joined."""
        for item in items:
            if isinstance(item, WorkItem):
                for batch, clock in item.work.batches:
                    self._receive_batch(batch, clock)

    def due(self, enricher: Enricher, now_ns: int) -> None:
        """Show what is due, with the context as it is known."""
        if not self._dirty:
            return
        self._dirty = False
        for (equipment, metric), newest in self._newest.items():
            if not newest.dirty:
                continue
            if 0 <= now_ns - newest.shown_ns < _INTERVAL_NS:
                self._dirty = True
                continue
            newest.dirty, newest.shown_ns = False, now_ns
            topic = enricher.topics.of(equipment).pv.get(metric)
            if topic is not None and enricher.board.may_preview(equipment, metric, newest.time_ns):
                self._show(topic, _document(newest, enricher))

    def _receive_batch(self, batch: SampleBatch, clock: Clock) -> None:
        arrival_ns = batch.provenance.received_at_ns
        latest_ns = 2**63 if clock.future_max_ns is None else arrival_ns + clock.future_max_ns
        for at, contract in enumerate(batch.metrics):
            time_ns = batch.times_ns[at]
            if time_ns > latest_ns:
                continue
            key = (batch.equipment, contract.name)
            known = self._newest.get(key)
            if known is None:
                self._newest[key] = _Newest(time_ns, batch, at)
            elif time_ns >= known.time_ns:
                known.time_ns, known.batch, known.at, known.dirty = time_ns, batch, at, True
            self._dirty = True


def _document(newest: _Newest, enricher: Enricher) -> bytes:
    batch, at = newest.batch, newest.at
    contract = batch.metrics[at]
    quality = Quality.GOOD if batch.qualities is None else batch.qualities[at]
    value = PresentValue(
        equipment=batch.equipment,
        metric=contract.name,
        value=None,
        type=contract.datatype.label,
        unit=contract.unit,
        time=rfc3339(newest.time_ns),
        status_code=0 if batch.status_codes is None else batch.status_codes[at],
        time_source=batch.time_source,
        quality=cast("QualityWord", quality.label),
        context=enricher.timeline.context_at(batch.equipment, newest.time_ns),
    )
    text = value_text(kind_of(contract.datatype), batch.values[at])
    # The text may hold more than the value: a NaN is `null,"special":"NaN"`.
    return msgspec.json.encode(value).replace(b'"value":null', f'"value":{text}'.encode(), 1)
