"""The JSON form of payloads: it says what the wire says, and gives the same payload again."""

from __future__ import annotations

import copy
import json
import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug import goldens
from tests.sparkplug.helpers import T0_MS, metric, table_of
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.documents import document_from_json, document_to_json


def as_json(payload: bytes, table=None) -> bytes:
    return document_to_json(codec.decode_document(payload, table)[0])


def encoded(text: bytes | str) -> bytes:
    return codec.encode_document(document_from_json(text.encode() if isinstance(text, str) else text))


@pytest.mark.parametrize("name", goldens.MESSAGES)
@pytest.mark.parametrize("births", [True, False])
def test_golden_message_comes_back_to_the_byte(name, births):
    payload = goldens.MESSAGES[name]
    form = as_json(payload, goldens.TABLE if births else None)
    assert encoded(form) == payload
    assert as_json(encoded(form), goldens.TABLE if births else None) == form


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_form_of_any_readable_bytes_is_a_fixed_point(data):
    payload = bytearray(data.draw(st.sampled_from(list(goldens.MESSAGES.values()))))
    for _ in range(data.draw(st.integers(0, 6))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        form = as_json(bytes(payload), goldens.TABLE)
    except RemoteProtocolError:
        return
    assert as_json(encoded(form), goldens.TABLE) == form


def test_data_without_births_shows_its_fields():
    wire = Payload(timestamp=1)
    wire.metrics.add(alias=5, int_value=2**32 - 1)
    form = json.loads(as_json(wire.SerializeToString()))
    assert form == {"timestamp": 1, "metrics": [{"alias": 5, "field": "int_value", "value": 2**32 - 1}]}


def test_births_say_name_and_type():
    wire = Payload(timestamp=1)
    wire.metrics.add(alias=5, int_value=2**32 - 1)
    form = json.loads(as_json(wire.SerializeToString(), table_of(metric("m", DataType.INT8, alias=5))))
    assert form["metrics"] == [{"alias": 5, "of_birth": {"name": "m", "datatype": "Int8"}, "value": -1}]


def test_other_field_is_shown_and_kept():
    wire = Payload(timestamp=1)
    wire.metrics.add(name="m", datatype=7, long_value=5)  # UInt32 as Tahu Java sends it
    payload = wire.SerializeToString()
    form = as_json(payload)
    assert json.loads(form)["metrics"] == [{"name": "m", "datatype": "UInt32", "field": "long_value", "value": 5}]
    assert encoded(form) == payload


def test_presence_is_kept():
    wire = Payload(seq=0)
    wire.metrics.add(name="", alias=0, timestamp=0, datatype=0, is_historical=False, is_transient=False, is_null=False)
    wire.metrics.add(name="b", datatype=11, boolean_value=False, is_null=True)
    payload = wire.SerializeToString()
    assert encoded(as_json(payload)) == payload


def test_number_of_columns_that_is_not_said_is_not_the_number_of_the_columns():
    wire = Payload(seq=0)
    for number in (None, 0, 1, 2):
        table = wire.metrics.add(name="t", datatype=16).dataset_value
        table.SetInParent()
        if number is not None:
            table.num_of_columns = number
        if number:
            table.columns.append("a")
            table.types.append(1)
    payload = wire.SerializeToString()
    shown = [one["value"].get("num_of_columns", "as many") for one in json.loads(as_json(payload))["metrics"]]
    assert shown == [None, "as many", "as many", 2]
    assert encoded(as_json(payload)) == payload


def test_what_cannot_be_read_keeps_its_bytes():
    wire = Payload(timestamp=1)
    wire.metrics.add(name="m", datatype=1, int_value=300)
    wire.metrics.add(name="n", datatype=10, string_value="x")
    wire.metrics.add(name="o", datatype=16).template_value.version = "?"
    payload = wire.SerializeToString()
    form = json.loads(as_json(payload))
    assert [(m["name"], m["rejected"]) for m in form["metrics"]] == [
        ("m", "out_of_range"),
        ("n", "wrong_type"),
        ("o", "wrong_type"),
    ]
    assert encoded(as_json(payload)) == payload


def test_numbers_are_exact():
    wire = Payload()
    wire.metrics.add(name="u", datatype=8, long_value=2**64 - 1)
    wire.metrics.add(name="f", datatype=9, float_value=0.1)
    wire.metrics.add(name="d", datatype=10, double_value=5e-324)
    wire.metrics.add(name="i", datatype=10, double_value=float("-inf"))
    payload = wire.SerializeToString()
    assert b"18446744073709551615" in as_json(payload)
    assert b'"-Infinity"' in as_json(payload)
    assert encoded(as_json(payload)) == payload


def test_compressed_payload_is_shown_inflated():
    inner = Payload(timestamp=1, seq=2).SerializeToString()
    outer = Payload(timestamp=1, seq=2, uuid="SPBV1.0_COMPRESSED", body=zlib.compress(inner)).SerializeToString()
    document, _ = codec.decode_document(outer, leniency=codec.Leniency(inflate_bytes_max=1000))
    assert (document.seq, document.uuid) == (2, None)
    with pytest.raises(RemoteProtocolError, match="compressed"):
        codec.decode_document(outer)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("", "JSON form"),
        ("[]", "Expected `object`"),
        ("{", "truncated"),
        ("[" * 100_000, "JSON form"),
        ('{"seq": -1}', "payload.seq"),
        ('{"seq": "x"}', "$.seq"),
        ('{"body": "?"}', "body"),
        ('{"metrics": [{"nam": "a"}]}', "unknown field `nam` - at `$.metrics[0]`"),
        ('{"metrics": [{"value": 1}]}', "metrics[0].value: a value without a type"),
        ('{"metrics": [{"datatype": "Real", "value": 1}]}', "'Real' is no datatype"),
        ('{"metrics": [{"datatype": "Int8", "value": 300}]}', "-128 to 127"),
        ('{"metrics": [{"datatype": "Int8", "value": "1"}]}', "a whole number"),
        ('{"metrics": [{"datatype": "Int8", "value": true}]}', "a whole number"),
        ('{"metrics": [{"datatype": "Boolean", "value": 1}]}', "true or false"),
        ('{"metrics": [{"datatype": "Float", "value": 1e39}]}', "does not fit Float"),
        ('{"metrics": [{"datatype": "Double", "value": "x"}]}', "no number"),
        ('{"metrics": [{"datatype": "Bytes", "value": "%"}]}', "base64"),
        ('{"metrics": [{"datatype": "Bytes", "value": 1}]}', "base64"),
        ('{"metrics": [{"datatype": "Int8Array", "value": 1}]}', "a list"),
        ('{"metrics": [{"datatype": "Int8Array", "value": [300]}]}', "no Int8Array"),
        ('{"metrics": [{"datatype": "PropertySet", "value": []}]}', "no propertyset_value here"),
        ('{"metrics": [{"datatype": "Int8", "field": "number", "value": 1}]}', "no field of a value"),
        ('{"metrics": [{"datatype": "Int8", "field": "string_value", "value": 1}]}', "metrics[0].value"),
        ('{"metrics": [{"datatype": 99, "value": 1}]}', "99 cannot stand here"),
        ('{"metrics": [{"datatype": -1, "value": 1}]}', "number of a datatype"),
        ('{"metrics": [{"datatype": "DataSet", "value": {"columns": ["a"]}}]}', "one basic type for each column"),
        (
            '{"metrics": [{"datatype": "DataSet", "value": {"columns": ["a"], "types": ["Int8"], "rows": [[]]}}]}',
            "cells",
        ),
        ('{"metrics": [{"datatype": "DataSet", "value": 1}]}', "no DataSet"),
        ('{"metrics": [{"datatype": "Template", "value": {"x": 1}}]}', "no Template"),
        (
            '{"metrics": [{"properties": [{"key": "a", "type": "Template", "value": {}}]}]}',
            "'Template' cannot stand here",
        ),
        ('{"metrics": [{"raw": "/w=="}]}', "no bytes of a metric"),
        ('{"metrics": [{"name": "\\ud800"}]}', "JSON form"),
        ('{"metrics": [{"alias": 18446744073709551616}]}', "metrics[0].alias"),
    ],
)
def test_form_that_cannot_be_written_is_a_local_error_with_its_place(form, said):
    with pytest.raises(LocalProtocolError) as caught:
        encoded(form)
    assert said in str(caught.value)


