"""`uns tree`: what it prints, where, and the exit code that tells the kind of end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import uns
from tests.namespace.builders import tree_text
from uns.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PLANT = str(ROOT / "topic_tree.yaml")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "topic_tree.yaml"
    path.write_text(tree_text(metric="{type: Flaot}"))
    return path


def test_lint_of_a_good_tree_is_0(capsys):
    code, out, err = run(capsys, "tree", "lint", "--tree", PLANT)
    assert (code, out, err) == (0, f"{PLANT}: 0 errors, 0 warnings\n", "")


def test_lint_of_a_broken_tree_is_1_and_says_where(capsys, broken):
    code, out, err = run(capsys, "tree", "lint", "--tree", str(broken))
    assert code == 1
    assert f"{broken}:7:20: unknown-type: 'Flaot' is no Sparkplug scalar type; did you mean 'Float'?\n" in out
    assert out.endswith(": 1 error, 0 warnings\n")
    assert err == ""


def test_lint_with_warnings_alone_is_0(capsys, tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(tree_text(name="flow.rate"))
    code, out, _ = run(capsys, "tree", "lint", "--tree", str(path))
    assert code == 0
    assert "warning: discouraged-character" in out


def test_lint_json_is_one_document(capsys, broken):
    code, out, _ = run(capsys, "tree", "lint", "--tree", str(broken), "--json")
    document = json.loads(out)
    assert code == 1
    assert (document["errors"], document["warnings"]) == (1, 0)
    assert document["findings"][0]["line"] == 7


def test_lint_of_no_file_is_2_and_one_line(capsys, tmp_path):
    code, out, err = run(capsys, "tree", "lint", "--tree", str(tmp_path / "none.yaml"))
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "cannot read the file" in err


def test_show_of_a_broken_tree_is_2_with_its_findings_and_a_summary(capsys, broken):
    code, out, err = run(capsys, "tree", "show", "--tree", str(broken))
    assert code == 2
    assert out == ""
    first, last = err.splitlines()
    assert first.startswith(f"{broken}:7:20: unknown-type")
    assert last == f"uns: {broken}: the tree cannot be used"


def test_show_draws_the_plant(capsys):
    code, out, _ = run(capsys, "tree", "show", "--tree", PLANT)
    assert code == 0
    assert "reactor4  Unit · class BatchReactor · fed by gw-reaction-1, gw-energy · wants job, lot" in out
    assert "temperature  Float °C · -20 to 250 · deadband 0.1 · quality" in out
    assert "uns1/" not in out


def test_show_topics_never_cuts_a_topic(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = run(capsys, "tree", "show", "--tree", PLANT, "--topics")
    assert "uns1/acme/dallas/reaction/line2/reactor4/_pv/batch.count" in out
    assert "spBv1.0/acme.dallas/DDATA/gw-energy/reactor4" in out


def test_show_json_holds_every_topic(capsys):
    _, out, _ = run(capsys, "tree", "show", "--tree", PLANT, "--json")
    document = json.loads(out)
    reactor = next(e for e in document["equipment"] if e["equipment"] == "reactor4")
    assert reactor["topics"]["data"] == "uns1/acme/dallas/_data/reaction/line2/reactor4"
    assert {m["metric"] for m in reactor["metrics"]} >= {"temperature", "energy/active"}
    assert document["sites"] == [{"site": "dallas", "time_zone": "America/Chicago", "group_id": "acme.dallas"}]


def test_the_tree_comes_from_the_environment_too(capsys, monkeypatch, broken):
    monkeypatch.setenv("UNS_TREE", str(broken))
    assert run(capsys, "tree", "lint")[0] == 1


@pytest.mark.parametrize("line", ["tree lnit", "nonsense", "tree lint --nonsense", "tree lint x", "--nonsense"])
def test_wrong_usage_is_2_without_a_traceback(capsys, line):
    code, _, err = run(capsys, *line.split())
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize("line", ["--help", "tree --help", "tree lint --help", "tree show --help"])
def test_help_is_0(capsys, line):
    assert run(capsys, *line.split())[0] == 0


@pytest.mark.parametrize("command", ["lint", "show"])
def test_help_shows_an_example(capsys, command):
    assert f"uns tree {command}" in run(capsys, "tree", command, "--help")[1].split("Examples:")[1]


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"uns {uns.__version__}\n")


def test_no_command_is_promised_twice():
    promised = [command for module in COMMANDS for command in module.commands]
    assert len(promised) == len(set(promised))


def test_an_ascii_terminal_gets_question_marks_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "uns", "tree", "show"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "temperature  Float ?C" in done.stdout


def test_python_m_uns_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "uns", "tree", "lint"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "topic_tree.yaml: 0 errors, 0 warnings\n")
