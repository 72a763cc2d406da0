"""One small plant of real processes: mosquitto, a counting PLC, ``uns-edge``, ``uns host``, an outsider who watches.

    counter_plc ──OPC UA──▶ uns-edge ──(fault proxy)──▶ mosquitto ──▶ uns host
                                                            └──────▶ observer

Every process may be killed, stopped and started again while the others run. :meth:`Plant.drain` stops the counting and
waits until both sides say that nothing is on the way; :meth:`Plant.account` then reads what is left to compare.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.connects import ConnectWatch
from tests.faults.counter_plc import NAMESPACE_URI, STEP, ballast_name, node_name
from tests.faults.observer import Observer
from tests.faults.oracle import Comparison, Oracle, Row, compare, read_oracle
from tests.faults.process import Child, LateError, python_module, until
from tests.proxy import FaultProxy
from tests.servers import free_port, mosquitto
from uns.runtime.accounting import EDGE_TERMS, HOST_TERMS, Equation, edge_equations, host_equations, loss_equation, lost

__all__ = ["GATEWAY", "HOST_ID", "Account", "Options", "Plant", "edge_terms", "host_terms", "plant"]

ENTERPRISE, SITE, EQUIPMENT, GATEWAY, HOST_ID = "acme", "dallas", "counters", "gw-counters", "uns-host-1"
GROUP_ID = f"{ENTERPRISE}.{SITE}"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a test may want different."""

    tags: int = 20
    scans_per_second: float = 20.0
    broker_settings: tuple[str, ...] = ()
    broker_acl: str | None = None
    through_proxy: bool = True  # between edge and broker
    host_through_proxy: bool = False
    store: str = "{path: store.db}"  # the edge's, as node.yaml has it
    edge_command: Callable[[Path, list[str]], list[str]] | None = None  # wraps the command; gets the plant's directory
    host_command: Callable[[Path, list[str]], list[str]] | None = None
    host_namespace: bool = False  # the host's store lies on a mount of its own
    host_arguments: tuple[str, ...] = ()
    ballast: int = 0  # long texts beside the tags
    beside: tuple[tuple[str, str, str], ...] = ()  # further metrics: name, datatype in the tree, node of the PLC
    level: str = "host"


