"""Alias tables: what a birth promised, looked up by alias or by name while data flows."""

from __future__ import annotations

from collections.abc import Iterable

from uns.sparkplug.metrics import (
    BirthMetric,
    BirthPayload,
    MetricBinding,
    RejectedMetric,
    RejectReason,
    TemplateMembers,
    TemplateValue,
)

__all__ = ["AliasTable", "binding_of"]


class AliasTable:
    """The metrics of one birth certificate. Never changed after it is built.

    ``refused`` names metrics of the birth that this release cannot carry, by alias and by name, with the reason:
    their data is rejected for that reason, and is no cause for a rebirth.
    """

    __slots__ = ("by_alias", "by_name", "refused")

    def __init__(self, metrics: Iterable[BirthMetric] = (), rejected: Iterable[RejectedMetric] = ()) -> None:
        self.by_alias: dict[int, MetricBinding] = {}
        self.by_name: dict[str, MetricBinding] = {}
        self.refused: dict[int | str, RejectReason] = {}
        for position, metric in enumerate(metrics):
            self.add(binding_of(metric, position))
        for refusal in rejected:
            self.refused.setdefault(refusal.name, refusal.reason)
            if refusal.alias is not None:
                self.refused.setdefault(refusal.alias, refusal.reason)

    @classmethod
    def of_birth(cls, birth: BirthPayload) -> AliasTable:
        """The table of a received birth."""
        return cls(birth.metrics, birth.rejected)

    def add(self, binding: MetricBinding) -> None:
        """Take in one row while the table is being built."""
        self.by_name[binding.name] = binding
        if binding.alias is not None:
            self.by_alias[binding.alias] = binding


def binding_of(metric: BirthMetric, position: int) -> MetricBinding:
    """The row of a metric; of a template with the types of its members, which DATA may leave out."""
    value = metric.value
    members = _members(value) if isinstance(value, TemplateValue) else None
    return MetricBinding(metric.name, metric.datatype, metric.alias, position, members)


def _members(template: TemplateValue) -> TemplateMembers:
    rows = [binding_of(metric, position) for position, metric in enumerate(template.metrics)]
    return TemplateMembers(
        by_name={row.name: row for row in rows},
        by_alias={row.alias: row for row in rows if row.alias is not None},
        parameters={parameter.name: parameter.datatype for parameter in template.parameters},
    )
