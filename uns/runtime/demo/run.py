"""The demo: a plant on this machine for a while, its story told, its books balanced at the end.

:class:`Demo` runs it and reports through callbacks; how that looks is the command's business.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.sqlite.record_rows import open_rows
from uns.context.times import ns_of
from uns.errors import ConnectionLost
from uns.namespace.loader import load_tree
from uns.namespace.model import TopicTree
from uns.namespace.topics import ALL_FILTER
from uns.runtime.accounting import (
    EDGE_TERMS,
    HOST_TERMS,
    Equation,
    bridge_terms,
    edge_equations,
    host_equations,
    loss_equation,
    lost,
    record_log_equations,
)
from uns.runtime.demo.mes import (
    ANSWER_TIMEOUT_S,
    ORDER_FILE,
    ORDERS,
    PERFORMANCE_TIMEOUT_S,
    MesPart,
    MesReport,
    said_of,
)
from uns.runtime.demo.story import FIRST_ORDER, IDLE_AT, Told, first_start, opening, story
from uns.runtime.demo.view import NamespaceView, example_sample
from uns.runtime.fact_sender import FactSender
from uns.runtime.performances import missing_library
from uns.runtime.plant_run import PlantRun, render_node_file, terms_of
from uns.runtime.sentence import sentence

__all__ = ["Demo", "DemoReport", "DemoState"]

PLANT_FILES = Path(__file__).parent / "plant"
GATEWAYS = ("gw-reaction-1", "gw-energy")
SENTENCE_METRIC, SENTENCE_VALUE = "temperature", 182.0
REPORT_EVERY_S = 0.5
CYCLE_S_MAX, BATCHES_OF_FIRST_ORDER = 20.0, 3
_POLL_S = 0.05
NOTICE_S = 0.2  # an ended process is noticed later than the connection that it served


class DemoState(msgspec.Struct, kw_only=True):
    """What a screen may show at any moment."""

    phase: str
    elapsed_s: float = 0.0
    seconds: float
    edges: dict[str, dict[str, int]] = {}
    host: dict[str, int] = {}
    restated_intervals: int = 0
    view: NamespaceView
    told: list[tuple[float, str]] = []  # when, what


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: every term, every equation, one real record."""

    seconds: float
    broker: str
    edges: dict[str, dict[str, int]]
    host: dict[str, int]
    lost: int
    duplicates: int
    restated_intervals: int
    facts_refused: int
    equations: list[Equation]
    example: dict[str, Any] | None
    sentence: str | None
    directory: str | None
    mes: MesReport | None  # None where the MES part is left out
    mes_left_out: str  # why
    ok: bool


