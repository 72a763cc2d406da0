"""Present values while the logs take nothing: shown with their context, not recorded (they come again as history)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from uns.context.times import rfc3339
from uns.enrichment.pipeline import Enricher
from uns.enrichment.records import PresentValue, QualityWord
from uns.enrichment.samples import Quality
from uns.enrichment.values import kind_of, value_text
from uns.runtime.groups import Item, WorkItem

__all__ = ["LivePreview"]

_INTERVAL_NS = 1_000_000_000


class LivePreview:
    """Newest value per metric, at most one a second each."""

    def __init__(self, show: Callable[[str, bytes], None]) -> None:
        self._show = show
        self._newest: dict[tuple[str, str], tuple[int, int]] = {}  # source time, shown at

    def receive(self, items: Sequence[Item], enricher: Enricher, now_ns: int) -> None:
        """Take work that could not be logged."""
        for item in items:
            if not isinstance(item, WorkItem):
                continue
            for batch, _ in item.work.batches:
                topics = enricher.topics.of(batch.equipment)
                for at, contract in enumerate(batch.metrics):
                    topic = topics.pv.get(contract.name)
                    time_ns = batch.times_ns[at]
                    newest_ns, shown_ns = self._newest.get((batch.equipment, contract.name), (-(2**63), 0))
                    if topic is None or time_ns < newest_ns or 0 <= now_ns - shown_ns < _INTERVAL_NS:
                        continue
                    self._newest[batch.equipment, contract.name] = (time_ns, now_ns)
                    quality = Quality.GOOD if batch.qualities is None else batch.qualities[at]
                    value = PresentValue(
                        equipment=batch.equipment,
                        metric=contract.name,
                        value=None,
                        type=contract.datatype.label,
                        unit=contract.unit,
                        time=rfc3339(time_ns),
                        status_code=0 if batch.status_codes is None else batch.status_codes[at],
                        time_source=batch.time_source,
                        quality=cast("QualityWord", quality.label),
                        context=enricher.timeline.context_at(batch.equipment, time_ns),
                    )
                    text = value_text(kind_of(contract.datatype), batch.values[at])
                    # The text may hold more than the value: a NaN is `null,"special":"NaN"`.
                    encoded = msgspec.json.encode(value).replace(b'"value":null', f'"value":{text}'.encode(), 1)
                    self._show(topic, encoded)
