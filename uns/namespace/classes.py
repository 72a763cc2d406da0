"""Reading ``classes:`` of a tree file: each metric with its type, unit, range, deadband and role."""

from __future__ import annotations

from typing import get_args

from uns.namespace.draft import DraftClass
from uns.namespace.findings import Findings, Position, closest, nearest, shown
from uns.namespace.model import EquipmentClass, MetricContract, Role, TimeKind
from uns.namespace.nodes import ScalarNode, kind_of
from uns.namespace.scalars import BOOLEANS, integer_of
from uns.namespace.topics import LEVEL_CHARACTERS_MAX, escape
from uns.namespace.units import UNITS, code_of
from uns.namespace.yaml_file import Entry, Fields
from uns.sparkplug.datatypes import INTEGER_RANGE, SCALARS, DataType

__all__ = ["CONTEXT_KINDS", "known_kind", "read_class"]

METRICS_PER_CLASS_MAX = 10_000

# The kinds of fact. The context engine has the same list; it stands above this layer, so a test compares the two.
CONTEXT_KINDS = ("job", "lot", "placement", "recipe_phase", "shift", "person", "material")

_KINDS = {kind: kind for kind in CONTEXT_KINDS}
OTHER_KINDS = {
    "phase": "recipe_phase",
    "recipe": "recipe_phase",
    "step": "recipe_phase",
    "batch": "lot",
    "order": "job",
    "work_order": "job",
    "job_order": "job",
    "program": "job",
    "operator": "person",
    "product": "material",
    "crew": "shift",
    "location": "placement",
}
_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}
_COUNTS = {"good": "good", "scrap": "scrap", "rework": "rework"}
_DATATYPES = {datatype.label: datatype for datatype in sorted(SCALARS)}

# Words of PLC programming, drivers and other trees, and the Sparkplug type that they mean.
_OTHER_WORDS = {
    "bool": "Boolean",
    "bit": "Boolean",
    "byte": "UInt8",
    "sbyte": "Int8",
    "word": "UInt16",
    "dword": "UInt32",
    "sint": "Int8",
    "int": "Int16",
    "dint": "Int32",
    "lint": "Int64",
    "integer": "Int32",
    "long": "Int64",
    "usint": "UInt8",
    "uint": "UInt16",
    "udint": "UInt32",
    "ulint": "UInt64",
    "real": "Float",
    "lreal": "Double",
    "float32": "Float",
    "float64": "Double",
    "str": "String",
    "wstring": "String",
    "bytestring": "Bytes",
    "date": "DateTime",
    "time": "DateTime",
    "timestamp": "DateTime",
    "guid": "UUID",
}

INTEGER_BOUNDS: dict[DataType, tuple[int, int]] = {
    DataType(number): span
    for number, span in enumerate(INTEGER_RANGE)
    if span is not None and number != DataType.DATETIME
}
_NUMERIC = frozenset(INTEGER_BOUNDS) | {DataType.FLOAT, DataType.DOUBLE}
_STATES = frozenset(INTEGER_BOUNDS) | {DataType.BOOLEAN, DataType.STRING, DataType.TEXT}
_TIME_KINDS: dict[str, TimeKind] = {kind: kind for kind in get_args(TimeKind)}
_NO_CONTEXT = frozenset({DataType.FLOAT, DataType.DOUBLE, DataType.BYTES, DataType.DATETIME})

_RESERVED_FOLDERS = ("Node Control", "Device Control", "Properties", "uns")
_DISCOURAGED = frozenset(".,\\@#$%^&*()[]{}|!`~:;'\"<>?")  # tck-id-… of names: legal, and trouble elsewhere


