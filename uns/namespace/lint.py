"""Rules that need the whole tree: unique names, containment, gateways, and who provides the required context."""

from __future__ import annotations

from collections.abc import Iterable

from uns.namespace.draft import Draft, DraftClass, DraftEquipment
from uns.namespace.findings import Findings, Position, nearest
from uns.namespace.levels import HOLDS, USUALLY_HOLDS, WORK_UNITS
from uns.namespace.model import EquipmentLevel
from uns.namespace.topics import LEVEL_CHARACTERS_MAX, escape

__all__ = ["PLC", "check_draft", "check_name"]

PLC = "plc"  # the source that context metrics speak for
_FORBIDDEN = frozenset("/+#")


def check_name(name: str, what: str, at: Position, findings: Findings, *, is_level: bool = True) -> bool:
    """Whether a name may stand in topics; says what is wrong otherwise.

    A level of ``uns1`` is escaped where it must be; what is only a Sparkplug id (``is_level=False``) stands raw.
    """
    written = escape(name) if is_level else name
    if name.startswith("_"):
        findings.error("reserved-level", f"{what} {name!r} begins with _", at, "a level with _ is a class: rename it")
    elif any(c in _FORBIDDEN or ord(c) < 0x20 or ord(c) == 0x7F for c in name) or name != name.strip():
        findings.error(
            "level-characters",
            f"{what} {name!r} has / + #, a control character, or a space at its edge",
            at,
            "use letters, digits, - and _",
        )
    elif len(written) > LEVEL_CHARACTERS_MAX:
        findings.error(
            "level-length",
            f"{what} {name!r} takes {len(written)} characters in a topic, at most {LEVEL_CHARACTERS_MAX}",
            at,
            "shorten it",
        )
    else:
        if written != name:
            findings.warning(
                "level-escaped",
                f"{what} {name!r} reads {written} in topics",
                at,
                "use letters, digits, - and _ if people shall type it",
            )
        return True
    return False


def check_draft(draft: Draft, findings: Findings) -> None:
    """All rules over the whole tree."""
    if not draft.sites:
        findings.error("no-site", "the tree has no site", draft.position, "add `sites:` with one at least")
    _check_unique(draft, findings)
    for equipment in draft.equipment.values():
        _check_class(draft, equipment, findings)
        _check_containment(draft, equipment, findings)
    _check_gateways(draft, findings)
    _check_providers(draft, findings)


def _check_unique(draft: Draft, findings: Findings) -> None:
    seen: dict[str, DraftEquipment] = {}
    for equipment in draft.equipment.values():
        first = seen.setdefault(equipment.value.id.lower(), equipment)
        if first is equipment:
            continue
        same = "has the id" if first.value.id == equipment.value.id else "differs only in case from the id"
        findings.error(
            "equipment-id",
            f"equipment {equipment.value.id!r} {same} {first.value.id!r} of {first.id_position}",
            equipment.id_position,
            "ids are unique in the enterprise: add `id:` with another one",
        )
    siblings: dict[tuple[tuple[str, ...], str], DraftEquipment] = {}
    for path, equipment in draft.equipment.items():
        first = siblings.setdefault((path[:-1], path[-1].lower()), equipment)
        if first is not equipment:
            findings.error(
                "case-only",
                f"level {path[-1]!r} differs only in case from {first.value.path[-1]!r}",
                equipment.position,
                "rename one",
            )
    _case_only("site", ((name, site.position) for name, site in draft.sites.items()), findings, severe=True)
    _case_only("class", ((name, value.position) for name, value in draft.classes.items()), findings)
    _case_only("context source", ((name, value.position) for name, value in draft.context.items()), findings)
    gateways = {name: at for equipment in draft.equipment.values() for name, at in equipment.gateway_positions.items()}
    _case_only("gateway", gateways.items(), findings)


def _case_only(what: str, names: Iterable[tuple[str, Position]], findings: Findings, *, severe: bool = False) -> None:
    """Sites are levels of topics; for the others the standard only advises (tck-id-case-sensitivity-sparkplug-ids)."""
    seen: dict[str, str] = {}
    for name, at in names:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            report = findings.error if severe else findings.warning
            report("case-only", f"{what} {name!r} differs only in case from {first!r}", at, "rename one")


