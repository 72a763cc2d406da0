"""The example gateways ask for what the simulators have, and the demo runs the very files that people read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_nodes.modbus.config import ModbusConfig
from edge_nodes.node_file import load_node
from edge_nodes.opcua.config import OpcUaConfig
from edge_nodes.simulators.modbus_plant import METER_UNIT_ID, PACKER_UNIT_ID, meter_registers, packer_registers
from edge_nodes.simulators.opcua_plant import NAMESPACE_URI, VARIABLES
from edge_nodes.simulators.plant import EnergyMeter, PackagingMachine
from uns.runtime.demo.run import PLANT_FILES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "plant"


def test_every_opcua_node_of_the_example_is_served() -> None:
    served = {f"nsu={NAMESPACE_URI};s={variable.node_id}" for variable in VARIABLES}
    (source,) = load_node(EXAMPLES / "gw-reaction-1.node.yaml").sources
    assert isinstance(source, OpcUaConfig)
    assert {point.address for _, point in source.points} == served


def test_every_register_of_the_example_is_served() -> None:
    served = {
        METER_UNIT_ID: set(meter_registers(EnergyMeter(), 0.0)),
        PACKER_UNIT_ID: set(packer_registers(PackagingMachine(), 0.0)),
    }
    asked: dict[int, set[int]] = {}
    for source in load_node(EXAMPLES / "gw-energy.node.yaml").sources:
        assert isinstance(source, ModbusConfig)
        registers = asked.setdefault(source.modbus_unit_id, set())
        for _, point in source.points:
            registers |= set(range(point.offset, point.end))
    assert asked == served


@pytest.mark.parametrize(
    "original", [ROOT / "topic_tree.yaml", *sorted(EXAMPLES.iterdir())], ids=lambda path: path.name
)
def test_the_demo_runs_the_files_that_people_read(original: Path) -> None:
    assert (PLANT_FILES / original.name).read_text() == original.read_text()
