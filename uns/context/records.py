"""Records of ISA-95 objects: orders, responses, lots, equipment, people (JSON Schemas in schemas/).

They use the words and enumerations of B2MML and belong to no file format. Three rules hold for all of them:

* Identifiers are texts and keep their leading zeros: ``"0010"`` is not ``"10"``. They are printable and trimmed.
* Quantities are decimals, never floats, with the unit as it was received beside the UNECE code it stands for.
* Times have a zone. A record with a naive time cannot be made; who reads one must know its zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from uns.context.times import ns_of
from uns.context.words import (
    PRODUCING,
    DispatchStatus,
    Disposition,
    JobCommand,
    MaterialUse,
    OperationsType,
    RequestState,
    ResponseState,
)
from uns.namespace.model import EquipmentLevel
from uns.namespace.units import UNITS, code_of

__all__ = [
    "DECIMAL_DIGITS_MAX",
    "PRODUCING",
    "RECORD_TEXT_CHARACTERS_MAX",
    "Basis",
    "DispatchStatus",
    "Disposition",
    "EquipmentActual",
    "EquipmentLevel",
    "EquipmentPlacement",
    "EquipmentRecord",
    "Interval",
    "JobCommand",
    "JobOrder",
    "JobResponse",
    "Lot",
    "MaterialActual",
    "MaterialRequirement",
    "MaterialUse",
    "OperationsType",
    "Parameter",
    "Person",
    "PersonActual",
    "PersonAssignment",
    "QualitySummary",
    "Quantity",
    "Record",
    "RequestState",
    "ResponseAction",
    "ResponseState",
    "Shift",
    "WorkOrder",
    "normal_unit",
    "printable",
    "quantity",
]

RECORD_TEXT_CHARACTERS_MAX = 1024  # of one text in a record
DECIMAL_DIGITS_MAX = 60  # of a decimal written out in full; no plant counts further

# How a consumed or produced quantity was found.
Basis = Literal["measured", "declared", "backflush"]
# What a response does with what was said before: nothing, replace one response, take one back.
ResponseAction = Literal["add", "replace", "delete"]

# ---------------------------------------------------------------------------------------------------------------------
# Values

Zoned = Annotated[datetime, msgspec.Meta(tz=True)]

# Control characters, lone surrogates and what XML cannot hold; and blanks at either end.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def _check_text(owner: str, name: str, text: str) -> None:
    if len(text) > RECORD_TEXT_CHARACTERS_MAX:
        raise ValueError(f"{owner}.{name} has {len(text)} characters; at most {RECORD_TEXT_CHARACTERS_MAX} are taken")
    if text != text.strip():
        raise ValueError(f"{owner}.{name} {text[:40]!r} begins or ends with a blank; trim it")
    if _UNPRINTABLE.search(text):
        raise ValueError(f"{owner}.{name} {text[:40]!r} holds unprintable characters; send printable text")


def printable(text: str) -> str:
    """The text as a record takes it: trimmed, with U+FFFD for what cannot be printed.

    >>> printable(" WO-10234 ")
    'WO-10234'
    """
    return _UNPRINTABLE.sub("\ufffd", text[:RECORD_TEXT_CHARACTERS_MAX]).strip()


def _check_decimal(owner: str, name: str, value: Decimal) -> None:
    if not value.is_finite():
        raise ValueError(f"{owner}.{name} is {value}; a quantity is a finite decimal, leave it out if there is none")
    if value and max(value.adjusted() + 1, 0) - min(int(value.as_tuple().exponent), 0) > DECIMAL_DIGITS_MAX:
        raise ValueError(f"{owner}.{name} needs more than {DECIMAL_DIGITS_MAX} digits written out; round it")


def _check_time(owner: str, name: str, value: datetime) -> None:
    if value.tzinfo is None:
        raise ValueError(f"{owner}.{name} {value.isoformat()} has no zone; say in which zone it is meant")
    if ns_of(value) is None:
        raise ValueError(f"{owner}.{name} {value.isoformat()} lies outside of the years 1678 to 2261; correct it")


@cache
def _may_be_empty(record: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(record) if field.default == "")


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: checks what the types alone cannot say. A broken rule is a ``ValueError``."""

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for name in self.__struct_fields__:
            value: Any = getattr(self, name)
            if isinstance(value, str):
                if value:
                    _check_text(owner, name, value)
                elif name not in _may_be_empty(type(self)):
                    raise ValueError(f"{owner}.{name} is empty; give it, or leave it out where it may be missing")
            elif isinstance(value, datetime):
                _check_time(owner, name, value)
            elif isinstance(value, Decimal):
                _check_decimal(owner, name, value)
            elif value and isinstance(value, tuple) and isinstance(value[0], str):
                for text in value:
                    _check_text(owner, name, text)


class Quantity(Record, frozen=True, kw_only=True):
    """So much of something. ``unit`` is a UNECE code; empty where what was received is not known to us."""

    value: Decimal
    unit: str = ""
    unit_as_received: str = ""


