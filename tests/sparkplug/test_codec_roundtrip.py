from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sparkplug.helpers import batch_of, metric
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import (
    ARRAYS,
    BASIC_TYPES,
    DATETIME_MS_MAX,
    INTEGER_RANGE,
    METRIC_TYPES,
    SCALARS,
    DataType,
)
from uns.sparkplug.documents import document_from_json, document_to_json
from uns.sparkplug.metrics import (
    BirthMetric,
    DataSetValue,
    MetaData,
    MetricBinding,
    Property,
    TemplateParameter,
    TemplateValue,
)

FLOATS = st.floats(width=32)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.integers(0, codec.TIMESTAMP_MS_MAX)


def values_of(datatype: DataType):
    integers = INTEGER_RANGE[datatype]
    if integers is not None:
        edges = st.sampled_from([*integers, 0, 1, integers[0] + 1, integers[1] - 1])
        return st.none() | edges | st.integers(*integers)
    by_type = {
        DataType.FLOAT: FLOATS,
        DataType.DOUBLE: st.floats(),
        DataType.BOOLEAN: st.booleans(),
        DataType.BYTES: st.binary(max_size=20),
    }
    return st.none() | by_type.get(datatype, TEXT)


@st.composite
def properties(draw):
    keys = draw(st.lists(TEXT, max_size=3, unique=True))
    found = []
    for key in keys:
        datatype = draw(st.sampled_from(sorted(BASIC_TYPES)))
        found.append(Property(key, datatype, draw(values_of(datatype))))
    return tuple(found)


@st.composite
def birth_metrics(draw):
    names = draw(st.lists(TEXT.filter(bool), max_size=6, unique=True))
    aliases = draw(st.lists(st.none() | st.integers(0, 2**64 - 1), min_size=len(names), max_size=len(names)))
    found = []
    for name, alias in zip(names, aliases, strict=True):
        datatype = draw(st.sampled_from(sorted(SCALARS)))
        found.append(
            BirthMetric(
                name=name,
                datatype=datatype,
                value=draw(values_of(datatype)),
                timestamp_ms=draw(TIMES),
                alias=None if aliases.count(alias) > 1 else alias,
                is_historical=draw(st.booleans()),
                is_transient=draw(st.booleans()),
                properties=draw(properties()),
            )
        )
    return found


def same(one, other) -> bool:
    """Equal in value and type; NaN equals NaN, and -0.0 is not 0.0."""
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


def alike(one: BirthMetric, other: BirthMetric) -> bool:
    return (
        same(one.value, other.value)
        and (one.name, one.datatype, one.timestamp_ms, one.alias)
        == (other.name, other.datatype, other.timestamp_ms, other.alias)
        and (one.is_historical, one.is_transient) == (other.is_historical, other.is_transient)
        and len(one.properties) == len(other.properties)
        and all(
            p.key == q.key and p.datatype == q.datatype and same(p.value, q.value)
            for p, q in zip(one.properties, other.properties, strict=True)
        )
    )


@given(birth_metrics(), TIMES, st.none() | st.integers(0, 255))
def test_birth_round_trip(metrics, timestamp_ms, seq):
    birth = codec.decode_birth(codec.encode_birth(metrics, timestamp_ms=timestamp_ms, seq=seq))
    assert (birth.timestamp_ms, birth.seq, birth.rejected) == (timestamp_ms, seq, [])
    assert all(alike(one, other) for one, other in zip(metrics, birth.metrics, strict=True))


@given(birth_metrics(), st.data(), st.booleans())
def test_data_round_trip(metrics, data, historical):
    table = AliasTable(metrics)
    chosen = data.draw(
        st.lists(st.sampled_from(sorted(table.by_name.values(), key=lambda b: b.position)), max_size=10)
        if metrics
        else st.just([])
    )
    values = [data.draw(values_of(binding.datatype)) for binding in chosen]
    times = [data.draw(TIMES) for _ in chosen]
    extra = {index: data.draw(properties()) for index in range(len(chosen)) if data.draw(st.booleans())}
    batch = batch_of(chosen, values, times, is_historical=historical, properties=extra)
    read = codec.decode_data(codec.encode_data(batch, timestamp_ms=9, seq=7), table)
    assert (read.timestamp_ms, read.seq, read.rejected, read.times_ms) == (9, 7, [], times)
    assert all(one is other for one, other in zip(read.bindings, chosen, strict=True))
    assert all(same(one, other) for one, other in zip(read.values, values, strict=True))
    assert read.is_historical == ([True] * len(chosen) if historical and chosen else None)
    for index, found in extra.items():
        if found:
            assert read.properties[index].keys() == {p.key for p in found}
            assert all(same(read.properties[index][p.key], p.value) for p in found)


