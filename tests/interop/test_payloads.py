"""Bytes: theirs read by us, ours read by them, value by value."""

from __future__ import annotations

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.interop.conftest import Codec
from tests.interop.expectations import Expected, Wire
from tests.interop.process import PeerRefusedError, decoded
from tests.interop.scenes import listed
from tests.interop.values import ARRAY_TYPES, EXTREME, PLAIN, TYPES, metric_name
from tests.sparkplug.goldens import SAMPLES
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BirthMetric, DataBatch, MetricValue

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

AT_MS = 1_700_000_000_000


def our_birth(datatype: DataType, value: MetricValue) -> bytes:
    metric = BirthMetric(name=metric_name(datatype), datatype=datatype, value=value, alias=7, timestamp_ms=AT_MS)
    return codec.encode_birth([metric], timestamp_ms=AT_MS, seq=1)


def wire_value(payload: bytes) -> Wire:
    metric = Payload.FromString(payload).metrics[0]
    field = metric.WhichOneof("value")
    return (field or "", getattr(metric, field) if field else None)


@pytest.mark.parametrize("datatype", TYPES, ids=lambda datatype: datatype.label)
def test_their_bytes_are_read(expected: Expected, peer_codec: Codec, datatype: DataType):
    for values in (PLAIN, EXTREME):
        metrics = listed(values, (datatype,), alias=7, at_ms=AT_MS)
        theirs = bytes.fromhex(peer_codec.ask("encode", kind="DBIRTH", timestamp=AT_MS, seq=1, metrics=metrics))
        birth = codec.decode_birth(theirs)
        assert [(m.name, m.alias, m.value) for m in birth.metrics] == [(metric_name(datatype), 7, values[datatype])]
        data = bytes.fromhex(peer_codec.ask("encode", kind="DDATA", timestamp=AT_MS, seq=2, metrics=metrics))
        assert codec.decode_data(data, AliasTable.of_birth(birth)).values == [values[datatype]]


@pytest.mark.parametrize("datatype", TYPES, ids=lambda datatype: datatype.label)
def test_their_bytes_are_ours(expected: Expected, peer_codec: Codec, datatype: DataType):
    plain = listed(PLAIN, (datatype,), alias=7, at_ms=AT_MS)
    extreme = listed(EXTREME, (datatype,), alias=7, at_ms=AT_MS)
    theirs = peer_codec.ask("encode", kind="DBIRTH", timestamp=AT_MS, seq=1, metrics=extreme)
    ours = wire_value(our_birth(datatype, EXTREME[datatype]))
    assert wire_value(bytes.fromhex(theirs)) == expected.writes.get(datatype, ours)
    if datatype not in expected.writes:
        theirs = peer_codec.ask("encode", kind="DBIRTH", timestamp=AT_MS, seq=1, metrics=plain)
        assert wire_value(bytes.fromhex(theirs)) == wire_value(our_birth(datatype, PLAIN[datatype]))


@pytest.mark.parametrize("datatype", TYPES, ids=lambda datatype: datatype.label)
def test_our_bytes_are_read(expected: Expected, peer_codec: Codec, datatype: DataType):
    birth = our_birth(datatype, EXTREME[datatype])
    if (error := expected.refuses.get(datatype)) is not None:
        with pytest.raises(PeerRefusedError, match=f"^{error}$"):
            peer_codec.ask("decode", kind="DBIRTH", payload=birth.hex())
        return
    told = peer_codec.ask("decode", kind="DBIRTH", payload=birth.hex())
    (value,) = decoded(told, {metric_name(datatype): datatype}).values()
    assert value == expected.reads.get(datatype, EXTREME[datatype])


@pytest.mark.parametrize("datatype", TYPES, ids=lambda datatype: datatype.label)
def test_our_data_is_read_with_its_birth(expected: Expected, peer_codec: Codec, datatype: DataType):
    birth = our_birth(datatype, PLAIN[datatype])
    binding = AliasTable.of_birth(codec.decode_birth(birth)).by_name[metric_name(datatype)]
    batch = DataBatch(bindings=[binding], values=[PLAIN[datatype]], times_ms=[AT_MS])
    data = codec.encode_data(batch, timestamp_ms=AT_MS, seq=2)
    told = peer_codec.ask("decode", kind="DDATA", payload=data.hex(), birth=birth.hex())
    if expected.names_data:
        assert decoded(told, {metric_name(datatype): datatype}) == {metric_name(datatype): PLAIN[datatype]}
    else:  # its decoder takes no birth, so it knows no type, and gives no value
        assert [(m["name"], m["type"], m["value"]) for m in told] == [(None, None, None)]


@pytest.mark.parametrize("datatype", ARRAY_TYPES, ids=lambda datatype: datatype.label)
def test_arrays_are_written_alike(expected: Expected, peer_codec: Codec, datatype: DataType):
    metrics = listed(SAMPLES, (datatype,), alias=7, at_ms=AT_MS)
    ours = our_birth(datatype, SAMPLES[datatype])
    if not expected.has_arrays:  # not a value, and no error that its caller would see
        try:
            theirs = peer_codec.ask("encode", kind="DBIRTH", timestamp=AT_MS, seq=1, metrics=metrics)
        except PeerRefusedError:
            return
        assert wire_value(bytes.fromhex(theirs)) == ("", None)
        return
    theirs = bytes.fromhex(peer_codec.ask("encode", kind="DBIRTH", timestamp=AT_MS, seq=1, metrics=metrics))
    assert wire_value(theirs) == ("bytes_value", expected.array_writes.get(datatype, wire_value(ours)[1]))
    if datatype not in expected.array_writes:
        assert codec.decode_birth(theirs).metrics[0].value == SAMPLES[datatype]


@pytest.mark.parametrize("datatype", ARRAY_TYPES, ids=lambda datatype: datatype.label)
def test_our_arrays_are_read(expected: Expected, peer_codec: Codec, datatype: DataType):
    ours = our_birth(datatype, SAMPLES[datatype])
    told = peer_codec.ask("decode", kind="DBIRTH", payload=ours.hex())
    if not expected.has_arrays:
        assert told[0]["type"] is None
        return
    assert decoded(told, {metric_name(datatype): datatype}) == {
        metric_name(datatype): expected.array_reads.get(datatype, SAMPLES[datatype])
    }
