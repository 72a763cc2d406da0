"""The commands as someone uses them at night: each mistake is one clear message."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.actuals.plants import GOOD, SCRAP, STATE, Plant, job
from tests.cli.test_explain import TREE
from tests.enrichment.builders import at
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_cursor import Progress
from uns.cli.main import build_app, main
from uns.errors import ConfigurationError, StorageError

BRIDGE = """\
uns: 1
bridge: mes
kind: b2mml
host: {store: host}
tree: topic_tree.yaml
grace: 1s
target: {outbox: out}
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    (tmp_path / "topic_tree.yaml").write_text(TREE)
    (tmp_path / "mes.bridge.yaml").write_text(BRIDGE)
    (tmp_path / "out").mkdir()
    made = Plant(tmp_path / "host")
    made.now_ns = at(2000)
    made.samples((GOOD, 100, -5), (SCRAP, 7, -5), (STATE, 6, -5))
    made.fact(job(start=0, end=1000))
    made.samples((GOOD, 101, 5), (GOOD, 900, 800))
    yield made
    made.close()


@pytest.fixture
def run(plant: Plant, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code and stdout of a command of the bridge."""
    file = str(plant.path.parent.parent / "mes.bridge.yaml")

    def command(*words: str) -> tuple[int, str]:
        asked = [file if word == "FILE" else word for word in words]
        code = 0
        try:
            build_app(asked)(args=asked, prog_name="uns")
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, capsys.readouterr().out

    return command


@pytest.mark.parametrize("books", ["no database", "a folder", "of another kind"])
def test_check_says_that_the_books_cannot_be_used(run: Run, plant: Plant, tmp_path: Path, books: str) -> None:
    store = tmp_path / "mes.bridge.db"
    if books == "no database":
        store.write_text("not a database" * 100)
    elif books == "a folder":
        store.mkdir()
    else:
        plant.log.close()  # writes its WAL back
        store.write_bytes(plant.path.read_bytes())
    code, out = run("bridge", "check", "-c", "FILE")
    assert code == 1, out
    assert "error: store: " in out
    assert str(store) in out
    code, out = run("bridge", "check", "-c", "FILE", "--json")
    assert [found["rule"] for found in json.loads(out) if found["severity"] == "error"] == ["store"]


def test_check_of_books_that_are_fine_or_not_there_yet_says_nothing_of_them(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        code, out = run("bridge", "check", "-c", "FILE")
        assert (code, "store" in out) == (0, False), out
        BridgeStore(tmp_path / "mes.bridge.db").close()


def test_a_bridge_that_does_not_run_shows_how_far_it_is_behind_now(run: Run, plant: Plant, tmp_path: Path) -> None:
    store = BridgeStore(tmp_path / "mes.bridge.db")
    store.take_in([], progress=Progress(position=1), state={}, now_ns=1)
    store.close()
    code, out = run("bridge", "list", "FILE", "--json")
    (stats,) = json.loads(out)
    assert code == 0
    assert (stats["state"], stats["position"]) == ("stopped", 1)
    assert stats["lag_positions"] == plant.reader.head() - 1 > 0


def test_to_retry_all_of_none_says_that_there_is_none(run: Run, tmp_path: Path) -> None:
    BridgeStore(tmp_path / "mes.bridge.db").close()
    assert run("dlq", "retry", "--all", "-c", "FILE") == (0, "no dead letters\n")


def test_a_file_without_end_is_no_performance(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no performance of a job is in it") as caught:
        run(
            "explain",
            "--file",
            "/dev/zero",
            "--store",
            str(tmp_path / "host"),
            "--tree",
            str(tmp_path / "topic_tree.yaml"),
        )
    assert "body_bytes_max" in "".join(caught.value.findings)


def test_check_of_a_missing_log_looks_at_everything_else_all_the_same(run: Run, plant: Plant, tmp_path: Path) -> None:
    plant.path.rename(tmp_path / "elsewhere.db")
    (tmp_path / "out").rmdir()
    code, out = run("bridge", "check", "-c", "FILE")
    assert code == 3, "a folder may be mounted later"
    assert f"error: record-log: {plant.path}: there is no record log" in out
    assert "start the host once, or correct `host.store`" in out
    assert "error: folder: " in out
    code, out = run("bridge", "check", "-c", "FILE", "--json")
    assert {found["rule"] for found in json.loads(out) if found["severity"] == "error"} == {"record-log", "folder"}


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("CREATE TABLE x (a)", "the file is no store of ours"),
        ("CREATE TABLE meta (a)", "the file is no store of ours"),
        ("CREATE TABLE meta (key, value); INSERT INTO meta VALUES ('kind', 'raw log')", "the file is a raw log"),
    ],
)
def test_a_database_of_another_kind_is_named_and_not_read(run: Run, tmp_path: Path, script: str, what: str) -> None:
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.executescript(script)
    with pytest.raises(StorageError) as caught:
        run("explain", "WO-1", "--store", str(foreign), "--tree", str(tmp_path / "topic_tree.yaml"))
    assert str(caught.value) == f"{foreign}: {what} (expected a record log); check the path"


@pytest.mark.parametrize("words", [("bridge", "list"), ("bridge", "check"), ("tree", "lint")])
def test_a_command_in_a_directory_that_is_gone_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("uns: ")
