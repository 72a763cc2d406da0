"""Templates in the births of an edge node: definitions in the NBIRTH, instances that keep to them."""

from __future__ import annotations

import msgspec
import pytest

from tests.sparkplug.helpers import T0, batch_of, metric, online_edge, published, subscribed_edge
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import NodeBirth
from uns.sparkplug.metrics import BirthMetric, DataSetValue, MetricValue, TemplateParameter, TemplateValue

MEMBERS = (metric("rpm", DataType.INT32, 0), metric("on", DataType.BOOLEAN, False))
DEFINITION = TemplateValue(metrics=MEMBERS, parameters=(TemplateParameter("maker", DataType.STRING, "Ox"),))
INSTANCE = TemplateValue(template_ref="Motor", metrics=MEMBERS, parameters=DEFINITION.parameters)
PUMP = TemplateValue(metrics=(metric("motor", DataType.TEMPLATE, INSTANCE),))


def template(name: str, value: MetricValue) -> BirthMetric:
    return metric(name, DataType.TEMPLATE, value)


NODE = (template("Motor", DEFINITION),)
DEVICE = (template("motor 1", INSTANCE),)


def birth(*, node=NODE, device=DEVICE) -> NodeBirth:
    return NodeBirth(metrics=list(node), devices={"reactor4": list(device)})


def changed(value: TemplateValue, **more) -> TemplateValue:
    return msgspec.structs.replace(value, **more)


@pytest.mark.tck(
    "tck-id-payloads-template-definition-nbirth",
    "tck-id-payloads-template-instance-ref",
    "tck-id-topics-nbirth-templates",
)
def test_definitions_stand_in_the_nbirth_and_instances_anywhere():
    # tck-id-topics-nbirth-templates, tck-id-payloads-template-definition-nbirth, -definition-members
    session = subscribed_edge()
    pump = TemplateValue(template_ref="Pump", metrics=PUMP.metrics)
    session.birth(
        birth(
            node=[template("Motor", DEFINITION), template("Pump", PUMP), template("own", INSTANCE)],
            device=[template("pump 1", pump)],
        ),
        T0,
    )
    node, device = (codec.decode_birth(message.payload) for message in published(session))
    assert [m.value for m in node.metrics if m.datatype is DataType.TEMPLATE] == [DEFINITION, PUMP, INSTANCE]
    assert [m.value for m in device.metrics] == [pump]


@pytest.mark.tck(
    "tck-id-payloads-template-definition-members",
    "tck-id-payloads-template-definition-nbirth",
    "tck-id-payloads-template-definition-nbirth-only",
    "tck-id-payloads-template-definition-parameters",
    "tck-id-payloads-template-instance-members",
    "tck-id-payloads-template-instance-members-birth",
    "tck-id-payloads-template-instance-ref",
    "tck-id-topics-nbirth-templates",
)
@pytest.mark.parametrize(
    ("given", "tck_id"),
    [
        ({"node": ()}, "template-definition-nbirth"),
        ({"device": [template("Motor", DEFINITION)]}, "template-definition-nbirth-only"),
        ({"device": [template("m", changed(INSTANCE, template_ref="Other"))]}, "template-definition-nbirth"),
        ({"device": [template("m", changed(INSTANCE, metrics=MEMBERS[:1]))]}, "template-instance-members-birth"),
        ({"device": [template("m", changed(INSTANCE, metrics=(*MEMBERS, metric("x"))))]}, "template-instance-members"),
        (
            {"device": [template("m", changed(INSTANCE, metrics=(metric("rpm", DataType.INT8, 0), MEMBERS[1])))]},
            "template-instance-members",
        ),
        (
            {"device": [template("m", changed(INSTANCE, parameters=(TemplateParameter("x", DataType.INT8, 1),)))]},
            "template-definition-parameters",
        ),
        ({"node": [template("Pump", PUMP)]}, "template-definition-nbirth"),
        (
            {
                "node": [
                    template("Motor", DEFINITION),
                    template("P", TemplateValue(metrics=(template("d", DEFINITION),))),
                ]
            },
            "template-definition-nbirth-only",
        ),
    ],
)
def test_birth_that_breaks_a_rule_of_templates_is_a_local_error_and_changes_nothing(given, tck_id):
    session = subscribed_edge()
    session.actions()
    with pytest.raises(LocalProtocolError, match=f"{tck_id}\\)"):
        session.birth(birth(**given), T0)
    assert session.actions() == []
    session.birth(birth(), T0)


