"""``uns audit``: is the audit log whole, what does it say, and where does it end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from uns.cli.options import (
    CaFileOption,
    CertFileOption,
    JsonOption,
    KeyFileOption,
    PasswordEnvOption,
    PasswordFileOption,
    UsernameOption,
    broker_address,
)
from uns.cli.output import EXIT_FINDINGS, print_document, print_line

if TYPE_CHECKING:
    from uns.adapters.broker_address import BrokerAddress
    from uns.audit.chain import Anchor, AuditEntry
    from uns.audit.verification import Verification

__all__ = ["register"]

DEFAULT_STORE = Path("var/host")
DETAIL_SHOWN_MAX = 160
LISTED_MAX = 1_000_000_000
FACT_SHOWN_MAX = 1_000
_PROGRESS_EVERY_S = 1.0

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", envvar="UNS_STORE", help="A host's store directory, records.db, or the store file of a bridge."
    ),
]
OptionalBrokerOption = Annotated[
    str | None,
    typer.Option(
        "--broker", help="Ask this broker for the retained anchor: mqtt://host[:port] or mqtts://host[:port]."
    ),
]
ComponentOption = Annotated[str | None, typer.Option("--component", help="Whose anchor; that of the store by default.")]

VERIFY_HELP = """Verify an audit log: is each entry what was written, are all there, and are the facts as the log says.

It reads a log that is being written, and changes nothing. An anchor from outside the store, retained at the broker or
saved in a file, shows a log that was cut or written anew as a whole; without one only the chain itself is looked at.

Exit codes: 0 fine, 1 something is wrong and the first bad record is named, 2 wrong usage, 3 the broker does not answer.

Examples:

  uns audit verify --store var/host --broker mqtt://127.0.0.1:1883

  uns audit verify --store var/host --anchor saved-anchors.jsonl

  uns audit verify --store var/history.bridge.db --json
"""
LIST_HELP = """List audit entries: who did what to what, when and why.

--about finds what names an order, a lot, a document: in the subject, in the detail, or in any message of the same fact.
--actor and --subject match parts, --action a word or its beginning (fact. or fact.refused). --since and --until take a
time with a zone, or how long ago (30m, 2h, 7d). --json prints one entry a line, whole.

Examples:

  uns audit list --since 24h

  uns audit list --about WO-10234

  uns audit list --action fact. --subject mes/mes:4711 --json

  uns audit list --store var/mes.bridge.db --action dead_letter. --actor op-17
"""
ANCHOR_HELP = """Print the anchor of an audit log: from its store, or what a broker retains.

Saved anchors are the witnesses that nobody who owns host and broker can change: keep them where neither can write.

Examples:

  uns audit anchor --store var/host

  uns audit anchor --broker mqtt://127.0.0.1:1883 --component uns-host-1 --save saved-anchors.jsonl
