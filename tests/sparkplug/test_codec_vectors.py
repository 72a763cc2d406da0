"""Bytes known from elsewhere, and the rules of single fields."""

from __future__ import annotations

import zlib

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import T0_MS, batch_of, metric, table_of
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DATETIME_MS_MAX, DataType
from uns.sparkplug.metrics import (
    BD_SEQ,
    PROPERTY_QUALITY,
    REBIRTH,
    DataSetValue,
    Property,
    TemplateParameter,
    TemplateValue,
)


def birth_of(*metrics, seq=0):
    return codec.encode_birth(metrics, timestamp_ms=T0_MS, seq=seq)


def one_value(datatype, value) -> str:
    """The value part of a metric that has nothing else, as hex."""
    payload = codec.encode_data(
        batch_of([table_of(metric("m", datatype, alias=1)).by_name["m"]], [value], [1]), timestamp_ms=0, seq=0
    )
    wire = Payload.FromString(payload).metrics[0]
    wire.ClearField("alias")
    wire.ClearField("timestamp")
    return wire.SerializeToString().hex(" ")


@pytest.mark.tck(
    "tck-id-payloads-ndeath-seq",
    "tck-id-topics-ndeath-payload",
    "tck-id-topics-ndeath-seq",
)
def test_ndeath_is_the_golden_vector():  # payloads-ndeath-seq, topics-ndeath-payload: bdSeq Int64 and nothing else
    assert codec.encode_death(0) == bytes.fromhex("120B0A0562645365712004 5800".replace(" ", ""))
    assert codec.decode_death(codec.encode_death(255)) == 255


def test_seq_zero_is_written():
    assert birth_of().endswith(bytes.fromhex("1800"))


def test_rebirth_metric_of_a_birth_is_the_golden_vector():
    payload = birth_of(metric(REBIRTH, DataType.BOOLEAN, False, timestamp_ms=T0_MS))
    golden = bytes.fromhex("0A14") + REBIRTH.encode() + bytes.fromhex("1880D095FFBC31200B7000")
    assert golden in payload


def test_rebirth_command_is_the_golden_vector():  # operational-behavior-data-commands-ncmd-rebirth-*
    payload = codec.encode_command([metric(REBIRTH, DataType.BOOLEAN, True)], timestamp_ms=T0_MS)
    golden = bytes.fromhex("0880D095FFBC31121F0A14") + REBIRTH.encode() + bytes.fromhex("1880D095FFBC317001")
    assert payload == golden


@pytest.mark.tck(
    "tck-id-payloads-metric-propertyvalue-type-req",
    "tck-id-payloads-metric-propertyvalue-type-type",
    "tck-id-payloads-propertyset-quality-value-type",
    "tck-id-payloads-propertyset-quality-value-value",
)
def test_quality_property_is_the_golden_vector():  # payloads-propertyset-quality-value-type, -value
    payload = birth_of(metric(properties=(Property(PROPERTY_QUALITY, DataType.INT32, 500),)))
    assert bytes.fromhex("4A100A075175616C69747912050803 18F403".replace(" ", "")) in payload


@pytest.mark.tck("tck-id-payloads-propertyset-quality-value-type", "tck-id-payloads-propertyset-quality-value-value")
@pytest.mark.parametrize(("datatype", "value"), [(DataType.INT32, 42), (DataType.INT32, None), (DataType.INT64, 192)])
def test_a_quality_that_the_standard_does_not_have_is_a_local_error(datatype, value):
    subject = metric("a", alias=1, properties=(Property(PROPERTY_QUALITY, datatype, value),))
    with pytest.raises(LocalProtocolError, match="0, 192 or 500"):
        birth_of(subject)


