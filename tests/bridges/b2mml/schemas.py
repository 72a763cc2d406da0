"""The official schemas of MESA, where they are."""

from __future__ import annotations

from functools import cache

from lxml import etree

from tests.data import require_data


@cache
def _load(path: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))


def official_schema(version: str = "V0701") -> etree.XMLSchema:
    """AllSchemas.xsd of V0701, or the schedule's and performance's of V0401; skips the test without them."""
    if version == "V0701":
        return _load(str(require_data("b2mml/schema-v0701/AllSchemas.xsd")))
    return _load(str(require_data(f"b2mml/schema-v0401/B2MML-V0401-{version}.xsd")))


def problems(schema: etree.XMLSchema, body: bytes) -> list[str]:
    """What the schema says against a document."""
    document = etree.fromstring(body)
    return [] if schema.validate(document) else [str(error) for error in schema.error_log]
