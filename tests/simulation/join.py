"""From raw log to record log in the simulation: the real reader, the real enricher, and a record log in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.enrichment.memory_log import MemoryLog
from tests.simulation.plant import Key, Sample
from tests.simulation.world import MS
from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.context.facts import Fact, FactAnswer
from uns.enrichment.pipeline import Enricher
from uns.enrichment.samples import SampleBatch
from uns.namespace.model import TopicTree
from uns.runtime.host.groups import AliveItem, DeathItem, Item, WorkItem
from uns.runtime.host.rejoin import RawReader
from uns.sparkplug.messages import HeldBirths
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["HostStore", "Joiner", "keys_of"]

Answer = Callable[[FactAnswer], None]


def keys_of(batch: SampleBatch) -> Iterator[tuple[Key, Sample]]:
    """The samples of a payload with their keys (design 4)."""
    seen: dict[tuple[str, int], int] = {}
    for at, contract in enumerate(batch.metrics):
        time_ms = batch.times_ns[at] // MS
        place = seen.get((contract.name, time_ms), 0)
        seen[contract.name, time_ms] = place + 1
        given = None if batch.ordinals is None else batch.ordinals[at]
        status = 0 if batch.status_codes is None else batch.status_codes[at]
        yield (
            (batch.equipment, contract.name, time_ms, place if given is None else given),
            (batch.values[at], status),
        )


@dataclass
class HostStore:
    """What survives a crash of the host: raw log and record log."""

    messages: list[RawMessage] = field(default_factory=list)
    births: list[RawBirth] = field(default_factory=list)
    received: int = 0
    samples: dict[Key, Sample] = field(default_factory=dict)  # all that the raw log holds
    log: MemoryLog = field(default_factory=MemoryLog)
    joined: int = 0  # committed with the records
    state_seen_ms: int = 0  # as the host keeps it in a file

    @property
    def head(self) -> int:
        return self.messages[-1].position if self.messages else 0

    def append(self, messages: Sequence[RawMessage], births: Sequence[RawBirth], items: Sequence[Item]) -> None:
        """One commit of the raw log."""
        self.messages += messages
        self.births += births
        self.received += sum(message.samples for message in messages)
        for item in items:
            if isinstance(item, WorkItem):
                for batch, _ in item.work.batches:
                    if batch.origin == "data":
                        for key, sample in keys_of(batch):
                            self.samples.setdefault(key, sample)

    def births_until(self, position: int) -> list[RawBirth]:
        """As the raw log answers: by node and device the newest at or below."""
        newest = {(birth.edge_node, birth.device_id): birth for birth in self.births if birth.position <= position}
        return sorted(newest.values(), key=lambda birth: birth.position)

    def held(self) -> list[HeldBirths]:
        """As the raw log answers: the newest NBIRTH of each node, and the DBIRTHs of the same session."""
        newest = {
            (birth.edge_node, birth.device_id): birth
            for birth in self.births_until(2**62)
            if birth.payload is not None  # a death holds nothing
        }
        held: dict[EdgeNodeDescriptor, HeldBirths] = {}
        for (edge_node, device_id), birth in newest.items():
            if device_id is None and birth.payload is not None:
                held[edge_node] = HeldBirths(edge_node, birth.session, birth.bd_seq or 0, birth.payload, {})
        for (edge_node, device_id), birth in newest.items():
            node = held.get(edge_node)
            if device_id is not None and birth.payload is not None and node and node.session_id == birth.session:
                node.devices[device_id] = birth.payload
        return list(held.values())


class Joiner:
    """One life of the joining stage."""

    def __init__(self, tree: TopicTree, store: HostStore, now_ns: int) -> None:
        self.tree = tree
        self.store = store
        self.waiting: list[Item] = []
        self.facts: list[tuple[Fact, Answer]] = []
        self.reloads = 0
        self.behind = True
        self.load(now_ns)

    def load(self, now_ns: int) -> None:
        """Begin from what is committed: at start, and after a failed commit."""
        self.enricher = Enricher(self.tree, self.store.log)
        self.enricher.load(self.store.log.state(self.tree), now_ns)
        self.behind = True
        births = self.store.births_until(self.store.joined)
        for birth in births:
            if birth.payload is None:
                self.enricher.board.mark_stale(birth.edge_node, birth.device_id)
        reader = RawReader(self.tree, births)
        self.waiting = [reader.read(message) for message in self.store.messages if message.position > self.store.joined]

    def commit(self, now_ns: int, *, fails: bool) -> bool:
        """One plan with everything that waits; False if there was nothing. After a failure all begins anew."""
        items, self.waiting = self.waiting, []
        facts, self.facts = self.facts, []
        if not items and not facts:
            self.behind = False
            return False
        answers = [
            (answer, self.enricher.receive_fact(fact, now_ns, source_of_topic=fact.source)) for fact, answer in facts
        ]
        for item in items:
            if isinstance(item, DeathItem):
                self.enricher.receive_death(item.edge_node, item.device_id, now_ns)
            elif isinstance(item, AliveItem):
                for device_id in item.devices:
                    self.enricher.board.mark_alive(item.edge_node, device_id)
            else:
                self._receive(item, now_ns)
        plan = self.enricher.drain()
        if fails:
            self.reloads += 1
            self.load(now_ns)
            return True
        self.store.log.apply(plan)
        logged = [item.position for item in items if not isinstance(item, AliveItem)]
        if logged:
            self.store.joined = logged[-1]
        self.enricher.committed()
        self.behind = False
        for answer, content in answers:
            answer(content)
        return True

    def _receive(self, item: WorkItem, now_ns: int) -> None:
        work, enricher = item.work, self.enricher
        ours = bool(work.provenance.session)
        if work.rejected:
            enricher.count_rejected(work.rejected, work.provenance, now_ns, ours=ours)
        if work.unmapped:
            enricher.count_unmapped(work.unmapped, work.provenance, now_ns, ours=ours)
        for gap in work.gaps:
            enricher.receive_gap(gap, work.provenance, now_ns)
        for batch, clock in work.batches:
            enricher.receive_batch(batch, now_ns, past_max_ns=clock.past_max_ns, future_max_ns=clock.future_max_ns)
