"""``uns ls``, ``uns get``, ``uns watch``: the live namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from uns.cli.host import DEFAULT_API, ApiOption
from uns.cli.options import JsonOption
from uns.cli.output import print_document, print_line

__all__ = ["ask", "context_text", "register"]

PathArgument = Annotated[str, typer.Argument(help="EQUIPMENT, EQUIPMENT/METRIC, or a place such as acme/dallas.")]
AtOption = Annotated[str | None, typer.Option("--at", help="As of this source time: RFC 3339, or seconds since 1970.")]

LS_HELP = """Show what lies under a place: areas, lines, equipment; of an equipment its metrics.

Examples:

  uns ls

  uns ls acme/dallas/reaction

  uns ls reactor4
"""
GET_HELP = """Show the newest record of a metric, or of all metrics of an equipment, with its context.

Examples:

  uns get reactor4

  uns get reactor4/temperature

  uns get reactor4/temperature --at 2026-06-03T19:32:01Z
"""
WATCH_HELP = """Show samples as they are recorded, one line each, until Ctrl-C.

Examples:

  uns watch

  uns watch reactor4/temperature --json
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ls", help=LS_HELP)(ls)
    app.command("get", help=GET_HELP)(get)
    app.command("watch", help=WATCH_HELP)(watch)


def ls(path: PathArgument = "", host_api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """See LS_HELP."""
    found = ask(host_api, "/ls", {"path": path})
    if as_json:
        print_document(found)
        return
    for child in found["children"]:
        kind = child.get("level", "")
        kind += f" {child['class']}" if child.get("class") else ""
        print(f"{child['name']:24} {kind or str(child['equipment']) + ' equipment'}")
    for metric in found["metrics"]:
        print(_metric_line(metric))


def get(
    path: PathArgument, at: AtOption = None, host_api: ApiOption = DEFAULT_API, as_json: JsonOption = False
) -> None:
    """See GET_HELP."""
    found = ask(host_api, "/get", {"path": path} | ({} if at is None else {"at": at}))
    if as_json:
        print_document(found)
        return
    if "metrics" in found:
        print(found["path"])
        for metric in found["metrics"]:
            print(_metric_line(metric))
        return
    print(_metric_line(found))
    print(f"  {context_text(found['context'])} (revision {found['rev']})")


def watch(path: PathArgument = "", host_api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """See WATCH_HELP."""
    from uns.adapters.http import stream_json

    async def follow() -> None:
        async for line in stream_json(host_api, "/watch", {"path": path}):
            if as_json:
                print_line(line)
            elif "dropped_messages" in line:
                print(f"… {line['dropped_messages']} messages were too many to show", flush=True)
            elif "metric" in line:
                print(f"{line['equipment']:16} {_metric_line(line)}  {context_text(line['context'])}", flush=True)

    asyncio.run(follow())


def ask(host_api: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The answer of a running host."""
    from uns.adapters.http import get_json

    found: dict[str, Any] = asyncio.run(get_json(host_api, path, query))
    return found


def _metric_line(metric: Mapping[str, Any]) -> str:
    from uns.namespace.units import symbol_of

    if "time" not in metric:
        return f"{metric['metric']:20} no record yet"
    symbol = metric.get("unit_symbol") or (symbol_of(metric["unit"]) if metric.get("unit") else "")
    value = metric.get("special") if metric["value"] is None else metric["value"]
    reading = f"{'null' if value is None else value} {symbol}".strip()
    quality = metric.get("quality", "good")
    return f"{metric['metric']:20} {reading:>18}  {metric['time']}{'' if quality == 'good' else f'  {quality}'}"


def context_text(context: Mapping[str, Any]) -> str:
    """A context in one line, for people."""
    status = str(context.get("status", ""))
    parts = [f"{name.replace('_', ' ')} {context[name]}" for name in ("work_order", "operation") if context.get(name)]
    parts += [f"lot {lot}" for lot in context.get("lots", ())]
    parts += [f"{name} {context[name]}" for name in ("material", "phase", "shift") if context.get(name)]
    if context.get("missing"):
        parts.append(f"missing {', '.join(context['missing'])}")
    return f"{status}: {', '.join(parts)}" if parts else status
