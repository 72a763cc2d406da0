"""Births of a changed definition: what it no longer has is announced until its values are confirmed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_nodes import check as check_module
from edge_nodes.check import check_node
from edge_nodes.definition import Definition, metric_names
from edge_nodes.reduction import Rows
from edge_nodes.retired import RetiredMetric, retired_birth, retired_metrics
from edge_nodes.rows import MetricName
from edge_nodes.runtime import refuse_births_that_do_not_fit
from edge_nodes.store import EdgeStore, registered_units
from tests.edge_nodes.nodes import load, opcua_node
from uns.errors import ConfigurationError
from uns.namespace.mapping import RETIRED, UNIT_CODE
from uns.source import PROPERTY_TIME_SOURCE, TimeSource
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import PROPERTY_ORDINAL, PROPERTY_QUALITY

BAD = 0x80310000


def name(metric: str, datatype: DataType = DataType.FLOAT, device: str = "reactor4") -> MetricName:
    return MetricName(device, metric, datatype)


INT, FLOAT, DOUBLE = (name("t", datatype) for datatype in (DataType.INT32, DataType.FLOAT, DataType.DOUBLE))
OTHER = name("t", DataType.INT32, "tank1")


@pytest.mark.parametrize(
    ("registered", "waiting", "current", "announced"),
    [
        ([FLOAT], [], [FLOAT], []),
        ([FLOAT], [FLOAT], [], ["t"]),  # removed: keeps its name
        ([FLOAT], [], [], []),  # removed, and nothing waits
        ([FLOAT, INT], [FLOAT], [INT], ["t@Float"]),  # retyped
        ([INT, FLOAT], [FLOAT], [INT], ["t@Float"]),  # retyped back to what it was
        ([FLOAT, INT, DOUBLE], [FLOAT, INT], [DOUBLE], ["t@Float", "t@Int32"]),  # twice
        ([FLOAT, INT], [FLOAT, INT], [], ["t@Float", "t"]),  # retyped, then removed: the newest keeps the name
        ([FLOAT, INT], [FLOAT], [], ["t@Float"]),  # …whatever else still waits
        ([FLOAT, OTHER], [FLOAT, OTHER], [FLOAT], ["t"]),  # of another device
    ],
)
def test_names_of_retired_metrics(registered, waiting, current, announced):
    found = retired_metrics(waiting, dict(enumerate(registered, 1)), current)
    assert [metric.name for metric in found] == announced


async def test_the_check_looks_at_the_births_that_will_be_units_of_retired_metrics_too(tmp_path: Path, monkeypatch):
    config = load(tmp_path, opcua_node('count: {node: "i=1"}'))
    looked_at: list[Definition] = []
    monkeypatch.setattr(check_module, "refuse_births_that_do_not_fit", lambda _config, made: looked_at.append(made))
    store = EdgeStore(config.store.path, identity=str(config.edge_node))
    (old,) = store.register([FLOAT], units=["CEL"])
    store.commit(Rows([old], [1_000_000], [0], [1.5], [0], [0], read=1, reduced=0))
    store.close()
    await check_node(config, [], offline=True)
    assert [metric.unit for metric in looked_at[0].retired] == ["CEL"]


def test_the_units_of_a_store_from_before_there_were_any_are_none(tmp_path: Path):
    path = tmp_path / "store.db"
    assert registered_units(path, identity="n") == {}
    EdgeStore(path, identity="n").close()
    assert registered_units(path, identity="n") == {}


def test_a_retired_metric_keeps_its_last_unit():
    (found,) = retired_metrics([INT], {3: INT, 4: FLOAT}, [FLOAT], units={3: "C62", 4: "CEL"})
    assert found == RetiredMetric(3, INT, "t@Int32", "C62")


def test_a_retired_metric_shows_its_old_type_and_its_last_sample():
    old = RetiredMetric(7, INT, "t@Int32", "C62")
    assert (retired_birth(old, None).value, retired_birth(old, None).property_value(UNIT_CODE)) == (None, "C62")
    metric = retired_birth(old, (5_000_000, 2, 41, BAD, int(TimeSource.GATEWAY)))
    assert (metric.name, metric.datatype, metric.value, metric.timestamp_ms) == ("t@Int32", DataType.INT32, 41, 5)
    assert metric.property_value(RETIRED) is True
    assert metric.property_value(PROPERTY_ORDINAL) == 2
    assert metric.property_value(PROPERTY_QUALITY) == 0
    assert metric.property_value(PROPERTY_TIME_SOURCE) == "gateway"


def test_a_birth_is_the_definition_and_what_waits_of_earlier_ones(tmp_path: Path):
    config = load(tmp_path, opcua_node('temperature: {node: "i=1"}'))
    current = metric_names(config)
    gone, retyped = name("gone"), name("temperature", DataType.INT32)
    elsewhere = name("x", device="scrapped")
    registered = {1: gone, 2: retyped, 3: elsewhere, 4: current[0]}
    definition = Definition(config, [4], retired_metrics([gone, retyped, elsewhere], registered, current))
    assert definition.devices == ["reactor4", "scrapped"]

    def own(device: str) -> list[str]:
        return [m.name for m in definition.device_birth(device, {}) if not m.name.startswith("Properties/")]

    assert (own("reactor4"), own("scrapped")) == (["temperature", "gone", "temperature@Int32"], ["x"])
    definition.keep_retired([retyped])
    assert definition.devices == ["reactor4"]
    assert own("reactor4") == ["temperature", "temperature@Int32"]
    definition.keep_retired([])
    assert own("reactor4") == ["temperature"]


def test_retired_metrics_change_no_definition_hash(tmp_path: Path):
    config = load(tmp_path, opcua_node('temperature: {node: "i=1"}'))
    retired = retired_metrics([name("gone")], {1: name("gone")}, metric_names(config))
    assert Definition(config, [2]).definition_hash == Definition(config, [2], retired).definition_hash


def test_old_texts_that_are_too_long_for_a_birth_are_shown_as_null(tmp_path: Path):
    config = load(tmp_path, opcua_node('temperature: {node: "i=1"}'))
    texts = [name(f"text{i}", DataType.STRING) for i in range(3)]
    registered = dict(enumerate(texts, 1))
    definition = Definition(config, [9], retired_metrics(texts, registered, metric_names(config)))
    last = dict.fromkeys(registered, (0, 0, "x" * 500000, 0, 0))
    births = {m.name: m.value for m in definition.device_birth("reactor4", last)}
    assert [births[text.name] is None for text in texts] == [False, False, True]


def test_a_union_that_fits_no_payload_is_refused_with_the_way_out(tmp_path: Path):
    config = load(tmp_path, opcua_node('temperature: {node: "i=1"}'))
    many = [name(f"{'n' * 1000}{i}") for i in range(1100)]
    definition = Definition(config, [5000], retired_metrics(many, dict(enumerate(many, 1)), metric_names(config)))
    with pytest.raises(ConfigurationError, match="run the old definition until waiting is 0"):
        refuse_births_that_do_not_fit(config, definition)
