"""Present values follow the session as it stands: also where no death is logged and where news of a life was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.review_host.stages import Node, Stages, now_ms, stages
from tests.runtime.plants import plant
from tests.servers import eventually, mosquitto
from uns.runtime.host import liveness as liveness_module
from uns.runtime.host import process as process_module
from uns.runtime.host.liveness import GRACE_NS, Liveness
from uns.sparkplug import codec
from uns.sparkplug.host_nodes import NodeState
from uns.sparkplug.messages import NodeDied, NodeForgotten
from uns.sparkplug.metrics import DataBatch
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType
from uns.sparkplug.transitions import HostNodeState

SECOND = 10**9


class Followed:
    """Stages with a liveness over them; each look is seconds later."""

    def __init__(self, host: Stages) -> None:
        self.host = host
        self.liveness = Liveness(lambda: host.session.nodes, on_sweep=lambda _nodes: None)
        self.now_ns = time.time_ns()
        self.read = 0
        self.liveness.receive_connected(self.now_ns)

    def look(self, after_s: float = 2) -> str:
        """The quality of the temperature as it would be shown."""
        for event in self.host.events[self.read :]:
            self.liveness.receive(event)
        self.read = len(self.host.events)
        self.now_ns += round(after_s * SECOND)
        board = self.host.joiner.enricher.board
        self.liveness.due(board, self.now_ns, behind=self.host.joiner.behind)
        board.due(self.now_ns)
        series = board._equipment["reactor4"].metrics["temperature"]
        return "stale" if series.pv_stale or series.pv_away else "good"

    def lose_broker(self) -> None:
        self.host.session.receive_disconnected(time.time_ns())
        self.host.receiver.drain(time.time_ns())
        self.liveness.receive_disconnected()

    def find_broker(self) -> None:
        self.host.connect()
        self.liveness.receive_connected(self.now_ns)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Stages]:
    async with stages(tmp_path) as made:
        yield made


async def shown(host: Stages, node: Node) -> Followed:
    await host.receive(*node.births(), node.data(("temperature", 1.0, now_ms())), node.mark())
    await host.idle()
    followed = Followed(host)
    assert followed.look() == "good"
    return followed


async def test_a_host_that_loses_its_broker_shows_its_values_stale_until_their_session_is_named(host: Stages):
    node = Node(host.tree)
    followed = await shown(host, node)
    followed.lose_broker()
    assert followed.look() == "stale"
    followed.find_broker()
    assert followed.look() == "stale"
    await host.receive(node.mark())
    await host.idle()
    assert followed.look() == "good"


async def test_a_newer_session_without_the_device_ends_what_the_device_said(host: Stages):
    followed = await shown(host, Node(host.tree))
    await host.receive(Node(host.tree, session="session-2").births(bd_seq=1)[0])
    await host.idle()
    assert any(isinstance(event, NodeDied) and event.reason == "superseded" for event in host.events)
    assert followed.look() == "stale"


async def test_a_rebirth_does_not_flap_and_a_device_missing_from_it_is_stale(host: Stages):
    node = Node(host.tree)
    followed = await shown(host, node)
    node_birth, device_birth = node.births()
    await host.receive(node_birth)
    await host.idle()
    assert followed.look() == "good", "its birth follows"
    await host.receive(device_birth)
    await host.idle()
    assert followed.look() == "good"
    nothing = codec.encode_data(DataBatch(bindings=[], values=[], times_ms=[]), timestamp_ms=now_ms(), seq=1)
    again, _ = node.births()
    await host.receive(again, node._message(MessageType.NDATA, None, nothing))
    await host.idle()
    assert followed.look() == "stale"


async def test_a_session_that_another_took_the_name_of_is_stale_without_an_event(host: Stages):
    followed = await shown(host, Node(host.tree))
    await host.receive(Node(host.tree, session="session-2").mark())
    assert followed.look() == "stale"


async def test_a_gateway_that_died_while_the_host_was_down_is_stale_after_the_grace(tmp_path: Path):
    async with stages(tmp_path) as first:
        await shown(first, Node(first.tree))
    async with stages(tmp_path) as second:
        await second.idle()
        followed = Followed(second)
        assert followed.look() == "good"
        assert followed.look(GRACE_NS / SECOND) == "stale"


async def test_the_values_of_a_gateway_that_lives_do_not_flap_over_a_restart_of_the_host(tmp_path: Path):
    async with stages(tmp_path) as first:
        node = Node(first.tree)
        await shown(first, node)
    async with stages(tmp_path) as second:
        await second.idle()
        followed = Followed(second)
        seen = [followed.look()]
        await second.receive(node.mark())
        await second.idle()
        seen += [followed.look(), followed.look(GRACE_NS / SECOND)]
        assert seen == ["good"] * 3


@pytest.mark.parametrize("loses", ["_fall_behind", "_load"])
async def test_the_news_that_a_session_lives_is_not_lost_with_a_joiner_that_begins_anew(host: Stages, loses: str):
    node = Node(host.tree)
    await shown(host, node)
    await host.receive(node.death())  # logged
    await host.idle()
    followed = Followed(host)
    assert followed.look() == "stale"
    followed.lose_broker()
    followed.find_broker()
    # The group with the news is not handed over, as by a joiner that falls behind now.
    host.receiver.receive([node.mark()], time.time_ns())
    done = getattr(host.joiner, loses)()
    if done is not None:
        await done
    host.joiner._wake.set()
    await eventually(lambda: not host.joiner.behind)
    assert followed.look() == "good"


@pytest.mark.integration
async def test_an_edge_node_that_died_while_the_host_was_down_is_stale_at_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def soon(*given: Any, **named: Any) -> Liveness:
        return Liveness(*given, grace_ns=2 * SECOND, **named)

    monkeypatch.setattr(process_module, "Liveness", soon)
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()
            await made.start_edge()
            made.edge.put("reactor4", [("temperature", 180.0, now_ms())])
            await made.until_drained()
            await eventually(lambda: made.listener.of("reactor4/_pv/temperature"))
            await made.crash_host()
            edge = made.tasks.pop("edge")
            edge.cancel()
            await asyncio.wait([edge])
            await made.start_host()
            await eventually(lambda: made.listener.of("reactor4/_pv/temperature")[-1]["quality"] == "stale")
    assert liveness_module.SWEEP_NS <= SECOND


async def test_nothing_is_kept_of_nodes_that_are_gone(host: Stages):
    nodes: dict[EdgeNodeDescriptor, NodeState] = {}
    liveness = Liveness(lambda: nodes, on_sweep=lambda _nodes: None)
    board = host.joiner.enricher.board
    for number in range(3):
        edge_node = EdgeNodeDescriptor("g", f"e{number}")
        nodes[edge_node] = NodeState(edge_node, 0, state=HostNodeState.ONLINE)
        liveness.due(board, number * SECOND, behind=False)
        del nodes[edge_node]
        liveness.receive(NodeForgotten(edge_node))
    liveness.due(board, 9 * SECOND, behind=False)
    assert (liveness._of_node, liveness._live) == ({}, set())
