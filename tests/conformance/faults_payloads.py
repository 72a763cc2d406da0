"""Faults of payloads: of what the codec writes, refuses and reads."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.conformance.faults_edge import of_all
from tests.conformance.planting import Fault, Plant, forgiving
from uns.sparkplug import EdgeNodeSession, codec, templates
from uns.sparkplug.metrics import TemplateValue

__all__ = ["FAULTS"]

BIRTH, DATA, COMMAND = "encode_birth", "encode_data", "encode_command"
EVERYTHING = (BIRTH, DATA, COMMAND)


def written(names: tuple[str, ...], edit: Any) -> Plant:
    """What these functions of the codec write is changed in place."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for name in names:
            real = getattr(codec, name)

            def write(*arguments: Any, real: Any = real, **named: Any) -> bytes:
                wire = Payload.FromString(real(*arguments, **named))
                edit(wire)
                return wire.SerializeToString()

            monkeypatch.setattr(codec, name, write)

    return plant


def in_births(edit: Any) -> Plant:
    return written((BIRTH,), edit)


def refused_no_more(words: str) -> Plant:
    """Births that break one rule are written."""
    return forgiving(codec, BIRTH, words, b"")


def published_anyway(words: str) -> Plant:
    """DATA that breaks one rule is taken."""
    return forgiving(EdgeNodeSession, "publish_data", words)


def encoded_anyway(words: str) -> Plant:
    """The same of the codec by itself."""
    return forgiving(codec, DATA, words, b"")


def templates_in(wire: Any, *, definitions: bool | None = None) -> list[Any]:
    found, waiting = [], list(wire.metrics)
    while waiting:
        metric = waiting.pop()
        if metric.HasField("template_value"):
            found.append(metric.template_value)
            waiting += metric.template_value.metrics
    return [one for one in found if definitions is None or one.is_definition is definitions]


def in_templates(edit: Any, *, definitions: bool | None = None, names: tuple[str, ...] = (BIRTH,)) -> Plant:
    """An edit of each template, of definitions or instances only if that is said."""
    return written(names, lambda wire: [edit(one) for one in templates_in(wire, definitions=definitions)])


def in_tables(edit: Any) -> Plant:
    """An edit of each DataSet."""
    return written(
        (BIRTH, DATA), lambda wire: [edit(m.dataset_value) for m in wire.metrics if m.HasField("dataset_value")]
    )


def in_properties(edit: Any) -> Plant:
    """An edit of the properties of each metric that has any."""
    return written((BIRTH,), lambda wire: [edit(m.properties) for m in wire.metrics if m.HasField("properties")])


def of_values(field: str, value: int) -> Any:
    """An edit of each value of a property set."""

    def edit(properties: Any) -> None:
        for one in properties.values:
            setattr(one, field, value)

    return edit


def in_parameters(edit: Any) -> Plant:
    """An edit of each parameter of a template."""
    return in_templates(lambda one: [edit(parameter) for parameter in one.parameters], names=(BIRTH, DATA))


def cells_as_text(table: Any) -> None:
    for row in table.rows:
        for cell in row.elements:
            cell.string_value = "1"


def forgiven(tck_id: str) -> Plant:
    """One rule of templates is not looked at."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = templates.check_templates

        def check(*arguments: Any, **named: Any) -> Any:
            return (finding for finding in real(*arguments, **named) if finding.tck_id != f"tck-id-payloads-{tck_id}")

        monkeypatch.setattr(templates, "check_templates", check)

    return plant


def lost_in_births(change: Any) -> Plant:
    """Births lose metrics."""

    def edit(wire: Any) -> None:
        kept = [metric for metric in wire.metrics if not change(metric)]
        del wire.metrics[:]
        wire.metrics.extend(kept)

    return in_births(edit)


def refuses_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """DATA takes whole instances only."""
    real = codec.encode_data

    def encode(batch: Any, **named: Any) -> bytes:
        if any(isinstance(value, TemplateValue) and len(value.metrics) < 2 for value in batch.values):
            msg = "an instance in DATA lacks members"
            raise ValueError(msg)
        return real(batch, **named)

    monkeypatch.setattr(codec, "encode_data", encode)


def takes_uneven_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys or values without a partner are passed over."""
    real = codec.decode_data

    def decode(payload: bytes, table: Any, **named: Any) -> Any:
        wire = Payload.FromString(payload)
        for metric in wire.metrics:
            metric.ClearField("properties")
        return real(wire.SerializeToString(), table, **named)

    monkeypatch.setattr(codec, "decode_data", decode)


METRICS = (
    Fault("payloads-name-requirement", written((DATA, COMMAND), of_all(lambda m: m.ClearField("name")))),
    Fault(
        "payloads-alias-data-cmd-requirement payloads-name-requirement",
        written((DATA, COMMAND), of_all(lambda metric: setattr(metric, "name", "a"))),
    ),
    Fault("payloads-alias-data-cmd-requirement", written((DATA, COMMAND), of_all(lambda m: m.ClearField("alias")))),
    Fault("payloads-alias-birth-requirement", in_births(of_all(lambda metric: metric.ClearField("alias")))),
    Fault("payloads-alias-birth-requirement", in_births(of_all(lambda metric: metric.ClearField("name")))),
    Fault("payloads-metric-datatype-req", in_births(of_all(lambda metric: metric.ClearField("datatype")))),
    Fault("payloads-metric-datatype-value-type", in_births(of_all(lambda m: setattr(m, "datatype", 2**32 - 10)))),
    Fault("payloads-metric-datatype-not-req", written((DATA, COMMAND), of_all(lambda m: setattr(m, "datatype", 10)))),
)

