"""How the demo looks: one calm screen in a terminal, one line a second anywhere else, the books at the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from uns.namespace.units import symbol_of
from uns.runtime.demo.mes import MesReport
from uns.runtime.demo.run import DemoReport, DemoState
from uns.runtime.demo.view import EquipmentView, MetricView
from uns.runtime.explain_order import ExplainedPiece

__all__ = ["LinePrinter", "Screen", "paint", "print_report"]

TOLD_SHOWN = 6
_STATUS_STYLE = {"resolved": "green", "unassigned": "yellow", "unresolved": "red"}


class Screen:
    """The live screen; a context manager. It leaves the terminal as it found it."""

    def __init__(self) -> None:
        self._live = Live(console=Console(), screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, state: DemoState) -> None:
        """Paint the state."""
        self._live.update(paint(state), refresh=True)


def paint(state: DemoState) -> RenderableType:
    """One screen: the namespace filling, what was told, and the counters."""
    head = Text.assemble(
        ("Unified Namespace demo", "bold"),
        f"   {state.phase}   {state.elapsed_s:4.0f} of {state.seconds:.0f} s   {len(state.view.topics)} topics",
    )
    told = [Text(f"{at_s:5.0f} s  {what}", style="cyan") for at_s, what in state.told[-TOLD_SHOWN:]]
    return Group(head, Text(), _namespace(state.view.equipment), Text(), *told, Text(), _books(state))


def _namespace(equipment: Mapping[str, EquipmentView]) -> RenderableType:
    """The tree of equipment, each with what runs there and its newest values."""
    root = Tree("[bold]uns1[/bold]", guide_style="dim")
    branches: dict[tuple[str, ...], Tree] = {(): root}
    for view in sorted(equipment.values(), key=lambda each: each.path):
        levels = tuple(view.path.split("/"))
        for depth in range(1, len(levels) + 1):
            if levels[:depth] not in branches:
                branches[levels[:depth]] = branches[levels[: depth - 1]].add(Text(levels[depth - 1]))
        leaf = branches[levels]
        leaf.label = Text.assemble((levels[-1], "bold"), "  ", _context(view.context))
        leaf.add(_values(view.metrics))
    return root


def _context(context: Mapping[str, Any]) -> Text:
    status = str(context.get("status", ""))
    words = [context.get("work_order"), *context.get("lots", []), context.get("phase"), context.get("recipe")]
    text = Text(" · ".join(str(word) for word in words if word))
    return text.append(f"  {status}", style=_STATUS_STYLE.get(status, ""))


def _values(metrics: Mapping[str, MetricView]) -> Table:
    table = Table.grid(padding=(0, 2))
    for column in range(3):
        table.add_column(no_wrap=True, min_width=26 if column < 2 else 0)
    cells = [
        Text.assemble((f"{name} ", "dim"), f"{_value(metric.value)} {symbol_of(metric.unit)}".rstrip())
        for name, metric in sorted(metrics.items())
    ]
    for start in range(0, len(cells), 3):
        table.add_row(*cells[start : start + 3])
    return table


def _value(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _books(state: DemoState) -> Text:
    return Text(_counters(state), style="dim")


def _counters(state: DemoState) -> str:
    edges = state.edges.values()
    host = state.host
    read, stored, confirmed, waiting = (
        sum(edge.get(name, 0) for edge in edges) for name in ("read", "stored", "confirmed", "waiting")
    )
    return (
        f"edges: read {read}, stored {stored}, confirmed {confirmed}, waiting {waiting} | "
        f"host: recorded {host.get('recorded', 0)} = resolved {host.get('resolved', 0)} + unassigned "
        f"{host.get('unassigned', 0)} + unresolved {host.get('unresolved', 0)}, restated intervals "
        f"{state.restated_intervals}"
    )


def _plain(amount: Decimal | None) -> str:
    return "none" if amount is None else f"{amount.normalize():f}"


class LinePrinter:
    """One line a second, and each thing that is told as it is told."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._last_s = float("-inf")
        self._told = 0

    def __call__(self, state: DemoState) -> None:
        """Print what is new since the last call."""
        for at_s, what in state.told[self._told :]:
            print(f"{at_s:5.0f} s  · {what}")
        self._told = len(state.told)
        now_s = self._now_s()
        if now_s - self._last_s >= 1.0:
            self._last_s = now_s
            print(f"{state.elapsed_s:5.0f} s  {state.phase} | {_counters(state)}")
        sys.stdout.flush()


def print_report(report: DemoReport) -> None:
    """The end: the equations with their numbers, and the sentence."""
    width = min(shutil.get_terminal_size().columns, 100)
    print("-" * width)
    for equation in report.equations:
        print(equation)
    print(f"  {report.restated_intervals} context intervals restated by late and corrected facts")
    if report.directory is not None:
        print(f"  stores and logs: {report.directory}")
    print("-" * width)
    _print_mes(report)
    print("-" * width)
    if report.sentence is None:
        print("✗ no record came with its work order and lot")
    else:
        print(report.sentence)
    if not report.ok:
        print("✗ the books do not balance")


def _print_mes(report: DemoReport) -> None:
    """The loop with the MES: what came in, what went out, and the samples behind its quantity."""
    mes = report.mes
    if mes is None:
        print(f"The MES part was left out: {report.mes_left_out}")
        return
    print(f"in   {mes.order_file}: {', '.join(mes.orders) or 'no order'} accepted")
    if mes.performance is None:
        print(f"✗ out  no performance of {mes.work_order}")
        return
    is_kept = report.directory is not None
    print(f"out  performance of {mes.work_order}, good {_plain(mes.good)}: {_shown(mes.performance, is_kept=is_kept)}")
    for piece in _pieces(mes):
        _print_piece(mes.counter, piece)
    if is_kept:
        print(f"     {mes.explain}")
    else:
        print("     with --keep DIR these files stay, and `uns explain` shows each of the samples")


def _shown(file: str, *, is_kept: bool) -> str:
    return file if is_kept else Path(file).name


def _pieces(mes: MesReport) -> list[ExplainedPiece]:
    """Each piece of the order in which its good was counted."""
    jobs = () if mes.explanation is None else mes.explanation.jobs
    return [piece for job in jobs for counter in job.counters for piece in counter.pieces]


def _print_piece(counter: str, piece: ExplainedPiece) -> None:
    print(f"     {counter} counted {_plain(piece.counted)}:")
    for name, sample in (("baseline", piece.baseline), ("first", piece.first), ("last", piece.last)):
        if sample is not None:
            print(f"       {name:9} {sample.value} at {sample.time}, log position {sample.position}")
