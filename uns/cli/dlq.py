"""``uns dlq``: what no target took, and what a human decides about it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from uns.cli.bridge import DEFAULT_BRIDGE, BridgeOption
from uns.cli.options import JsonOption
from uns.cli.output import print_document

if TYPE_CHECKING:
    from uns.adapters.sqlite.bridge_store import BridgeStore, DeadLetter

__all__ = ["register"]

LIST_HELP = """List dead letters: what a target refused, why, and what to do.

Examples:

  uns dlq list --config mes.bridge.yaml

  uns dlq list --config mes.bridge.yaml --json
"""
SHOW_HELP = """Show one dead letter with its content.

Examples:

  uns dlq show log:40000-60000 --config history.bridge.yaml
"""
RETRY_HELP = """Let dead letters be delivered again, after what they name was mended.

Examples:

  uns dlq retry log:40000-60000 --config history.bridge.yaml

  uns dlq retry --all --config mes.bridge.yaml
"""
DROP_HELP = """Give a dead letter up for ever. The reason goes into the audit log with your name.

Examples:

  uns dlq drop performance:WO-7/0010 --reason "posted by hand, document 4711" --config mes.bridge.yaml
"""
KeyArgument = Annotated[str, typer.Argument(help="Its key, as `uns dlq list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add ``uns dlq``."""
    dlq = typer.Typer(no_args_is_help=True, help="Dead letters of a bridge: look, retry, drop.")
    dlq.command("list", help=LIST_HELP)(list_)
    dlq.command("show", help=SHOW_HELP)(show)
    dlq.command("retry", help=RETRY_HELP)(retry)
    dlq.command("drop", help=DROP_HELP)(drop)
    app.add_typer(dlq, name="dlq")


def list_(config: BridgeOption = DEFAULT_BRIDGE, as_json: JsonOption = False) -> None:
    """See LIST_HELP."""
    with _store(config) as store:
        letters = store.dead_letters()
    if as_json:
        print_document([_shown(letter) for letter in letters])
        return
    if not letters:
        print("no dead letters")
    for letter in letters:
        held = f", {letter.holds} wait for it" if letter.holds else ""
        print(f"{letter.key}  {letter.error_class}, {letter.subject or letter.kind}, since {_time(letter)}{held}")
        print(f"  ! {letter.reason}; {letter.next_step}")


def show(key: KeyArgument, config: BridgeOption = DEFAULT_BRIDGE, as_json: JsonOption = False) -> None:
    """See SHOW_HELP."""
    with _store(config) as store:
        letter = store.dead_letter(key)
    document = _shown(letter)
    if as_json:
        print_document(document)
        return
    from uns.context.times import rfc3339

    for name, value in document.items():
        if name.endswith("_at_ns") and isinstance(value, int):
            print(f"{name.removesuffix('_ns'):15} {rfc3339(value)}")
        else:
            print(f"{name:15} {value}")


def retry(
    key: Annotated[str | None, typer.Argument(help="Its key, as `uns dlq list` shows it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: BridgeOption = DEFAULT_BRIDGE,
) -> None:
    """See RETRY_HELP."""
    from uns.errors import ConfigurationError

    if (key is None) == (not every):
        raise ConfigurationError("one key or --all", next_step="see `uns dlq list`")
    with _store(config) as store:
        keys = [letter.key for letter in store.dead_letters()] if key is None else [key]
        for one in keys:
            store.retry(one, actor=_actor(), now_ns=time.time_ns())
            print(f"{one} waits for delivery")
        if not keys:
            print("no dead letters")


def drop(
    key: KeyArgument,
    reason: Annotated[
        str, typer.Option("--reason", help="Why it is not needed; asked for where it is not given.")
    ] = "",
    config: BridgeOption = DEFAULT_BRIDGE,
) -> None:
    """See DROP_HELP."""
    with _store(config) as store:
        store.dead_letter(key)
        if not reason:
            reason = typer.prompt(f"Why is {key} not needed")
        store.drop(key, actor=_actor(), reason=reason, now_ns=time.time_ns())
    print(f"{key} is dropped")


@contextmanager
def _store(config: Path) -> Iterator[BridgeStore]:
    from uns.adapters.sqlite.bridge_store import BridgeStore
    from uns.runtime.bridge.bridge_file import load_bridge

    store = BridgeStore(load_bridge(config).store, must_exist=True)
    try:
        yield store
    finally:
        store.close()


def _shown(letter: DeadLetter) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(letter)
    document["body"] = letter.body.decode(errors="replace")
    return document


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.changed_at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _actor() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
