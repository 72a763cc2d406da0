"""The JSON Schemas in the repository are those of the structs, and what is published fits them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.json_schemas import DOCUMENTS, PARTS, SCHEMAS, generate_json_schemas, schema_text
from tests.enrichment.builders import COUNT, PHASE, TEMPERATURE, Host, fact
from uns.sparkplug.topics import EdgeNodeDescriptor


@pytest.mark.parametrize("name", [*DOCUMENTS, *PARTS])
def test_a_schema_file_is_current(name: str):
    committed = (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(name), "run: python -m schemas.generate"


def test_there_is_no_other_schema_file(tmp_path: Path):
    made = {file.name for file in generate_json_schemas(tmp_path)}
    assert made == {file.name for file in SCHEMAS.glob("*.schema.json")}


@pytest.mark.parametrize("name", [*DOCUMENTS, *PARTS])
def test_documents_name_their_schema_and_parts_of_documents_have_none(name: str):
    schema = json.loads(schema_text(name))
    fields = schema["$defs"][schema["$ref"].rpartition("/")[2]]["properties"]
    if name in DOCUMENTS:
        identifier = DOCUMENTS[name][0]
        told = fields["schema"]
        assert identifier in {told.get("const"), told.get("default"), *told.get("enum", ())}
    else:
        whole = next(struct for identifier, struct in DOCUMENTS.values() if identifier == PARTS[name][0])
        assert "schema" not in fields
        assert PARTS[name][1].__name__ in msgspec.json.schema(whole)["$defs"]


def fits(document: Any, schema: dict[str, Any], root: dict[str, Any]) -> list[str]:
    """What of the few keywords that our schemas use does not hold."""
    if "$ref" in schema:
        return fits(document, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        options = [fits(document, option, root) for option in schema["anyOf"]]
        return [] if any(not found for found in options) else options[0]
    if "enum" in schema:
        return [] if document in schema["enum"] else [f"{document!r} is none of {schema['enum']}"]
    types: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    if "type" in schema and not isinstance(document, types[schema["type"]]):
        return [f"{document!r} is no {schema['type']}"]
    problems: list[str] = []
    if isinstance(document, dict):
        problems += [f"{key} is missing" for key in schema.get("required", ()) if key not in document]
        for key, value in document.items():
            if key in schema.get("properties", {}):
                problems += [f"{key}: {p}" for p in fits(value, schema["properties"][key], root)]
            elif isinstance(others := schema.get("additionalProperties"), dict):
                problems += [f"{key}: {p}" for p in fits(value, others, root)]
            else:
                problems.append(f"{key} is unknown")
    if isinstance(document, list):
        for item in document:
            problems += fits(item, schema.get("items") or {}, root)
    return problems


def published() -> list[tuple[str, bytes]]:
    """One of nearly everything that the enricher publishes."""
    host = Host()
    host.samples((PHASE, "Heat", 1), (TEMPERATURE, 1.5, 1), (TEMPERATURE, float("nan"), 2, 1), (COUNT, 7, 2, 2))
    host.fact(fact("job", recipe="RCP-7@3", valid_to=500))
    host.fact(fact("lot", material="FG-77"))
    host.fact(fact("job", id="j2", valid_from=200))
    host.fact(fact("shift", shift="B"))
    host.samples((TEMPERATURE, 2.5, 10**9), limits={"past_max_ns": 1, "future_max_ns": 1})
    host.samples((TEMPERATURE, 3.5, 1, 0, 0))
    found = list(host.log.outbox)
    found += host.enricher.board.due(host.now_ns)
    host.enricher.board.mark_stale(EdgeNodeDescriptor("acme.dallas", "gw-1"))
    found += host.enricher.board.due(host.now_ns + 10**10)
    return [(message.topic, message.payload) for message in found]


def test_what_is_published_fits_its_schema():
    by_id = {identifier: name for name, (identifier, _) in DOCUMENTS.items()}
    seen = set()
    for topic, payload in published():
        document = json.loads(payload)
        name = by_id[document["schema"]]
        seen.add(name)
        schema = json.loads(schema_text(name))
        assert fits(document, schema, schema) == [], (topic, document)
        msgspec.json.decode(payload, type=DOCUMENTS[name][1])
    assert seen >= {"tick", "restatement", "event", "pv", "pv_snapshot", "ctx"}


def test_facts_and_answers_fit_their_schemas():
    host = Host()
    given = fact("lot", use="Produced", valid_to=10)
    for name, document in (("fact", given), ("fact_answer", host.fact(given))):
        schema = json.loads(schema_text(name))
        assert fits(json.loads(msgspec.json.encode(document)), schema, schema) == []
