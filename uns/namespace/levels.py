"""Which ISA-95 level may stand below which, as a table.

The order is Site > Area > work center > work unit > EquipmentModule > ControlModule; a level may be left out, never
turned round. Modules may hold modules of their own kind, as ISA-88 has it. ``Other`` stands anywhere and is looked
through: what is below it is judged by what is above it.
"""

from __future__ import annotations

from uns.namespace.model import EquipmentLevel as Level

__all__ = ["HOLDS", "PLACEABLE", "USUALLY_HOLDS", "WORK_CENTERS", "WORK_UNITS"]

WORK_CENTERS = frozenset(
    {Level.PROCESS_CELL, Level.PRODUCTION_LINE, Level.PRODUCTION_UNIT, Level.STORAGE_ZONE, Level.WORK_CENTER}
)
WORK_UNITS = frozenset({Level.UNIT, Level.WORK_CELL, Level.STORAGE_UNIT, Level.WORK_UNIT})
_MODULES = frozenset({Level.EQUIPMENT_MODULE, Level.CONTROL_MODULE})
_BELOW_CENTER = WORK_UNITS | _MODULES

# What `level:` of an equipment may say; Enterprise and Site are given by the file's own structure.
PLACEABLE = frozenset(Level) - {Level.ENTERPRISE, Level.SITE}

HOLDS: dict[Level, frozenset[Level]] = {
    Level.SITE: frozenset({Level.AREA}) | WORK_CENTERS | _BELOW_CENTER,
    Level.AREA: WORK_CENTERS | _BELOW_CENTER,
    **dict.fromkeys(WORK_CENTERS, _BELOW_CENTER),
    **dict.fromkeys(WORK_UNITS, _MODULES),
    Level.EQUIPMENT_MODULE: _MODULES,
    Level.CONTROL_MODULE: frozenset({Level.CONTROL_MODULE}),
}

# The kind of work unit that the standard draws below each kind of work center; another one is a warning.
USUALLY_HOLDS: dict[Level, frozenset[Level]] = {
    Level.PROCESS_CELL: frozenset({Level.UNIT, Level.WORK_UNIT}),
    Level.PRODUCTION_UNIT: frozenset({Level.UNIT, Level.WORK_UNIT}),
    Level.PRODUCTION_LINE: frozenset({Level.WORK_CELL, Level.WORK_UNIT}),
    Level.STORAGE_ZONE: frozenset({Level.STORAGE_UNIT, Level.WORK_UNIT}),
}
