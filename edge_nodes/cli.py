"""The ``uns-edge`` command."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

import uns
from edge_nodes.node_file import NodeConfig, lint_node, load_node
from uns.adapters.logs import configure_logs
from uns.cli.output import (
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    exit_code,
    never_fail_to_encode,
    print_document,
)
from uns.errors import ConfigurationError, UnsError

__all__ = ["app", "main"]

app = typer.Typer(
    name="uns-edge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An edge gateway: reads PLCs over OPC UA and Modbus, stores every value, delivers it as Sparkplug B.",
    epilog="Start with:  uns-edge check --config gw-1.node.yaml  ·  uns-edge run --config gw-1.node.yaml",
)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The node file (node.yaml) of this gateway.")]
BrokerOption = Annotated[
    str | None,
    typer.Option("--broker", envvar="UNS_BROKER", help="Another broker than the node file names: mqtt://host:1883."),
]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Another store file than the node file names.")]


@app.command(
    epilog=(
        "Examples:  uns-edge run -c gw-1.node.yaml  ·  uns-edge run -c gw-1.node.yaml --stats-json gw-1.stats.json"
        "  ·  uns-edge run -c gw-1.node.yaml --log-json 2> gw-1.log"
    )
)
def run(  # noqa: PLR0917 options of a command
    config: ConfigOption,
    broker: BrokerOption = None,
    store: StoreOption = None,
    stats_json: Annotated[
        Path | None, typer.Option("--stats-json", help="Write the counters to this file about once a second.")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON.")] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the gateway until SIGTERM. Waits for PLC and broker, and tries again; prints its counters at the end."""
    configure_logs(as_json=log_json, level=_level(log_level))
    node = load_node(config, broker=broker, store=store)
    for warning in node.warnings:
        print(warning, file=sys.stderr)
    if stats_json is not None and not stats_json.parent.is_dir():
        raise ConfigurationError(
            "there is no such directory",
            where=str(stats_json.parent),
            next_step="make it, or give another --stats-json",
        )
    from edge_nodes.runtime import run as run_node

    stats = _run(run_node(node, stats_file=stats_json))
    print(msgspec.json.encode(stats).decode(), flush=True)


@app.command(epilog="Examples:  uns-edge check -c gw-1.node.yaml  ·  uns-edge check -c gw-1.node.yaml --offline --json")
def check(
    config: ConfigOption,
    broker: BrokerOption = None,
    store: StoreOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at the files only, connect to nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")
    ] = False,
) -> None:
    """Look at the node file, its tree and store, then at PLCs and broker.

    Exit code 0: fine; 1: findings; 2: the files cannot be used; 3: a PLC or the broker does not answer.
    """
    configure_logs(as_json=False, level="error")
    node = load_node(config, broker=broker, store=store)
    from edge_nodes.check import check_node

    report = asyncio.run(check_node(node, lint_node(config), offline=offline))
    if as_json:
        print_document(report)
    else:
        _print_check(node, report)
    if report.unreachable:
        raise typer.Exit(EXIT_UNREACHABLE)
    if report.findings:
        raise typer.Exit(EXIT_FINDINGS)


def _print_check(node: NodeConfig, report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{node.edge_node}", title_justify="left", box=None, pad_edge=False)
    for heading in ("metric", "type", "source", "address"):
        table.add_column(heading, overflow="fold")
    for wiring in node.metrics:
        contract = wiring.contract
        table.add_row(f"{wiring.equipment}/{contract.name}", contract.datatype.label, wiring.source, wiring.address)
    console.print(table)
    console.print()
    for line in report.lines:
        print(line)
    for finding in report.findings:
        print(finding)
    found = (f"{len(report.findings)} findings", f"{len(report.unreachable)} do not answer")
    print("fine" if not report.findings and not report.unreachable else ", ".join(found))


def _level(text: str) -> str:
    if text not in ("debug", "info", "warning", "error"):
        raise ConfigurationError(f"there is no log level {text!r}", expected="debug, info, warning or error")
    return text


def _run(main_task: Any) -> Any:
    """On uvloop where it is installed: about a tenth faster."""
    with contextlib.suppress(ImportError):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main_task)
    return asyncio.run(main_task)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"uns-edge {uns.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; mistakes of users never show a traceback."""
    never_fail_to_encode()
    try:
        app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="uns-edge")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except (UnsError, BaseExceptionGroup) as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, UnsError):
            raise
        if isinstance(first, ConfigurationError):
            for finding in first.findings:
                print(finding, file=sys.stderr)
        print(f"uns-edge: {first}", file=sys.stderr)
        sys.exit(exit_code(first))


if __name__ == "__main__":
    main()
