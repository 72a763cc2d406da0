"""The default mapping between the tree and Sparkplug, both ways.

    group_id = enterprise.site · edge_node_id = gateway · device_id = equipment id · metric name = folder/name

Births carry enough of the tree (as properties of metrics and as ``Properties/…`` metrics of the device) that a host
without the tree can follow; :func:`map_birth` is how a host with the tree reads a birth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import msgspec

from uns.namespace.model import Equipment, MetricContract, Role, TimeKind, TopicTree
from uns.namespace.units import symbol_of
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.metrics import BirthMetric, Property, PropertyContent
from uns.sparkplug.topics import DeviceDescriptor

__all__ = [
    "PROPERTIES_FOLDER",
    "RETIRED",
    "RETYPED",
    "UNIT_CODE",
    "DeviceMapping",
    "contract_of",
    "device_properties",
    "devices_of",
    "map_birth",
    "metric_properties",
]

PROPERTIES_FOLDER = "Properties/"
EQUIPMENT_METRIC = f"{PROPERTIES_FOLDER}equipment"
PATH_METRIC = f"{PROPERTIES_FOLDER}path"
CLASS_METRIC = f"{PROPERTIES_FOLDER}class"
CONTRACT_HASH_METRIC = f"{PROPERTIES_FOLDER}contract_hash"

# Keys of metric properties. The three eng… keys are the ones other Sparkplug applications look for.
ENGINEERING_UNIT = "engUnit"  # as people write it
ENGINEERING_LOW = "engLow"
ENGINEERING_HIGH = "engHigh"
UNIT_CODE = "unit"  # UNECE code
DEADBAND = "deadband"
ROLE = "role"
PROVIDES = "provides"
COUNTS = "counts"
ROLLOVER = "rollover"
STEP_MAX = "step_max"
TIMES = "times"  # as JSON
SOURCE_ADDRESS = "address"  # NodeId or register, as the node file writes it
RETIRED = "retired"  # true: the gateway's definition has the metric no more, values of it are still on their way
RETYPED = "@"  # such a metric as name@type, where the name has another type now; no tree allows it in a name

_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}

# Device metrics that belong to the protocol: in no equation of samples, and nothing to map.
_PROTOCOL_FOLDERS = (PROPERTIES_FOLDER, "Node Control/", "Device Control/", "uns/")


def devices_of(tree: TopicTree, gateway: str) -> dict[DeviceDescriptor, Equipment]:
    """The Sparkplug devices of a gateway and the equipment they stand for; raises ``KeyError`` for an unknown one."""
    edge_node = tree.edge_node(gateway)
    return {DeviceDescriptor(edge_node, equipment.id): equipment for equipment in tree.fed_by(gateway)}


def device_properties(tree: TopicTree, equipment: Equipment) -> list[BirthMetric]:
    """The ``Properties/…`` metrics of a device's birth: what it is, where it stands, under which contract."""
    texts = {
        EQUIPMENT_METRIC: equipment.id,
        PATH_METRIC: equipment.path_text,
        CLASS_METRIC: equipment.class_name,
        CONTRACT_HASH_METRIC: tree.contract_hash,
    }
    return [
        BirthMetric(name=name, datatype=DataType.STRING, value=text) for name, text in texts.items() if text is not None
    ]


def metric_properties(contract: MetricContract, *, source_address: str = "") -> tuple[Property, ...]:
    """The properties that a metric carries in a birth; only those that say something."""
    low, high = (None, None) if contract.range is None else contract.range
    told: tuple[tuple[str, DataType, Value], ...] = (
        (ENGINEERING_UNIT, DataType.STRING, None if contract.unit is None else symbol_of(contract.unit)),
        (UNIT_CODE, DataType.STRING, contract.unit),
        (ENGINEERING_LOW, DataType.DOUBLE, low),
        (ENGINEERING_HIGH, DataType.DOUBLE, high),
        (DEADBAND, DataType.DOUBLE, contract.deadband),
        (ROLE, DataType.STRING, None if contract.role == "measurement" else contract.role),
        (PROVIDES, DataType.STRING, contract.provides),
        (COUNTS, DataType.STRING, contract.counts),
        (ROLLOVER, DataType.UINT64, contract.rollover),
        (STEP_MAX, DataType.DOUBLE, contract.step_max),
        (TIMES, DataType.STRING, None if contract.times is None else msgspec.json.encode(contract.times).decode()),
        (SOURCE_ADDRESS, DataType.STRING, source_address or None),
    )
    return tuple(Property(key, datatype, value) for key, datatype, value in told if value is not None)


