"""The kinds of bridges: which module reads the target settings of each, and builds its mapping and target.

A module is imported only when a file asks for its kind: nobody needs the client of a system that is not there.
A kind's module has ``KIND``, a :class:`Kind`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.bridges.port import Mapping, Target
from uns.errors import ConfigurationError
from uns.namespace.yaml_file import Fields
from uns.runtime.bridge.config import BridgeConfig

__all__ = ["KINDS", "Kind", "load_kind"]

# kind → (module, the extra that brings its client)
KINDS: dict[str, tuple[str, str]] = {
    "b2mml": ("uns.runtime.bridge.b2mml", "b2mml"),
    "postgres": ("uns.runtime.bridge.postgres", "postgres"),
}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind brings. ``build`` gets a second reader of the record log, for the target's own thread.

    ``audit_sums``: its deliveries are told to the audit log as sums, one a minute, not one by one.
    ``lint`` looks at the whole configuration, with the fields of the file and of its target, and adds findings.
    """

    target_required: tuple[str, ...]
    target_optional: tuple[str, ...]
    read_target: Callable[[Fields, Path], Any]
    build: Callable[[BridgeConfig, RecordCursor], tuple[Mapping, Target]]
    audit_sums: bool = False
    lint: Callable[[BridgeConfig, Fields, Fields], None] | None = None


def load_kind(kind: str) -> Kind:
    """Import a kind; :class:`ConfigurationError` with the extra to install where its client is absent."""
    module, extra = KINDS[kind]
    try:
        found: Kind = importlib.import_module(module).KIND
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"uns", "schemas"}:
            raise
        raise ConfigurationError(
            f"a {kind} bridge needs {error.name}, which is not installed",
            next_step=f"pip install 'uns-sparkplug[{extra}]'",
        ) from error
    return found