def test_nesting_of_a_form_is_bounded():
    value: dict[str, Any] = {"is_definition": False, "template_ref": "T"}
    for _ in range(codec.DEPTH_MAX + 1):
        value = {"template_ref": "T", "metrics": [{"name": "t", "datatype": "Template", "value": value}]}
    form = json.dumps({"metrics": [{"name": "t", "datatype": "Template", "value": value}]})
    with pytest.raises(LocalProtocolError, match="too deep"):
        encoded(form)


def test_hand_written_form_of_every_type_is_what_decoding_gives():
    values = {
        DataType.INT8: -1,
        DataType.INT16: -30000,
        DataType.INT32: -1,
        DataType.INT64: -(2**63),
        DataType.UINT8: 255,
        DataType.UINT16: 65535,
        DataType.UINT32: 2**32 - 1,
        DataType.UINT64: 2**64 - 1,
        DataType.FLOAT: "NaN",
        DataType.DOUBLE: 0.1,
        DataType.BOOLEAN: False,
        DataType.STRING: "",
        DataType.DATETIME: T0_MS,
        DataType.TEXT: "t",
        DataType.UUID: "11ad7b32-1d32-4c4a-b0c9-fa049208939a",
        DataType.DATASET: {"columns": ["a", "b"], "types": ["Int8", "String"], "rows": [[-1, None]]},
        DataType.BYTES: "AP8=",
        DataType.FILE: "",
        DataType.TEMPLATE: {
            "template_ref": "T",
            "is_definition": False,
            "metrics": [{"name": "m", "datatype": "Int8"}],
        },
        DataType.INT8_ARRAY: [-1],
        DataType.INT16_ARRAY: [-1, 1],
        DataType.INT32_ARRAY: [],
        DataType.INT64_ARRAY: [-(2**63)],
        DataType.UINT8_ARRAY: [255],
        DataType.UINT16_ARRAY: [65535],
        DataType.UINT32_ARRAY: [2**32 - 1],
        DataType.UINT64_ARRAY: [2**64 - 1],
        DataType.FLOAT_ARRAY: [0.5, "Infinity"],
        DataType.DOUBLE_ARRAY: [0.1, "NaN"],
        DataType.BOOLEAN_ARRAY: [True, False, True],
        DataType.STRING_ARRAY: ["a", ""],
        DataType.DATETIME_ARRAY: [T0_MS],
    }
    form = {
        "seq": 0,
        "metrics": [
            {"name": datatype.label, "datatype": datatype.label, "value": value} for datatype, value in values.items()
        ],
    }
    assert json.loads(as_json(encoded(json.dumps(form)))) == form


