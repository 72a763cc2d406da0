"""A bridge brings orders in over TLS with the credential of their source: what the rendered list grants is enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.secure_plant.plant import TREE_FILE, SecurePlant
from tests.bridges.b2mml.builders import job, request, schedule
from tests.faults.process import Child, python_module, until
from tests.servers import require_mosquitto

pytestmark = pytest.mark.integration


async def test_orders_come_in_with_the_certificate_of_their_source(tmp_path: Path) -> None:
    require_mosquitto()
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    async with SecurePlant(tmp_path / "plant") as plant:
        await plant.start_host()
        broker = plant.address("fact/mes")
        config = tmp_path / "mes.bridge.yaml"
        config.write_text(
            f"uns: 1\nbridge: mes\nkind: b2mml\nhost: {{store: {plant.directory / 'host'}}}\ntree: {TREE_FILE}\n"
            f"broker: {{url: '{broker.url}', ca_file: {broker.ca_file}, cert_file: {broker.cert_file}, "
            f"key_file: {broker.key_file}}}\n"
            "target: {source: mes, inbox: in, outbox: out, poll: 50ms, settle: 0s}\n"
        )
        command = python_module("uns", "bridge", "run", "--config", str(config), "--log-json")
        bridge = Child("bridge", command, log=tmp_path / "bridge.log")
        bridge.start()
        try:
            (tmp_path / "in/order.xml").write_bytes(schedule(request(*(job(f"j{n}") for n in range(30)))))
            await until(lambda: list((tmp_path / "in/archive").glob("*/order.xml")), "the orders are taken")
            assert '"accepted": 30' in bridge.output
            assert await bridge.terminate() == 0
        finally:
            bridge.kill()
