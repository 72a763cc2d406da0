from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bridges.postgres.server import PostgresServer, require_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """One cluster for all tests of a run; who stops it starts it again."""
    made = PostgresServer(require_postgres())
    try:
        made.start()
        yield made
    finally:
        made.close()