# ── forms that nobody should write ───────────────────────────────────────────────────────────────────────────────

_ANYTHING: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 1e308, -1e300, 2**63, 2**64, -(2**63) - 1, 10**300),
    *("", "x", "NaN", "Int8", "Template", "PropertySet", "%%", "AA==", "\ud800", "é" * 2000),
    *([], {}, [[]], [{}], [None], {"key": "a"}, [1, "a"], [[{"key": "a"}]]),
)
_KEYS = (
    *("name", "alias", "timestamp", "datatype", "of_birth", "is_null", "metadata", "properties", "field", "value"),
    *("rejected", "raw", "type", "key", "rows", "columns", "types", "num_of_columns", "parameters", "metrics"),
    *("template_ref", "is_definition", "version", "seq", "uuid", "body"),
)
_MESSAGE_CHARACTERS_MAX = 700  # of an error, however long what it is about


def places_of(form: Any) -> list[tuple[Any, Any]]:
    keys = list(form) if isinstance(form, dict) else list(range(len(form))) if isinstance(form, list) else []
    return [(form, key) for key in keys] + [place for key in keys for place in places_of(form[key])]


def damage(form: Any, chance: random.Random) -> None:
    places = places_of(form)
    if not places:
        return
    (holder, key), (other, other_key) = chance.choice(places), chance.choice(places)
    match chance.randrange(4):
        case 0:
            holder[key] = copy.deepcopy(chance.choice(_ANYTHING))
        case 1:
            del holder[key]
        case 2 if isinstance(holder, dict):
            holder[chance.choice(_KEYS)] = copy.deepcopy(chance.choice(_ANYTHING))
        case _:
            holder[key] = copy.deepcopy(other[other_key])


def test_a_damaged_form_is_written_as_it_says_or_is_a_local_error_of_bounded_length():
    chance = random.Random(4)
    forms = [json.loads(as_json(payload, goldens.TABLE)) for payload in goldens.MESSAGES.values()]
    written = 0
    for _ in range(3_000):
        form = copy.deepcopy(chance.choice(forms))
        for _ in range(chance.randrange(1, 4)):
            damage(form, chance)
        text = json.dumps(form)
        try:
            payload = encoded(text)
        except LocalProtocolError as error:
            assert len(str(error)) < _MESSAGE_CHARACTERS_MAX  # noqa: PT017
            continue
        written += 1
        again = as_json(payload)
        assert as_json(encoded(again)) == again, text
    assert 300 < written < 3_000
