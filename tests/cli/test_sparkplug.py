"""``uns sparkplug``: the documented examples, run as they stand; and what users do wrong."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sparkplug import goldens

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "sparkplug-cli.md"
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "uns", "sparkplug", *arguments],
        input=given,
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f'uns() {{ "{sys.executable}" -m uns "$@"; }}\n{command}'],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_examples_of_the_page_print_what_it_shows(tmp_path):
    fences = FENCE.findall(PAGE.read_text())
    shown = 0
    for (kind, name, body), (next_kind, next_name, next_body) in zip(fences, [*fences[1:], ("", "", "")], strict=True):
        if name:
            (tmp_path / name).write_text(body)
        if kind != "sh":
            continue
        done = shell(body, tmp_path)
        assert not next_name
        assert (done.stderr if next_kind == "stderr" else done.stdout) == next_body, body
        assert (done.returncode != 0) == (next_kind == "stderr")
        shown += 1
    assert shown == 5


def test_births_may_be_raw_while_the_payload_is_text(tmp_path):
    (tmp_path / "birth").write_bytes(goldens.BIRTH)
    done = run("decode", "--hex", "--births", str(tmp_path / "birth"), given=goldens.DATA.hex().encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"m/Int8  alias 0  Int8  -8  is_historical" in done.stdout


def test_way_there_and_back_through_the_shell(tmp_path):
    (tmp_path / "birth").write_bytes(goldens.BIRTH)
    form = run("decode", "--base64", "--json", given=base64.b64encode(goldens.DATA)).stdout
    assert run("encode", given=form).stdout == goldens.DATA


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        (("decode", "no-such-file"), b"", 2, "no-such-file: cannot read"),
        (("decode", "."), b"", 2, "cannot read"),
        (("decode", "--hex", "--base64"), b"", 2, "one of them"),
        (("decode", "--hex"), b"zz", 2, "no hex text"),
        (("decode", "--hex"), b"\xff\xfe", 2, "no hex text"),
        (("decode", "--base64"), b"?", 2, "no base64 text"),
        (("decode",), b"\xff\xff", 1, "standard input: not a Sparkplug B payload"),
        (("decode",), bytes((1 << 20) + 1), 1, "at most 1048576"),
        (("decode", "--births", "no-such-file"), b"", 2, "no-such-file"),
        (("encode", "--hex"), b"{", 2, "no payload in its JSON form"),
        (("encode", "--output", "/no/such/folder/file"), b"{}", 2, "cannot write"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, given, code, said):
    done = run(*arguments, given=given)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_a_float_is_shown_as_the_node_meant_it():
    metrics = [
        {"name": "a", "datatype": "Float", "value": 49.6},
        {"alias": 1, "field": "float_value", "value": 52.7},
    ]
    payload = run("encode", "-", given=json.dumps({"timestamp": 1, "metrics": metrics}).encode()).stdout
    out = run("decode", "-", given=payload).stdout.decode()
    assert "Float  49.6\n" in out
    assert "float_value  52.7\n" in out
