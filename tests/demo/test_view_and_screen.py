"""What the demo shows: newest values and contexts from the messages of the namespace, whatever comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from uns.cli.demo_screen import LinePrinter, paint
from uns.runtime.demo.run import DemoState
from uns.runtime.demo.view import NamespaceView, example_sample

PATH = "acme/dallas/reaction/line2/reactor4"
DATA = "uns1/acme/dallas/_data/reaction/line2/reactor4"


def view() -> NamespaceView:
    return NamespaceView(wanted_metric="temperature", wanted_value=182.0, wanted_work_order="WO-10234")


def tick(
    value: float = 181.5, time: str = "2026-06-03T19:32:00.000Z", metric: str = "temperature", **context: Any
) -> bytes:
    whole = {
        "schema": "uns1.tick/1",
        "enterprise": "acme",
        "equipment": "reactor4",
        "path": PATH,
        "rev": 0,
        "context": {"status": "resolved", "work_order": "WO-10234", "lots": ["L-8891"], "phase": "React", **context},
        "samples": [{"metric": metric, "value": value, "type": "Float", "unit": "CEL", "time": time}],
    }
    return json.dumps(whole).encode()


def test_the_newest_value_is_shown_not_the_last_to_come() -> None:
    seen = view()
    seen.receive(DATA, tick(2.0, "2026-06-03T19:32:02.000Z"))
    seen.receive(DATA, tick(1.0, "2026-06-03T19:32:01.000Z"))
    assert seen.equipment["reactor4"].metrics["temperature"].value == 2.0
    assert seen.equipment["reactor4"].metrics["temperature"].samples == 2


def test_the_wanted_reading_makes_the_example() -> None:
    seen = view()
    seen.receive(DATA, tick(20.0, lots=[]))
    seen.receive(DATA, tick(182.0))
    seen.receive(DATA, tick(182.0, "2026-06-03T19:33:00.000Z"))
    assert seen.example is not None
    assert seen.example["samples"][0]["time"] == "2026-06-03T19:32:00.000Z"
    assert example_sample(seen.example, "temperature", 182.0)["value"] == 182.0


@pytest.mark.parametrize("context", [{"status": "unresolved"}, {"status": "unassigned"}, {"work_order": None}], ids=str)
def test_only_a_resolved_record_is_an_example(context: dict[str, Any]) -> None:
    seen = view()
    seen.receive(DATA, tick(182.0, **context))
    assert seen.example is None


def test_what_cannot_be_read_is_counted_and_passed_over() -> None:
    seen = view()
    for topic, payload in ((DATA, b"{"), (DATA, b"\xff"), ("spBv1.0/a/NDATA/b", b""), (DATA, b"[]"), ("uns1//x", b"")):
        seen.receive(topic, payload)
    seen.receive(DATA, tick())
    assert seen.unreadable == 5
    assert seen.equipment["reactor4"].ticks == 1


def test_restatements_are_counted_per_equipment() -> None:
    seen = view()
    seen.receive(DATA, tick())
    seen.receive("uns1/acme/dallas/_res/reaction/line2/reactor4", b'{"equipment":"reactor4","rev":1}')
    assert seen.equipment["reactor4"].restatements == 1


def test_what_the_host_answers_is_kept_by_the_facts_id() -> None:
    seen = view()
    for accepted in (False, True):
        answer = {"id": "WO-1|WO-1/0010", "source_rev": "7", "accepted": accepted}
        seen.receive("uns1/acme/dallas/_fact_result/mes/job", json.dumps(answer).encode())
    assert seen.answers["WO-1|WO-1/0010"].accepted
    assert seen.unreadable == 0


def state() -> DemoState:
    seen = view()
    seen.receive(DATA, tick())
    seen.receive(DATA, tick(41, metric="batch/count"))
    return DemoState(
        phase="running",
        seconds=60,
        elapsed_s=12,
        view=seen,
        told=[(3.0, "WO-10234 runs on line 2")],
        edges={"gw": {"read": 12, "stored": 10, "confirmed": 9, "waiting": 1}},
        host={"recorded": 9, "resolved": 9},
    )


def test_the_screen_shows_place_context_values_story_and_books() -> None:
    console = Console(width=120, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(paint(state()))
    shown = capture.get()
    for text in ("reactor4", "WO-10234 · L-8891 · React", "resolved", "181.5 °C", "runs on line 2", "recorded 9"):
        assert text in shown


def test_a_screen_without_anything_is_no_error() -> None:
    console = Console(width=80)
    with console.capture():
        console.print(paint(DemoState(phase="starting", seconds=60, view=view())))


def test_without_a_terminal_there_is_one_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LinePrinter(now_s=lambda: 100.0)
    for _ in range(5):
        printer(state())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2  # what was told, and one line of counters
    assert "runs on line 2" in lines[0]
    assert "recorded 9" in lines[1]
