"""Promise 6: what one node or source sends stops nobody else, and is not met again at each restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.review_host.stages import Node, now_ms, stages, tree_in
from uns.adapters.mqtt import IncomingMessage
from uns.delivery.messages import decode_confirm, decode_mark, mark_topic
from uns.errors import RemoteProtocolError
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import Property
from uns.sparkplug.state import decode_state

DEEP = b'{"x":' + b"[" * 1_900 + b"]" * 1_900 + b"}"


@pytest.mark.parametrize("decode", [decode_mark, decode_confirm, decode_state])
def test_deeply_nested_json_is_a_protocol_error(decode):
    with pytest.raises(RemoteProtocolError):
        decode(DEEP[:2_000] if decode is decode_state else DEEP)


async def test_a_deeply_nested_mark_stops_nobody(tmp_path: Path):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(IncomingMessage(mark_topic(node.name), DEEP))
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())), node.mark())
        await host.idle()
        assert [answer.ok for answer in host.answers] == [True]


HUGE = 2**64 - 1


@pytest.mark.parametrize("key", ["ordinal", "status_code"])
async def test_numbers_in_properties_that_no_column_holds_stop_nobody(tmp_path: Path, key: str):
    """They would break the commit of the record log, and again at each restart, since the raw log has them."""
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        at = now_ms()
        strange = {0: (Property(key, DataType.UINT64, HUGE),)}
        await host.receive(*node.births(), node.data(("temperature", 1.0, at), properties=strange))
        await host.receive(node.data(("temperature", 2.0, at + 1)), node.mark())
        await host.idle()
        assert [answer.ok for answer in host.answers] == [True]
        counters = host.counters()
        assert counters["received"] == counters["recorded"] + counters["rejected"] == 2
        assert (2.0,) in host.query("SELECT value_num FROM records")


async def test_a_seq_that_no_column_holds_stops_nobody(tmp_path: Path):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births())
        good = node.data(("temperature", 1.0, now_ms()))
        from schemas.sparkplug_b_pb2 import Payload

        message = Payload.FromString(good.payload)
        message.seq = HUGE
        await host.receive(IncomingMessage(good.topic, message.SerializeToString()))
        await host.receive(node.data(("temperature", 2.0, now_ms() + 1)))
        await host.idle()
        assert (2.0,) in host.query("SELECT value_num FROM records")


async def test_a_bd_seq_that_no_column_holds_stops_nobody(tmp_path: Path):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births(bd_seq=HUGE), node.data(("temperature", 1.0, now_ms())), node.mark())
        await host.idle()
    async with stages(tmp_path) as host:
        await host.receive(*Node(tree_in(tmp_path), session="session-2").births())
        await host.idle()
