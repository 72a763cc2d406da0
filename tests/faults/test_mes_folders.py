"""A folder of the MES that is full, read-only, or vanishes: said with what to do, and nothing is lost or sent twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.bridges.b2mml.bench import MesBench
from tests.bridges.b2mml.builders import job, request, schedule
from tests.faults.disks import Tmpfs, can_mount
from tests.faults.process import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not can_mount(), reason="no user namespaces here; test_folder.py fakes the same errors"),
]


def documents(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


async def paused(bench: MesBench, words: str) -> None:
    await until(lambda: words in bench.stats()["reason"], f"it pauses and says: {words}")
    assert bench.stats()["state"] == "paused"
    assert bench.stats()["dead_letters"] == 0


async def running(bench: MesBench) -> None:
    await until((bench.directory / "mes.bridge.db.stats.json").exists, "the bridge writes its figures")
    await until(lambda: bench.stats()["state"] == "running", "it runs")


async def test_an_outbox_that_is_full_or_read_only_is_waited_for(tmp_path: Path) -> None:
    disk = Tmpfs("out", size="256k")
    with MesBench(tmp_path, wrap=disk.wrap) as bench:
        await bench.start_host()
        bench.bridge.start()
        await running(bench)
        outbox = disk.seen_by(bench.bridge)
        disk.fill(bench.bridge)
        await bench.finish("full-1", "full-2")
        await paused(bench, "the disk is full; free space")
        assert [path.name for path in documents(outbox)] == ["filler"]
        disk.make_room(bench.bridge)
        await until(lambda: len(documents(outbox)) == 2, "both are there")
        disk.remount(bench.bridge, "ro")
        await bench.finish("read-only")
        await paused(bench, "the file system is read-only; mount it for writing")
        disk.remount(bench.bridge, "rw")
        await until(lambda: len(documents(outbox)) == 3, "the third is there")
        await running(bench)
        await until(lambda: bench.stats()["counters"]["delivered"] == 3, "three were delivered")
        assert await bench.bridge.terminate() == 0


async def test_folders_that_vanish_are_waited_for_and_not_made_anew(tmp_path: Path) -> None:
    with MesBench(tmp_path) as bench:
        await bench.start_host()
        bench.bridge.start()
        await running(bench)
        bench.drop(schedule(request(job("o1"))), "1.xml")
        await until(bench.archived, "the first file is archived")
        for folder in (bench.inbox, bench.outbox):
            folder.rename(folder.with_name(f"{folder.name}-away"))
        await bench.finish("away")
        await paused(bench, "out: the folder is gone; mount or make it again")
        await until(lambda: "in: the folder is gone" in bench.stats()["inbound_reason"], "the inbox is missed too")
        assert not bench.inbox.exists()
        assert not bench.outbox.exists()
        for folder in (bench.inbox, bench.outbox):
            folder.with_name(f"{folder.name}-away").rename(folder)
        bench.drop(schedule(request(job("o2")), created="2026-06-03T12:05:00Z"), "2.xml")
        await until(lambda: len(documents(bench.outbox)) == 1, "the performance is there")
        await until(lambda: bench.archived() == ["1.xml", "2.xml"], "the second file is archived")
        await until(lambda: not bench.stats()["inbound_reason"], "nothing is in the way")
        assert sorted(fact.job_order or "" for fact in bench.facts()) == ["away", "o1", "o2"]


async def test_an_inbox_that_is_full_or_read_only_keeps_its_files_and_tells_their_orders_once(tmp_path: Path) -> None:
    disk = Tmpfs("in", size="256k")
    with MesBench(tmp_path, wrap=disk.wrap) as bench:
        await bench.start_host()
        bench.bridge.start()
        await running(bench)
        inbox = disk.seen_by(bench.bridge)
        part = inbox / ".1.part"
        part.write_bytes(schedule(request(job("o1"), job("x", equipment="nowhere"))))
        disk.fill(bench.bridge)
        part.rename(inbox / "1.xml")
        await until(lambda: "the disk is full" in bench.stats()["inbound_reason"], "it says that it is full")
        assert (inbox / "1.xml").exists()
        assert [fact.job_order for fact in bench.facts()] == ["o1"]
        disk.make_room(bench.bridge)
        await until((inbox / "quarantine/1.xml.report.txt").exists, "it lies in quarantine")
        part.write_bytes(schedule(request(job("o2"))))
        part.rename(inbox / "2.xml")
        disk.remount(bench.bridge, "ro")
        await until(lambda: "read-only; mount it for writing" in bench.stats()["inbound_reason"], "it says read-only")
        await asyncio.sleep(0.5)
        disk.remount(bench.bridge, "rw")
        await until(lambda: list(inbox.glob("archive/*/2.xml")), "it is archived")
        await until(lambda: bench.stats()["inbound_reason"] == "", "nothing is in the way")
        assert bench.stats()["counters"]["facts_accepted"] == 2  # told once, though put away at the third try
