from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bridges.b2mml.bench import TREE
from uns.errors import ConfigurationError
from uns.runtime.bridge.b2mml import KIND
from uns.runtime.bridge.bridge_file import load_bridge

GOOD = """\
uns: 1
bridge: mes
kind: b2mml
host: {store: host}
broker: {url: mqtt://127.0.0.1:1883}
tree: topic_tree.yaml
target: {source: erp, inbox: mes/in, outbox: mes/out, sender: uns-dallas}
"""


def load(tmp_path: Path, text: str) -> Any:
    (tmp_path / "topic_tree.yaml").write_text(TREE)
    path = tmp_path / "mes.bridge.yaml"
    path.write_text(text)
    return load_bridge(path)


def findings(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    return [finding.removeprefix(f"{tmp_path}/") for finding in caught.value.findings]


def with_target(settings: str) -> str:
    return GOOD.replace("sender: uns-dallas", f"sender: uns-dallas, {settings}")


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD).target
    assert (settings.inbox, settings.outbox) == (tmp_path / "mes/in", tmp_path / "mes/out")


def test_senders_codes_keep_their_zeros_and_may_be_none_of_ours(tmp_path: Path) -> None:
    settings = load(tmp_path, with_target('equipment: {0010: reactor4, TOOL-9: ""}')).target
    assert settings.equipment == {"0010": "reactor4", "TOOL-9": ""}


@pytest.mark.parametrize(
    ("settings", "at", "words"),
    [
        ("equipment: {WC-1: reactr4}", "reactr4", "did you mean 'reactor4'?"),
        ("equipment: {WC-1: }", "WC-1", "is mapped to nothing"),
        ("default_equipment: line3", "line3", "did you mean 'line2'?"),
        ("zone: Dallas", "Dallas", "no time zone"),
        ("archive: mes/../mes/in", "mes/../mes/in", "is the folder of `inbox:`"),
        ("since: yesterday", "yesterday", "no time with a zone"),
        ("inbocks: x", "inbocks", "did you mean 'inbox'?"),
    ],
)
def test_a_mistake_is_named_where_it_stands(tmp_path: Path, settings: str, at: str, words: str) -> None:
    text = with_target(settings)
    (found,) = findings(tmp_path, text)
    assert found.startswith(f"mes.bridge.yaml:7:{text.splitlines()[6].index(at) + 1}: ")
    assert words in found


def test_orders_need_a_broker_and_a_source_that_provides_jobs(tmp_path: Path) -> None:
    text = GOOD.replace("broker: {url: mqtt://127.0.0.1:1883}\n", "").replace("source: erp", "source: scanner")
    found = findings(tmp_path, text)
    assert [line.split(": ")[1] for line in found] == ["broker", "source"]
    assert "under `context:`" in found[1]


def test_only_out_needs_neither(tmp_path: Path) -> None:
    text = GOOD.replace("broker: {url: mqtt://127.0.0.1:1883}\n", "").replace("source: erp, inbox: mes/in, ", "")
    assert load(tmp_path, text).target.inbox is None


def test_no_folder_at_all_is_a_mistake(tmp_path: Path) -> None:
    found = findings(tmp_path, GOOD.replace("inbox: mes/in, outbox: mes/out", "archive: mes/done"))
    assert "names no folder" in found[0]
    assert "`archive:` is for an inbox" in found[1]


def test_a_tree_that_is_broken_is_a_finding_of_the_file(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, GOOD.replace("topic_tree.yaml", "no_tree.yaml"))
    assert found.startswith("mes.bridge.yaml:6:7: tree: ")
    assert "uns tree lint" in found


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_list_of_materials_that_cannot_be_read_is_said_before_anything_runs(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "materials.txt").write_bytes(content)
    config = load(tmp_path, with_target("materials_file: materials.txt"))
    with pytest.raises(ConfigurationError, match="list of materials"):
        KIND.build(config, None)  # type: ignore[arg-type]
