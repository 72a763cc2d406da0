"""The smallest host that keeps the promise: it reads every DATA message, counts it, and answers marks. No log, no join.

Benchmarks and tests of the edge run beside it, so that what they show is the edge's and not the host's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.delivery.host import HostDelivery
from uns.delivery.messages import MARK_FILTER, confirm_topic, decode_mark, digest_of, parse_mark_topic
from uns.errors import RemoteProtocolError
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import (
    Connect,
    DataReceived,
    DataUnreadable,
    DeviceBorn,
    Message,
    NodeBorn,
    OtherMessage,
    Publish,
    Subscribe,
)

__all__ = ["ConfirmingHost", "Sample"]


class Sample(msgspec.Struct, frozen=True):
    """One value as it came."""

    device_id: str | None
    metric: str
    value: Any
    time_ms: int
    historical: bool
    properties: dict[str, Any]


class ConfirmingHost:
    """Runs on one connection until cancelled. ``keep`` holds every sample, for tests."""

    def __init__(self, url: str, host_id: str = "uns-host-1", *, keep: bool = False) -> None:
        self._url = url
        self._session = HostSession(
            host_id, jitter=random.Random(1).randrange, host_start_spread_ms=10, extra_filters=[(MARK_FILTER, 0)]
        )
        self._delivery = HostDelivery(host_id)
        self._keep = keep
        self.samples: list[Sample] = []
        self.births: list[NodeBorn | DeviceBorn] = []
        self.events: list[Any] = []
        self.received = self.messages = self.bytes = self.unreadable = 0
        self.answering = True
        self.online = asyncio.Event()

    async def run(self) -> None:
        session = self._session
        session.connect(time.time_ns())
        (connect,) = (action for action in session.actions() if isinstance(action, Connect))
        async with MqttConnection(BrokerAddress(url=self._url), client_id=connect.client_id, will=connect.will) as link:
            session.receive_connected(time.time_ns())
            for action in session.actions():
                assert isinstance(action, Subscribe)
                await link.subscribe(action.filters)
            session.receive_subscribed(time.time_ns())
            self._act(link)
            self.online.set()
            while True:
                batch: list[Any] = []
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.25):
                        batch = await link.next_batch()
                for message in batch:
                    self.bytes += len(message.payload)
                    session.receive_message(
                        message.topic, message.payload, retain=message.retain, now_ns=time.time_ns()
                    )
                session.receive_timer(time.time_ns())
                self._take(link)

    def _act(self, link: MqttConnection) -> None:
        link.publish_many([action.message for action in self._session.actions() if isinstance(action, Publish)])

    def _take(self, link: MqttConnection) -> None:
        for event in self._session.events():
            if isinstance(event, DataReceived):
                self._receive(event)
                self._delivery.count(event.edge_node, event.session_id, digest=digest_of(event.payload))
            elif isinstance(event, NodeBorn):
                self.births.append(event)
                self._delivery.receive_birth(event.edge_node, event.session_id)
            elif isinstance(event, DeviceBorn):
                self.births.append(event)
            elif isinstance(event, DataUnreadable):
                self.unreadable += 1
            elif isinstance(event, OtherMessage):
                self._answer(link, event)
            if self._keep:
                self.events.append(event)
        self._act(link)

    def _receive(self, event: DataReceived) -> None:
        data = event.data
        self.messages += 1
        self.received += len(data.values)
        if self._keep:
            for i, (binding, value, time_ms) in enumerate(zip(data.bindings, data.values, data.times_ms, strict=True)):
                historical = data.is_historical is not None and data.is_historical[i]
                self.samples.append(
                    Sample(event.device_id, binding.name, value, time_ms, historical, data.properties.get(i, {}))
                )

    def _answer(self, link: MqttConnection, event: OtherMessage) -> None:
        try:
            edge_node, mark = parse_mark_topic(event.topic), decode_mark(event.payload)
        except RemoteProtocolError:
            return
        held = self._session.name_session(edge_node, mark.session, time.time_ns())
        confirm = self._delivery.receive_mark(edge_node, mark, session_held=held)
        if confirm is not None and self.answering:
            link.publish_many([Message(confirm_topic(edge_node), msgspec.json.encode(confirm), qos=1)])


async def _main(url: str) -> None:
    host = ConfirmingHost(url)
    task = asyncio.create_task(host.run())
    loop = asyncio.get_running_loop()
    cancel: Callable[[], object] = task.cancel
    loop.add_signal_handler(signal.SIGTERM, cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print(msgspec.json.encode({"received": host.received, "messages": host.messages, "bytes": host.bytes}).decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True)
    asyncio.run(_main(parser.parse_args().broker))
    sys.exit(0)
