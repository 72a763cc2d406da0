"""A tree as its files state it: every value beside the place it stands at, so that a later rule can point there."""

from __future__ import annotations

import msgspec

from uns.namespace.findings import Position
from uns.namespace.model import ContextSource, Equipment, EquipmentClass, Site

__all__ = ["Draft", "DraftClass", "DraftEquipment", "DraftSite", "DraftSource"]


class DraftClass(msgspec.Struct, frozen=True, eq=False):
    """A class with the places of its name, its metrics and its required kinds."""

    value: EquipmentClass
    position: Position
    metric_positions: dict[str, Position]
    require_positions: dict[str, Position]


class DraftEquipment(msgspec.Struct, frozen=True, eq=False):
    """An equipment; ``id_position`` is its ``id:`` or its key, whichever names it."""

    value: Equipment
    position: Position
    id_position: Position
    level_position: Position
    class_position: Position
    gateway_positions: dict[str, Position]


class DraftSite(msgspec.Struct, frozen=True, eq=False):
    """A site and where it was opened first."""

    value: Site
    position: Position
    owner: str | None


class DraftSource(msgspec.Struct, frozen=True, eq=False):
    """A context source."""

    value: ContextSource
    position: Position


class Draft(msgspec.Struct, eq=False):
    """All files of a tree together, in reading order."""

    position: Position  # of the first file's root
    enterprise: str = ""
    enterprise_position: Position | None = None
    classes: dict[str, DraftClass] = {}
    sites: dict[str, DraftSite] = {}
    equipment: dict[tuple[str, ...], DraftEquipment] = {}  # by path
    context: dict[str, DraftSource] = {}
