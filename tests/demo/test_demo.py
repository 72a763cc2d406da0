"""``uns demo`` as a newcomer runs it: the books balance, Ctrl-C leaves nothing behind, failures are one message."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bridges.b2mml.schemas import official_schema, problems
from tests.servers import eventually
from uns.bridges.b2mml import read_performance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

DEMO = [sys.executable, "-m", "uns", "demo", "--seconds", "15"]
SENTENCE = re.compile(
    r"182\.0 °C was read on Reactor 4, during Work Order WO-10234, producing Lot L-8891, "
    r"at \d\d:\d\d:\d\d\.\d{3} [+\u2212]\d\d:\d\d on \d{1,2} [A-Z][a-z]+\."
)


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("UNS_")} | more


def processes_naming(text: str) -> list[str]:
    """Command lines of running processes that hold ``text``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run, looked at from all sides."""
    keep = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*DEMO, "--json", "--keep", str(keep)],
        capture_output=True, text=True, timeout=150, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    document["processes_left"] = processes_naming(str(keep))
    return document


def test_every_equation_holds(report: dict[str, Any]) -> None:
    assert [e for e in report["equations"] if not e["holds"]] == []
    assert report["ok"] is True
    assert (report["lost"], report["duplicates"]) == (0, 0)


def test_the_terms_of_the_equations_are_all_there(report: dict[str, Any]) -> None:
    for edge in report["edges"].values():
        assert edge["read"] == edge["reduced"] + edge["stored"] + edge["refused"]
        assert edge["stored"] == edge["confirmed"] + edge["waiting"] + edge["dropped"]
        assert edge["waiting"] == 0
        assert edge["stored"] > 20
    host = report["host"]
    others = host["duplicates_dropped"] + host["rejected"] + host["unmapped"] + host["unjoined"]
    assert host["received"] == host["recorded"] + others
    assert host["recorded"] == host["resolved"] + host["unassigned"] + host["unresolved"]
    assert sum(edge["stored"] for edge in report["edges"].values()) == host["recorded"]
    assert set(report["edges"]) == {"gw-reaction-1", "gw-energy"}


def test_the_idle_while_is_unassigned_and_nothing_is_unresolved(report: dict[str, Any]) -> None:
    assert report["host"]["unassigned"] > 0
    assert report["host"]["unresolved"] == 0


def test_late_and_corrected_facts_restate_intervals(report: dict[str, Any]) -> None:
    assert report["restated_intervals"] >= 2
    assert report["facts_refused"] == 0


def test_the_order_file_started_it_and_the_performance_file_says_what_the_samples_show(report: dict[str, Any]) -> None:
    mes = report["mes"]
    assert (mes["orders"], report["mes_left_out"]) == (["WO-10234", "WO-10235"], "")
    counted = mes["counted"]
    assert int(mes["good"]) == int(counted["quantity"]) == counted["last"]["value"] - counted["baseline"]["value"] > 0
    counted_text, explained_text = (each["text"] for each in report["equations"] if each["subject"] == "WO-10234")
    assert f"performance good {mes['good']} = counted {mes['good']} from samples" in counted_text
    assert explained_text == f"performance good {mes['good']} = explained {mes['good']}"


def test_the_command_of_the_report_explains_the_quantity_by_the_samples_that_the_report_shows(
    report: dict[str, Any],
) -> None:
    program, *words = shlex.split(report["mes"]["explain"])
    assert program == "uns"
    done = subprocess.run([sys.executable, "-m", "uns", *words], capture_output=True, text=True, timeout=60, check=True)
    (piece,) = report["mes"]["explanation"]["jobs"][0]["counters"][0]["pieces"]
    counted = report["mes"]["counted"]
    for name in ("baseline", "first", "last"):
        sample = piece[name]
        shown = f"{name:9} {sample['value']} at {sample['time']}, log position {sample['position']}"
        assert shown in done.stdout
        assert (sample["value"], sample["time"]) == (counted[name]["value"], counted[name]["time"])


def test_the_performance_file_lies_in_the_outbox_and_is_valid(report: dict[str, Any]) -> None:
    file = Path(report["mes"]["performance"])
    assert file.parent == Path(report["directory"]) / "mes" / "outbox"
    assert [path.name for path in (file.parents[1] / "inbox").glob("archive/*/*")] == ["orders.xml"]
    (response,) = read_performance(file.read_bytes()).responses
    assert (response.work_order, response.state, response.lot) == ("WO-10234", "Completed", "L-8891")
    assert problems(official_schema(), file.read_bytes()) == []


def test_the_bridge_has_delivered_what_it_made(report: dict[str, Any]) -> None:
    bridge = report["mes"]["bridge"]
    assert bridge["items"] == bridge["delivered"] >= 1
    assert (bridge["orders_read"], bridge["facts_accepted"]) == (2, 2)


def test_the_example_is_a_resolved_tick_and_makes_the_sentence(report: dict[str, Any]) -> None:
    example = report["example"]
    assert example["schema"] == "uns1.tick/1"
    assert (example["equipment"], example["context"]["status"]) == ("reactor4", "resolved")
    assert any(s["metric"] == "temperature" and s["value"] == 182.0 for s in example["samples"])
    assert SENTENCE.fullmatch(report["sentence"])


def test_no_process_is_left(report: dict[str, Any]) -> None:
    assert report["processes_left"] == []


def test_without_the_library_of_the_bridge_it_runs_and_says_what_is_left_out(tmp_path: Path) -> None:
    """As it is where only the plain package is installed: lxml cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['lxml'] = None\n")
    done = subprocess.run(
        DEMO, capture_output=True, text=True, timeout=150, env=environment(PYTHONPATH=str(tmp_path)), check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "The MES part was left out: lxml is not installed: pip install 'uns-sparkplug[b2mml]'" in done.stdout
    assert SENTENCE.search(done.stdout)
    assert "✗" not in done.stdout


async def test_ctrl_c_on_the_live_screen_ends_it_cleanly(tmp_path: Path) -> None:
    """In a terminal: the screen fills, Ctrl-C gives 130, and nothing runs on."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*DEMO, "--keep", str(tmp_path)], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=environment(TERM="xterm", COLUMNS="120", LINES="50"),
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def screen_holds(text: str) -> bool:
        with contextlib.suppress(OSError):  # nothing to read now, or no terminal any more
            shown.extend(os.read(ours, 1 << 20))
        return text.encode() in shown

    try:
        await eventually(lambda: screen_holds("reactor4"), timeout_s=60, what="the reactor on the screen")
        await eventually(lambda: screen_holds("L-8891"), timeout_s=30, what="the lot on the screen")
        os.kill(process.pid, signal.SIGINT)
        await eventually(lambda: screen_holds("\0") or process.poll() is not None, timeout_s=30, what="the end")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 130
    assert processes_naming(str(tmp_path)) == []
    assert b"Traceback" not in shown


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's death on Linux only")
async def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    log = tmp_path / "out.txt"
    keep = tmp_path / "keep"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*DEMO, "--keep", str(keep)], stdout=sink, stderr=sink, start_new_session=True, env=environment()
        )
    try:
        await eventually(lambda: b"running |" in log.read_bytes(), timeout_s=60, what="the demo runs")
        assert len(processes_naming(str(keep))) > 4
    finally:
        process.kill()
        process.wait()
    await eventually(lambda: not processes_naming(str(keep)), timeout_s=20, what="all children are gone")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--broker", "mqtt://127.0.0.1:1"], 3, "no connection to the broker"),
        (["--broker", "ftp://x"], 2, "mqtt://host"),
        (["--seconds", "5"], 2, "15"),
        (["--keep", __file__], 2, "no directory"),
    ],
)
def test_what_cannot_work_is_one_clear_message(options: list[str], code: int, says: str) -> None:
    began = time.monotonic()
    done = subprocess.run([*DEMO, *options], capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30


@pytest.mark.long
@pytest.mark.parametrize("victim", ["broker", "host", "bridge", "gw-energy", "plc4"])
async def test_a_process_that_dies_is_named_with_its_log(tmp_path: Path, victim: str) -> None:
    log = tmp_path / "out.txt"
    keep = tmp_path / "keep"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*DEMO, "--keep", str(keep)], stdout=sink, stderr=sink, start_new_session=True, env=environment()
        )
    try:
        await eventually(lambda: b"running |" in log.read_bytes(), timeout_s=60, what="the demo runs")
        os.kill(child_of(process.pid, keep / "logs" / f"{victim}.log"), signal.SIGKILL)
        await eventually(lambda: process.poll() is not None, timeout_s=30, what="the demo ends")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 3
    assert f"{victim} ended by itself with exit code -9".encode() in log.read_bytes()
    assert b"Traceback" not in log.read_bytes()
    assert processes_naming(str(keep)) == []


def child_of(parent: int, log: Path) -> int:
    """The child whose stderr goes to ``log``."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_child = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
            if is_child and (path / "fd" / "2").resolve() == log.resolve():
                return int(path.name)
    pytest.fail(f"no child writes to {log}")
