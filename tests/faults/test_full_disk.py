"""A full disk on either side: said once and clearly, nothing stored is lost, and room is all it takes to go on."""

from __future__ import annotations

import time

import pytest

from tests.faults.disks import Disk, FileSizeLimit, Tmpfs, can_mount
from tests.faults.plant import Options, Plant, plant
from tests.faults.process import until

pytestmark = pytest.mark.integration

# One of the two is enough for `make test`; the other is run with the full figures.
DISKS = [
    pytest.param(
        Tmpfs,
        id="no space left",
        marks=pytest.mark.skipif(not can_mount(), reason="no user namespaces here; the file size limit stands in"),
    ),
    pytest.param(lambda _name: FileSizeLimit(), id="file too large", marks=[pytest.mark.long] if can_mount() else []),
]


def said(made: Plant, child: str, text: str) -> int:
    output: str = getattr(made, child).output
    return output.count(text)


@pytest.mark.parametrize("make_disk", DISKS)
async def test_an_edge_without_room_reads_on_and_loses_nothing(tmp_path, make_disk):
    disk: Disk = make_disk("disk")
    (tmp_path / "disk").mkdir()
    async with plant(tmp_path, Options(store="{path: disk/store.db}", edge_command=disk.wrap)) as made:
        disk.fill(made.edge)
        await until(lambda: said(made, "edge", "the disk takes nothing"), "the edge says that its disk is full")
        await until(lambda: "disk" in str(made.edge_stats().get("health")), "its health says so")
        await until(lambda: len(made.oracle().scans) > 100, "values go on while nothing can be stored")
        disk.make_room(made.edge)
        await made.until_recorded_since(time.time_ns() // 1_000_000)
        assert said(made, "edge", "the disk takes values again") == 1
        assert said(made, "edge", "the disk takes nothing") == 1, "once, not at each try"
        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=True) == []
        assert account.dropped == 0
        assert made.edge.running
        assert "Traceback" not in made.edge.output


@pytest.mark.parametrize("make_disk", DISKS)
async def test_a_host_without_room_confirms_nothing_and_keeps_present_values_alive(tmp_path, make_disk):
    disk: Disk = make_disk("host")
    async with plant(tmp_path, Options(host_command=disk.wrap, host_namespace=disk.is_namespace)) as made:
        full_at = len(made.observer.texts)
        disk.fill(made.host)
        await until(lambda: said(made, "host", "takes nothing"), "the host says that its disk is full")
        full_since = len(made.observer.texts)
        await until(lambda: made.edge_stats()["waiting"] > 400, "the edge keeps what the host does not confirm")
        health = [payload.decode() for topic, payload in made.observer.texts[full_at:] if topic.endswith("/_health")]
        assert any("full" in text for text in health), "every _health says so"
        present = [topic for topic, _ in made.observer.texts[full_since:] if "_pv" in topic.split("/")]
        assert present, "present values stay alive"
        disk.make_room(made.host)
        await made.until_recorded_since(time.time_ns() // 1_000_000)
        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=True) == []
        assert made.host.starts == 1
        assert made.host.running
        assert "Traceback" not in made.host.output
        assert said(made, "host", "takes nothing") < 10, "now and then, not at each try"


@pytest.mark.long
async def test_what_a_store_at_its_bound_drops_is_counted_and_told(tmp_path):
    options = Options(tags=100, scans_per_second=40.0, store="{path: store.db, bytes_max: 1MB}")
    async with plant(tmp_path, options) as made:
        made.host.kill()
        await until(lambda: made.edge_stats()["dropped"] > 0, "the store is at its bound", deadline_s=60)
        made.host.start()
        await made.until_recorded_since(time.time_ns() // 1_000_000)
        await until(lambda: said(made, "host", "an edge node dropped samples"), "the host learns of the gap")
        await made.drain()
        account = await made.account()
        assert all(equation.holds for equation in account.equations), account.equations
        assert 0 < account.lost <= account.dropped
        assert len(account.comparison.missing) == account.lost
        assert not account.comparison.foreign
        assert not account.repeated_keys
