"""Rules about one payload by itself: its head, and its metrics one by one."""

from __future__ import annotations

from collections.abc import Callable

from uns.doctor.reading import RawMetric
from uns.doctor.sight import BIRTHS, COMMANDS, DATA, PAYLOADS, Check, Outcome, Rule, Sight
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BD_SEQ, REBIRTH

__all__ = ["PAYLOAD_RULES"]

_WITH_SEQ = (*BIRTHS, *DATA, "DDEATH")
_STAMPED = (*BIRTHS, *DATA, *COMMANDS, "DDEATH")
_DATATYPE_MAX = max(DataType)
# 2001 to 2100 in ms. Seconds lie far below, microseconds and nanoseconds far above.
_MS_MIN = 1_000_000_000_000
_MS_MAX = 4_102_444_800_000

# ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _protobuf(sight: Sight) -> Outcome:
    return sight.payload_problem or True


def _has_timestamp(sight: Sight) -> Outcome:
    if sight.raw is None:
        return None
    return True if sight.raw.timestamp is not None else "no payload timestamp"


def _timestamp_ms(sight: Sight) -> Outcome:
    if sight.raw is None or sight.raw.timestamp is None or sight.kind == "NDEATH":
        return None
    return _judge_ms(sight.raw.timestamp)


def _judge_ms(time: int) -> Outcome:
    if _MS_MIN <= time <= _MS_MAX:
        return True
    for unit, low, high in (
        ("seconds", _MS_MIN // 1000, _MS_MAX // 1000),
        ("microseconds", _MS_MIN * 1000, _MS_MAX * 1000),
        ("nanoseconds", _MS_MIN * 1_000_000, _MS_MAX * 1_000_000),
    ):
        if low <= time <= high:
            return f"{time}, which is in {unit}"
    return f"{time}"


def _has_seq(sight: Sight) -> Outcome:
    if sight.raw is None:
        return None
    if sight.raw.seq is None:
        return "no seq" + (" (a proto3 encoder leaves a 0 out)" if sight.kind == "NBIRTH" else "")
    return True if sight.raw.seq <= 255 else f"seq {sight.raw.seq}"


def _seq_zero(sight: Sight) -> Outcome:
    if sight.raw is None:
        return None
    return True if sight.raw.seq == 0 else "no seq" if sight.raw.seq is None else f"seq {sight.raw.seq}"


def _no_seq(sight: Sight) -> Outcome:
    if sight.raw is None:
        return None
    return True if sight.raw.seq is None else f"seq {sight.raw.seq}"


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _each(judge: Callable[[RawMetric], Outcome]) -> Check:
    """The first metric that breaks a rule speaks for the payload; True if the rule applied to at least one."""

    def check(sight: Sight) -> Outcome:
        kept: Outcome = None
        for metric in sight.metrics:
            outcome = judge(metric)
            if isinstance(outcome, str):
                return f"{metric.label()}: {outcome}" if outcome else metric.label()
            kept = kept or outcome
        return kept

    return check


def _named(metric: RawMetric) -> Outcome:
    return True if metric.name or metric.alias is not None else "neither name nor alias"


def _alias_with_name(metric: RawMetric) -> Outcome:
    if metric.alias is None:
        return None
    return True if metric.name else "an alias without name"


def _complete(metric: RawMetric) -> Outcome:
    lacking = [
        what
        for what, there in (
            ("name", bool(metric.name)),
            ("datatype", metric.datatype is not None),
            ("value", metric.value is not None or metric.is_null),
        )
        if not there
    ]
    return f"no {' and no '.join(lacking)}" if lacking else True


def _value_or_null(metric: RawMetric) -> Outcome:
    if metric.is_null:
        return f"is_null and {metric.value.field} together" if metric.value is not None else True
    return True if metric.value is not None else "no value, and is_null is not set"


def _metric_timestamp(metric: RawMetric) -> Outcome:
    return True if metric.timestamp is not None else "no timestamp of its own"


def _metric_timestamp_ms(metric: RawMetric) -> Outcome:
    if metric.timestamp is None:
        return None
    # Any time may be that of a value; what is no millisecond count shows by its size.
    return True if metric.timestamp <= _MS_MAX else _judge_ms(metric.timestamp)


def _datatype_there(metric: RawMetric) -> Outcome:
    return True if metric.datatype is not None else "no datatype"


def _datatype_number(metric: RawMetric) -> Outcome:
    if metric.has_fault("datatype"):
        return f"{metric.datatype}, not an unsigned 32-bit number"
    return True if metric.datatype is not None else None


def _datatype_known(metric: RawMetric) -> Outcome:
    if metric.datatype is None:
        return None
    return True if metric.datatype <= _DATATYPE_MAX else f"datatype {metric.datatype}"


def _datatype_absent(metric: RawMetric) -> Outcome:
    return True if metric.datatype is None else f"datatype {metric.datatype}"


def _in_time_order(sight: Sight) -> Outcome:
    before: tuple[int, RawMetric] | None = None
    for metric in sight.metrics:
        if metric.is_historical or metric.timestamp is None:
            continue
        if before is not None and metric.timestamp < before[0]:
            return f"{metric.label()} of {metric.timestamp} after {before[1].label()} of {before[0]}"
        before = metric.timestamp, metric
    return None if before is None else True


def _folded_names_differ(sight: Sight) -> Outcome:
    seen: dict[str, str] = {}
    for metric in sight.metrics:
        if metric.name:
            folded = metric.name.lower()
            if seen.setdefault(folded, metric.name) != metric.name:
                return f"{seen[folded]!r} and {metric.name!r}"
    return True if seen else None


def _something(sight: Sight) -> Outcome:
    if sight.raw is None or sight.raw.uuid == "SPBV1.0_COMPRESSED":
        return None
    return True if sight.raw.metrics_total else "no metrics"


# ── bdSeq and Rebirth ────────────────────────────────────────────────────────────────────────────────────────────────


def _bd_seq_there(sight: Sight) -> Outcome:
    if not sight.whole:
        return None
    return True if sight.bd_seq_metrics else f"no metric called {BD_SEQ}"


def _bd_seq_int64(sight: Sight) -> Outcome:
    for metric in sight.bd_seq_metrics:
        if metric.datatype != DataType.INT64:
            return f"datatype {_datatype_name(metric.datatype)}"
        if metric.value is None or metric.value.field != "long_value":
            return "no value" if metric.value is None else f"its value in {metric.value.field}"
        if not isinstance(metric.value.value, int) or not 0 <= metric.value.value <= 255:
            return f"value {metric.value.value!r}"
        return True
    return None


def _death_metrics(sight: Sight) -> Outcome:
    if not sight.whole or sight.raw is None:
        return None
    if not sight.metrics:
        return "no metrics"
    if len(sight.metrics) > 1:
        return f"{sight.raw.metrics_total} metrics: {', '.join(m.label() for m in sight.metrics[:4])}"
    return True if sight.bd_seq_metrics else sight.metrics[0].label()


def _rebirth(judge: Callable[[RawMetric], Outcome]) -> Check:
    def check(sight: Sight) -> Outcome:
        return next((judge(metric) for metric in sight.metrics if metric.name == REBIRTH), None)

    return check


def _rebirth_there(sight: Sight) -> Outcome:
    if not sight.whole:
        return None
    return True if any(metric.name == REBIRTH for metric in sight.metrics) else f"no metric called {REBIRTH!r}"


def _rebirth_boolean(metric: RawMetric) -> Outcome:
    return True if metric.datatype == DataType.BOOLEAN else f"datatype {_datatype_name(metric.datatype)}"


def _rebirth_false(metric: RawMetric) -> Outcome:
    if metric.value is None:
        return "no value"
    if metric.value.field != "boolean_value":
        return f"its value in {metric.value.field}"
    return True if metric.value.value == 0 else "true"


def _rebirth_no_alias(metric: RawMetric) -> Outcome:
    return True if metric.alias is None else f"alias {metric.alias}"


def _rebirth_whole(sight: Sight) -> Outcome:
    if not sight.whole:
        return None
    outcomes = (_rebirth_there(sight), _rebirth(_rebirth_boolean)(sight), _rebirth(_rebirth_false)(sight))
    return next((outcome for outcome in outcomes if isinstance(outcome, str)), True)


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_rebirth(metric: RawMetric) -> bool:
    return metric.name is not None and metric.name.lower().endswith(("control/rebirth", "control/refresh"))


def _rebirth_verb(sight: Sight) -> Outcome:
    if not any(_is_rebirth(metric) for metric in sight.metrics):
        return None
    return True if sight.kind == "NCMD" else f"a rebirth request as {sight.kind}"


def _rebirth_name(sight: Sight) -> Outcome:
    asked = [metric for metric in sight.metrics if _is_rebirth(metric)]
    return None if not asked else True if asked[0].name == REBIRTH else f"{asked[0].name!r}"


def _rebirth_true(metric: RawMetric) -> Outcome:
    held = metric.value
    if held is None:
        return "no value"
    return True if held.field == "boolean_value" and held.value else f"{held.field} {held.value!r}"


def _node_command_verb(sight: Sight) -> Outcome:
    """A node's own control metrics are written by NCMD; a device's metrics by DCMD: by the births that we know."""
    node = sight.node
    if node is None or not sight.metrics or not node.own.names_known:
        return None
    if sight.kind == "NCMD":
        return True if any(node.own.find(metric) is not None for metric in sight.metrics) else None
    for metric in sight.metrics:
        known = sight.device is not None and sight.device.names_known and sight.device.find(metric) is None
        if known and node.own.find(metric) is not None:
            return f"{metric.label()} of the edge node itself in a DCMD"
    return None


def _device_command_verb(sight: Sight) -> Outcome:
    node = sight.node
    if node is None or not sight.metrics:
        return None
    if sight.kind == "DCMD":
        known = sight.device is not None and sight.device.names_known
        return True if known and any(sight.device.find(metric) for metric in sight.metrics if sight.device) else None
    if not node.own.names_known:
        return None
    for metric in sight.metrics:
        if node.own.find(metric) is None:
            for device_id, device in node.devices.items():
                if device.names_known and device.find(metric) is not None:
                    return f"{metric.label()} of device {device_id!r} in an NCMD"
    return None


def _datatype_name(number: int | None) -> str:
    if number is None:
        return "none"
    return f"{number} ({DataType(number).label})" if number <= _DATATYPE_MAX else str(number)


_BIRTH_STEP = "mend the birth at its maker: hosts learn names, types and values there and nowhere else"
_CLOCK_STEP = "stamp with milliseconds since 1970 in UTC"
_SEQ_STEP = "send seq with every message but NDEATH and commands, a 0 too (proto2 writes it, proto3 does not)"
_REBIRTH_STEP = "announce 'Node Control/Rebirth' as Boolean false without alias: hosts ask for a rebirth by this name"

PAYLOAD_RULES: tuple[Rule, ...] = (
    Rule("payload.protobuf", PAYLOADS, _protobuf, "a protobuf-encoded Sparkplug payload", "encode by the schema"),
    Rule("payload.timestamp", _STAMPED, _has_timestamp, "a payload timestamp", "stamp each payload when it is sent"),
    Rule("payload.timestamp_ms", PAYLOADS, _timestamp_ms, "milliseconds since 1970, UTC", _CLOCK_STEP),
    Rule("seq.there", _WITH_SEQ, _has_seq, "a seq of 0 to 255", _SEQ_STEP),
    Rule("seq.zero", ("NBIRTH",), _seq_zero, "seq 0", "begin each NBIRTH with seq 0, a rebirth too"),
    Rule("seq.absent", ("NDEATH", *COMMANDS), _no_seq, "no seq", "leave seq out: it makes hosts see gaps"),
    Rule("metric.named", PAYLOADS, _each(_named), "a name, or an alias", "give each metric a name or its alias"),
    Rule("alias.named", BIRTHS, _each(_alias_with_name), "name and alias together", _BIRTH_STEP),
    Rule("birth.complete", BIRTHS, _each(_complete), "name, datatype and value (or is_null)", _BIRTH_STEP),
    Rule("birth.value", BIRTHS, _each(_value_or_null), "a value, or is_null without one", _BIRTH_STEP),
    Rule("birth.datatype", BIRTHS, _each(_datatype_there), "a datatype", _BIRTH_STEP),
    Rule(
        "metric.timestamp",
        (*BIRTHS, *DATA),
        _each(_metric_timestamp),
        "a timestamp on every metric, on bdSeq and Rebirth too",
        "stamp each metric with the time its value was taken",
    ),
    Rule("metric.timestamp_ms", PAYLOADS, _each(_metric_timestamp_ms), "milliseconds since 1970, UTC", _CLOCK_STEP),
    Rule("datatype.number", PAYLOADS, _each(_datatype_number), "an unsigned 32-bit number", "encode by the schema"),
    Rule("datatype.known", PAYLOADS, _each(_datatype_known), f"0 to {_DATATYPE_MAX}", "use the standard's datatypes"),
    Rule(
        "datatype.absent",
        DATA,
        _each(_datatype_absent),
        "no datatype: the birth told it",
        "leave it out, which spares two bytes a metric",
    ),
    Rule(
        "datatype.command",
        COMMANDS,
        _each(_datatype_absent),
        "no datatype: the birth told it",
        "leave it out, but of a rebirth request to nodes that cannot read one without: pysparkplug, Tahu's example",
    ),
    Rule("metrics.time_order", (*BIRTHS, *DATA), _in_time_order, "live metrics in time order", "sort by timestamp"),
    Rule("metrics.folded", BIRTHS, _folded_names_differ, "names that differ after lower-casing", "rename one of them"),
    Rule("data.something", (*DATA, *COMMANDS), _something, "at least one metric", "send nothing where nothing changed"),
    Rule(
        "bdseq.there",
        ("NBIRTH",),
        _bd_seq_there,
        "a metric called bdSeq",
        "without it a late Will of the node's last connection takes its next one down",
    ),
    Rule("bdseq.int64", ("NBIRTH",), _bd_seq_int64, "Int64 in long_value, 0 to 255", "encode bdSeq as Int64 (4)"),
    Rule("bdseq.death_int64", ("NDEATH",), _bd_seq_int64, "Int64 in long_value, 0 to 255", "encode bdSeq as Int64 (4)"),
    Rule("death.metrics", ("NDEATH",), _death_metrics, "bdSeq alone", "put bdSeq alone into the Will, by name"),
    Rule("rebirth.metric", ("NBIRTH",), _rebirth_whole, "'Node Control/Rebirth', Boolean, false", _REBIRTH_STEP),
    Rule("rebirth.there", ("NBIRTH",), _rebirth_there, "'Node Control/Rebirth'", _REBIRTH_STEP),
    Rule("rebirth.boolean", ("NBIRTH",), _rebirth(_rebirth_boolean), "Boolean (11)", _REBIRTH_STEP),
    Rule("rebirth.false", ("NBIRTH",), _rebirth(_rebirth_false), "false", _REBIRTH_STEP),
    Rule("rebirth.alias", ("NBIRTH",), _rebirth(_rebirth_no_alias), "no alias", _REBIRTH_STEP),
    Rule("command.rebirth_verb", COMMANDS, _rebirth_verb, "NCMD", "ask the edge node, not the device"),
    Rule("command.rebirth_name", ("NCMD",), _rebirth_name, "'Node Control/Rebirth'", "ask by this name"),
    Rule("command.rebirth_true", ("NCMD",), _rebirth(_rebirth_true), "Boolean true", "ask with true"),
    Rule("command.node_verb", COMMANDS, _node_command_verb, "NCMD", "write metrics of the edge node by NCMD"),
    Rule("command.device_verb", COMMANDS, _device_command_verb, "DCMD", "write metrics of a device by DCMD"),
)
