"""Every peer plays each scene once; the tests look at what it left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.expectations import EXPECTED, Expected
from tests.interop.installs import PEERS, installed
from tests.interop.process import PeerProcess
from tests.interop.scenes import EdgeScene, HostScene, play_edge, play_host
from tests.interop.values import TYPES


@pytest.fixture(scope="session", params=sorted(EXPECTED))
def expected(request: pytest.FixtureRequest) -> Expected:
    found: Expected = EXPECTED[request.param]
    return found


@pytest.fixture(scope="session")
def command(expected: Expected) -> list[str]:
    """How the peer's program is started; skips where it cannot be had."""
    return installed(PEERS[expected.peer])


@pytest.fixture(scope="session")
def edge_scene(expected: Expected, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> EdgeScene:
    folder: Path = tmp_path_factory.mktemp(f"edge-{expected.peer}")
    return asyncio.run(play_edge(command, folder, types=TYPES, nulls=True, aliases=True))


@pytest.fixture(scope="session")
def host_scene(expected: Expected, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> HostScene:
    folder: Path = tmp_path_factory.mktemp(f"host-{expected.peer}")
    return asyncio.run(play_host(command, folder))


class Codec:
    """A peer's encoder and decoder, asked one thing at a time."""

    def __init__(self, command: list[str]) -> None:
        self._runner = asyncio.Runner()
        self._process = PeerProcess(command)
        self._runner.run(self._process.__aenter__())

    def ask(self, do: str, **more: Any) -> Any:
        return self._runner.run(self._process.ask(do, **more))

    def close(self) -> None:
        self._runner.run(self._process.kill())
        self._runner.close()


@pytest.fixture(scope="session")
def peer_codec(command: list[str]) -> Iterator[Codec]:
    made = Codec(command)
    yield made
    made.close()
