"""From ``topic_tree.yaml`` and the files it includes to a :class:`TopicTree`, or to all that is wrong with it."""

from __future__ import annotations

import hashlib
import zoneinfo
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from uns.errors import ConfigurationError
from uns.namespace.classes import CONTEXT_KINDS, known_kind, read_class
from uns.namespace.draft import Draft, DraftEquipment, DraftSite, DraftSource
from uns.namespace.findings import Finding, Findings, Position, nearest
from uns.namespace.levels import PLACEABLE
from uns.namespace.lint import PLC, check_draft, check_name
from uns.namespace.model import ContextSource, Equipment, EquipmentLevel, Site, TopicTree
from uns.namespace.yaml_file import Entry, Fields, parse_yaml, read_text

__all__ = ["INCLUDE_DEPTH_MAX", "INCLUDE_FILES_MAX", "contract_hash", "lint_text", "lint_tree", "load_tree"]

FORMAT_VERSION = 1
INCLUDE_DEPTH_MAX = 8
INCLUDE_FILES_MAX = 1000

_LEVELS = {level.value: level for level in EquipmentLevel if level in PLACEABLE}
_TOP_KEYS = ("uns", "enterprise", "include", "classes", "sites", "context")
_DEFAULT_GRACE_NS = 300_000_000_000
_GRACE_MAX_NS = 30 * 86_400_000_000_000
# Keys of a metric that came after the first release: a tree that does not use them keeps its hash.
_LATER_KEYS = ("step_max", "times")

Reader = Callable[[Path], str]


def load_tree(path: Path) -> TopicTree:
    """The tree in ``path``; raises :class:`ConfigurationError` with every finding as a line if it has errors."""
    path = Path(path)
    tree, findings = _read(path, read_text(path), read_text)
    if tree is None or findings.has_errors:
        findings.check("the tree cannot be used", where=str(path))
        raise ConfigurationError("the tree cannot be used", where=str(path))  # unreachable: no tree is a finding
    return tree


def lint_tree(path: Path) -> list[Finding]:
    """Every error and warning of a tree; raises :class:`ConfigurationError` only if ``path`` cannot be read."""
    path = Path(path)
    return list(_read(path, read_text(path), read_text)[1])


def lint_text(
    text: str, *, file: str = "topic_tree.yaml", read: Reader = read_text
) -> tuple[TopicTree | None, list[Finding]]:
    """The same from a text; ``read`` gives included files. The tree is None where there are errors."""
    tree, findings = _read(Path(file), text, read)
    return tree, list(findings)


def contract_hash(tree: TopicTree) -> str:
    """SHA-256 over the canonical form: layout, comments, order of keys and split into files do not change it."""
    plain = msgspec.to_builtins(msgspec.structs.replace(tree, contract_hash=""))
    for equipment_class in plain["classes"].values():
        for metric in equipment_class["metrics"].values():
            for key in _LATER_KEYS:
                if metric[key] is None:
                    del metric[key]
    canonical = msgspec.json.encode(plain, order="sorted")
    return hashlib.sha256(canonical).hexdigest()


def _read(path: Path, text: str, read: Reader) -> tuple[TopicTree | None, Findings]:
    findings = Findings()
    draft = Draft(Position(str(path), 1, 1))
    reader = _TreeReader(draft, findings, read)
    reader.read_file(path, text, is_first=True)
    if not reader.is_incomplete:  # half a tree would be told to lack what stands in the other half
        check_draft(draft, findings)
    return (None if findings.has_errors else _build(draft)), findings


def _build(draft: Draft) -> TopicTree:
    context = {name: source.value for name, source in draft.context.items()}
    stated = {m.provides for c in draft.classes.values() for m in c.value.metrics.values() if m.provides is not None}
    plc = context.get(PLC) or ContextSource(name=PLC, provides=())
    if not plc.provides:
        plc = msgspec.structs.replace(plc, provides=tuple(kind for kind in CONTEXT_KINDS if kind in stated))
    context[PLC] = plc
    equipment = {found.value.id: found.value for found in draft.equipment.values()}
    tree = TopicTree(
        enterprise=draft.enterprise,
        sites={name: site.value for name, site in draft.sites.items()},
        classes={name: found.value for name, found in draft.classes.items()},
        equipment=equipment,
        context=context,
        contract_hash="",
    )
    return msgspec.structs.replace(tree, contract_hash=contract_hash(tree))


