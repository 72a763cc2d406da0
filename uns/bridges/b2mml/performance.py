"""Writing what a job did: one SyncWorkPerformance (V0701) for each response. The same record gives the same bytes.

Where B2MML has no element of its own for something, a standard one carries it and an attribute tells it apart; there
are no extensions, so that every document is valid against the official schemas:

* ``BODID`` and ``JobResponse/ID`` are the response's key. A receiver that has seen the key has seen the document.
* A correction says ``ActionExpression actionCode="Replaced"`` with the XPath of the response it reverses, names it in
  ``Sender/ReferenceID``, and gives all values anew. Taking back is the same with ``Delete``.
* Totals stand in ``JobResponseData`` whose ID has ``schemeID="uns1.actuals"``, quality metrics in those with
  ``schemeID="uns1.metric"``; what each Value is, its ``Key`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from lxml import etree
from msgspec.structs import replace

from uns.bridges.b2mml.values import Element
from uns.context.records import (
    PRODUCING,
    EquipmentActual,
    JobResponse,
    MaterialActual,
    MaterialUse,
    PersonActual,
    QualitySummary,
    Quantity,
    ResponseAction,
    ResponseState,
    normal_unit,
)

__all__ = [
    "ACTION_CODES",
    "ACTUALS_SCHEME",
    "METRIC_SCHEME",
    "NAMESPACE",
    "QUALITY_KEYS",
    "QUANTITIES",
    "TOTALS",
    "canonical",
    "write_performance",
]

NAMESPACE = "http://www.mesa.org/xml/B2MML"
RELEASE = "B2MML-V0701"
ACTUALS_SCHEME = "uns1.actuals"
METRIC_SCHEME = "uns1.metric"
ACTION_CODES: Mapping[ResponseAction, str] = {"add": "Add", "replace": "Replaced", "delete": "Delete"}

# Field of the record to the ID of its JobResponseData.
QUANTITIES = {"good": "Good", "scrap": "Scrap", "rework": "Rework"}
TIMES = {"setup_time": "SetupTime", "machine_time": "MachineTime", "labour_time": "LabourTime"}
TOTALS = {**QUANTITIES, **TIMES}
# Key of a Value to the field of the summary.
QUALITY_KEYS = {name: name for name in ("min", "mean", "max", "last", "low", "high")}
OUT_OF_RANGE_KEY = "out_of_range"

_NAMES: Any = {None: NAMESPACE}  # the stubs do not know a default namespace

Entry = TypeVar("Entry", MaterialActual, EquipmentActual, PersonActual)


def canonical(response: JobResponse) -> JobResponse:
    """The response as its document says it: entries numbered, units complete, times in UTC.

    A schedule that only stands in for its order, as :func:`write_performance` writes it, is none.
    """
    actual = response.actual
    if actual is not None:
        actual = replace(actual, start=_utc(actual.start), end=_utc(actual.end))
        actual = None if actual.start is None and actual.end is None else actual
    return replace(
        response,
        published_at=response.published_at.astimezone(UTC),
        actual=actual,
        schedule=None if response.schedule == (response.work_order or response.job_order) else response.schedule,
        other_state=response.other_state if response.state is ResponseState.OTHER else None,
        materials=tuple(
            replace(
                material,
                id=name,
                quantity=_complete(material.quantity),
                other_use=material.other_use if material.use is MaterialUse.OTHER else None,
            )
            for name, material in _named(response.materials)
        ),
        equipment=tuple(replace(used, id=name, time=_complete(used.time)) for name, used in _named(response.equipment)),
        quality=tuple(summary if _has_values(summary) else replace(summary, unit="") for summary in response.quality),
        persons=tuple(
            replace(person, id=name, time=_complete(person.time)) for name, person in _named(response.persons)
        ),
        **{field: _complete(getattr(response, field)) for field in TOTALS},
    )


def write_performance(response: JobResponse, *, sender: str, receiver: str | None = None) -> bytes:
    """The document of one response, in UTF-8."""
    response = canonical(response)
    root = etree.Element(_tag("SyncWorkPerformance"), releaseID=RELEASE, nsmap=_NAMES)
    _application_area(root, response, sender, receiver)
    data = _add(root, "DataArea")
    _sync(data, response)
    performance = _add(data, "WorkPerformance")
    _text(performance, "ID", response.response_id)
    _time(performance, "PublishedDate", response.published_at)
    _text(performance, "WorkType", response.kind.value)
    # Required; an order that came in no schedule is its own.
    _text(performance, "WorkScheduleID", response.schedule or response.work_order or response.job_order)
    _state(performance, "WorkState", response)
    work = _add(performance, "WorkResponse")
    _text(work, "ID", response.response_id)
    if response.work_order is not None:
        _text(work, "WorkRequestID", response.work_order)
    _state(work, "ResponseState", response)
    _job_response(work, response)
    body: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return body


def _application_area(root: Element, response: JobResponse, sender: str, receiver: str | None) -> None:
    area = _add(root, "ApplicationArea")
    own = _add(area, "Sender")
    _text(own, "LogicalID", sender)
    if response.source:
        _text(own, "ComponentID", response.source)
    if response.reverses is not None:
        _text(own, "ReferenceID", response.reverses)
    if receiver is not None:
        _text(_add(area, "Receiver"), "LogicalID", receiver)
    _time(area, "CreationDateTime", response.published_at)
    _text(area, "BODID", response.response_id)


def _sync(data: Element, response: JobResponse) -> None:
    criteria = _add(_add(data, "Sync"), "ActionCriteria")
    expression = _text(criteria, "ActionExpression", f"//JobResponse[ID='{response.reverses or response.response_id}']")
    expression.set("actionCode", ACTION_CODES[response.action])
    expression.set("expressionLanguage", "XPath")
    if response.reason is not None:
        _text(_add(criteria, "ChangeStatus"), "Reason", response.reason)


def _job_response(work: Element, response: JobResponse) -> None:
    job = _add(work, "JobResponse")
    _text(job, "ID", response.response_id)
    if response.description is not None:
        _text(job, "Description", response.description)
    _text(job, "Version", str(response.revision))
    _time(job, "PublishedDate", response.published_at)
    if response.actual is not None:
        _time(job, "StartTime", response.actual.start)
        _time(job, "EndTime", response.actual.end)
    _text(job, "WorkType", response.kind.value)
    _text(job, "JobOrderID", response.job_order)
    if response.work_master is not None:
        _text(job, "WorkMasterID", response.work_master)
    if response.work_master_version is not None:
        _text(job, "WorkMasterVersion", response.work_master_version)
    _state(job, "JobState", response)
    _totals(job, response)
    for summary in response.quality:
        _quality(job, summary)
    for person in response.persons:
        _person(job, person)
    for equipment in response.equipment:
        _equipment(job, equipment)
    for material in _total_materials(response):
        _material(job, material).set("schemeID", ACTUALS_SCHEME)
    for material in response.materials:
        _material(job, material)


def _totals(job: Element, response: JobResponse) -> None:
    for field, name in TOTALS.items():
        amount: Quantity | None = getattr(response, field)
        if amount is not None:
            _value(_data(job, name), amount.value, amount.unit, amount.unit_as_received)
    facts = {
        "Final": ("true" if response.final else "false", "boolean"),
        "Operation": (response.operation, "string"),
        "Material": (response.material, "string"),
        "Lot": (response.lot, "string"),
        "ScrapReason": (response.scrap_reason, "string"),
    }
    for name, (text, kind) in facts.items():
        if text is not None:
            value = _add(_data(job, name), "Value")
            _text(value, "ValueString", text)
            _text(value, "DataType", kind)


def _total_materials(response: JobResponse) -> list[MaterialActual]:
    """Good, scrap and rework as materials too, where the entries do not say what was produced themselves.

    Never on a response that takes another back: it reports nothing.
    """
    if response.material is None or response.action == "delete":
        return []
    detailed = any(material.use in PRODUCING for material in response.materials)
    found = []
    for field, name in QUANTITIES.items():
        amount: Quantity | None = getattr(response, field)
        if amount is None or (field == "good" and detailed):
            continue
        found.append(
            MaterialActual(
                id=field,
                material=response.material,
                lot=response.lot if field == "good" else None,
                use=MaterialUse.PRODUCED if field == "good" else MaterialUse.OTHER,
                other_use=None if field == "good" else name,
                quantity=amount,
                description=response.scrap_reason if field == "scrap" else None,
            )
        )
    return found


def _quality(job: Element, summary: QualitySummary) -> None:
    data = _data(job, summary.metric, METRIC_SCHEME)
    scope = _add(data, "HierarchyScope")
    _text(scope, "EquipmentID", summary.equipment)
    _text(scope, "EquipmentLevel", summary.level.value)
    for key, field in QUALITY_KEYS.items():
        number: Decimal | None = getattr(summary, field)
        if number is not None:
            _value(data, number, summary.unit, key=key)
    if summary.out_of_range_s is not None:
        _value(data, summary.out_of_range_s, "SEC", key=OUT_OF_RANGE_KEY)
    _value(data, Decimal(summary.samples), "C62", key="samples", kind="integer")


def _person(job: Element, person: PersonActual) -> None:
    element = _add(job, "PersonnelActual")
    _text(element, "ID", person.id)
    _text(element, "PersonID", person.person)
    if person.role is not None:
        _text(element, "PersonnelUse", person.role)
    _quantity(element, person.time)


def _equipment(job: Element, equipment: EquipmentActual) -> None:
    element = _add(job, "EquipmentActual")
    _text(element, "ID", equipment.id)
    _text(element, "EquipmentID", equipment.equipment)
    if equipment.use is not None:
        _text(element, "EquipmentUse", equipment.use)
    _quantity(element, equipment.time)
    if equipment.level is not None:
        scope = _add(element, "HierarchyScope")
        _text(scope, "EquipmentID", equipment.equipment)
        _text(scope, "EquipmentLevel", equipment.level.value)


def _material(job: Element, material: MaterialActual) -> Element:
    """Writes an entry; gives its ID."""
    element = _add(job, "MaterialActual")
    identifier = _text(element, "ID", material.id)
    _text(element, "MaterialDefinitionID", material.material)
    if material.lot is not None:
        _text(element, "MaterialLotID", material.lot)
    if material.sublot is not None:
        _text(element, "MaterialSubLotID", material.sublot)
    if material.description is not None:
        _text(element, "Description", material.description)
    use = _text(element, "MaterialUse", material.use.value)
    if material.other_use is not None:
        use.set("OtherValue", material.other_use)
    if material.location is not None:
        location = _add(element, "StorageLocation")
        _text(location, "Location", material.location)
        _text(location, "LocationType", "Operational Location")
    _quantity(element, material.quantity)
    if material.basis is not None:
        held = _add(element, "MaterialActualProperty")
        _text(held, "ID", "Basis").set("schemeID", ACTUALS_SCHEME)
        value = _add(held, "Value")
        _text(value, "ValueString", material.basis)
        _text(value, "DataType", "string")
    return identifier


def _data(job: Element, name: str, scheme: str = ACTUALS_SCHEME) -> Element:
    data = _add(job, "JobResponseData")
    _text(data, "ID", name).set("schemeID", scheme)
    return data


def _value(
    data: Element, number: Decimal, unit: str, unit_as_received: str = "", *, key: str = "", kind: str = "decimal"
) -> None:
    value = _add(data, "Value")
    text = _text(value, "ValueString", _plain(number))
    _text(value, "DataType", kind)
    _unit(value, text, unit, unit_as_received)
    if key:
        _text(value, "Key", key)


def _quantity(element: Element, amount: Quantity | None) -> None:
    if amount is None:
        return
    found = _add(element, "Quantity")
    text = _text(found, "QuantityString", _plain(amount.value))
    _text(found, "DataType", "decimal")
    _unit(found, text, amount.unit, amount.unit_as_received)


def _unit(element: Element, text: Element, unit: str, unit_as_received: str) -> None:
    """The sender's own word where we have it: its ERP books in it. The UNECE code stands beside the number."""
    if unit:
        text.set("unitCode", unit)
    if unit_as_received or unit:
        _text(element, "UnitOfMeasure", unit_as_received or unit)


