"""Facts on the wire and in the store (design: records; JSON Schema in schemas/fact.schema.json).

A fact says that something held at an equipment from ``valid_from`` to ``valid_to``. ``id`` names the fact,
``(id, source_rev)`` the message.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

__all__ = ["KINDS", "SET_KINDS", "SINGLE_KINDS", "Action", "Fact", "FactAnswer", "Kind"]

Kind = Literal["job", "lot", "placement", "recipe_phase", "shift", "person", "material"]
Action = Literal["add", "change", "delete", "observe"]

SINGLE_KINDS = frozenset({"job", "recipe_phase", "shift", "placement"})
SET_KINDS = frozenset({"lot", "person", "material"})
KINDS = SINGLE_KINDS | SET_KINDS


class Fact(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_name": "schema"}):
    """One fact as its source sends it. Identifiers are strings and keep their leading zeros.

    ``job_order: null`` with kind ``job`` says idle, positively. Times are RFC 3339 with a zone.
    """

    schema_name: str = "uns1.fact/1"
    id: str
    kind: Kind
    equipment: str
    valid_from: datetime
    valid_to: datetime | None = None
    source: str
    source_rev: str
    action: Action = "add"
    by: str = ""
    reason: str | None = None
    state: str | None = None  # job: released and planned are definitions; running, completed … are actual
    also: bool = False  # a set kind: leave the earlier ones of the same key open
    # job
    job_order: str | None = None
    work_order: str | None = None
    operation: str | None = None
    recipe: str | None = None
    # lot and material
    lot: str | None = None
    material: str | None = None
    use: str | None = None
    # the other kinds
    phase: str | None = None
    shift: str | None = None
    person: str | None = None
    role: str | None = None
    placement: str | None = None


class FactAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_name": "schema"}):
    """The answer to one fact message, on ``_fact_result/{source}/{kind}``."""

    schema_name: str = "uns1.fact_answer/1"
    id: str
    source_rev: str
    accepted: bool
    rev: int | None = None  # ours: how often this fact has been stated
    reason: str | None = None  # why it was refused, and what to do
