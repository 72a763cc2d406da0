"""Reading performances: what we wrote comes back as the record it was made of; V0401 and V0600 are read tolerantly.

Used to look whether a response was already taken, and for actuals that another system reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import msgspec

from uns.bridges.b2mml.document import B2mmlDocument, DocumentRefused, Limits, forget, line_of, name_of, open_document
from uns.bridges.b2mml.parts import Parts
from uns.bridges.b2mml.performance import (
    ACTION_CODES,
    ACTUALS_SCHEME,
    METRIC_SCHEME,
    OUT_OF_RANGE_KEY,
    QUALITY_KEYS,
    TOTALS,
)
from uns.bridges.b2mml.values import Collected, Element, Refused, Values
from uns.context.records import (
    Basis,
    EquipmentActual,
    EquipmentLevel,
    Interval,
    JobResponse,
    MaterialActual,
    MaterialUse,
    OperationsType,
    PersonActual,
    QualitySummary,
    Quantity,
    ResponseAction,
    ResponseState,
    normal_unit,
)
from uns.namespace.findings import Finding

__all__ = ["PerformanceReading", "read_performance"]

_NOUNS = ("WorkPerformance", "ProductionPerformance", "OperationsPerformance")
_RESPONSES = ("WorkResponse", "WorkResponseChild", "ProductionResponse", "OperationsResponse")
_JOBS = ("JobResponse", "SegmentResponse")
_USE_OF_ELEMENT = {
    "MaterialProducedActual": MaterialUse.PRODUCED,
    "MaterialConsumedActual": MaterialUse.CONSUMED,
    "ConsumableActual": MaterialUse.CONSUMABLE,
}
_MATERIALS = ("MaterialActual", *_USE_OF_ELEMENT)
_DATA = ("JobResponseData", "SegmentData", "ProductionData")


class PerformanceReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a document reports. ``readable`` is False where nothing of it may count."""

    readable: bool
    version: str = ""
    bod_id: str | None = None
    sender: str | None = None
    created_at: datetime | None = None
    responses: tuple[JobResponse, ...] = ()
    refused_responses: int = 0
    findings: tuple[Finding, ...] = ()


def read_performance(
    body: bytes,
    *,
    source: str = "",
    zone: str | None = None,
    received_at: datetime | None = None,
    file: str = "document.xml",
    limits: Limits | None = None,
) -> PerformanceReading:
    """Read one document; what is wrong with it is a finding."""
    findings = Collected(file)
    try:
        document = open_document(body, limits or Limits())
        reader = _Reader(document, findings, source=source, zone=zone, received_at=received_at)
        reader.read()
    except DocumentRefused as refused:
        findings.error(refused.rule, refused.text, refused.line, refused.next_step, column=refused.column)
        return PerformanceReading(readable=False, findings=findings.all())
    return PerformanceReading(
        readable=True,
        version=document.version,
        bod_id=reader.bod_id,
        sender=reader.sender,
        created_at=reader.created_at,
        responses=tuple(reader.responses),
        refused_responses=reader.refused,
        findings=findings.all(),
    )