def _state(element: Element, name: str, response: JobResponse) -> None:
    state = _text(element, name, response.state.value)
    if response.state is ResponseState.OTHER and response.other_state is not None:
        state.set("OtherValue", response.other_state)


def _plain(number: Decimal) -> str:
    """Digits and a point, no exponent: not every reader takes ``1E+3``."""
    return f"{number:f}"


def _time(element: Element, name: str, moment: datetime | None) -> None:
    if moment is not None:
        _text(element, name, moment.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _named(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    """Each entry with its id; one that has none gets its number."""
    for number, entry in enumerate(entries, start=1):
        yield entry.id or str(number), entry


def _has_values(summary: QualitySummary) -> bool:
    return any(getattr(summary, field) is not None for field in QUALITY_KEYS.values())


def _complete(amount: Quantity | None) -> Quantity | None:
    """A quantity with both its units where there is one of them."""
    if amount is None:
        return None
    unit = amount.unit or normal_unit(amount.unit_as_received)
    return Quantity(value=amount.value, unit=unit, unit_as_received=amount.unit_as_received or unit)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _add(element: Element, name: str) -> Element:
    return etree.SubElement(element, _tag(name))


def _text(element: Element, name: str, text: str) -> Element:
    child = etree.SubElement(element, _tag(name))
    child.text = text
    return child
