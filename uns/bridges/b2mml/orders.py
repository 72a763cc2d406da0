"""What orders of every version have in common: their place, times, state, revision and id."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, NoReturn

import msgspec

from uns.bridges.b2mml.document import B2mmlDocument, line_of, name_of
from uns.bridges.b2mml.mapping import EquipmentNames, definition_state, revision_of_time
from uns.bridges.b2mml.parts import Parts, Produced
from uns.bridges.b2mml.values import Collected, Element, Refused, Values
from uns.context.records import (
    PRODUCING,
    DispatchStatus,
    Interval,
    MaterialRequirement,
    OperationsType,
    RequestState,
)
from uns.namespace.findings import nearest, shown
from uns.namespace.model import TopicTree

__all__ = ["OrderReader", "Place", "ReadOptions"]


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a document does not say of itself."""

    tree: TopicTree
    source: str  # as declared under ``context:`` in the topic tree
    by: str = ""
    equipment: Mapping[str, str] = {}  # the sender's code to an id of the tree; to "" for what is no equipment here
    default_equipment: str | None = None  # for orders that name none
    materials: AbstractSet[str] | None = None  # those that are known; None: not checked
    zone: str | None = None  # IANA zone of times without one; None: that of the equipment's site
    received_at: datetime | None = None  # when this document was first seen; orders documents that bear no date
    qualify_jobs: bool = False  # the sender repeats job ids from order to order: name jobs {work order}/{job}


class Place(NamedTuple):
    """Where a job belongs, and what its document said of that."""

    equipment: str  # where the job is defined
    used: tuple[str, ...]
    received: tuple[str, ...]


