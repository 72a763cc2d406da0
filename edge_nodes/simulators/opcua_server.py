"""A small OPC UA server around asyncua: declare variables, write values with the time at which they were acquired."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from asyncua import Server, ua

from edge_nodes.simulators.process import LOOPBACK, free_port

__all__ = ["OpcUaServer", "ServerVariable"]

VariantName = Literal["Float", "Double", "UInt32", "Int32", "UInt16", "Boolean", "String"]
Value = bool | int | float | str

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUEUE_PER_ITEM_MAX = 1_000_000  # the server's own limit; what a subscription asks for counts below it


class ServerVariable(msgspec.Struct, frozen=True):
    """A variable: ``s=node_id`` in the namespace, found as well under ``Objects/folder/browse_name``."""

    node_id: str
    folder: str
    browse_name: str
    variant: VariantName


class OpcUaServer:
    """An OPC UA server on loopback with one namespace of its own. Use as an async context manager."""

    def __init__(self, *, namespace_uri: str, variables: Sequence[ServerVariable], port: int = 0) -> None:
        self._namespace_uri = namespace_uri
        self._variables = {variable.node_id: variable for variable in variables}
        self._nodes: dict[str, Any] = {}
        self._types: dict[str, Any] = {}
        self.port = port or free_port()
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        self._server = Server()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"opc.tcp://{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> Self:
        server = self._server
        await server.init()
        server.iserver.max_monitored_item_queue_size = QUEUE_PER_ITEM_MAX
        server.set_endpoint(self.url)
        server.set_server_name("Simulated PLC")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(self._namespace_uri)
        folders: dict[str, Any] = {}
        for variable in self._variables.values():
            if variable.folder not in folders:
                node_id = ua.NodeId(variable.folder, index)
                folders[variable.folder] = await server.nodes.objects.add_object(node_id, f"{index}:{variable.folder}")
            variant_type = getattr(ua.VariantType, variable.variant)
            node_id = ua.NodeId(variable.node_id, index)
            await folders[variable.folder].add_variable(
                node_id, f"{index}:{variable.browse_name}", _zero(variable.variant), variant_type
            )
            # Until the PLC has a value there is none: OPC UA has a status for that.
            nothing_yet = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData))
            await server.write_attribute_value(node_id, nothing_yet)
            self._nodes[variable.node_id] = node_id
            self._types[variable.node_id] = variant_type
        await server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.stop()

    async def write(self, node_id: str, value: Value, time_us: int) -> None:
        """Set a variable to ``value``, acquired at ``time_us`` (µs since 1970): the source timestamp."""
        moment = _EPOCH + timedelta(microseconds=time_us)
        data_value = ua.DataValue(
            ua.Variant(value, self._types[node_id]),
            StatusCode=ua.StatusCode(ua.StatusCodes.Good),
            SourceTimestamp=moment,
            ServerTimestamp=datetime.now(UTC),
        )
        status = await self._server.write_attribute_value(self._nodes[node_id], data_value)
        if status is not None:
            status.check()

    def subscribed(self) -> bool:
        """Whether every variable is watched by somebody."""
        watched = {
            item.read_value_id.NodeId
            for subscription in self._subscriptions()
            for item in subscription.monitored_item_srv._monitored_items.values()  # noqa: SLF001  no public way
        }
        return watched.issuperset(self._nodes.values())

    def unpublished(self) -> int:
        """How many changes wait in the server for their subscriber's next publish request."""
        return sum(
            len(queue)
            for subscription in self._subscriptions()
            for queue in subscription._triggered_datachanges.values()  # noqa: SLF001  no public way
        )

    def _subscriptions(self) -> list[Any]:
        return list(self._server.iserver.subscription_service.subscriptions.values())


def _zero(variant: VariantName) -> Value:
    match variant:
        case "Float" | "Double":
            return 0.0
        case "Boolean":
            return False
        case "String":
            return ""
        case _:
            return 0
