"""How a message changes what is remembered, after the rules have judged it."""

from __future__ import annotations

from uns.doctor.memory import Bounds, DoubtfulDeath, HostMemory, NodeMemory, cost_of, fingerprint
from uns.doctor.reading import RawMetric
from uns.doctor.rules_sessions import is_doubtful
from uns.doctor.rules_structures import Definitions, definitions_of
from uns.doctor.sight import Sight, StateView
from uns.sparkplug.metrics import REBIRTH
from uns.sparkplug.sequences import SEQ_MODULUS

__all__ = ["DEFINITIONS_MAX", "remember_message", "remember_state"]

DEFINITIONS_MAX = 1_000  # templates remembered of one node
_MS = 1_000_000


def remember_message(node: NodeMemory, sight: Sight, payload_bytes: int, bounds: Bounds) -> None:
    """Follow a live message of the node, or a command to it."""
    if sight.kind in {"NCMD", "DCMD"}:
        if sight.kind == "NCMD" and any(_asks(metric) for metric in sight.metrics):
            node.rebirths_asked += 1
            if node.life != "dead" and node.rebirth_asked_ns is None:
                node.rebirth_asked_ns = sight.now_ns
        return
    _traffic(node, sight, payload_bytes)
    match sight.kind:
        case "NBIRTH":
            _node_birth(node, sight, bounds)
        case "NDEATH":
            _node_death(node, sight, bounds)
        case "DBIRTH":
            _step(node, sight)
            node.awaited.discard(sight.device_id or "")
            if sight.device is not None:
                sight.device.life = "alive"
                sight.device.learn(sight.metrics, whole=sight.whole, bounds=bounds)
        case "DDEATH":
            _step(node, sight)
            node.awaited.discard(sight.device_id or "")
            if sight.device is not None:
                sight.device.life = "dead"
                sight.device.forget(bounds)
        case _:
            _step(node, sight)
            node.data_since_birth += 1
            node.data_since_mark += 1
            _values(node, sight)


def _asks(metric: RawMetric) -> bool:
    """Whether a node has to answer: a request that says false, or says it in another field, is the host's fault."""
    held = metric.value
    return metric.name == REBIRTH and held is not None and held.field == "boolean_value" and held.value != 0


def remember_state(host: HostMemory, state: StateView, *, retain: bool, now_ns: int) -> None:
    """Follow a STATE; what the broker kept tells the same, but is no change."""
    host.v3_seen = True
    host.retained_seen |= retain
    if state.legacy:
        host.problem = state.problem
    if state.online is None:
        host.problem = state.problem
        return
    if not retain:
        host.live += 1
        host.changes += host.online is not None and host.online != state.online
        newest = host.online_times[-1] if host.online_times else 0
        host.old_deaths += state.online is False and state.timestamp is not None and state.timestamp < newest
        if state.online and state.timestamp is not None and state.timestamp not in host.online_times:
            host.skew_ms = state.timestamp - now_ns // _MS
    host.online = state.online
    if state.timestamp is not None:
        host.timestamp = state.timestamp
        if state.online and (not host.online_times or host.online_times[-1] != state.timestamp):
            host.online_times.append(state.timestamp)


def _traffic(node: NodeMemory, sight: Sight, payload_bytes: int) -> None:
    node.messages += 1
    node.last_ns = sight.now_ns
    node.payload_bytes_max = max(node.payload_bytes_max, payload_bytes)
    if sight.raw is not None and sight.raw.timestamp is not None and sight.kind != "NDEATH":
        skew = sight.raw.timestamp - sight.now_ns // _MS
        node.skew_ms_max = skew if node.skew_ms_max is None else max(node.skew_ms_max, skew)
        node.skew_ms_min = skew if node.skew_ms_min is None else min(node.skew_ms_min, skew)


def _step(node: NodeMemory, sight: Sight) -> None:
    """A message whose seq cannot be told, or is left out, took one or did not: the next one is not held against it."""
    if sight.raw is None or sight.raw.seq is None:
        node.seq = None
        node.missing.clear()
    elif sight.raw.seq < SEQ_MODULUS:
        node.take_step(sight.raw.seq)


