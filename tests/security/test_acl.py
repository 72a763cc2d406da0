"""The access list of a tree: who is in it, what each may write, and what it refuses to render."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

from tests.namespace.builders import tree_text
from uns.delivery.messages import mark_topic
from uns.errors import ConfigurationError
from uns.namespace.acl import (
    Bridge,
    Grant,
    Reader,
    access_grants,
    parse_bridge,
    parse_reader,
    render_mosquitto_acl,
    render_mosquitto_config,
)
from uns.namespace.loader import load_tree
from uns.namespace.topics import Uns1Topics
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

TREE = load_tree(Path(__file__).resolve().parents[2] / "topic_tree.yaml")


def grants_of(**options) -> dict[str, Grant]:
    return {grant.credential: grant for grant in access_grants(TREE, **options)}


def matches(topic_filter: str, topic: str) -> bool:
    pattern = re.escape(topic_filter).replace(r"\+", "[^/]+").replace(r"/\#", "(/.*)?")
    return re.fullmatch(pattern, topic) is not None


def writers_of(topic: str, **options) -> set[str]:
    return {name for name, grant in grants_of(**options).items() if any(matches(f, topic) for f in grant.write)}


def test_every_party_of_the_tree_has_a_credential_of_its_own():
    assert set(grants_of()) == {
        "acme.dallas/gw-reaction-1",
        "acme.dallas/gw-energy",
        "uns-host-1",
        "uns-host-1-out",
        "uns-host-1-facts",
        "fact/mes",
        "fact/scanner",
        "reader/acme.dallas",
    }


def test_an_edge_node_has_no_wildcard_at_all():
    for gateway in TREE.gateways():
        grant = grants_of()[str(TREE.edge_node(gateway))]
        assert not any(character in topic for topic in (*grant.write, *grant.read) for character in "+#")


def test_an_edge_node_writes_the_devices_that_it_feeds_and_no_other():
    written = grants_of()["acme.dallas/gw-energy"].write
    assert "spBv1.0/acme.dallas/DDATA/gw-energy/packer1" in written
    assert not any("mill1" in topic or "gw-reaction-1" in topic for topic in written)


@pytest.mark.parametrize(
    ("topic", "writers"),
    [
        ("spBv1.0/acme.dallas/NBIRTH/gw-energy", {"acme.dallas/gw-energy"}),
        ("spBv1.0/acme.dallas/NDEATH/gw-energy", {"acme.dallas/gw-energy"}),
        ("spBv1.0/acme.dallas/NCMD/gw-energy", {"uns-host-1"}),
        ("spBv1.0/acme.dallas/DCMD/gw-energy/packer1", set()),
        ("spBv1.0/STATE/uns-host-1", {"uns-host-1"}),
        ("uns1/_mark/acme.dallas/gw-energy", {"acme.dallas/gw-energy"}),
        ("uns1/_confirm/acme.dallas/gw-energy", {"uns-host-1"}),
        ("uns1/_online/acme.dallas/gw-energy", {"acme.dallas/gw-energy"}),
        ("uns1/acme/dallas/_fact/mes/job", {"fact/mes"}),
        ("uns1/acme/dallas/_fact/scanner/job", set()),
        ("uns1/acme/dallas/_fact/plc/job", set()),
        ("uns1/acme/dallas/_fact_result/mes/job", {"uns-host-1-out"}),
        ("uns1/acme/dallas/reaction/line2/reactor4/_cmd/start", set()),
        ("uns1/acme/dallas/_lot/L-8891", {"uns-host-1-out"}),
        ("uns1/_dlq/sparkplug", {"uns-host-1-out"}),
        ("uns1/_audit/uns-host-1", {"uns-host-1-out"}),
        ("uns1/_audit/history", set()),
        ("uns1/_audit/acme~2Edallas~2Fgw-energy", {"acme.dallas/gw-energy"}),
        ("uns1/_unmapped/acme.dallas/gw-energy/pump", {"uns-host-1-out"}),
        ("$SYS/broker/version", set()),
    ],
)
def test_a_topic_has_the_writers_that_the_contract_names(topic, writers):
    assert writers_of(topic) == writers


def test_everything_the_host_shows_of_an_equipment_has_one_writer():
    topics = Uns1Topics(TREE)
    for equipment in TREE.equipment:
        of = topics.of(equipment)
        shown = (of.pv_snapshot, *of.pv.values(), of.ctx, of.meta, *of.meta_of.values(), of.health, of.data, of.res)
        for topic in (*shown, topics.event(equipment, "alarm"), topics.work_order("dallas", "WO-1")):
            assert writers_of(topic) == {"uns-host-1-out"}, topic
    assert writers_of(topics.unmapped(EdgeNodeDescriptor("acme.dallas", "x"))) == {"uns-host-1-out"}


def test_no_host_output_and_no_reader_writes_sparkplug_or_facts():
    for name in ("uns-host-1-out", "uns-host-1-facts", "reader/acme.dallas"):
        assert not any(fnmatch.fnmatch(t, "spBv1.0/*") or "/_fact/" in t for t in grants_of()[name].write)


def test_every_host_is_heard_by_every_edge_node_and_writes_its_own_state_alone():
    grants = grants_of(host_ids=("a", "b"))
    assert {"spBv1.0/STATE/a", "spBv1.0/STATE/b"} <= set(grants["acme.dallas/gw-energy"].read)
    assert writers_of("spBv1.0/STATE/b", host_ids=("a", "b")) == {"b"}


def test_readers_are_named_and_may_be_of_one_site():
    readers = (parse_reader("historian"), parse_reader("board@dallas"))
    assert readers == (Reader("historian"), Reader("board", "dallas"))
    grants = grants_of(readers=readers)
    assert grants["board"].read == grants["historian"].read == ("uns1/acme/dallas/#", "uns1/_audit/+")
    assert "reader/acme.dallas" not in grants


def test_an_observer_hears_all_of_sparkplug_and_writes_nothing():
    grant = grants_of(observers=("doctor",))["doctor"]
    assert grant.write == ()
    node = EdgeNodeDescriptor("acme.dallas", "gw-energy")
    kinds = (kind for kind in MessageType if kind.value.startswith("N"))
    heard = (*map(node.topic, kinds), mark_topic(node), "spBv1.0/STATE/uns-host-1")
    for topic in heard:
        assert any(matches(allowed, topic) for allowed in grant.read), topic
    assert not any(matches(allowed, "uns1/acme/dallas/_data/line2/reactor4") for allowed in grant.read)


def test_an_anchor_has_one_writer_who_may_read_it_back_and_readers():
    bridges = (parse_bridge("history"), parse_bridge("erp@mes"))
    assert bridges == (Bridge("history"), Bridge("erp", "mes"))
    for topic, writer in (
        ("uns1/_audit/history", "bridge/history"),
        ("uns1/_audit/erp", "fact/mes"),
        ("uns1/_audit/uns-host-1", "uns-host-1-out"),
    ):
        assert writers_of(topic, bridges=bridges) == {writer}
        reading = {n for n, g in grants_of(bridges=bridges).items() if any(matches(f, topic) for f in g.read)}
        assert reading == {writer, "reader/acme.dallas"}
    assert grants_of(bridges=bridges)["bridge/history"].write == ("uns1/_audit/history",)


@pytest.mark.parametrize("text", ["", "@mes", "erp@"])
def test_a_bridge_without_name_or_source_is_refused(text):
    with pytest.raises(ConfigurationError, match="bridge"):
        parse_bridge(text)


@pytest.mark.parametrize("text", ["", "@dallas", "board@"])
def test_a_reader_without_name_or_site_is_refused(text):
    with pytest.raises(ConfigurationError, match="reader"):
        parse_reader(text)


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        ({"readers": (Reader("uns-host-1"),)}, "would serve two"),
        ({"host_ids": ("fact/mes",)}, "/"),
        ({"readers": (Reader("n" * 65),)}, "65 characters"),
        ({"readers": (Reader("a+b"),)}, "no + and #"),
        ({"readers": (Reader("a\nuser b"),)}, "control character"),
        ({"readers": (Reader(" a"),)}, "no spaces at its ends"),
        ({"readers": (Reader("a", "houston"),)}, "houston"),
        ({"bridges": (Bridge("a"), Bridge("a", "mes"))}, "another component"),
        ({"bridges": (Bridge("uns-host-1"),)}, "another component"),
        ({"bridges": (Bridge("a", "nobody"),)}, "nobody"),
        ({"bridges": (Bridge("a", "plc"),)}, "plc"),
    ],
)
def test_a_credential_that_cannot_be_told_apart_is_refused(options, finding):
    with pytest.raises(ConfigurationError) as refused:
        access_grants(TREE, **options)
    assert finding in "\n".join((str(refused.value), *refused.value.findings))


def test_what_is_only_escaped_in_topics_stays_as_it_is_in_sparkplug(tmp_path):
    path = tmp_path / "topic_tree.yaml"
    path.write_text(tree_text().replace("dallas", "dallas west"))
    tree = load_tree(path)
    reader = access_grants(tree)[-1]
    assert reader.credential == "reader/acme.dallas west"
    assert reader.read == ("uns1/acme/dallas~20west/#", "uns1/_audit/+")


def test_the_acl_file_begins_with_no_rule_for_anonymous_and_no_pattern():
    lines = [line for line in render_mosquitto_acl(access_grants(TREE), TREE).splitlines() if line[:1] not in ("", "#")]
    assert lines[0].startswith("user ")
    assert {line.split(" ")[0] for line in lines} == {"user", "topic"}
    assert {line.split(" ")[1] for line in lines if line.startswith("topic")} == {"read", "write"}


def test_the_listener_binds_user_name_and_client_id_to_the_certificate_below_its_own_line():
    lines = render_mosquitto_config(port=8884, directory="d").splitlines()
    listener = lines.index("listener 8884")
    for line in ("require_certificate true", "use_identity_as_username true", "use_username_as_clientid true"):
        assert lines.index(line) > listener
    assert "allow_anonymous false" in lines
    assert "acl_file d/acl" in lines