class Interval(Record, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """A span of time, closed on the left and open on the right. An end that is not known is left out."""

    start: Zoned | None = None
    end: Zoned | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"Interval ends at {self.end.isoformat()} before it starts at {self.start.isoformat()}")


# What ERP systems send where a UNECE code belongs: SAP's internal codes, English and German, and other habits.
# Here, not among the aliases of the topic tree: ``ST`` is German for piece in SAP and a sheet in UNECE Rec 20.
_ERP_UNITS: Mapping[str, str] = {
    # count
    **dict.fromkeys(("EA", "PC", "PCE", "PCS", "ST", "STK", "STCK", "H87", "NAR", "UN"), "C62"),
    "%": "P1",
    # time
    **dict.fromkeys(("H", "HR", "HRS", "STD"), "HUR"),
    **dict.fromkeys(("MIN", "MI"), "MIN"),
    **dict.fromkeys(("S", "SEC", "SEK"), "SEC"),
    **dict.fromkeys(("D", "TAG", "DAY"), "DAY"),
    "MS": "C26",
    # mass
    "KG": "KGM",
    "G": "GRM",
    "MG": "MGM",
    **dict.fromkeys(("TO", "T"), "TNE"),
    **dict.fromkeys(("LB", "LBS"), "LBR"),
    # volume
    **dict.fromkeys(("L", "LT", "LTR"), "LTR"),
    "ML": "MLT",
    "M3": "MTQ",
    **dict.fromkeys(("GAL", "GLL"), "GLL"),
    # length and area
    "MM": "MMT",
    "CM": "CMT",
    "M": "MTR",
    "KM": "KMT",
    "M2": "MTK",
    **dict.fromkeys(("IN", '"'), "INH"),
    "FT": "FOT",
}


def normal_unit(received: str) -> str:
    """The UNECE code for a unit as an ERP writes it; empty if it is not known.

    >>> normal_unit("KG"), normal_unit("ST"), normal_unit("°C"), normal_unit("PAL7")
    ('KGM', 'C62', 'CEL', '')
    """
    key = received.strip()
    if not key:
        return ""
    return _ERP_UNITS.get(key.upper()) or (key if key in UNITS else code_of(key) or "")


def quantity(value: Decimal | int | str, unit_as_received: str = "") -> Quantity:
    """A quantity with its unit made normal."""
    return Quantity(value=Decimal(value), unit=normal_unit(unit_as_received), unit_as_received=unit_as_received.strip())


# ---------------------------------------------------------------------------------------------------------------------
# Orders


class Parameter(Record, frozen=True, kw_only=True):
    """A parameter of a job as it was sent: the value stays text, ``data_type`` says how to read it."""

    id: str
    value: str = ""
    data_type: str = ""
    unit: str = ""
    unit_as_received: str = ""


class MaterialRequirement(Record, frozen=True, kw_only=True):
    """A material that a job needs or makes."""

    material: str
    use: MaterialUse | None = None  # where the sender does not say
    lot: str | None = None
    sublot: str | None = None
    quantity: Quantity | None = None
    location: str | None = None


