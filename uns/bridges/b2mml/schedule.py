"""Reading schedules: documents of orders become job definitions, order by order, in bounded memory.

Planned is not actual. Whatever state a schedule claims for an order, what is read is a definition: it says that a job
exists and where it belongs. When it began and ended, the plant tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import msgspec

from uns.bridges.b2mml.document import (
    B2mmlDocument,
    DocumentRefused,
    Limits,
    forget,
    line_of,
    name_of,
    open_document,
)
from uns.bridges.b2mml.mapping import definition
from uns.bridges.b2mml.orders import OrderReader, ReadOptions
from uns.bridges.b2mml.parts import Produced, word_of
from uns.bridges.b2mml.values import Collected, Element, Refused
from uns.context.facts import Fact
from uns.context.records import (
    DispatchStatus,
    JobCommand,
    JobOrder,
    RequestState,
    WorkOrder,
)
from uns.context.validation import TEXT_CHARACTERS_MAX
from uns.namespace.findings import Finding, shown

__all__ = ["JobDefinition", "ReadOptions", "ScheduleReading", "read_schedule"]

_Read = Callable[[Element], None]

_AHEAD_MAX = timedelta(days=1)  # a document from further in the future would outrank every correction until then

_WORK_NOUNS = ("WorkSchedule", "JobList")
_SEGMENT_NOUNS = ("ProductionSchedule", "OperationsSchedule")
_TAKEN_VERBS = ("", "Sync", "Process", "Change", "Cancel")
_SCHEDULES = ("WorkSchedule", "WorkScheduleChild", "JobList", *_SEGMENT_NOUNS)
_WORK_REQUESTS = ("WorkRequest", "WorkRequestChild")
_SEGMENT_REQUESTS = ("ProductionRequest", "OperationsRequest")


class JobDefinition(msgspec.Struct, frozen=True):
    """One order as it goes on: the fact to publish, and the record to keep."""

    fact: Fact
    job_order: JobOrder
    line: int


class ScheduleReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says. ``readable`` is False where nothing of it may count; ``findings`` then say why."""

    readable: bool
    version: str = ""
    verb: str = ""
    noun: str = ""
    bod_id: str | None = None
    sender: str | None = None
    created_at: datetime | None = None
    definitions: tuple[JobDefinition, ...] = ()
    work_orders: tuple[WorkOrder, ...] = ()
    refused_orders: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts to publish, in order of the document."""
        return tuple(found.fact for found in self.definitions)


def read_schedule(
    body: bytes, options: ReadOptions, *, file: str = "document.xml", limits: Limits | None = None
) -> ScheduleReading:
    """Read one document. Never raises for what is in it: what is wrong is a finding that says what to do."""
    findings = Collected(file)
    limits = limits or Limits()
    try:
        document = open_document(body, limits)
        reader = _Reader(document, options, findings, limits)
        reader.read()
    except DocumentRefused as refused:
        findings.error(refused.rule, refused.text, refused.line, refused.next_step, column=refused.column)
        return ScheduleReading(readable=False, findings=findings.all())
    return reader.reading()


class _Reader:
    """One document from begin to end."""

    def __init__(self, document: B2mmlDocument, options: ReadOptions, findings: Collected, limits: Limits) -> None:
        self._document = document
        self._options = options
        self._findings = findings
        self._limits = limits
        self._order = OrderReader(document, options, findings)
        self._values = self._order.values
        self._parts = self._order.parts
        self._zone = self._order.zone()
        self._order_zone: str | None = None  # of the order that is being read
        self._bod_id: str | None = None
        self._sender: str | None = None
        self._orders = 0
        self._refused = 0
        self._produced: Produced | None = None  # of the order that is being read
        self._jobs: dict[str, JobDefinition] = {}
        self._fact_of_job: dict[str, str] = {}
        self._contradicted: set[str] = set()
        self._work_orders: dict[str, WorkOrder] = {}

    def read(self) -> None:
        """Go through the document once; raises :class:`DocumentRefused`."""
        document = self._document
        self._check_root()
        orders = {"JobOrder": self._job_order, **dict.fromkeys(_WORK_REQUESTS, self._work_request)}
        if document.noun in _SEGMENT_NOUNS:
            orders = dict.fromkeys(_SEGMENT_REQUESTS, self._segment_request)
        for name, element in document.ends("ApplicationArea", "ActionExpression", *orders):
            if name in orders:
                self._one(orders[name], element)
                forget(element)
            elif name == "ApplicationArea":
                self._application_area(element)
                forget(element)
            elif element.get("actionCode") == "Delete":
                self._order.cancels = True
        if not self._orders:
            self._findings.error("no-orders", "the document holds no order", 1, "send at least one, or no document")

    def reading(self) -> ScheduleReading:
        """The result, without the orders that contradict themselves."""
        definitions = tuple(found for fact_id, found in self._jobs.items() if fact_id not in self._contradicted)
        document = self._document
        return ScheduleReading(
            readable=True,
            version=document.version,
            verb=document.verb,
            noun=document.noun,
            bod_id=self._bod_id,
            sender=self._sender,
            created_at=self._order.created_at,
            definitions=definitions,
            work_orders=tuple(self._work_orders.values()),
            refused_orders=self._refused + len(self._contradicted),
            findings=self._findings.all(),
        )

    # -- the document itself

    def _check_root(self) -> None:
        document = self._document
        if document.noun not in (*_WORK_NOUNS, *_SEGMENT_NOUNS):
            raise DocumentRefused(
                "wrong-root",
                f"the root {shown(document.root_name)} is no schedule of orders",
                "send WorkSchedule, SyncWorkSchedule, ProcessWorkSchedule or, before V0701, ProductionSchedule",
            )
        if document.verb not in _TAKEN_VERBS:
            raise DocumentRefused(
                "wrong-verb",
                f"{document.root_name} asks or answers; it gives no orders",
                f"send Sync{document.noun} or Process{document.noun}",
            )
        if document.verb and document.release_id is None:
            self._findings.warning(
                "no-release-id", f"{document.root_name} has no releaseID, which B2MML requires", 1, "add releaseID"
            )

    def _application_area(self, element: Element) -> None:
        sender = self._values.child(element, "Sender")
        try:
            self._bod_id = self._values.identifier(element, "BODID")
            self._sender = None if sender is None else self._values.identifier(sender, "LogicalID")
            self._order.created_at = self._values.time(element, "CreationDateTime", self._zone)
        except Refused:
            return
        if self._order.created_at is None:
            self._findings.warning(
                "no-creation-time", "ApplicationArea has no CreationDateTime", line_of(element), "add it"
            )
        elif self._options.received_at is not None and self._order.created_at > self._options.received_at + _AHEAD_MAX:
            raise DocumentRefused(
                "from-the-future",
                f"CreationDateTime {self._order.created_at.isoformat()} is more than a day ahead of its arrival; "
                "it would outrank every correction until then",
                "set the sender's clock and send it again",
                line=line_of(element),
            )

    def _one(self, read: _Read, element: Element) -> None:
        """Read one order; what is wrong with it does not touch the others."""
        try:
            read(element)
        except Refused:
            self._refused += 1
        except ValueError as error:  # a record that cannot be
            self._findings.error("value", str(error), line_of(element), "correct the order and send it again")
            self._refused += 1

    # -- WorkSchedule and JobList

    def _job_order(self, element: Element) -> None:
        request = self._order.above(element, _WORK_REQUESTS)
        schedule = self._order.above(element, _SCHEDULES)
        self._count(element)
        own = self._order.id(element, "JobOrder")
        work_order = None if request is None else self._order.id(request, "WorkRequest")
        status, received = self._parts.state(element, "DispatchStatus", DispatchStatus)
        state = self._order.state(element, status or self._order.state_above(request, schedule))
        command = self._parts.state(element, "Command", JobCommand)[0]
        if command is not None:
            self._findings.warning(
                "command",
                f"job {shown(own)} commands {command.value!r}; orders define jobs here and do not control the plant",
                line_of(element),
                "leave Command out",
            )
        segments = self._values.identifiers(element, "SegmentRequirementID")
        self._enter(
            element,
            lineage=[e for e in (element, request, schedule) if e is not None],
            segments=[element],
            state=state,
            job=JobOrder(
                job_order=f"{work_order}/{own}" if self._options.qualify_jobs and work_order else own,
                work_order=work_order,
                operation=segments[0] if len(segments) == 1 else None,
                kind=self._order.kind(element, request, schedule),
                status=status or DispatchStatus.PENDING,
                status_as_received=received,
                command=command,
                version=self._values.identifier(element, "Version"),
                work_master=self._values.identifier(element, "WorkMasterID"),
                work_master_version=self._values.identifier(element, "WorkMasterVersion"),
            ),
        )

    def _work_request(self, element: Element) -> None:
        produced, self._produced = self._produced, None
        self._work_order(element, self._order.id(element, "WorkRequest"), produced)

    # -- ProductionSchedule and OperationsSchedule

    def _segment_request(self, element: Element) -> None:
        self._produced = None
        work_order = self._order.id(element, name_of(element, self._document.namespace))
        segments = list(self._values.children(element, "SegmentRequirement"))
        for segment in segments:
            self._segment(segment, element, work_order, ())
        if not segments:
            self._count(element)
            self._segment_job(element, element, work_order, None, [element])
        self._work_order(element, work_order, self._produced)

    def _segment(self, segment: Element, request: Element, work_order: str, above: tuple[str, ...]) -> None:
        """A segment is a job; segments below it that have no ID are parts of it, those that have are jobs too."""
        self._count(segment)
        own = self._values.identifier(segment, "ID")
        if own is None:
            own = self._values.identifier(segment, "ProcessSegmentID") or self._values.identifier(
                segment, "ProductSegmentID"
            )
            if own is None:
                self._order.missing_id(segment, "SegmentRequirement")
            self._findings.warning(
                "no-id",
                f"a SegmentRequirement of {shown(work_order)} has no ID; it is named by its segment {shown(own)}",
                line_of(segment),
                "give it an ID",
            )
        path = (*above, own)
        parts: list[Element] = [segment]
        jobs: list[Element] = []
        for below in self._below(segment):
            (parts if self._values.identifier(below, "ID") is None else jobs).append(below)
        try:
            self._segment_job(segment, request, work_order, "/".join(path), parts)
        except Refused:
            self._refused += 1
        for below in jobs:
            self._segment(below, request, work_order, path)

    def _below(self, segment: Element) -> Iterator[Element]:
        """Segments below this one: down to those that have an ID, and no further."""
        for child in self._values.children(segment, "SegmentRequirement"):
            yield child
            if self._values.identifier(child, "ID") is None:
                yield from self._below(child)

    def _segment_job(
        self, element: Element, request: Element, work_order: str, operation: str | None, segments: list[Element]
    ) -> None:
        schedule = self._order.above(element, _SCHEDULES)
        status, received = self._parts.state(element, "SegmentState", RequestState)
        rules = self._values.identifiers(request, "ProductProductionRuleID", "OperationsDefinitionID")
        self._enter(
            element,
            lineage=[e for e in dict.fromkeys((element, request, schedule)) if e is not None],
            segments=segments,
            state=self._order.state(element, status or self._order.state_above(request, schedule)),
            job=JobOrder(
                job_order=work_order if operation is None else f"{work_order}/{operation}",
                work_order=work_order,
                operation=operation,
                kind=self._order.kind(element, request, schedule),
                status=(status and word_of(DispatchStatus, status.value)) or DispatchStatus.PENDING,
                status_as_received=received,
                work_master=rules[0] if rules else None,
                work_master_version=self._values.identifier(request, "OperationsDefinitionVersion"),
            ),
        )

    # -- what both have in common

    def _enter(
        self, element: Element, *, lineage: list[Element], segments: list[Element], state: str, job: JobOrder
    ) -> None:
        """Complete a job by what stands in its segments and above it, and keep it as a definition."""
        place = self._order.place(element, lineage, segments)
        zone = self._order_zone = self._order.zone(place.equipment)
        planned = self._order.planned(element, lineage, zone)
        materials = tuple(material for segment in segments for material in self._parts.materials(segment))
        produced = self._order.checked_materials(element, materials)
        if produced.material is not None:
            self._produced = produced
        schedule = lineage[-1] if name_of(lineage[-1], self._document.namespace) in _SCHEDULES else None
        job = msgspec.structs.replace(
            job,
            source=self._options.source,
            source_rev=self._order.revision(element, schedule, zone),
            schedule=None if schedule is None else self._values.identifier(schedule, "ID"),
            equipment=place.used,
            equipment_as_received=place.received,
            material=produced.material,
            quantity=produced.quantity,
            priority=self._order.priority(*lineage[:2]),
            planned=planned,
            parameters=tuple(p for segment in segments for p in self._parts.parameters(segment)),
            materials=materials,
            persons=self._parts.required(element, "PersonnelRequirement", "PersonID"),
            description=self._values.description(element),
        )
        start = (planned.start if planned else None) or self._order.created_at or self._options.received_at
        if start is None:
            self._findings.error(
                "no-time",
                f"nothing says when job {shown(job.job_order)} is planned, nor when the document was made",
                line_of(element),
                "add StartTime",
            )
            raise Refused
        end = planned.end if planned else None
        fact = definition(
            job,
            equipment=place.equipment,
            state=state,
            valid_from=start,
            valid_to=end if end is not None and end > start else None,
            by=self._options.by or self._sender or "",
        )
        if max(len(fact.id), len(job.job_order)) > TEXT_CHARACTERS_MAX:
            self._findings.error(
                "too-long",
                f"the ids of job {shown(job.job_order)} have {len(fact.id)} characters together",
                line_of(element),
                f"at most {TEXT_CHARACTERS_MAX} are taken",
            )
            raise Refused
        self._keep(JobDefinition(fact, job, line_of(element)))

    def _keep(self, found: JobDefinition) -> None:
        fact_id, job_order = found.fact.id, found.job_order.job_order
        before = self._jobs.get(fact_id)
        other = self._fact_of_job.setdefault(job_order, fact_id)
        if before is None and other == fact_id:
            self._jobs[fact_id] = found
        elif before is not None and before.fact == found.fact and before.job_order == found.job_order:
            self._findings.warning(
                "duplicate-order",
                f"job {shown(job_order)} stands here as in line {before.line}; it is taken once",
                found.line,
                "send it once",
            )
        elif before is not None:
            self._contradicted.add(fact_id)
            self._findings.error(
                "contradicting-order",
                f"job {shown(job_order)} says something else in line {before.line}; neither is taken",
                found.line,
                "send it once, as it is meant",
            )
        else:
            self._contradicted.update((fact_id, other))
            self._jobs[fact_id] = found
            self._findings.error(
                "job-id-not-unique",
                f"job {shown(job_order)} belongs to two work orders in this document; neither is taken",
                found.line,
                "give each job an ID of its own, or set 'qualify_jobs' to name jobs {work order}/{job}",
            )

    def _work_order(self, element: Element, work_order: str, produced: Produced | None) -> None:
        schedule = self._order.above(element, _SCHEDULES)
        state, received = self._parts.state(element, "RequestState", RequestState)
        zone = self._order_zone or self._zone
        before = self._work_orders.get(work_order)
        self._work_orders[work_order] = WorkOrder(
            work_order=work_order,
            source=self._options.source,
            source_rev=self._order.revision(element, schedule, zone),
            kind=self._order.kind(element, schedule),
            state=RequestState.CANCELLED if self._order.cancels else state or RequestState.RELEASED,
            state_as_received=received,
            version=self._values.identifier(element, "Version"),
            schedule=None if schedule is None else self._values.identifier(schedule, "ID"),
            operations_request=self._values.identifier(element, "OperationsRequestID"),
            material=produced.material if produced else before.material if before else None,
            quantity=produced.quantity if produced else before.quantity if before else None,
            priority=self._order.priority(element),
            planned=self._order.planned(element, [element], zone),
            description=self._values.description(element),
        )

    def _count(self, element: Element) -> None:
        self._orders += 1
        if self._orders > self._limits.orders_max:
            raise DocumentRefused(
                "too-many-orders",
                f"the document holds more than orders_max = {self._limits.orders_max:,} orders",
                "split it: one schedule may come in several documents",
                line=line_of(element),
            )