class OrderReader:
    """Reads what orders share, in one document. A broken order is reported and :class:`Refused`."""

    def __init__(self, document: B2mmlDocument, options: ReadOptions, findings: Collected) -> None:
        self._namespace = document.namespace
        self._options = options
        self._findings = findings
        self._names = EquipmentNames(options.tree, options.equipment)
        self.values = self._values = Values(document.namespace, findings)
        self.parts = self._parts = Parts(self._values, document.namespace)
        self.created_at: datetime | None = None  # by the document itself
        self.cancels = document.verb == "Cancel"

    def zone(self, equipment: str | None = None) -> str | None:
        """The zone of times without one: as told, else that of the equipment's site, else that of all sites."""
        return self._options.zone or self._names.zone_of(equipment)

    def place(self, element: Element, lineage: list[Element], segments: list[Element]) -> Place:
        """Required equipment counts before the scope, and a narrow scope before a wide one."""
        required = tuple(
            dict.fromkeys(
                code
                for segment in segments
                for code in self._parts.required(segment, "EquipmentRequirement", "EquipmentID")
            )
        )
        used = tuple(found for code in required if (found := self._find(element, code)))
        place = self._names.common(used)
        received = required
        if place is None:
            for level in lineage:
                scopes = [code for code in self._parts.scopes(level) if not self._names.is_site(code)]
                place = self._find(element, scopes[0]) if scopes else None
                if place is not None:
                    received = (*required, scopes[0])
                    break
        place = place or self._options.default_equipment
        if place is None:
            self._findings.error(
                "no-equipment",
                "the order names no equipment",
                line_of(element),
                "add HierarchyScope or EquipmentRequirement with an EquipmentID, or set 'default_equipment'",
            )
            raise Refused
        return Place(place, used or (place,), received)

    def _find(self, element: Element, code: str) -> str | None:
        """The id of an equipment that an order names; None where ``equipment:`` says that it is none of ours."""
        if self._options.equipment.get(code) == "":
            return None
        found = self._names.find(code)
        if found is None:
            near = "" if self._findings.is_full("error", "unknown-equipment") else nearest(code, self._names.known())
            self._findings.error(
                "unknown-equipment",
                f"equipment {shown(code)} is not in the topic tree",
                line_of(element),
                (near and near + " ")
                + "name it under 'equipment' of the bridge, add it to the tree, or correct the order and send it again",
            )
            raise Refused
        return found

    def checked_materials(self, element: Element, materials: tuple[MaterialRequirement, ...]) -> Produced:
        """What the order makes; refuses materials that are not known."""
        known = self._options.materials
        for material in materials:
            if known is not None and material.material not in known:
                self._findings.error(
                    "unknown-material",
                    f"material {shown(material.material)} is not known here",
                    line_of(element),
                    "add it to the master data, or correct the order and send it again",
                )
                raise Refused
        made = next((material for material in materials if material.use in PRODUCING), None)
        return Produced(None, None) if made is None else Produced(made.material, made.quantity)

    def planned(self, element: Element, lineage: list[Element], zone: str | None) -> Interval | None:
        """When an order is planned: by itself, else by what stands above it."""
        start = self._first_time(lineage, ("StartTime", "EarliestStartTime"), zone)
        end = self._first_time(lineage[:2], ("EndTime", "LatestEndTime"), zone)
        if start is not None and end is not None and end < start:
            self._findings.warning(
                "ends-before-start",
                f"the order ends {end.isoformat()} before it starts {start.isoformat()}; the end is left out",
                line_of(element),
                "correct the times",
            )
            end = None
        return None if start is None and end is None else Interval(start=start, end=end)

    def _first_time(self, lineage: list[Element], names: tuple[str, ...], zone: str | None) -> datetime | None:
        for element in lineage:
            for name in names:
                moment = self._values.time(element, name, zone)
                if moment is not None:
                    return moment
        return None

    def revision(self, element: Element, schedule: Element | None, zone: str | None) -> str:
        """When this was said: by the message, else the schedule, else the order, else when it came."""
        moment = self.created_at
        if moment is None and schedule is not None:
            moment = self._values.time(schedule, "PublishedDate", zone)
        moment = moment or self._values.time(element, "PublishedDate", zone) or self._options.received_at
        if moment is None:
            self._findings.error(
                "undated",
                "nothing says when this was sent, so that a later order could not be told from an earlier one",
                line_of(element),
                "add CreationDateTime or PublishedDate",
            )
            raise Refused
        return revision_of_time(moment)

    def state(self, element: Element, status: DispatchStatus | RequestState | None) -> str:
        """The state of the definition; claims of having run are reported and not believed."""
        if self.cancels:
            return "cancelled"
        state, as_said = definition_state(status or RequestState.RELEASED)
        if not as_said and status is not None:
            self._findings.warning(
                "planned-is-not-actual",
                f"the order claims to be {status.value!r}; it is taken as a definition, and what ran is what the "
                "plant says",
                line_of(element),
                "nothing, if that is what is meant",
            )
        return state

    def state_above(self, *elements: Element | None) -> RequestState | None:
        """The state of the request or schedule around an order."""
        for element in elements:
            if element is not None:
                for name in ("RequestState", "ScheduleState"):
                    state = self._parts.state(element, name, RequestState)[0]
                    if state is not None:
                        return state
        return None

    def kind(self, *elements: Element | None) -> OperationsType:
        """The category of work, by itself or what stands above."""
        for element in elements:
            if element is not None:
                for name in ("WorkType", "OperationsType"):
                    kind = self._parts.state(element, name, OperationsType)[0]
                    if kind is not None:
                        return kind
        return OperationsType.PRODUCTION

    def priority(self, *elements: Element) -> Decimal | None:
        """The priority, by the first that has one."""
        for element in elements:
            text = self._values.text(element, "Priority")
            if text is not None:
                return self._values.decimal(text, "Priority", line_of(element))
        return None

    def id(self, element: Element, what: str) -> str:
        """The ID that an element must have."""
        found = self._values.identifier(element, "ID")
        if found is None:
            self.missing_id(element, what)
        return found

    def missing_id(self, element: Element, what: str) -> NoReturn:
        """Refuse what has no ID."""
        self._findings.error("no-id", f"a {what} has no ID", line_of(element), "give it one that stays the same")
        raise Refused

    def above(self, element: Element, names: tuple[str, ...]) -> Element | None:
        """The nearest element around this one that has one of these names."""
        parent = element.getparent()
        while parent is not None and name_of(parent, self._namespace) not in names:
            parent = parent.getparent()
        return parent
