"""Ways to break what holds once everything is at rest; as in :mod:`tests.simulation.plants`."""

from __future__ import annotations

import tests.simulation.edge as simulated_edge
import uns.enrichment.pipeline as pipeline_module
from tests.enrichment.memory_log import MemoryLog
from tests.simulation import faults
from tests.simulation.join import Joiner
from tests.simulation.plants import only, wrong_payload
from uns.context.facts import FactAnswer
from uns.context.times import MAX_NS
from uns.enrichment.contexts import Contexts
from uns.enrichment.gaps import GapBook
from uns.enrichment.pipeline import Enricher
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession

__all__ = ["PLANTED_AT_REST"]


def reductions_not_counted(patch):
    commit = simulated_edge.EdgeStore.commit

    def careless(self, rows, deletions, **options):
        rows.reduced = 0
        return commit(self, rows, deletions, **options)

    patch.setattr(simulated_edge.EdgeStore, "commit", careless)


def drops_not_counted(patch):
    commit = simulated_edge.EdgeStore.commit

    def careless(self, rows, deletions, *, rows_max=None):
        found = commit(self, rows, deletions, rows_max=20)
        self.dropped = 0
        return found

    patch.setattr(simulated_edge.EdgeStore, "commit", careless)


def a_tick_twice(patch):
    apply = MemoryLog.apply

    def repeating(self, plan):
        apply(self, plan)
        self.outbox += [message for message in plan.outbox if "/_data/" in message.topic][:1]

    patch.setattr(MemoryLog, "apply", repeating)


def present_values_that_a_restart_forgets(patch):
    only(patch, faults.host_crash)
    patch.setattr(pipeline_module, "restore", lambda series, sample: None)


def deaths_that_no_birth_heals(patch):
    only(patch, faults.edge_cut, faults.edge_crash)
    patch.setattr(Enricher, "_receive_oddities", lambda self, state, batch, found, limits, now_ns: None)


def duplicates_not_counted(patch):
    apply = MemoryLog.apply

    def careless(self, plan):
        plan.counters.pop("duplicates_dropped", None)
        apply(self, plan)

    patch.setattr(MemoryLog, "apply", careless)


def history_that_differs(patch):
    batches_of = simulated_edge.batches_of

    def falsified(*arguments, is_historical):
        for device_id, batch in batches_of(*arguments, is_historical=is_historical):
            if is_historical:
                batch.values = [value + 1 if type(value) is int and value > 0 else value for value in batch.values]
            yield device_id, batch

    patch.setattr(simulated_edge, "batches_of", falsified)


def a_raw_log_that_forgets(patch):
    only(patch, faults.host_crash, faults.record_log_full)
    load = Joiner.load

    def forgetful(self, now_ns):
        load(self, now_ns)
        del self.waiting[:3]

    patch.setattr(Joiner, "load", forgetful)


def a_codec_that_rounds(patch):
    def change(payload):
        for metric in payload.metrics:
            if metric.HasField("double_value"):
                metric.double_value = int(metric.double_value)

    wrong_payload(patch, "encode_data", change)
    wrong_payload(patch, "encode_birth", change)


def old_births_after_a_reconnect(patch):
    """DATA decoded with births of a session that is over: silently wrong values (design 8.6)."""
    receive_subscribed = HostSession.receive_subscribed

    def subscribed(self, now_ns):
        receive_subscribed(self, now_ns)
        for edge_node, node in list(self.nodes.items()):
            self.name_session(edge_node, node.session_id, now_ns)

    def alias(self, device_id, name, datatype):  # the session keeps those of two sessions apart, too
        return self._aliases.setdefault((device_id, name, datatype), len(self._aliases) + 1)

    patch.setattr(HostSession, "receive_subscribed", subscribed)
    patch.setattr(EdgeNodeSession, "_alias", alias)
    only(patch, faults.host_crash, faults.edge_crash, faults.edge_crash)


def facts_that_are_answered_and_forgotten(patch):
    receive_fact = Enricher.receive_fact

    def forgetful(self, fact, now_ns, **options):
        if fact.source_rev == "2":
            return FactAnswer(id=fact.id, source_rev=fact.source_rev, accepted=True, rev=2)
        return receive_fact(self, fact, now_ns, **options)

    patch.setattr(Enricher, "receive_fact", forgetful)


def late_facts_that_change_nothing(patch):
    patch.setattr(Contexts, "_revise", lambda self, state, windows, reason: None)


def gaps_that_a_restart_forgets(patch):
    patch.setattr(GapBook, "load", lambda _book, _ways, _gaps: None)


def history_that_fills_no_gap(patch):
    patch.setattr(GapBook, "_fill", lambda _book, _way, _times_ns: None)


def history_that_fills_whatever_it_touches(patch):
    patch.setattr("uns.enrichment.gaps.FILLED_SILENCE_NS", MAX_NS)


PLANTED_AT_REST = [
    (reductions_not_counted, "edge_equation"),
    (drops_not_counted, "edge_equation"),
    (a_tick_twice, "ticks_are_whole"),
    (present_values_that_a_restart_forgets, "present_values_are_right"),
    (deaths_that_no_birth_heals, "present_values_are_right"),
    (duplicates_not_counted, "host_equation"),
    (history_that_differs, "no_conflict"),
    (a_raw_log_that_forgets, "host_equation"),
    (a_codec_that_rounds, "nothing_lost"),
    (old_births_after_a_reconnect, "no_conflict"),
    (facts_that_are_answered_and_forgotten, "contexts_are_right"),
    (late_facts_that_change_nothing, "contexts_are_right"),
    (gaps_that_a_restart_forgets, "gaps_follow_from_the_raw_log"),
    (history_that_fills_no_gap, "gaps_lie_between_samples"),
    (history_that_fills_whatever_it_touches, "gaps_lie_between_samples"),
]
