"""What births and data owe their templates: an instance has its definition in the NBIRTH, in births with all members.

Pure look-ups over births that are about to be sent, or were received; a finding names the requirement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from uns.errors import LocalProtocolError
from uns.sparkplug.metrics import BirthMetric, DataBatch, TemplateValue

__all__ = ["TemplateFinding", "check_templates", "definitions_of", "require_instances", "require_templates"]


class TemplateFinding(msgspec.Struct, frozen=True):
    """One broken rule: which, at which metric, and how."""

    tck_id: str
    metric: str
    what: str


def definitions_of(metrics: Sequence[BirthMetric]) -> dict[str, TemplateValue]:
    """The template definitions of an NBIRTH by the name of their metric."""
    return {
        metric.name: metric.value
        for metric in metrics
        if isinstance(metric.value, TemplateValue) and metric.value.is_definition
    }


def require_templates(
    metrics: Sequence[BirthMetric], definitions: Mapping[str, TemplateValue], device_id: str | None
) -> None:
    """:func:`check_templates` before publishing: the first finding is raised. ``device_id`` None: the NBIRTH itself."""
    for finding in check_templates(metrics, definitions, of_node=device_id is None):
        raise LocalProtocolError(
            f"metric {finding.metric!r} of {device_id or 'the node'}: {finding.what}", expected=finding.tck_id
        )


def require_instances(batch: DataBatch, definitions: Mapping[str, TemplateValue], device_id: str | None) -> None:
    """Before DATA is published: its templates are instances, whole or in part, of definitions of the NBIRTH."""
    for binding, value in zip(batch.bindings, batch.values, strict=False):  # the codec sees to their lengths
        if not isinstance(value, TemplateValue) or value.is_definition:  # the codec refuses that
            continue
        for finding in _check_instance(binding.name, value, definitions, is_whole=False):
            raise LocalProtocolError(
                f"metric {finding.metric!r} of {device_id or 'the node'}: {finding.what}", expected=finding.tck_id
            )


def check_templates(
    metrics: Sequence[BirthMetric], definitions: Mapping[str, TemplateValue], *, of_node: bool
) -> Iterator[TemplateFinding]:
    """Look through a birth; ``definitions`` are those of the NBIRTH, and ``of_node`` says that this is it."""
    for metric in metrics:
        value = metric.value
        if not isinstance(value, TemplateValue):
            continue
        if not value.is_definition:
            yield from _check_instance(metric.name, value, definitions)
        elif of_node:
            yield from _check_members(metric.name, value.metrics, definitions)
        else:
            yield TemplateFinding(
                "tck-id-payloads-template-definition-nbirth-only",
                metric.name,
                "a template definition outside the NBIRTH",
            )


def _check_instance(
    name: str, instance: TemplateValue, definitions: Mapping[str, TemplateValue], *, is_whole: bool = True
) -> Iterator[TemplateFinding]:
    definition = definitions.get(instance.template_ref or "")
    if definition is None:
        yield TemplateFinding(
            "tck-id-payloads-template-definition-nbirth",
            name,
            f"its definition {instance.template_ref!r} is not in the NBIRTH",
        )
        return
    defined = {member.name: member.datatype for member in definition.metrics}
    held = {member.name: member.datatype for member in instance.metrics}
    for member in instance.metrics:
        if defined.get(member.name) is not member.datatype:
            yield TemplateFinding(
                "tck-id-payloads-template-instance-members",
                f"{name}/{member.name}",
                f"{member.datatype.label} is no member of {instance.template_ref!r}",
            )
    for missing in defined.keys() - held.keys() if is_whole else ():
        yield TemplateFinding(
            "tck-id-payloads-template-instance-members-birth", name, f"member {missing!r} is left out of a birth"
        )
    parameters = {parameter.name: parameter.datatype for parameter in definition.parameters}
    for parameter in instance.parameters:
        if parameters.get(parameter.name) is not parameter.datatype:
            yield TemplateFinding(
                "tck-id-payloads-template-definition-parameters",
                name,
                f"parameter {parameter.name!r} of {parameter.datatype.label} is not defined",
            )
    yield from _check_members(name, instance.metrics, definitions, is_whole=is_whole)


def _check_members(
    name: str, members: Sequence[BirthMetric], definitions: Mapping[str, TemplateValue], *, is_whole: bool = True
) -> Iterator[TemplateFinding]:
    for member in members:
        if not isinstance(member.value, TemplateValue):
            continue
        if member.value.is_definition:
            yield TemplateFinding(
                "tck-id-payloads-template-definition-nbirth-only",
                f"{name}/{member.name}",
                "a template definition inside a template",
            )
        else:
            yield from _check_instance(f"{name}/{member.name}", member.value, definitions, is_whole=is_whole)
