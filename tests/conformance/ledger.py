"""requirements.yaml as values, the page that is made of it, and what pytest says about the tests that it names.

``python -m tests.conformance.ledger --write`` writes docs/reference/sparkplug-conformance.md.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import defaultdict
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from _pytest.mark import deselect_by_keyword
from ruamel.yaml import YAML

from uns.doctor.requirements import REQUIREMENTS

__all__ = ["LEVEL_OF", "PAGE", "ROOT", "Collected", "Entry", "collected", "load", "page"]

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests/conformance/requirements.yaml"
PAGE = ROOT / "docs/reference/sparkplug-conformance.md"

LEVEL_OF = {requirement.tck_id: requirement.level for requirement in REQUIREMENTS}

Verdict = Literal["done", "exempt", "not met"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement: tests that hold it; or why it is none of ours; or where it is broken, and tests that show it.

    ``note``: how far what is done goes, where the requirement can be read to ask for more.
    """

    done: tuple[str, ...] = ()
    note: str = ""
    exempt: str = ""
    not_met: str = ""
    shown_by: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Which of the three; exactly one."""
        given: list[Verdict] = []
        if self.done:
            given.append("done")
        if self.exempt:
            given.append("exempt")
        if self.not_met:
            given.append("not met")
        (verdict,) = given
        assert bool(self.shown_by) == (verdict == "not met")
        assert verdict == "done" or not self.note
        return verdict

    @property
    def tests(self) -> tuple[str, ...]:
        """Those it names."""
        return self.done + self.shown_by


def load() -> dict[str, Entry]:
    """By tck-id; ruamel refuses an id that stands there twice."""
    return msgspec.convert(YAML(typ="safe").load(FILE), dict[str, Entry])


class Collected(msgspec.Struct):
    """By tck-id, the tests that carry it, and those that ``pytest -k`` finds by it."""

    marked: dict[str, list[str]] = {}
    by_keyword: dict[str, list[str]] = {}


class _Collector:
    def __init__(self) -> None:
        self.found = Collected()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        marked: list[pytest.Item] = []
        items: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in session.items:
            for mark in item.iter_markers("tck"):
                marked.append(item)
                for tck_id in mark.args:
                    items[tck_id].append(item)
        for tck_id in sorted(items):
            chosen = list(marked)
            session.config.option.keyword = tck_id
            deselect_by_keyword(chosen, session.config)  # what pytest itself does for -k
            self.found.marked[tck_id] = _tests(items[tck_id])
            self.found.by_keyword[tck_id] = _tests(chosen)


def _tests(items: list[pytest.Item]) -> list[str]:
    return sorted({item.nodeid.partition("[")[0] for item in items})


def collected(*files: str) -> Collected:
    """What pytest collects of these files. Run it in a process of its own."""
    collector = _Collector()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *files], plugins=[collector])
    if code:
        raise SystemExit(said.getvalue())
    return collector.found


def page() -> str:
    """docs/reference/sparkplug-conformance.md."""
    entries = load()
    counts: dict[str, dict[str, int]] = {level: defaultdict(int) for level in ("MUST", "SHOULD", "MAY")}
    for tck_id, entry in entries.items():
        counts[LEVEL_OF[tck_id]][entry.verdict] += 1
    total = [sum(row[verdict] for row in counts.values()) for verdict in ("done", "exempt", "not met")]
    rows = [f"| {level} | {row['done']} | {row['exempt']} | {row['not met']} |" for level, row in counts.items()]
    not_met = _by_text({tck_id: entry.not_met for tck_id, entry in entries.items() if entry.not_met})
    exempt = _by_text({tck_id: entry.exempt for tck_id, entry in entries.items() if entry.exempt}) or "None."
    notes = _by_text({tck_id: entry.note for tck_id, entry in entries.items() if entry.note})
    return _PAGE.format(
        count=len(entries),
        rows="\n".join(rows),
        total=" | ".join(map(str, total)),
        not_met=not_met,
        exempt=exempt,
        notes=notes,
    )


def _by_text(said: dict[str, str]) -> str:
    ids: dict[str, list[str]] = defaultdict(list)
    for tck_id, text in said.items():
        ids[text].append(f"`{tck_id}`")
    return "\n".join(f"* {text}: {', '.join(names)}" for text, names in ids.items())


_PAGE = """# Sparkplug 3.0: what is met, requirement by requirement

Made from [`tests/conformance/requirements.yaml`](../../tests/conformance/requirements.yaml), which says of each of the
{count} `tck-id`s of the specification which tests hold it, or why none does. The tests carry the ids:

```sh
python -m pytest -k tck-id-topics-nbirth-seq-num
```

A [test](../../tests/conformance/test_requirements.py) holds the two together: what the file names pytest collects,
marked with that id, and no test is marked that the file does not name.
[Another](../../tests/conformance/test_planted.py) plants faults in the product, one at least for each requirement that
is done, and the tests that the file names have to see them. How the nodes of others do is for [`uns doctor`](doctor.md)
to say, and [`uns broker check`](broker-check.md) looks at other brokers.

| | done | exempt | not met |
|---|---|---|---|
{rows}
| all | {total} |

## Not met

{not_met}

## Exempt

{exempt}

## Done, and how far it goes

{notes}
"""


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(msgspec.json.encode(collected(*sys.argv[1:])).decode())
