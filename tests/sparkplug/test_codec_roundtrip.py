from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.sparkplug.helpers import batch_of
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import BASIC_TYPES, INTEGER_RANGE, SCALARS, DataType
from uns.sparkplug.metrics import BirthMetric, Property

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
