"""``uns context put`` and ``uns context list``: facts by hand, from files, or looked at."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from uns.cli.host import DEFAULT_API, ApiOption
from uns.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_TREE,
    BrokerOption,
    CaFileOption,
    CertFileOption,
    JsonOption,
    KeyFileOption,
    PasswordEnvOption,
    PasswordFileOption,
    TreeOption,
    UsernameOption,
    broker_address,
    standard_input,
)
from uns.cli.output import EXIT_FINDINGS, print_document, print_line

__all__ = ["register"]

PUT_HELP = """State facts: over MQTT with QoS 1, repeated until the host answers; prints the answer of each.

FILE holds one fact object, a list of them, or one a line; `-` reads standard input. Without FILE the options make one
fact: --kind, --equipment and what the kind needs.

Examples:

  uns context put facts.json

  uns context put --kind job --equipment line2 --job-order WO-10234/0010 --work-order WO-10234 --operation 0010

  uns context put --kind lot --equipment reactor4 --lot L-8891 --material FG-77 --source scanner

  uns context put --kind job --equipment line2 --idle
"""
LIST_HELP = """List accepted fact messages, newest knowledge first.

Examples:

  uns context list --equipment reactor4

  uns context list --kind lot --json
"""
_USUAL_SOURCES = {"job": "mes", "lot": "scanner"}


def register(app: typer.Typer) -> None:
    """Add ``uns context``."""
    context = typer.Typer(no_args_is_help=True, help="Facts: what the plant is doing, and who says so.")
    context.command("put", help=PUT_HELP)(put)
    context.command("list", help=LIST_HELP)(list_)
    app.add_typer(context, name="context")


def put(  # noqa: PLR0917 - one parameter an option
    file: Annotated[Path | None, typer.Argument(help="JSON file, or - for standard input.")] = None,
    kind: Annotated[str | None, typer.Option(help="job, lot, recipe_phase, shift, person, material, placement.")] = (
        None
    ),
    equipment: Annotated[str | None, typer.Option(help="Equipment id.")] = None,
    source: Annotated[str | None, typer.Option(help="Who says so; mes for jobs and scanner for lots by default.")] = (
        None
    ),
    fact_id: Annotated[str | None, typer.Option("--id", help="Name of the fact; made from time by default.")] = None,
    source_rev: Annotated[str, typer.Option(help="Revision of the fact at its source.")] = "1",
    valid_from: Annotated[str | None, typer.Option(help="RFC 3339; now by default.")] = None,
    valid_to: Annotated[str | None, typer.Option(help="RFC 3339; open by default.")] = None,
    action: Annotated[str, typer.Option(help="add, change, delete or observe.")] = "add",
    by: Annotated[str, typer.Option(help="Person or service that says so.")] = "",
    reason: Annotated[str | None, typer.Option(help="Why, for corrections.")] = None,
    state: Annotated[str | None, typer.Option(help="Of a job: planned, released, running, completed …")] = None,
    job_order: Annotated[str | None, typer.Option(help="Job order.")] = None,
    work_order: Annotated[str | None, typer.Option(help="Work order.")] = None,
    operation: Annotated[str | None, typer.Option(help="Operation, with its leading zeros.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe.")] = None,
    idle: Annotated[bool, typer.Option("--idle", help="A job fact that says: nothing runs.")] = False,
    lot: Annotated[str | None, typer.Option(help="Lot.")] = None,
    material: Annotated[str | None, typer.Option(help="Material.")] = None,
    use: Annotated[str | None, typer.Option(help="Of a lot: Produced, Consumed …")] = None,
    also: Annotated[bool, typer.Option("--also", help="Leave the earlier ones of the same kind open.")] = False,
    phase: Annotated[str | None, typer.Option(help="Recipe phase.")] = None,
    shift: Annotated[str | None, typer.Option(help="Shift.")] = None,
    person: Annotated[str | None, typer.Option(help="Person.")] = None,
    tree: TreeOption = DEFAULT_TREE,
    broker: BrokerOption = DEFAULT_BROKER,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    password_env: PasswordEnvOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each answer.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """See PUT_HELP."""
    from uns.errors import ConfigurationError

    if file is not None:
        if kind is not None or equipment is not None:
            raise ConfigurationError("both a file and options state a fact", next_step="use one of the two")
        facts = _read_facts(file)
    else:
        if kind is None or equipment is None:
            raise ConfigurationError(
                "nothing to state", expected="FILE, or --kind and --equipment", next_step="uns context put --help"
            )
        if kind == "job" and not idle and job_order is None:
            raise ConfigurationError(
                "a job fact without a job order", expected="--job-order, or --idle to say that nothing runs"
            )
        content = {
            "id": fact_id or f"hand:{time.time_ns()}",
            "kind": kind,
            "equipment": equipment,
            "source": source or _USUAL_SOURCES.get(kind, "hand"),
            "source_rev": source_rev,
            "valid_from": valid_from or datetime.now(UTC).isoformat(),
            "valid_to": valid_to,
            "action": action,
            "by": by,
            "reason": reason,
            "state": state,
            "also": also,
            "job_order": None if idle else job_order,
            "work_order": work_order,
            "operation": operation,
            "recipe": recipe,
            "lot": lot,
            "material": material,
            "use": use,
            "phase": phase,
            "shift": shift,
            "person": person,
        }
        facts = [_fact(content, "the options")]
    from uns.namespace.loader import load_tree

    address = broker_address(
        broker,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        username=username,
        password_file=password_file,
        password_env=password_env,
    )
    accepted = asyncio.run(_tell(facts, address, load_tree(tree), timeout_s=timeout, as_json=as_json))
    if not accepted:
        raise typer.Exit(EXIT_FINDINGS)


def list_(
    equipment: Annotated[str | None, typer.Option(help="Only facts of this equipment.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only facts of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    host_api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """See LIST_HELP."""
    from uns.adapters.http import get_json

    query = {"limit": str(limit)}
    query |= {name: value for name, value in (("equipment", equipment), ("kind", kind)) if value is not None}
    found: dict[str, Any] = asyncio.run(get_json(host_api, "/facts", query))
    if as_json:
        print_document(found)
        return
    for fact in found["facts"]:
        body = fact["fact"]
        names = ("job_order", "work_order", "lot", "material", "phase", "shift", "person", "placement")
        what = ", ".join(f"{name.replace('_', ' ')} {body[name]}" for name in names if body.get(name)) or "idle"
        what += f", {body['state']}" if body.get("state") else ""
        span = f"{body['valid_from']} … {body.get('valid_to', '')}"
        print(f"{fact['known_at']}  {fact['kind']:12} {fact['equipment']:14} {what}")
        print(f"    {span}  {fact['action']} {fact['source']} {fact['id']}@{fact['source_rev']}")


async def _tell(facts: list[Any], address: Any, tree: Any, *, timeout_s: float, as_json: bool) -> bool:
    import uuid

    from uns.runtime.fact_sender import FactSender

    accepted = True
    client_id = f"uns-context-{uuid.uuid4().hex[:12]}"
    async with FactSender(address, tree, client_id=client_id, keep_session=False) as sender:
        for fact in facts:
            answer = await sender.tell(fact, timeout_s=timeout_s)
            accepted = accepted and answer.accepted
            if as_json:
                print_line(answer)
            elif answer.accepted:
                print(f"{answer.id}@{answer.source_rev}: accepted (revision {answer.rev})")
            else:
                print(f"{answer.id}@{answer.source_rev}: refused: {answer.reason}")
    return accepted


def _read_facts(file: Path) -> list[Any]:
    from uns.errors import ConfigurationError

    name = "standard input" if str(file) == "-" else str(file)
    try:
        content = standard_input().read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", where=name) from error
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = [_line(line, f"{name}:{n}") for n, line in enumerate(content.splitlines(), 1) if line.strip()]
    entries = found if isinstance(found, list) else [found]
    return [_fact(entry, f"{name}, fact {n}") for n, entry in enumerate(entries, 1)]


def _line(line: bytes, where: str) -> Any:
    from uns.errors import ConfigurationError

    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(error), where=where, expected="a JSON object per line") from error


def _fact(content: Any, where: str) -> Any:
    from uns.context.facts import Fact
    from uns.errors import ConfigurationError

    try:
        return msgspec.convert(content, Fact)
    except msgspec.ValidationError as error:
        raise ConfigurationError(str(error), where=where, expected="a fact (schemas/fact.schema.json)") from error
