"""``uns tree``: check the declared plant and look at it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from uns.cli.options import DEFAULT_TREE, JsonOption, TreeOption
from uns.cli.output import EXIT_FINDINGS, print_document
from uns.errors import ConfigurationError
from uns.namespace.acl import (
    access_grants,
    parse_bridge,
    parse_reader,
    render_mosquitto_acl,
    render_mosquitto_config,
)
from uns.namespace.loader import lint_tree, load_tree
from uns.namespace.tree import Outline, describe, outline

__all__ = ["register"]

_app = typer.Typer(no_args_is_help=True, help="Check the declared plant (topic_tree.yaml) and look at it.")
_render = typer.Typer(no_args_is_help=True, help="Make files for other programs from the tree.")
_app.add_typer(_render, name="render")

_ACL_BROKERS = ("mosquitto",)


def register(app: typer.Typer) -> None:
    """Add ``uns tree`` to the command."""
    app.add_typer(_app, name="tree")


@_app.command("lint", epilog="Examples:  uns tree lint  ·  uns tree lint --tree plant/topic_tree.yaml --json")
def lint(tree: TreeOption = DEFAULT_TREE, as_json: JsonOption = False) -> None:
    """Find every mistake in a topic tree, each with its place and what to do.

    Exit code 0: none, or warnings only. 1: errors. 2: the file cannot be read.
    """
    findings = lint_tree(tree)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    if as_json:
        print_document({"file": str(tree), "errors": errors, "warnings": warnings, "findings": findings})
    else:
        for finding in findings:
            print(finding)
        print(f"{tree}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")
    if errors:
        raise typer.Exit(EXIT_FINDINGS)


@_app.command("show", epilog="Examples:  uns tree show  ·  uns tree show --topics  ·  uns tree show --json")
def show(
    tree: TreeOption = DEFAULT_TREE,
    topics: bool = typer.Option(False, "--topics", help="Show the uns1 and Sparkplug topics too."),
    as_json: JsonOption = False,
) -> None:
    """Draw the plant: sites, equipment with class and gateways, metrics, and who states the context."""
    loaded = load_tree(tree)
    if as_json:
        print_document(describe(loaded))
        return
    _draw(outline(loaded, topics=topics))


@_render.command(
    "acl",
    epilog=(
        "Examples:  uns tree render acl > acl  ·  uns tree render acl --config > uns.conf"
        "  ·  uns tree render acl --bridge mes@mes --bridge history --observer doctor"
        "  ·  uns tree render acl --reader historian --reader dashboard@dallas --json"
    ),
)
def render_acl(  # noqa: PLR0917 - one parameter an option
    tree: TreeOption = DEFAULT_TREE,
    broker: Annotated[str, typer.Option("--broker", help="For which broker: mosquitto.")] = "mosquitto",
    host_id: Annotated[list[str] | None, typer.Option("--host-id", help="Of each host; uns-host-1 by default.")] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option("--reader", help="A read-only consumer, NAME or NAME@SITE; one for each site by default."),
    ] = None,
    bridge: Annotated[
        list[str] | None,
        typer.Option("--bridge", help="A bridge, NAME or NAME@SOURCE, which writes the anchor of its audit log."),
    ] = None,
    observer: Annotated[
        list[str] | None,
        typer.Option("--observer", help="Who watches Sparkplug traffic and writes nothing, as `uns doctor` does."),
    ] = None,
    config: Annotated[
        bool, typer.Option("--config", help="Print the listener (mosquitto.conf) that the list goes with, instead.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="With --config: where it listens.")] = 8883,
    directory: Annotated[
        str, typer.Option("--directory", help="With --config: where ca.pem, broker.pem, broker.key and acl will lie.")
    ] = "/etc/mosquitto/uns",
    as_json: JsonOption = False,
) -> None:
    """Print the broker's access list: deny by default, each credential its own topics alone.

    The credential is the common name of a client certificate, and one connection at a time.
    """
    if broker not in _ACL_BROKERS:
        raise ConfigurationError(f"no access list for broker {broker!r}", expected=", ".join(_ACL_BROKERS))
    loaded = load_tree(tree)
    readers = None if reader is None else [parse_reader(text) for text in reader]
    bridges = tuple(parse_bridge(text) for text in bridge or ())
    grants = access_grants(
        loaded,
        host_ids=tuple(host_id or ["uns-host-1"]),
        readers=readers,
        bridges=bridges,
        observers=tuple(observer or ()),
    )
    if as_json:
        print_document({"enterprise": loaded.enterprise, "contract_hash": loaded.contract_hash, "grants": grants})
    elif config:
        print(render_mosquitto_config(port=port, directory=directory), end="")
    else:
        print(render_mosquitto_acl(grants, loaded), end="")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_STYLES = {"enterprise": "bold", "site": "bold", "equipment": "bold cyan", "topic": "dim", "heading": "bold"}


def _draw(root: Outline) -> None:
    """Guides of our own: rich's tree cuts lines at the terminal's width, and a topic that is cut is of no use."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)

    def draw(node: Outline, guide: str, below: str) -> None:
        text = Text(guide, style="dim").append(node.name, style=f"not dim {_STYLES.get(node.kind, '')}")
        if node.detail:
            text.append(f"  {node.detail}", style="dim")
        console.print(text, soft_wrap=True)
        for position, child in enumerate(node.children):
            last = position == len(node.children) - 1
            draw(child, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))

    draw(root, "", "")
