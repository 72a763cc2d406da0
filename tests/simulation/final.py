"""The promises that hold once everything is at rest."""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import TYPE_CHECKING

from tests.enrichment.oracle import context_at
from tests.simulation.checkers import STATE_TOPIC, BrokenPromiseError
from tests.simulation.join import HostStore, Joiner
from tests.simulation.plant import BAD_STATUS, Key, Sample
from tests.simulation.world import MS
from uns.enrichment.gaps import FILLED_SILENCE_NS
from uns.enrichment.plan import FLAG_CLOCK_SUSPECT, MAX_NS, STATUS_COUNTERS, GapRow
from uns.runtime.host.intake import quality_of
from uns.sparkplug.datatypes import Value
from uns.sparkplug.transitions import EdgeState

if TYPE_CHECKING:
    from tests.simulation.host import SimulatedHost
    from tests.simulation.run import Simulation

CONTEXTS_CHECKED = 20

__all__ = ["CHECKS", "FINAL_TCK_IDS", "check_at_rest", "is_at_rest"]


def is_at_rest(simulation: Simulation) -> bool:
    """Nothing is waiting at any edge, the host is there, all it received is recorded, every fact is answered."""
    host = simulation.host
    return (
        host.is_online
        and all(
            edge.store.waiting == 0
            and (process := edge.process) is not None
            and process.buffer.is_empty
            and process.session.state is EdgeState.ONLINE
            for edge in simulation.edges
        )
        and host.store.joined == host.store.head
        and simulation.sources.all_answered
    )


def require(condition: object, checker: str, text: str) -> None:
    if not condition:
        raise BrokenPromiseError(checker, "at rest", text)


def edge_equation(simulation: Simulation) -> None:
    """read = reduced + stored + refused; stored = confirmed + waiting (+ dropped, which is 0 here)."""
    for edge in simulation.edges:
        store = edge.store
        require(
            store.read == store.reduced + store.stored + store.refused,
            "edge_equation",
            f"{edge.name}: read {store.read} = {store.reduced} + {store.stored} + {store.refused}",
        )
        require(
            store.stored == store.confirmed + store.waiting + store.dropped,
            "edge_equation",
            f"{edge.name}: stored {store.stored} = {store.confirmed} + {store.waiting} + {store.dropped}",
        )


def all_confirmed(simulation: Simulation) -> None:
    """In the end every stored row is confirmed: no session is stuck."""
    for edge in simulation.edges:
        require(edge.store.waiting == 0, "all_confirmed", f"{edge.name}: {edge.store.waiting} rows wait")


_HOST_TERMS = ("births_recorded", "recorded", "duplicates_dropped", "rejected", "unmapped")


def host_equation(simulation: Simulation) -> None:
    """received = recorded + duplicates + rejected + unmapped, and recorded = resolved + unassigned + unresolved.

    Those of ours, and those that were taken for another vendor's for a while, because somebody forged an NBIRTH.
    """
    store = simulation.host.store
    found = store.log.counters
    counters = {name: found[name] + found[f"foreign_{name}"] for name in _HOST_TERMS}
    received = store.received + counters["births_recorded"]
    parts = [counters[name] for name in ("recorded", "duplicates_dropped", "rejected", "unmapped")]
    require(received == sum(parts), "host_equation", f"received {received} = {parts}")
    statuses = store.log.by_status()
    require(
        counters["recorded"] == statuses.total() == len(store.log.samples),
        "host_equation",
        f"recorded {counters['recorded']}, by status {statuses}, rows {len(store.log.samples)}",
    )
    counted = {status: found[name] for status, name in STATUS_COUNTERS.items()}
    require(counted == {status: statuses[status] for status in counted}, "host_equation", f"{counted} != {statuses}")