class Plant:
    """Made by :func:`plant`; every process is up and counted values flow when a test gets it."""

    def __init__(self, directory: Path, options: Options) -> None:
        self.directory = directory
        self.options = options
        self.broker = mosquitto(directory, settings=options.broker_settings, acl=options.broker_acl)
        self.proxy: FaultProxy | None = None
        self.host_proxy: FaultProxy | None = None
        self.host_port = free_port() if options.host_through_proxy else self.broker.port
        self.connects = ConnectWatch()
        self.plc_port = free_port()
        self.tree = directory / "topic_tree.yaml"
        self.node_file = directory / "node.yaml"
        self.oracle_file = directory / "oracle.txt"
        self.stats_file = directory / "edge.json"
        # Unix socket paths end at 108 bytes, and pytest's directories are long.
        self._socket_directory = Path(tempfile.mkdtemp(prefix="uns-"))
        self.host_socket = self._socket_directory / "host.sock"
        self.host_store = directory / "host"
        self.observer = Observer(self.broker.port, gateway=GATEWAY, host_id=HOST_ID)
        self.plc = Child(
            "plc",
            python_module(
                "tests.faults.counter_plc",
                *("--port", str(self.plc_port), "--tags", str(options.tags)),
                *("--scans-per-second", str(options.scans_per_second), "--oracle", str(self.oracle_file)),
                *("--ballast", str(options.ballast)),
            ),
            log=directory / "plc.log",
        )
        self.edge = Child(
            "uns-edge",
            self._wrapped(
                options.edge_command,
                python_module(
                    "edge_nodes.cli", "run", "--config", str(self.node_file), "--stats-json", str(self.stats_file)
                ),
            ),
            log=directory / "edge.log",
        )
        self.host = Child(
            "uns host",
            self._wrapped(
                options.host_command,
                python_module(
                    "uns",
                    *("host", "run", "--tree", str(self.tree), "--broker", f"mqtt://127.0.0.1:{self.host_port}"),
                    *("--store", str(self.host_store), "--host-id", HOST_ID, "--api", str(self.host_socket)),
                    *options.host_arguments,
                ),
            ),
            log=directory / "host.log",
        )

    def _wrapped(self, wrap: Callable[[Path, list[str]], list[str]] | None, command: list[str]) -> list[str]:
        return command if wrap is None else wrap(self.directory, command)

    # -- files ---------------------------------------------------------------------------------------------------

    def write_files(self) -> None:
        """The tree and the node file."""
        options = self.options
        tags = [(f"tag/{tag:04d}", "UInt32", node_name(tag)) for tag in range(options.tags)]
        ballast = [(f"ballast/{number}", "String", ballast_name(number)) for number in range(options.ballast)]
        wired = [*tags, *ballast, *options.beside]
        metrics = "".join(f"      {name}: {{type: {datatype}}}\n" for name, datatype, _ in wired)
        self.tree.write_text(
            f"uns: 1\nenterprise: {ENTERPRISE}\nclasses:\n  Counters:\n    metrics:\n{metrics}"
            f"sites:\n  {SITE}:\n    time_zone: America/Chicago\n    equipment:\n"
            f"      {EQUIPMENT}: {{level: Unit, class: Counters, gateways: [{GATEWAY}]}}\n"
        )
        wiring = "".join(f'        {name}: {{node: "nsu={NAMESPACE_URI};s={node}"}}\n' for name, _, node in wired)
        broker_port = self.proxy.port if self.proxy is not None else self.broker.port
        self.node_file.write_text(
            f"uns: 1\ngateway: {GATEWAY}\ntree: {self.tree}\n"
            f"broker: {{url: mqtt://127.0.0.1:{broker_port}}}\n"
            f"store: {options.store}\n"
            f"delivery: {{level: {options.level}, confirm_host_id: {HOST_ID}}}\n"
            f"sources:\n  plc:\n    kind: opcua\n    url: opc.tcp://127.0.0.1:{self.plc_port}\n"
            "    trigger: status_value_timestamp\n    reduction: off\n"
            f"    equipment:\n      {EQUIPMENT}:\n{wiring}"
        )

    # -- what the processes say ----------------------------------------------------------------------------------

    def edge_stats(self) -> dict[str, Any]:
        """The newest counters of the edge; empty before it has written any."""
        try:
            stats: dict[str, Any] = json.loads(self.stats_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return stats

    def oracle(self) -> Oracle:
        return read_oracle(self.oracle_file)

    async def host_status(self) -> dict[str, Any]:
        """What the host says of itself; empty when it does not answer."""
        try:
            return await asyncio.to_thread(self._get, "/status")
        except (OSError, ValueError, http.client.HTTPException):
            return {}

    def _get(self, path: str) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.settimeout(3)
            unix.connect(str(self.host_socket))
            connection = http.client.HTTPConnection("localhost", timeout=3)
            connection.sock = unix
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer

    def newest_recorded_ms(self) -> int:
        """The newest source time in the record log, read beside the running host."""
        return int(self._query("SELECT coalesce(max(source_time_ns), 0) / 1000000 FROM samples")[0][0])

    def recorded(self) -> list[Row]:
        """All records of the counting tags, by the view that users read."""
        rows = self._query(
            "SELECT CAST(substr(metric, 5) AS INTEGER), value_int, source_time_ns / 1000000 FROM records"
            " WHERE metric LIKE 'tag/%' AND value_int IS NOT NULL"
        )
        return [Row(*row) for row in rows]

    def repeated_keys(self) -> list[tuple[Any, ...]]:
        """Keys that stand more than once in the record log; the promise is that there are none."""
        return self._query(
            "SELECT equipment, metric, source_time_ns, ordinal, count(*) FROM records"
            " GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 LIMIT 10"
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """A query on the record log."""
        return self._query(sql)

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        file = self.host_store / "records.db"
        if self.options.host_namespace:
            return self._query_inside(file, sql)
        if not file.exists():
            return [(0,)]
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # the host is just making it
                return [(0,)]
            raise
        finally:
            connection.close()

    def _query_inside(self, file: Path, sql: str) -> list[tuple[Any, ...]]:
        """The same where the store lies on a disk that only the host sees."""
        script = (
            "import sqlite3, json, sys; file, sql = sys.argv[1:];"
            "print(json.dumps(sqlite3.connect(f'file:{file}?mode=ro', uri=True).execute(sql).fetchall()))"
        )
        done = subprocess.run(
            [
                *("nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(self.host.pid)),
                *(sys.executable, "-c", script, str(file), sql),
            ],
            capture_output=True,
            check=False,
        )
        return [(0,)] if done.returncode else [tuple(row) for row in json.loads(done.stdout)]

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up, in an order in which nothing is missed, and wait until counted values are recorded."""
        self.plc.start()
        self.host.start()
        await until(lambda: self.oracle().tags, "the PLC serves", deadline_s=30)
        self.edge.start()
        await until(lambda: self.newest_recorded_ms() > 0, "first values are recorded", deadline_s=40)
        self.count()
        await self.until_recorded_since(time.time_ns() // 1_000_000)

    def count(self) -> None:
        """Let the PLC count."""
        self.plc.signal(signal.SIGUSR1)

    async def until_recorded_since(self, time_ms: int, *, deadline_s: float = 40.0) -> float:
        """Wait until a value that was acquired at or after ``time_ms`` is in the record log; the seconds that took."""
        return await until(
            lambda: self.newest_recorded_ms() >= time_ms, "newer values are recorded", deadline_s=deadline_s
        )

    async def drain(self, *, deadline_s: float = 60.0) -> None:
        """Stop the counting, then wait until the last values stand in the record log and nothing is on its way."""
        self.plc.signal(signal.SIGUSR2)
        await until(lambda: self.oracle().paused_at is not None, "the PLC pauses")
        last_scan = self.oracle().paused_at
        assert last_scan is not None
        await until(
            lambda: self._has_last(last_scan), f"scan {last_scan} of every tag is recorded", deadline_s=deadline_s
        )
        await until(self._drained, "edge: waiting 0, host: unjoined 0, both steady", deadline_s=deadline_s)

    def _has_last(self, scan: int) -> bool:
        found = self._query(
            f"SELECT count(DISTINCT metric) FROM records WHERE metric LIKE 'tag/%' AND value_int % {STEP} = {scan}"
        )
        return int(found[0][0]) >= self.options.tags

    async def _drained(self) -> bool:
        before = await self.terms()
        if before is None or before[0]["waiting"] or before[1]["unjoined"]:
            return False
        await asyncio.sleep(1.2)  # steady: both have had time to say otherwise
        return before == await self.terms()

    async def terms(self) -> tuple[dict[str, int], dict[str, int]] | None:
        """The terms of the edge and of the host; None while either is silent."""
        edge, host = self.edge_stats(), await self.host_status()
        return (edge_terms(edge), host_terms(host)) if edge and host else None

    # -- verdict -------------------------------------------------------------------------------------------------

    async def account(self) -> Account:
        """Read, drained, all that the promises speak of."""
        edge, host = edge_terms(self.edge_stats()), host_terms(await self.host_status())
        return Account(
            equations=[*edge_equations(GATEWAY, edge), *host_equations(host), loss_equation({GATEWAY: edge}, host)],
            stored=edge["stored"],
            recorded=host["recorded"],
            duplicates=host["duplicates_dropped"],
            dropped=edge["dropped"],
            lost=lost({GATEWAY: edge}, host),
            repeated_keys=self.repeated_keys(),
            comparison=compare(self.oracle(), self.recorded()),
            bd_seqs=list(self.connects.bd_seqs),
            unread_connects=self.proxy.connections - len(self.connects.bd_seqs) - self.connects.without_will
            if self.proxy
            else 0,
            births=[(birth.session, birth.bd_seq) for birth in self.observer.sessions()],
            refusals=int(self.edge_stats()["refusals"]),
            edge_starts=self.edge.starts,
        )

    def logs(self) -> str:
        """The ends of all logs, for the message of a failing test."""
        return "\n".join(child.tail() for child in (self.edge, self.host, self.plc))

    def kill_all(self) -> None:
        for child in (self.edge, self.host, self.plc):
            child.resume()
            child.kill()
        self.broker.kill()
        shutil.rmtree(self._socket_directory, ignore_errors=True)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a drained plant has to show."""

    equations: list[Equation]
    stored: int
    recorded: int
    duplicates: int
    dropped: int
    lost: int
    repeated_keys: list[tuple[Any, ...]]
    comparison: Comparison
    bd_seqs: list[int | None]  # of each CONNECT on the wire
    unread_connects: int  # connections that ended before their CONNECT was read, since the broker was dead
    births: list[tuple[str, int]]  # session and bdSeq that the outsider saw
    refusals: int  # marks that the host refused, so that the edge sent again
    edge_starts: int

    def faults(self, *, edge_lived: bool) -> list[str]:
        """Every promise that does not hold, in words. What a dead edge could not read is no loss of what was stored."""
        found = [str(equation) for equation in self.equations if not equation.holds]
        if self.lost:
            found.append(f"lost {self.lost}")
        if self.repeated_keys:
            found.append(f"keys twice: {self.repeated_keys}")
        if self.comparison.foreign or self.comparison.repeated or (edge_lived and self.comparison.missing):
            found.append(f"record log against oracle: {self.comparison}")
        # The number is on disk before CONNECT: one that nobody read takes a number, and so may a death in between.
        steps = [(b - a) % 256 for a, b in itertools.pairwise(n for n in self.bd_seqs if n is not None)]
        skipped = sum(step - 1 for step in steps)
        if None in self.bd_seqs or 0 in steps or skipped > self.edge_starts - 1 + self.unread_connects:
            found.append(f"bdSeq is not raised by 1 with each CONNECT: {self.bd_seqs}")
        if any(bd_seq not in self.bd_seqs for _, bd_seq in self.births if self.bd_seqs):
            found.append(f"a birth with the bdSeq of no CONNECT: {self.births} of {self.bd_seqs}")
        return found


@asynccontextmanager
async def plant(directory: Path, options: Options | None = None, *, started: bool = True) -> AsyncIterator[Plant]:
    """A plant in ``directory``; unless ``started`` is False, with values flowing. Nothing is left running."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Plant(directory, options or Options())
    try:
        async with AsyncExitStack() as stack:
            made.broker.start()
            if made.options.through_proxy:
                made.proxy = await stack.enter_async_context(
                    FaultProxy("127.0.0.1", made.broker.port, tap=made.connects)
                )
            if made.options.host_through_proxy:
                proxy = FaultProxy("127.0.0.1", made.broker.port, listen_port=made.host_port)
                made.host_proxy = await stack.enter_async_context(proxy)
            made.write_files()
            await stack.enter_async_context(made.observer)
            await until(lambda: made.observer.connected, "the observer is connected")
            if started:
                await made.start()
            yield made
    except LateError as error:
        raise LateError(f"{error}\n{made.logs()}") from None
    finally:
        made.kill_all()


def edge_terms(stats: dict[str, Any]) -> dict[str, int]:
    """The terms of the edge's equations out of what ``--stats-json`` holds."""
    return {name: int(stats[name]) for name in EDGE_TERMS}


def host_terms(status: dict[str, Any]) -> dict[str, int]:
    """The terms of the host's equations out of its status."""
    return {name: int(status["counters"][name]) for name in HOST_TERMS}
