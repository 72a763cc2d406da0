"""Data that nobody here wrote: found at ../shared/data or in UNS_TEST_DATA, never copied into the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_dir() -> Path | None:
    """The folder of outside data; None where this machine has none."""
    told = os.environ.get("UNS_TEST_DATA")
    folder = Path(told) if told else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def require_data(name: str) -> Path:
    """The file or folder ``name`` of the outside data; skips the test without it, or fails with UNS_REQUIRE_DATA=1."""
    folder = data_dir()
    path = None if folder is None else folder / name
    if path is not None and path.exists():
        return path
    text = f"outside data {name!r} is not here: put it at ../shared/data or set UNS_TEST_DATA"
    if os.environ.get("UNS_REQUIRE_DATA") == "1":
        pytest.fail(text)
    pytest.skip(text)
