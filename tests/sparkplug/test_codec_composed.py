"""Tables, templates, nested properties, metadata: their rules, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import T0_MS, batch_of, metric, table_of
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import (
    BirthMetric,
    DataSetValue,
    MetaData,
    Property,
    TemplateParameter,
    TemplateValue,
)

TABLE = DataSetValue(
    ("size", "name", "big", "at"),
    (DataType.INT8, DataType.STRING, DataType.UINT64, DataType.DATETIME),
    ((-1, "a", 2**64 - 1, T0_MS), (0, "", 0, 0)),
)
MOTOR = TemplateValue(
    version="2.1",
    metrics=(
        metric("rpm", DataType.INT32, -5),
        metric("on", DataType.BOOLEAN, False),
        metric("trend", DataType.INT16_ARRAY, (1, -1)),
    ),
    parameters=(TemplateParameter("maker", DataType.STRING, "Ox"), TemplateParameter("poles", DataType.INT8, -2)),
)
PUMP_OF_MOTOR = TemplateValue(
    template_ref="Pump",
    metrics=(
        metric(
            "motor",
            DataType.TEMPLATE,
            TemplateValue(template_ref="Motor", metrics=MOTOR.metrics, parameters=MOTOR.parameters[:1]),
        ),
        metric("flow", DataType.DOUBLE, 1.5),
    ),
)


def birth_of(*metrics: BirthMetric) -> bytes:
    return codec.encode_birth(metrics, timestamp_ms=T0_MS, seq=0)


def round_trip(subject: BirthMetric) -> BirthMetric:
    birth = codec.decode_birth(birth_of(subject))
    assert (birth.rejected, birth.warnings, birth.leniencies) == ([], (), {})
    return birth.metrics[0]


def wire_of(payload: bytes) -> Payload.Metric:
    return Payload.FromString(payload).metrics[0]


def data_round_trip(subject: BirthMetric, value):
    table = AliasTable.of_birth(codec.decode_birth(birth_of(subject)))
    payload = codec.encode_data(batch_of(table.by_name.values(), [value]), timestamp_ms=1, seq=1)
    data = codec.decode_data(payload, table)
    assert (data.rejected, data.leniencies) == ([], {})
    return data.values[0], payload


# ── DataSet ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-payloads-dataset-column-num-headers",
    "tck-id-payloads-dataset-column-size",
    "tck-id-payloads-dataset-parameter-type-req",
    "tck-id-payloads-dataset-types-def",
    "tck-id-payloads-dataset-types-type",
    "tck-id-payloads-template-dataset-value",
)
def test_dataset_in_birth_and_data():
    # payloads-dataset-column-size, -column-num-headers, -types-def, -types-num, -types-type, -types-value,
    # -parameter-type-req; payloads-template-dataset-value
    subject = metric("t", DataType.DATASET, TABLE, alias=3)
    assert round_trip(subject).value == TABLE
    value, payload = data_round_trip(subject, TABLE)
    assert value == TABLE
    wire = wire_of(payload).dataset_value
    assert (wire.num_of_columns, list(wire.columns), list(wire.types)) == (4, list(TABLE.columns), [1, 12, 8, 13])
    assert [cell.WhichOneof("value") for cell in wire.rows[0].elements] == [
        "int_value",
        "string_value",
        "long_value",
        "long_value",
    ]
    assert wire.rows[0].elements[0].int_value == 2**32 - 1  # -1, sign-extended


def test_dataset_types_are_not_packed_and_read_in_both_forms():
    wire = wire_of(birth_of(metric("t", DataType.DATASET, DataSetValue(("a", "b"), (DataType.INT8,) * 2))))
    unpacked = wire.SerializeToString()
    assert b"\x18\x01\x18\x01" in unpacked
    packed = unpacked.replace(b"\x18\x01\x18\x01", b"\x1a\x02\x01\x01")
    birth = codec.decode_birth(bytes([0x12, len(packed)]) + packed)
    assert birth.metrics[0].value == DataSetValue(("a", "b"), (DataType.INT8, DataType.INT8))


def test_empty_dataset_is_no_null():
    assert round_trip(metric("t", DataType.DATASET, DataSetValue((), ()))).value == DataSetValue((), ())
    assert round_trip(metric("t", DataType.DATASET, None)).value is None


@pytest.mark.tck(
    "tck-id-payloads-dataset-column-num-headers",
    "tck-id-payloads-dataset-types-num",
    "tck-id-payloads-dataset-types-value",
    "tck-id-payloads-template-dataset-value",
)
@pytest.mark.parametrize(
    "value",
    [
        DataSetValue(("a",), ()),
        DataSetValue(("a",), (DataType.DATASET,)),
        DataSetValue(("a",), (DataType.INT8_ARRAY,)),
        DataSetValue(("a",), (DataType.UUID,)),
        DataSetValue(("a",), (DataType.INT8,), ((1, 2),)),
        DataSetValue(("a",), (DataType.INT8,), ((128,),)),
        DataSetValue(("a",), (DataType.INT8,), ((None,),)),  # tables have no null: template-dataset-value
        DataSetValue(("\ud800",), (DataType.INT8,)),
        "table",
    ],
)
def test_dataset_that_breaks_a_rule_is_a_local_error(value):
    with pytest.raises(LocalProtocolError, match="metric 't"):
        birth_of(metric("t", DataType.DATASET, value))


def dataset_data(change) -> tuple[list[Any], list[str], dict[str, int]]:
    wire = Payload(timestamp=1)
    dataset = wire.metrics.add(alias=3).dataset_value
    dataset.num_of_columns = 2
    dataset.columns.extend(["a", "b"])
    dataset.types.extend([3, 12])
    elements = dataset.rows.add().elements
    elements.add(int_value=1)
    elements.add(string_value="x")
    change(dataset)
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("t", DataType.DATASET, alias=3)))
    values: list[Any] = data.values
    return values, [one.reason for one in data.rejected], data.leniencies


def test_cell_without_value_is_read_as_none_and_counted():  # Tahu's null
    values, reasons, leniencies = dataset_data(lambda d: d.rows[0].elements[1].Clear())
    assert (values[0].rows, reasons, leniencies) == (((1, None),), [], {"null_without_flag": 1})


def test_wrong_number_of_columns_is_forgiven_where_the_lists_agree():
    values, reasons, leniencies = dataset_data(lambda d: d.ClearField("num_of_columns"))
    assert (values[0].columns, reasons) == (("a", "b"), [])
    assert leniencies == {"tck-id-payloads-dataset-column-size": 1}


def _widen(dataset):
    dataset.rows[0].elements.add(int_value=1)


def _set_type(dataset):
    dataset.types[0] = 22


def _set_cell(dataset):
    dataset.rows[0].elements[0].string_value = "x"


@pytest.mark.parametrize(
    "change", [lambda d: d.columns.append("c"), lambda d: d.types.pop(), _widen, _set_type, _set_cell]
)
def test_dataset_that_contradicts_itself_is_rejected(change):
    values, reasons, _ = dataset_data(change)
    assert (values, reasons) == ([], ["wrong_type"])


def test_cells_are_bounded_before_they_are_built():
    def fill(count):
        def change(dataset):
            del dataset.rows[:]
            for _ in range(count):
                elements = dataset.rows.add().elements
                elements.add(int_value=1)
                elements.add(string_value="x")

        return change

    assert len(dataset_data(fill(codec.CELLS_MAX // 2))[0][0].rows) == codec.CELLS_MAX // 2
    assert dataset_data(fill(codec.CELLS_MAX // 2 + 1))[1] == ["out_of_range"]

    def many_empty_rows(dataset):
        dataset.Clear()
        for _ in range(codec.CELLS_MAX + 1):
            dataset.rows.add()

    assert dataset_data(many_empty_rows)[1] == ["out_of_range"]


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-payloads-template-definition-is-definition",
    "tck-id-payloads-template-definition-parameters-default",
    "tck-id-payloads-template-definition-ref",
    "tck-id-payloads-template-is-definition-definition",
    "tck-id-payloads-template-parameter-name-type",
    "tck-id-payloads-template-parameter-type-req",
    "tck-id-payloads-template-parameter-value",
    "tck-id-payloads-template-parameter-value-type",
    "tck-id-payloads-template-ref-definition",
    "tck-id-payloads-template-version",
)
def test_template_definition():
    # payloads-template-definition-is-definition, -definition-ref, -ref-definition, -is-definition,
    # -is-definition-definition, -definition-parameters-default, -version; -parameter-name-required, -name-type,
    # -type-req, -type-value, -value, -value-type
    subject = metric("Motor", DataType.TEMPLATE, MOTOR)
    assert round_trip(subject).value == MOTOR
    assert MOTOR.is_definition
    wire = wire_of(birth_of(subject)).template_value
    assert (wire.is_definition, wire.HasField("template_ref"), wire.version) == (True, False, "2.1")
    assert [(p.name, p.type, p.WhichOneof("value")) for p in wire.parameters] == [
        ("maker", 12, "string_value"),
        ("poles", 1, "int_value"),
    ]
    assert all(member.HasField("datatype") for member in wire.metrics)


@pytest.mark.tck(
    "tck-id-payloads-template-instance-is-definition",
    "tck-id-payloads-template-is-definition",
    "tck-id-payloads-template-is-definition-instance",
    "tck-id-payloads-template-ref-instance",
)
def test_template_instance_nested():
    # payloads-template-instance-is-definition (written out), -instance-ref, -ref-instance, -is-definition-instance
    subject = metric("pump 1", DataType.TEMPLATE, PUMP_OF_MOTOR, alias=9)
    assert round_trip(subject).value == PUMP_OF_MOTOR
    wire = wire_of(birth_of(subject)).template_value
    assert (wire.HasField("is_definition"), wire.is_definition, wire.template_ref) == (True, False, "Pump")
    inner = wire.metrics[0].template_value
    assert (inner.template_ref, inner.HasField("is_definition"), inner.is_definition) == ("Motor", True, False)


@pytest.mark.tck(
    "tck-id-payloads-template-instance-members-data",
    "tck-id-payloads-template-instance-parameters",
)
def test_template_in_data_holds_some_members_and_no_types():
    # payloads-template-instance-members-data, -instance-parameters, payloads-metric-datatype-not-req
    maker = TemplateParameter("maker", DataType.STRING, "Mill")
    part = TemplateValue(template_ref="Motor", metrics=(metric("on", DataType.BOOLEAN, True),), parameters=(maker,))
    whole = metric("motor 1", DataType.TEMPLATE, TemplateValue(template_ref="Motor", metrics=MOTOR.metrics), alias=4)
    value, payload = data_round_trip(whole, part)
    assert value == part
    (member,) = wire_of(payload).template_value.metrics
    assert (member.name, member.HasField("datatype")) == ("on", False)
    (parameter,) = wire_of(payload).template_value.parameters
    assert (parameter.name, parameter.string_value) == ("maker", "Mill")


def test_parameters_without_type_in_data_are_read_by_the_birth():
    wire = Payload(timestamp=1)
    template = wire.metrics.add(alias=4).template_value
    template.is_definition, template.template_ref = False, "Motor"
    template.parameters.add(name="poles", int_value=2**32 - 2)
    birth = metric("m", DataType.TEMPLATE, TemplateValue(template_ref="Motor", parameters=MOTOR.parameters), alias=4)
    data = codec.decode_data(wire.SerializeToString(), table_of(birth))
    (value,) = data.values
    assert isinstance(value, TemplateValue)
    assert value.parameters == (TemplateParameter("poles", DataType.INT8, -2),)


def test_member_by_alias_is_the_birth_s():
    birth = metric(
        "m",
        DataType.TEMPLATE,
        TemplateValue(template_ref="X", metrics=(metric("a", DataType.INT8, 1, alias=7),)),
        alias=4,
    )
    wire = Payload(timestamp=1)
    template = wire.metrics.add(alias=4).template_value
    template.is_definition, template.template_ref = False, "X"
    template.metrics.add(alias=7, int_value=255)
    data = codec.decode_data(wire.SerializeToString(), table_of(birth))
    (value,) = data.values
    assert isinstance(value, TemplateValue)
    assert [(m.name, m.value) for m in value.metrics] == [("a", -1)]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ({"name": "on", "datatype": 3, "int_value": 1}, "wrong_type"),  # the birth says Boolean
        ({"name": "strange", "int_value": 1}, "unknown_metric"),
        ({"name": "rpm", "string_value": "fast"}, "wrong_type"),
        ({"name": "rpm", "long_value": 1 << 40}, "out_of_range"),
        ({"int_value": 1}, "unknown_metric"),
    ],
)
def test_member_that_cannot_be_rejects_its_template_whole_and_no_neighbour(member, reason):
    whole = metric("motor 1", DataType.TEMPLATE, TemplateValue(template_ref="Motor", metrics=MOTOR.metrics), alias=4)
    wire = Payload(timestamp=1)
    template = wire.metrics.add(alias=4).template_value
    template.is_definition, template.template_ref = False, "Motor"
    template.metrics.add(name="on", boolean_value=True)
    template.metrics.add(**member)
    wire.metrics.add(alias=5, double_value=1.5)
    data = codec.decode_data(wire.SerializeToString(), table_of(whole, metric("good", alias=5)))
    assert (data.values, [one.reason for one in data.rejected]) == ([1.5], [reason])


@pytest.mark.parametrize(
    ("flags", "expected", "warning"),
    [
        ({}, True, "is-definition"),
        ({"template_ref": "Motor"}, False, "is-definition"),
        ({"is_definition": True, "template_ref": "Motor"}, True, "definition-ref"),
        ({"is_definition": False}, False, "instance-ref"),
    ],
)
def test_template_that_says_half_of_what_it_is_is_read_and_warned_of(flags, expected, warning):
    wire = Payload(timestamp=1, seq=0)
    target = wire.metrics.add(name="x", timestamp=1, datatype=19).template_value
    target.SetInParent()
    for name, value in flags.items():
        setattr(target, name, value)
    birth = codec.decode_birth(wire.SerializeToString())
    value = birth.metrics[0].value
    assert isinstance(value, TemplateValue)
    assert value.is_definition is expected
    assert birth.warnings == (f"tck-id-payloads-template-{warning}",)


@pytest.mark.parametrize("number", [0, 16, 20, 22, 99])
def test_parameter_of_no_basic_type_is_rejected(number):
    wire = Payload(timestamp=1, seq=0)
    template = wire.metrics.add(name="x", timestamp=1, datatype=19).template_value
    template.is_definition = True
    template.parameters.add(name="p", type=number)
    assert [one.reason for one in codec.decode_birth(wire.SerializeToString()).rejected] == ["wrong_type"]


@pytest.mark.tck(
    "tck-id-payloads-template-parameter-name-required",
    "tck-id-payloads-template-parameter-type-value",
)
@pytest.mark.parametrize(
    "value",
    [
        TemplateValue(template_ref=""),
        TemplateValue(parameters=(TemplateParameter("", DataType.INT8, 1),)),
        TemplateValue(parameters=(TemplateParameter("p", DataType.BYTES, b""),)),
        TemplateValue(parameters=(TemplateParameter("p", DataType.INT8, 200),)),
        TemplateValue(metrics=(metric("m", DataType.PROPERTY_SET),)),
        TemplateValue(metrics=(metric("m", DataType.INT8, 200),)),
        "template",
    ],
)
def test_template_that_breaks_a_rule_is_a_local_error(value):
    with pytest.raises(LocalProtocolError):
        birth_of(metric("x", DataType.TEMPLATE, value))


@pytest.mark.tck("tck-id-payloads-template-definition-nbirth-only", "tck-id-payloads-template-instance-members")
@pytest.mark.parametrize(
    ("value", "tck_id"),
    [
        (MOTOR, "template-definition-nbirth-only"),
        (TemplateValue(template_ref="Motor", metrics=(metric("strange"),)), "template-instance-members"),
        (TemplateValue(template_ref="Motor", metrics=(metric("on", DataType.INT8, 1),)), "template-instance-members"),
    ],
)
def test_template_in_data_that_its_birth_did_not_show_is_a_local_error(value, tck_id):
    whole = metric("motor 1", DataType.TEMPLATE, TemplateValue(template_ref="Motor", metrics=MOTOR.metrics), alias=4)
    with pytest.raises(LocalProtocolError, match=tck_id):
        codec.encode_data(batch_of(table_of(whole).by_name.values(), [value]), timestamp_ms=1, seq=1)


def nested(levels: int) -> TemplateValue:
    value = TemplateValue(template_ref="T0")
    for level in range(1, levels):
        value = TemplateValue(template_ref=f"T{level}", metrics=(metric("t", DataType.TEMPLATE, value),))
    return value


def test_depth_is_bounded():
    deepest = metric("x", DataType.TEMPLATE, nested(codec.DEPTH_MAX))
    assert round_trip(deepest).value == deepest.value
    with pytest.raises(LocalProtocolError, match="too deep"):
        birth_of(metric("x", DataType.TEMPLATE, nested(codec.DEPTH_MAX + 1)))
    wire = Payload(timestamp=1, seq=0)
    target = wire.metrics.add(name="x", timestamp=1, datatype=19).template_value
    for _ in range(codec.DEPTH_MAX):
        target.is_definition, target.template_ref = False, "T"
        target = target.metrics.add(name="t", datatype=19).template_value
    target.is_definition, target.template_ref = False, "T"
    wire.metrics.add(name="good", timestamp=1, datatype=3, int_value=1)
    birth = codec.decode_birth(wire.SerializeToString())
    assert ([m.name for m in birth.metrics], [r.reason for r in birth.rejected]) == (["good"], ["out_of_range"])


# ── properties and metadata ──────────────────────────────────────────────────────────────────────────────────────

INNER = (Property("low", DataType.INT8, -1), Property("none", DataType.STRING, None))
SETS = (
    Property("set", DataType.PROPERTY_SET, (*INNER, Property("deeper", DataType.PROPERTY_SET, INNER))),
    Property("empty", DataType.PROPERTY_SET, ()),
    Property("list", DataType.PROPERTY_SET_LIST, (INNER, (), INNER)),
    Property("no sets", DataType.PROPERTY_SET_LIST, ()),
    Property("null", DataType.PROPERTY_SET, None),
)


@pytest.mark.tck(
    "tck-id-payloads-metric-propertyvalue-type-value",
    "tck-id-payloads-propertyset-keys-array-size",
    "tck-id-payloads-propertyset-values-array-size",
)
def test_property_sets_and_lists_nest():
    assert round_trip(metric(properties=SETS)).properties == SETS
    table = table_of(metric("a", alias=1))
    payload = codec.encode_data(batch_of(table.by_name.values(), [1.0], properties={0: SETS}), timestamp_ms=1, seq=1)
    assert codec.decode_data(payload, table).properties == {0: {one.key: one.value for one in SETS}}


def test_nested_set_does_not_answer_for_a_scalar_property():
    assert metric(properties=SETS).property_value("set") is None


def deep_property(levels: int) -> Property:
    one = Property("p", DataType.INT8, 1)
    for _ in range(levels):
        one = Property("p", DataType.PROPERTY_SET, (one,))
    return one


def test_depth_of_property_sets_is_bounded():
    deepest = deep_property(codec.DEPTH_MAX)
    assert round_trip(metric(properties=(deepest,))).properties == (deepest,)
    with pytest.raises(LocalProtocolError, match="too deep"):
        birth_of(metric(properties=(deep_property(codec.DEPTH_MAX + 1),)))
    wire = Payload(timestamp=1, seq=0)
    target = wire.metrics.add(name="x", timestamp=1, datatype=3, int_value=5).properties
    for _ in range(codec.DEPTH_MAX + 1):
        target.keys.append("p")
        target = target.values.add(type=20).propertyset_value
    target.SetInParent()
    birth = codec.decode_birth(wire.SerializeToString())
    assert (birth.metrics[0].value, birth.leniencies) == (5, {"property_set_unreadable": 1})


def test_property_of_unknown_type_is_left_out_and_counted():
    wire = Payload(timestamp=1)
    properties = wire.metrics.add(alias=1, double_value=1.0).properties
    properties.keys.extend(["a", "b", "c"])
    properties.values.add(type=99, int_value=1)
    properties.values.add().extension_value.SetInParent()
    properties.values.add(type=3, int_value=7)
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("a", alias=1)))
    assert (data.properties, data.leniencies) == ({0: {"c": 7}}, {"property_of_unknown_type": 2})


def test_same_property_sets_are_shared_and_differing_ones_are_not_mixed_up():
    own = [metric(f"m{i}", properties=(Property("address", DataType.STRING, f"ns={i}"),)) for i in range(300)]
    same = [metric(f"s{i}", properties=(Property("unit", DataType.STRING, "CEL"),)) for i in range(300)]
    birth = codec.decode_birth(birth_of(*[one for pair in zip(own, same, strict=True) for one in pair]))
    assert [m.properties[0].value for m in birth.metrics[::2]] == [f"ns={i}" for i in range(300)]
    assert {m.properties[0].value for m in birth.metrics[1::2]} == {"CEL"}
    shared = codec.decode_birth(birth_of(*same)).metrics
    assert shared[0].properties is shared[-1].properties


FILE = MetaData(
    is_multi_part=False,
    content_type="application/pdf",
    size=3,
    seq=0,
    file_name="recipe.pdf",
    file_type="pdf",
    md5="900150983cd24fb0d6963f7d28e17f72",
    description="",
)


def test_file_and_its_metadata():
    subject = metric("f", DataType.FILE, b"abc", alias=2, metadata=FILE)
    found = round_trip(subject)
    assert (found.value, found.metadata) == (b"abc", FILE)
    table = table_of(subject)
    payload = codec.encode_data(batch_of(table.by_name.values(), [b"abc"], metadata={0: FILE}), timestamp_ms=1, seq=1)
    data = codec.decode_data(payload, table)
    assert (data.values, data.metadata) == ([b"abc"], {0: FILE})


@pytest.mark.parametrize("datatype", [DataType.BYTES, DataType.FILE, DataType.STRING])
def test_parts_of_one_value_come_in_order_with_their_numbers(datatype):
    table = table_of(metric("big", datatype, alias=2), metric("plain", alias=3))
    parts = [b"ab", b"", b"cd"] if datatype is not DataType.STRING else ["ab", "", "cd"]
    told = {index: MetaData(is_multi_part=True, seq=index) for index in range(3)}
    bindings = [table.by_name["big"]] * 3 + [table.by_name["plain"]]
    payload = codec.encode_data(batch_of(bindings, [*parts, 1.5], metadata=told), timestamp_ms=1, seq=1)
    data = codec.decode_data(payload, table)
    assert (data.values, data.metadata, data.rejected) == ([*parts, 1.5], told, [])


def test_metadata_of_a_rejected_metric_is_not_its_neighbour_s():
    wire = Payload(timestamp=1)
    first = wire.metrics.add(alias=2, bytes_value=b"x")
    first.metadata.seq = 5
    first.properties.keys.append("lonely")
    wire.metrics.add(alias=2, bytes_value=b"y")
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("big", DataType.BYTES, alias=2)))
    assert (data.values, data.metadata, len(data.rejected)) == ([b"y"], {}, 1)


def test_metadata_is_bounded_text():
    with pytest.raises(LocalProtocolError, match="file_name"):
        birth_of(metric("f", DataType.FILE, b"", metadata=MetaData(file_name="x" * (codec.NAME_BYTES_MAX + 1))))
    wire = Payload(timestamp=1, seq=0)
    wire.metrics.add(name="f", timestamp=1, datatype=18, bytes_value=b"").metadata.file_name = "x" * 2000
    assert [one.reason for one in codec.decode_birth(wire.SerializeToString()).rejected] == ["out_of_range"]


# ── what holds for all of them ───────────────────────────────────────────────────────────────────────────────────


def test_values_are_immutable_and_can_be_shared():
    for value in (TABLE, MOTOR, PUMP_OF_MOTOR, SETS, FILE, (1, 2)):
        assert hash(value) == hash(value)
    with pytest.raises(AttributeError):
        TABLE.rows = ()  # type: ignore[misc]


def test_composed_values_in_the_wrong_member_are_rejected():
    for datatype in (DataType.DATASET, DataType.TEMPLATE, DataType.INT8_ARRAY, DataType.FILE):
        wire = Payload(timestamp=1)
        wire.metrics.add(alias=1, string_value="x")
        data = codec.decode_data(wire.SerializeToString(), table_of(metric("m", datatype, alias=1)))
        assert ([one.reason for one in data.rejected], data.values) == (["wrong_type"], [])


def test_null_in_every_form():
    for datatype in (DataType.DATASET, DataType.TEMPLATE, DataType.INT8_ARRAY, DataType.FILE, DataType.STRING):
        table = table_of(metric("m", datatype, alias=1))
        written = codec.encode_data(batch_of(table.by_name.values(), [None]), timestamp_ms=1, seq=1)
        assert wire_of(written).is_null
        assert wire_of(written).WhichOneof("value") is None
        assert codec.decode_data(written, table).values == [None]
        wire = Payload(timestamp=1)
        wire.metrics.add(alias=1)
        data = codec.decode_data(wire.SerializeToString(), table)
        assert (data.values, data.leniencies) == ([None], {"null_without_flag": 1})


def test_leniencies_are_counted_each():
    table = table_of(metric("i", DataType.INT8, alias=1), metric("u", DataType.UINT32, alias=2))
    wire = Payload(timestamp=1)
    wire.metrics.add(alias=1, int_value=255)  # 8-bit complement: Tahu Python
    wire.metrics.add(alias=1, int_value=2**32 - 1)  # ours
    wire.metrics.add(alias=2, long_value=1)  # Tahu Java, Ignition
    wire.metrics.add(alias=2, long_value=2, is_null=True)
    data = codec.decode_data(wire.SerializeToString(), table)
    assert data.values == [-1, -1, 1, None]
    assert data.leniencies == {"other_complement": 1, "uint32_in_long": 1, "null_with_value": 1}
