"""The simulated machines: plausible, and always the same for the same seed."""

from __future__ import annotations

import pytest

from edge_nodes.simulators.modbus_plant import METER_ENERGY, meter_registers, packer_registers
from edge_nodes.simulators.opcua_plant import VARIABLES, Plant
from edge_nodes.simulators.plant import (
    BatchReactor,
    EnergyMeter,
    MillingMachine,
    PackagingMachine,
)


def scan(seconds: float, step: float = 0.1) -> list[float]:
    return [i * step for i in range(int(seconds / step))]


def test_the_same_seed_plays_the_same_plant() -> None:
    first, second = (Plant(BatchReactor(7, 20.0), MillingMachine(7)) for _ in range(2))
    assert [first.values(t) for t in scan(30)] == [second.values(t) for t in scan(30)]


def test_another_seed_plays_another() -> None:
    assert [BatchReactor(1).at(t) for t in scan(20)] != [BatchReactor(2).at(t) for t in scan(20)]


@pytest.mark.parametrize("cycle_s", [5.0, 6.0, 20.0])
def test_each_batch_reads_exactly_182_degrees_in_react(cycle_s: float) -> None:
    states = [BatchReactor(1, cycle_s).at(t) for t in scan(cycle_s * 3)]
    for batch in (41, 42, 43):
        assert any(s.temperature == 182.0 and s.phase == "React" for s in states if s.count == batch)


def test_a_batch_goes_through_its_phases_in_order() -> None:
    phases = list(dict.fromkeys(BatchReactor(1).at(t).phase for t in scan(20)))
    assert phases == ["Charge", "Heat", "React", "Cool", "Discharge"]


def test_the_reactor_stays_within_what_its_tree_declares() -> None:
    for t in scan(60):
        state = BatchReactor(3).at(t)
        assert -20 <= state.temperature <= 250
        assert 0 <= state.pressure <= 16


def test_counters_never_go_back() -> None:
    for counted in (
        [EnergyMeter().tenths_of_kwh(t) for t in scan(60)],
        [PackagingMachine().at(t).good for t in scan(60)],
        [MillingMachine().at(t).part_count for t in scan(60)],
        [BatchReactor().at(t).count for t in scan(60)],
    ):
        assert counted == sorted(counted)
        assert counted[-1] > counted[0]


def test_the_meter_puts_its_low_word_first() -> None:
    registers = meter_registers(EnergyMeter(start_tenths=0x0001_0002), 0.0)
    assert registers == {METER_ENERGY: 0x0002, METER_ENERGY + 1: 0x0001}


def test_every_register_is_a_word() -> None:
    for t in scan(60):
        for word in (*meter_registers(EnergyMeter(), t).values(), *packer_registers(PackagingMachine(), t).values()):
            assert 0 <= word <= 0xFFFF


def test_every_variable_has_a_value() -> None:
    plant = Plant(BatchReactor(), MillingMachine())
    assert set(plant.values(0.0)) == {variable.node_id for variable in VARIABLES}
