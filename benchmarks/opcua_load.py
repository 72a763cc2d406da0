"""An OPC UA server that writes N Double tags at a rate, and a bare asyncua subscriber of them. Processes of benchmarks.

``python -m benchmarks.opcua_load serve --tags 1000 --hertz 10`` prints ``{"url":…}``; SIGUSR1 begins to write, SIGUSR2
pauses. ``python -m benchmarks.opcua_load subscribe --url …`` counts what asyncua's own handler is given; SIGTERM ends
both and prints the count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import math
import signal
from datetime import UTC, datetime
from typing import Any

from asyncua import Client, Server, ua

from uns.adapters.broker import free_port

NAMESPACE = "urn:load"
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def serve(tags: int, hertz: float) -> None:
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAMESPACE)
    folder = await server.nodes.objects.add_object(index, "Load")
    nodes = []
    for tag in range(tags):
        node_id = ua.NodeId(f"T{tag:05d}", index)
        await folder.add_variable(node_id, f"T{tag:05d}", 0.0, ua.VariantType.Double)
        nodes.append(node_id)
    writing, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, writing.set)
    loop.add_signal_handler(signal.SIGUSR2, writing.clear)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    written = late = 0
    async with server:
        say(url=url, tags=tags)
        due = loop.time()
        while not ended.is_set():
            if not writing.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await writing.wait()
                due = loop.time()
                continue
            scan = written // tags + 1
            stamp = datetime.now(UTC)
            for tag, node_id in enumerate(nodes):
                value = ua.Variant(math.sin(tag + scan / 10) * 100 + scan, ua.VariantType.Double)
                await server.write_attribute_value(node_id, ua.DataValue(value, SourceTimestamp=stamp))
            written += tags
            due += 1 / hertz
            if due < loop.time():
                late += 1
                due = loop.time()
            await asyncio.sleep(due - loop.time())
    say(written=written, late_scans=late)


class _Counter:
    def __init__(self) -> None:
        self.changes = 0

    def datachange_notification(self, _node: Any, _value: Any, _data: Any) -> None:
        self.changes += 1


async def subscribe(url: str, tags: int) -> None:
    counter = _Counter()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Client(url) as client:
        index = await client.get_namespace_index(NAMESPACE)
        subscription = await client.create_subscription(100, counter)
        nodes = [client.get_node(ua.NodeId(f"T{tag:05d}", index)) for tag in range(tags)]
        await subscription.subscribe_data_change(nodes, queuesize=100)
        say(ready=True)
        await ended.wait()
    say(changes=counter.changes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["serve", "subscribe"])
    parser.add_argument("--tags", type=int, default=1000)
    parser.add_argument("--hertz", type=float, default=10.0)
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    if options.what == "serve":
        asyncio.run(serve(options.tags, options.hertz))
    else:
        asyncio.run(subscribe(options.url, options.tags))
