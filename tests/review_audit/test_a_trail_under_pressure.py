"""The audit log of a component that stops, whose disk fails, or whose broker answers in an unlucky moment."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.review_audit.stores import LIFE, NOW_NS
from uns.adapters.logs import get_logger
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.adapters.sqlite.record_log import RecordLog
from uns.audit.chain import Anchor, AuditEvent
from uns.audit.events import ANCHOR_ABSENT, MISMATCH
from uns.errors import StorageFullError
from uns.runtime.audit import AuditTrail


class Disk:
    """The thread of the database: slow, or full, as a test says."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.full = False
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, call: Callable[[], Any]) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        if self.full:
            raise StorageFullError("the disk is full")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return call()


class Broker:
    def __init__(self) -> None:
        self.shown: list[Anchor] = []

    def show(self, _topic: str, payload: bytes) -> None:
        self.shown.append(msgspec.json.decode(payload, type=Anchor))


@pytest.fixture
def log(tmp_path: Path):
    records = RecordLog(tmp_path / "records.db")
    yield records
    records.close()


def made(log: RecordLog, disk: Disk, broker: Broker) -> AuditTrail:
    return AuditTrail(log.audit, LIFE, blocking=disk, log=get_logger("audit"), show=broker.show, now_ns=lambda: NOW_NS)


def event(number: int) -> AuditEvent:
    return AuditEvent(at_ns=NOW_NS, actor="somebody", action="command.refused", subject=f"command {number}")


def actions(log: RecordLog) -> Counter[str]:
    with AuditReader(log.path) as reader:
        return Counter(entry.action for entry in reader.find(AuditQuery()))


FOREIGN = json.dumps(
    {"schema": "uns1.audit_anchor/1", "component": "uns-host-1", "log": "f" * 32, "number": 900, "hash": "0" * 64,
     "at": "2026-06-03T19:32:00Z"}
).encode()  # fmt: skip


@pytest.mark.parametrize("cancels", [False, True])
async def test_what_is_on_its_way_to_the_disk_at_a_stop_is_written_once(log: RecordLog, cancels: bool):
    disk, broker = Disk(), Broker()
    trail = made(log, disk, broker)
    await trail.start()
    running = asyncio.create_task(trail.run())
    await asyncio.sleep(0.01)
    disk.delay_s = 0.05
    for number in range(3):
        trail.note(event(number))
    await asyncio.sleep(0.02)
    if cancels:
        running.cancel()
    await trail.stop()
    assert not (running.done() and not running.cancelled() and running.exception())
    running.cancel()
    await asyncio.wait([running])
    assert actions(log)["command.refused"] == 3


async def test_a_disk_that_is_full_while_an_anchor_is_missed_ends_nobody(log: RecordLog):
    disk, broker = Disk(), Broker()
    trail = made(log, disk, broker)
    await trail.start()
    await trail.stop()
    trail = made(log, disk, broker)  # a second life: an anchor should be there
    await trail.start()
    running = asyncio.create_task(trail.run())
    trail.connected()
    disk.full = True
    await asyncio.sleep(2.5)
    assert not running.done(), running.exception()
    disk.full = False
    async with asyncio.timeout(30):
        while not actions(log)[ANCHOR_ABSENT]:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])
    assert actions(log)[ANCHOR_ABSENT] == 1


async def test_an_anchor_that_does_not_fit_stays_until_the_log_tells_of_it(log: RecordLog):
    """A kill between the two would take the only evidence away."""
    disk = Disk()
    told: list[int] = []

    def show(_topic: str, _payload: bytes) -> None:
        told.append(actions(log)[MISMATCH])

    trail = AuditTrail(
        log.audit, LIFE, blocking=disk, log=get_logger("audit"), show=show, now_ns=lambda: NOW_NS, shared=True
    )
    await trail.start()
    disk.meanwhile = lambda: trail.receive(FOREIGN)
    running = asyncio.create_task(trail.run())
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert told == [1]


async def test_a_mismatch_that_the_disk_does_not_take_keeps_the_anchor_that_tells_it(log: RecordLog):
    disk, broker = Disk(), Broker()
    trail = made(log, disk, broker)
    await trail.start()
    running = asyncio.create_task(trail.run())
    await asyncio.sleep(0.01)
    trail.connected()
    await trail.receive(FOREIGN)
    disk.full = True
    await asyncio.sleep(0.1)
    assert broker.shown == []
    running.cancel()
    await asyncio.wait([running])


async def test_a_place_for_the_anchor_that_hangs_holds_nobody_up(log: RecordLog, tmp_path: Path):
    """As a network drive does: the disk of the log is asked for nothing that waits for it."""
    place = tmp_path / "anchor.json"
    pipe = tmp_path / ".anchor.json.part"
    os.mkfifo(pipe)  # to open it for writing waits for who reads it
    trail = AuditTrail(log.audit, LIFE, blocking=Disk(), log=get_logger("audit"), anchor_file=place)
    await trail.start()
    running = asyncio.create_task(trail.run())
    try:
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            trail.note(event(1))
            while actions(log)["command.refused"] < 1:
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        await asyncio.wait([running])
        os.close(reading)


async def test_a_clean_stop_leaves_the_newest_anchor_in_its_file(log: RecordLog, tmp_path: Path):
    place = tmp_path / "anchor.json"
    trail = AuditTrail(log.audit, LIFE, blocking=Disk(), log=get_logger("audit"), anchor_file=place)
    await trail.start()
    running = asyncio.create_task(trail.run())
    for number in range(5):
        trail.note(event(number))
        await asyncio.sleep(0.01)
    await trail.stop()
    running.cancel()
    await asyncio.wait([running])
    assert msgspec.json.decode(place.read_bytes(), type=Anchor).hash == log.audit.head.hash