class _Above(msgspec.Struct, frozen=True):
    """What an equipment inherits from its place."""

    path: tuple[str, ...]
    site: str
    parent: str | None
    owner: str | None


class _TreeReader:
    """Reads one file after the other into the draft."""

    def __init__(self, draft: Draft, findings: Findings, read: Reader) -> None:
        self._draft = draft
        self._findings = findings
        self._read = read
        self._files = 0
        self.is_incomplete = False  # a file could not be read at all

    def read_file(self, path: Path, text: str, *, is_first: bool = False, chain: tuple[Path, ...] = ()) -> None:
        self._files += 1
        document = parse_yaml(text, file=str(path), findings=self._findings)
        if document.root is None:
            self.is_incomplete = True
            return
        required = ("uns", "enterprise") if is_first else ("uns",)
        root = document.fields(required=required, optional=[key for key in _TOP_KEYS if key not in required])
        version = root.integer("uns", default=FORMAT_VERSION)
        if version != FORMAT_VERSION:
            self._findings.error(
                "version",
                f"format version {version}",
                root.position_of("uns"),
                f"this release reads version {FORMAT_VERSION}",
            )
        self._read_enterprise(root)
        for entry in root.entries("classes"):
            self._read_class(root, entry)
        for entry in root.entries("sites"):
            self._read_site(root, entry)
        for entry in root.entries("context"):
            self._read_source(root, entry)
        for name, at in root.texts("include"):
            self._include(path, name, at, (*chain, path))

    def _read_enterprise(self, root: Fields) -> None:
        name = root.text("enterprise", default=None)
        if name is None:
            return
        at = root.position_of("enterprise")
        if self._draft.enterprise and name != self._draft.enterprise:
            self._findings.error(
                "enterprise",
                f"enterprise {name!r} in a tree of {self._draft.enterprise!r}",
                at,
                "one tree is one enterprise: leave it out in included files",
            )
            return
        if check_name(name, "enterprise", at, self._findings) and "." in name:
            # group_id is "{enterprise}.{site}": the first dot must be the one between them.
            self._findings.error("enterprise", f"enterprise {name!r} has a dot", at, "use - instead")
        self._draft.enterprise = name

    def _read_class(self, root: Fields, entry: Entry) -> None:
        first = self._draft.classes.get(entry.key)
        if first is not None:
            self._twice("class", entry, first.position)
            return
        found = read_class(root, entry)
        if found is not None:
            self._draft.classes[entry.key] = found

    def _read_site(self, root: Fields, entry: Entry) -> None:
        what = f"site {entry.key!r}"
        first = self._draft.sites.get(entry.key)
        required = ("time_zone",) if first is None else ()
        optional = ("equipment", "owner") if first is None else ("equipment", "time_zone")
        own = root.of(entry, what=what, required=required, optional=optional)
        if own is None:
            return
        time_zone = own.text("time_zone", default=None)
        if time_zone is not None:
            self._check_time_zone(time_zone, own.position_of("time_zone"))
        if first is None:
            check_name(entry.key, "site", entry.position, self._findings)
            first = DraftSite(
                Site(id=entry.key, time_zone=time_zone or ""), entry.position, own.text("owner", default=None)
            )
            self._draft.sites[entry.key] = first
        elif time_zone is not None and time_zone != first.value.time_zone:
            self._findings.error(
                "time-zone",
                f"{what} is in {first.value.time_zone} at {first.position}",
                own.position_of("time_zone"),
                "write it once",
            )
        above = _Above((self._draft.enterprise, entry.key), entry.key, None, first.owner)
        for child in own.entries("equipment"):
            self._read_equipment(own, child, above)

    def _check_time_zone(self, name: str, at: Position) -> None:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            self._findings.error(
                "time-zone",
                f"{name!r} is no IANA time zone",
                at,
                nearest(name, zoneinfo.available_timezones()) or "write it like Europe/Berlin",
            )

    def _read_equipment(self, fields: Fields, entry: Entry, above: _Above) -> None:
        path = (*above.path, entry.key)
        opened = self._draft.equipment.get(path)
        if opened is not None:
            self._reopen(fields, entry, opened)
            return
        what = f"equipment {entry.key!r}"
        own = fields.of(
            entry,
            what=what,
            required=("level",),
            optional=("class", "gateways", "equipment", "id", "owner", "description"),
        )
        if own is None:
            return
        check_name(entry.key, "level", entry.position, self._findings)
        equipment_id = own.text("id", default=entry.key)
        id_position = own.position_of("id") if "id" in own else entry.position
        if "id" in own:
            check_name(equipment_id, "equipment id", id_position, self._findings, is_level=False)
        gateways: dict[str, Position] = {}
        for gateway, at in own.texts("gateways"):
            if gateway in gateways:
                self._findings.error("gateway-twice", f"{what} names gateway {gateway!r} twice", at, "keep one")
            elif check_name(gateway, "gateway", at, self._findings, is_level=False):
                gateways[gateway] = at
        owner = own.text("owner", default=above.owner)
        value = Equipment(
            id=equipment_id,
            level=own.choice("level", _LEVELS, default=EquipmentLevel.OTHER),
            path=path,
            site=above.site,
            class_name=own.text("class", default=None),
            parent=above.parent,
            gateways=tuple(gateways),
            owner=owner,
            description=own.text("description", default=None),
        )
        self._draft.equipment[path] = DraftEquipment(
            value, entry.position, id_position, own.position_of("level"), own.position_of("class"), gateways
        )
        below = _Above(path, above.site, equipment_id, owner)
        for child in own.entries("equipment"):
            self._read_equipment(own, child, below)

    def _reopen(self, fields: Fields, entry: Entry, opened: DraftEquipment) -> None:
        """Another file adds below an equipment: it may say `equipment:` and nothing else."""
        what = f"equipment {entry.key!r}, declared at {opened.position},"
        own = fields.of(entry, what=what, required=("equipment",))
        if own is None:
            return
        below = _Above(opened.value.path, opened.value.site, opened.value.id, opened.value.owner)
        for child in own.entries("equipment"):
            self._read_equipment(own, child, below)

    def _read_source(self, root: Fields, entry: Entry) -> None:
        first = self._draft.context.get(entry.key)
        if first is not None:
            self._twice("context source", entry, first.position)
            return
        required = () if entry.key == PLC else ("provides",)
        optional = ("precedence", "grace", "bridge", *(("provides",) if entry.key == PLC else ()))
        own = root.of(entry, what=f"context source {entry.key!r}", required=required, optional=optional)
        if own is None:
            return
        check_name(entry.key, "context source", entry.position, self._findings)
        provides: list[str] = []
        for kind, at in own.texts("provides"):
            if known_kind(self._findings, kind, at):
                provides.append(kind)
        value = ContextSource(
            name=entry.key,
            provides=tuple(dict.fromkeys(provides)),
            precedence=own.integer("precedence", default=0, minimum=-1000, maximum=1000),
            grace_ns=own.duration_ns("grace", default=_DEFAULT_GRACE_NS, maximum_ns=_GRACE_MAX_NS),
            bridge_ns=own.duration_ns("bridge", default=0, maximum_ns=_GRACE_MAX_NS),
        )
        self._draft.context[entry.key] = DraftSource(value, entry.position)

    def _twice(self, what: str, entry: Entry, first: Position) -> None:
        self._findings.error(
            "duplicate-key", f"{what} {entry.key!r} is declared a second time", entry.position, f"the first is {first}"
        )

    def _include(self, path: Path, name: str, at: Position, chain: tuple[Path, ...]) -> None:
        text = self._included_text(path, name, at, chain)
        if text is None:
            self.is_incomplete = True
        else:
            self.read_file(path.parent / name, text, chain=chain)

    def _included_text(self, path: Path, name: str, at: Position, chain: tuple[Path, ...]) -> str | None:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or "\\" in name:
            self._findings.error(
                "include", f"{name!r} leaves the folder of this file", at, "include relative paths below it"
            )
            return None
        target = path.parent / name
        if target in chain:
            circle = " → ".join(str(file) for file in (*chain, target))
            self._findings.error("include-cycle", f"{name!r} includes itself: {circle}", at, "break the circle")
            return None
        if len(chain) > INCLUDE_DEPTH_MAX or self._files >= INCLUDE_FILES_MAX:
            self._findings.error(
                "include-bound",
                f"more than {INCLUDE_DEPTH_MAX} levels or {INCLUDE_FILES_MAX} files of includes",
                at,
                "include from fewer files",
            )
            return None
        try:
            return self._read(target)
        except ConfigurationError as error:
            self._findings.error("include", f"{name!r}: {error.what}", at, error.next_step)
            return None