@pytest.mark.parametrize(
    ("datatype", "value", "golden"),
    [
        (DataType.INT16, -30000, "50 d0 95 fe ff 0f"),
        (DataType.INT32, -1, "50 ff ff ff ff 0f"),
        (DataType.INT64, -1, "58 ff ff ff ff ff ff ff ff ff 01"),
        (DataType.INT8, -1, "50 ff ff ff ff 0f"),
        (DataType.UINT32, 2**32 - 1, "50 ff ff ff ff 0f"),  # payloads: uint32 in int_value
        (DataType.UINT64, 2**64 - 1, "58 ff ff ff ff ff ff ff ff ff 01"),
        (DataType.BOOLEAN, False, "70 00"),
        (DataType.STRING, "", "7a 00"),
        (DataType.BYTES, b"", "82 01 00"),
        (DataType.DATETIME, 0, "58 00"),
        (DataType.DOUBLE, None, "38 01"),  # is_null, and then no value
    ],
)
def test_value_is_written_as(datatype, value, golden):
    assert one_value(datatype, value) == golden


@pytest.mark.parametrize(
    ("datatype", "wire", "expected"),
    [
        (DataType.INT8, "50 ff 01", -1),  # 8-bit complement (Tahu Python)
        (DataType.INT8, "50 ff ff ff ff 0f", -1),  # 32-bit complement (Tahu Java)
        (DataType.INT16, "50 ff ff 03", -1),
        (DataType.INT16, "58 ff ff ff ff ff ff ff ff ff 01", -1),  # 64-bit complement in the other field
        (DataType.INT32, "50 80 80 80 80 08", -(2**31)),
        (DataType.INT32, "58 ff ff ff ff 0f", -1),
        (DataType.UINT32, "58 ff ff ff ff 0f", 2**32 - 1),  # Tahu Java, Ignition: long_value
        (DataType.UINT32, "50 ff ff ff ff 0f", 2**32 - 1),
        (DataType.UINT64, "50 05", 5),
        (DataType.INT64, "50 05", 5),
        (DataType.UINT32, "58 00", 0),  # a default in the other field is still a value
        (DataType.DOUBLE, "", None),  # neither value nor is_null: null
        (DataType.DOUBLE, "38 01", None),
        (DataType.DOUBLE, "38 01 69 00 00 00 00 00 00 f8 3f", None),  # is_null wins over a value
    ],
)
@pytest.mark.parametrize("kind", ["data", "birth"])
def test_peers_are_read_in_every_form(datatype, wire, expected, kind):
    body = bytes.fromhex(wire)
    if kind == "data":
        head = bytes.fromhex("1005 1801")  # alias 5, timestamp 1
        payload = bytes([0x12, len(head) + len(body)]) + head + body
        data = codec.decode_data(payload, table_of(metric("m", datatype, alias=5)))
        assert (data.values, data.rejected) == ([expected], [])
    else:
        head = bytes([0x0A, 1, 0x6D, 0x18, 1, 0x20, datatype])  # name m, timestamp 1, datatype
        birth = codec.decode_birth(bytes([0x12, len(head) + len(body)]) + head + body)
        assert ([m.value for m in birth.metrics], birth.rejected) == ([expected], [])


@pytest.mark.parametrize(
    ("datatype", "wire", "reason"),
    [
        (DataType.INT8, "50 80 02", "out_of_range"),  # 256
        (DataType.UINT8, "50 80 02", "out_of_range"),
        (DataType.UINT16, "58 80 80 04", "out_of_range"),
        (DataType.UINT32, "58 80 80 80 80 10", "out_of_range"),
        (DataType.INT32, "58 80 80 80 80 10", "out_of_range"),
        (DataType.DATETIME, "58 ff ff ff ff ff ff ff ff ff 01", "out_of_range"),  # 2**64 - 1 ms is no date
        (DataType.DOUBLE, "50 05", "wrong_type"),
        (DataType.INT32, "7a 01 41", "wrong_type"),
        (DataType.STRING, "7a 01 ff", "wrong_type"),  # not UTF-8
        (DataType.BOOLEAN, "50 01", "wrong_type"),
    ],
)
def test_value_that_cannot_be_is_rejected_with_its_reason(datatype, wire, reason):
    body = bytes.fromhex("1005 1801" + wire)
    good = bytes.fromhex("12 0d 1006 1802 69 00 00 00 00 00 00 f8 3f")
    payload = bytes([0x12, len(body)]) + body + good
    data = codec.decode_data(payload, table_of(metric("m", datatype, alias=5), metric("good", alias=6)))
    assert [(r.name, r.reason, r.timestamp_ms, r.raw) for r in data.rejected] == [("m", reason, 1, body)]
    assert (data.values, data.times_ms) == ([1.5], [2])  # the neighbour is not touched


