"""The page tells what the tests expect, and nothing else. Needs no peer, so it runs with every `make test`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.interop.expectations import EXPECTED
from tests.interop.installs import PEERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "interoperation.md"


def section(peer: str) -> str:
    found = re.search(rf'<a id="{peer}"></a>\n(.*?)(?=\n<a id=|\n## To see it)', PAGE.read_text(), re.DOTALL)
    assert found is not None, peer
    return found[1]


@pytest.mark.parametrize("peer", sorted(EXPECTED))
def test_the_page_names_what_the_peer_breaks(peer):
    expected = EXPECTED[peer]
    named = set(re.findall(r"`(tck-id-[\w-]+)`", section(peer)))
    assert named == expected.edge_breaks | expected.edge_may_break | expected.host_breaks


@pytest.mark.parametrize("peer", sorted(PEERS))
def test_the_page_names_the_version_that_is_pinned(peer):
    assert f" {PEERS[peer].version}" in section(peer).splitlines()[0]
    assert f"](#{peer}) | {PEERS[peer].version}" in PAGE.read_text()


def test_every_peer_has_expectations():
    assert set(PEERS) == set(EXPECTED)
