"""``uns demo``: the whole plant on this machine; ends with the equations that say whether anything was lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from uns.cli.demo_screen import LinePrinter, Screen, print_report
from uns.cli.options import JsonOption
from uns.cli.output import EXIT_FINDINGS, EXIT_INTERRUPTED, exit_code, print_document, report
from uns.errors import ConfigurationError, UnsError
from uns.runtime.demo.run import Demo, DemoReport, DemoState

__all__ = ["register"]

DEMO_HELP = """Run a whole plant on this machine and balance its books at the end.

An order file starts it, a performance file ends it; both need the extra b2mml, and are left out without it.

Examples:

  uns demo

  uns demo --seconds 20 --keep var/demo

  uns demo --json
"""
SECONDS_MIN, SECONDS_MAX = 15.0, 24 * 3600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=DEMO_HELP)(demo)


def demo(
    seconds: Annotated[float, typer.Option(help="How long the plant runs, from 15 s.")] = 60.0,
    as_json: JsonOption = False,
    broker: Annotated[
        str, typer.Option(envvar="UNS_BROKER", help="embedded, mosquitto, or the URL of one that runs (mqtt://…).")
    ] = "embedded",
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep stores and logs here instead of a temporary directory.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The simulated machines play the same for the same seed.")] = 1,
) -> None:
    """Check the options, run, print, exit."""
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ConfigurationError(f"--seconds {seconds:g}", expected=f"{SECONDS_MIN:g} to {SECONDS_MAX:g}")
    try:
        directory = Path(tempfile.mkdtemp(prefix="uns-demo-")) if keep is None else keep.resolve()
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"no directory can be made: {error}", where=str(keep or "")) from error
    plant = Demo(directory, seconds=seconds, broker=broker, seed=seed, kept=keep is not None)
    try:
        outcome = _run(plant, as_json=as_json)
    except UnsError as error:  # the directory stays: its logs tell more than the message
        report(error)
        sys.exit(exit_code(error))
    if keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    if outcome is None:
        sys.exit(EXIT_INTERRUPTED)
    if as_json:
        print_document(outcome)
    else:
        print_report(outcome)
    if not outcome.ok:
        sys.exit(EXIT_FINDINGS)


def _run(plant: Demo, *, as_json: bool) -> DemoReport | None:
    """The report, or None if it was interrupted; either way every process is gone."""
    is_screen = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    screen = Screen() if is_screen and not as_json else None
    show: Callable[[DemoState], None] = LinePrinter() if screen is None else screen.show
    if as_json:
        show = _say_nothing
    painting: AbstractContextManager[object] = nullcontext() if screen is None else screen
    with painting:
        try:
            return asyncio.run(_interruptible(plant, show))
        except* UnsError as errors:
            raise _first(errors) from None


async def _interruptible(plant: Demo, show: Callable[[DemoState], None]) -> DemoReport | None:
    running = asyncio.ensure_future(plant.run(show))
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    try:
        return await running
    except asyncio.CancelledError:
        if interrupted:
            return None
        raise


def _say_nothing(_state: DemoState) -> None:
    """With ``--json`` stdout is one document, at the end."""


def _first(errors: BaseExceptionGroup[UnsError]) -> UnsError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, UnsError):
        raise found
    return found
