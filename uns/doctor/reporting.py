"""From what the grader holds to the report: verdicts per id, subjects worst first, notes on the health of each node."""

from __future__ import annotations

from typing import Literal

from uns.doctor.grader import UNCONFIRMED_S, Grader
from uns.doctor.memory import HostMemory, NodeMemory
from uns.doctor.report import (
    Finding,
    HostReport,
    NodeReport,
    Report,
    RequirementReport,
    SubjectReport,
    Totals,
    TrafficReport,
    Visible,
    moment,
    printable,
)
from uns.doctor.requirements import REQUIREMENTS, Requirement

__all__ = ["CLOCK_AHEAD_MS_MAX", "CLOCK_BEHIND_MS_MAX", "SILENT_S", "STORM_BIRTHS", "STORM_S", "build_report"]

STORM_BIRTHS = 5  # NBIRTHs of one node …
STORM_S = 60  # … within so many seconds
SILENT_S = 60
CLOCK_AHEAD_MS_MAX = 2_000
CLOCK_BEHIND_MS_MAX = 5_000
_S = 1_000_000_000
_QOS_UNSEEN = "every message came at QoS 1 or more: this broker may raise the QoS; `uns broker check` tells"
_QOS_LOWERED = "every message came at QoS 0: this broker may lower the QoS; `uns broker check` tells"
_RETAIN_UNSEEN = (
    "live messages come without the retain flag (MQTT 3.1.1), and the broker was not asked again what it keeps"
)
_STATES: dict[str, Literal["online", "offline", "unknown"]] = {"alive": "online", "dead": "offline"}


def build_report(grader: Grader, *, now_ns: int, broker: str = "") -> Report:
    """What is to be said now. :meth:`Grader.finish` comes before the last one."""
    hidden = _hidden_rules(grader)
    findings = [finding for finding in grader.verdicts.findings.values() if finding.rule not in hidden]
    subjects = _subjects(grader, findings)
    musts = sum(finding.level == "MUST" for finding in findings)
    requirements = [_requirement(grader, requirement, hidden) for requirement in REQUIREMENTS]
    seconds = max((now_ns - grader.began_ns) / _S, 0.001)
    verdict: Literal["ok", "warnings", "broken", "nothing_seen"] = "ok"
    if musts:
        verdict = "broken"
    elif findings:
        verdict = "warnings"
    elif not grader.messages and not grader.retained:
        verdict = "nothing_seen"
    return Report(
        broker=broker,
        began=moment(grader.began_ns),
        ended=moment(now_ns),
        seconds=round(seconds, 3),
        verdict=verdict,
        totals=_totals(requirements),
        subjects=subjects,
        nodes=_nodes(grader, subjects, now_ns, seconds),
        hosts=[_host(host, looked_again=grader.looked_again) for _, host in sorted(grader.hosts.items())],
        traffic=_traffic(grader, seconds),
        notes=_notes(grader),
        requirements=requirements,
    )


# ── requirements ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _hidden_rules(grader: Grader) -> dict[str, str]:
    """Rules whose outcomes prove nothing at this broker, with the reason."""
    hidden = {}
    if not grader.qos_0_seen:
        hidden["qos.zero"] = _QOS_UNSEEN
        hidden["qos.will"] = _QOS_UNSEEN
    if not grader.qos_1_seen:
        hidden["qos.state_birth"] = hidden["qos.state_death"] = _QOS_LOWERED
    if not grader.messages and not grader.retained:
        hidden = {}
    return hidden


def _requirement(grader: Grader, requirement: Requirement, hidden: dict[str, str]) -> RequirementReport:
    if not requirement.rules:
        return RequirementReport(requirement.tck_id, requirement.level, "not_visible", 0, 0, requirement.why_unseen)
    broken = 0
    kept: list[int] = []
    why = ""
    for rule in requirement.rules:
        if rule in hidden:
            why = hidden[rule]
            kept.append(0)
            continue
        tallies = [
            tally
            for (key, kind), tally in grader.verdicts.tallies.items()
            if key == rule and (not requirement.kinds or kind in requirement.kinds)
        ]
        broken += sum(tally.broken for tally in tallies)
        kept.append(sum(tally.ok for tally in tallies))
        if rule == "retain.off" and not grader.looked_again:
            why = why or _RETAIN_UNSEEN
    verdict: Visible = "not_seen"
    if broken:
        verdict = "broken"
    elif why:
        verdict = "not_visible"
    elif min(kept):
        verdict = "ok"
    return RequirementReport(
        requirement.tck_id, requirement.level, verdict, min(kept), broken, why if verdict == "not_visible" else ""
    )


