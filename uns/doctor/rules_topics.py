"""Rules about topics, QoS and retain."""

from __future__ import annotations

from uns.doctor.sight import PAYLOADS, STATE, TOPIC, Check, Outcome, Rule, Sight

__all__ = ["TOPIC_RULES"]

_FORBIDDEN = frozenset("+#\x00")
_NODE = ("NBIRTH", "NDATA", "NDEATH", "NCMD")
_DEVICE = ("DBIRTH", "DDATA", "DDEATH", "DCMD")
_ALL = (*PAYLOADS, STATE, TOPIC)
_QOS_0 = (*_DEVICE, "NBIRTH", "NDATA", "NCMD")


def _namespace(sight: Sight) -> Outcome:
    return True if sight.levels[0] == "spBv1.0" else f"namespace {sight.levels[0]!r}"


def _form(sight: Sight) -> Outcome:
    if sight.kind != TOPIC or sight.levels[0] != "spBv1.0":
        return True if sight.kind != TOPIC else None
    levels = sight.levels
    if not all(levels):
        return "an empty level"
    kind = levels[2] if len(levels) > 2 else ""
    if kind in _NODE or kind in _DEVICE:
        return None if len(levels) in {4, 5} else f"{len(levels)} levels"
    if len(levels) > 1 and levels[1] == STATE:
        return f"STATE with {len(levels)} levels" if len(levels) != 3 else None
    return f"message type {kind!r}"


def _device_level_there(sight: Sight) -> Outcome:
    if sight.kind in _DEVICE:
        return True
    return "no device_id" if _type_of(sight) in _DEVICE and len(sight.levels) == 4 else None


def _device_level_absent(sight: Sight) -> Outcome:
    if sight.kind in _NODE or sight.kind == STATE:
        return True
    if len(sight.levels) == 5 and _type_of(sight) in _NODE:
        return f"device_id {sight.levels[4][:80]!r}"
    return (
        f"{len(sight.levels) - 3} levels too many" if sight.levels[1:2] == [STATE] and len(sight.levels) > 3 else None
    )


def _type_of(sight: Sight) -> str:
    return sight.levels[2] if len(sight.levels) > 2 and sight.levels[0] == "spBv1.0" else ""


def _characters(index: int) -> Check:
    def check(sight: Sight) -> Outcome:
        if len(sight.levels) <= index or sight.levels[1] == STATE or sight.levels[0] != "spBv1.0":
            return None
        if index == 4 and sight.kind not in _DEVICE:
            return None
        level = sight.levels[index]
        if not level:
            return "an empty id"
        found = sorted(_FORBIDDEN & set(level))
        if found:
            return f"{level[:80]!r} with {' '.join(repr(c) for c in found)}"
        return "not UTF-8" if "\ufffd" in level else True

    return check


def _qos_0(sight: Sight) -> Outcome:
    return True if sight.qos == 0 else f"QoS {sight.qos}"


def _qos_1(sight: Sight) -> Outcome:
    return True if sight.qos >= 1 else "QoS 0"


def _state_birth_qos(sight: Sight) -> Outcome:
    return _qos_1(sight) if sight.state is not None and sight.state.online is True else None


def _state_death_qos(sight: Sight) -> Outcome:
    return _qos_1(sight) if sight.state is not None and sight.state.online is False else None


def _death_qos(sight: Sight) -> Outcome:
    # A Will at QoS 1 and a death published at QoS 0 are both right; only the first can be told from outside.
    return True if sight.qos >= 1 else None


def _not_retained(sight: Sight) -> Outcome:
    # Live messages come with the flag cleared (MQTT 3.1.1); what is kept is found at a new subscription.
    return "the broker keeps it as a retained message" if sight.retain else None


_QOS_STEP = "set QoS 0 for this message type at its sender; QoS 1 reorders and repeats under load"
_RETAIN_STEP = (
    "publish it with retain off, then clear the topic once with an empty retained message: "
    "whoever connects later takes the kept one for live"
)
_ID_STEP = "rename it at its sender: ids are any UTF-8 without + / # and NUL"

TOPIC_RULES: tuple[Rule, ...] = (
    Rule("topic.namespace", _ALL, _namespace, "spBv1.0", "publish Sparkplug B under spBv1.0/…"),
    Rule(
        "topic.form",
        _ALL,
        _form,
        "spBv1.0/group_id/message_type/edge_node_id[/device_id], or spBv1.0/STATE/host_id",
        "mend the topic at its sender; keep other data out of spBv1.0/#",
    ),
    Rule(
        "topic.device_there",
        (*_DEVICE, TOPIC),
        _device_level_there,
        "spBv1.0/group_id/D…/edge_node_id/device_id",
        "append the device id",
    ),
    Rule(
        "topic.device_absent",
        (*_NODE, STATE, TOPIC),
        _device_level_absent,
        "no device_id with N… and STATE",
        "leave the last level out, or use the D… message type",
    ),
    Rule("topic.group_id", (*PAYLOADS, TOPIC), _characters(1), "a group id of UTF-8 without + / #", _ID_STEP),
    Rule("topic.edge_node_id", (*PAYLOADS, TOPIC), _characters(3), "an edge node id of UTF-8 without + / #", _ID_STEP),
    Rule("topic.device_id", (*PAYLOADS, TOPIC), _characters(4), "a device id of UTF-8 without + / #", _ID_STEP),
    Rule("qos.zero", _QOS_0, _qos_0, "QoS 0", _QOS_STEP),
    Rule("qos.will", ("NDEATH",), _death_qos, "a Will at QoS 1", "set the Will's QoS to 1"),
    Rule("qos.state_birth", (STATE,), _state_birth_qos, "QoS 1", "publish STATE at QoS 1", retained=True),
    Rule("qos.state_death", (STATE,), _state_death_qos, "QoS 1", "set the Will's QoS to 1", retained=True),
    Rule("retain.off", PAYLOADS, _not_retained, "retain off", _RETAIN_STEP, retained=True),
)
