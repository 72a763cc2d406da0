"""What the audit log costs: facts/s into the record log with and without entries; entries/s verified, live database.

    python -m benchmarks.audit [--json] [--facts N] [--entries N]

The same facts go through the enricher into two fresh record logs, one without and one with the entry of each fact in
its transaction, commit by commit in turns, so that both see the same machine: rates are of the median commit. Then a
log of N entries is verified as ``uns audit verify`` does it: once the chain of a bridge's books, once a record log
where each entry is held against its fact.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from uns.adapters.logs import get_logger
from uns.adapters.sqlite.audit_log import AuditReader
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.audit.chain import AuditEvent, anchor_of
from uns.audit.events import Life
from uns.context.facts import Fact
from uns.enrichment.pipeline import Enricher
from uns.namespace.loader import load_tree
from uns.namespace.model import TopicTree
from uns.runtime.audit import AuditTrail
from uns.runtime.audit_check import verify_store
from uns.runtime.host.fact_audit import FactAudit, Told
from uns.runtime.host.groups import FactItem

BATCH = 50  # facts that share a commit, as they do at a busy host
START = datetime(2026, 6, 3, 12, tzinfo=UTC)
LIFE = Life(component="uns-host-1", actor="bench", release="0", configuration={})


@dataclass
class Figure:
    facts: int
    facts_per_s_without: float
    facts_per_s_with: float
    cost_percent: float
    entry_bytes: float
    chain_entries: int
    chain_entries_per_s: float
    facts_verified: int
    facts_verified_per_s: float


def facts(first: int, count: int) -> list[Fact]:
    """Jobs of half a second, one after the other."""
    made = []
    for n in range(first, first + count):
        begin = START + timedelta(milliseconds=500 * n)
        made.append(
            Fact(
                id=f"mes:{n:08}", kind="job", equipment="reactor4", valid_from=begin,
                valid_to=begin + timedelta(milliseconds=500), source="mes", source_rev="1", by="op-17",
                job_order=f"WO-{n:08}/0010", work_order=f"WO-{n:08}", reason="as planned",
            )
        )  # fmt: skip
    return made


class Side:
    """A record log with its enricher; ``audited`` or not."""

    def __init__(self, directory: Path, tree: TopicTree, *, audited: bool) -> None:
        self.path = directory / "records.db"
        self.records = RecordLog(self.path)
        state, _ = self.records.load()
        self.index = RecordIndexReader(self.path)
        self.enricher = Enricher(tree, self.index)
        self.enricher.load(state, 1)
        self.joined = 0
        self.audit: FactAudit | None = None
        if audited:
            self.records.audit.start(LIFE, 1)
            self.audit = FactAudit(AuditTrail(self.records.audit, LIFE, blocking=_never, log=get_logger("bench")))

    def tell(self, batch: list[Fact]) -> None:
        now_ns = time.time_ns()
        told = []
        for fact in batch:
            before, repeated = (None, False) if self.audit is None else self.audit.before(self.enricher, fact)
            answer = self.enricher.receive_fact(fact, now_ns, source_of_topic="mes")
            assert answer.accepted, answer.reason
            told.append(Told(FactItem(fact, "mes", "", None), answer, before, repeated))  # type: ignore[arg-type]
        plan = self.enricher.drain()
        audit = [] if self.audit is None else self.audit.events(told, plan.facts, now_ns)
        self.joined += 1
        ids = self.records.commit(plan, joined=self.joined, published=self.joined * 10**6, audit=audit)
        del ids
        self.enricher.committed()

    def close(self) -> None:
        self.index.close()
        self.records.close()


async def _never(_call: object) -> None:
    raise AssertionError("nothing of this is asked for here")


def cost(directory: Path, tree: TopicTree, count: int) -> tuple[float, float, float]:
    """Facts/s without and with entries, commit by commit in turns; bytes of the file an entry."""
    sides = []
    for audited in (False, True):
        place = directory / ("with" if audited else "without")
        place.mkdir()
        sides.append(Side(place, tree, audited=audited))
    seconds: list[list[float]] = [[], []]
    for turn, first in enumerate(range(0, count, BATCH)):
        batch = facts(first, BATCH)
        for number in ((0, 1), (1, 0))[turn % 2]:
            began = time.perf_counter()
            sides[number].tell(batch)
            seconds[number].append(time.perf_counter() - began)
    used = [side.records.used_bytes() for side in sides]
    for side in sides:
        side.close()
    without, audited_s = (BATCH / statistics.median(times) for times in seconds)
    return without, audited_s, (used[1] - used[0]) / count


def chain(directory: Path, count: int) -> tuple[float, int]:
    """Entries/s of a plain chain, with an anchor; how many."""
    path = directory / "history.bridge.db"
    with closing(BridgeStore(path)) as store:
        store.claim("history")
        for first in range(0, count, 10_000):
            store.audit.append(
                [
                    AuditEvent(
                        at_ns=1_780_488_000_000_000_000 + n,
                        actor="bridge:history",
                        action="bridge.delivered",
                        subject=f"history/performance:WO-{n:08}/0010",
                        detail={"kind": "performance", "receipt": f"{n:08}", "sha256": "0" * 64, "attempts": 1},
                    )
                    for n in range(first, min(first + 10_000, count))
                ]
            )
        anchor = anchor_of(store.audit.head, "history", 1_780_488_000_000_000_000)
        began = time.perf_counter()
        found = verify_store(path, anchors=[anchor])
        seconds = time.perf_counter() - began
    assert found.ok, found
    assert found.anchored == count
    return count / seconds, count


def measure(*, fact_count: int, entry_count: int) -> Figure:
    tree = load_tree(Path(__file__).resolve().parents[1] / "topic_tree.yaml")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        without, audited, entry_bytes = cost(directory, tree, fact_count)
        began = time.perf_counter()
        found = verify_store(directory / "with" / "records.db")
        facts_per_s = found.entries / (time.perf_counter() - began)
        assert found.ok, found
        with AuditReader(directory / "with" / "records.db") as reader:
            assert reader.snapshot().facts == fact_count
        chain_per_s, entries = chain(directory, entry_count)
    return Figure(
        facts=fact_count,
        facts_per_s_without=round(without),
        facts_per_s_with=round(audited),
        cost_percent=round(100 * (1 - audited / without), 1),
        entry_bytes=round(entry_bytes),
        chain_entries=entries,
        chain_entries_per_s=round(chain_per_s),
        facts_verified=found.entries,
        facts_verified_per_s=round(facts_per_s),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--facts", type=int, default=20_000, help="a multiple of 50")
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    figure = measure(fact_count=options.facts, entry_count=options.entries)
    if options.json:
        print(json.dumps(asdict(figure), indent=2))
        return
    for name, value in asdict(figure).items():
        print(f"{name:28} {value:>12,}")


if __name__ == "__main__":
    main()