@pytest.mark.tck(
    "tck-id-payloads-alias-data-cmd-requirement",
    "tck-id-payloads-metric-datatype-not-req",
    "tck-id-payloads-name-requirement",
)
def test_data_carries_alias_and_no_name_no_datatype():
    # payloads-alias-data-cmd-requirement, payloads-metric-datatype-not-req, payloads-name-requirement
    table = table_of(metric("a", alias=300), metric("b"))
    payload = codec.encode_data(batch_of(table.by_name.values(), [1.0, 2.0]), timestamp_ms=T0_MS, seq=255)
    wire = Payload.FromString(payload)
    assert (wire.seq, wire.timestamp) == (255, T0_MS)
    first, second = wire.metrics
    assert (first.HasField("name"), first.alias, first.HasField("datatype")) == (False, 300, False)
    assert (second.name, second.HasField("alias"), second.HasField("datatype")) == ("b", False, False)


@pytest.mark.tck(
    "tck-id-payloads-alias-birth-requirement",
    "tck-id-payloads-metric-datatype-req",
    "tck-id-payloads-metric-datatype-value-type",
)
def test_birth_metrics_carry_name_alias_datatype_timestamp():
    # payloads-alias-birth-requirement, payloads-metric-datatype-req, payloads-name-birth-data-requirement
    wire = Payload.FromString(birth_of(metric("a", alias=0, timestamp_ms=5), metric("b"))).metrics
    assert [(m.name, m.HasField("alias"), m.datatype, m.timestamp) for m in wire] == [
        ("a", True, 10, 5),
        ("b", False, 10, T0_MS),
    ]


def test_alias_zero_is_an_alias():
    table = table_of(metric("a", alias=0))
    payload = codec.encode_data(batch_of(table.by_name.values(), [3.0]), timestamp_ms=1, seq=1)
    assert codec.decode_data(payload, table).values == [3.0]


def test_metric_without_alias_is_not_the_one_with_alias_zero():
    table = table_of(metric("a", alias=0), metric("b"))
    payload = codec.encode_data(batch_of([table.by_name["b"]], [3.0]), timestamp_ms=1, seq=1)
    assert [binding.name for binding in codec.decode_data(payload, table).bindings] == ["b"]
    nameless = codec.decode_data(bytes.fromhex("08 01 12 0b 18 01 69 00 00 00 00 00 00 f8 3f"), table)
    assert [r.reason for r in nameless.rejected] == ["unknown_metric"]


@pytest.mark.tck(
    "tck-id-payloads-alias-data-cmd-requirement",
    "tck-id-payloads-metric-datatype-not-req",
    "tck-id-payloads-name-requirement",
)
def test_commands_carry_alias_and_no_name_no_datatype():
    wire = Payload.FromString(codec.encode_command([metric("a", alias=300), metric("b")], timestamp_ms=T0_MS))
    first, second = wire.metrics
    assert (first.HasField("name"), first.alias, first.HasField("datatype")) == (False, 300, False)
    assert (second.name, second.HasField("alias"), second.HasField("datatype")) == ("b", False, False)


def test_commands_and_births_differ_in_seq():  # payloads-ncmd-seq, payloads-dcmd-seq: none
    command = Payload.FromString(codec.encode_command([metric()], timestamp_ms=5))
    assert not command.HasField("seq")
    assert command.timestamp == 5  # payloads-ncmd-timestamp
    assert Payload.FromString(codec.encode_empty(5, 9)).seq == 9  # payloads-ddeath-seq


