"""``uns-edge check``: everything that can be known before running, PLCs and broker included."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import msgspec

from edge_nodes.definition import Definition, metric_names
from edge_nodes.node_file import NodeConfig
from edge_nodes.retired import retired_metrics
from edge_nodes.runtime import make_source, refuse_births_that_do_not_fit
from edge_nodes.store import registered_metrics, registered_units, waiting_orphans
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.errors import ConnectionLost, UnreachableError
from uns.namespace.findings import Finding

__all__ = ["CheckReport", "check_node"]


class CheckReport(msgspec.Struct):
    """What was looked at, what is wrong, and who did not answer."""

    gateway: str
    edge_node: str
    metrics: int
    lines: list[str] = []
    findings: list[str] = []
    unreachable: list[str] = []


async def check_node(config: NodeConfig, findings: Sequence[Finding], *, offline: bool) -> CheckReport:
    """Look at store, PLCs and broker; raises :class:`ConfigurationError` where the births do not fit into payloads."""
    report = CheckReport(config.gateway, str(config.edge_node), len(config.metrics))
    report.findings += [str(finding) for finding in findings]
    names = metric_names(config)
    identity, path = str(config.edge_node), config.store.path
    waiting = waiting_orphans(path, identity=identity, names=names)
    registered = {} if not waiting else registered_metrics(path, identity=identity)
    units = {} if not waiting else registered_units(path, identity=identity)
    retired = retired_metrics(waiting, registered, names, units=units)
    report.lines.append(f"store {path}: {_told(len(retired))}")
    for metric in retired:
        report.lines.append(f"  {metric.was.device_id}/{metric.name}: {waiting[metric.was]} values wait")
    first_free = max(registered, default=0) + 1
    definition = Definition(config, range(first_free, first_free + len(names)), retired)
    refuse_births_that_do_not_fit(config, definition)
    if offline:
        return report
    numbers = definition.numbers
    sources = [make_source(source, numbers) for source in config.sources]
    answers = await asyncio.gather(*(source.check() for source in sources), return_exceptions=True)
    for source, answer in zip(config.sources, answers, strict=True):
        name = f"source {source.options.name} ({source.url})"
        if isinstance(answer, UnreachableError):
            report.unreachable.append(name)
            report.lines.append(f"{name}: does not answer: {answer.what}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            report.lines.append(
                f"{name}: answers, {len(source.points) - len(answer)} of {len(source.points)} metrics found"
            )
            report.findings += [f"{name}: {line}" for line in answer]
    for address in config.brokers:
        await _check_broker(address, report)
    return report


def _told(retired: int) -> str:
    if not retired:
        return "the definition fits what waits"
    return f"{retired} retired metrics stay in the births until their values are confirmed"


async def _check_broker(address: BrokerAddress, report: CheckReport) -> None:
    name = f"broker {address.url}"
    try:
        # Under an id of its own: the gateway itself may be running.
        async with MqttConnection(address, client_id=f"check:{uuid4().hex[:12]}") as connection:
            await connection.drain()
    except (UnreachableError, ConnectionLost) as error:
        report.unreachable.append(name)
        report.lines.append(f"{name}: does not answer: {error.what}")
    else:
        report.lines.append(f"{name}: answers")
