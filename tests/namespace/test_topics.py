"""The uns1 grammar: one spelling for every name, and topics that are what the design's table says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.namespace.builders import tree_of, tree_text
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.namespace.topics import (
    FactTopic,
    Uns1Topic,
    Uns1Topics,
    escape,
    is_level,
    metric_level,
    metric_name,
    parse_fact_topic,
    parse_uns1_topic,
    unescape,
)
from uns.sparkplug.topics import EdgeNodeDescriptor

NAMES = st.text(min_size=1)
LEVEL = re.compile(r"[A-Za-z0-9~][A-Za-z0-9_~-]*")

PLANT = tree_text(
    name="batch/count",
    equipment="""
    reaction:
      level: Area
      equipment:
        Line 2:
          level: ProcessCell
          id: line2
          equipment:
            reactor4: {level: Unit, class: Pump, gateways: [gw-1]}
    """,
)


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("reactor4", "reactor4"),
        ("WO-10234", "WO-10234"),
        ("line_2", "line_2"),
        ("0010", "0010"),
        ("a.b", "a~2Eb"),
        ("~", "~7E"),
        ("_pv", "~5Fpv"),
        ("-1", "~2D1"),
        ("a/b+c#d", "a~2Fb~2Bc~23d"),
        ("Straße 1", "Stra~C3~9Fe~201"),
        ("$SYS", "~24SYS"),
    ],
)
def test_escape_by_example(name, level):
    assert escape(name) == level
    assert unescape(level) == name


@given(NAMES)
def test_escape_is_reversible_and_in_the_grammar(name):
    level = escape(name)
    assert LEVEL.fullmatch(level)
    assert unescape(level) == name


@given(NAMES, NAMES)
def test_two_names_never_share_a_level(first, second):
    assert (escape(first) == escape(second)) == (first == second)


@given(st.text())
def test_unescape_takes_only_what_escape_writes(level):
    try:
        name = unescape(level)
    except RemoteProtocolError:
        return
    assert escape(name) == level


@pytest.mark.parametrize("level", ["", "~", "~2", "~2e", "~zz", "~41", "a.b", "_pv", "-a", "~FF", "a b", "~C3"])
def test_unescape_refuses_other_spellings(level):
    with pytest.raises(RemoteProtocolError):
        unescape(level)


def test_nothing_is_no_level():
    with pytest.raises(LocalProtocolError):
        escape("")
    assert not is_level("")


def test_is_level_knows_the_bound():
    assert is_level("a" * 64)
    assert not is_level("a" * 65)
    assert not is_level("_a")


@pytest.mark.parametrize(
    ("name", "level"),
    [("batch/count", "batch.count"), ("flow.rate", "flow~2Erate"), ("a/_b/c", "a.~5Fb.c"), ("x", "x")],
)
def test_metric_folders_join_with_a_dot(name, level):
    assert metric_level(name) == level
    assert metric_name(level) == name


@given(st.lists(NAMES.filter(lambda name: "/" not in name), min_size=1, max_size=4).map("/".join))
def test_metric_levels_are_reversible_and_one_level(name):
    assert "/" not in metric_level(name)
    assert metric_name(metric_level(name)) == name


def test_topics_are_those_of_the_table():
    topics = Uns1Topics(tree_of(PLANT))
    of = topics.of("reactor4")
    place = "uns1/acme/dallas/reaction/Line~202/reactor4"
    assert of.place == topics.place("reactor4") == place
    assert topics.pv("reactor4", "batch/count") == f"{place}/_pv/batch.count"
    assert topics.pv_snapshot("reactor4") == f"{place}/_pv"
    assert topics.ctx("reactor4") == f"{place}/_ctx"
    assert topics.meta("reactor4") == f"{place}/_meta"
    assert topics.meta("reactor4", "batch/count") == f"{place}/_meta/batch.count"
    assert topics.health("reactor4") == f"{place}/_health"
    assert topics.data("reactor4") == "uns1/acme/dallas/_data/reaction/Line~202/reactor4"
    assert topics.res("reactor4") == "uns1/acme/dallas/_res/reaction/Line~202/reactor4"
    assert topics.event("reactor4", "conflict") == "uns1/acme/dallas/_event/reaction/Line~202/reactor4/conflict"
    assert topics.site_stream_filter("dallas", "data") == "uns1/acme/dallas/_data/#"
    assert topics.fact_filter == "uns1/acme/+/_fact/#"
    assert topics.fact("dallas", "mes", "job") == "uns1/acme/dallas/_fact/mes/job"
    assert topics.fact_result("dallas", "mes", "job") == "uns1/acme/dallas/_fact_result/mes/job"
    assert topics.work_order("dallas", "WO/1") == "uns1/acme/dallas/_wo/WO~2F1"
    assert topics.lot("dallas", "L-8891") == "uns1/acme/dallas/_lot/L-8891"
    assert topics.dlq("mes bridge") == "uns1/_dlq/mes~20bridge"


def test_sparkplug_ids_stand_raw():
    topics = Uns1Topics(tree_of(PLANT))
    node = EdgeNodeDescriptor("acme.dallas", "gw 1")
    assert topics.unmapped(node) == "uns1/_unmapped/acme.dallas/gw 1"
    assert topics.unmapped(node, "pump.1") == "uns1/_unmapped/acme.dallas/gw 1/pump.1"


def test_an_equipment_without_a_class_has_topics_too():
    assert Uns1Topics(tree_of(PLANT)).ctx("line2") == "uns1/acme/dallas/reaction/Line~202/_ctx"


@given(NAMES, NAMES)
def test_fact_topics_are_read_as_they_are_written(source, kind):
    topics = Uns1Topics(tree_of(PLANT))
    assert parse_fact_topic(topics.fact("dallas", source, kind)) == FactTopic("acme", "dallas", source, kind)
    result = parse_fact_topic(topics.fact_result("dallas", source, kind))
    assert result == FactTopic("acme", "dallas", source, kind, is_result=True)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "uns1",
        "uns1/acme/dallas/_fact/mes",
        "uns1/acme/dallas/_fact/mes/job/more",
        "uns1/acme/dallas/_data/mes/job",
        "uns2/acme/dallas/_fact/mes/job",
        "uns1/acme/dallas/_fact//job",
        "uns1/acme/dallas/_fact/~6des/job",
        "uns1/acme/dallas/_fact/" + "m" * 70_000 + "/job",
    ],
)
def test_what_is_no_fact_topic_is_refused(topic):
    with pytest.raises(RemoteProtocolError):
        parse_fact_topic(topic)


def test_any_topic_is_read_into_place_class_and_rest():
    assert parse_uns1_topic("uns1/acme/dallas/Line~202/_pv/batch.count") == Uns1Topic(
        ("acme", "dallas", "Line 2"), "pv", ("batch.count",)
    )
    assert parse_uns1_topic("uns1/_unmapped/acme.dallas/gw 1") == Uns1Topic((), "unmapped", ("acme.dallas", "gw 1"))
    assert parse_uns1_topic("uns1/acme") == Uns1Topic(("acme",), "", ())


@given(st.text())
def test_no_topic_raises_anything_but_a_remote_error(text):
    for topic in (text, f"uns1/{text}", f"uns1/a/b/_fact/{text}"):
        for read in (parse_uns1_topic, parse_fact_topic):
            try:
                read(topic)
            except RemoteProtocolError:
                continue
