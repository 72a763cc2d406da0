"""Every numbered example runs, and prints what its text promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRINTS = {
    "01_two_sessions_without_a_broker": "the host read temperature = 182.0 of acme.dallas/gw-reaction-1/reactor4",
    "02_a_value_meets_its_work_order": (
        "182.0 °C was read on Reactor 4, during Work Order WO-10234, producing Lot L-8891, at 14:32:00.125"
    ),
}
BESIDE_A_BROKER = {"03_publish_a_device", "04_follow_a_plant"}  # run in test_sparkplug_examples.py


def test_no_example_is_left_out() -> None:
    assert {path.stem for path in EXAMPLES.glob("[0-9]*.py")} == set(PRINTS) | BESIDE_A_BROKER


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_the_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module(f"examples.{name}", run_name="__main__")
    assert PRINTS[name] in capsys.readouterr().out
