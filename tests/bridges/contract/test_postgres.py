from __future__ import annotations

from pathlib import Path

import pytest

from tests.bridges.contract.harness import Work
from tests.bridges.contract.suite import BridgeContract
from tests.bridges.postgres.harness import PostgresHarness
from tests.bridges.postgres.server import PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture
def work(server: PostgresServer, tmp_path: Path):
    harness = PostgresHarness(server)
    made = Work(harness, tmp_path)
    harness.log = made.log
    yield made
    made.log.close()


class TestPostgresBridge(BridgeContract):
    pass
