"""A gateway in this process beside a real broker, a real PLC server and a host that confirms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Self

from asyncua import Server, ua

from benchmarks.confirming_host import ConfirmingHost
from edge_nodes.node_file import NodeConfig
from edge_nodes.runtime import EdgeRuntime
from edge_nodes.store import EdgeStore
from uns.adapters.broker import free_port

__all__ = ["NAMESPACE", "Gateway", "Plc", "confirming_host", "gateway"]

NAMESPACE = "urn:plc4"


class Gateway:
    """A running gateway; ``stop`` drains it."""

    def __init__(self, config: NodeConfig) -> None:
        store = EdgeStore(
            config.store.path,
            identity=str(config.edge_node),
            bytes_max=config.store.bytes_max,
            when_full=config.store.when_full,
        )
        try:
            self.runtime = EdgeRuntime(config, store)
        except BaseException:
            store.close()
            raise
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.runtime.run(self._stop, stats_file=None))

    @property
    def stats(self) -> dict[str, Any]:
        return self.runtime.stats()

    def source(self, name: str = "plc") -> dict[str, Any]:
        found: dict[str, Any] = self.stats["sources"][name]
        return found

    @property
    def failed(self) -> bool:
        return self._task.done()

    async def stop(self) -> dict[str, Any]:
        self._stop.set()
        return await asyncio.wait_for(self._task, 15)


@contextlib.asynccontextmanager
async def gateway(config: NodeConfig) -> AsyncIterator[Gateway]:
    made = Gateway(config)
    try:
        yield made
    finally:
        if not made.failed:
            await made.stop()


@contextlib.asynccontextmanager
async def confirming_host(url: str) -> AsyncIterator[ConfirmingHost]:
    host = ConfirmingHost(url, keep=True)
    task = asyncio.create_task(host.run())
    try:
        await asyncio.wait_for(host.online.wait(), 10)
        yield host
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Plc:
    """An OPC UA server with the variables of a test, in this process."""

    def __init__(self, variables: dict[str, tuple[Any, ua.VariantType]], *, port: int = 0, shift: int = 0) -> None:
        self._variables = variables
        self._shift = shift
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self.server = server = Server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for i in range(self._shift):
            await server.register_namespace(f"urn:other:{i}")
        self._index = await server.register_namespace(NAMESPACE)
        folder = await server.nodes.objects.add_object(self._index, "Reactor4")
        for name, (value, variant_type) in self._variables.items():
            node_id = ua.NodeId(name, self._index)
            await folder.add_variable(node_id, ua.QualifiedName(name, self._index), value, variant_type)
        await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    async def write(self, name: str, value: Any, *, time_us: int | None = None, status: int = 0) -> None:
        _, variant_type = self._variables[name]
        await self.write_variant(name, ua.Variant(value, variant_type), time_us=time_us, status=status)

    async def write_variant(
        self, name: str, variant: ua.Variant, *, time_us: int | None = None, status: int = 0
    ) -> None:
        moment = datetime.now(UTC) if time_us is None else datetime.fromtimestamp(time_us // 1_000_000, UTC)
        if time_us is not None:
            moment = moment.replace(microsecond=time_us % 1_000_000)
        data = ua.DataValue(variant, ua.StatusCode(ua.UInt32(status)), SourceTimestamp=moment)
        await self.server.write_attribute_value(ua.NodeId(name, self._index), data)
