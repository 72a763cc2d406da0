"""A metric gets another type, another is removed, while values of both wait: gateway and host, end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
from asyncua import ua

from tests.edge_nodes.gateway import Plc, gateway
from tests.edge_nodes.nodes import TREE, load, opcua_node
from tests.runtime.plants import plant
from tests.servers import eventually, mosquitto
from uns.adapters.http import get_json
from uns.context.times import rfc3339
from uns.namespace.loader import load_tree

pytestmark = pytest.mark.integration

VARIABLES = {
    "Count": (0, ua.VariantType.Int32),
    "CountF": (2.5, ua.VariantType.Float),
    "Gone": (0, ua.VariantType.Int16),
}
WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}\nsmall: {node: "nsu=urn:plc4;s=Gone"}'
EVERY = "publishing: 20ms\nkeep_alive: 500ms\ntimeout: 1s\ntrigger: status_value_timestamp"
PLANT = TREE + "      reactor5: {level: Unit, class: Reactor}\n"
OLD_TREE = PLANT.replace("count: {type: UInt32}", "count: {type: Int32, unit: C62}")
NEW_TREE = PLANT.replace("count: {type: UInt32}", "count: {type: Float, unit: KGM}")


async def test_the_backlog_of_a_retyped_metric_is_recorded_under_the_metric_in_the_type_it_was_read_in(tmp_path: Path):
    gateway_files, host_files = tmp_path / "gateway", tmp_path / "host"
    gateway_files.mkdir()
    host_files.mkdir()
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, plant(host_files, broker.url, tree_text=OLD_TREE) as made:
            await made.start_host()
            node = opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY)
            async with gateway(load(gateway_files, node, OLD_TREE)) as edge:
                await eventually(lambda: edge.stats["stored"] == 2 and edge.stats["waiting"] == 0)
                await made.stop_host()
                for count in range(1, 31):
                    await plc.write("Count", count)
                await plc.write("Gone", 7)
                await eventually(lambda: edge.stats["stored"] == 33)
            changed = node.replace('        small: {node: "nsu=urn:plc4;s=Gone"}\n', "").replace("s=Count", "s=CountF")
            (host_files / "topic_tree.yaml").write_text(NEW_TREE)
            made.tree = load_tree(host_files / "topic_tree.yaml")
            await made.start_host()
            async with gateway(load(gateway_files, changed, NEW_TREE)) as edge:
                await plc.write("CountF", 3.5)
                await eventually(lambda: edge.stats["waiting"] == 0 and edge.stats["retired"] == 0)
                status = await made.until_drained()
            counters = status["counters"]
            assert (counters["unmapped"], counters["rejected"]) == (0, 0)
            assert counters["recorded"] == edge.stats["stored"]
            found = made.query(
                "SELECT metric, type, unit, coalesce(value_num, value_int) FROM samples JOIN series USING (series)"
                " ORDER BY metric, source_time_ns"
            )
            counts = [row[1:] for row in found if row[0] == "count"]
            assert counts[:31] == [("Int32", "C62", count) for count in range(31)]
            assert ("Float", "KGM", 3.5) in counts[31:]
            assert {row[:2] for row in counts[31:]} == {("Float", "KGM")}
            assert [row for row in found if row[0] != "count"] == [
                ("small", "Int16", None, 0),
                ("small", "Int16", None, 7),
            ]
            newest = await get_json(made.api, "/get", {"path": "reactor4/count"})
            assert (newest["value"], newest["type"], newest["unit"]) == (3.5, "Float", "KGM")
            ((old_ns,),) = made.query(
                "SELECT source_time_ns FROM samples JOIN series USING (series)"
                " WHERE metric = 'count' AND value_int = 30"
            )
            before = await get_json(made.api, "/get", {"path": "reactor4/count", "at": rfc3339(old_ns)})
            assert (before["value"], before["type"], before["unit"]) == (30, "Int32", "C62")
            await eventually(lambda: made.listener.of("reactor4/_pv/count")[-1]["value"] == 3.5)
            assert made.listener.of("reactor4/_pv/count")[-1]["type"] == "Float"
