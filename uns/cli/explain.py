"""``uns explain``: the story behind a record, the samples behind a quantity, and what a performance file still says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from uns.cli.browse import ask, context_text
from uns.cli.host import DEFAULT_API, ApiOption
from uns.cli.options import DEFAULT_TREE, JsonOption, TreeOption
from uns.cli.output import EXIT_FINDINGS, print_document

if TYPE_CHECKING:
    from uns.context.records import JobResponse
    from uns.runtime.explain_order import ExplainedContext, ExplainedCounter, ExplainedJob, ExplainedPiece, Explanation

__all__ = ["register"]

EXPLAIN_HELP = """Tell the story behind a record or a quantity.

Of EQUIPMENT/METRIC: the sentence, the way it came, who said what and since when that is known.

Of a WORK_ORDER or JOB: what was counted, and the counter samples that show it: baseline, first and last of each piece,
each reset, rollover and gap, with their log positions and the context by which they belong to it.

Of a performance file: where it differs from what the log says now, and what restated it. Exit code 1: it differs.

Examples:

  uns explain reactor4/temperature --at 2026-06-03T19:32:00.125Z

  uns explain WO-10234

  uns explain WO-10234/0010 --quantity good --json

  uns explain WO-10234 --store var/host --tree topic_tree.yaml

  uns explain --file outbox/WO-10234.xml
