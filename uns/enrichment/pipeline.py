"""From payloads and facts to one transaction: identity, as-of join, ticks, restatements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from uns.context.facts import Fact, FactAnswer
from uns.enrichment.plan import EnricherState, RecordPlan
from uns.enrichment.samples import Provenance, SampleBatch, UnrecordedSample

__all__ = ["EnricherInterface"]


class EnricherInterface(Protocol):
    """The signatures of ``Enricher(tree, index, *, tick_bytes_max=65536, …)``; the class follows."""

    def load(self, state: EnricherState, now_ns: int) -> None:
        """Once, before anything else."""

    def receive_batch(
        self, batch: SampleBatch, now_ns: int, *, past_max_ns: int | None = ..., future_max_ns: int | None = ...
    ) -> None:
        """Samples of one payload and one equipment."""

    def receive_fact(self, fact: Fact, now_ns: int, *, source_of_topic: str | None = None) -> FactAnswer:
        """One fact; publish the answer after the commit of the next drained plan."""

    def count_rejected(self, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int) -> None:
        """Samples that the codec could not read."""

    def count_unmapped(self, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int) -> None:
        """Samples of devices or metrics that the tree does not know."""

    def drain(self) -> RecordPlan:
        """All since the last drain, for one transaction. Draining again says that the plan before is committed."""

    def committed(self) -> None:
        """The plan drained last is committed: the index answers for it from now on."""