def read_class(fields: Fields, entry: Entry) -> DraftClass | None:
    """One entry of ``classes:``; None where it is no mapping at all."""
    what = f"class {entry.key!r}"
    own = fields.of(entry, what=what, required=("metrics",), optional=("context", "pv"))
    if own is None:
        return None
    metrics: dict[str, MetricContract] = {}
    positions: dict[str, Position] = {}
    entries = own.entries("metrics")
    if len(entries) > METRICS_PER_CLASS_MAX:
        own.findings.error(
            "metrics-max",
            f"{what} has {len(entries)} metrics, at most {METRICS_PER_CLASS_MAX} are read",
            entry.position,
            "split the class",
        )
    for metric_entry in entries[:METRICS_PER_CLASS_MAX]:
        metric = _read_metric(own, metric_entry, what)
        if metric is not None:
            metrics[metric.name] = metric
            positions[metric.name] = metric_entry.position
    _check_together(own, what, metrics, positions)
    context = own.fields("context", optional=("requires", "allow_parallel"))
    requires = {
        kind: position for kind, position in context.texts("requires") if known_kind(context.findings, kind, position)
    }
    value = EquipmentClass(
        name=entry.key,
        metrics=metrics,
        requires=tuple(requires),
        allow_parallel=context.boolean("allow_parallel", default=False),
        pv=own.boolean("pv", default=True),
    )
    return DraftClass(value, entry.position, positions, requires)


def known_kind(findings: Findings, kind: str, position: Position) -> bool:
    """Whether a word names a kind of context; says what is known otherwise."""
    if kind in _KINDS:
        return True
    findings.error(
        "unknown-kind",
        f"{kind!r} is no kind of context",
        position,
        nearest(kind, _KINDS, OTHER_KINDS) or f"known are: {', '.join(_KINDS)}",
    )
    return False


def _read_metric(fields: Fields, entry: Entry, class_text: str) -> MetricContract | None:
    what = f"metric {entry.key!r} of {class_text}"
    own = fields.of(
        entry,
        what=what,
        required=("type",),
        optional=(
            "unit",
            "range",
            "deadband",
            "role",
            "provides",
            "counts",
            "rollover",
            "step_max",
            "times",
            "description",
        ),
    )
    if own is None:
        return None
    _check_name(own, entry)
    datatype = _read_datatype(own)
    metric = MetricContract(
        name=entry.key,
        datatype=DataType.UNKNOWN if datatype is None else datatype,
        unit=_read_unit(own, datatype),
        range=_read_range(own, datatype),
        deadband=_read_deadband(own, datatype),
        role=own.choice("role", _ROLES, default="measurement"),
        provides=own.choice("provides", _KINDS, default=None, other_words=OTHER_KINDS),
        counts=own.choice("counts", _COUNTS, default=None),
        rollover=own.integer("rollover", default=None, minimum=1),
        step_max=own.number("step_max", default=None, minimum=0),
        times=_read_times(own, datatype),
        description=own.text("description", default=None),
    )
    _check_role(own, metric, datatype)
    return metric


def _check_name(fields: Fields, entry: Entry) -> None:
    name, at, findings = entry.key, entry.position, fields.findings
    segments = name.split("/")
    if not all(segments) or any(segment != segment.strip() for segment in segments):
        findings.error("metric-name", f"{name!r} has an empty or space-edged folder", at, "write it like batch/count")
        return
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in name):
        findings.error("metric-name", f"{name!r} has a control character", at, "remove it")
        return
    for segment in segments:
        if len(escape(segment)) > LEVEL_CHARACTERS_MAX:
            findings.error(
                "level-length",
                f"{segment!r} takes {len(escape(segment))} characters in a topic, at most {LEVEL_CHARACTERS_MAX}",
                at,
                "shorten it",
            )
    if segments[0] in _RESERVED_FOLDERS or name == "bdSeq":
        findings.error("reserved-name", f"{name!r} belongs to the protocol", at, "choose another name or folder")
    elif "@" in name:
        findings.error("reserved-name", f"{name!r} holds @, which marks retyped metrics", at, "leave it out")
    elif found := sorted(_DISCOURAGED.intersection(name)):
        findings.warning(
            "discouraged-character",
            f"Sparkplug discourages {' '.join(found)} in {name!r}",
            at,
            "use letters, digits, spaces, - and _",
        )