"""


def register(app: typer.Typer) -> None:
    """Add ``uns explain``."""
    app.command("explain", help=EXPLAIN_HELP)(explain)


def explain(  # noqa: PLR0917 - one parameter an option
    path: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="EQUIPMENT/METRIC, a work order, or a job.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="A record as of this source time: RFC 3339, or seconds since 1970.")
    ] = None,
    quantity: Annotated[
        str | None, typer.Option("--quantity", help="Of an order: good, scrap, rework, or the name of a counter.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A performance file, to be held against the log.")] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Read this host's store instead of asking the host; orders only.")
    ] = None,
    tree: TreeOption = DEFAULT_TREE,
    host_api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """See EXPLAIN_HELP."""
    from uns.errors import ConfigurationError

    if (path is None) == (file is None):
        raise ConfigurationError(
            "what shall be explained?", expected="EQUIPMENT/METRIC, a work order, a job, or --file FILE"
        )
    if at is not None and (quantity or file or store):
        raise ConfigurationError("--at goes with a record", next_step="leave it out for an order or a file")
    look = _from_host(host_api) if store is None else _from_store(store, tree)
    if file is not None:
        if quantity is not None:
            raise ConfigurationError("--quantity does not go with --file", next_step="a file is compared as a whole")
        _compare(file, look, as_json=as_json)
        return
    assert path is not None  # noqa: S101 - looked at above
    if store is None:
        query = {"path": path} | {name: text for name, text in (("at", at), ("quantity", quantity)) if text is not None}
        found = ask(host_api, "/explain", query)
        if "order" not in found:
            _print_record(found, as_json=as_json)
            return
        order: Explanation | None = _explanation(found)
    else:
        order = look(path, quantity, None)
    if order is None:
        raise _unknown(path)
    if as_json:
        print_document(order)
    else:
        _print_order(order)


# ── where the answer comes from ──────────────────────────────────────────────────────────────────────────────────────

_Look = Callable[[str, str | None, "JobResponse | None"], "Explanation | None"]


def _from_host(host_api: str) -> _Look:
    def look(name: str, quantity: str | None, published: JobResponse | None) -> Explanation | None:
        from uns.adapters.http import NotFoundError

        query = {"path": name} | ({} if quantity is None else {"quantity": quantity})
        if published is not None:
            query["published"] = msgspec.json.encode(published).decode()
        try:
            return _explanation(ask(host_api, "/explain", query))
        except NotFoundError:
            return None

    return look


def _from_store(store: Path, tree_file: Path) -> _Look:
    from uns.adapters.sqlite.record_cursor import RecordCursor
    from uns.errors import ConfigurationError
    from uns.namespace.loader import load_tree
    from uns.runtime.explain_order import explain_order

    records = store / "records.db" if store.is_dir() else store
    if not records.is_file():
        raise ConfigurationError("there is no record log", where=str(records), next_step="check --store")
    tree = load_tree(tree_file)

    def look(name: str, quantity: str | None, published: JobResponse | None) -> Explanation | None:
        with contextlib.closing(RecordCursor(records)) as cursor:
            return explain_order(tree, cursor, name, quantity=quantity, published=published)

    return look


def _explanation(found: Mapping[str, Any]) -> Explanation:
    from uns.runtime.explain_order import Explanation

    return msgspec.convert(found["order"], Explanation, strict=False)


def _unknown(name: str) -> Exception:
    from uns.adapters.http import NotFoundError

    return NotFoundError(f"no work order or job {name!r}", next_step="an order is known once a job of it ran")


# ── an order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _print_order(order: Explanation) -> None:
    for job in order.jobs:
        _print_job(job)
    print(f"up to log position {order.log.to_position}")


def _print_job(job: ExplainedJob) -> None:
    names = [f"operation {job.operation}" if job.operation else "", f"of {job.work_order}" if job.work_order else ""]
    print(" ".join([f"Job {job.job_order}", *(name for name in names if name)]))
    span = f"{job.actual.start or 'always'} … {job.actual.end or 'now'}"
    print(f"  {job.state}, {span}, at {', '.join(job.equipment)}")
    for lot in job.lots:
        known = [text for text in (lot.use or "", f"material {lot.material}" if lot.material else "") if text]
        print(f"  {', '.join([f'lot {lot.lot}', *known])}")
    for quantity in job.quantities:
        print(f"  {quantity.quantity:8} {_with_unit(quantity.value, quantity.unit)}")
    for counter in job.counters:
        if counter.samples or counter.left_out or counter.counts:  # others have nothing to say
            _print_counter(counter)


def _print_counter(counter: ExplainedCounter) -> None:
    counts = f" counts {counter.counts}" if counter.counts else ""
    counted = _with_unit(counter.counted, counter.unit)
    print(f"  {counter.equipment}/{counter.metric}{counts}: {counted}, {counter.samples} samples")
    notes = [f"{count} {kind}" for kind, count in counter.steps.items()]
    if counter.left_out:
        notes.append(f"{counter.left_out} samples left out (bad, stale, null or of a suspect clock)")
    if counter.shared:
        notes.append(f"{counter.shared} counted while other jobs ran there too")
    if counter.uncertain:
        notes.append(f"{counter.uncertain} may belong to what ran before")
    if notes:
        print(f"    {'; '.join(notes)}")
    for piece in counter.pieces:
        _print_piece(piece)
    if counter.pieces_count > len(counter.pieces):
        print(f"    … and {counter.pieces_count - len(counter.pieces)} pieces more")


def _print_piece(piece: ExplainedPiece) -> None:
    print(f"    {piece.start or 'always'} … {piece.end or 'now'}: {piece.counted}")
    if piece.baseline is None:
        print("      baseline  none before it: the first sample is it, and counts nothing")
    for name, sample in (("baseline", piece.baseline), ("first", piece.first), ("last", piece.last)):
        if sample is not None:
            print(f"      {name:9} {sample.value} at {sample.time}, log position {sample.position}")
    for step in piece.steps:
        before, after = step.before, step.after
        where = f"log positions {before.position} → {after.position}"
        print(f"      {step.kind:9} {before.value} at {before.time} → {after.value} at {after.time}")
        print(f"                counts {step.counted}, {where}")
    for context in piece.contexts:
        _print_context(context, "      ")
    if piece.contexts_count > len(piece.contexts):
        print(f"      … and {piece.contexts_count - len(piece.contexts)} context intervals more")


def _print_context(context: ExplainedContext, indent: str) -> None:
    span = f"{context.start or 'always'} … {context.end or 'open'}"
    print(f"{indent}context   {span}: {', '.join(context.facts) or context.status}")
    known = f"revision {context.rev}, log position {context.position}, known from {context.known_from}"
    print(f"{indent}          {known}: {context.reason}")


def _with_unit(value: object, unit: str) -> str:
    from uns.namespace.units import symbol_of

    return f"{value} {symbol_of(unit) if unit else ''}".strip()


# ── a file ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compare(file: Path, look: _Look, *, as_json: bool) -> None:
    from uns.runtime.compare_performance import differences, question

    found = []
    for told in _read(file):
        order = look(told.job_order, None, question(told))
        job = order.jobs[0] if order is not None else None
        found.append((told, job, differences(told, None if job is None else job.response)))
    if as_json:
        print_document({"file": str(file), "jobs": [_compared(*each) for each in found]})
    else:
        for told, job, differing in found:
            print(f"{told.job_order}, published {told.published_at.isoformat()}, revision {told.revision}")
            if not differing:
                print("  says what the log says now")
            for one in differing:
                print(f"  {one.field}: the file says {one.file or 'nothing'}, the log says {one.now or 'nothing'}")
            if job is not None and differing:
                _print_causes(job)
    if any(differing for _, _, differing in found):
        raise typer.Exit(EXIT_FINDINGS)


def _compared(told: JobResponse, job: ExplainedJob | None, differing: list[Any]) -> dict[str, Any]:
    return {
        "job_order": told.job_order,
        "work_order": told.work_order,
        "operation": told.operation,
        "response_id": told.response_id,
        "same": not differing,
        "differences": differing,
        "restatements": [] if job is None else job.restatements,
        "late": [] if job is None else job.late,
    }


def _print_causes(job: ExplainedJob) -> None:
    print("  since it was published:")
    for late in job.late:
        positions = f"log positions {late.first_position} … {late.last_position}"
        print(f"    {late.samples} samples of {late.equipment}/{late.metric} were recorded, {positions}")
    for context in job.restatements:
        print(f"    {context.equipment} was restated")
        _print_context(context, "      ")
    if not (job.late or job.restatements):
        print("    nothing was recorded or restated: it was made under another tree, or by another release")


def _read(file: Path) -> list[JobResponse]:
    from uns.errors import ConfigurationError
    from uns.runtime.performances import missing_library

    missing = missing_library()
    if missing:
        raise ConfigurationError("performance files cannot be read", next_step=missing)
    from uns.bridges.b2mml import Limits, read_performance

    try:
        with file.open("rb") as opened:
            body = opened.read(Limits().body_bytes_max + 1)
        reading = read_performance(body, file=file.name)
    except OSError as error:
        raise ConfigurationError(f"the file cannot be read: {error.strerror}", where=str(file)) from error
    if not reading.responses:
        raise ConfigurationError(
            "no performance of a job is in it", where=str(file), findings=[str(one) for one in reading.findings]
        )
    return list(reading.responses)


# ── a record ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _print_record(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_document(found)
        return
    print(found["sentence"])
    print()
    _print_way(found["way"], found["record"])
    _print_facts(found["facts"])
    _print_revisions(found["revisions"])


def _print_way(way: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    device = f", device {way['device_id']}" if way["device_id"] else ""
    print("How it came")
    print(f"  read from     {way['source_address'] or 'an address that its births do not tell'}")
    print(f"  gateway       {way['gateway']} (group {way['group_id']}{device})")
    print(f"  session       {way['session'] or 'foreign'}, bdSeq {way['bd_seq']}, seq {way['seq']}")
    history = ", sent again as history" if way["historical"] else ""
    print(f"  source time   {record['time']} (clock of the {way['time_source']}), quality {record['quality']}{history}")
    print(f"  received      {way['received_at']}, recorded {way['recorded_at']}, log position {way['log_position']}")


def _print_facts(facts: list[dict[str, Any]]) -> None:
    print("Facts joined")
    if not facts:
        print("  none")
    for fact in facts:
        if "since" in fact:
            print(f"  {fact['kind']} {fact['name']}: the PLC says so since {fact['since']}")
        elif "known_at" in fact:
            by = f" by {fact['fact']['by']}" if fact["fact"].get("by") else ""
            said = f"stated by {fact['source']}{by} as {fact['id']}, revision {fact['source_rev']}"
            print(f"  {fact['ref']}: {said}, known since {fact['known_at']}")
        else:
            print(f"  {fact['ref']}")


def _print_revisions(revisions: list[dict[str, Any]]) -> None:
    print("Revisions of its context")
    for revision in revisions:
        until = f" until {revision['known_to']}" if revision["known_to"] else ""
        span = f"{revision['from'] or 'always'} … {revision['to'] or 'open'}"
        print(f"  {revision['rev']}: {context_text(revision['context'])}")
        print(f"     for {span}, known from {revision['known_from']}{until}: {revision['reason']}")
