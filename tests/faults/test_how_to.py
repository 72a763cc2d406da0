"""What docs/how-to/when-something-breaks.md quotes is what the programs say."""

from __future__ import annotations

import re

import pytest

from tests.faults.process import REPOSITORY

PAGE = REPOSITORY / "docs" / "how-to" / "when-something-breaks.md"


def quoted() -> list[str]:
    """The quotations in the first column of the two tables of log lines."""
    page = PAGE.read_text(encoding="utf-8")
    tables = page[page.index("## The gateway says") : page.index("## What is lost when")]
    first_cells = [line.split(" | ")[0] for line in tables.splitlines() if line.startswith("| `")]
    return [text for cell in first_cells for text in re.findall(r"`([^`]+)`", cell) if not text.startswith("uns1/")]


@pytest.mark.parametrize("text", quoted())
def test_a_quoted_line_is_said_by_a_program(text):
    sources = [
        p.read_text(encoding="utf-8") for root in ("uns", "edge_nodes") for p in (REPOSITORY / root).rglob("*.py")
    ]
    for part in text.split(" … "):
        assert any(part in source for source in sources), f"no program says {part!r}"
