"""Looking at audit logs from outside: verify a store against anchors, and get anchors from where they are kept."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.sqlite.audit_log import AuditReader
from uns.audit.anchoring import ANCHOR_BYTES_MAX, parse_anchor
from uns.audit.chain import Anchor
from uns.audit.verification import Verification, Verifier
from uns.errors import ConfigurationError, StorageError
from uns.namespace.topics import audit_topic

__all__ = [
    "BrokerAnchor",
    "component_of",
    "read_anchors",
    "retained_anchor",
    "save_anchor",
    "store_file",
    "verify_store",
]

RECORDS = "records.db"
RETAINED_WITHIN_S = 3.0
_PROGRESS_EVERY = 20_000


class BrokerAnchor(msgspec.Struct, frozen=True):
    """What a broker retains for a component."""

    component: str
    topic: str
    where: str
    anchor: Anchor | None
    trouble: str = ""  # what stands there is no anchor


def store_file(path: Path) -> Path:
    """The database itself, where a host's store is given as its directory."""
    return path / RECORDS if path.is_dir() else path


def component_of(path: Path) -> str:
    """Whose log a store holds, by its last entry."""
    with AuditReader(path) as reader:
        return reader.snapshot().component


def verify_store(
    path: Path,
    *,
    anchors: Sequence[Anchor] = (),
    at_broker: BrokerAnchor | None = None,
    known: Iterable[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Verify a log, also while its component writes. Anchors must be fetched before this is called.

    Raises :class:`ConfigurationError` where there is no log, :class:`StorageError` where it cannot be read.
    """
    with AuditReader(path) as reader:
        snapshot = reader.snapshot()
        found = [] if at_broker is None or at_broker.anchor is None else [at_broker.anchor]
        verifier = Verifier(snapshot.head, anchors=[*anchors, *found], known=known)
        if at_broker is not None and at_broker.anchor is None:
            text = at_broker.trouble or "nothing is retained there: it was taken away, or the broker keeps nothing"
            verifier.unanchored(f"no anchor at {at_broker.where}, {at_broker.topic}: {text}")
        facts = reader.fact_rows()
        for entry in reader.entries(to=max(snapshot.last, snapshot.head.number)):
            if verifier.receive(entry):
                facts.receive(entry, verifier)
            if progress is not None and verifier.entries % _PROGRESS_EVERY == 0:
                progress(verifier.entries, snapshot.entries)
        verifier.counted(snapshot.entries)
        facts.finish(snapshot.facts or 0, verifier)
        return verifier.finish()


async def retained_anchor(address: BrokerAddress, component: str) -> BrokerAnchor:
    """What the broker retains for a component now. Raises :class:`UnreachableError`."""
    topic = audit_topic(component)
    connection = MqttConnection(address, client_id=f"uns-audit-{secrets.token_hex(4)}")
    async with connection:
        await connection.subscribe([(topic, 1)])
        payload = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETAINED_WITHIN_S):
                while payload is None:
                    payload = next((m.payload for m in await connection.next_batch() if m.topic == topic), None)
    if not payload:
        return BrokerAnchor(component, topic, address.url, None)
    anchor = parse_anchor(payload)
    trouble = "" if anchor is not None else "what is retained there is no anchor"
    return BrokerAnchor(component, topic, address.url, anchor, trouble)


def read_anchors(path: Path) -> list[Anchor]:
    """Anchors of a file, one JSON document a line. Raises :class:`ConfigurationError` for anything else."""
    try:
        with path.open("rb") as file:
            lines = [line for line in file if line.strip()]
    except OSError as error:
        raise ConfigurationError(
            f"the anchors cannot be read: {error.strerror}", where=str(path), next_step="check path and rights"
        ) from error
    if not lines:
        raise ConfigurationError("no anchor is in the file", where=str(path), next_step="uns audit anchor --save FILE")
    anchors: list[Anchor] = []
    for number, line in enumerate(lines, 1):
        anchor = parse_anchor(line.strip()) if len(line) <= ANCHOR_BYTES_MAX else None
        if anchor is None:
            raise ConfigurationError(
                f"line {number} is no anchor",
                where=str(path),
                expected='{"schema": "uns1.audit_anchor/1", "component": …, "log": …, "number": …, "hash": …, "at": …}',
            )
        anchors.append(anchor)
    return anchors


def save_anchor(path: Path, anchor: Anchor) -> None:
    """Add an anchor to a file, at its end. Raises :class:`StorageError`."""
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(anchor) + b"\n")
    except OSError as error:
        raise StorageError(
            f"the anchor cannot be saved: {error.strerror}", where=str(path), next_step="check path and rights"
        ) from error
