"""The plan being made: positions, knowledge time, counters, what is published, and which equipment it concerns."""

from __future__ import annotations

from collections import Counter

from uns.context.times import MIN_NS
from uns.enrichment.equipment import EquipmentState
from uns.enrichment.plan import OutboxMessage, PayloadRow, RecordPlan
from uns.enrichment.samples import Provenance

__all__ = ["EVENT_INTERVAL_NS", "PlanWriter"]

EVENT_INTERVAL_NS = 60_000_000_000  # clock and conflict events: one per equipment in this time


class PlanWriter:
    """Collects one :class:`RecordPlan` after the other."""

    def __init__(self, contract_hash: str) -> None:
        self.plan = RecordPlan()
        self.counts: Counter[str] = Counter()  # of the plan being made
        self.totals: Counter[str] = Counter()  # since the record log began
        self.position = 1  # next in the record log
        self.payload = 1
        self.known_ns = MIN_NS  # knowledge time: never runs back, whatever the clock does
        self._contract_hash = contract_hash
        self._logged: dict[str, EquipmentState] = {}
        self._pending: dict[str, EquipmentState] = {}
        self._in_flight: dict[str, EquipmentState] = {}

    def learn(self, now_ns: int) -> None:
        """What comes now is known since now."""
        self.known_ns = max(self.known_ns, now_ns)

    def joined(self, provenance: Provenance) -> None:
        """A payload of the raw log is in this plan."""
        self.plan.raw_position = max(self.plan.raw_position, provenance.raw_position)

    def payload_row(self, provenance: Provenance) -> None:
        """Keep by which way the samples that follow came."""
        row: PayloadRow = (
            self.payload,
            provenance.group_id,
            provenance.edge_node_id,
            provenance.device_id,
            provenance.session,
            provenance.bd_seq,
            provenance.seq,
            int(provenance.historical),
            provenance.received_at_ns,
            self.known_ns,
            provenance.raw_position,
        )
        self.plan.payloads.append(row)

    def samples_recorded(self, state: EquipmentState, times: list[int], *, foreign: bool) -> None:
        """Rows of these source times are in the plan, so that they count although the index has them not yet."""
        state.newest_ns = max(state.newest_ns, *times)
        state.pending_times.append(times)
        if foreign:
            state.foreign_pending_times.append(times)
        self._pending[state.id] = state

    def publish(self, state: EquipmentState, topic: str, payload: bytes, last_position: int) -> None:
        """A message about log positions up to ``last_position``; it is the ``after`` of the next one."""
        self.plan.outbox.append(OutboxMessage(topic, payload))
        state.last_to = last_position
        self._logged[state.id] = state

    def publish_event(self, state: EquipmentState, event_type: str, payload: bytes) -> None:
        """Something happened; events take no position."""
        self.plan.outbox.append(OutboxMessage(f"{state.topics.event}/{event_type}", payload))
        self.counts[f"events_{event_type}"] += 1

    def may_tell(self, state: EquipmentState, event_type: str, now_ns: int) -> bool:
        """Whether an event of a kind that may repeat is due again."""
        before = state.event_ns.get(event_type)
        if before is not None and before <= now_ns < before + EVENT_INTERVAL_NS:
            self.counts[f"events_{event_type}_withheld"] += 1
            return False
        state.event_ns[event_type] = now_ns
        return True

    def drain(self) -> RecordPlan:
        """Hand the plan over and begin the next."""
        plan = self.plan
        plan.counters = {name: n for name, n in self.counts.items() if n}
        plan.equipment_logs = [(state.id, state.last_to) for state in self._logged.values()]
        plan.next_position, plan.next_payload = self.position, self.payload
        plan.contract_hash = self._contract_hash
        self.totals.update(plan.counters)
        self.counts.clear()
        self._logged = {}
        self.plan = RecordPlan()
        self.committed()
        for state in self._pending.values():
            state.drained()
        self._in_flight, self._pending = self._pending, {}
        return plan

    def committed(self) -> None:
        """The index answers for the plan drained last."""
        for state in self._in_flight.values():
            state.committed()
        self._in_flight = {}