@given(birth_metrics())
def test_command_round_trip(metrics):
    table = AliasTable(metrics)
    command = codec.decode_command(codec.encode_command(metrics, timestamp_ms=1), table)
    assert command.rejected == []
    assert [m.name for m in command.metrics] == [m.name for m in metrics]
    assert all(same(one.value, other.value) for one, other in zip(command.metrics, metrics, strict=True))


# ── every datatype, and everything a metric can say ──────────────────────────────────────────────────────────────

ARRAY_TEXT = TEXT.filter(lambda text: "\x00" not in text)  # a NUL ends a string there
ELEMENTS = {
    DataType.FLOAT_ARRAY: FLOATS,
    DataType.DOUBLE_ARRAY: st.floats(),
    DataType.BOOLEAN_ARRAY: st.booleans(),
    DataType.STRING_ARRAY: ARRAY_TEXT,
    DataType.DATETIME_ARRAY: st.integers(0, DATETIME_MS_MAX),
}
METADATA = st.builds(
    MetaData,
    is_multi_part=st.none() | st.booleans(),
    content_type=st.none() | TEXT,
    size=st.none() | st.integers(0, 2**64 - 1),
    seq=st.none() | st.integers(0, 2**64 - 1),
    file_name=st.none() | TEXT,
    file_type=st.none() | TEXT,
    md5=st.none() | TEXT,
    description=st.none() | TEXT,
)


def elements_of(datatype: DataType):
    known = ELEMENTS.get(datatype)
    if known is None:  # Int8Array to UInt64Array stand in the order of Int8 to UInt64
        low, high = INTEGER_RANGE[datatype - DataType.INT8_ARRAY + DataType.INT8] or (0, 0)
        known = st.sampled_from([low, high]) | st.integers(low, high)
    return st.lists(known, max_size=20).map(tuple)


@st.composite
def tables(draw):
    types = draw(st.lists(st.sampled_from(sorted(BASIC_TYPES)), max_size=4))
    cells = [values_of(datatype).filter(lambda cell: cell is not None) for datatype in types]
    rows = draw(st.lists(st.tuples(*cells), max_size=4)) if types else []
    return DataSetValue(tuple(draw(TEXT) for _ in types), tuple(types), tuple(rows))


@st.composite
def templates(draw, depth: int = 0):
    names = draw(st.lists(TEXT.filter(bool), max_size=3, unique=True))
    members = tuple(draw(any_metrics(name, depth + 1)) for name in names)
    parameters = [
        TemplateParameter(draw(TEXT.filter(bool)), datatype, draw(values_of(datatype).filter(lambda v: v is not None)))
        for datatype in draw(st.lists(st.sampled_from(sorted(BASIC_TYPES)), max_size=2))
    ]
    reference = draw(st.none() | TEXT.filter(bool)) if depth == 0 else draw(TEXT.filter(bool))
    version = draw(st.none() | TEXT)
    return TemplateValue(metrics=members, parameters=tuple(parameters), template_ref=reference, version=version)


@st.composite
def nested_properties(draw, depth: int = 0):
    found = list(draw(properties()))
    if depth < 3 and draw(st.booleans()):
        found.append(Property("\x00set", DataType.PROPERTY_SET, draw(nested_properties(depth + 1))))
        sets = tuple(draw(st.lists(nested_properties(depth + 1), max_size=2)))
        found.append(Property("\x00list", DataType.PROPERTY_SET_LIST, sets))
    return tuple(found)


@st.composite
def any_metrics(draw, name: str, depth: int = 0):
    kinds = sorted(METRIC_TYPES if depth < 3 else METRIC_TYPES - {DataType.TEMPLATE})
    datatype = draw(st.sampled_from(kinds))
    if datatype in ARRAYS:
        value = draw(st.none() | elements_of(datatype))
    elif datatype is DataType.DATASET:
        value = draw(st.none() | tables())
    elif datatype is DataType.TEMPLATE:
        value = draw(st.none() | templates(depth))
    elif datatype is DataType.FILE:
        value = draw(st.none() | st.binary(max_size=20))
    else:
        value = draw(values_of(datatype))
    return BirthMetric(
        name=name,
        datatype=datatype,
        value=value,
        timestamp_ms=draw(TIMES) if depth == 0 else draw(st.none() | TIMES),
        is_historical=draw(st.booleans()),
        is_transient=draw(st.booleans()),
        properties=draw(nested_properties()),
        metadata=draw(st.none() | METADATA),
    )


