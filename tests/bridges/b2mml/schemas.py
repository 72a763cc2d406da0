"""The official schema of MESA, where it is."""

from __future__ import annotations

from functools import cache

from lxml import etree

from tests.data import require_data


@cache
def _load(path: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))


def official_schema() -> etree.XMLSchema:
    """AllSchemas.xsd of V0701; skips the test without it."""
    return _load(str(require_data("b2mml/schema-v0701/AllSchemas.xsd")))


def problems(schema: etree.XMLSchema, body: bytes) -> list[str]:
    """What the schema says against a document."""
    document = etree.fromstring(body)
    return [] if schema.validate(document) else str(schema.error_log).splitlines()
