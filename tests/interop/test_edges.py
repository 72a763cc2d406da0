"""Foreign edge nodes before our host: what is recorded, what is forgiven, what they break."""

from __future__ import annotations

from itertools import groupby

import pytest

from tests.interop.connects import edge_connect_faults
from tests.interop.expectations import Expected
from tests.interop.scenes import NODE, EdgeScene
from tests.interop.values import EXTREME, PLAIN, TYPES, metric_name

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]


def test_every_value_of_every_type_is_recorded(expected: Expected, edge_scene: EdgeScene):
    if not expected.records:
        assert edge_scene.recorded == {}
        return
    # A rebirth says the value of the birth again, which is a sample of its own.
    changes = {name: [value for value, _ in groupby(values)][:3] for name, values in edge_scene.recorded.items()}
    assert changes == {metric_name(datatype): [PLAIN[datatype], EXTREME[datatype], None] for datatype in TYPES}


def test_what_the_edge_node_breaks(expected: Expected, edge_scene: EdgeScene):
    breaks = {tck_id for f in edge_scene.findings if f.subject == str(NODE) for tck_id in f.tck_ids}
    for connect in edge_scene.connects:
        if connect.will_topic is not None and "/NDEATH/" in connect.will_topic:
            breaks |= edge_connect_faults(connect, NODE)
    assert breaks - expected.edge_may_break == expected.edge_breaks


def test_what_the_edge_node_does_and_what_it_does_not(expected: Expected, edge_scene: EdgeScene):
    assert {step for step, came in edge_scene.happened.items() if not came} == expected.edge_does_not
    assert edge_scene.refused == {}


def test_what_our_host_forgives_is_counted(expected: Expected, edge_scene: EdgeScene):
    assert set(edge_scene.leniencies) == expected.edge_leniencies
    assert set(edge_scene.warnings) == expected.edge_warnings
    assert edge_scene.violations == {}