def _totals(requirements: list[RequirementReport]) -> Totals:
    def count(verdict: str) -> int:
        return sum(requirement.verdict == verdict for requirement in requirements)

    must = sum(r.verdict == "broken" and r.level == "MUST" for r in requirements)
    return Totals(count("ok"), must, count("broken") - must, count("not_seen"), count("not_visible"))


# ── subjects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _subjects(grader: Grader, findings: list[Finding]) -> list[SubjectReport]:
    """Worst first: by broken MUSTs, then SHOULDs, then by name."""
    by_subject: dict[str, list[Finding]] = {}
    for finding in findings:
        by_subject.setdefault(finding.subject, []).append(finding)
    made = []
    for subject, listed in by_subject.items():
        listed.sort(key=lambda finding: (finding.level != "MUST", finding.rule, finding.message_type))
        musts = sum(finding.level == "MUST" for finding in listed)
        tally = grader.verdicts.subjects.get(subject)
        made.append(SubjectReport(subject, musts, len(listed) - musts, tally.ok if tally else 0, listed))
    return sorted(made, key=lambda report: (-report.musts, -report.shoulds, report.subject))


def _nodes(grader: Grader, subjects: list[SubjectReport], now_ns: int, seconds: float) -> list[NodeReport]:
    rank = {report.subject: place for place, report in enumerate(subjects)}
    made = [_node(node, now_ns, seconds) for node in grader.nodes.values()]
    return sorted(made, key=lambda node: (rank.get(node.edge_node, len(rank)), not node.notes, node.edge_node))


def _node(node: NodeMemory, now_ns: int, seconds: float) -> NodeReport:
    return NodeReport(
        edge_node=printable(str(node.descriptor)),
        state=_STATES.get(node.life, "unknown"),
        devices_online=sum(device.life == "alive" for device in node.devices.values()),
        devices=len(node.devices),
        messages=node.messages,
        messages_per_second=round(node.messages / seconds, 2),
        payload_bytes_max=node.payload_bytes_max,
        births=node.nbirths,
        deaths=node.deaths,
        rebirth_requests=node.rebirths_asked,
        seq_gaps=node.gaps,
        messages_missing=max(node.missed_messages, 0),
        seq_repeated=node.again,
        out_of_order=node.late,
        clock_ahead_ms=node.skew_ms_max,
        silent_s=round(max(now_ns - node.last_ns, 0) / _S, 1),
        marks=node.marks,
        confirms=node.confirms,
        notes=_node_notes(node, now_ns),
    )


def _node_notes(node: NodeMemory, now_ns: int) -> list[str]:
    notes = []
    if (births := _storm(node)) is not None:
        notes.append(
            f"rebirth storm: {births} NBIRTHs within {STORM_S} s, {node.rebirths_asked} of them asked for: look for "
            "two gateways with one name, for several hosts that ask, and for a metric that is in no birth"
        )
    if node.life == "alive" and now_ns - node.last_ns > SILENT_S * _S:
        notes.append(f"silent for {(now_ns - node.last_ns) // _S} s: its values are stale unless nothing changes")
    if node.life == "unknown" and node.messages:
        notes.append(_unborn(node))
    notes += _session_notes(node)
    if node.gaps:
        notes.append(
            f"{max(node.missed_messages, 0)} messages missing in {node.gaps} gaps of seq: lost before they came here"
        )
    if node.again > node.gaps and node.again > 1:
        notes.append(f"{node.again} messages with the seq of the one before: sent twice, or two senders")
    if node.skew_ms_max is not None:
        if node.skew_ms_max > CLOCK_AHEAD_MS_MAX:
            notes.append(f"its clock is {node.skew_ms_max / 1000:.1f} s ahead of ours: set both by NTP")
        elif node.skew_ms_max < -CLOCK_BEHIND_MS_MAX:
            notes.append(f"its clock is {-node.skew_ms_max / 1000:.1f} s behind ours, or its messages are late")
    return [*notes, *_delivery_notes(node, now_ns)]


def _session_notes(node: NodeMemory) -> list[str]:
    notes = []
    if node.ended_silently > 0:
        notes.append(
            f"{node.ended_silently} sessions ended and no NDEATH with their bdSeq came: no Will, DISCONNECT without an "
            "NDEATH before it, or bdSeq raised on a rebirth"
        )
    if node.doubtful is not None:
        notes.append(
            f"an NDEATH of bdSeq {node.doubtful.bd_seq} came to the session of bdSeq {node.doubtful.born_as}: a late "
            "Will, or its own death with a number that no host matches; nothing came since"
        )
    if node.cleared:
        notes.append(f"{node.cleared} empty messages on its topics: somebody deletes what the broker keeps")
    return notes