def test_metric_time_falls_back_to_the_payloads_and_never_to_now():
    table = table_of(metric("a", alias=5))
    assert codec.decode_data(bytes.fromhex("08 07 12 02 1005"), table).times_ms == [7]
    assert codec.decode_data(bytes.fromhex("08 07 12 04 1005 1800"), table).times_ms == [0]  # 0 was said, 0 it is
    assert [r.reason for r in codec.decode_data(bytes.fromhex("12 02 1005"), table).rejected] == ["no_timestamp"]


def test_time_beyond_nanoseconds_is_out_of_range_unless_the_installation_scales_it():
    table = table_of(metric("a", alias=5))
    wire = Payload(timestamp=T0_MS * 1_000_000, seq=1)
    wire.metrics.add(alias=5, timestamp=T0_MS * 1_000_000, double_value=1.0)
    payload = wire.SerializeToString()
    strict = codec.decode_data(payload, table)
    assert ([r.reason for r in strict.rejected], strict.timestamp_ms) == (["nanosecond_timestamp"], None)
    scaled = codec.decode_data(payload, table, codec.Leniency(scale_nanoseconds=True))
    assert (scaled.times_ms, scaled.timestamp_ms) == ([T0_MS], T0_MS)


def test_name_and_datatype_in_data_are_checked_against_the_birth():
    table = table_of(metric("a", alias=5), metric("b", alias=6))
    wire = Payload(timestamp=1)
    wire.metrics.add(alias=5, name="a", datatype=10, double_value=1.0)
    wire.metrics.add(alias=5, name="b", datatype=10, double_value=2.0)  # whose is it?
    wire.metrics.add(alias=7, name="a", double_value=3.0)  # the birth gave "a" another alias
    wire.metrics.add(name="a", datatype=9, float_value=4.0)
    wire.metrics.add(name="b", double_value=5.0)
    data = codec.decode_data(wire.SerializeToString(), table)
    assert [(b.name, v) for b, v in zip(data.bindings, data.values, strict=True)] == [("a", 1.0), ("b", 5.0)]
    assert [r.reason for r in data.rejected] == ["unknown_metric", "unknown_metric", "wrong_type"]


def test_metric_of_a_type_that_metrics_do_not_have_is_rejected_and_its_data_too():
    wire = Payload(timestamp=1, seq=0)
    wire.metrics.add(name="odd", alias=1, datatype=99, int_value=1)
    wire.metrics.add(name="none", alias=2, int_value=1)
    wire.metrics.add(name="set", alias=3, datatype=20)
    wire.metrics.add(name="sets", alias=4, datatype=21)
    wire.metrics.add(name="good", alias=5, datatype=3, int_value=1)
    birth = codec.decode_birth(wire.SerializeToString())
    assert [m.name for m in birth.metrics] == ["good"]
    assert [(r.name, r.reason) for r in birth.rejected] == [
        (name, "unsupported_type") for name in ("odd", "none", "set", "sets")
    ]
    data = codec.decode_data(
        codec.encode_data(batch_of([table_of(metric("x", alias=2)).by_name["x"]], [1.0]), timestamp_ms=1, seq=1),
        AliasTable.of_birth(birth),
    )
    assert [r.reason for r in data.rejected] == ["unsupported_type"]  # no cause for a rebirth


def test_alias_that_two_metrics_share_says_nothing():  # payloads-alias-uniqueness
    birth = codec.decode_birth(birth_of(metric("a", alias=1), metric("b", alias=1), metric("c", alias=2)))
    assert [(m.name, m.alias) for m in birth.metrics] == [("a", None), ("b", None), ("c", 2)]
    assert "tck-id-payloads-alias-uniqueness" in birth.warnings
    assert AliasTable.of_birth(birth).by_alias.keys() == {2}


def test_name_that_comes_twice_in_a_birth_keeps_its_first_meaning():
    birth = codec.decode_birth(birth_of(metric("a", alias=1), metric("a", DataType.STRING, "x", alias=2)))
    assert [(m.name, m.value) for m in birth.metrics] == [("a", 1.5)]
    assert len(birth.rejected) == 1


