"""From files to a tree: what the loaded tree says, includes, and the hash that does not see layout."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.namespace.builders import make_tree, rules_of, tree_of, tree_text
from uns.context.facts import KINDS, Kind
from uns.errors import ConfigurationError
from uns.namespace.classes import CONTEXT_KINDS
from uns.namespace.loader import INCLUDE_DEPTH_MAX, INCLUDE_FILES_MAX, lint_text, lint_tree, load_tree
from uns.namespace.model import ContextSource, EquipmentLevel
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.topics import DeviceDescriptor, EdgeNodeDescriptor

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_plant_has_no_findings():
    assert lint_tree(ROOT / "topic_tree.yaml") == []


def test_the_example_plant_is_the_one_of_the_design():
    tree = load_tree(ROOT / "topic_tree.yaml")
    reactor = tree.equipment["reactor4"]
    assert reactor.path_text == "acme/dallas/reaction/line2/reactor4"
    assert reactor.gateways == ("gw-reaction-1", "gw-energy")
    assert reactor.level is EquipmentLevel.UNIT
    assert [above.id for above in tree.lineage("reactor4")] == ["reactor4", "line2", "reaction"]
    count = tree.classes["BatchReactor"].metrics["batch/count"]
    assert (count.datatype, count.role, count.counts, count.rollover) == (DataType.UINT32, "counter", "good", 2**32)
    assert tree.classes["BatchReactor"].requires == ("job", "lot")
    assert tree.sites["dallas"].time_zone == "America/Chicago"
    assert tree.edge_node("gw-energy") == EdgeNodeDescriptor("acme.dallas", "gw-energy")
    assert {e.id for e in tree.fed_by("gw-energy")} == {"reactor4", "packer1"}
    device = DeviceDescriptor(EdgeNodeDescriptor("acme.dallas", "gw-energy"), "mill1")
    assert tree.equipment_of(device) is None


def test_the_kinds_of_the_tree_are_the_kinds_of_facts():
    assert set(CONTEXT_KINDS) == KINDS == set(get_args(Kind))


def test_the_plc_is_a_source_without_being_named():
    tree = make_tree(metric="{type: String, role: context, provides: recipe_phase}")
    assert tree.context["plc"] == ContextSource(name="plc", provides=("recipe_phase",), precedence=0)


def test_the_plc_may_be_given_another_precedence():
    tree = make_tree(
        metric="{type: String, role: context, provides: job}", context="{plc: {precedence: 20, grace: 5s, bridge: 1m}}"
    )
    assert tree.context["plc"] == ContextSource(
        name="plc", provides=("job",), precedence=20, grace_ns=5 * 10**9, bridge_ns=60 * 10**9
    )


def test_a_source_has_defaults():
    tree = make_tree(context="{mes: {provides: [job, job]}}")
    assert tree.context["mes"] == ContextSource(name="mes", provides=("job",), precedence=0)
    assert tree.context["mes"].grace_ns == 300 * 10**9


def test_an_id_may_differ_from_its_level():
    tree = make_tree(equipment="line1: {level: ProductionLine, id: dallas-line1}")
    assert tree.equipment["dallas-line1"].path == ("acme", "dallas", "line1")


def test_an_owner_is_inherited():
    tree = make_tree(
        equipment="""
        a:
          level: Area
          owner: process
          equipment:
            b: {level: Unit}
            c: {level: Unit, owner: energy}
        """
    )
    assert [tree.equipment[name].owner for name in "abc"] == ["process", "process", "energy"]


def test_parallel_jobs_and_no_pv_are_said_by_the_class():
    text = tree_text().replace("context: {requires: []}", "context: {allow_parallel: true}\n    pv: false")
    pump = tree_of(text).classes["Pump"]
    assert pump.allow_parallel
    assert not pump.pv


def test_the_hash_sees_meaning_and_not_layout():
    text = (ROOT / "topic_tree.yaml").read_text()
    tree = tree_of(text)
    assert len(tree.contract_hash) == 64
    assert tree_of("# another comment\n" + text.replace("  ", "  ")).contract_hash == tree.contract_hash
    top = text[text.index("context:                 ") :]
    assert (
        tree_of(text.replace(top, "").replace("classes:\n", top + "classes:\n", 1)).contract_hash == tree.contract_hash
    )
    assert tree_of(text.replace("deadband: 0.1", "deadband: 0.2")).contract_hash != tree.contract_hash
    assert tree_of(text.replace("gateways: [gw-energy]", "gateways: [gw-e]")).contract_hash != tree.contract_hash


def test_a_tree_in_files_is_the_tree_in_one_file(tmp_path):
    whole = make_tree(
        equipment="hall:\n  level: Area\n  equipment:\n    pump1: {level: Unit, class: Pump, gateways: [gw-1]}"
    )
    (tmp_path / "areas").mkdir()
    (tmp_path / "topic_tree.yaml").write_text(
        "uns: 1\nenterprise: acme\ninclude: [areas/classes.yaml, areas/hall.yaml]\n"
        "sites: {dallas: {time_zone: America/Chicago, equipment: {hall: {level: Area}}}}\n"
    )
    (tmp_path / "areas" / "classes.yaml").write_text(
        "uns: 1\nclasses: {Pump: {metrics: {flow: {type: Float, unit: MQH}}}}\n"
    )
    (tmp_path / "areas" / "hall.yaml").write_text(
        "uns: 1\nsites: {dallas: {equipment: {hall: {equipment: "
        "{pump1: {level: Unit, class: Pump, gateways: [gw-1]}}}}}}\n"
    )
    tree = load_tree(tmp_path / "topic_tree.yaml")
    assert tree == whole


def test_a_reopened_equipment_says_nothing_but_equipment(tmp_path):
    (tmp_path / "more.yaml").write_text("uns: 1\nsites: {dallas: {equipment: {pump1: {level: Area, equipment: {}}}}}\n")
    (tmp_path / "topic_tree.yaml").write_text(tree_text() + "include: [more.yaml]\n")
    (finding,) = lint_tree(tmp_path / "topic_tree.yaml")
    assert (finding.rule, Path(finding.file).name) == ("unknown-key", "more.yaml")
    assert "declared at" in finding.text


def test_includes_are_bounded_in_depth(tmp_path):
    files = {f"{n}.yaml": f"uns: 1\ninclude: [{n + 1}.yaml]\n" for n in range(INCLUDE_DEPTH_MAX + 2)}
    text = tree_text() + "include: [0.yaml]\n"
    tree, findings = lint_text(text, read=lambda path: files[path.name])
    assert tree is None
    assert [finding.rule for finding in findings] == ["include-bound"]


def test_includes_are_bounded_in_number():
    text = tree_text() + f"include: [{', '.join(f'{n}.yaml' for n in range(INCLUDE_FILES_MAX + 5))}]\n"
    tree, findings = lint_text(text, read=lambda _: "uns: 1\n")
    assert tree is None
    assert {finding.rule for finding in findings} == {"include-bound"}


def test_a_broken_include_does_not_make_the_rest_look_wrong():
    text = tree_text().replace("classes:\n  Pump:", "include: [c.yaml]\nclasses:\n  Other:")
    assert rules_of(text.replace("include: [c.yaml]\n", "")) == ["unknown-class"]
    _, findings = lint_text(text, read=lambda _: "uns: 1\nclasses: {Pump: {")
    assert [finding.rule for finding in findings] == ["syntax"]


def test_load_raises_with_every_finding_as_a_line(tmp_path):
    path = tmp_path / "topic_tree.yaml"
    path.write_text(tree_text(metric="{type: Flaot, units: MQH}"))
    with pytest.raises(ConfigurationError) as caught:
        load_tree(path)
    assert len(caught.value.findings) == 2
    assert caught.value.findings[0].startswith(f"{path}:7:20: unknown-type: 'Flaot'")


def test_warnings_alone_do_not_stop_a_tree():
    tree, findings = lint_text(tree_text(name="flow.rate"))
    assert tree is not None
    assert [finding.severity for finding in findings] == ["warning"]


def test_a_missing_tree_says_so(tmp_path):
    for ask in (load_tree, lint_tree):
        with pytest.raises(ConfigurationError, match="cannot read the file"):
            ask(tmp_path / "none.yaml")


# Every line of the example plant, cut, doubled and mixed: whatever comes out, it is a tree or it is findings.
_LINES = (ROOT / "topic_tree.yaml").read_text().splitlines()
_MIXED = st.lists(
    st.one_of(
        st.sampled_from(_LINES),
        st.builds(lambda n, line: " " * n + line.strip(), st.integers(0, 12), st.sampled_from(_LINES)),
        st.text(max_size=20),
    ),
    max_size=40,
).map("\n".join)


@st.composite
def damaged_plants(draw: st.DrawFn) -> str:
    lines = list(_LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = draw(st.integers(0, len(line)))
        damages = (
            *(line[:cut], line[cut:], line + "\n" + line, "  " + line, line.replace(":", ": -", 1)),
            *(line.replace("[", "{"), line[:cut] + draw(st.text(max_size=3)) + line[cut:], line.replace(" ", "", 2)),
        )
        lines[at] = draw(st.sampled_from(damages))
    return "\n".join(lines)


@settings(max_examples=150, deadline=None)
@given(st.one_of(_MIXED, damaged_plants()))
def test_any_text_gives_a_tree_or_errors_and_never_raises(text):
    tree, findings = lint_text("uns: 1\n" + text if not text.startswith("#") else text, read=lambda _: text)
    assert (tree is None) == any(finding.severity == "error" for finding in findings)


_KEYS = st.sampled_from(
    "uns enterprise classes sites context include metrics type range level equipment id requires provides grace"
    f" gateways time_zone Pump dallas _x a/b null {'é' * 40} ".split(" ")
)
_WORDS = st.sampled_from(["1", "Float", "Area", "job", "UTC", "~", "5s", "-1", "Pump", ".inf", "yes"])
_NODES = st.recursive(
    st.one_of(_WORDS, st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=5)),
    max_leaves=25,
)


def _flow(node: object) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f'"{key}": {_flow(value)}' for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(_flow(item) for item in node) + "]"
    return str(node) if str(node).isalnum() or node in ("~", "-1", ".inf") else '"x"'


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_KEYS, _NODES, max_size=7))
def test_any_shape_gives_a_tree_or_errors_and_never_raises(document):
    tree, findings = lint_text(_flow(document), read=lambda _: "uns: 1\n")
    assert (tree is None) == any(finding.severity == "error" for finding in findings)
