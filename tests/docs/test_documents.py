"""Documents say what is true: links lead somewhere, commands exist, trees in examples lint, and no machine is named."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from uns.namespace.loader import load_tree

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "edge_nodes").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def fences(document: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(document.read_text(encoding="utf-8")) if found == language]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    targets = [t.split("#")[0] for t in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in t]
    missing = [target for target in targets if target and not (document.parent / target).exists()]
    assert not missing


def command_of(line: str) -> list[str] | None:
    """The words of a documented call of ours, without comment, or None for another program."""
    words = shlex.split(line, comments=True)
    if words[:2] == ["python", "-m"]:
        return None
    return words if words and words[0] in {"uns", "uns-edge"} else None


def check_command(words: list[str]) -> None:
    """Walk the words down the command tree; options named must exist."""
    if words[0] == "uns":
        from uns.cli.main import build_app

        app = build_app(words[1:])
    else:
        from edge_nodes.cli import app
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]!r} in {' '.join(words)!r}"
        command = command.commands[rest[0]]
        rest = rest[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [w.split("=")[0] for w in rest if w.startswith("--") and w.split("=")[0] not in known | {"--help"}]
    assert not unknown, f"no option {unknown} of {' '.join(words)!r}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_their_options_exist(document: Path) -> None:
    for block in fences(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = command_of(line.lstrip("$ ").split(" | ")[0].split(" > ")[0].removesuffix(" &"))
            if words is not None:
                check_command(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_trees_in_documents_load(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(fences(document, "yaml")):
        if "enterprise:" in block and "sites:" in block:
            path = tmp_path / f"tree{number}.yaml"
            path.write_text(block, encoding="utf-8")
            load_tree(path)


TEXT_SUFFIXES = {".py", ".md", ".yaml", ".toml", ".txt", ".lock", ".json", ".proto", ".sh", ""}


def test_no_machine_path_stands_in_the_tree() -> None:
    home = re.compile(r"(?<![\w.])/(?:work|farm|root|home)/\w")
    found = []
    for path in ROOT.rglob("*"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] in {".git", ".venv", ".hypothesis", "build"} or any(
            part.endswith(("_cache", ".egg-info")) for part in relative.parts
        ):
            continue
        if path.is_file() and path.suffix in TEXT_SUFFIXES and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{relative}: {match.group()}" for match in home.finditer(text)]
    assert not found