class _Reader:
    def __init__(
        self,
        document: B2mmlDocument,
        findings: Collected,
        *,
        source: str,
        zone: str | None,
        received_at: datetime | None,
    ) -> None:
        self._document = document
        self._findings = findings
        self._source = source
        self._zone = zone
        self._received_at = received_at
        self._values = Values(document.namespace, findings)
        self._parts = Parts(self._values, document.namespace)
        self.bod_id: str | None = None
        self.sender: str | None = None
        self.created_at: datetime | None = None
        self.responses: list[JobResponse] = []
        self.refused = 0
        self._component = ""
        self._reference: str | None = None
        self._action: ResponseAction = "add"
        self._reason: str | None = None

    def read(self) -> None:
        """Go through the document once; raises :class:`DocumentRefused`."""
        document = self._document
        if document.noun not in _NOUNS:
            raise DocumentRefused(
                "wrong-root", f"the root {document.root_name!r} is no performance", "send SyncWorkPerformance"
            )
        if document.verb and document.release_id is None:
            self._findings.warning(
                "no-release-id", f"{document.root_name} has no releaseID, which B2MML requires", 1, "add releaseID"
            )
        for name, element in document.ends("ApplicationArea", "ActionCriteria", *_JOBS, *_RESPONSES):
            if name == "ApplicationArea":
                self._application_area(element)
            elif name == "ActionCriteria":
                self._criteria(element)
                continue
            elif name in _JOBS:
                if not self._is_top(element):
                    continue
                self._one(element)
            forget(element)

    def _is_top(self, element: Element) -> bool:
        """Segments below segments are parts of the uppermost."""
        parent = element.getparent()
        return parent is not None and name_of(parent, self._document.namespace) in _RESPONSES

    def _application_area(self, element: Element) -> None:
        sender = self._values.child(element, "Sender")
        try:
            self.bod_id = self._values.identifier(element, "BODID")
            if sender is not None:
                self.sender = self._values.identifier(sender, "LogicalID")
                self._component = self._values.identifier(sender, "ComponentID") or ""
                self._reference = self._values.identifier(sender, "ReferenceID")
            self.created_at = self._values.time(element, "CreationDateTime", self._zone)
        except Refused:
            return

    def _criteria(self, element: Element) -> None:
        expression = self._values.child(element, "ActionExpression")
        if expression is not None:
            code = expression.get("actionCode")
            self._action = next((action for action, known in ACTION_CODES.items() if known == code), "add")
        change = self._values.child(element, "ChangeStatus")
        self._reason = None if change is None else self._line(change, "Reason")

    def _one(self, element: Element) -> None:
        try:
            self.responses.append(self._response(element))
        except Refused:
            self.refused += 1
        except ValueError as error:
            self._findings.error("value", str(error), line_of(element), "correct the response and send it again")
            self.refused += 1

    def _response(self, element: Element) -> JobResponse:
        work = element.getparent()
        performance = None if work is None else work.getparent()
        work_order = None
        if work is not None:
            work_order = self._line(work, "WorkRequestID") or self._line(work, "ProductionRequestID")
            if work_order is None and self._document.noun != "WorkPerformance":
                work_order = self._line(work, "ID")  # V0401: the response bears the number of the request
        own = self._line(element, "ID") or self._line(element, "ProcessSegmentID")
        job = self._line(element, "JobOrderID") or "/".join(part for part in (work_order, own) if part)
        published = self._values.time(element, "PublishedDate", self._zone) or self.created_at or self._received_at
        if not job or published is None:
            self._findings.error(
                "no-id" if not job else "undated",
                "a response names no job" if not job else "nothing says when this was reported",
                line_of(element),
                "add JobOrderID" if not job else "add CreationDateTime",
            )
            raise Refused
        state, other = self._parts.state(element, "JobState", ResponseState)
        if state is None:
            state, other = self._parts.state(element, "SegmentState", ResponseState)
        facts, totals, quality = self._data(element)
        reverses = self._reference if self._action != "add" else None
        return JobResponse(
            response_id=self._key(own, job),
            job_order=job,
            work_order=work_order,
            schedule=None if performance is None else self._schedule(performance, work_order, job),
            operation=facts.get("Operation"),
            source=self._source or self._component,
            action=self._action if reverses is not None else "add",
            reverses=reverses,
            reason=self._reason,
            revision=int(self._line(element, "Version") or 0) if _is_number(self._line(element, "Version")) else 0,
            kind=self._parts.state(element, "WorkType", OperationsType)[0] or OperationsType.PRODUCTION,
            state=state or ResponseState.OTHER,
            other_state=(other if other != "Other" else None) or None if state is ResponseState.OTHER else None,
            final=facts.get("Final", "false") == "true",
            actual=self._actual(element),
            work_master=self._line(element, "WorkMasterID"),
            work_master_version=self._line(element, "WorkMasterVersion"),
            material=facts.get("Material"),
            lot=facts.get("Lot"),
            scrap_reason=facts.get("ScrapReason"),
            materials=self._materials(element),
            equipment=self._equipment(element),
            persons=self._persons(element),
            quality=quality,
            description=self._line(element, "Description"),
            published_at=published.astimezone(UTC),
            **totals,
        )

    def _key(self, own: str | None, job: str) -> str:
        """The key that the document gives. Before V0701 jobs had none: the document's own, with the job."""
        if self._document.noun == "WorkPerformance" and own is not None:
            return own
        text = ":".join(part for part in (self.bod_id, job) if part)
        return "".join(c if c.isascii() and (c.isalnum() or c in "._:-") else "_" for c in text)[:128].lstrip("._:-")

    def _schedule(self, performance: Element, work_order: str | None, job: str) -> str | None:
        """The schedule, unless it only stands in for the order."""
        found = self._line(performance, "WorkScheduleID") or self._line(performance, "ProductionScheduleID")
        return None if found == (work_order or job) else found

    def _actual(self, element: Element) -> Interval | None:
        start = self._values.time(element, "StartTime", self._zone)
        start = start or self._values.time(element, "ActualStartTime", self._zone)
        end = self._values.time(element, "EndTime", self._zone)
        end = end or self._values.time(element, "ActualEndTime", self._zone)
        return None if start is None and end is None else Interval(start=start, end=end)

    def _data(self, element: Element) -> tuple[dict[str, str], dict[str, Any], tuple[QualitySummary, ...]]:
        """(single words, totals, metrics). What others put into such data has no meaning that we know."""
        facts: dict[str, str] = {}
        totals: dict[str, Any] = {}
        quality: list[QualitySummary] = []
        for data in self._values.children(element, *_DATA):
            identifier = self._values.child(data, "ID")
            scheme = None if identifier is None else identifier.get("schemeID")
            name = self._line(data, "ID")
            if name is None or scheme not in (ACTUALS_SCHEME, METRIC_SCHEME):
                continue
            if scheme == METRIC_SCHEME:
                quality.append(self._quality(data, name))
                continue
            value = self._values.child(data, "Value")
            text = None if value is None else self._line(value, "ValueString")
            if value is None or text is None:
                continue
            field = _FIELDS.get(name)
            if field is None:
                facts[name] = text
            else:
                totals[field] = self._amount(value, "ValueString")
        return facts, totals, tuple(quality)

    def _quality(self, data: Element, metric: str) -> QualitySummary:
        scope = self._values.child(data, "HierarchyScope")
        found: dict[str, Any] = {}
        for value in self._values.children(data, "Value"):
            key = self._line(value, "Key") or ""
            amount = self._amount(value, "ValueString")
            if amount is None:
                continue
            if key in QUALITY_KEYS:
                found[QUALITY_KEYS[key]] = amount.value
                found["unit"] = amount.unit or amount.unit_as_received
            elif key == OUT_OF_RANGE_KEY:
                found["out_of_range_s"] = amount.value
            elif key == "samples":
                found["samples"] = int(amount.value)
        level = None if scope is None else self._parts.state(scope, "EquipmentLevel", EquipmentLevel)[0]
        return QualitySummary(
            metric=metric,
            equipment=(None if scope is None else self._line(scope, "EquipmentID")) or "?",
            level=level or EquipmentLevel.OTHER,
            **found,
        )

    def _materials(self, element: Element) -> tuple[MaterialActual, ...]:
        found: list[MaterialActual] = []
        for child in self._deep(element, _MATERIALS):
            identifier = self._values.child(child, "ID")
            if identifier is not None and identifier.get("schemeID") == ACTUALS_SCHEME:
                continue  # stands for a total, which was read as such
            names = self._values.identifiers(child, "MaterialDefinitionID", "MaterialClassID")
            if not names:
                self._findings.warning(
                    "no-material", "a material names no MaterialDefinitionID; it is left out", line_of(child), "name it"
                )
                continue
            use = _USE_OF_ELEMENT.get(name_of(child, self._document.namespace))
            word, other = (use, "") if use else self._parts.state(child, "MaterialUse", MaterialUse)
            lots = self._values.identifiers(child, "MaterialLotID")
            sublots = self._values.identifiers(child, "MaterialSubLotID")
            found.append(
                MaterialActual(
                    id=self._line(child, "ID") or str(len(found) + 1),
                    material=names[0],
                    use=word or MaterialUse.OTHER,
                    other_use=(other if other != "Other" else "") or None
                    if word in (None, MaterialUse.OTHER)
                    else None,
                    lot=lots[0] if lots else None,
                    sublot=sublots[0] if sublots else None,
                    quantity=self._quantity(child),
                    location=self._location(child),
                    basis=self._basis(child),
                    description=self._line(child, "Description"),
                )
            )
        return tuple(found)

    def _equipment(self, element: Element) -> tuple[EquipmentActual, ...]:
        found: list[EquipmentActual] = []
        for child in self._deep(element, ("EquipmentActual",)):
            name = self._line(child, "EquipmentID")
            if name is None:
                continue
            scope = self._values.child(child, "HierarchyScope")
            found.append(
                EquipmentActual(
                    id=self._line(child, "ID") or str(len(found) + 1),
                    equipment=name,
                    level=None if scope is None else self._parts.state(scope, "EquipmentLevel", EquipmentLevel)[0],
                    use=self._line(child, "EquipmentUse"),
                    time=self._quantity(child),
                )
            )
        return tuple(found)

    def _persons(self, element: Element) -> tuple[PersonActual, ...]:
        found: list[PersonActual] = []
        for child in self._deep(element, ("PersonnelActual",)):
            name = self._line(child, "PersonID")
            if name is not None:
                found.append(
                    PersonActual(
                        id=self._line(child, "ID") or str(len(found) + 1),
                        person=name,
                        role=self._line(child, "PersonnelUse"),
                        time=self._quantity(child),
                    )
                )
        return tuple(found)

    def _deep(self, element: Element, names: tuple[str, ...]) -> list[Element]:
        """The children of these names, and those of segments below."""
        found = list(self._values.children(element, *names))
        for below in self._values.children(element, "SegmentResponse", "SegmentResponseChild"):
            found += self._deep(below, names)
        return found

    def _location(self, element: Element) -> str | None:
        storage = self._values.child(element, "StorageLocation")
        return None if storage is None else self._line(storage, "Location")

    def _basis(self, element: Element) -> Basis | None:
        for held in self._values.children(element, "MaterialActualProperty"):
            value = self._values.child(held, "Value")
            if self._line(held, "ID") == "Basis" and value is not None:
                text = self._line(value, "ValueString")
                return next((known for known in _BASES if known == text), None)
        return None

    def _quantity(self, element: Element) -> Quantity | None:
        found = self._values.child(element, "Quantity")
        return None if found is None else self._amount(found, "QuantityString")

    def _amount(self, element: Element, name: str) -> Quantity | None:
        child = self._values.child(element, name)
        text = self._line(element, name)
        if child is None or text is None:
            return None
        value: Decimal = self._values.decimal(text, name, line_of(child))
        received = self._line(element, "UnitOfMeasure") or ""
        return Quantity(value=value, unit=child.get("unitCode") or normal_unit(received), unit_as_received=received)

    def _line(self, element: Element, name: str) -> str | None:
        """The text of a child, trimmed and otherwise as it stands."""
        child = self._values.child(element, name)
        return None if child is None else (child.text or "").strip() or None


_FIELDS: Mapping[str, str] = {name: field for field, name in TOTALS.items()}
_BASES: tuple[Basis, ...] = get_args(Basis)


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit() and len(text) < 10
