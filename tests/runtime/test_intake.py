"""Births and data under the tree, without I/O."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.runtime.plants import TREE_TEXT, births_of
from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.enrichment.samples import Provenance, Quality
from uns.namespace.loader import load_tree
from uns.runtime.host.groups import DeathItem, WorkItem
from uns.runtime.host.intake import DeviceReader, malformed_work, quality_of
from uns.runtime.host.rejoin import RawReader
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BirthMetric, DataBatch, DataPayload, DataSetValue, Property, TemplateValue
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
MS = 1_000_000
PROVENANCE = Provenance(
    group_id=NODE.group_id,
    edge_node_id=NODE.edge_node_id,
    device_id="reactor4",
    session="s1",
    bd_seq=1,
    seq=0,
    historical=False,
    received_at_ns=0,
    raw_position=1,
)


@pytest.fixture
def tree(tmp_path):
    file = tmp_path / "topic_tree.yaml"
    file.write_text(TREE_TEXT)
    return load_tree(file)


def born(metrics: list[BirthMetric], *, seq: int = 0) -> bytes:
    aliased = [msgspec.structs.replace(m, alias=n + 1, timestamp_ms=m.timestamp_ms or 5) for n, m in enumerate(metrics)]
    return codec.encode_birth(aliased, timestamp_ms=5, seq=seq)


class Device:
    """A birth as the host read it, and payloads made with its bindings."""

    def __init__(self, tree: Any, metrics: list[BirthMetric], *, device_id: str | None = "reactor4") -> None:
        self.payload = born(metrics)
        self.birth = codec.decode_birth(self.payload)
        self.table = AliasTable.of_birth(self.birth)
        self.reader = DeviceReader(tree, NODE, device_id, self.birth, ours=True)

    def data(self, *samples: tuple[str, Any, int], properties: dict[int, tuple[Property, ...]] | None = None) -> bytes:
        names, values, times = (list(column) for column in zip(*samples, strict=True))
        bindings = [self.table.by_name[name] for name in names]
        batch = DataBatch(bindings=bindings, values=values, times_ms=times, properties=properties or {})
        return codec.encode_data(batch, timestamp_ms=9, seq=1)

    def read(self, payload: bytes) -> Any:
        return self.reader.read_data(codec.decode_data(payload, self.table), PROVENANCE)


def test_a_plain_payload_becomes_one_batch_and_the_second_time_fast(tree):
    device = Device(tree, births_of(tree, "reactor4"))
    for _ in range(2):
        work = device.read(device.data(("temperature", 1.5, 7), ("batch/count", 3, 8)))
        ((batch, clock),) = work.batches
        assert [m.name for m in batch.metrics] == ["temperature", "batch/count"]
        assert (batch.values, batch.times_ns) == ([1.5, 3], [7 * MS, 8 * MS])
        assert (batch.equipment, batch.qualities, batch.ordinals, clock.time_source) == (
            "reactor4",
            None,
            None,
            "device",
        )
        assert work.samples == 2


def test_status_ordinal_and_quality_are_columns_only_where_needed(tree):
    device = Device(tree, births_of(tree, "reactor4"))
    properties = {
        1: (Property("status_code", DataType.UINT32, 0x40000000),),
        2: (Property("ordinal", DataType.UINT32, 3), Property("Quality", DataType.INT32, 0)),
    }
    payload = device.data(("temperature", 1.0, 7), ("pressure", 2.0, 7), ("temperature", 3.0, 7), properties=properties)
    ((batch, _),) = device.read(payload).batches
    assert batch.qualities == [Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]
    assert batch.status_codes == [0, 0x40000000, 0]
    assert batch.ordinals == [None, None, 3]


@pytest.mark.parametrize(
    ("status_code", "quality", "expected"),
    [
        (0, None, Quality.GOOD),
        (0, 192, Quality.GOOD),
        (0, 0, Quality.BAD),
        (0, 500, Quality.STALE),
        (0x80000000, 192, Quality.BAD),
        (0x40000000, None, Quality.UNCERTAIN),
        (0x00A00000, None, Quality.GOOD),
        (0, -2147483136, Quality.BAD),  # Ignition: Bad
        (0, -2147483132, Quality.STALE),  # Bad_Stale
        (0, 2147484160, Quality.BAD),  # Bad, as a peer that writes it unsigned does
        (0, 1073742080, Quality.UNCERTAIN),
        (0, 64, Quality.UNCERTAIN),  # OPC DA
        (0, 24, Quality.BAD),
        (0, 216, Quality.GOOD),
        (0, True, Quality.GOOD),
        (0, "bad", Quality.GOOD),
    ],
)
def test_quality_follows_the_opcua_status_else_the_sparkplug_property(status_code, quality, expected):
    assert quality_of(status_code, quality) is expected


def test_what_the_tree_does_not_know_or_types_otherwise_keeps_its_reason(tree):
    metrics = [
        BirthMetric(name="temperature", datatype=DataType.INT32),  # the tree says Float
        BirthMetric(name="vibration", datatype=DataType.DOUBLE),
        BirthMetric(name="pressure", datatype=DataType.FLOAT),
    ]
    device = Device(tree, metrics)
    work = device.read(device.data(("temperature", 1, 7), ("vibration", 2.0, 7), ("pressure", 3.0, 7)))
    assert [(s.metric, s.reason) for s in work.rejected] == [("temperature", "type_differs_from_tree")]
    assert [(s.metric, s.reason, s.source_time_ns) for s in work.unmapped] == [("vibration", "unmapped", 7 * MS)]
    assert [m.name for m in work.batches[0][0].metrics] == ["pressure"]
    assert work.samples == 3


def test_protocol_metrics_are_in_no_term(tree):
    device = Device(
        tree,
        [BirthMetric(name="uns/gap", datatype=DataType.STRING), BirthMetric(name="x", datatype=DataType.INT8)],
        device_id=None,
    )
    work = device.read(device.data(("uns/gap", "dropped 5", 7), ("x", 1, 7)))
    assert (work.gaps, work.samples, [s.metric for s in work.unmapped]) == (["dropped 5"], 1, ["x"])


def test_births_say_whose_clock_stamps_and_how_far_it_is_believed(tree):
    told = (
        Property("time_source", DataType.STRING, "gateway"),
        Property("past_max_ms", DataType.INT64, -1),
        Property("future_max_ms", DataType.INT64, 100),
    )
    metrics = [
        BirthMetric(name="temperature", datatype=DataType.FLOAT, properties=told),
        BirthMetric(name="pressure", datatype=DataType.FLOAT),
    ]
    device = Device(tree, metrics)
    work = device.read(device.data(("temperature", 1.0, 7), ("pressure", 2.0, 7)))
    clocks = {batch.metrics[0].name: clock for batch, clock in work.batches}
    assert (clocks["temperature"].time_source, clocks["temperature"].past_max_ns) == ("gateway", None)
    assert clocks["temperature"].future_max_ns == 100 * MS
    assert clocks["pressure"].time_source == "device"
    other: dict[int, tuple[Property, ...]] = {0: (Property("time_source", DataType.STRING, "server"),)}
    ((batch, _),) = device.read(device.data(("pressure", 2.0, 8), properties=other)).batches
    assert batch.time_source == "server"


def test_a_birth_shows_the_last_samples_and_null_is_none(tree):
    bad = (Property("status_code", DataType.UINT32, 0x80000000),)
    metrics = [
        BirthMetric(name="temperature", datatype=DataType.FLOAT, value=1.5, timestamp_ms=7),
        BirthMetric(name="pressure", datatype=DataType.FLOAT, value=None, timestamp_ms=8),
        BirthMetric(name="total", datatype=DataType.UINT64, value=None, timestamp_ms=9, properties=bad),
        BirthMetric(name="Properties/path", datatype=DataType.STRING, value="x", timestamp_ms=9),
    ]
    device = Device(tree, metrics)
    work = device.reader.read_birth(device.birth, PROVENANCE)
    ((batch, _),) = work.batches
    assert [(m.name, v) for m, v in zip(batch.metrics, batch.values, strict=True)] == [
        ("temperature", 1.5),
        ("total", None),
    ]
    assert (batch.origin, work.samples) == ("birth", 0)


def test_a_malformed_payload_is_one_rejected_sample():
    work = malformed_work(b"\xff", "not protobuf", PROVENANCE)
    assert (work.samples, work.rejected[0].raw, work.rejected[0].reason) == (1, b"\xff", "malformed: not protobuf")


def test_the_raw_log_reads_each_message_with_the_births_of_its_own_session(tree):
    old = Device(tree, births_of(tree, "reactor4"))
    new = Device(tree, list(reversed(births_of(tree, "reactor4"))))  # the same names under other aliases
    topic = "spBv1.0/acme.dallas/{}/gw-1{}".format

    def message(position: int, kind: str, payload: bytes, session: str) -> RawMessage:
        device = "" if kind.startswith("N") else "/reactor4"
        return RawMessage(position, 1_000 + position, topic(kind, device), session, 1, payload)

    held = [RawBirth(1, 0, NODE, "reactor4", "s1", 1, old.payload)]
    reader = RawReader(tree, held)
    node_birth = born([BirthMetric(name="bdSeq", datatype=DataType.INT64, value=2, timestamp_ms=5)])
    items = [
        reader.read(message(2, "DDATA", old.data(("temperature", 1.0, 7)), "s1")),
        reader.read(message(3, "NBIRTH", node_birth, "s2")),
        reader.read(message(4, "DBIRTH", new.payload, "s2")),
        reader.read(message(5, "DDATA", new.data(("temperature", 2.0, 8)), "s2")),
        reader.read(message(6, "DDEATH", b"", "s2")),
        reader.read(message(7, "DDATA", b"\xff\xff", "s2")),
    ]
    first, _, _, second, death, broken = items
    assert isinstance(first, WorkItem)
    assert isinstance(second, WorkItem)
    assert first.work.batches[0][0].metrics[0].name == second.work.batches[0][0].metrics[0].name == "temperature"
    assert (second.work.provenance.session, second.work.provenance.bd_seq) == ("s2", 2)
    assert death == DeathItem(6, NODE, "reactor4", 1_006)
    assert isinstance(broken, WorkItem)
    assert broken.work.rejected


def test_the_raw_log_reads_a_device_that_a_rebirth_left_out_with_its_birth_of_before(tree):
    """A host that began anew in the middle of a rebirth resumed the session so, and answered for the data."""
    device = Device(tree, births_of(tree, "reactor4"))
    node_birth = born([BirthMetric(name="bdSeq", datatype=DataType.INT64, value=1, timestamp_ms=5)])
    data = device.data(("temperature", 1.0, 7))
    topic, of_device = "spBv1.0/acme.dallas/NBIRTH/gw-1", "spBv1.0/acme.dallas/DDATA/gw-1/reactor4"
    dbirth = RawBirth(2, 0, NODE, "reactor4", "s1", 1, device.payload)
    rebirth = RawBirth(3, 0, NODE, None, "s1", 1, node_birth)
    begun_behind = RawReader(tree, [dbirth, rebirth])
    begun_before = RawReader(tree, [dbirth])
    begun_before.read(RawMessage(3, 1_003, topic, "s1", 1, node_birth))
    for reader in (begun_behind, begun_before):
        item = reader.read(RawMessage(4, 1_004, of_device, "s1", 1, data))
        assert isinstance(item, WorkItem)
        assert not item.work.rejected
        assert [batch.values for batch, _ in item.work.batches] == [[1.0]]


def test_data_without_its_birth_in_the_raw_log_is_rejected_not_fatal(tree):
    item = RawReader(tree, []).read(RawMessage(1, 0, "spBv1.0/g/NDATA/n", "s", 1, b""))
    assert isinstance(item, WorkItem)
    assert "birth" in item.work.rejected[0].reason


def test_foreign_sessions_are_no_sessions(tree):
    item = RawReader(tree, []).read(RawMessage(1, 0, "spBv1.0/g/NDATA/n", "foreign:bd3", 1, b""))
    assert isinstance(item, WorkItem)
    assert item.work.provenance.session == ""


def test_an_empty_payload_is_no_sample(tree):
    device = Device(tree, births_of(tree, "reactor4"))
    empty = DataPayload(timestamp_ms=1, seq=1, bindings=[], values=[], times_ms=[])
    assert device.reader.read_data(empty, PROVENANCE).samples == 0


TABLE = DataSetValue(("a",), (DataType.DOUBLE,), ((1.5,), (float("nan"),)))
PART = TemplateValue(template_ref="Motor", metrics=(BirthMetric(name="rpm", datatype=DataType.INT32, value=5),))


def test_composed_values_are_kept_as_rejected_and_harm_no_neighbour(tree):
    composed = [
        BirthMetric(name="table", datatype=DataType.DATASET, value=TABLE),
        BirthMetric(name="pressure", datatype=DataType.FLOAT_ARRAY, value=(1.0,)),  # the tree says Float
        BirthMetric(name="motor", datatype=DataType.TEMPLATE, value=PART),
    ]
    own = [one for one in births_of(tree, "reactor4") if one.name != "pressure"]
    device = Device(tree, [*composed, *own])
    assert device.reader.mapping.unmapped == ()  # as before they could be read: rejected, with the reason
    assert device.reader.mapping.mistyped == {}
    assert [batch.metrics for batch, _ in device.reader.read_birth(device.birth, PROVENANCE).batches] == []
    for _ in range(2):
        work = device.read(
            device.data(
                ("table", TABLE, 7),
                ("temperature", 1.5, 7),
                ("pressure", (1.0, 2.0), 7),
                ("motor", PART, 7),
                ("table", None, 8),
            )
        )
        ((batch, _),) = work.batches
        assert ([m.name for m in batch.metrics], batch.values) == (["temperature"], [1.5])
        assert [(one.metric, one.reason) for one in work.rejected] == [
            (name, "unsupported_type") for name in ("table", "pressure", "motor", "table")
        ]
        assert work.samples == 5
        assert msgspec.json.decode(work.rejected[0].raw)["value"]["rows"] == [[1.5], [None]]
        assert msgspec.json.decode(work.rejected[1].raw) == {"value": [1.0, 2.0]}


def test_nested_properties_do_not_harm_the_value_they_belong_to(tree):
    device = Device(tree, births_of(tree, "reactor4"))
    nested = Property("limits", DataType.PROPERTY_SET, (Property("low", DataType.DOUBLE, 1.0),))
    properties: dict[int, tuple[Property, ...]] = {
        0: (nested, Property("ordinal", DataType.UINT32, 3), Property("time_source", DataType.PROPERTY_SET, ()))
    }
    ((batch, clock),) = device.read(device.data(("temperature", 1.5, 7), properties=properties)).batches
    assert (batch.values, batch.ordinals, clock.time_source) == ([1.5], [3], "device")


def test_a_payload_with_a_metric_in_its_old_and_its_new_type_becomes_a_batch_of_each(tree):
    """A series takes one type at a time: were they in one batch, all would be written in the type that came last."""
    retired = Property("retired", DataType.BOOLEAN, True)
    old = [
        BirthMetric(name=f"temperature@{kind.label}", datatype=kind, properties=(retired,))
        for kind in (DataType.INT32, DataType.DOUBLE)
    ]
    device = Device(tree, [*births_of(tree, "reactor4"), *old])
    work = device.read(
        device.data(
            ("temperature@Int32", 7, 1),
            ("temperature", 1.5, 2),
            ("temperature@Double", 2.5, 3),
            ("temperature@Int32", 8, 4),
        )
    )
    found = [([(m.name, m.datatype) for m in batch.metrics], batch.values) for batch, _ in work.batches]
    assert found == [
        ([("temperature", DataType.INT32)] * 2, [7, 8]),
        ([("temperature", DataType.FLOAT)], [1.5]),
        ([("temperature", DataType.DOUBLE)], [2.5]),
    ]
    assert (work.samples, work.unmapped, work.rejected) == (4, [], [])
    for _ in range(2):  # also where nothing else is in it
        ((batch, _),) = device.read(device.data(("temperature@Int32", 9, 5))).batches
        assert batch.metrics[0].datatype is DataType.INT32