def _unborn(node: NodeMemory) -> str:
    if node.rebirths_asked:
        return (
            f"its births were before this watch, and it answered none of {node.rebirths_asked} rebirth requests: it "
            "does not know them, or the broker's access list keeps NCMD from it"
        )
    return "its births were before this watch: `uns doctor --rebirth` asks for them"


def _storm(node: NodeMemory) -> int | None:
    times = list(node.births)
    most = 0
    for place, first in enumerate(times):
        most = max(most, sum(time - first <= STORM_S * _S for time in times[place:]))
    return most if most >= STORM_BIRTHS else None


def _delivery_notes(node: NodeMemory, now_ns: int) -> list[str]:
    """Our own gateways: what their marks and the answers tell of the broker's access list."""
    if node.marks_without_data:
        return [
            (
                "its marks arrive and the DATA that they count does not: the broker's ACL denies "
                f"spBv1.0/{node.descriptor.group_id}/NDATA|DDATA/{node.descriptor.edge_node_id}, to it or to us"
            )
        ]
    if node.refusals:
        return [f"{node.refusals} of its marks were refused by the host: DATA is lost on the way to it"]
    waiting = node.first_unconfirmed_ns
    if waiting is not None and now_ns - waiting > UNCONFIRMED_S * _S:
        return [
            (
                f"its marks are not answered for {(now_ns - waiting) // _S} s: is `uns host run` alive, and may it "
                f"write uns1/_confirm/{node.descriptor}? Its values wait in its store"
            )
        ]
    return []


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _host(host: HostMemory, *, looked_again: bool) -> HostReport:
    notes = []
    if host.legacy:
        notes.append(f"also speaks version 2.2: STATE/{host.host_id} says {host.legacy!r}")
    if host.problem:
        notes.append(f"its newest STATE that is none: {host.problem}")
    if host.changes > 2:
        notes.append(f"went online and offline {host.changes} times: edge nodes with this primary host follow it")
    if looked_again and host.v3_seen and not host.retained_seen:
        notes.append("the broker keeps no STATE of it: edge nodes that connect later wait for it")
    if host.old_deaths:
        notes.append(
            f"{host.old_deaths} deaths of it were older than its newest birth: late Wills of earlier connections, or "
            "Will and birth differ in their timestamp; edge nodes ignore them"
        )
    state: Literal["online", "offline", "unknown"] = "unknown"
    if host.online is not None:
        state = "online" if host.online else "offline"
    return HostReport(
        printable(host.host_id), state, host.timestamp, host.changes, host.retained_seen, [printable(n) for n in notes]
    )


def _traffic(grader: Grader, seconds: float) -> TrafficReport:
    return TrafficReport(
        messages=grader.messages,
        retained=grader.retained,
        cleared=grader.cleared,
        bytes=grader.bytes,
        messages_per_second=round(grader.messages / seconds, 2),
        payload_bytes_max=grader.payload_bytes_max,
        data_metrics_unread=grader.data_metrics_unread,
        births_unread=grader.births_unread,
        payloads_too_large=grader.payloads_too_large,
        nodes_not_remembered=grader.nodes_not_remembered,
        devices_not_remembered=grader.bounds.devices_forgotten,
        names_not_remembered=grader.bounds.names_forgotten + grader.bounds.definitions_forgotten,
        topics_too_long=grader.topics_too_long,
        findings_not_kept=grader.verdicts.findings_not_kept,
        interruptions=grader.interruptions,
        sparkplug_aware_broker=grader.aware,
    )


def _notes(grader: Grader) -> list[str]:
    notes = []
    if not grader.messages and not grader.retained:
        notes.append(
            "nothing came, live or kept: no node is there, or an access list hides spBv1.0/# from this user: over MQTT "
            "3.1.1 a broker grants the subscription and then delivers nothing. Try a user who is known to read, or "
            "give this one `topic read spBv1.0/#`"
        )
    elif not grader.nodes:
        notes.append(
            "no edge node came, though other messages did: an access list may hide spBv1.0/+/+/# from this user"
        )
    elif not grader.messages:
        notes.append("nothing live came: all that is told here is what the broker kept from before")
    if grader.cleared:
        notes.append(f"{grader.cleared} empty messages, which delete what the broker keeps, were not graded")
    if grader.interruptions:
        notes.append(f"the connection was lost {grader.interruptions} times; what came meanwhile was not seen")
    if grader.data_metrics_unread:
        notes.append(f"{grader.data_metrics_unread} metrics of DATA came faster than they are read; seq was graded")
    if grader.births_unread:
        notes.append(f"{grader.births_unread} births came faster than they are read; seq was graded")
    if grader.nodes_not_remembered or grader.bounds.names_forgotten or grader.verdicts.findings_not_kept:
        notes.append("more nodes, names or findings than are remembered: see traffic; watch a part with --group")
    return notes
