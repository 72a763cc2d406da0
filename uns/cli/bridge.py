"""``uns bridge run``, ``uns bridge check`` and ``uns bridge list``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uns.cli.options import JsonOption
from uns.cli.output import EXIT_FINDINGS, EXIT_UNREACHABLE, print_document

if TYPE_CHECKING:
    from uns.runtime.bridge.runner import BridgeStats

__all__ = ["DEFAULT_BRIDGE", "BridgeOption", "register"]

DEFAULT_BRIDGE = Path("bridge.yaml")
BridgeOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="UNS_BRIDGE", help="The bridge file, docs/reference/bridge.md.")
]

RUN_HELP = """Run one bridge: read the record log by cursor, deliver each item once.

It waits for a host, a target or a disk that is not there, and ends on SIGTERM or Ctrl-C within 10 s. SIGHUP ends a
pause at once, when what was wrong with the target is mended.

Examples:

  uns bridge run --config history.bridge.yaml

  uns bridge run --config mes.bridge.yaml --stats-json mes.stats.json
"""
CHECK_HELP = """Check a bridge file, the record log and the target, without sending anything.

Exit codes: 0 fine, 1 findings, 2 the file cannot be used, 3 the target does not answer.

Examples:

  uns bridge check --config history.bridge.yaml
"""
LIST_HELP = """Show what bridges do: state, lag, what waits, what is dead.

Without FILES: every *.bridge.yaml and bridge.yaml of this directory.

Examples:

  uns bridge list

  uns bridge list --json /etc/uns/*.bridge.yaml
"""


def register(app: typer.Typer) -> None:
    """Add ``uns bridge``."""
    bridge = typer.Typer(no_args_is_help=True, help="Bridges: records out to the systems above, orders in from them.")
    bridge.command("run", help=RUN_HELP)(run)
    bridge.command("check", help=CHECK_HELP)(check)
    bridge.command("list", help=LIST_HELP)(list_)
    app.add_typer(bridge, name="bridge")


def run(
    config: BridgeOption = DEFAULT_BRIDGE,
    stats_json: Annotated[
        Path | None, typer.Option("--stats-json", help="Write the figures to this file about once a second.")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """See RUN_HELP."""
    from uns.adapters.logs import configure_logs
    from uns.errors import ConfigurationError
    from uns.runtime.bridge.bridge_file import load_bridge
    from uns.runtime.bridge.process import run_bridge

    if log_level not in {"debug", "info", "warning", "error"}:
        raise ConfigurationError(f"--log-level {log_level!r}", expected="debug, info, warning or error")
    if stats_json is not None and not stats_json.parent.is_dir():
        raise ConfigurationError(
            "there is no such directory",
            where=str(stats_json.parent),
            next_step="make it, or give another --stats-json",
        )
    found = load_bridge(config)
    configure_logs(as_json=log_json, level=log_level)
    run_bridge(found, stats_file=stats_json)


def check(config: BridgeOption = DEFAULT_BRIDGE, as_json: JsonOption = False) -> None:
    """See CHECK_HELP."""
    from uns.runtime.bridge.bridge_file import load_bridge
    from uns.runtime.bridge.process import check_bridge

    findings = check_bridge(load_bridge(config))
    if as_json:
        print_document(findings)
    else:
        for finding in findings:
            print(finding)
    errors = [finding for finding in findings if finding.severity == "error"]
    if any(finding.unreachable for finding in errors):
        raise typer.Exit(EXIT_UNREACHABLE)
    if errors:
        raise typer.Exit(EXIT_FINDINGS)
    if not as_json:
        print("the bridge can run")


def list_(
    files: Annotated[list[Path] | None, typer.Argument(help="Bridge files.")] = None, as_json: JsonOption = False
) -> None:
    """See LIST_HELP."""
    from uns.errors import ConfigurationError
    from uns.runtime.bridge.bridge_file import load_bridge
    from uns.runtime.bridge.process import list_bridge

    here = Path()
    chosen = files or sorted([*here.glob("*.bridge.yaml"), *here.glob("bridge.yaml")])
    if not chosen:
        raise ConfigurationError(
            "there is no bridge file here", where=str(here.resolve()), next_step="name the files: uns bridge list FILES"
        )
    found = [list_bridge(load_bridge(file)) for file in chosen]
    if as_json:
        print_document(found)
        return
    print(f"{'bridge':20} {'kind':10} {'state':8} {'lag':>9} {'waiting':>8} {'in doubt':>8} {'dead':>5} {'oldest':>9}")
    for stats in found:
        _print(stats)


def _print(stats: BridgeStats) -> None:
    oldest = "-" if stats.oldest_unsent_s is None else f"{stats.oldest_unsent_s:.0f} s"
    print(
        f"{stats.bridge:20} {stats.kind:10} {stats.state:8} {stats.lag_positions:>9} {stats.waiting:>8} "
        f"{stats.in_doubt:>8} {stats.dead_letters:>5} {oldest:>9}"
    )
    if stats.reason:
        print(f"  ! {stats.reason}" + (f"; {stats.next_step}" if stats.next_step else ""))
    if stats.inbound_reason:
        print(f"  ! orders do not come in: {stats.inbound_reason}")
    if stats.quarantined:
        files = "1 file lies" if stats.quarantined == 1 else f"{stats.quarantined} files lie"
        print(f"  ! {files} in the quarantine of the inbox: the report beside says why")
