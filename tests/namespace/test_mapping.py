"""The default mapping: what a birth tells of the tree, and what the tree makes of a birth."""

from __future__ import annotations

import msgspec
import pytest

from tests.namespace.builders import make_tree
from uns.namespace.mapping import (
    CONTRACT_HASH_METRIC,
    RETIRED,
    UNIT_CODE,
    contract_of,
    device_properties,
    devices_of,
    map_birth,
    metric_properties,
)
from uns.namespace.model import MetricContract, TopicTree
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BirthMetric, Property
from uns.sparkplug.topics import DeviceDescriptor, EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
PUMP1 = DeviceDescriptor(NODE, "pump1")

FULL = MetricContract(
    name="batch/count",
    datatype=DataType.UINT32,
    unit="C62",
    range=(0.0, 1000.0),
    deadband=1.0,
    role="counter",
    counts="good",
    rollover=2**32,
)


def birth_of(tree: TopicTree, **metrics: DataType) -> list[BirthMetric]:
    own = [BirthMetric(name=name, datatype=datatype) for name, datatype in metrics.items()]
    return [*device_properties(tree, tree.equipment["pump1"]), *own]


@pytest.mark.parametrize(
    "contract",
    [
        FULL,
        MetricContract(name="flow", datatype=DataType.FLOAT),
        MetricContract(name="phase", datatype=DataType.STRING, role="context", provides="recipe_phase"),
        MetricContract(name="count", datatype=DataType.UINT16, role="counter", rollover=100, step_max=7),
        MetricContract(name="state", datatype=DataType.UINT16, role="state", times={"machine": (6,), "setup": ()}),
        MetricContract(name="run", datatype=DataType.STRING, role="state", times={"machine": ("ACTIVE", "6")}),
    ],
    ids=lambda contract: contract.name,
)
def test_a_contract_comes_back_from_its_birth(contract):
    properties = metric_properties(contract, source_address="holding:40012")
    metric = BirthMetric(name=contract.name, datatype=contract.datatype, properties=properties)
    assert contract_of(metric) == contract
    assert metric.property_value("address") == "holding:40012"


def test_a_birth_shows_the_unit_as_people_write_it():
    metric = BirthMetric(
        name="t",
        datatype=DataType.FLOAT,
        properties=metric_properties(MetricContract(name="t", datatype=DataType.FLOAT, unit="CEL")),
    )
    assert (metric.property_value("engUnit"), metric.property_value("unit")) == ("°C", "CEL")


@pytest.mark.parametrize("text", ["", "[6]", '{"machine": 6}', '{"down": [6]}', "[" * 2000])
def test_times_of_a_foreign_birth_that_are_none_are_left_out(text):
    metric = BirthMetric(name="x", datatype=DataType.UINT16, properties=(Property("times", DataType.STRING, text),))
    assert contract_of(metric).times is None


def test_foreign_properties_of_wrong_types_are_left_out():
    broken = BirthMetric(
        name="x",
        datatype=DataType.FLOAT,
        properties=tuple(
            prop.__class__(key, DataType.BOOLEAN, True)
            for key in ("unit", "engLow", "engHigh", "role", "rollover", "deadband", "step_max", "times")
            for prop in metric_properties(FULL)[:1]
        ),
    )
    assert contract_of(broken) == MetricContract(name="x", datatype=DataType.FLOAT)


def test_device_properties_say_what_it_is_and_where():
    tree = make_tree()
    told = {metric.name: metric.value for metric in device_properties(tree, tree.equipment["pump1"])}
    assert told == {
        "Properties/equipment": "pump1",
        "Properties/path": "acme/dallas/pump1",
        "Properties/class": "Pump",
        "Properties/contract_hash": tree.contract_hash,
    }


def test_the_devices_of_a_gateway_are_its_equipment():
    tree = make_tree()
    assert devices_of(tree, "gw-1") == {PUMP1: tree.equipment["pump1"]}
    with pytest.raises(KeyError):
        devices_of(tree, "gw-2")


