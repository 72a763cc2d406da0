"""The example plant behind a broker with TLS, client certificates and the access list of its tree."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.secure_plant.make_certificates import make_certificates
from uns.adapters.broker import find_mosquitto, free_port
from uns.adapters.mqtt import BrokerAddress
from uns.context.facts import Fact, FactAnswer
from uns.errors import UnreachableError
from uns.namespace.acl import Bridge, access_grants, fact_credential, render_mosquitto_acl, render_mosquitto_config
from uns.namespace.loader import load_tree
from uns.runtime.children import Child, Children
from uns.runtime.fact_sender import FactSender
from uns.runtime.plant_run import PlantRun, render_node_file

__all__ = ["GATEWAYS", "HOST_ID", "TREE_FILE", "SecurePlant"]

HERE = Path(__file__).parent
TREE_FILE = HERE.parents[1] / "topic_tree.yaml"
HOST_ID = "uns-host-1"
GATEWAYS = {  # gateway: its simulated PLCs, and the address that its node file gives them
    "gw-reaction-1": ("opcua_plant", "opc.tcp://127.0.0.1:4840"),
    "gw-energy": ("modbus_plant", "modbus+tcp://127.0.0.1:5020"),
}
BRIDGE_FILE = "mes.bridge.yaml"
BROKER_UP_S = 10.0


class SecurePlant:
    """All processes of the plant; an async context manager that leaves none behind.

    ``host_ids`` are all hosts that may come; the first one runs. ``bridges`` are those that may come.
    ``further_credentials`` get certificates too; ``change_acl`` and ``change_config`` may change the rendered files (a
    test looks at an open broker with them).
    """

    def __init__(
        self,
        directory: Path,
        *,
        tree_file: Path = TREE_FILE,
        host_ids: Sequence[str] = (HOST_ID,),
        bridges: Sequence[Bridge] = (),
        further_credentials: Sequence[str] = (),
        change_acl: Callable[[str], str] = str,
        change_config: Callable[[str], str] = str,
    ) -> None:
        self.directory = directory
        self.certificates = directory / "certificates"
        self.port = free_port()
        self.url = f"mqtts://localhost:{self.port}"
        self.tree_file = tree_file
        self.tree = load_tree(tree_file)
        self.grants = access_grants(self.tree, host_ids=host_ids, bridges=bridges)
        self.run = PlantRun(directory)
        self._host_id = host_ids[0]
        self._further_credentials = tuple(further_credentials)
        self._change_acl = change_acl
        self._change_config = change_config
        self._stack = AsyncExitStack()
        self._broker: Child

    async def __aenter__(self) -> Self:
        """Make the certificates, render the broker's files, start the broker; nothing else runs yet."""
        self.directory.mkdir(parents=True, exist_ok=True)
        names = [grant.credential for grant in self.grants]
        make_certificates(self.certificates, [*names, *self._further_credentials])
        acl = self.certificates / "acl"
        acl.write_text(self._change_acl(render_mosquitto_acl(self.grants, self.tree)), encoding="utf-8")
        acl.chmod(0o600)
        config = render_mosquitto_config(port=self.port, address="localhost", directory=str(self.certificates))
        if os.geteuid() == 0:
            config += "user root\n"  # mosquitto would become its own user, who may not read this directory
        config += f"persistence true\npersistence_location {self.directory.resolve()}/\n"  # as on Debian: anchors stay
        config += "log_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\n"
        self.config_file = self.directory / "mosquitto.conf"
        self.config_file.write_text(self._change_config(config), encoding="utf-8")
        await self._stack.__aenter__()
        try:
            children = await self._stack.enter_async_context(Children(self.directory / "logs"))
            await self._start_broker(children)
            await self._stack.enter_async_context(self.run)
            await self.run.start_broker(self.url)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def address(self, credential: str, *, directory: Path | None = None) -> BrokerAddress:
        """How somebody with this credential connects; ``directory`` holds the certificates, ours by default."""
        place = self.certificates if directory is None else directory
        return BrokerAddress(
            url=self.url,
            ca_file=str(self.certificates / "ca.pem"),
            cert_file=str(place / f"{credential}.pem"),
            key_file=str(place / f"{credential}.key"),
        )

    async def start_host(self) -> None:
        """``uns host run``: three connections, a certificate each."""
        files = str(self.certificates / "{connection}")
        await self.run.start_host(
            self.tree_file,
            *("--ca-file", str(self.certificates / "ca.pem")),
            *("--cert-file", f"{files}.pem", "--key-file", f"{files}.key"),
            host_id=self._host_id,
        )

    async def start_gateway(self, gateway: str, *simulator_options: str) -> None:
        """Its simulated PLCs and ``uns-edge run``; waits until the host sees it online."""
        simulator, address = GATEWAYS[gateway]
        _, ready = await self.run.start_simulator(f"plc-{gateway}", simulator, *simulator_options)
        node_file = self.directory / f"{gateway}.node.yaml"
        replacements = {
            "../../topic_tree.yaml": str(self.tree_file),
            "mqtts://localhost:8883": self.url,
            address: ready["url"],
        }
        render_node_file(HERE / node_file.name, node_file, replacements)
        await self.run.start_edge(gateway, node_file)

        def is_online(status: Any) -> bool:
            return any(node["edge_node_id"] == gateway and node["online"] for node in status.get("edge_nodes", ()))

        await self.run.until(is_online, f"{gateway} is online")

    async def start_bridge(self, *, grace_s: float) -> None:
        """``uns bridge run`` with the certificate of its source, as ``mes.bridge.yaml`` names it; until it is ready."""
        config = self.directory / BRIDGE_FILE
        replacements = {
            "../../topic_tree.yaml": str(self.tree_file),
            "mqtts://localhost:8883": self.url,
            "grace: 10s": f"grace: {grace_s * 1000:.0f}ms",
            "poll: 1s": "poll: 100ms",
            "settle: 2s": "settle: 0s",  # files are renamed into place, as a whole
        }
        render_node_file(HERE / BRIDGE_FILE, config, replacements)
        await self.run.start_bridge(config)
        await self.run.until_bridge(lambda stats: stats["state"] == "running", "it is ready")

    def audit_command(self, component: str, store: Path) -> list[str]:
        """``uns audit verify`` against the anchor that the broker retains, with the certificate of a reader."""
        address = self.address(next(grant.credential for grant in self.grants if grant.role == "reader"))
        files = ("--ca-file", str(address.ca_file), "--cert-file", str(address.cert_file))
        return [
            *("uns", "audit", "verify", "--store", str(store), "--component", component),
            *("--broker", self.url, *files, "--key-file", str(address.key_file)),
        ]

    async def tell(self, fact: Fact) -> FactAnswer:
        """State a fact with its source's credential."""
        address = self.address(fact_credential(fact.source))
        async with FactSender(
            address, self.tree, client_id=f"secure-plant-{fact.source}", keep_session=False
        ) as sender:
            return await sender.tell(fact)

    def reload_broker(self) -> None:
        """Let it read access list and certificates again."""
        os.kill(self._broker.pid, signal.SIGHUP)

    def broker_log(self) -> str:
        """What the broker says."""
        return self._broker.log.read_text(encoding="utf-8", errors="replace")

    async def _start_broker(self, children: Children) -> None:
        program = find_mosquitto()
        if program is None:
            raise UnreachableError(
                "mosquitto is not installed", next_step="install it (Debian: apt-get install mosquitto)"
            )
        self._broker = await children.start("broker", [program, "-c", str(self.config_file)])
        deadline = time.monotonic() + BROKER_UP_S
        while not await asyncio.to_thread(_accepts, self.port):
            if self._broker.return_code is not None or time.monotonic() > deadline:
                raise self._broker.failure("does not start")
            await asyncio.sleep(0.02)


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("localhost", port), timeout=0.2):
            return True
    except OSError:
        return False
