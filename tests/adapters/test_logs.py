from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from uns.adapters.logs import configure_logs, get_logger


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_json_logs_are_one_object_a_line_with_level_time_and_component():
    stream = io.StringIO()
    configure_logs(as_json=True, stream=stream)
    get_logger("host").info("node born", edge_node="g/n")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "node born", "edge_node": "g/n", "level": "info", "component": "host"}


def test_readable_logs_and_levels():
    stream = io.StringIO()
    configure_logs(as_json=False, level="warning", stream=stream)
    get_logger("host").info("quiet")
    get_logger("host").warning("loud", next_step="look")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
    assert "next_step=look" in stream.getvalue()


def test_libraries_speak_through_the_same_door():
    stream = io.StringIO()
    configure_logs(as_json=True, stream=stream)
    logging.getLogger("some.library").warning("hm %d", 3)
    logging.getLogger("asyncua.client").warning("chatter")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "hm 3"
