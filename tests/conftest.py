"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# The same examples every time: a run fails for what changed, not for its luck. UNS_HYPOTHESIS=explore looks further,
# and what it finds becomes an @example. Deadlines would measure the machine.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("UNS_HYPOTHESIS", "steady"))


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """A command configures logs for its process; here they would go to a stream that its test has closed."""
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``pytest -k tck-id-…`` runs the tests of that requirement."""
    for item in items:
        for mark in item.iter_markers("tck"):
            item.extra_keyword_matches.update(mark.args)
