"""Every folder ``tests/cases/tree_*`` is a tree that was once wrong, with what has to be said about it.

``topic_tree.yaml`` (and what it includes) beside ``expected.err``. To add one: make the folder, run
``python -m tests.namespace.test_cases``, and read what it wrote before committing it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from uns.namespace.loader import lint_text
from uns.namespace.yaml_file import read_text

CASES = sorted((Path(__file__).resolve().parents[1] / "cases").glob("tree_*"))


def findings_of(case: Path) -> str:
    _, findings = lint_text(
        read_text(case / "topic_tree.yaml"), file="topic_tree.yaml", read=lambda path: read_text(case / path)
    )
    return "".join(f"{finding}\n" for finding in findings)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_gives_exactly_its_findings(case):
    assert findings_of(case) == (case / "expected.err").read_text()


def test_there_are_cases():
    assert len(CASES) > 10


if __name__ == "__main__":
    for folder in CASES:
        (folder / "expected.err").write_text(findings_of(folder))