@pytest.mark.parametrize("datatype", [4, 8, 3])
@pytest.mark.parametrize("field", ["int_value", "long_value"])
def test_bd_seq_is_read_in_every_form(datatype, field):  # peers send UInt64, int_value, and 256
    wire = Payload(timestamp=1, seq=0)
    wire.metrics.add(name=BD_SEQ, timestamp=1, datatype=datatype, **{field: 256})
    payload = wire.SerializeToString()
    assert codec.decode_birth(payload).bd_seq == 256
    assert codec.decode_death(payload) == 256


def test_death_without_bd_seq_has_none():
    assert codec.decode_death(b"") is None
    assert codec.decode_death(bytes.fromhex("12 07 0A 05 62 64 53 65 71")) is None


def test_properties_of_data_are_there_only_where_sent():
    table = table_of(metric("a", alias=1), metric("b", alias=2))
    properties = {
        1: (
            Property(PROPERTY_QUALITY, DataType.INT32, 500),
            Property("code", DataType.INT32, -2147483136),
            Property("ordinal", DataType.UINT32, 2),
            Property("note", DataType.STRING, None),
            Property("on", DataType.BOOLEAN, False),
        )
    }
    batch = batch_of(table.by_name.values(), [1.0, 2.0], properties=properties)
    data = codec.decode_data(codec.encode_data(batch, timestamp_ms=1, seq=1), table)
    assert data.properties == {1: {PROPERTY_QUALITY: 500, "code": -2147483136, "ordinal": 2, "note": None, "on": False}}


def test_properties_without_types_in_data_are_read_by_their_field():  # propertyvalue-type-req is about births
    wire = Payload(timestamp=1)
    properties = wire.metrics.add(alias=1, double_value=1.0).properties
    for key, field, value in (
        (PROPERTY_QUALITY, "int_value", 2**32 - 1),
        ("n", "int_value", 2**32 - 1),
        ("s", "string_value", "x"),
    ):
        properties.keys.append(key)
        properties.values.add(**{field: value})
    properties.keys.append("set")
    properties.values.add(type=20).propertyset_value.keys.append("x")  # and no value: left out, alone
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("a", alias=1)))
    assert data.properties == {0: {PROPERTY_QUALITY: -1, "n": 2**32 - 1, "s": "x"}}
    assert data.leniencies["property_set_unreadable"] == 1


@pytest.mark.tck(
    "tck-id-payloads-propertyset-keys-array-size",
    "tck-id-payloads-propertyset-values-array-size",
)
@pytest.mark.parametrize(("keys", "values"), [(1, 0), (0, 1), (1, 2)])
def test_property_lists_of_different_lengths_reject_the_metric(keys, values):
    wire = Payload(timestamp=1)
    properties = wire.metrics.add(alias=1, double_value=1.0).properties
    properties.keys.extend(["a"] * keys)
    for _ in range(values):
        properties.values.add(type=3, int_value=192)
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("a", alias=1)))
    assert ([r.reason for r in data.rejected], data.values) == (["wrong_type"], [])


def test_historical_flags_run_beside_the_values():
    wire = Payload(timestamp=1)
    for historical in (None, True, False, None):
        wire.metrics.add(alias=1, double_value=1.0, is_historical=historical)
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("a", alias=1)))
    assert data.is_historical == [False, True, False, False]
    assert codec.decode_data(b"", table_of()).is_historical is None


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_payload_bytes_max():
    with pytest.raises(RemoteProtocolError, match="1048577 bytes"):
        codec.decode_birth(b"\x00" * (codec.PAYLOAD_BYTES_MAX + 1))


def test_metrics_max_is_counted_before_parsing():
    empty = b"\x12\x00"
    assert len(codec.decode_birth(empty * codec.METRICS_MAX).rejected) == codec.METRICS_MAX
    with pytest.raises(RemoteProtocolError, match=f"more than {codec.METRICS_MAX} metrics"):
        codec.decode_birth(b"\x08\x01\x18\x01" + empty * (codec.METRICS_MAX + 1))


@pytest.mark.parametrize("tail", [b"\x0b", b"\xff" * 12, b"\x09\x00", b"\x0d", b"\x12\xff\xff\xff\x7f"])
def test_counting_survives_what_it_cannot_follow(tail):
    with pytest.raises(RemoteProtocolError):
        codec.decode_birth(b"\x12\x00" * (codec.METRICS_MAX + 1) + tail)


