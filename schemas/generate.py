"""``python -m schemas.generate``: make everything under ``schemas/`` that has a source elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from schemas.protobuf import generate_protobuf

__all__ = ["generate", "main"]


def generate() -> list[Path]:
    """Write protobuf code and JSON Schemas; give back the files."""
    files = generate_protobuf()
    if importlib.util.find_spec("schemas.json_schemas") is not None:
        json_schemas = importlib.import_module("schemas.json_schemas")
        written: Iterable[Path] | None = json_schemas.generate_json_schemas()
        files += written or ()
    return files


def main() -> int:
    """Print what was written, one file a line."""
    for file in generate():
        sys.stdout.write(f"{file}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