class Demo:
    """One run. ``directory`` takes stores and logs; ``broker`` is ``embedded``, ``mosquitto`` or a URL."""

    def __init__(self, directory: Path, *, seconds: float, broker: str, seed: int = 1, kept: bool = False) -> None:
        self._directory = directory
        self._tree_file = directory / "topic_tree.yaml"
        self._seconds = seconds
        self._broker = broker
        self._seed = seed
        self._kept = kept
        self._facts_refused = 0
        self._run_id = f"{time.time_ns() // 10**6:x}"  # facts of another run into the same store are others
        view = NamespaceView(wanted_metric=SENTENCE_METRIC, wanted_value=SENTENCE_VALUE, wanted_work_order=FIRST_ORDER)
        self.state = DemoState(phase="starting", seconds=seconds, view=view)
        self._mes_left_out = missing_library()
        self._mes = (
            None
            if self._mes_left_out
            else MesPart(PLANT_FILES, directory, seconds=seconds, run=self._run_id, answers=view.answers)
        )
        self._bridge: dict[str, int] = {}

    async def run(self, show: Callable[[DemoState], None]) -> DemoReport:
        """Run it; ``show`` is called about twice a second. Raises what a child that fails raises."""
        async with PlantRun(self._directory) as plant:
            # A copy, so that a kept directory holds what its stores are read with.
            self._tree_file.write_bytes((PLANT_FILES / "topic_tree.yaml").read_bytes())
            tree = load_tree(self._tree_file)
            try:
                async with asyncio.TaskGroup() as tasks:
                    showing = tasks.create_task(self._show(show, plant), name="screen")
                    status = await self._play(plant, tree, tasks)
                    showing.cancel()
            except BaseExceptionGroup:
                await asyncio.sleep(NOTICE_S)
                plant.check()  # a child that ended explains the rest
                raise
            await self._refresh(plant, status)
            show(self.state)
            await plant.stop_host()
            return await asyncio.to_thread(self._report, tree, plant.store)

    async def _play(self, plant: PlantRun, tree: TopicTree, tasks: asyncio.TaskGroup) -> Mapping[str, Any]:
        """Start everything in order, tell the story, stop and settle; the host's last status."""
        state = self.state
        state.phase = "starting the broker"
        address = BrokerAddress(url=await plant.start_broker(self._broker))
        async with MqttConnection(address, client_id=_client_id("watch")) as watching:
            watcher = tasks.create_task(self._watch(watching), name="namespace")
            state.phase = "starting the host"
            await plant.start_host(self._tree_file)
            if self._mes is not None:
                await self._mes.start(plant, self._tree_file)  # it gets ready while the gateways do
            async with FactSender(address, tree, client_id=_client_id("facts"), keep_session=False) as sender:
                await self._tell_all(sender, opening(time.time_ns(), run=self._run_id))
                state.phase = "starting PLCs and gateways"
                await self._start_edges(plant)
                await plant.until(_all_online, "both gateways are online")
                await self._order(plant, sender)
                state.phase = "running"
                await self._run_story(sender)
            status = await self._settle(plant)
            watcher.cancel()
        return status

    async def _start_edges(self, plant: PlantRun) -> None:
        cycle_s = min(CYCLE_S_MAX, self._seconds * IDLE_AT / BATCHES_OF_FIRST_ORDER)
        seed = ("--seed", str(self._seed))
        _, opcua = await plant.start_simulator("plc4", "opcua_plant", *seed, "--cycle-seconds", str(cycle_s))
        _, modbus = await plant.start_simulator("meters", "modbus_plant", *seed)
        addresses = {
            "gw-reaction-1": {"opc.tcp://127.0.0.1:4840": opcua["url"]},
            "gw-energy": {"modbus+tcp://127.0.0.1:5020": modbus["url"]},
        }
        for gateway in GATEWAYS:
            node_file = plant.directory / f"{gateway}.node.yaml"
            replacements = {
                "../../topic_tree.yaml": str(self._tree_file),
                "mqtt://127.0.0.1:1883": plant.broker_url,
                **addresses[gateway],
            }
            render_node_file(PLANT_FILES / node_file.name, node_file, replacements)
            await plant.start_edge(gateway, node_file)

    async def _order(self, plant: PlantRun, sender: FactSender) -> None:
        """The order file, and the start of its first order: no order, no run. Without a bridge it starts at once."""
        if self._mes is None:
            self._say(f"the MES part is left out, {self._mes_left_out}")
        else:
            self.state.phase = "starting the bridge to the MES"
            await plant.until_bridge(lambda stats: stats["state"] == "running", "it is ready")
            self.state.phase = "waiting for the order"
            self._mes.drop(time.time_ns())
            self._say(f"order file {ORDER_FILE} dropped into the inbox: {', '.join(ORDERS)}")
            if not await self._answered(plant, self._mes):
                return
        await self._tell_all(sender, first_start(time.time_ns(), run=self._run_id))

    async def _answered(self, plant: PlantRun, mes: MesPart) -> bool:
        """Wait until the host has answered every order of the file; whether the first one may run."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        for order in ORDERS:
            while (answer := mes.answer_to(order)) is None:
                plant.check()
                if time.monotonic() > deadline:
                    raise plant.bridge_failure(f"is late: {order} is not answered after {ANSWER_TIMEOUT_S:g} s")
                await asyncio.sleep(_POLL_S)
            if not answer.accepted:
                self._facts_refused += 1
            self._say(f"order {order} accepted" if answer.accepted else f"order {order} refused, {answer.reason}")
        return FIRST_ORDER in mes.accepted()

    async def _run_story(self, sender: FactSender) -> None:
        began = time.monotonic()
        self.state.elapsed_s = 0.0
        events = story(time.time_ns(), self._seconds, run=self._run_id)
        while True:
            elapsed_s = time.monotonic() - began
            self.state.elapsed_s = min(elapsed_s, self._seconds)
            while events and events[0].at_s <= elapsed_s:
                await self._tell_all(sender, [events.pop(0)])
            if elapsed_s >= self._seconds:
                return
            await asyncio.sleep(min(0.1, self._seconds - elapsed_s))

    async def _tell_all(self, sender: FactSender, events: list[Told]) -> None:
        for event in events:
            answer = await sender.tell(event.fact)
            self._facts_refused += not answer.accepted
            self._say(event.says if answer.accepted else f"{event.says}: refused, {answer.reason}")

    def _say(self, what: str) -> None:
        self.state.told.append((self.state.elapsed_s, what))

    async def _settle(self, plant: PlantRun) -> Mapping[str, Any]:
        """Stop the PLCs, let the gateways drain, wait until the host has joined all; the host's last status."""
        self.state.phase = "draining"
        await plant.stop_edges()
        await plant.stop_simulators()
        status = await plant.joined()
        if self._mes is not None:
            self.state.phase = "waiting for the performance"
            await self._until_told(plant, self._mes)
            self._bridge = bridge_terms(await plant.stop_bridge())
        return status

    async def _until_told(self, plant: PlantRun, mes: MesPart) -> None:
        """Wait until the performance of the first order says what was recorded; the equations tell if it never does."""
        deadline = time.monotonic() + mes.grace_s + PERFORMANCE_TIMEOUT_S
        while FIRST_ORDER in mes.accepted() and not await asyncio.to_thread(mes.is_told, plant.store):
            plant.check()
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(2 * _POLL_S)

    async def _watch(self, connection: MqttConnection) -> None:
        await connection.subscribe([(ALL_FILTER, 0)])
        with suppress(ConnectionLost):
            while True:
                for message in await connection.next_batch():
                    self.state.view.receive(message.topic, message.payload)

    async def _show(self, show: Callable[[DemoState], None], plant: PlantRun) -> None:
        while True:
            plant.check()
            await self._refresh(plant, await plant.host_status())
            if self._mes is not None:
                for written in await asyncio.to_thread(self._mes.performances.look):
                    self._say(said_of(written))
            show(self.state)
            await asyncio.sleep(REPORT_EVERY_S)

    async def _refresh(self, plant: PlantRun, status: Mapping[str, Any]) -> None:
        self.state.edges = {name: terms_of(stats, EDGE_TERMS) for name, stats in plant.edge_stats().items()}
        counters = status.get("counters", {})
        self.state.host = terms_of(counters, HOST_TERMS)
        self.state.restated_intervals = int(counters.get("restated_intervals", 0))

    def _report(self, tree: TopicTree, store: Path) -> DemoReport:
        state = self.state
        equations = [each for gateway, terms in state.edges.items() for each in edge_equations(gateway, terms)]
        equations += [*host_equations(state.host), loss_equation(state.edges, state.host)]
        with open_rows(store / "records.db") as rows:
            duplicates = rows.duplicates()
            equations += record_log_equations(
                state.host, recorded=rows.recorded(), duplicates=duplicates, statuses=rows.statuses()
            )
        example = state.view.example
        mes: MesReport | None = None
        if self._mes is not None:
            mes, of_mes = self._mes.report(store, tree, self._tree_file, self._bridge)
            equations += of_mes
        return DemoReport(
            seconds=self._seconds,
            broker=self._broker,
            edges=state.edges,
            host=state.host,
            lost=lost(state.edges, state.host),
            duplicates=duplicates,
            restated_intervals=state.restated_intervals,
            facts_refused=self._facts_refused,
            equations=equations,
            example=example,
            sentence=None if example is None else _sentence(tree, example),
            directory=str(self._directory) if self._kept else None,
            mes=mes,
            mes_left_out=self._mes_left_out,
            ok=all(equation.holds for equation in equations) and example is not None and self._facts_refused == 0,
        )


def _sentence(tree: TopicTree, example: Mapping[str, Any]) -> str:
    sample = example_sample(example, SENTENCE_METRIC, SENTENCE_VALUE)
    context = example["context"]
    return sentence(
        value=sample["value"],
        unit=sample.get("unit"),
        equipment=example["equipment"],
        work_order=context["work_order"],
        lots=context.get("lots", []),
        time_ns=ns_of(datetime.fromisoformat(sample["time"])) or 0,
        time_zone=tree.sites[tree.equipment[example["equipment"]].site].time_zone,
    )


def _all_online(status: Mapping[str, Any]) -> bool:
    nodes = {node["edge_node_id"]: node for node in status.get("edge_nodes", [])}
    return all(nodes.get(gateway, {}).get("online") for gateway in GATEWAYS)


def _client_id(role: str) -> str:
    return f"uns-demo-{role}-{os.getpid()}"