def _check_class(draft: Draft, equipment: DraftEquipment, findings: Findings) -> None:
    value = equipment.value
    if value.class_name is not None and value.class_name not in draft.classes:
        findings.error(
            "unknown-class",
            f"equipment {value.id!r} has the class {value.class_name!r}, which is not declared",
            equipment.class_position,
            nearest(value.class_name, draft.classes) or "add it under `classes:`",
        )
    elif value.class_name is None and value.gateways:
        findings.error(
            "no-class",
            f"equipment {value.id!r} is fed by {', '.join(value.gateways)} and has no class",
            equipment.position,
            "add `class:`, or remove `gateways:`",
        )
    elif value.class_name is not None and not value.gateways:
        findings.warning(
            "no-gateway",
            f"equipment {value.id!r} has the class {value.class_name!r} and nothing feeds it",
            equipment.position,
            "add `gateways: [name]` when there is one",
        )


def _check_containment(draft: Draft, equipment: DraftEquipment, findings: Findings) -> None:
    level = equipment.value.level
    if level is EquipmentLevel.OTHER:
        return
    above, holder = EquipmentLevel.SITE, equipment.value.site
    for length in range(len(equipment.value.path) - 1, 2, -1):
        parent = draft.equipment.get(equipment.value.path[:length])
        if parent is not None and parent.value.level is not EquipmentLevel.OTHER:
            above, holder = parent.value.level, parent.value.path[-1]
            break
    if level not in HOLDS[above]:
        allowed = ", ".join(sorted(name.value for name in HOLDS[above]))
        findings.error(
            "level-order",
            f"{level.value} {equipment.value.path[-1]!r} stands below {above.value} {holder!r}",
            equipment.level_position,
            f"below {above.value} may stand: {allowed}, Other",
        )
    elif (usual := USUALLY_HOLDS.get(above)) and level in WORK_UNITS - usual:
        findings.warning(
            "level-kind",
            f"{level.value} {equipment.value.path[-1]!r} stands below {above.value} {holder!r}",
            equipment.level_position,
            f"ISA-95 has {' or '.join(sorted(name.value for name in usual))} there",
        )


def _check_gateways(draft: Draft, findings: Findings) -> None:
    site_of: dict[str, DraftEquipment] = {}
    for equipment in draft.equipment.values():
        for gateway, at in equipment.gateway_positions.items():
            first = site_of.setdefault(gateway, equipment)
            if first.value.site != equipment.value.site:
                findings.error(
                    "gateway-site",
                    f"gateway {gateway!r} feeds {first.value.id!r} in site {first.value.site!r}"
                    f" and {equipment.value.id!r} in site {equipment.value.site!r}",
                    at,
                    "a gateway publishes in one site: give each site its own",
                )


def _check_providers(draft: Draft, findings: Findings) -> None:
    """Each required kind of each class in use wants a source, or a context metric here or above."""
    declared = {kind for name, source in draft.context.items() if name != PLC for kind in source.value.provides}
    told: set[tuple[str, str]] = set()
    for equipment in draft.equipment.values():
        equipment_class = _class_of(draft, equipment)
        if equipment_class is None:
            continue
        from_plc = _provided_by_plc(draft, equipment)
        for kind, at in equipment_class.require_positions.items():
            if kind in declared or kind in from_plc or (equipment_class.value.name, kind) in told:
                continue
            told.add((equipment_class.value.name, kind))
            findings.error(
                "no-provider",
                f"class {equipment_class.value.name!r} requires {kind}, and nothing provides it"
                f" for {equipment.value.id!r}",
                at,
                f"it wants a provider: add `context: {{mes: {{provides: [{kind}]}}}}`,"
                f" or a metric with `role: context, provides: {kind}`",
            )


def _class_of(draft: Draft, equipment: DraftEquipment) -> DraftClass | None:
    return None if equipment.value.class_name is None else draft.classes.get(equipment.value.class_name)


def _provided_by_plc(draft: Draft, equipment: DraftEquipment) -> set[str]:
    plc = draft.context.get(PLC)
    kinds: set[str] = set()
    for length in range(len(equipment.value.path), 2, -1):
        holder = draft.equipment.get(equipment.value.path[:length])
        found = None if holder is None else _class_of(draft, holder)
        if found is not None:
            kinds |= {metric.provides for metric in found.value.metrics.values() if metric.provides is not None}
    return kinds if plc is None or not plc.value.provides else kinds.intersection(plc.value.provides)