def recorded_samples(host: SimulatedHost) -> dict[Key, Sample]:
    """All records by key."""
    log = host.store.log
    return {
        (equipment, metric, time_ns // MS, stored.ordinal): (stored.value, stored.status_code)
        for equipment, metric, time_ns in log.by_key
        for stored in log.at(equipment, metric, time_ns)
    }


def nothing_lost(simulation: Simulation) -> None:
    """Every stored sample is recorded once, as the plant meant it, and nothing else is.

    What a quota dropped may be missing; at level ``broker`` what the broker did not bring over may be, too.
    """
    log, oracle = simulation.host.store.log, simulation.oracle.samples
    for equipment, metric, time_ns in log.by_key:
        for stored in log.at(equipment, metric, time_ns):
            require(stored.quality == quality_of(stored.status_code, None), "nothing_lost", f"quality of {stored}")
    records = recorded_samples(simulation.host)
    if simulation.other is not None:
        others = recorded_samples(simulation.other)
        strange = [key for key, sample in others.items() if oracle.get(key) != sample]
        require(not strange, "nothing_lost", f"wrong at the other host: {strange[:3]}")
    may_miss = oracle if simulation.options.level == "broker" else simulation.oracle.dropped
    missing = [key for key in oracle if key not in records and key not in may_miss]
    require(not missing, "nothing_lost", f"{len(missing)} of {len(oracle)} samples lost, first {missing[:3]}")
    foreign = [key for key in records if key not in oracle]
    require(not foreign, "nothing_lost", f"{len(foreign)} records that nobody stored, first {foreign[:3]}")
    wrong = [key for key, sample in records.items() if oracle[key] != sample]
    require(
        not wrong,
        "nothing_lost",
        f"{len(wrong)} wrong values, first {[(key, oracle[key], records[key]) for key in wrong[:3]]}",
    )


def no_conflict(simulation: Simulation) -> None:
    """No key came with two values; nothing of ours was rejected or unknown."""
    counters = simulation.host.store.log.counters
    strange = {name: counters[name] for name in ("conflicts", "rejected", "unmapped", "clock_suspect")}
    require(not any(strange.values()), "no_conflict", f"{strange}")


def contexts_are_right(simulation: Simulation) -> None:
    """The context of records at their highest revision is what the facts say as of their time (some of them)."""
    store = simulation.host.store
    facts = [fact for _, fact in simulation.sources.facts]
    require(simulation.sources.all_answered, "contexts_are_right", "facts without an answer")
    kinds = {
        (metric.device_id, metric.name): metric.provides
        for edge in simulation.edges
        for metric in edge.plan.metrics
        if metric.provides
    }
    steps = [
        (equipment, metric, kinds[equipment, metric], time_ms * MS, ordinal, str(value))
        for (equipment, metric, time_ms, ordinal), (value, status) in recorded_samples(simulation.host).items()
        if (equipment, metric) in kinds and value is not None and status != BAD_STATUS
    ]
    records = store.log.records()
    for record in random.Random(simulation.seed).sample(records, min(CONTEXTS_CHECKED, len(records))):
        expected = context_at(simulation.tree, facts, steps, record.equipment, record.source_time_ns)
        require(record.context == expected, "contexts_are_right", f"{record}: expected {expected}")


def ticks_are_whole(simulation: Simulation) -> None:
    """Every record is in one tick as it was recorded; each message names the log position of the one before it."""
    log = simulation.host.store.log
    last: dict[str, int] = {}
    told: dict[Key, object] = {}
    for message in log.outbox:
        document = json.loads(message.payload)
        if "log" not in document:
            continue
        equipment, positions = document["equipment"], document["log"]
        require(
            positions["after"] == last.get(equipment, 0) and positions["from"] <= positions["to"],
            "ticks_are_whole",
            f"{message.topic} says {positions}, the one before ended at {last.get(equipment, 0)}",
        )
        last[equipment] = positions["to"]
        samples = document.get("samples")
        for sample in samples if isinstance(samples, list) else ():
            time_ms = round(datetime.fromisoformat(sample["time"]).timestamp() * 1_000)
            key = (equipment, sample["metric"], time_ms, sample.get("ordinal", 0))
            require(key not in told, "ticks_are_whole", f"{key} twice")
            told[key] = sample["value"]
    require(len(told) == len(log.samples), "ticks_are_whole", f"{len(told)} told, {len(log.samples)} recorded")
    for key, shown in told.items():
        value = simulation.oracle.samples[key][0]
        require(str(shown) == str(value), "ticks_are_whole", f"{key}: {shown!r}, stored {value!r}")


def present_values_are_right(simulation: Simulation) -> None:
    """``_pv`` of each metric is its newest record, and is stale where the host does not take its device for alive."""
    shown = simulation.host.shown
    assert simulation.host.process is not None
    topics = simulation.host.process.joiner.enricher.topics
    newest: dict[tuple[str, str], tuple[int, int, Value]] = {}
    for (device_id, metric, time_ms, ordinal), (value, _) in recorded_samples(simulation.host).items():
        newest[device_id, metric] = max(newest.get((device_id, metric), (0, 0, None)), (time_ms, ordinal, value))
    living = alive_metrics(simulation)
    for (device_id, metric), (time_ms, ordinal, value) in newest.items():
        topic = topics.of(device_id).pv[metric]
        require(topic in shown, "present_values_are_right", f"nothing on {topic}")
        document = json.loads(shown[topic])
        found = (round(datetime.fromisoformat(document["time"]).timestamp() * 1_000), document.get("ordinal", 0))
        require(
            found == (time_ms, ordinal) and str(document["value"]) == str(value),
            "present_values_are_right",
            f"{topic} shows {document['value']!r} of {found}, newest is {value!r} of {(time_ms, ordinal)}",
        )
        stale, alive = document.get("quality") == "stale", (device_id, metric) in living
        require(
            stale is not alive,
            "present_values_are_right",
            f"{topic} is {'' if stale else 'not '}stale, its device is {'' if alive else 'not '}alive",
        )


def alive_metrics(simulation: Simulation) -> set[tuple[str, str]]:
    """Metrics of devices that the host takes for alive."""
    process = simulation.host.process
    assert process is not None
    return {
        (metric.device_id, metric.name)
        for edge in simulation.edges
        for metric in edge.plan.metrics
        if (node := process.session.nodes.get(edge.plan.descriptor)) is not None
        and node.online
        and (device := node.devices.get(metric.device_id)) is not None
        and device.online
    }


def state_is_right(simulation: Simulation) -> None:
    """The retained STATE says that the host is online, with the timestamp of its CONNECT."""
    process = simulation.host.process
    retained = simulation.host.broker.retained.get(STATE_TOPIC)
    require(process is not None and process.connection is not None, "state_is_right", "the host is not connected")
    require(retained is not None, "state_is_right", "no retained STATE")
    assert retained is not None
    assert process is not None
    assert process.connection is not None
    assert process.connection.will is not None
    timestamp = json.loads(process.connection.will.payload)["timestamp"]
    require(
        retained.payload == json.dumps({"online": True, "timestamp": timestamp}, separators=(",", ":")).encode(),
        "state_is_right",
        f"retained {retained.payload!r}, this connection is of {timestamp}",
    )


def nodes_are_online(simulation: Simulation) -> None:
    """The host sees every node online, in the session it is in; by a mark at the latest, where marks come to it."""
    if simulation.options.level != "host":
        return
    process = simulation.host.process
    assert process is not None
    for edge in simulation.edges:
        assert edge.process is not None
        node = process.session.nodes.get(edge.plan.descriptor)
        require(
            node is not None and node.online and node.session_id == edge.process.session.session_id,
            "nodes_are_online",
            f"{edge.name}: {node and (node.state, node.session_id)}, is in {edge.process.session.session_id}",
        )
    alive = alive_metrics(simulation)
    for edge in simulation.edges:
        dead = {metric.device_id for metric in edge.plan.metrics if (metric.device_id, metric.name) not in alive}
        require(not dead, "nodes_are_online", f"{edge.name}: {dead} not alive at the host")


# nodes_are_online comes early: who is not known cannot be confirmed either, and this says more.
def gaps_follow_from_the_raw_log(simulation: Simulation) -> None:
    """Whatever crashed while they were made: the gaps are those that one reading of the raw log makes."""
    host = simulation.host
    once = HostStore(messages=host.store.messages, births=host.store.births)
    Joiner(host.tree, once, simulation.world.now_ns).commit(simulation.world.now_ns, fails=False)
    found, expected = ([_told(row) for row in store.log.current_gaps()] for store in (host.store, once))
    require(sorted(found) == sorted(expected), "gaps_follow_from_the_raw_log", f"{found} instead of {expected}")


def gaps_lie_between_samples(simulation: Simulation) -> None:
    """A gap begins and ends with a recorded sample; none has history inside, and none is filled that it left silent."""
    log = simulation.host.store.log
    times: dict[tuple[str, str, str, str], dict[int, bool]] = {}  # by equipment and way: whether it was history
    for row in log.samples:
        if not row[9] & FLAG_CLOCK_SUSPECT:
            payload = log.payloads[row[10]]
            way = times.setdefault((log.series[row[1]][1], payload[1], payload[2], payload[3] or ""), {})
            way[row[2]] = way.get(row[2], False) or bool(payload[7])
    for gap in log.current_gaps():
        way, reason, status, from_ns, to_ns = times[gap[3:7]], gap[7], gap[8], gap[9], gap[10]
        text = f"{reason} at {gap[3:7]} from {from_ns} to {to_ns}: {status}"
        require(from_ns in way, "gaps_lie_between_samples", f"{text}: begins nowhere")
        require(to_ns in way or to_ns == MAX_NS, "gaps_lie_between_samples", f"{text}: ends nowhere")
        if status == "filled":
            require(
                to_ns - from_ns <= FILLED_SILENCE_NS, "gaps_lie_between_samples", f"{text}, in which nothing was read"
            )
        else:
            inside = any(late for time_ns, late in way.items() if from_ns < time_ns < to_ns)
            require(not inside, "gaps_lie_between_samples", f"{text}, with history inside")


def _told(row: GapRow) -> tuple[object, ...]:
    return (*row[3:12], row[12] or 0)


CHECKS = (
    edge_equation,
    nodes_are_online,
    all_confirmed,
    host_equation,
    no_conflict,
    nothing_lost,
    contexts_are_right,
    ticks_are_whole,
    state_is_right,
    present_values_are_right,
    gaps_follow_from_the_raw_log,
    gaps_lie_between_samples,
)


FINAL_TCK_IDS: dict[str, tuple[str, ...]] = {
    "nothing_lost": ("tck-id-topics-ddata-payload", "tck-id-payloads-metric-timestamp-in-UTC"),
    "present_values_are_right": (
        "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
        "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
    ),
    "state_is_right": ("tck-id-intro-sparkplug-host-state", "tck-id-components-ph-state"),
}


def check_at_rest(simulation: Simulation, *, births_may_be_unheard: bool) -> None:
    """Raises :class:`BrokenPromiseError` for the first that does not hold.

    A birth that was the last message of all may be lost without a trace until the node says something more. Reading the
    whole raw log again costs most: once, at the end, shows the same.
    """
    later = {nodes_are_online, gaps_follow_from_the_raw_log} if births_may_be_unheard else set()
    for check in CHECKS:
        if check not in later:
            check(simulation)