class WorkOrder(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.work_order/1"):
    """A production order (ISA-95: work request)."""

    work_order: str
    source: str = ""
    source_rev: str = ""
    kind: OperationsType = OperationsType.PRODUCTION
    state: RequestState = RequestState.RELEASED
    state_as_received: str = ""
    version: str | None = None
    schedule: str | None = None  # the work schedule it came in
    operations_request: str | None = None
    material: str | None = None
    quantity: Quantity | None = None
    priority: Decimal | None = None
    planned: Interval | None = None
    site: str | None = None
    description: str | None = None


class JobOrder(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.job_order/1"):
    """One operation of a work order, given to equipment."""

    job_order: str
    work_order: str | None = None
    source: str = ""
    source_rev: str = ""
    operation: str | None = None
    kind: OperationsType = OperationsType.PRODUCTION
    status: DispatchStatus = DispatchStatus.PENDING
    status_as_received: str = ""
    command: JobCommand | None = None
    version: str | None = None
    schedule: str | None = None
    equipment: tuple[str, ...] = ()  # ids of the topic tree
    equipment_as_received: tuple[str, ...] = ()
    work_master: str | None = None
    work_master_version: str | None = None
    material: str | None = None
    quantity: Quantity | None = None
    priority: Decimal | None = None
    planned: Interval | None = None
    parameters: tuple[Parameter, ...] = ()
    materials: tuple[MaterialRequirement, ...] = ()
    persons: tuple[str, ...] = ()
    description: str | None = None


# ---------------------------------------------------------------------------------------------------------------------
# What happened


class MaterialActual(Record, frozen=True, kw_only=True):
    """A material that a job consumed or made, one entry for each lot."""

    material: str
    use: MaterialUse
    other_use: str | None = None  # what B2MML has no word for, with use Other
    id: str = ""  # within its response; numbered when written
    lot: str | None = None
    sublot: str | None = None
    quantity: Quantity | None = None
    location: str | None = None
    basis: Basis | None = None
    description: str | None = None


class EquipmentActual(Record, frozen=True, kw_only=True):
    """Equipment that a job used."""

    equipment: str
    level: EquipmentLevel | None = None
    use: str | None = None
    id: str = ""
    time: Quantity | None = None


class PersonActual(Record, frozen=True, kw_only=True):
    """A person (a pseudonym) who worked on a job."""

    person: str
    role: str | None = None
    id: str = ""
    time: Quantity | None = None


class QualitySummary(Record, frozen=True, kw_only=True):
    """A metric of role ``quality`` over one job. ``mean`` is weighted by time where the source says so."""

    metric: str
    equipment: str
    level: EquipmentLevel = EquipmentLevel.OTHER
    unit: str = ""
    samples: int = 0
    min: Decimal | None = None
    mean: Decimal | None = None
    max: Decimal | None = None
    last: Decimal | None = None
    low: Decimal | None = None  # the declared range
    high: Decimal | None = None
    out_of_range_s: Decimal | None = None


class JobResponse(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.job_response/1"):
    """What a job did, said once. ``response_id`` is the idempotency key: the same one is the same response.

    Nothing said is changed: a correction is a new response that ``reverses`` the old one and gives all values anew.
    """

    response_id: str
    job_order: str
    published_at: Zoned
    work_order: str | None = None
    schedule: str | None = None
    operation: str | None = None
    source: str = ""
    action: ResponseAction = "add"
    reverses: str | None = None
    reason: str | None = None
    revision: int = 0  # 0 is the first response of a job
    kind: OperationsType = OperationsType.PRODUCTION
    state: ResponseState = ResponseState.COMPLETED
    other_state: str | None = None
    final: bool = True
    actual: Interval | None = None
    work_master: str | None = None
    work_master_version: str | None = None
    material: str | None = None
    lot: str | None = None
    good: Quantity | None = None
    scrap: Quantity | None = None
    rework: Quantity | None = None
    scrap_reason: str | None = None
    setup_time: Quantity | None = None
    machine_time: Quantity | None = None
    labour_time: Quantity | None = None
    materials: tuple[MaterialActual, ...] = ()
    equipment: tuple[EquipmentActual, ...] = ()
    persons: tuple[PersonActual, ...] = ()
    quality: tuple[QualitySummary, ...] = ()
    description: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not RESPONSE_ID.fullmatch(self.response_id):
            raise ValueError(
                f"JobResponse.response_id {self.response_id[:40]!r} is no key: letters, digits and . _ : - up to 128"
            )
        if (self.action == "add") is not (self.reverses is None):
            raise ValueError(
                f"JobResponse.action is {self.action!r} and reverses is {self.reverses!r}; "
                "'replace' and 'delete' name the response they reverse, 'add' names none"
            )
        if self.reverses is not None and not RESPONSE_ID.fullmatch(self.reverses):
            raise ValueError(f"JobResponse.reverses {self.reverses[:40]!r} is no response_id")


# A key that may stand in a file name, in an XPath and in a BODID alike.
RESPONSE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}")

# ---------------------------------------------------------------------------------------------------------------------
# Lots, equipment, shifts, people


class Lot(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.lot/1"):
    """An identified quantity of material."""

    lot: str
    material: str
    source: str = ""
    source_rev: str = ""
    status: str | None = None
    disposition: Disposition | None = None
    quantity: Quantity | None = None
    made_at: Zoned | None = None
    expires_at: Zoned | None = None
    supplier: str | None = None
    supplier_lot: str | None = None
    location: str | None = None


class EquipmentRecord(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.equipment/1"):
    """An equipment in its role, as a master-data system knows it."""

    equipment: str
    level: EquipmentLevel
    source: str = ""
    source_rev: str = ""
    equipment_class: str | None = None
    parent: str | None = None
    physical_asset: str | None = None  # serial number of the thing that plays the role
    description: str | None = None


class EquipmentPlacement(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.equipment_placement/1"):
    """Where an equipment stood, and from when to when: equipment moves."""

    equipment: str
    path: tuple[str, ...]
    valid: Interval
    source: str = ""
    source_rev: str = ""


class Shift(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.shift/1"):
    """A shift as it is worked. ``time_zone`` keeps the zone of the calendar: 06:00 stays 06:00 over the change."""

    shift: str
    equipment: str
    interval: Interval
    time_zone: str
    source: str = ""
    source_rev: str = ""
    calendar: str | None = None
    crew: str | None = None


class Person(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.person/1"):
    """A person by a pseudonym: no names here."""

    person: str
    source: str = ""
    source_rev: str = ""
    roles: tuple[str, ...] = ()


class PersonAssignment(Record, frozen=True, kw_only=True, tag_field="schema", tag="uns1.person_assignment/1"):
    """Who worked where, and from when to when."""

    person: str
    equipment: str
    interval: Interval
    source: str = ""
    source_rev: str = ""
    role: str | None = None
