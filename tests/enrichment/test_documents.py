"""The JSON in the reference pages is what the code writes and reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from schemas.json_schemas import DOCUMENTS, schema_text
from tests.enrichment.builders import at, fact, plant
from tests.enrichment.test_schemas import fits
from uns.context.facts import KINDS
from uns.context.levels import states
from uns.context.store import ContextStore

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = ("records.md", "facts.md", "isa95-records.md", "audit.md", "doctor.md", "broker-check.md")
EXAMPLES = [
    (page, example)
    for page in PAGES
    for example in re.findall(r"```json\n(.*?)```", (REFERENCE / page).read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_document_of_its_schema(page: str, example: str):
    document = json.loads(example)
    by_id = {identifier: name for name, (identifier, _) in DOCUMENTS.items()}
    name = by_id[document["schema"]]
    schema = json.loads(schema_text(name))
    assert fits(document, schema, schema) == []
    msgspec.json.decode(example.encode(), type=DOCUMENTS[name][1])


def test_every_document_has_an_example():
    shown = {json.loads(example)["schema"] for _, example in EXAMPLES}
    assert shown == {identifier for identifier, _ in DOCUMENTS.values()}


def test_every_kind_and_state_is_described():
    text = (REFERENCE / "facts.md").read_text(encoding="utf-8")
    for word in KINDS:
        assert f"`{word}`" in text
    for state in set(states()) - {"complete", "canceled"}:
        assert state in text


def test_the_refused_example_is_refused_in_those_words():
    store = ContextStore(plant())
    answer, _ = store.receive(fact("lot", id="scan:89", equipment="reactor44"), now_ns=at(0))
    assert str(answer.reason) in (REFERENCE / "facts.md").read_text(encoding="utf-8")