def test_a_birth_is_read_under_the_tree():
    tree = make_tree()
    mapping = map_birth(tree, PUMP1, birth_of(tree, flow=DataType.FLOAT, vibration=DataType.FLOAT))
    assert mapping.equipment == tree.equipment["pump1"]
    assert mapping.contracts == {"flow": tree.classes["Pump"].metrics["flow"]}
    assert mapping.unmapped == ("vibration",)
    assert mapping.follows(tree)


def test_a_metric_of_another_type_is_told_and_not_mapped():
    tree = make_tree()
    mapping = map_birth(tree, PUMP1, birth_of(tree, flow=DataType.DOUBLE))
    assert mapping.contracts == {}
    assert mapping.mistyped == {"flow": DataType.DOUBLE}


@pytest.mark.parametrize(
    ("name", "datatype", "told", "unit"),
    [
        ("flow", DataType.FLOAT, None, "MQH"),  # removed from the gateway: the tree still says what it is
        ("flow@Double", DataType.DOUBLE, "LH", "LH"),  # retyped: in the unit that it had
        ("flow@Double", DataType.DOUBLE, None, None),  # …which the tree does not know, whatever it says of another type
        ("flow", DataType.DOUBLE, None, None),  # retyped, then removed
        ("flow", DataType.FLOAT, "LH", "LH"),  # the unit was changed in the tree
    ],
)
def test_a_retired_metric_is_the_trees_metric_in_the_type_and_unit_it_was_read_in(name, datatype, told, unit):
    tree = make_tree()
    contract = tree.classes["Pump"].metrics["flow"]
    assert (contract.datatype, contract.unit) == (DataType.FLOAT, "MQH")
    properties = [Property(RETIRED, DataType.BOOLEAN, True)]
    if told is not None:
        properties.append(Property(UNIT_CODE, DataType.STRING, told))
    mapping = map_birth(tree, PUMP1, [BirthMetric(name=name, datatype=datatype, properties=tuple(properties))])
    assert mapping.retired == {name: msgspec.structs.replace(contract, datatype=datatype, unit=unit)}
    assert (mapping.contracts, mapping.mistyped, mapping.unmapped) == ({}, {}, ())


@pytest.mark.parametrize(
    ("name", "datatype", "retired"),
    [
        ("gone", DataType.FLOAT, True),  # the tree has it no more either
        ("flow@Int32", DataType.DOUBLE, True),  # the type in the name is another one
        ("flow@Double", DataType.DOUBLE, False),  # an @ alone says nothing
    ],
)
def test_what_is_no_metric_of_the_tree_stays_unmapped_though_it_is_retired(name, datatype, retired):
    metric = BirthMetric(name=name, datatype=datatype, properties=(Property(RETIRED, DataType.BOOLEAN, retired),))
    mapping = map_birth(make_tree(), PUMP1, [metric])
    assert (mapping.retired, mapping.unmapped) == ({}, (name,))


@pytest.mark.parametrize(
    "device",
    [
        DeviceDescriptor(NODE, "pump2"),
        DeviceDescriptor(EdgeNodeDescriptor("acme.austin", "gw-1"), "pump1"),
        DeviceDescriptor(EdgeNodeDescriptor("acme.dallas", "gw-9"), "pump1"),
    ],
    ids=str,
)
def test_a_device_that_the_tree_does_not_know_is_wholly_unmapped(device):
    tree = make_tree()
    mapping = map_birth(tree, device, birth_of(tree, flow=DataType.FLOAT))
    assert mapping.equipment is None
    assert mapping.unmapped == ("flow",)


def test_a_foreign_birth_has_no_contract_hash():
    tree = make_tree()
    mapping = map_birth(tree, PUMP1, [BirthMetric(name=CONTRACT_HASH_METRIC, datatype=DataType.INT32, value=7)])
    assert mapping.contract_hash is None
    assert not mapping.follows(tree)