def _read_datatype(fields: Fields) -> DataType | None:
    written = fields.text("type", default=None)
    if written is None:
        return None
    datatype = _DATATYPES.get(written)
    if datatype is None:
        hint = nearest(written, _DATATYPES, _OTHER_WORDS)
        fields.findings.error(
            "unknown-type",
            f"{written!r} is no Sparkplug scalar type",
            fields.position_of("type"),
            hint or f"known are: {', '.join(_DATATYPES)}",
        )
    return datatype


def _read_unit(fields: Fields, datatype: DataType | None) -> str | None:
    unit = fields.text("unit", default=None)
    if unit is None:
        return None
    at = fields.position_of("unit")
    if unit not in UNITS:
        meant = code_of(unit) or closest(unit, UNITS)
        fields.findings.error(
            "unknown-unit",
            f"{unit!r} is no UNECE code that we know",
            at,
            f"did you mean {meant} ({UNITS[meant].name})?"
            if meant
            else "see docs/reference/topic-tree.md for the list",
        )
    if datatype is not None and datatype not in _NUMERIC:
        fields.findings.error("unit-type", f"{fields.what} is {datatype.label} and has a unit", at, "remove the unit")
    return unit


def _read_range(fields: Fields, datatype: DataType | None) -> tuple[float, float] | None:
    pair = fields.numbers("range", count=2)
    if pair is None:
        return None
    (low, low_at), (high, high_at) = pair
    if datatype is not None and datatype not in _NUMERIC:
        fields.findings.error(
            "range-type", f"{fields.what} is {datatype.label} and has a range", low_at, "remove the range"
        )
    elif low >= high:
        fields.findings.error(
            "range-order", f"range of {fields.what} begins at {low:g} and ends at {high:g}", low_at, "write [low, high]"
        )
    elif datatype in INTEGER_BOUNDS:
        for value, at in ((low, low_at), (high, high_at)):
            smallest, largest = INTEGER_BOUNDS[datatype]
            if not smallest <= value <= largest or value != int(value):
                fields.findings.error(
                    "range-type",
                    f"{value:g} is no {datatype.label}",
                    at,
                    f"{datatype.label} reaches from {smallest} to {largest}",
                )
    return low, high


def _read_deadband(fields: Fields, datatype: DataType | None) -> float | None:
    deadband = fields.number("deadband", default=None, minimum=0)
    if deadband is not None and datatype is not None and datatype not in _NUMERIC:
        fields.findings.error(
            "deadband-type",
            f"{fields.what} is {datatype.label} and has a deadband",
            fields.position_of("deadband"),
            "remove it: without one every change counts",
        )
    return deadband


def _read_times(fields: Fields, datatype: DataType | None) -> dict[TimeKind, tuple[int | str, ...]] | None:
    """``times: {machine: [6]}``: which values of a state are which kind of time."""
    if "times" not in fields:
        return None
    own = fields.fields("times", optional=tuple(_TIME_KINDS), what=f"'times' of {fields.what}")
    found: dict[TimeKind, tuple[int | str, ...]] = {}
    meant: dict[int | str, str] = {}
    for word, kind in _TIME_KINDS.items():
        values = []
        for scalar in own.scalars(word):
            value = _state_value(own, scalar, datatype)
            if value is None:
                continue
            if meant.setdefault(value, word) != word or value in values:
                own.findings.error(
                    "times-twice",
                    f"{shown(str(value))} of {fields.what} is already {meant[value]} time",
                    scalar.position,
                    "a value is one kind of time: keep it once",
                )
                continue
            values.append(value)
        if word in own:
            found[kind] = tuple(values)
    if datatype is not None and datatype not in _STATES:
        fields.findings.error(
            "times-type",
            f"{fields.what} is {datatype.label} and has times",
            fields.position_of("times"),
            "a state whose time is counted is a whole number, a Boolean or a text",
        )
    return found


