"""A whole plant as child processes: broker, simulated PLCs, gateways, host, bridge. The demo and the examples drive it.

The gateways and simulators are started by name (``python -m edge_nodes…``), because nothing here may import them.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from uns.adapters.http import get_json
from uns.adapters.mqtt import parse_broker_url
from uns.errors import UnsError
from uns.runtime.children import Child, ChildFailedError, Children

__all__ = ["PlantRun", "render_node_file", "terms_of"]

BROKER_KINDS = ("embedded", "mosquitto")
UP_TIMEOUT_S = 40.0
DRAIN_TIMEOUT_S = 60.0
_POLL_S = 0.1


class PlantRun:
    """All processes of one plant; an async context manager that leaves none behind.

    ``directory`` holds stores and logs. The host's API listens on a socket in a directory of its own, since socket
    paths may have 107 characters only.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broker_url = ""
        self.store = directory / "host"
        self._children = Children(directory / "logs")
        self._edges: dict[str, Child] = {}
        self._simulators: list[Child] = []
        self._host: Child | None = None
        self._bridge: Child | None = None
        self._socket_directory = Path(tempfile.mkdtemp(prefix="uns-"))
        self.host_api = str(self._socket_directory / "host.sock")

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        await self._children.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._children.__aexit__(kind, error, traceback)
        finally:
            shutil.rmtree(self._socket_directory, ignore_errors=True)

    # --- starting ------------------------------------------------------------------------------------------------

    async def start_broker(self, broker: str) -> str:
        """``embedded``, ``mosquitto``, or the URL of one that runs already; the URL."""
        if broker not in BROKER_KINDS:
            parse_broker_url(broker)
            self.broker_url = broker
            return broker
        directory = self.directory / "broker"
        command = [sys.executable, "-m", "uns.runtime.broker", broker, "--directory", str(directory)]
        child = await self._children.start("broker", command, messages=True)
        self.broker_url = str((await child.read_message())["url"])
        return self.broker_url

    async def start_simulator(self, name: str, module: str, *arguments: str) -> tuple[Child, dict[str, Any]]:
        """Start ``python -m edge_nodes.simulators.{module}``; the child and what it said when it was ready."""
        command = [sys.executable, "-m", f"edge_nodes.simulators.{module}", *arguments]
        child = await self._children.start(name, command, messages=True)
        self._simulators.append(child)
        return child, await child.read_message()

    async def start_host(self, tree: Path, *arguments: str, host_id: str = "uns-host-1") -> None:
        """Start ``uns host run`` and wait until it is connected."""
        options = ["--tree", str(tree), "--broker", self.broker_url, "--store", str(self.store)]
        options += ["--host-id", host_id, "--api", self.host_api, *arguments]
        self._host = await self._children.start("host", [sys.executable, "-m", "uns", "host", "run", *options])
        await self.until(lambda status: bool(status.get("connected")), "the host connects", timeout_s=UP_TIMEOUT_S)

    async def start_edge(self, gateway: str, node_file: Path) -> None:
        """Start ``uns-edge run`` for a gateway."""
        command = [sys.executable, "-m", "edge_nodes.cli", "run", "--config", str(node_file)]
        command += ["--stats-json", str(self._stats_file(gateway))]
        self._stats_file(gateway).unlink(missing_ok=True)
        self._edges[gateway] = await self._children.start(gateway, command)

    async def start_bridge(self, config: Path) -> None:
        """Start ``uns bridge run``; :meth:`until_bridge` waits for it."""
        self._bridge_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "uns", "bridge", "run", "--config", str(config)]
        self._bridge = await self._children.start("bridge", [*command, "--stats-json", str(self._bridge_file)])

    # --- watching ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise :class:`ChildFailedError` if a process has ended by itself."""
        self._children.check()

    def edge_stats(self) -> dict[str, dict[str, Any]]:
        """The newest counters of each gateway, by name; empty for one that has not written any."""
        stats: dict[str, dict[str, Any]] = {}
        for gateway in self._edges:
            with suppress(OSError, msgspec.DecodeError):
                stats[gateway] = msgspec.json.decode(self._stats_file(gateway).read_bytes())
        return {gateway: stats.get(gateway, {}) for gateway in self._edges}

    async def host_status(self) -> dict[str, Any]:
        """What the host says of itself; empty while it does not answer."""
        try:
            status: dict[str, Any] = await get_json(self.host_api, "/status", timeout_s=5.0)
        except (UnsError, OSError):
            return {}
        return status

    async def until(
        self, condition: Callable[[Mapping[str, Any]], bool], what: str, *, timeout_s: float = DRAIN_TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait until the host's status meets ``condition``; the status. A late host is an error with its log."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            self.check()
            status = await self.host_status()
            if condition(status):
                return status
            if asyncio.get_running_loop().time() > deadline:
                late = f"not within {timeout_s:g} s: {what}"
                raise ChildFailedError(late) if self._host is None else self._host.failure(f"is late, {late}")
            await asyncio.sleep(_POLL_S)

    def bridge_stats(self) -> dict[str, Any]:
        """The newest figures of the bridge; empty while there are none."""
        stats: dict[str, Any] = {}
        with suppress(OSError, msgspec.DecodeError):
            stats = msgspec.json.decode(self._bridge_file.read_bytes())
        return stats

    async def until_bridge(
        self, condition: Callable[[Mapping[str, Any]], bool], what: str, *, timeout_s: float = UP_TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait until the bridge's figures meet ``condition``; the figures. A late bridge is an error with its log."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            self.check()
            stats = self.bridge_stats()
            if stats and condition(stats):
                return stats
            if asyncio.get_running_loop().time() > deadline:
                raise self.bridge_failure(f"is late, not within {timeout_s:g} s: {what}")
            await asyncio.sleep(_POLL_S)

    def bridge_failure(self, what: str) -> ChildFailedError:
        """An error that names the bridge and shows the end of its log."""
        return ChildFailedError(f"bridge {what}") if self._bridge is None else self._bridge.failure(what)

    # --- stopping ------------------------------------------------------------------------------------------------

    async def stop_simulators(self) -> None:
        """SIGTERM to every PLC."""
        await asyncio.gather(*(child.stop() for child in self._simulators))

    async def stop_edges(self) -> dict[str, dict[str, Any]]:
        """SIGTERM to every gateway; they drain. Their last counters."""
        codes = await asyncio.gather(*(child.stop() for child in self._edges.values()))
        for child, code in zip(self._edges.values(), codes, strict=True):
            if code != 0:
                raise child.failure(f"did not drain: exit code {code}")
        return self.edge_stats()

    async def joined(self) -> dict[str, Any]:
        """Wait until the host has joined all that it has confirmed; its status then.

        With the gateways drained (nothing waits there) this is everything. What still waits at a gateway is not waited
        for: the equations tell of it.
        """
        return await self.until(
            lambda status: bool(status) and status["counters"]["unjoined"] == 0, "everything received is recorded"
        )

    async def stop_bridge(self) -> dict[str, Any]:
        """SIGTERM to the bridge; what is in the air gets its answer. Its last figures."""
        if self._bridge is not None and await self._bridge.stop() != 0:
            raise self._bridge.failure(f"did not stop cleanly: exit code {self._bridge.return_code}")
        return self.bridge_stats()

    async def stop_host(self) -> None:
        """SIGTERM to the host."""
        if self._host is not None and await self._host.stop() != 0:
            raise self._host.failure(f"did not stop cleanly: exit code {self._host.return_code}")

    def _stats_file(self, gateway: str) -> Path:
        return self.directory / f"{gateway}.stats.json"

    @property
    def _bridge_file(self) -> Path:
        return self.directory / "bridge.stats.json"


def render_node_file(source: Path, target: Path, replacements: Mapping[str, str]) -> None:
    """Write a file with other addresses; every text to replace must be there."""
    text = source.read_text(encoding="utf-8")
    for old, new in replacements.items():
        if old not in text:
            raise ChildFailedError(f"{source} does not hold {old!r}, which would be replaced by {new!r}")
        text = text.replace(old, new)
    target.write_text(text, encoding="utf-8")


def terms_of(counters: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """The named counters that are there."""
    return {name: int(counters[name]) for name in names if name in counters}
