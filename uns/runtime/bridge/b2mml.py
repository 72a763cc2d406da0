"""The kind ``b2mml``: a folder of schedules in, a folder of performances out."""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Mapping as Map
from collections.abc import Sequence
from pathlib import Path

import msgspec

from uns.adapters.folder import FolderInbox, FolderOutbox
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.bridges.b2mml.document import Limits
from uns.bridges.b2mml.outbound import FAILED, Failure, PerformanceMapping
from uns.bridges.b2mml.schedule import ReadOptions
from uns.bridges.b2mml.values import parse_time
from uns.bridges.port import (
    Auth,
    Emit,
    Finding,
    LogBatch,
    Mapping,
    OutboundItem,
    Outcome,
    Poison,
    RecordReader,
    Target,
    Transient,
)
from uns.context.records import JobOrder
from uns.context.times import ns_of
from uns.errors import ConfigurationError
from uns.namespace.findings import nearest, shown
from uns.namespace.loader import load_tree
from uns.namespace.model import TopicTree
from uns.namespace.nodes import ScalarNode
from uns.namespace.yaml_file import Fields
from uns.runtime.bridge.b2mml_intake import OrderIntake
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.bridge.kinds import Kind

__all__ = ["KIND", "B2mmlSettings", "B2mmlTarget"]

_SECOND_NS = 1_000_000_000
_MATERIALS_BYTES_MAX = 64 * 1024 * 1024  # of a list of materials
_OPTIONAL = (
    "source", "inbox", "archive", "quarantine", "pattern", "poll", "settle", "outbox", "since", "sender", "receiver",
    "equipment", "default_equipment", "materials_file", "zone", "qualify_jobs",
)  # fmt: skip


