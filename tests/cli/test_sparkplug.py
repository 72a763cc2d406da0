"""``uns sparkplug``: the documented examples, run as they stand; and what users do wrong."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sparkplug import goldens
from uns.cli import sparkplug
from uns.cli.main import main
from uns.sparkplug.aliases import AliasTable

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
        (("decode", "--hex"), b"\xff\xfe", 2, "leave the option out"),
        (("decode", "--hex"), b"080", 2, "pairs of 0 to 9"),
        (("decode", "--hex"), b"\n", 2, "nothing to read"),
        (("decode",), b"", 2, "standard input: nothing to read"),
        (("decode",), b"0881d095ffbc31180b\n", 1, "--hex or --base64 reads it"),
        (("decode", "--hex"), b"0801180b\n080218ff01\n", 2, "2 payloads; add --lines"),
        (("decode", "--lines"), b"", 2, "--hex or --base64 with it"),
        (("decode", "--hex", "--lines", "no-such-file"), b"", 2, "cannot read"),
        (("decode", "--births", __file__), b"\x18\x01", 1, "not a Sparkplug B payload"),
        (("decode", "--hex", "--births", "-"), b"0801", 1, "no birth: no metric"),
        (("encode", "--hex"), b"", 2, "nothing to read"),
        (("decode", "--base64"), b"?", 2, "no base64 text"),
        (("decode",), b"\xff\xff", 1, "standard input: not a Sparkplug B payload"),
        (("decode",), bytes((1 << 20) + 1), 1, "at most 1048576"),
        (("decode", "--births", "no-such-file"), b"", 2, "no-such-file"),
        (("encode", "--hex"), b"{", 2, "no payload in its JSON form"),
        (("encode", "--output", "/no/such/folder/file"), b"{}", 2, "cannot write"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, given, code, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    with pytest.raises(SystemExit) as ended:
        main(["sparkplug", *arguments])
    told = capsys.readouterr().err
    assert ended.value.code == code
    assert said in told
    assert told.count("\n") == 1


def test_a_float_is_shown_as_the_node_meant_it():
    metrics = [
        {"name": "a", "datatype": "Float", "value": 49.6},
        {"alias": 1, "field": "float_value", "value": 52.7},
    ]
    payload = run("encode", "-", given=json.dumps({"timestamp": 1, "metrics": metrics}).encode()).stdout
    out = run("decode", "-", given=payload).stdout.decode()
    assert "Float  49.6\n" in out
    assert "float_value  52.7\n" in out


def test_a_dump_on_several_lines_is_one_payload():
    text = "\n".join(goldens.BIRTH.hex()[at : at + 60] for at in range(0, len(goldens.BIRTH.hex()), 60))
    done = run("decode", "--hex", "--json", given=text.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("encode", given=done.stdout).stdout == goldens.BIRTH


def test_lines_are_payloads_each_and_one_that_cannot_be_read_hides_no_other(tmp_path):
    (tmp_path / "birth").write_bytes(goldens.BIRTH)
    lines = [goldens.DATA.hex(), "zz", "", "ff", goldens.DEATH.hex()]
    done = run(
        *("decode", "--hex", "--lines", "--json", "--births", str(tmp_path / "birth")), given="\n".join(lines).encode()
    )
    data, death = (json.loads(line) for line in done.stdout.splitlines())
    assert data["metrics"][0]["of_birth"] == {"name": "m/Int8", "datatype": "Int8"}
    assert death["metrics"][0]["name"] == "bdSeq"
    assert done.returncode == 1
    first, second = done.stderr.decode().splitlines()
    assert "line 2: no hex text" in first
    assert "line 4: not a Sparkplug B payload" in second


def test_births_that_went_by_with_their_topics_name_the_data_after_them():
    def lines(node: str, *kinds: tuple[str, bytes]) -> list[str]:
        return [f"spBv1.0/plant 1/{kind}/{node} {base64.b64encode(payload).decode()}" for kind, payload in kinds]

    given = [*lines("a", ("NBIRTH", goldens.BIRTH), ("NDATA", goldens.DATA)), *lines("b", ("NDATA", goldens.DATA))]
    given.append("spBv1.0/STATE/h " + base64.b64encode(b'{"online":true,"timestamp":1}').decode())
    done = run("decode", "--base64", "--lines", "--json", given="\n".join(given).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    _, named, unnamed, state = (json.loads(line) for line in done.stdout.splitlines())
    assert state == {"topic": "spBv1.0/STATE/h", "state": {"online": True, "timestamp": 1}}
    assert (named["topic"], unnamed["topic"]) == ("spBv1.0/plant 1/NDATA/a", "spBv1.0/plant 1/NDATA/b")
    assert named["payload"]["metrics"][0]["of_birth"]["name"] == "m/Int8"
    assert "of_birth" not in unnamed["payload"]["metrics"][0]


@pytest.mark.parametrize("kind", ["NBIRTH", "DBIRTH"])
def test_births_that_went_by_are_kept_of_so_many_nodes(monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(sparkplug, "NODES_MAX", 3)
    births = sparkplug._Births(AliasTable())
    for node in "abcde":
        births.table_of(f"spBv1.0/g/{kind}/{node}" + ("/d" if kind == "DBIRTH" else ""), goldens.BIRTH)
    assert [node.edge_node_id for node in births._tables] == ["c", "d", "e"]


def test_an_alias_without_a_name_says_where_names_are(tmp_path):
    (tmp_path / "birth").write_bytes(goldens.BIRTH)
    assert b"--births FILE gives its NBIRTH" in run("decode", given=goldens.DATA).stderr
    other = run("encode", given=b'{"metrics": [{"alias": 999, "field": "int_value", "value": 1}]}').stdout
    assert b"not in the births given" in run("decode", "--births", str(tmp_path / "birth"), given=other).stderr