"""


def register(app: typer.Typer) -> None:
    """Add ``uns audit``."""
    audit = typer.Typer(no_args_is_help=True, help="The audit log: verify it, list it, anchor it elsewhere.")
    audit.command("verify", help=VERIFY_HELP)(verify)
    audit.command("list", help=LIST_HELP)(list_)
    audit.command("anchor", help=ANCHOR_HELP)(anchor)
    app.add_typer(audit, name="audit")


def verify(  # noqa: PLR0917 - one parameter an option
    store: StoreOption = DEFAULT_STORE,
    broker: OptionalBrokerOption = None,
    anchors: Annotated[
        list[Path] | None, typer.Option("--anchor", help="A file with saved anchors, one a line (several times).")
    ] = None,
    known: Annotated[
        list[int] | None,
        typer.Option("--known", help="Number of an entry that records a mismatch and was looked into (several times)."),
    ] = None,
    component: ComponentOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    password_env: PasswordEnvOption = None,
    as_json: JsonOption = False,
) -> None:
    """See VERIFY_HELP."""
    from uns.runtime.audit_check import component_of, read_anchors, retained_anchor, store_file, verify_store

    path = store_file(store)
    saved = [anchor for file in anchors or () for anchor in read_anchors(file)]
    at_broker = None
    if broker is not None:  # before the log is looked at: what it names must be there by then
        address = broker_address(
            broker,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            username=username,
            password_file=password_file,
            password_env=password_env,
        )
        at_broker = asyncio.run(retained_anchor(address, _named(component, component_of(path), path)))
    found = verify_store(path, anchors=saved, at_broker=at_broker, known=known or (), progress=_progress())
    if as_json:
        print_document(found)
    else:
        _print_verification(found, path)
    if not found.ok:
        raise typer.Exit(EXIT_FINDINGS)


def list_(  # noqa: PLR0917 - one parameter an option
    store: StoreOption = DEFAULT_STORE,
    since: Annotated[
        str | None, typer.Option("--since", help="From this time on: 2026-06-03T19:00:00Z, or 2h.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time, in the same forms.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Part of who.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Part of what it was done to.")] = None,
    about: Annotated[
        str | None, typer.Option("--about", help="Part of the subject, the detail, or a message of the same fact.")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="What was done, or its beginning.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, max=LISTED_MAX, help="At most so many, the newest ones.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """See LIST_HELP."""
    from collections import deque

    from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
    from uns.runtime.audit_check import store_file

    query = AuditQuery(
        since_ns=_moment(since, "--since"),
        until_ns=_moment(until, "--until"),
        actor=_text(actor, "--actor"),
        subject=_text(subject, "--subject"),
        about=_text(about, "--about"),
        action=_text(action, "--action"),
    )
    with AuditReader(store_file(store)) as reader:
        entries = reader.find(query)
        for entry in entries if limit is None else deque(entries, maxlen=limit):
            if as_json:
                print_line(_document(entry))
            else:
                _print_entry(entry)


def anchor(  # noqa: PLR0917 - one parameter an option
    store: StoreOption = DEFAULT_STORE,
    broker: OptionalBrokerOption = None,
    component: ComponentOption = None,
    save: Annotated[Path | None, typer.Option("--save", help="Add it to this file, as a line.")] = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    password_env: PasswordEnvOption = None,
) -> None:
    """See ANCHOR_HELP."""
    from uns.runtime.audit_check import component_of, save_anchor, store_file

    if broker is None:
        found = _anchor_of_store(store_file(store))
    else:
        name = component if component is not None else component_of(store_file(store))
        address = broker_address(
            broker,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            username=username,
            password_file=password_file,
            password_env=password_env,
        )
        found = _anchor_of_broker(address, _named(name, name, store))
    if save is not None:
        save_anchor(save, found)
    print_line(found)


def _anchor_of_store(path: Path) -> Anchor:
    from uns.adapters.sqlite.audit_log import AuditReader
    from uns.audit.chain import anchor_of
    from uns.errors import StorageError

    with AuditReader(path) as reader:
        snapshot = reader.snapshot()
    if snapshot.head.number == 0:
        raise StorageError("the audit log has no entry yet", where=str(path), next_step="start its component once")
    return anchor_of(snapshot.head, snapshot.component, time.time_ns())


def _anchor_of_broker(address: BrokerAddress, component: str) -> Anchor:
    from uns.errors import UnsError
    from uns.runtime.audit_check import retained_anchor

    found = asyncio.run(retained_anchor(address, component))
    if found.anchor is None:
        raise UnsError(
            found.trouble or "no anchor is retained there",
            where=f"{address.url} {found.topic}",
            next_step="check --component, that it runs, and that the access list lets it write there",
        )
    return found.anchor


def _named(chosen: str | None, found: str, path: Path) -> str:
    from uns.errors import ConfigurationError

    name = chosen if chosen is not None else found
    if not name:
        raise ConfigurationError(
            "nobody has written to this audit log yet", where=str(path), next_step="name whose anchor: --component"
        )
    return name


def _text(text: str | None, option: str) -> str | None:
    from uns.errors import ConfigurationError

    if text is not None and any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigurationError("the text is not UTF-8", where=option, expected="what an entry may hold: Unicode")
    return text


def _moment(text: str | None, option: str) -> int | None:
    from uns.context.times import MIN_NS, ns_of
    from uns.errors import ConfigurationError
    from uns.runtime.host.options import parse_duration_ns

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return max(time.time_ns() - parse_duration_ns(text), MIN_NS)
        except ConfigurationError:
            moment = None
    ns = None if moment is None or moment.tzinfo is None else ns_of(moment)
    if ns is None:
        raise ConfigurationError(
            f"{text!r} is no time",
            where=option,
            expected="2026-06-03T19:00:00Z, with a zone, or how long ago: 30m, 2h, 7d",
        )
    return ns


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _progress() -> Any:
    """On stderr, once a second: a log that is verified at once says nothing."""
    began = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY_S:
            last = now
            print(f"verified {done:,} of {total:,}, {done / (now - began):,.0f} a second", file=sys.stderr)

    return tell


def _print_verification(found: Verification, path: Path) -> None:
    print(f"{found.component or '-'}  log {found.log}  {found.entries:,} entries, the last of {found.last_at or '-'}")
    for finding in found.findings:
        print(_safe(str(finding)))
        if finding.number is not None and finding.kind != "recorded":
            _print_at(path, finding.number)
    if found.untold:
        print(f"and {found.untold:,} more")
    if found.time_steps_back:
        print(f"{found.time_steps_back:,} entries are dated before the one before them: the clock was set back")
    if found.ok:
        print(f"all {found.good:,} entries are as they were written{_vouched(found)}")
    else:
        print(f"{found.good:,} entries before it are good" if found.good else "no entry can be relied on")


def _vouched(found: Verification) -> str:
    if not found.anchors:
        return "; no anchor from outside was given, so a log written anew as a whole would look the same"
    return f", and an anchor from outside vouches for {found.anchored:,} of them"


def _print_at(path: Path, number: int) -> None:
    """What stands now at the place of a finding."""
    from uns.adapters.sqlite.audit_log import AuditReader

    with AuditReader(path) as reader:
        for entry in reader.entries(after=number - 1, to=number):
            print("  now there:")
            _print_entry(entry)


def _print_entry(entry: AuditEntry) -> None:
    from uns.context.times import rfc3339

    detail = _detail_text(entry.detail)
    text = f"{entry.number:>8}  {rfc3339(entry.at_ns)}  {entry.actor}  {entry.action}  {entry.subject}  {detail}"
    print(_safe(text))


def _detail_text(detail: str) -> str:
    """Of a fact what it set or changed, and why; of a posting what it said; of everything else the detail, cut."""
    try:
        found = msgspec.json.decode(detail, type=dict[str, Any])
    except msgspec.DecodeError:
        found = {}
    parts = []
    match found:
        case {"set": dict() as fields}:
            parts += [f"{name} {_json(value)}" for name, value in fields.items()]
        case {"changed": dict() as fields, "before": {"source_rev": earlier}}:
            pairs = [(name, pair) for name, pair in fields.items() if isinstance(pair, list) and len(pair) == 2]
            parts += [f"{name} {_json(old)} → {_json(new)}" for name, (old, new) in pairs]
            parts.append(f"after revision {_json(earlier)}")
        case {"subject": str(posted), "kind": str(kind)}:
            parts += [kind, posted, *(str(found[name]) for name in ("receipt", "because") if found.get(name))]
    if parts:
        parts += [f"because {_json(found['reason'])}"] if found.get("reason") else []
        detail = ", ".join(parts)
    bound = FACT_SHOWN_MAX if parts else DETAIL_SHOWN_MAX
    return detail if len(detail) <= bound else detail[:bound] + "…"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _safe(text: str) -> str:
    """What others wrote must not steer a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _document(entry: AuditEntry) -> dict[str, Any]:
    from uns.context.times import rfc3339

    document: dict[str, Any] = msgspec.to_builtins(entry)
    document["at"] = rfc3339(entry.at_ns)
    with contextlib.suppress(msgspec.DecodeError):
        document["detail"] = msgspec.json.decode(entry.detail)
    return document
