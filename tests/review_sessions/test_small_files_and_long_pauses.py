"""A state.json that is no JSON one can read, and a known double that is no reason to wait for a broker that is away."""

from __future__ import annotations

import pytest
import structlog

from edge_nodes.brokers import PAUSE_MAX_MS, Brokers
from tests.sparkplug.helpers import NODE
from uns.adapters.mqtt import BrokerAddress
from uns.runtime.host.kept_state import FILE_BYTES_MAX, FILE_NAME, KeptState
from uns.sparkplug.walk import SessionEnd


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 60,
        b"[" * FILE_BYTES_MAX,
        b'{"state_seen_ms": 1',
        b'{"x":' + b"[" * 4000,
        b'{"state_seen_ms": NaN}',
    ],
)
def test_a_state_file_that_cannot_be_read_keeps_no_host_from_its_start(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    kept = KeptState(tmp_path, structlog.get_logger())
    assert kept.load() == 0
    kept.keep(5)
    assert KeptState(tmp_path, structlog.get_logger()).load() == 5


async def test_a_double_makes_no_long_pause_where_no_broker_was_reached():
    """Nobody was taken over: the alarm of an hour ago would keep the gateway out long after the broker is back."""
    brokers = Brokers([BrokerAddress(url="mqtt://127.0.0.1:1")], NODE, wall_ns=lambda: 0)
    brokers.connected("session-1")
    brokers._walk.receive_proof(found=True)
    assert await brokers.ended(SessionEnd.LOST) > PAUSE_MAX_MS / 1000
    for _ in range(5):
        assert await brokers.ended(SessionEnd.NOT_REACHED) <= PAUSE_MAX_MS / 1000
    assert brokers.trouble
    brokers.connected("session-1")
    assert PAUSE_MAX_MS / 1000 < await brokers.ended(SessionEnd.LOST) <= 80