def _node_birth(node: NodeMemory, sight: Sight, bounds: Bounds) -> None:
    reborn = node.life == "alive" and sight.bd_seq == node.bd_seq
    node.awaited = {name for name, device in node.devices.items() if device.life == "alive"} if reborn else set()
    _session_changes(node, sight.bd_seq)
    for device in node.devices.values():
        device.life = "dead"  # until its DBIRTH of this session
        device.forget(bounds)
    node.life = "alive"
    node.own.life = "alive"
    node.own.learn(sight.metrics, whole=sight.whole, bounds=bounds)
    _definitions(node, definitions_of(sight.metrics) if sight.whole else None, bounds)
    node.seq = None if sight.raw is None else sight.raw.seq or 0
    node.missing.clear()
    if sight.bd_seq is not None:
        if not node.bd_seqs or node.bd_seqs[-1] != sight.bd_seq:
            node.bd_seqs.append(sight.bd_seq)
            node.turns.append(sight.bd_seq)
        node.connect_bd_seq = sight.bd_seq
    node.bd_seq = sight.bd_seq
    node.died_since_birth = False
    node.data_since_birth = 0
    node.rebirth_asked_ns = None
    node.nbirths += 1
    node.births.append(sight.now_ns)


def _session_changes(node: NodeMemory, bd_seq: int | None) -> None:
    """A session that was alive and is another one now: its NDEATH may still come."""
    if node.life == "alive" and node.bd_seq is not None and bd_seq not in {None, node.bd_seq}:
        node.unended.append(node.bd_seq)
        node.ended_silently += 1


def _definitions(node: NodeMemory, found: Definitions | None, bounds: Bounds) -> None:
    bounds.names_left += node.definitions_cost
    node.definitions, node.definitions_cost = None, 0
    if found is None:
        return
    cost = sum(cost_of((name, *members, *parameters)) for name, (members, parameters) in found.items())
    if len(found) > DEFINITIONS_MAX or cost > bounds.names_left:
        bounds.definitions_forgotten += len(found)
        return
    bounds.names_left -= cost
    node.definitions, node.definitions_cost = found, cost


def _node_death(node: NodeMemory, sight: Sight, bounds: Bounds) -> None:
    """The late Will of an earlier session takes nobody down; one of a CONNECT without birth says its bdSeq."""
    node.deaths += 1
    now = sight.bd_seq
    if now is not None and now in node.unended:
        node.unended.remove(now)
        node.ended_silently -= 1
    if node.life == "alive" and now is not None and node.bd_seq is not None and now != node.bd_seq:
        if now not in node.bd_seqs:
            if now != node.connect_bd_seq and is_doubtful(now, node.bd_seq):
                node.doubtful = DoubtfulDeath(now, node.bd_seq, sight.number, sight.now_ns)
                return
            node.connect_bd_seq = now
        return
    if node.life == "alive" and node.bd_seq is None and not node.own.names_known:
        node.break_off(bounds)  # its birth was not read: whose death this is cannot be told
        return
    node.life = "dead"
    node.turns.clear()
    node.died_since_birth = True
    node.seq = None
    node.missing.clear()
    node.awaited.clear()
    if now is not None:
        node.connect_bd_seq = now
    node.own.life = "dead"
    for device in node.devices.values():
        device.life = "dead"
        device.forget(bounds)


def _values(node: NodeMemory, sight: Sight) -> None:
    """Count values that are those of before, to see whether a node reports by exception."""
    if sight.device is None or not sight.device.names_known:
        return
    samples, unchanged = node.changes.get(sight.kind, (0, 0))
    for metric in sight.metrics:
        if metric.is_historical or (found := sight.device.find(metric)) is None:
            continue
        value = fingerprint(metric)
        samples += 1
        unchanged += value == found[1].value
        found[1].value = value
    node.changes[sight.kind] = (samples, unchanged)