def contract_of(metric: BirthMetric) -> MetricContract:
    """The contract as a birth tells it: inverse of :func:`metric_properties`. What cannot be read is left out."""
    values = {prop.key: prop.value for prop in metric.properties}
    low, high = _number(values, ENGINEERING_LOW), _number(values, ENGINEERING_HIGH)
    rollover = values.get(ROLLOVER)
    return MetricContract(
        name=metric.name,
        datatype=metric.datatype,
        unit=_text(values, UNIT_CODE),
        range=(low, high) if low is not None and high is not None else None,
        deadband=_number(values, DEADBAND),
        role=_ROLES.get(str(values.get(ROLE)), "measurement"),
        provides=_text(values, PROVIDES),
        counts=_text(values, COUNTS),
        rollover=rollover if isinstance(rollover, int) and not isinstance(rollover, bool) else None,
        step_max=_number(values, STEP_MAX),
        times=_times(values),
    )


class DeviceMapping(msgspec.Struct, frozen=True, kw_only=True):
    """What a device's birth means under the tree."""

    equipment: Equipment | None  # None: the tree does not know the device, all of its metrics are unmapped
    contracts: dict[str, MetricContract] = {}  # metric name to its contract
    unmapped: tuple[str, ...] = ()  # metrics that the tree does not know
    mistyped: dict[str, DataType] = {}  # metrics of another type than the tree says, with the type they came in
    retired: dict[str, MetricContract] = {}  # name in the birth to the contract its last values were made under
    contract_hash: str | None = None  # as the birth tells it; None from a foreign producer

    def follows(self, tree: TopicTree) -> bool:
        """Whether the gateway works under the same tree."""
        return self.contract_hash == tree.contract_hash


def map_birth(tree: TopicTree, device: DeviceDescriptor, metrics: Sequence[BirthMetric]) -> DeviceMapping:
    """Read a DBIRTH's metrics under the tree. Protocol metrics (``Properties/…``, ``uns/…``) are in no list."""
    own = [metric for metric in metrics if not metric.name.startswith(_PROTOCOL_FOLDERS)]
    told = next((metric.value for metric in metrics if metric.name == CONTRACT_HASH_METRIC), None)
    contract_hash = told if isinstance(told, str) else None
    equipment = tree.equipment_of(device)
    equipment_class = None if equipment is None else tree.class_of(equipment.id)
    if equipment is None or equipment_class is None:
        return DeviceMapping(
            equipment=equipment, unmapped=tuple(metric.name for metric in own), contract_hash=contract_hash
        )
    contracts: dict[str, MetricContract] = {}
    unmapped: list[str] = []
    mistyped: dict[str, DataType] = {}
    retired: dict[str, MetricContract] = {}
    for metric in own:
        if (was := _retired_contract(metric, equipment_class.metrics)) is not None:
            retired[metric.name] = was
            continue
        contract = equipment_class.metrics.get(metric.name)
        if contract is None:
            unmapped.append(metric.name)
        elif contract.datatype is not metric.datatype:
            mistyped[metric.name] = metric.datatype
        else:
            contracts[metric.name] = contract
    return DeviceMapping(
        equipment=equipment,
        contracts=contracts,
        unmapped=tuple(unmapped),
        mistyped=mistyped,
        retired=retired,
        contract_hash=contract_hash,
    )


def _retired_contract(metric: BirthMetric, contracts: Mapping[str, MetricContract]) -> MetricContract | None:
    """What the last values of a retired metric are: of the tree's metric of that name, in the type they were read in.

    Their unit is the one that the birth tells; where it tells none, the tree's holds for the tree's own type only.
    None where the metric is not retired, or where the tree has it no more either.
    """
    if metric.property_value(RETIRED) is not True:
        return None
    contract = contracts.get(metric.name.removesuffix(f"{RETYPED}{metric.datatype.label}"))
    if contract is None:
        return None
    told, is_same_type = metric.property_value(UNIT_CODE), contract.datatype is metric.datatype
    unit = told if isinstance(told, str) else contract.unit if is_same_type else None
    if is_same_type and unit == contract.unit:
        return contract
    return msgspec.structs.replace(contract, datatype=metric.datatype, unit=unit)


def _text(values: Mapping[str, PropertyContent], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) else None


def _times(values: Mapping[str, PropertyContent]) -> dict[TimeKind, tuple[int | str, ...]] | None:
    text = _text(values, TIMES)
    try:
        return None if text is None else msgspec.json.decode(text, type=dict[TimeKind, tuple[int | str, ...]])
    except (msgspec.DecodeError, RecursionError):  # a foreign birth with another idea of the word
        return None


def _number(values: Mapping[str, PropertyContent], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