def test_names_and_properties_are_bounded():
    long_name = "n" * (codec.NAME_BYTES_MAX + 1)
    wire = Payload(timestamp=1)
    wire.metrics.add(name=long_name, datatype=3, int_value=1)
    many = wire.metrics.add(name="many", datatype=3, int_value=1).properties
    for index in range(codec.PROPERTIES_MAX + 1):
        many.keys.append(str(index))
        many.values.add(type=3, int_value=1)
    birth = codec.decode_birth(wire.SerializeToString())
    assert [r.reason for r in birth.rejected] == ["unknown_metric", "out_of_range"]


def test_compressed_payload_is_read_only_by_option_and_up_to_its_bound():
    inner = birth_of(metric())
    wire = Payload(uuid="SPBV1.0_COMPRESSED", body=zlib.compress(inner))
    payload = wire.SerializeToString()
    with pytest.raises(RemoteProtocolError, match="compressed"):
        codec.decode_birth(payload)
    assert codec.decode_birth(payload, codec.Leniency(inflate_bytes_max=len(inner))).seq == 0
    with pytest.raises(RemoteProtocolError, match="compressed"):
        codec.decode_birth(payload, codec.Leniency(inflate_bytes_max=len(inner) - 1))
    bomb = Payload(uuid="SPBV1.0_COMPRESSED", body=zlib.compress(b"\x00" * 10_000_000)).SerializeToString()
    with pytest.raises(RemoteProtocolError, match="compressed"):
        codec.decode_birth(bomb, codec.Leniency(inflate_bytes_max=1 << 20))
    twice = Payload(uuid="SPBV1.0_COMPRESSED", body=zlib.compress(payload)).SerializeToString()
    with pytest.raises(RemoteProtocolError, match="compressed"):
        codec.decode_birth(twice, codec.Leniency(inflate_bytes_max=1 << 20))


def test_other_uuids_are_not_compression():  # Factory+ puts a schema id there
    assert codec.decode_birth(Payload(uuid="11ad7b32-1d32-4c4a-b0c9-fa049208939a", seq=3).SerializeToString()).seq == 3


# ── strict when writing ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8, 128),
        (DataType.INT8, -129),
        (DataType.UINT8, -1),
        (DataType.UINT32, 2**32),
        (DataType.INT64, 2**63),
        (DataType.INT64, -(2**63) - 1),
        (DataType.UINT64, 2**64),
        (DataType.DATETIME, DATETIME_MS_MAX + 1),
        (DataType.FLOAT, 1e39),
        (DataType.FLOAT, "1"),
        (DataType.INT32, "1"),
        (DataType.INT32, 1.5),
        (DataType.INT32, True),
        (DataType.STRING, 1),
        (DataType.STRING, "\ud800"),
        (DataType.BOOLEAN, "x"),
        (DataType.BYTES, "x"),
    ],
)
@pytest.mark.parametrize("kind", ["data", "birth", "command"])
def test_value_that_does_not_fit_is_a_local_error(datatype, value, kind):
    subject = metric("m", datatype, value)
    write = {
        "data": lambda: codec.encode_data(batch_of([table_of(subject).by_name["m"]], [value]), timestamp_ms=1, seq=1),
        "birth": lambda: birth_of(subject),
        "command": lambda: codec.encode_command([subject], timestamp_ms=1),
    }[kind]
    with pytest.raises(LocalProtocolError, match="m"):
        write()


def test_lists_of_different_lengths_are_a_local_error():
    binding = table_of(metric()).by_name["temperature"]
    with pytest.raises(LocalProtocolError, match="2 values"):
        codec.encode_data(batch_of([binding], [1.0, 2.0]), timestamp_ms=1, seq=1)


@pytest.mark.tck("tck-id-payloads-metric-propertyvalue-type-value")
def test_property_of_a_type_that_properties_do_not_have_is_a_local_error():
    with pytest.raises(LocalProtocolError, match="property"):
        birth_of(metric(properties=(Property("p", DataType.BYTES, b""),)))
    with pytest.raises(LocalProtocolError, match="PropertySet"):
        birth_of(metric("t", DataType.PROPERTY_SET, ()))


