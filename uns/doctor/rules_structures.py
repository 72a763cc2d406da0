"""Rules about what metrics hold inside: property sets, data sets, templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from uns.doctor.reading import LIST_MAX, RawDataSet, RawMetric, RawParameter, RawProperties, RawTemplate
from uns.doctor.sight import BIRTHS, COMMANDS, DATA, PAYLOADS, Check, Outcome, Rule, Sight
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import PROPERTY_QUALITY

__all__ = ["STRUCTURE_RULES", "Definitions", "definitions_of"]

_BASIC = range(DataType.INT8, DataType.TEXT + 1)
_PROPERTY_TYPES = frozenset(_BASIC) | {DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}
_QUALITIES = frozenset({0, 192, 500})

Definitions = dict[str, tuple[frozenset[str], frozenset[str]]]


def definitions_of(metrics: list[RawMetric]) -> Definitions:
    """The template definitions of an NBIRTH: names of members and of parameters, by name of the definition."""
    return {
        metric.name: (
            frozenset(member.name for member in template.members if member.name),
            frozenset(parameter.name for parameter in template.parameters if parameter.name),
        )
        for metric, template in _templates(metrics)
        if metric.name and template.is_definition and not template.reference
    }


# ── walks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deep(metrics: list[RawMetric]) -> Iterator[RawMetric]:
    for metric in metrics:
        yield metric
        if metric.template is not None:
            yield from _deep(metric.template.members)


def _templates(metrics: list[RawMetric]) -> Iterator[tuple[RawMetric, RawTemplate]]:
    return ((metric, metric.template) for metric in _deep(metrics) if metric.template is not None)


def _sets(found: RawProperties) -> Iterator[RawProperties]:
    yield found
    for nested in found.nested:
        yield from _sets(nested)


def _properties(judge: Callable[[RawProperties], Outcome]) -> Check:
    def check(sight: Sight) -> Outcome:
        kept: Outcome = None
        for metric in _deep(sight.metrics):
            for found in () if metric.properties is None else _sets(metric.properties):
                outcome = judge(found)
                if isinstance(outcome, str):
                    return f"{metric.label()}: {outcome}"
                kept = kept or outcome
        return kept

    return check


def _datasets(judge: Callable[[RawDataSet], Outcome]) -> Check:
    def check(sight: Sight) -> Outcome:
        kept: Outcome = None
        for metric in _deep(sight.metrics):
            outcome = None if metric.dataset is None else judge(metric.dataset)
            if isinstance(outcome, str):
                return f"{metric.label()}: {outcome}"
            kept = kept or outcome
        return kept

    return check


def _each_template(judge: Callable[[RawTemplate], Outcome]) -> Check:
    def check(sight: Sight) -> Outcome:
        kept: Outcome = None
        for metric, template in _templates(sight.metrics):
            outcome = judge(template)
            if isinstance(outcome, str):
                return f"{metric.label()}: {outcome}"
            kept = kept or outcome
        return kept

    return check


def _each_parameter(judge: Callable[[RawParameter], Outcome]) -> Check:
    def over_template(template: RawTemplate) -> Outcome:
        kept: Outcome = None
        for parameter in template.parameters:
            outcome = judge(parameter)
            if isinstance(outcome, str):
                return f"parameter {(parameter.name or '')[:80]!r}: {outcome}"
            kept = kept or outcome
        return kept

    return _each_template(over_template)


# ── property sets ────────────────────────────────────────────────────────────────────────────────────────────────────


def _same_length(found: RawProperties) -> Outcome:
    keys, values = len(found.keys), len(found.values)
    return True if keys == values else f"{keys} keys, {values} values"


def _type_number(found: RawProperties) -> Outcome:
    fault = next((fault for fault in found.faults if fault.startswith("type ")), None)
    return fault or (True if any(kind is not None for kind in found.types) else None)


def _type_known(found: RawProperties) -> Outcome:
    odd = [kind for kind in found.types if kind is not None and kind not in _PROPERTY_TYPES]
    if odd:
        return f"type {odd[0]}"
    return True if any(kind is not None for kind in found.types) else None


def _type_there(found: RawProperties) -> Outcome:
    for key, kind in zip(found.keys, found.types, strict=False):
        if kind is None:
            return f"{key[:80]!r} has no type"
    return True if found.types else None


def _quality_type(found: RawProperties) -> Outcome:
    for key, kind in zip(found.keys, found.types, strict=False):
        if key == PROPERTY_QUALITY and kind is not None:
            return True if kind == DataType.INT32 else f"type {kind}"
    return None


def _quality_value(found: RawProperties) -> Outcome:
    for key, held in zip(found.keys, found.values, strict=False):
        if key == PROPERTY_QUALITY:
            if held is None:
                return "no value"
            if held.field != "int_value":
                return f"its value in {held.field}"
            return True if held.value in _QUALITIES else f"value {held.value!r}"
    return None


# ── data sets ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _columns_count(dataset: RawDataSet) -> Outcome:
    if dataset.columns_count is None:
        return "no num_of_columns"
    there = len(dataset.columns)
    if there >= LIST_MAX:
        return None
    return True if dataset.columns_count == there else f"num_of_columns {dataset.columns_count}, {there} columns"


def _columns_types(dataset: RawDataSet) -> Outcome:
    columns, types = len(dataset.columns), len(dataset.types)
    return True if columns == types else f"{columns} columns, {types} types"


def _column_type_number(dataset: RawDataSet) -> Outcome:
    fault = next((fault for fault in dataset.faults if fault.startswith("types")), None)
    return fault or (True if dataset.types else None)


def _column_type_known(dataset: RawDataSet) -> Outcome:
    odd = [kind for kind in dataset.types if kind not in _BASIC]
    return f"type {odd[0]}" if odd else True if dataset.types else None


def _column_types_there(dataset: RawDataSet) -> Outcome:
    return True if dataset.types else "no types"


def _cells(dataset: RawDataSet) -> Outcome:
    fault = next((fault for fault in dataset.faults if fault.startswith("value")), None)
    if fault:
        return fault
    if dataset.cells_empty:
        return f"{dataset.cells_empty} cells without a value"
    return True if dataset.rows else None


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _flag_there(template: RawTemplate) -> Outcome:
    return True if template.is_definition is not None else "no is_definition"


def _definition_flag(template: RawTemplate) -> Outcome:
    """What has no reference is a definition."""
    if template.reference:
        return None
    return True if template.is_definition else "neither is_definition = true nor a template_ref"


def _definition_reference(template: RawTemplate) -> Outcome:
    if not template.is_definition:
        return None
    return True if template.reference is None else f"a definition with template_ref {template.reference[:80]!r}"


def _instance_flag(template: RawTemplate) -> Outcome:
    """What has a reference is an instance."""
    if not template.reference:
        return None
    if template.is_definition is None:
        return "is_definition is left out (a proto3 encoder leaves a false out)"
    return "is_definition = true with a template_ref" if template.is_definition else True


def _instance_reference(sight: Sight) -> Outcome:
    kept: Outcome = None
    for metric, template in _templates(sight.metrics):
        if template.is_definition is False:
            if not template.reference or "template_ref is not UTF-8" in template.faults:
                return f"{metric.label()}: no template_ref"
            kept = True
    return kept


def _only_in_nbirth(sight: Sight) -> Outcome:
    kept: Outcome = None
    for metric, template in _templates(sight.metrics):
        if template.is_definition:
            if sight.kind != "NBIRTH":
                return f"{metric.label()}: a definition in {sight.kind}"
            kept = True
    return kept


def _version(template: RawTemplate) -> Outcome:
    if any(fault.startswith("version") for fault in template.faults):
        return "version is not UTF-8"
    return True if template.version is not None else None


def _known_definitions(sight: Sight) -> Definitions | None:
    if sight.kind == "NBIRTH":
        return definitions_of(sight.metrics) if sight.whole else None
    return None if sight.node is None or sight.node.life != "alive" else sight.node.definitions


def _against_definition(
    judge: Callable[[RawTemplate, tuple[frozenset[str], frozenset[str]] | None], Outcome],
) -> Check:
    def check(sight: Sight) -> Outcome:
        kept: Outcome = None
        definitions: Definitions | None = None
        for metric, template in _templates(sight.metrics):
            if not template.reference or template.is_definition:
                continue
            definitions = _known_definitions(sight) if definitions is None else definitions
            if definitions is None:
                return None
            outcome = judge(template, definitions.get(template.reference))
            if isinstance(outcome, str):
                return f"{metric.label()} of {template.reference[:80]!r}: {outcome}"
            kept = kept or outcome
        return kept

    return check


def _defined(_template: RawTemplate, definition: tuple[frozenset[str], frozenset[str]] | None) -> Outcome:
    return True if definition is not None else "its definition is not in the NBIRTH"


def _members_defined(template: RawTemplate, definition: tuple[frozenset[str], frozenset[str]] | None) -> Outcome:
    if definition is None or len(definition[0]) >= LIST_MAX:
        return None
    extra = sorted({member.name for member in template.members if member.name} - definition[0])
    return f"member {extra[0][:80]!r} is not in the definition" if extra else True


def _members_all(template: RawTemplate, definition: tuple[frozenset[str], frozenset[str]] | None) -> Outcome:
    if definition is None or len(template.members) >= LIST_MAX:
        return None
    lacking = sorted(definition[0] - {member.name for member in template.members if member.name})
    return f"member {lacking[0][:80]!r} is missing" if lacking else True


def _parameters_defined(template: RawTemplate, definition: tuple[frozenset[str], frozenset[str]] | None) -> Outcome:
    if definition is None or not template.parameters or len(definition[1]) >= LIST_MAX:
        return None
    extra = sorted({parameter.name for parameter in template.parameters if parameter.name} - definition[1])
    return f"parameter {extra[0][:80]!r} is not in the definition" if extra else True


def _parameter_name(parameter: RawParameter) -> Outcome:
    return True if parameter.name else "no name"


def _parameter_name_text(parameter: RawParameter) -> Outcome:
    if any(fault.startswith("name") for fault in parameter.faults):
        return "its name is not UTF-8"
    return True if parameter.name else None


def _parameter_type_number(parameter: RawParameter) -> Outcome:
    fault = next((fault for fault in parameter.faults if fault.startswith("type")), None)
    return fault or (True if parameter.type is not None else None)


def _parameter_type_known(parameter: RawParameter) -> Outcome:
    if parameter.type is None:
        return None
    return True if parameter.type in _BASIC else f"type {parameter.type}"


def _parameter_type_there(parameter: RawParameter) -> Outcome:
    return True if parameter.type is not None else "no type"


def _parameter_value(parameter: RawParameter) -> Outcome:
    fault = next((fault for fault in parameter.faults if fault.startswith("value")), None)
    if fault:
        return fault
    if parameter.value is None:
        return None  # a definition need not have a default, an instance takes it
    return "an extension" if parameter.value.field == "extension_value" else True


_SCHEMA = "encode by the schema (proto2)"
_TEMPLATE_STEP = "mend the template at its maker; a host builds the instance from its definition"
_VALUES = "int_value (32 bits), long_value, float, double, boolean or string"
_P = PAYLOADS

STRUCTURE_RULES: tuple[Rule, ...] = (
    Rule("properties.length", _P, _properties(_same_length), "as many keys as values", _SCHEMA),
    Rule("properties.type_number", _P, _properties(_type_number), "an unsigned 32-bit number", _SCHEMA),
    Rule("properties.type_known", _P, _properties(_type_known), "1 to 14, 20 or 21", "use a basic type"),
    Rule("properties.type_there", BIRTHS, _properties(_type_there), "a type", "write the type of each property"),
    Rule("quality.type", _P, _properties(_quality_type), "Int32 (3)", "encode Quality as Int32"),
    Rule(
        "quality.value",
        _P,
        _properties(_quality_value),
        "0, 192 or 500 in int_value",
        "map the quality to BAD, GOOD or STALE; raw codes belong in a property of their own",
    ),
    Rule("dataset.count", _P, _datasets(_columns_count), "num_of_columns as columns are there", _SCHEMA),
    Rule("dataset.headers", _P, _datasets(_columns_types), "as many columns as types", _SCHEMA),
    Rule("dataset.type_number", _P, _datasets(_column_type_number), "unsigned 32-bit numbers", _SCHEMA),
    Rule("dataset.type_known", _P, _datasets(_column_type_known), "1 to 14", "use basic types in columns"),
    Rule("dataset.types", _P, _datasets(_column_types_there), "a list of types", _SCHEMA),
    Rule("dataset.cells", _P, _datasets(_cells), _VALUES, "there is no null in a DataSet: send a value"),
    Rule("template.flag", _P, _each_template(_flag_there), "is_definition", _TEMPLATE_STEP),
    Rule("template.definition_flag", _P, _each_template(_definition_flag), "is_definition = true", _TEMPLATE_STEP),
    Rule("template.definition_ref", _P, _each_template(_definition_reference), "no template_ref", _TEMPLATE_STEP),
    Rule("template.instance_flag", _P, _each_template(_instance_flag), "is_definition = false", _TEMPLATE_STEP),
    Rule("template.instance_ref", _P, _instance_reference, "template_ref with the definition's name", _TEMPLATE_STEP),
    Rule("template.nbirth_only", _P, _only_in_nbirth, "definitions in NBIRTH only", _TEMPLATE_STEP),
    Rule("template.version", _P, _each_template(_version), "a UTF-8 string", _SCHEMA),
    Rule("template.defined", BIRTHS, _against_definition(_defined), "its definition in the NBIRTH", _TEMPLATE_STEP),
    Rule(
        "template.members",
        (*BIRTHS, *DATA, *COMMANDS),
        _against_definition(_members_defined),
        "members of the definition only",
        _TEMPLATE_STEP,
    ),
    Rule(
        "template.members_all",
        BIRTHS,
        _against_definition(_members_all),
        "all members of the definition",
        _TEMPLATE_STEP,
    ),
    Rule(
        "template.parameters",
        (*BIRTHS, *DATA, *COMMANDS),
        _against_definition(_parameters_defined),
        "parameters of the definition only",
        _TEMPLATE_STEP,
    ),
    Rule("parameter.name", _P, _each_parameter(_parameter_name), "a name", _TEMPLATE_STEP),
    Rule("parameter.name_text", _P, _each_parameter(_parameter_name_text), "a UTF-8 string", _SCHEMA),
    Rule("parameter.type_number", _P, _each_parameter(_parameter_type_number), "an unsigned 32-bit number", _SCHEMA),
    Rule("parameter.type_known", _P, _each_parameter(_parameter_type_known), "1 to 14", "use a basic type"),
    Rule("parameter.type_there", BIRTHS, _each_parameter(_parameter_type_there), "a type", _TEMPLATE_STEP),
    Rule("parameter.value", _P, _each_parameter(_parameter_value), _VALUES, _SCHEMA),
)
