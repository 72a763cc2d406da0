"""Make ``*.schema.json`` from the structs that the code reads and writes (``python -m schemas.generate``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from uns.actuals.orders import LotState, WorkOrderState
from uns.audit.chain import Anchor
from uns.context.facts import Fact, FactAnswer
from uns.context.records import (
    EquipmentActual,
    EquipmentPlacement,
    EquipmentRecord,
    JobOrder,
    JobResponse,
    Lot,
    MaterialActual,
    Person,
    PersonAssignment,
    Shift,
    WorkOrder,
)
from uns.doctor.report import Report
from uns.enrichment.records import (
    ContextNow,
    Event,
    Health,
    Meta,
    MetricMeta,
    PresentValue,
    Restatement,
    Snapshot,
    Tick,
)
from uns.runtime.broker_check.probing import CheckReport

__all__ = ["DOCUMENTS", "PARTS", "generate_json_schemas", "schema_text"]

SCHEMAS = Path(__file__).parent  # generated files lie beside this one

# File name without .schema.json, the id that messages carry, and the struct.
DOCUMENTS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "tick": ("uns1.tick/1", Tick),
    "restatement": ("uns1.restatement/1", Restatement),
    "event": ("uns1.event/1", Event),
    "pv": ("uns1.pv/1", PresentValue),
    "pv_snapshot": ("uns1.pv_snapshot/1", Snapshot),
    "ctx": ("uns1.ctx/1", ContextNow),
    "meta": ("uns1.meta/1", Meta),
    "metric_meta": ("uns1.metric_meta/1", MetricMeta),
    "health": ("uns1.health/1", Health),
    "fact": ("uns1.fact/1", Fact),
    "fact_answer": ("uns1.fact_answer/1", FactAnswer),
    "audit_anchor": ("uns1.audit_anchor/1", Anchor),
    "work_order_state": ("uns1.work_order_state/1", WorkOrderState),
    "lot_state": ("uns1.lot_state/1", LotState),
    "work_order": ("uns1.work_order/1", WorkOrder),
    "job_order": ("uns1.job_order/1", JobOrder),
    "job_response": ("uns1.job_response/1", JobResponse),
    "lot": ("uns1.lot/1", Lot),
    "equipment": ("uns1.equipment/1", EquipmentRecord),
    "equipment_placement": ("uns1.equipment_placement/1", EquipmentPlacement),
    "shift": ("uns1.shift/1", Shift),
    "person": ("uns1.person/1", Person),
    "person_assignment": ("uns1.person_assignment/1", PersonAssignment),
    "doctor_report": ("uns1.doctor_report/1", Report),
    "broker_check": ("uns1.broker_check/1", CheckReport),
}

# What stands only inside a document and hence has no ``schema`` field: file name, the document, the struct.
PARTS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "material_actual": ("uns1.job_response/1", MaterialActual),
    "equipment_actual": ("uns1.job_response/1", EquipmentActual),
}


def schema_text(name: str) -> str:
    """The JSON Schema of one document or part, as it stands in its file."""
    if name in DOCUMENTS:
        title, struct = DOCUMENTS[name]
        urn = f"urn:{title.replace('/', ':')}"
    else:
        whole, struct = PARTS[name]
        title, urn = f"{name}, part of {whole}", f"urn:{whole.replace('/', ':')}:{name}"
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": urn,
        "title": title,
        **_polished(msgspec.json.schema(struct)),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _polished(node: Any, name: str = "") -> Any:
    """Docstrings as one paragraph; times say that they are times."""
    if isinstance(node, list):
        return [_polished(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _polished(value, key if key not in _KEYWORDS else name) for key, value in node.items()}
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split()).replace("``", "`")
    if name in _TIMES and found.get("type") == "string":
        found["format"] = "date-time"
    return found


_KEYWORDS = frozenset({"anyOf", "items", "properties", "default"})
_TIMES = frozenset({"time", "from", "to", "since", "stale_since", "received_at", "valid_from", "valid_to", "at"})


def generate_json_schemas(target: Path = SCHEMAS) -> list[Path]:
    """Write all of them into ``target``; give back the files."""
    files = []
    for name in (*DOCUMENTS, *PARTS):
        file = target / f"{name}.schema.json"
        file.write_text(schema_text(name), encoding="utf-8")
        files.append(file)
    return files