class B2mmlSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``target:`` of a b2mml bridge."""

    source: str
    inbox: Path | None = None
    archive: Path | None = None  # None: below the inbox
    quarantine: Path | None = None
    pattern: str = "*.xml"
    poll_s: float = 1.0
    settle_s: float = 2.0
    outbox: Path | None = None
    since_ns: int | None = None
    sender: str = ""
    receiver: str | None = None
    equipment: dict[str, str] = {}
    default_equipment: str | None = None
    materials_file: Path | None = None
    zone: str | None = None
    qualify_jobs: bool = False


class B2mmlTarget:
    """Both folders. Outbound it is a :class:`~uns.adapters.folder.FolderOutbox`, inbound it waits for files."""

    name = "b2mml"
    items_max = FolderOutbox.items_max

    def __init__(self, *, outbox: FolderOutbox | None, inbox: FolderInbox | None, intake: OrderIntake | None) -> None:
        self._outbox = outbox
        self._inbox = inbox
        self._intake = intake

    @property
    def inbound_trouble(self) -> str:
        """What keeps files from being taken now; empty where nothing does."""
        return "" if self._inbox is None else self._inbox.trouble

    @property
    def inbound_set_aside(self) -> int:
        """Files in the quarantine now."""
        return 0 if self._inbox is None else self._inbox.set_aside

    async def start(self) -> int | Transient | Auth | None:
        """Get the outbox ready."""
        return None if self._outbox is None else await self._outbox.start()

    async def deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        """One file an item; what could not be made is given back."""
        if self._outbox is None:
            return [
                Transient("performances wait and the file names no `outbox:` any more; name it again") for _ in items
            ]
        outcomes = iter(await self._outbox.deliver([item for item in items if item.kind != FAILED]))
        return [_poison(item) if item.kind == FAILED else next(outcomes) for item in items]

    async def read_back(self, item: OutboundItem) -> bool | None:
        """Whether its file went out."""
        return None if self._outbox is None else await self._outbox.read_back(item)

    def split(self, item: OutboundItem) -> list[OutboundItem]:  # noqa: ARG002 - the port's
        """A document has no parts."""
        return []

    async def inbound(self, emit: Emit) -> None:
        """Take files until cancelled."""
        inbox, intake = self._inbox, self._intake
        if inbox is None or intake is None:
            return
        try:
            await inbox.run(lambda file: intake.handle(file, emit))
        finally:
            intake.close()

    async def check(self) -> list[Finding]:
        """Whether both folders can be used now."""
        findings = [] if self._inbox is None else self._inbox.check()
        return findings if self._outbox is None else [*findings, *await self._outbox.check()]

    async def close(self) -> None:
        """Let go of the outbox."""
        if self._outbox is not None:
            await self._outbox.close()


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_target(fields: Fields, directory: Path) -> B2mmlSettings:
    zone = fields.text("zone", default=None)
    if zone is not None and not _is_zone(zone):
        fields.findings.error(
            "zone", f"{shown(zone)} is no time zone", fields.position_of("zone"), "write it like Europe/Berlin"
        )
    if "inbox" not in fields and "outbox" not in fields:
        fields.findings.error(
            "folders", f"{fields.what} names no folder", fields.position, "give `inbox:`, `outbox:` or both"
        )
    for key in ("archive", "quarantine", "pattern", "poll", "settle"):
        if key in fields and "inbox" not in fields:
            fields.findings.error(
                "folders", f"`{key}:` is for an inbox, and there is none", fields.position_of(key), "give `inbox:`"
            )
    folders = {key: fields.text(key, default=None) for key in ("inbox", "archive", "quarantine", "outbox")}
    _lint_folders(fields, folders)
    materials = fields.text("materials_file", default=None)
    return B2mmlSettings(
        source=fields.text("source", default="mes"),
        pattern=fields.text("pattern", default="*.xml"),
        poll_s=fields.duration_ns("poll", default=_SECOND_NS, minimum_ns=_SECOND_NS // 100) / _SECOND_NS,
        settle_s=fields.duration_ns("settle", default=2 * _SECOND_NS) / _SECOND_NS,
        since_ns=_since(fields),
        sender=fields.text("sender", default=""),
        receiver=fields.text("receiver", default=None),
        equipment=_equipment(fields),
        default_equipment=fields.text("default_equipment", default=None),
        materials_file=None if materials is None else directory / materials,
        zone=zone,
        qualify_jobs=fields.boolean("qualify_jobs", default=False),
        **{key: None if place is None else directory / place for key, place in folders.items()},
    )


def _lint_folders(fields: Fields, folders: dict[str, str | None]) -> None:
    """No folder serves twice: what is written into the inbox would be read again."""
    seen: dict[str, str] = {}
    for key, place in folders.items():
        if place is None:
            continue
        first = seen.setdefault(os.path.normpath(place), key)
        if first != key:
            fields.findings.error(
                "folders",
                f"`{key}:` is the folder of `{first}:`",
                fields.position_of(key),
                "give each a folder of its own",
            )


def _equipment(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in fields.entries("equipment"):
        if isinstance(entry.node, ScalarNode) and not entry.node.is_null:
            found[entry.key] = entry.node.text
        else:
            fields.findings.error(
                "equipment",
                f"{shown(entry.key)} is mapped to nothing",
                entry.position,
                'name equipment of the tree, or "" for what is none of ours',
            )
    return found


def _since(fields: Fields) -> int | None:
    text = fields.text("since", default=None)
    moment = None if text is None else parse_time(text)
    since_ns = None if moment is None or moment.tzinfo is None else ns_of(moment)
    if text is not None and since_ns is None:
        fields.findings.error(
            "since",
            f"{shown(text)} is no time with a zone",
            fields.position_of("since"),
            "write it like 2026-06-03T00:00:00Z",
        )
    return since_ns


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _lint(config: BridgeConfig, root: Fields, target: Fields) -> None:
    """What the settings need beside the target, and what they say of the topic tree."""
    settings: B2mmlSettings = config.target
    findings = root.findings
    if settings.inbox is not None and config.broker is None:
        findings.error(
            "broker", "orders of an inbox are told to the host over a broker", root.position, "add `broker: {url: …}`"
        )
    if config.tree is None:
        findings.error("tree", "a b2mml bridge needs the topic tree", root.position, "add `tree: topic_tree.yaml`")
        return
    try:
        tree = load_tree(config.tree)
    except ConfigurationError as error:
        findings.error("tree", str(error), root.position_of("tree"), f"see `uns tree lint {config.tree}`")
        return
    source = tree.context.get(settings.source)
    if settings.inbox is not None and (source is None or "job" not in source.provides):
        findings.error(
            "source",
            f"source {shown(settings.source)} does not provide jobs in the topic tree",
            target.position_of("source"),
            f"add `{settings.source}: {{provides: [job]}}` under `context:` there, or name another `source:` here",
        )
    places = {entry.key: entry.node.position for entry in target.entries("equipment")}
    named = {settings.equipment[code]: at for code, at in places.items() if settings.equipment.get(code)}
    if settings.default_equipment is not None:
        named[settings.default_equipment] = target.position_of("default_equipment")
    for name, at in named.items():
        if name not in tree.equipment:
            findings.error(
                "equipment",
                f"{shown(name)} is no equipment of the topic tree",
                at,
                nearest(name, tree.equipment) or "name one of the tree",
            )


# ── what is built of it ──────────────────────────────────────────────────────────────────────────────────────────────


def _build(config: BridgeConfig, log: RecordCursor) -> tuple[Mapping, Target]:  # noqa: ARG001 - for targets that read it
    settings: B2mmlSettings = config.target
    assert config.tree is not None  # noqa: S101 - _lint saw to it
    tree = load_tree(config.tree)
    outbox = None if settings.outbox is None else FolderOutbox(settings.outbox)
    if settings.inbox is None:
        return _mapping(config, tree), B2mmlTarget(outbox=outbox, inbox=None, intake=None)
    limits = Limits()
    inbox = FolderInbox(
        settings.inbox,
        archive=settings.archive or settings.inbox / "archive",
        quarantine=settings.quarantine or settings.inbox / "quarantine",
        pattern=settings.pattern,
        poll_s=settings.poll_s,
        settle_s=settings.settle_s,
        file_bytes_max=limits.body_bytes_max,
    )
    options = ReadOptions(
        tree=tree,
        source=settings.source,
        equipment=settings.equipment,
        default_equipment=settings.default_equipment,
        materials=None if settings.materials_file is None else _materials(settings.materials_file),
        zone=settings.zone,
        qualify_jobs=settings.qualify_jobs,
    )
    intake = OrderIntake(options, config.store, bytes_max=config.store_bytes_max, limits=limits)
    return _mapping(config, tree), B2mmlTarget(outbox=outbox, inbox=inbox, intake=intake)


def _mapping(config: BridgeConfig, tree: TopicTree) -> Mapping:
    settings: B2mmlSettings = config.target
    if settings.outbox is None:
        return NothingOut()
    return PerformanceMapping(
        tree,
        sender=settings.sender or f"uns-{tree.enterprise}",
        receiver=settings.receiver,
        source=config.name,
        grace_ns=config.grace_ns,
        since_ns=settings.since_ns,
        orders=OrderBook(config.store, bytes_max=config.store_bytes_max).find,
    )


class OrderBook:
    """What was ordered, as the inbox wrote it into the bridge's books; for the mapping's thread."""

    def __init__(self, store: Path, *, bytes_max: int | None) -> None:
        self._path = store
        self._bytes_max = bytes_max
        self._store: BridgeStore | None = None

    def find(self, fact_id: str) -> JobOrder | None:
        """By the id of its fact; None for a job that came from elsewhere."""
        if self._store is None:
            self._store = BridgeStore(self._path, bytes_max=self._bytes_max)
        body = self._store.order(fact_id)
        return None if body is None else msgspec.json.decode(body, type=JobOrder)


def _poison(item: OutboundItem) -> Poison:
    failure = msgspec.json.decode(item.body, type=Failure)
    return Poison(
        f"the performance of job {failure.job} cannot be made: {failure.error}",
        "report it with the release; it is tried anew at each start and each change of the job; then drop this one",
    )


def _materials(path: Path) -> frozenset[str]:
    """Known materials: one a line."""
    try:
        if path.stat().st_size > _MATERIALS_BYTES_MAX:
            raise ConfigurationError(f"more than {_MATERIALS_BYTES_MAX:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"the list of materials cannot be read: {error.strerror}",
            where=str(path),
            next_step="check `materials_file:`",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "the list of materials is not UTF-8", where=str(path), next_step="save it so"
        ) from error
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


class NothingOut:
    """The mapping of a bridge that only brings in."""

    wants_samples = False

    def load(self, state: Map[str, bytes], reader: RecordReader) -> None:
        """There is nothing to remember."""

    def receive_batch(self, batch: LogBatch, now_ns: int) -> list[OutboundItem]:  # noqa: ARG002 - the port's
        """Nothing goes out."""
        return []

    def receive_timer(self, now_ns: int) -> list[OutboundItem]:  # noqa: ARG002
        """Nothing follows from the time."""
        return []

    def next_deadline_ns(self) -> int | None:
        """Never."""
        return None

    def drain_state(self) -> dict[str, bytes | None]:
        """None."""
        return {}


KIND = Kind(
    target_required=(),
    target_optional=_OPTIONAL,
    read_target=_read_target,
    build=_build,
    lint=_lint,
)
