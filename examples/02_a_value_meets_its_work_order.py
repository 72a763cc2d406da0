"""A value is joined with what the plant was doing when it was read; a fact that comes late restates it.

No broker, no database: the enricher only decides. Run it: ``python -m examples.02_a_value_meets_its_work_order``
"""

# ruff: noqa: N999 - numbered, to be read in order
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uns.context.facts import Fact
from uns.enrichment.pipeline import Enricher
from uns.enrichment.plan import RecordPlan
from uns.enrichment.samples import Provenance, SampleBatch, StoredSample, StoredUnrecorded
from uns.namespace.loader import load_tree
from uns.runtime.sentence import sentence

NOW_NS = 1_780_515_180_000_000_000  # a minute after the reading
READ_NS = 1_780_515_120_125_000_000  # 3 June 2026, 14:32:00.125 in Dallas
STARTED = datetime(2026, 6, 3, 19, 2, 11, tzinfo=UTC)


class EmptyLog:
    """A record log that holds nothing yet; the real one is SQLite."""

    def at(self, *_key: object, **_page: object) -> list[StoredSample]:
        return []

    def holds(self, *_key: object, **_page: object) -> bool:
        return False

    def count(self, *_window: object, **_which: object) -> int:
        return 1

    def unrecorded_at(self, *_key: object, **_page: object) -> list[StoredUnrecorded]:
        return []

    def holds_dropped(self, *_way: object, **_gap: object) -> bool:
        return False


def published(plan: RecordPlan, stream: str) -> dict[str, Any]:
    """What would be published on one of the streams about the reactor."""
    (message,) = (message for message in plan.outbox if f"/{stream}/" in message.topic)
    print(message.topic)
    body: dict[str, Any] = json.loads(message.payload)
    return body


def main() -> None:
    tree = load_tree(Path(__file__).parents[1] / "topic_tree.yaml")
    enricher = Enricher(tree, EmptyLog())
    came_by = Provenance(
        group_id="acme.dallas", edge_node_id="gw-reaction-1", device_id="reactor4", session="s", bd_seq=0, seq=1,
        historical=False, received_at_ns=NOW_NS, raw_position=1,
    )  # fmt: skip
    temperature = tree.classes["BatchReactor"].metrics["temperature"]
    batch = SampleBatch(
        equipment="reactor4", metrics=[temperature], values=[182.0], times_ns=[READ_NS], provenance=came_by
    )
    lot = Fact(id="scan:88", kind="lot", equipment="reactor4", lot="L-8891", use="Produced", valid_from=STARTED,
               source="scanner", source_rev="1")  # fmt: skip
    job = Fact(id="mes:4711", kind="job", equipment="line2", job_order="WO-10234/0010", work_order="WO-10234",
               state="running", valid_from=STARTED, source="mes", source_rev="1")  # fmt: skip

    enricher.receive_fact(lot, NOW_NS)
    enricher.receive_batch(batch, NOW_NS)  # the order is not known yet: unresolved, and recorded
    tick = published(enricher.drain(), "_data")
    print("  ", tick["context"])
    enricher.committed()

    enricher.receive_fact(job, NOW_NS)  # MES says half an hour later what ran: the interval is restated
    restated = published(enricher.drain(), "_res")
    print("  ", restated["old"]["status"], "->", restated["new"])

    (sample,), context = tick["samples"], restated["new"]
    print(
        sentence(
            value=sample["value"],
            unit=sample["unit"],
            equipment="reactor4",
            work_order=context["work_order"],
            lots=context["lots"],
            time_ns=READ_NS,
            time_zone=tree.sites["dallas"].time_zone,
        )
    )


if __name__ == "__main__":
    main()
