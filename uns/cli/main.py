"""The ``uns`` command: one list says which module brings which commands.

A module is imported only when one of its commands is asked for (or help is), so that ``uns tree lint`` does not wait
for the libraries of the host. Each module has ``register(app: typer.Typer) -> None``, which adds its commands.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import typer

import uns
from uns.cli.output import EXIT_INTERRUPTED, exit_code, never_fail_to_encode, report
from uns.errors import ConfigurationError, UnsError

__all__ = ["COMMANDS", "CommandModule", "build_app", "main"]


class CommandModule(msgspec.Struct, frozen=True):
    """A module and the commands that it registers."""

    module: str
    commands: tuple[str, ...]


COMMANDS = (
    CommandModule("uns.cli.demo", ("demo",)),
    CommandModule("uns.cli.broker", ("broker",)),
    CommandModule("uns.cli.doctor", ("doctor",)),
    CommandModule("uns.cli.tree", ("tree",)),
    CommandModule("uns.cli.host", ("host",)),
    CommandModule("uns.cli.context", ("context",)),
    CommandModule("uns.cli.bridge", ("bridge",)),
    CommandModule("uns.cli.dlq", ("dlq",)),
    CommandModule("uns.cli.sparkplug", ("sparkplug",)),
    CommandModule("uns.cli.audit", ("audit",)),
    CommandModule("uns.cli.browse", ("ls", "get", "watch")),
    CommandModule("uns.cli.explain", ("explain",)),
)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command with what ``arguments`` ask for; with everything where they name no command."""
    app = typer.Typer(
        name="uns",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="The Unified Namespace of a plant: PLC values with their work order, lot and time.",
        epilog="Start with:  uns demo  ·  uns tree show  ·  uns COMMAND --help",
    )
    app.callback()(_root)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    chosen = [module for module in COMMANDS if asked in module.commands] or COMMANDS
    for command_module in chosen:
        if importlib.util.find_spec(command_module.module) is not None:
            importlib.import_module(command_module.module).register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with a code that tells the kind of end; mistakes of users never show a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    never_fail_to_encode()
    try:
        build_app(arguments)(args=arguments, prog_name="uns")
    except UnsError as error:
        report(error)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except FileNotFoundError:
        if _is_somewhere():
            raise
        gone = ConfigurationError("the directory in which this was called is gone", next_step="go to another one")
        report(gone)
        sys.exit(exit_code(gone))


def _is_somewhere() -> bool:
    """Whether the working directory is still there; what is relative cannot be found without it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _print_version(asked: bool) -> None:
    if asked:
        print(f"uns {uns.__version__}")
        raise typer.Exit


def _root(
    _version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version and end."
    ),
) -> None:
    pass
