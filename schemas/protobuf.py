"""Make ``sparkplug_b_pb2.py`` and its stubs from ``sparkplug_b.proto`` (development only)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from grpc_tools import protoc

__all__ = ["GENERATED", "generate_protobuf"]

SCHEMAS = Path(__file__).parent
GENERATED = ("sparkplug_b_pb2.py", "sparkplug_b_pb2.pyi")


def generate_protobuf(target: Path = SCHEMAS) -> list[Path]:
    """Write the generated code and stubs into ``target``; give back the files."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    arguments = [
        "protoc",
        f"--plugin=protoc-gen-mypy={plugin}",
        f"--proto_path={SCHEMAS}",
        f"--python_out={target}",
        f"--mypy_out=quiet:{target}",
        "sparkplug_b.proto",
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed; its own lines above say where")
    files = [target / name for name in GENERATED]
    for file in files:
        _without_trailing_blanks(file)
    return files


def _without_trailing_blanks(file: Path) -> None:
    text = re.sub(r"[ \t]+$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")
