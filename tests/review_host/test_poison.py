"""Promise 6: what one node or source sends stops nobody else, and is not met again at each restart."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.review_host.stages import Node, now_ms, stages, tree_in
from uns.adapters.mqtt import IncomingMessage
from uns.delivery.messages import decode_confirm, decode_mark, mark_topic
from uns.errors import RemoteProtocolError
from uns.sparkplug.codec import NAME_BYTES_MAX
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import Property
from uns.sparkplug.state import decode_state
from uns.sparkplug.topics import ID_BYTES_MAX, EdgeNodeDescriptor, MessageType

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


LONG = "x" * (ID_BYTES_MAX + 1)
LONGEST = "x" * ID_BYTES_MAX


@pytest.mark.parametrize("long", [LONG, "\N{FACTORY}" * (ID_BYTES_MAX // 4 + 1)], ids=["ascii", "four bytes each"])
async def test_ids_beyond_the_bound_are_counted_and_stop_nobody(tmp_path: Path, long: str):
    """Each would stay in memory, in the logs and on topics: 10,000 nodes with the longest names that MQTT has."""
    async with stages(tmp_path) as host:
        for strange in (EdgeNodeDescriptor(long, "e"), EdgeNodeDescriptor("g", long)):
            neighbour = Node(host.tree, name=strange)
            await host.receive(*neighbour.births(), neighbour.data(("temperature", 9.0, now_ms())), neighbour.mark())
        node = Node(host.tree)
        births = node.births()
        device = IncomingMessage(node.name.topic(MessageType.DBIRTH, long), births[1].payload)
        await host.receive(*births, device, node.data(("temperature", 1.0, now_ms())), node.mark())
        await host.idle()
        assert list(host.session.nodes) == [node.name]
        assert list(host.session.nodes[node.name].devices) == ["reactor4"]
        assert host.session.violations["id_bytes_max"] == 2 * 3 + 1
        assert host.receiver.counters["violations"] == 2 * (3 + 1) + 1  # the marks too
        assert [answer.ok for answer in host.answers] == [True]
        assert host.query("SELECT value_num FROM records") == [(1.0,)]


async def test_the_longest_ids_are_taken(tmp_path: Path):
    async with stages(tmp_path) as host:
        node = Node(host.tree, name=EdgeNodeDescriptor(LONGEST, LONGEST))
        await host.receive(*node.births(), node.mark())
        await host.idle()
        assert list(host.session.nodes) == [node.name]


async def test_a_metric_name_beyond_the_bound_leaves_the_others_of_its_birth(tmp_path: Path):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        strange = msgspec.structs.replace(node.metrics[0], name="x" * (NAME_BYTES_MAX + 1), alias=None)
        node.metrics = [*node.metrics, strange]
        await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())), node.mark())
        await host.idle()
        assert [answer.ok for answer in host.answers] == [True]
        assert host.query("SELECT value_num FROM records") == [(1.0,)]
