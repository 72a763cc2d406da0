"""The words of ISA-95 as enumerations, spelled as B2MML V0701 spells them."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "PRODUCING",
    "DispatchStatus",
    "Disposition",
    "JobCommand",
    "MaterialUse",
    "OperationsType",
    "RequestState",
    "ResponseState",
]


class RequestState(StrEnum):
    """State of a work order as its sender sees it."""

    FORECAST = "Forecast"
    RELEASED = "Released"
    WAITING = "Waiting"
    CANCELLED = "Cancelled"
    READY = "Ready"
    RUNNING = "Running"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    HELD = "Held"
    SUSPENDED = "Suspended"
    CLOSED = "Closed"
    OTHER = "Other"


class DispatchStatus(StrEnum):
    """State of a job order as its dispatcher sees it."""

    WAITING = "Waiting"
    PENDING = "Pending"
    CANCELLED = "Cancelled"
    DISPATCHED = "Dispatched"
    READY = "Ready"
    RUNNING = "Running"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    HELD = "Held"
    SUSPENDED = "Suspended"
    CLOSED = "Closed"
    OTHER = "Other"


class ResponseState(StrEnum):
    """State of a job as the plant reports it."""

    WAITING = "Waiting"
    READY = "Ready"
    RUNNING = "Running"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    HELD = "Held"
    PAUSED = "Paused"
    SUSPENDED = "Suspended"
    CLOSED = "Closed"
    OTHER = "Other"


class JobCommand(StrEnum):
    """What a job order asks for. Noted, never carried out: orders do not control the plant here."""

    START = "Start"
    STOP = "Stop"
    HOLD = "Hold"
    RESTART = "Restart"
    ABORT = "Abort"
    RESET = "Reset"
    PAUSE = "Pause"
    RESUME = "Resume"
    OTHER = "Other"


class OperationsType(StrEnum):
    """Category of the work."""

    PRODUCTION = "Production"
    MAINTENANCE = "Maintenance"
    QUALITY = "Quality"
    INVENTORY = "Inventory"
    MIXED = "Mixed"
    OTHER = "Other"


class MaterialUse(StrEnum):
    """What a job does with a material."""

    CONSUMABLE = "Consumable"
    CONSUMED = "Consumed"
    PRODUCED = "Produced"
    BY_PRODUCT_PRODUCED = "By-product Produced"
    CO_PRODUCT_PRODUCED = "Co-product Produced"
    YIELD_PRODUCED = "Yield Produced"
    MATERIAL_CONSUMED = "Material Consumed"
    MATERIAL_PRODUCED = "Material Produced"
    DESTRUCTIVE_SAMPLE = "Destructive Sample"
    RETURNED_SAMPLE = "Returned Sample"
    RETAINED_SAMPLE = "Retained Sample"
    INVENTORIED = "Inventoried"
    OTHER = "Other"


# The uses that put the ordered material itself on the shelf; by-products and co-products are others.
PRODUCING = frozenset({MaterialUse.PRODUCED, MaterialUse.YIELD_PRODUCED, MaterialUse.MATERIAL_PRODUCED})


class Disposition(StrEnum):
    """What may be done with a lot."""

    PLANNED = "Planned"
    IN_PROCESS = "In-Process"
    RESTRICTED = "Restricted"
    UNRESTRICTED = "UnRestricted"
    CLOSED = "Closed"
    OTHER = "Other"