def _state_value(fields: Fields, scalar: ScalarNode, datatype: DataType | None) -> int | str | None:
    """A value as the metric's type has it; None with a finding for one that it cannot have."""
    if datatype is None or datatype not in _STATES:
        return scalar.text
    if datatype in INTEGER_BOUNDS:
        number = integer_of(scalar)
        smallest, largest = INTEGER_BOUNDS[datatype]
        if number is not None and smallest <= number <= largest:
            return number
        expected = f"a whole number from {smallest} to {largest}, without quotes"
    elif datatype is DataType.BOOLEAN:
        truth = BOOLEANS.get(scalar.text) if scalar.plain else None
        if truth is not None:
            return int(truth)
        expected = "true or false"
    else:
        if scalar.text.strip():
            return scalar.text.strip()
        expected = "a word"
    fields.findings.error(
        "times-value", f"{kind_of(scalar)} is no value of a {datatype.label}", scalar.position, f"write {expected}"
    )
    return None


def _check_role(fields: Fields, metric: MetricContract, datatype: DataType | None) -> None:
    findings, what = fields.findings, fields.what
    if metric.role == "context" and "provides" not in fields:
        findings.error(
            "role-context",
            f"{what} has the role context and does not say what it provides",
            fields.position_of("role"),
            "add `provides: job`, or another kind",
        )
    if "provides" in fields and metric.role != "context":
        findings.error(
            "role-context", f"{what} provides context", fields.position_of("provides"), "add `role: context`"
        )
    if metric.role == "context" and datatype in _NO_CONTEXT:
        findings.error(
            "role-context",
            f"{what} is {datatype.label} and cannot name a context",
            fields.position_of("type"),
            "use String or an integer type",
        )
    if "times" in fields and metric.role != "state":
        findings.error(
            "role-state", f"{what} has 'times' and is no state", fields.position_of("times"), "add `role: state`"
        )
    for key in ("counts", "rollover", "step_max"):
        if key in fields and metric.role != "counter":
            findings.error(
                "role-counter", f"{what} has {key!r} and is no counter", fields.position_of(key), "add `role: counter`"
            )
    if metric.role == "counter" and datatype is not None and datatype not in _NUMERIC:
        findings.error(
            "role-counter", f"{what} is {datatype.label} and cannot count", fields.position_of("type"), "use UInt32"
        )
    if metric.step_max is not None and metric.rollover is not None and metric.step_max >= metric.rollover:
        findings.error(
            "step-max",
            f"{what} may show steps of {metric.step_max:g} and rolls over at {metric.rollover}",
            fields.position_of("step_max"),
            "a step_max below rollover tells a rollover from a reset; write how much one sample can show at most",
        )
    if metric.rollover is not None and datatype in INTEGER_BOUNDS and metric.rollover > INTEGER_BOUNDS[datatype][1] + 1:
        findings.error(
            "rollover",
            f"{what} is {datatype.label} and cannot reach {metric.rollover}",
            fields.position_of("rollover"),
            f"at most {INTEGER_BOUNDS[datatype][1] + 1}: the first value that is not reached",
        )


def _check_together(
    fields: Fields, what: str, metrics: dict[str, MetricContract], positions: dict[str, Position]
) -> None:
    """What one metric cannot tell alone: equal names but for case, two counters of one thing, two of one context."""
    by_lower: dict[str, str] = {}
    counting: dict[str, str] = {}
    providing: dict[str, str] = {}
    for metric in metrics.values():
        at = positions[metric.name]
        first = by_lower.setdefault(metric.name.lower(), metric.name)
        if first != metric.name:
            fields.findings.error(
                "case-only",
                f"{metric.name!r} and {first!r} of {what} differ only in case",
                at,
                "rename one (tck-id-case-sensitivity-metric-names)",
            )
        if metric.counts is not None and counting.setdefault(metric.counts, metric.name) != metric.name:
            fields.findings.error(
                "counts-twice",
                f"{metric.name!r} and {counting[metric.counts]!r} of {what} both count {metric.counts}",
                at,
                "keep `counts` at one of them",
            )
        if metric.provides is not None and providing.setdefault(metric.provides, metric.name) != metric.name:
            fields.findings.error(
                "provides-twice",
                f"{metric.name!r} and {providing[metric.provides]!r} of {what} both provide {metric.provides}",
                at,
                "keep `provides` at one of them",
            )
