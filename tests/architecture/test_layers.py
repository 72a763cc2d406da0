"""The house keeps its shape: imports go down only, each library has one door, the core touches nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.rules import (
    APART,
    ASYNC_PORTS,
    CORE,
    CORE_ALLOWED,
    CORE_BANS,
    LAYERS,
    ONE_DOOR,
    PURE_EDGE,
    WHY_APART,
    WHY_LAYERS,
    WHY_UNS_ALONE,
)

ROOT = Path(__file__).resolve().parents[2]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, *, is_package: bool) -> list[tuple[str, int]]:
    """Every name imported anywhere in a module (also inside functions), with its line."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents if is_package else parents[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer_of(name: str) -> int | None:
    for level, packages in enumerate(LAYERS):
        if any(within(name, package) for package in packages):
            return level
    return None


def findings(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Each broken rule of one module as a line that says why the rule stands."""
    found = []
    level = layer_of(module)
    for name, line in imports_of(source, module, is_package=is_package):
        target = layer_of(name)
        if level is not None and target is not None and target > level:
            why = WHY_UNS_ALONE if within(name, "edge_nodes") else WHY_LAYERS
            found.append(f"{module}:{line} imports {name}: {why}")
        own = next((process for process in APART if within(module, process)), None)
        if own is not None and any(within(name, process) for process in APART if process != own):
            found.append(f"{module}:{line} imports {name}: {WHY_APART}")
        if any(within(module, package) for package in (*CORE, *PURE_EDGE)):
            for banned, why in CORE_BANS.items():
                if within(name, banned) and name not in CORE_ALLOWED:
                    found.append(f"{module}:{line} imports {name}: {why}")
        if not within(module, "tests") and not within(module, "benchmarks"):
            for library, (doors, why) in ONE_DOOR.items():
                if within(name, library) and not any(within(module, door) for door in doors):
                    found.append(f"{module}:{line} imports {name}: only {' and '.join(doors)} may: {why}")
    if any(within(module, package) for package in (*CORE, *PURE_EDGE)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Await | ast.AsyncFunctionDef) and module not in ASYNC_PORTS:
                found.append(f"{module}:{node.lineno} awaits: the core decides, adapters do")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{module}:{node.lineno} prints: only commands print")
    return found


SOURCES = sorted(
    path for top in ("uns", "edge_nodes", "schemas", "examples", "benchmarks") for path in (ROOT / top).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_keeps_the_layers(path: Path) -> None:
    found = findings(path.read_text(encoding="utf-8"), module_name(path), is_package=path.name == "__init__.py")
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "word"),
    [
        ("uns.sparkplug.edge", "import time", "now_ns"),
        ("uns.sparkplug.edge", "from uns.adapters import mqtt", "down only"),
        ("uns.enrichment.pipeline", "def f():\n    import asyncio", "event loop"),
        ("uns.runtime.host.process", "from edge_nodes import runtime", "never imports edge_nodes"),
        ("uns.runtime.host.process", "import sqlite3", "uns.adapters.sqlite"),
        ("uns.runtime.bridge.runner", "from uns.runtime.host.output import Output", "without bridges"),
        ("uns.context.store", "from ..adapters.mqtt import X", "down only"),
        ("uns.context.store", "async def f(): ...", "adapters do"),
        ("edge_nodes.reduction", "import random", "seed"),
        ("uns.delivery.edge", "print(1)", "only commands print"),
        ("uns.adapters.mqtt", "import asyncua", "one place"),
    ],
)
def test_a_broken_rule_is_named_with_its_reason(module: str, source: str, word: str) -> None:
    assert any(word in line for line in findings(source, module)), findings(source, module)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_wait_swallows_a_cancellation(path: Path) -> None:
    """asyncio.wait_for may, before Python 3.12, and a process then never stops; asyncio.timeout does not."""
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "wait_for"
    ]
    assert not calls, f"asyncio.wait_for in lines {calls}: use asyncio.timeout"


def test_the_top_level_is_what_the_card_names() -> None:
    expected = {
        "pyproject.toml",
        "uns",
        "edge_nodes",
        "schemas",
        "topic_tree.yaml",
        "tests",
        "examples",
        "Makefile",
        "LICENSE",
    }
    beside = {"README.md", "CHANGELOG.md", "docs", "benchmarks", ".ci", ".gitignore", "requirements.lock"}
    assert not {name for name in expected if not (ROOT / name).exists()}
    tracked = {
        path.name
        for path in ROOT.iterdir()
        if path.name not in {".git", ".venv"}
        and not path.name.endswith((".egg-info", "_cache"))
        and path.name != ".hypothesis"
    }
    assert tracked - expected - beside <= {"build", "dist", "var", "__pycache__"}