def test_timestamps_are_bounded():
    with pytest.raises(LocalProtocolError, match="timestamp"):
        codec.encode_empty(-1, 0)


# ── UInt32 in long_value, for those who read it there alone ──────────────────────────────────────────────────────

_TABLE = DataSetValue(("u", "i"), (DataType.UINT32, DataType.INT32), ((7, -1),))
_INSTANCE = TemplateValue(
    template_ref="T",
    metrics=(
        metric("member", DataType.UINT32, 7),
        metric("inner", DataType.TEMPLATE, TemplateValue(template_ref="I", metrics=(metric("u", DataType.UINT32, 7),))),
    ),
    parameters=(TemplateParameter("parameter", DataType.UINT32, 7), TemplateParameter("other", DataType.INT32, -1)),
)
_PROPERTIES = (
    Property(PROPERTY_QUALITY, DataType.INT32, 192),
    Property("u", DataType.UINT32, 7),
    Property("set", DataType.PROPERTY_SET, (Property("u", DataType.UINT32, 7),)),
    Property("list", DataType.PROPERTY_SET_LIST, ((Property("u", DataType.UINT32, 7),), ())),
)
_WITH_UINT32 = [
    metric("u", DataType.UINT32, 2**32 - 1, alias=1, timestamp_ms=T0_MS, properties=_PROPERTIES),
    metric("zero", DataType.UINT32, 0, alias=2, timestamp_ms=T0_MS),
    metric("null", DataType.UINT32, None, alias=3, timestamp_ms=T0_MS),
    metric("i", DataType.INT32, -1, alias=4, timestamp_ms=T0_MS),
    metric("table", DataType.DATASET, _TABLE, alias=5, timestamp_ms=T0_MS),
    metric("instance", DataType.TEMPLATE, _INSTANCE, alias=6, timestamp_ms=T0_MS),
]


def _members_of(payload):
    instance = Payload.FromString(payload).metrics[5].template_value
    return [*instance.metrics, *instance.metrics[1].template_value.metrics]


def test_uint32_goes_into_long_value_where_asked_and_reads_the_same():
    birth = codec.decode_birth(codec.encode_birth(_WITH_UINT32, timestamp_ms=T0_MS, seq=0, uint32_in_long=True))
    assert (birth.metrics, birth.rejected, birth.warnings) == (_WITH_UINT32, [], ())
    # each is counted: two metrics, three properties, a cell, and of the instance two members and a parameter
    assert birth.leniencies == {"uint32_in_long": 9}
    table = AliasTable(_WITH_UINT32)
    values = [one.value for one in _WITH_UINT32]
    batch = batch_of(table.by_name.values(), values, properties={0: _PROPERTIES})
    data = codec.decode_data(codec.encode_data(batch, timestamp_ms=1, seq=1, uint32_in_long=True), table)
    assert (data.values, data.rejected, data.leniencies) == (values, [], {"uint32_in_long": 9})
    assert all(not wire.datatype for wire in _members_of(codec.encode_data(batch, timestamp_ms=1, seq=1)))
    command = codec.encode_command(_WITH_UINT32, timestamp_ms=1, uint32_in_long=True)
    read = codec.decode_command(command, table)
    assert ([one.value for one in read.metrics], read.leniencies) == (values, {"uint32_in_long": 6})


def test_uint32_in_long_value_is_this_on_the_wire():
    payload = codec.encode_birth(_WITH_UINT32[:2], timestamp_ms=T0_MS, seq=0, uint32_in_long=True)
    one, zero = Payload.FromString(payload).metrics
    assert (one.WhichOneof("value"), one.long_value) == ("long_value", 2**32 - 1)
    assert (zero.WhichOneof("value"), zero.long_value) == ("long_value", 0)
    assert [value.WhichOneof("value") for value in one.properties.values[:2]] == ["int_value", "long_value"]
