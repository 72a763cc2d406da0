"""Options that several commands share, so that they read and behave alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DEFAULT_TREE", "JsonOption", "TreeOption"]

DEFAULT_TREE = Path("topic_tree.yaml")

TreeOption = Annotated[
    Path, typer.Option("--tree", envvar="UNS_TREE", help="The topic tree, the file that declares the plant.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
