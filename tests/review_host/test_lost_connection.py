"""A connection that ends between receiving and answering leaves no birth out of the raw log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.review_host.stages import Node, now_ms, tree_in
from tests.servers import eventually
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress, IncomingMessage
from uns.errors import ConnectionLost
from uns.runtime.backoff import Backoff
from uns.runtime.host import sparkplug_link as host_module
from uns.runtime.host.options import HostOptions
from uns.runtime.host.process import Host
from uns.sparkplug.topics import EdgeNodeDescriptor


class DyingConnection:
    """Gives one batch; whatever is published after that finds it lost."""

    lost = False

    def __init__(self, batch: Sequence[IncomingMessage]) -> None:
        self.batch: Sequence[IncomingMessage] | None = batch

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def subscribe(self, _filters: object) -> None:
        return None

    def publish_many(self, _messages: object) -> None:
        if self.batch is None:
            raise ConnectionLost("gone")

    async def next_batch(self) -> Sequence[IncomingMessage]:
        assert self.batch is not None, "nothing was published after the first batch"
        batch, self.batch = self.batch, None
        return batch


async def test_births_are_logged_although_the_answer_to_their_batch_finds_no_connection(tmp_path: Path, monkeypatch):
    tree = tree_in(tmp_path)
    ours, stranger = Node(tree), Node(tree, name=EdgeNodeDescriptor("acme.dallas", "gw-9"))
    batch = [*ours.births(), stranger.data(("temperature", 1.0, now_ms()))]  # the last asks for a rebirth
    monkeypatch.setattr(random, "randrange", lambda _span: 0)

    def connect(*_: Any, **__: Any) -> DyingConnection:
        return DyingConnection(batch)

    monkeypatch.setattr(host_module, "MqttConnection", connect)
    options = HostOptions(
        tree=tmp_path / "topic_tree.yaml", broker=BrokerAddress(url="mqtt://127.0.0.1:1"), store=tmp_path / "host"
    )
    host = Host(options, tree, get_logger("host"))
    await host._open()
    writing = asyncio.create_task(host.writer.run())
    try:
        host.session.connect(0)
        with pytest.raises(ConnectionLost):
            await host.link.serve_connection(Backoff())
        await eventually(host.writer.is_idle)
        held = await host.in_raw_reads(host.raw.held)
        assert [(node.session, list(node.devices)) for node in held] == [("session-1", ["reactor4"])]
    finally:
        writing.cancel()
        await host._close()