@st.composite
def rich_births(draw):
    names = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=4, unique=True))
    return [draw(any_metrics(name)) for name in names]


def shown(value) -> str:
    """A value with its type, where NaN is itself and -0.0 is not 0.0."""
    return repr(value)


@given(rich_births())
@settings(max_examples=50, deadline=None)
def test_births_of_every_datatype_come_back_the_same(metrics):
    payload = codec.encode_birth(metrics, timestamp_ms=1, seq=0)
    birth = codec.decode_birth(payload)
    assert (birth.rejected, birth.leniencies) == ([], {})
    assert set(birth.warnings) <= {"tck-id-payloads-metric-timestamp-in-UTC"}  # of 1970, to the millisecond
    assert shown(birth.metrics) == shown(metrics)
    # and through the JSON form of the shell, in either field of UInt32
    for written in (payload, codec.encode_birth(metrics, timestamp_ms=1, seq=0, uint32_in_long=True)):
        form = document_to_json(codec.decode_document(written)[0])
        again = codec.decode_birth(codec.encode_document(document_from_json(form)))
        assert (shown(again.metrics), again.rejected) == (shown(metrics), [])


@given(rich_births())
@settings(max_examples=50, deadline=None)
def test_data_of_every_datatype_come_back_the_same(metrics):
    table = AliasTable([one for one in metrics if not is_definition(one.value)])
    values = [one.value for one in metrics if not is_definition(one.value)]
    payload = codec.encode_data(batch_of(table.by_name.values(), values), timestamp_ms=1, seq=0)
    data = codec.decode_data(payload, table)
    assert (shown(data.values), data.rejected) == (shown(values), [])
    form = document_to_json(codec.decode_document(payload, table)[0])
    again = codec.decode_data(codec.encode_document(document_from_json(form)), table)
    assert (shown(again.values), again.rejected) == (shown(values), [])


def is_definition(value) -> bool:
    return isinstance(value, TemplateValue) and value.is_definition


HALF = "half a \ud83d"  # a surrogate alone: no UTF-8


@pytest.mark.parametrize(
    "wrong",
    [
        metric(HALF, DataType.INT8, 1),
        metric("m", DataType.STRING, HALF),
        metric("m", DataType.STRING_ARRAY, (HALF,)),
        metric("m", DataType.DATASET, DataSetValue((HALF,), (DataType.INT8,))),
        metric("m", DataType.DATASET, DataSetValue(("c",), (DataType.STRING,), ((HALF,),))),
        metric("m", DataType.TEMPLATE, TemplateValue(template_ref=HALF)),
        metric("m", DataType.TEMPLATE, TemplateValue(version=HALF)),
        metric("m", DataType.TEMPLATE, TemplateValue(metrics=(metric(HALF),))),
        metric("m", DataType.TEMPLATE, TemplateValue(parameters=(TemplateParameter(HALF, DataType.INT8, 1),))),
        metric("m", properties=(Property(HALF, DataType.INT8, 1),)),
        metric("m", properties=(Property("p", DataType.TEXT, HALF),)),
        metric("m", metadata=MetaData(description=HALF)),
    ],
)
def test_text_that_is_no_utf8_is_a_local_error_wherever_it_stands(wrong):
    with pytest.raises(LocalProtocolError):
        codec.encode_birth([wrong], timestamp_ms=1, seq=0)
    with pytest.raises(LocalProtocolError):
        codec.encode_command([wrong, metric(HALF)], timestamp_ms=1)


def test_a_binding_without_utf8_in_its_name_is_a_local_error():
    for name, value in ((HALF, 1.0), ("m", HALF)):
        binding = MetricBinding(name, DataType.DOUBLE if value == 1.0 else DataType.STRING, None, 0)
        with pytest.raises(LocalProtocolError):
            codec.encode_data(batch_of([binding], [value]), timestamp_ms=1, seq=0)
