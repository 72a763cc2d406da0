"""Every requirement id of Sparkplug 3.0, all 299: which rule grades it from outside, or why nobody can.

A line is: level, id (without ``tck-id-``), the rules that grade it, joined by ``+``, and the message types they are
counted for (none: all that the rules look at). ``-`` in place of a rule says that it cannot be seen, and why. One rule
serves several ids, because the standard says much of it twice.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["LEVEL_OF", "REASONS", "REQUIREMENTS", "Level", "Requirement", "ids_of"]

Level = Literal["MUST", "SHOULD", "MAY"]


class Requirement(msgspec.Struct, frozen=True):
    """One id: its rules, or the reason why there is none."""

    tck_id: str
    level: Level
    rules: tuple[str, ...]
    kinds: tuple[str, ...]
    why_unseen: str = ""


REASONS = {
    "broker": "a property of the broker: `uns broker check` probes it",
    "connect": "CONNECT, its flags and its Will pass between a client and the broker alone",
    "death": "a death that was published and a Will look alike to whoever receives them",
    "device": "whether a device was lost is known to its edge node alone",
    "host_first": "what a host sends first is not told apart: messages do not say which client sent them",
    "host_there": "whether the host was still connected, and its STATE so was false, shows in no message",
    "inside": "what a host does with what it received shows in no message",
    "may": "a permission: it cannot be broken",
    "primary": "which primary host an edge node waits for is in its configuration, in no message",
    "servers": "what a client does at other brokers is not seen at this one",
    "state_will": "the Will of a host shows only when it is sent, and late ones of earlier connections look alike",
    "subscribe": "subscriptions pass between a client and the broker alone",
}

_TABLE = """
SHOULD case-sensitivity-metric-names metrics.folded
SHOULD case-sensitivity-sparkplug-ids ids.folded
MUST   components-ph-state state.birth
MUST   conformance-mqtt-aware-basic - broker
MUST   conformance-mqtt-aware-dbirth-mqtt-retain certificate.there DBIRTH
MUST   conformance-mqtt-aware-dbirth-mqtt-topic certificate.there DBIRTH
MUST   conformance-mqtt-aware-nbirth-mqtt-retain certificate.there NBIRTH
MUST   conformance-mqtt-aware-nbirth-mqtt-topic certificate.there NBIRTH
MAY    conformance-mqtt-aware-ndeath-timestamp - may
MUST   conformance-mqtt-aware-store certificate.there
MUST   conformance-mqtt-qos0 - broker
MUST   conformance-mqtt-qos1 - broker
MUST   conformance-mqtt-retained - broker
MUST   conformance-mqtt-will-messages - broker
MUST   conformance-primary-host state.birth
MUST   host-topic-phid-birth-message - host_first
MUST   host-topic-phid-birth-payload state.birth
MUST   host-topic-phid-birth-payload-timestamp - state_will
MUST   host-topic-phid-birth-qos qos.state_birth
MUST   host-topic-phid-birth-required - host_first
MUST   host-topic-phid-birth-retain state.retained
MUST   host-topic-phid-birth-sub-required - subscribe
MUST   host-topic-phid-birth-topic state.topic
MUST   host-topic-phid-death-payload state.death
MUST   host-topic-phid-death-payload-timestamp-connect - state_will
MUST   host-topic-phid-death-payload-timestamp-disconnect-clean state.death_time
MUST   host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet state.death_time
MUST   host-topic-phid-death-qos qos.state_death
MUST   host-topic-phid-death-required - connect
MUST   host-topic-phid-death-retain state.death_retained
MUST   host-topic-phid-death-topic state.death
MUST   intro-device-id-chars topic.device_id
MUST   intro-device-id-string topic.device_there
MUST   intro-edge-node-id-chars topic.edge_node_id
MUST   intro-edge-node-id-string topic.form
MUST   intro-edge-node-id-uniqueness node.unique
MUST   intro-group-id-chars topic.group_id
MUST   intro-group-id-string topic.form
MUST   intro-sparkplug-host-state state.birth
MUST   message-flow-device-birth-publish-dbirth-match-edge-node-topic birth.node_first
MUST   message-flow-device-birth-publish-dbirth-payload payload.protobuf DBIRTH
MUST   message-flow-device-birth-publish-dbirth-payload-seq seq.next DBIRTH
MUST   message-flow-device-birth-publish-dbirth-qos qos.zero DBIRTH
MUST   message-flow-device-birth-publish-dbirth-retained retain.off DBIRTH
MUST   message-flow-device-birth-publish-dbirth-topic topic.device_there DBIRTH
MUST   message-flow-device-birth-publish-nbirth-wait birth.node_first
MUST   message-flow-device-dcmd-subscribe - subscribe
MUST   message-flow-edge-node-birth-publish-connect - connect
MUST   message-flow-edge-node-birth-publish-nbirth-payload payload.protobuf NBIRTH
MUST   message-flow-edge-node-birth-publish-nbirth-payload-bdSeq bdseq.int64
MUST   message-flow-edge-node-birth-publish-nbirth-payload-seq seq.there NBIRTH
MUST   message-flow-edge-node-birth-publish-nbirth-qos qos.zero NBIRTH
MUST   message-flow-edge-node-birth-publish-nbirth-retained retain.off NBIRTH
MUST   message-flow-edge-node-birth-publish-nbirth-topic topic.device_absent NBIRTH
MUST   message-flow-edge-node-birth-publish-phid-offline - primary
MUST   message-flow-edge-node-birth-publish-phid-wait - primary
MUST   message-flow-edge-node-birth-publish-phid-wait-id - primary
MUST   message-flow-edge-node-birth-publish-phid-wait-online - primary
MUST   message-flow-edge-node-birth-publish-phid-wait-timestamp - primary
MUST   message-flow-edge-node-birth-publish-will-message - connect
MUST   message-flow-edge-node-birth-publish-will-message-payload payload.protobuf NDEATH
MUST   message-flow-edge-node-birth-publish-will-message-payload-bdSeq bdseq.death_int64
MUST   message-flow-edge-node-birth-publish-will-message-qos qos.will
MUST   message-flow-edge-node-birth-publish-will-message-topic topic.device_absent NDEATH
MUST   message-flow-edge-node-birth-publish-will-message-will-retained retain.off NDEATH
MUST   message-flow-edge-node-ncmd-subscribe - subscribe
MUST   message-flow-hid-sparkplug-state-message-delivered - host_there
MUST   message-flow-phid-sparkplug-clean-session-311 - connect
MUST   message-flow-phid-sparkplug-clean-session-50 - connect
MUST   message-flow-phid-sparkplug-state-publish state.birth
MUST   message-flow-phid-sparkplug-state-publish-payload state.birth
MUST   message-flow-phid-sparkplug-state-publish-payload-timestamp - state_will
MUST   message-flow-phid-sparkplug-subscription - subscribe
SHOULD operational-behavior-data-commands-dcmd-metric-name command.in_birth DCMD
MUST   operational-behavior-data-commands-dcmd-metric-value command.fits DCMD
MUST   operational-behavior-data-commands-dcmd-verb command.device_verb
SHOULD operational-behavior-data-commands-ncmd-metric-name command.in_birth NCMD
MUST   operational-behavior-data-commands-ncmd-metric-value command.fits NCMD
MUST   operational-behavior-data-commands-ncmd-rebirth-name command.rebirth_name
MUST   operational-behavior-data-commands-ncmd-rebirth-value command.rebirth_true
MUST   operational-behavior-data-commands-ncmd-rebirth-verb command.rebirth_verb
MUST   operational-behavior-data-commands-ncmd-verb command.node_verb
MUST   operational-behavior-data-commands-rebirth-action-1 rebirth.stops
MUST   operational-behavior-data-commands-rebirth-action-2 rebirth.answered
MUST   operational-behavior-data-commands-rebirth-action-3 bdseq.rebirth
MUST   operational-behavior-data-commands-rebirth-datatype rebirth.boolean
MUST   operational-behavior-data-commands-rebirth-name rebirth.there
MUST   operational-behavior-data-commands-rebirth-name-aliases rebirth.alias
MUST   operational-behavior-data-commands-rebirth-value rebirth.false
MUST   operational-behavior-data-publish-dbirth data.in_birth DDATA
SHOULD operational-behavior-data-publish-dbirth-change data.changes DDATA
MUST   operational-behavior-data-publish-dbirth-order metrics.time_order DBIRTH,DDATA
MUST   operational-behavior-data-publish-dbirth-values birth.value DBIRTH
MUST   operational-behavior-data-publish-nbirth data.in_birth NDATA
SHOULD operational-behavior-data-publish-nbirth-change data.changes NDATA
MUST   operational-behavior-data-publish-nbirth-order metrics.time_order NBIRTH,NDATA
MUST   operational-behavior-data-publish-nbirth-values birth.value NBIRTH
MUST   operational-behavior-device-ddeath - device
MUST   operational-behavior-edge-node-birth-sequence-wait - primary
MUST   operational-behavior-edge-node-intentional-disconnect-ndeath - death
MAY    operational-behavior-edge-node-intentional-disconnect-packet - may
MUST   operational-behavior-edge-node-termination-host-action-ddeath-devices-offline - inside
MUST   operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale - inside
MUST   operational-behavior-edge-node-termination-host-action-ndeath-devices-offline - inside
MUST   operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale - inside
MUST   operational-behavior-edge-node-termination-host-action-ndeath-node-offline - inside
MUST   operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale - inside
MUST   operational-behavior-edge-node-termination-host-offline - primary
MUST   operational-behavior-edge-node-termination-host-offline-reconnect - servers
MUST   operational-behavior-edge-node-termination-host-offline-timestamp - primary
MUST   operational-behavior-host-application-connect-birth - host_first
MUST   operational-behavior-host-application-connect-birth-payload state.birth
MUST   operational-behavior-host-application-connect-birth-qos qos.state_birth
MUST   operational-behavior-host-application-connect-birth-retained state.retained
MUST   operational-behavior-host-application-connect-birth-topic state.topic
MUST   operational-behavior-host-application-connect-will - connect
MUST   operational-behavior-host-application-connect-will-payload state.death
MUST   operational-behavior-host-application-connect-will-qos qos.state_death
MUST   operational-behavior-host-application-connect-will-retained state.death_retained
MUST   operational-behavior-host-application-connect-will-topic state.death
MUST   operational-behavior-host-application-death-payload state.death
MUST   operational-behavior-host-application-death-qos qos.state_death
MUST   operational-behavior-host-application-death-retained state.death_retained
MUST   operational-behavior-host-application-death-topic state.death
MAY    operational-behavior-host-application-disconnect-intentional - may
MUST   operational-behavior-host-application-host-id host.unique
MUST   operational-behavior-host-application-multi-server-timestamp - state_will
MUST   operational-behavior-host-application-termination - death
SHOULD operational-behavior-host-reordering-param - inside
MUST   operational-behavior-host-reordering-rebirth - inside
MUST   operational-behavior-host-reordering-start - inside
MUST   operational-behavior-host-reordering-success - inside
MUST   operational-behavior-primary-application-state-with-multiple-servers-single-server - servers
MUST   operational-behavior-primary-application-state-with-multiple-servers-state - host_first
MUST   operational-behavior-primary-application-state-with-multiple-servers-state-subs - subscribe
MUST   operational-behavior-primary-application-state-with-multiple-servers-walk - servers
MUST   payloads-alias-birth-requirement alias.named
MUST   payloads-alias-data-cmd-requirement alias.alone
MUST   payloads-alias-uniqueness alias.unique
MUST   payloads-dataset-column-num-headers dataset.headers
MUST   payloads-dataset-column-size dataset.count
MUST   payloads-dataset-parameter-type-req dataset.types
MUST   payloads-dataset-types-def dataset.type_number
MUST   payloads-dataset-types-num dataset.headers
MUST   payloads-dataset-types-type dataset.type_number
MUST   payloads-dataset-types-value dataset.type_known
MUST   payloads-dbirth-order birth.together
MUST   payloads-dbirth-qos qos.zero DBIRTH
MUST   payloads-dbirth-retain retain.off DBIRTH
MUST   payloads-dbirth-seq seq.there DBIRTH
MUST   payloads-dbirth-seq-inc seq.next DBIRTH
MUST   payloads-dbirth-timestamp payload.timestamp DBIRTH
MUST   payloads-dcmd-qos qos.zero DCMD
MUST   payloads-dcmd-retain retain.off DCMD
MUST   payloads-dcmd-seq seq.absent DCMD
MUST   payloads-dcmd-timestamp payload.timestamp DCMD
MUST   payloads-ddata-order birth.first DDATA
MUST   payloads-ddata-qos qos.zero DDATA
MUST   payloads-ddata-retain retain.off DDATA
MUST   payloads-ddata-seq seq.there DDATA
MUST   payloads-ddata-seq-inc seq.next DDATA
MUST   payloads-ddata-timestamp payload.timestamp DDATA
MUST   payloads-ddeath-seq seq.there DDEATH
MUST   payloads-ddeath-seq-inc seq.next DDEATH
MUST   payloads-ddeath-seq-number seq.there DDEATH
MUST   payloads-ddeath-timestamp payload.timestamp DDEATH
SHOULD payloads-metric-datatype-not-req datatype.absent+datatype.command
MUST   payloads-metric-datatype-req birth.datatype
MUST   payloads-metric-datatype-value datatype.known
MUST   payloads-metric-datatype-value-type datatype.number
MUST   payloads-metric-propertyvalue-type-req properties.type_there
MUST   payloads-metric-propertyvalue-type-type properties.type_number
MUST   payloads-metric-propertyvalue-type-value properties.type_known
MUST   payloads-metric-timestamp-in-UTC metric.timestamp_ms
MUST   payloads-name-birth-data-requirement metric.timestamp
MAY    payloads-name-cmd-requirement - may
MUST   payloads-name-requirement metric.named
MUST   payloads-nbirth-bdseq bdseq.there
MUST   payloads-nbirth-bdseq-repeat bdseq.death+bdseq.rebirth
MUST   payloads-nbirth-edge-node-descriptor node.unique
MUST   payloads-nbirth-qos qos.zero NBIRTH
MUST   payloads-nbirth-rebirth-req rebirth.metric
MUST   payloads-nbirth-retain retain.off NBIRTH
MUST   payloads-nbirth-seq seq.there NBIRTH
MUST   payloads-nbirth-timestamp payload.timestamp NBIRTH
MUST   payloads-ncmd-qos qos.zero NCMD
MUST   payloads-ncmd-retain retain.off NCMD
MUST   payloads-ncmd-seq seq.absent NCMD
MUST   payloads-ncmd-timestamp payload.timestamp NCMD
MUST   payloads-ndata-order birth.first NDATA
MUST   payloads-ndata-qos qos.zero NDATA
MUST   payloads-ndata-retain retain.off NDATA
MUST   payloads-ndata-seq seq.there NDATA
MUST   payloads-ndata-seq-inc seq.next NDATA
MUST   payloads-ndata-timestamp payload.timestamp NDATA
MUST   payloads-ndeath-bdseq bdseq.death
MUST   payloads-ndeath-seq seq.absent NDEATH
MUST   payloads-ndeath-will-message - connect
SHOULD payloads-ndeath-will-message-publisher - death
MUST   payloads-ndeath-will-message-publisher-disconnect-mqtt311 - death
MUST   payloads-ndeath-will-message-publisher-disconnect-mqtt50 - connect
MUST   payloads-ndeath-will-message-qos qos.will
MUST   payloads-ndeath-will-message-retain retain.off NDEATH
MUST   payloads-propertyset-keys-array-size properties.length
MUST   payloads-propertyset-quality-value-type quality.type
MUST   payloads-propertyset-quality-value-value quality.value
MUST   payloads-propertyset-values-array-size properties.length
MUST   payloads-sequence-num-always-included seq.there
MUST   payloads-sequence-num-incrementing seq.next
MUST   payloads-sequence-num-req-nbirth seq.there NBIRTH
MUST   payloads-state-birth qos.state_birth+state.retained
MUST   payloads-state-birth-payload state.birth
MUST   payloads-state-subscribe - subscribe
MUST   payloads-state-will-message state.death
MUST   payloads-state-will-message-payload state.death
MUST   payloads-state-will-message-qos qos.state_death
MUST   payloads-state-will-message-retain state.death_retained
MUST   payloads-template-dataset-value dataset.cells
MUST   payloads-template-definition-is-definition template.definition_flag
MUST   payloads-template-definition-members template.members
MUST   payloads-template-definition-nbirth template.defined
MUST   payloads-template-definition-nbirth-only template.nbirth_only
MUST   payloads-template-definition-parameters template.parameters
MAY    payloads-template-definition-parameters-default - may
MUST   payloads-template-definition-ref template.definition_ref
MUST   payloads-template-instance-is-definition template.instance_flag
MUST   payloads-template-instance-members template.members
MUST   payloads-template-instance-members-birth template.members_all
MAY    payloads-template-instance-members-data - may
MAY    payloads-template-instance-parameters - may
MUST   payloads-template-instance-ref template.instance_ref
MUST   payloads-template-is-definition template.flag
MUST   payloads-template-is-definition-definition template.definition_flag
MUST   payloads-template-is-definition-instance template.instance_flag
MUST   payloads-template-parameter-name-required parameter.name
MUST   payloads-template-parameter-name-type parameter.name_text
MUST   payloads-template-parameter-type-req parameter.type_there
MUST   payloads-template-parameter-type-value parameter.type_known
MUST   payloads-template-parameter-value parameter.value
MUST   payloads-template-parameter-value-type parameter.type_number
MUST   payloads-template-ref-definition template.definition_ref
MUST   payloads-template-ref-instance template.instance_ref
MUST   payloads-template-version template.version
MUST   payloads-timestamp-in-UTC payload.timestamp_ms
MUST   principles-birth-certificates-order birth.first
MUST   principles-persistence-clean-session-311 - connect
MUST   principles-persistence-clean-session-50 - connect
SHOULD principles-rbe-recommended data.changes
MUST   topic-structure topic.form
MUST   topic-structure-namespace-a topic.namespace
MUST   topic-structure-namespace-device-id-associated-message-types topic.device_there
MUST   topic-structure-namespace-device-id-non-associated-message-types topic.device_absent
MAY    topic-structure-namespace-duplicate-device-id-across-edge-node - may
MUST   topic-structure-namespace-unique-device-id device.unique
MUST   topic-structure-namespace-unique-edge-node-descriptor node.unique
MUST   topic-structure-namespace-valid-device-id topic.device_id
MUST   topic-structure-namespace-valid-edge-node-id topic.edge_node_id
MUST   topic-structure-namespace-valid-group-id topic.group_id
MUST   topics-dbirth-metric-reqs data.in_birth DDATA
MUST   topics-dbirth-metrics birth.complete DBIRTH
MUST   topics-dbirth-mqtt qos.zero+retain.off DBIRTH
MUST   topics-dbirth-seq seq.next DBIRTH
MUST   topics-dbirth-timestamp payload.timestamp DBIRTH
MUST   topics-dbirth-topic topic.device_there DBIRTH
MUST   topics-dcmd-mqtt qos.zero+retain.off DCMD
MUST   topics-dcmd-payload data.something DCMD
MUST   topics-dcmd-timestamp payload.timestamp DCMD
MUST   topics-dcmd-topic topic.device_there DCMD
MUST   topics-ddata-mqtt qos.zero+retain.off DDATA
MUST   topics-ddata-payload data.something DDATA
MUST   topics-ddata-seq-num seq.next DDATA
MUST   topics-ddata-timestamp payload.timestamp DDATA
MUST   topics-ddata-topic topic.device_there DDATA
MUST   topics-ddeath-mqtt qos.zero+retain.off DDEATH
MUST   topics-ddeath-seq-num seq.next DDEATH
MUST   topics-ddeath-topic topic.device_there DDEATH
MUST   topics-nbirth-bdseq-included bdseq.there
MUST   topics-nbirth-bdseq-increment bdseq.grows+bdseq.rebirth
MUST   topics-nbirth-bdseq-matching bdseq.death
MUST   topics-nbirth-metric-reqs data.in_birth NDATA
MUST   topics-nbirth-metrics birth.complete NBIRTH
MUST   topics-nbirth-mqtt qos.zero+retain.off NBIRTH
MUST   topics-nbirth-rebirth-metric rebirth.metric
MUST   topics-nbirth-seq-num seq.zero
MUST   topics-nbirth-templates template.defined
MUST   topics-nbirth-timestamp payload.timestamp NBIRTH
MUST   topics-nbirth-topic topic.device_absent NBIRTH
MUST   topics-ncmd-mqtt qos.zero+retain.off NCMD
MUST   topics-ncmd-payload data.something NCMD
MUST   topics-ncmd-timestamp payload.timestamp NCMD
MUST   topics-ncmd-topic topic.device_absent NCMD
MUST   topics-ndata-mqtt qos.zero+retain.off NDATA
MUST   topics-ndata-payload data.something NDATA
MUST   topics-ndata-seq-num seq.next NDATA
MUST   topics-ndata-timestamp payload.timestamp NDATA
MUST   topics-ndata-topic topic.device_absent NDATA
MUST   topics-ndeath-payload death.metrics
MUST   topics-ndeath-seq seq.absent NDEATH
MUST   topics-ndeath-topic topic.device_absent NDEATH
"""


def _parse(line: str) -> Requirement:
    level, name, rule, *kinds = line.split()
    listed = tuple(kinds[0].split(",")) if kinds else ()
    why = REASONS[listed[0]] if rule == "-" else ""
    found: Level = "MUST" if level == "MUST" else "SHOULD" if level == "SHOULD" else "MAY"
    rules = () if rule == "-" else tuple(rule.split("+"))
    return Requirement(f"tck-id-{name}", found, rules, () if why else listed, why)


REQUIREMENTS: tuple[Requirement, ...] = tuple(_parse(line) for line in _TABLE.strip().splitlines())


def _levels() -> dict[str, Level]:
    found: dict[str, Level] = {}
    for requirement in REQUIREMENTS:
        for rule in requirement.rules:
            if requirement.level == "MUST" or rule not in found:
                found[rule] = requirement.level
    return found


def _ids() -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for requirement in REQUIREMENTS:
        for rule in requirement.rules:
            for kind in requirement.kinds or ("",):
                found[rule, kind] = (*found.get((rule, kind), ()), requirement.tck_id)
    return found


LEVEL_OF: dict[str, Level] = _levels()  # of a rule: that of the strictest id that it grades
_IDS = _ids()


def ids_of(rule: str, kind: str) -> tuple[str, ...]:
    """The ids that a message of this type breaks, or keeps, by this rule."""
    return tuple(sorted({*_IDS.get((rule, kind), ()), *_IDS.get((rule, ""), ())}))