@pytest.mark.tck("tck-id-payloads-template-definition-nbirth", "tck-id-payloads-template-instance-ref")
def test_device_that_comes_later_keeps_to_the_nbirth_that_stands():
    session = online_edge(birth=birth())
    session.device_birth("later", [template("motor 2", INSTANCE)], T0)
    with pytest.raises(LocalProtocolError, match="template-definition-nbirth"):
        session.device_birth("other", [template("x", changed(INSTANCE, template_ref="Pump"))], T0)


@pytest.mark.tck(
    "tck-id-payloads-template-definition-nbirth-only",
    "tck-id-payloads-template-definition-parameters",
    "tck-id-payloads-template-instance-members",
    "tck-id-payloads-template-instance-ref",
)
@pytest.mark.parametrize(
    ("value", "tck_id"),
    [
        (DEFINITION, "template-definition-nbirth-only"),
        (changed(INSTANCE, template_ref="Other"), "template-definition-nbirth"),
        (changed(INSTANCE, metrics=(metric("x"),)), "template-instance-members"),
        (changed(INSTANCE, metrics=(metric("on", DataType.INT8, 1),)), "template-instance-members"),
        (
            changed(INSTANCE, parameters=(TemplateParameter("x", DataType.INT8, 1),)),
            "template-definition-parameters",
        ),
    ],
)
def test_data_that_breaks_a_rule_of_templates_is_a_local_error(value, tck_id):
    session = online_edge(birth=birth())
    binding = session.bindings("reactor4")["motor 1"]
    with pytest.raises(LocalProtocolError, match=f"{tck_id}\\)"):
        session.publish_data("reactor4", batch_of([binding], [value]), T0)
    assert published(session) == []
    session.publish_data("reactor4", batch_of([binding], [changed(INSTANCE, metrics=MEMBERS[:1], parameters=())]), T0)
    assert len(published(session)) == 1


def test_instance_in_data_after_a_rebirth_that_changed_its_members():
    session = online_edge(birth=birth())
    wider = (*MEMBERS, metric("load", DataType.DOUBLE, 1.0))
    again = birth(
        node=[template("Motor", changed(DEFINITION, metrics=wider))],
        device=[template("motor 1", changed(INSTANCE, metrics=wider))],
    )
    session.birth(again, T0)
    table = AliasTable.of_birth(codec.decode_birth(published(session)[1].payload))
    part = TemplateValue(template_ref="Motor", metrics=(metric("load", DataType.DOUBLE, 2.0),))
    session.publish_data("reactor4", batch_of([session.bindings("reactor4")["motor 1"]], [part]), T0)
    (message,) = published(session)
    assert codec.decode_data(message.payload, table).values == [part]


def test_tables_and_arrays_go_through_a_session():
    table = DataSetValue(("a",), (DataType.INT8,), ((1,),))
    session = online_edge(
        birth=NodeBirth(
            metrics=[metric("t", DataType.DATASET, table), metric("a", DataType.INT8_ARRAY, ())], devices={}
        )
    )
    bindings = session.bindings(None)
    session.publish_data(None, batch_of([bindings["t"], bindings["a"]], [table, (1, -1)]), T0)
    (message,) = published(session)
    assert codec.decode_data(message.payload, AliasTable([])).rejected
    rows = AliasTable()
    for row in bindings.values():
        rows.add(row)
    assert codec.decode_data(message.payload, rows).values == [table, (1, -1)]
