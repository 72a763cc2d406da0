"""What goes into which payload."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_nodes.backlog import PAYLOAD_BYTES_MAX, plan_payloads
from edge_nodes.rows import GAP, StoredRows
from uns.source import TimeSource
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import MetricBinding

DEVICES = {GAP: None, 1: "a", 2: "a", 3: "b"}
TYPES = {GAP: DataType.STRING, 1: DataType.DOUBLE, 2: DataType.DOUBLE, 3: DataType.STRING}
BINDINGS = {m: MetricBinding(f"m{m}", TYPES[m], m + 1, m) for m in DEVICES}
BAD = 0x80310000


def rows(*samples) -> StoredRows:
    """Samples are (metric, time_ms) or (metric, time_ms, ordinal[, value[, status[, time_source]]])."""
    defaults = (None, None, 0, 1.0, 0, int(TimeSource.DEVICE))
    full = [(*sample, *defaults[len(sample) :]) for sample in samples]
    columns = [list(column) for column in zip(*full, strict=True)] or [[] for _ in defaults]
    return StoredRows(len(full), *columns)  # type: ignore[arg-type]


def plan(stored: StoredRows, *, historical: bool = False, metrics_max: int = 500):
    return plan_payloads(
        stored,
        device_of=DEVICES,
        time_source_of=dict.fromkeys(DEVICES, int(TimeSource.DEVICE)),
        bindings=BINDINGS,
        is_historical=historical,
        metrics_max=metrics_max,
    )


def content(payload):
    return [(b.name, t) for b, t in zip(payload.batch.bindings, payload.batch.times_ms, strict=True)]


def test_devices_get_payloads_of_their_own() -> None:
    payloads = plan(rows((1, 5), (3, 5, 0, "x"), (GAP, 6, 0, "{}"), (2, 5)))
    assert [p.device_id for p in payloads] == ["a", "b", None]
    assert content(payloads[0]) == [("m1", 5), ("m2", 5)]


def test_a_payload_is_in_time_order_and_a_metric_in_store_order() -> None:
    (payload,) = plan(rows((1, 7), (2, 5), (1, 8)))
    assert content(payload) == [("m2", 5), ("m1", 7), ("m1", 8)]


def test_samples_of_one_metric_and_ms_go_into_different_payloads_with_their_ordinals() -> None:
    payloads = plan(rows((1, 5), (2, 5), (1, 5, 1), (1, 5, 2), (1, 6)))
    assert [content(p) for p in payloads] == [[("m1", 5), ("m2", 5)], [("m1", 5)], [("m1", 5), ("m1", 6)]]
    assert [[prop.value for prop in p.batch.properties.get(0, ())] for p in payloads] == [[], [1], [2]]


def test_what_is_not_good_says_so() -> None:
    (payload,) = plan(rows((1, 5, 0, None, BAD), (2, 5, 0, 1.0, 0x40000000)))
    assert {p.key: p.value for p in payload.batch.properties[0]} == {"Quality": 0, "status_code": BAD}
    assert {p.key: p.value for p in payload.batch.properties[1]} == {"status_code": 0x40000000}


def test_another_clock_than_the_births_is_told() -> None:
    (payload,) = plan(rows((1, 5, 0, 1.0, 0, int(TimeSource.SERVER)), (2, 5)))
    assert [p.value for p in payload.batch.properties[0]] == ["server"]
    assert 1 not in payload.batch.properties


def test_history_is_marked() -> None:
    assert plan(rows((1, 5)), historical=True)[0].batch.is_historical


def test_no_rows_make_no_payload() -> None:
    assert plan(rows()) == []


def test_payloads_stay_below_their_bounds() -> None:
    long = "x" * 30_000
    payloads = plan(rows(*[(3, t, 0, long) for t in range(5)]))
    assert [len(p.batch.values) for p in payloads] == [2, 2, 1]
    for payload in payloads:
        assert len(codec.encode_data(payload.batch, timestamp_ms=1, seq=1)) <= PAYLOAD_BYTES_MAX
    assert [len(p.batch.values) for p in plan(rows(*[(1, t) for t in range(7)]), metrics_max=3)] == [3, 3, 1]


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, GAP]), st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_every_row_goes_out_once_and_keeps_its_metrics_order_over_payloads(drawn) -> None:
    samples = [(m, t, o, str(i) if TYPES[m] is DataType.STRING else float(i)) for i, (m, t, o) in enumerate(drawn)]
    payloads = plan(rows(*samples), metrics_max=7)
    sent = [int(v) for p in payloads for v in p.batch.values]
    assert sorted(sent) == list(range(len(samples)))
    for payload in payloads:
        keys = content(payload)
        assert len(set(keys)) == len(keys) <= 7
    for key in {(m, t) for m, t, _, _ in samples}:
        order = [i for i in sent if samples[i][:2] == key]
        assert order == sorted(order)