PROPERTIES = (
    Fault("payloads-propertyset-keys-array-size payloads-propertyset-values-array-size", takes_uneven_properties),
    Fault("payloads-propertyset-keys-array-size", in_properties(lambda one: one.keys.pop())),
    Fault("payloads-propertyset-values-array-size", in_properties(lambda one: one.values.pop())),
    Fault(
        "payloads-metric-propertyvalue-type-req payloads-metric-propertyvalue-type-type",
        in_properties(lambda one: [value.ClearField("type") for value in one.values]),
    ),
    Fault(
        "payloads-metric-propertyvalue-type-type payloads-propertyset-quality-value-type"
        " payloads-metric-propertyvalue-type-value",
        in_properties(of_values("type", 7)),
    ),
    Fault("payloads-metric-propertyvalue-type-value", refused_no_more("property 'p' of .* has datatype")),
    Fault("payloads-propertyset-quality-value-type", refused_no_more("'Quality' of .* is 192 of Int64")),
    Fault("payloads-propertyset-quality-value-value", refused_no_more("'Quality' of .* is 42 of Int32")),
    Fault(
        "payloads-propertyset-quality-value-value",
        in_properties(of_values("long_value", 500)),
    ),
)

TABLES = (
    Fault("payloads-dataset-column-size", in_tables(lambda table: table.ClearField("num_of_columns"))),
    Fault("payloads-dataset-column-size", in_tables(lambda table: setattr(table, "num_of_columns", 7))),
    Fault("payloads-dataset-column-num-headers", in_tables(lambda table: table.columns.pop())),
    Fault(
        "payloads-dataset-types-def payloads-dataset-types-type payloads-dataset-parameter-type-req",
        in_tables(lambda table: table.ClearField("types")),
    ),
    Fault("payloads-dataset-types-type payloads-dataset-types-def", in_tables(lambda table: table.types.reverse())),
    Fault("payloads-template-dataset-value", in_tables(cells_as_text)),
    Fault(
        "payloads-dataset-types-num payloads-dataset-column-num-headers", refused_no_more(r"\d columns and \d types")
    ),
    Fault("payloads-dataset-types-value", refused_no_more("column of datatype DataSet")),
    Fault("payloads-dataset-types-value", refused_no_more("column of datatype Int8Array")),
    Fault("payloads-template-dataset-value", refused_no_more("a cell of column .* has no value")),
)

TEMPLATES = (
    Fault(
        "payloads-template-instance-ref",
        published_anyway("definition 'Other' is not in the NBIRTH"),
    ),
    Fault("payloads-template-definition-parameters", published_anyway("is not defined")),
    Fault("payloads-template-definition-nbirth-only", published_anyway("a template definition in DATA")),
    Fault("payloads-template-definition-nbirth-only", encoded_anyway("a template definition in DATA")),
    Fault("payloads-template-instance-members", encoded_anyway("is not in the birth")),
    Fault("payloads-template-instance-members", published_anyway("is no member of|is not in the birth")),
    Fault(
        "payloads-template-definition-is-definition payloads-template-is-definition-definition",
        in_templates(lambda one: setattr(one, "is_definition", False), definitions=True),
    ),
    Fault(
        "payloads-template-definition-ref payloads-template-ref-definition",
        in_templates(lambda one: setattr(one, "template_ref", "Motor"), definitions=True),
    ),
    Fault("payloads-template-version", in_templates(lambda one: one.ClearField("version"))),
    Fault(
        "payloads-template-instance-is-definition payloads-template-is-definition",
        in_templates(lambda one: one.ClearField("is_definition"), definitions=False),
    ),
    Fault(
        "payloads-template-instance-is-definition payloads-template-is-definition-instance",
        in_templates(lambda one: setattr(one, "is_definition", True), definitions=False),
    ),
    Fault(
        "payloads-template-ref-instance payloads-template-instance-ref",
        in_templates(lambda one: setattr(one, "template_ref", "Pump 2"), definitions=False),
    ),
    Fault("payloads-template-instance-members-data", refuses_parts),
    Fault(
        "payloads-template-instance-parameters payloads-template-definition-parameters-default",
        in_templates(lambda one: one.ClearField("parameters"), names=(BIRTH, DATA)),
    ),
    Fault(
        "payloads-template-definition-parameters-default payloads-template-parameter-value",
        in_parameters(lambda parameter: parameter.ClearField("string_value")),
    ),
    Fault("payloads-template-parameter-name-type", in_parameters(lambda parameter: parameter.ClearField("name"))),
    Fault(
        "payloads-template-parameter-type-req payloads-template-parameter-value-type",
        in_parameters(lambda parameter: parameter.ClearField("type")),
    ),
    Fault(
        "payloads-template-parameter-value", in_parameters(lambda parameter: setattr(parameter, "string_value", "1"))
    ),
    Fault("payloads-template-parameter-name-required", refused_no_more("a parameter without name")),
    Fault("payloads-template-parameter-type-value", refused_no_more("parameter 'p' of .* has datatype Bytes")),
    Fault(
        "payloads-template-definition-nbirth topics-nbirth-templates payloads-template-instance-ref",
        forgiven("template-definition-nbirth"),
    ),
    Fault(
        "payloads-template-definition-nbirth topics-nbirth-templates payloads-template-instance-ref",
        lost_in_births(lambda metric: metric.template_value.is_definition),
    ),
    Fault("payloads-template-definition-nbirth-only", forgiven("template-definition-nbirth-only")),
    Fault(
        "payloads-template-definition-members payloads-template-instance-members", forgiven("template-instance-members")
    ),
    Fault("payloads-template-instance-members-birth", forgiven("template-instance-members-birth")),
    Fault("payloads-template-definition-parameters", forgiven("template-definition-parameters")),
)

FAULTS = (*METRICS, *PROPERTIES, *TABLES, *TEMPLATES)
