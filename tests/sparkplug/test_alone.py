"""`uns.sparkplug` works with protobuf and msgspec alone: no other part of this product, no MQTT, no event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What it may import beside the standard library. A package "a.b" lets its parents in as names only.
ALLOWED = (
    "google.protobuf",
    "google._upb",  # its compiled backend
    "msgspec",
    "uns.sparkplug",
    "uns.errors",
    "schemas.sparkplug_b_pb2",
)

GUARD = """
import importlib.abc, runpy, sys

ALLOWED = {allowed!r}

class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names and top not in {{"asyncio", "sqlite3"}}:
            return None
        if any(name == a or name.startswith(a + ".") or a.startswith(name + ".") for a in ALLOWED):
            return None
        if name == {program!r} or {program!r}.startswith(name + "."):
            return None
        raise ImportError(f"{{name}} is blocked: uns.sparkplug works without it")

sys.meta_path.insert(0, Guard())
{work}
"""

EVERY_MODULE = """
import importlib, pkgutil
import uns.sparkplug
for module in pkgutil.walk_packages(uns.sparkplug.__path__, "uns.sparkplug."):
    importlib.import_module(module.name)
print(len(sys.modules))
"""


def run(work: str, program: str = "none") -> subprocess.CompletedProcess[str]:
    code = GUARD.format(allowed=ALLOWED, program=program, work=work)
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_module_of_it_imports_with_protobuf_and_msgspec_alone():
    result = run(EVERY_MODULE)
    assert result.returncode == 0, result.stderr


def test_two_sessions_talk_with_protobuf_and_msgspec_alone():
    program = "examples.01_two_sessions_without_a_broker"
    result = run(f"runpy.run_module({program!r}, run_name='__main__')", program)
    assert result.returncode == 0, result.stderr
    assert "the host read temperature = 182.0" in result.stdout


def test_the_guard_guards():
    for blocked in ("uns.namespace", "aiomqtt", "asyncio", "structlog"):
        result = run(f"import {blocked}")
        assert f"ImportError: {blocked} is blocked" in result.stderr
