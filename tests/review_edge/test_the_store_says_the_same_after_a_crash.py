"""Whatever fails in between, the file alone gives the counters, the waiting rows and the last sample of each metric."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_nodes.gaps import Gap
from edge_nodes.reduction import Reducer, Reduction, Rows
from edge_nodes.rows import GAP, MetricName
from edge_nodes.store import EdgeStore
from edge_nodes.store import edge_store as module
from edge_nodes.store.file import OwnBoundError
from uns.errors import StorageError, StorageFullError
from uns.source import Readings
from uns.sparkplug.datatypes import DataType

MS = 1_000_000
NAMES = [MetricName("tank1", name, DataType.DOUBLE) for name in ("a", "b", "c")]
IDENTITY = "acme.dallas/gw-1"


def opened(path: Path, **how: Any) -> tuple[EdgeStore, list[int]]:
    store = EdgeStore(path, identity=IDENTITY, **how)
    return store, store.register(NAMES)


def copied(path: Path, target: Path) -> EdgeStore:
    """As a start after ``kill -9`` finds it."""
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, target.with_name(target.name + suffix))
    target.with_name(target.name + ".lock").touch()
    return EdgeStore(target, identity=IDENTITY)


def rows(*metrics: int, value: float, time_ms: int) -> Rows:
    n = len(metrics)
    return Rows(list(metrics), [time_ms * MS] * n, [0] * n, [value] * n, [0] * n, [0] * n, read=n)


def test_a_snapshot_that_failed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_ROWS", 1)
    path = tmp_path / "s.db"
    store, (a, b, _) = opened(path)
    write = store._write_last_samples

    def refuse(_execute: Any) -> None:
        raise StorageFullError("no room", where="here")

    monkeypatch.setattr(store, "_write_last_samples", refuse)
    store.commit(rows(a, b, value=1.0, time_ms=1))  # the rows are in, the snapshot is not
    monkeypatch.setattr(store, "_write_last_samples", write)
    store.commit(rows(b, value=2.0, time_ms=2))
    store.delete([(0, store.next_id)])
    again = copied(path, tmp_path / "copy.db")
    assert {metric: samples[-1][2] for metric, samples in again.last_samples().items()} == {a: 1.0, b: 2.0}
    again.close()
    store.close()


def test_a_gap_that_is_dropped_into_a_newer_one_is_counted_once(tmp_path: Path) -> None:
    store, (a, *_) = opened(tmp_path / "s.db")
    store.count_dropped(Rows(read=1), Gap.of([MS], reason="disk full"))
    store.commit(rows(a, value=1.0, time_ms=2))
    store.delete([(2, 3)])
    assert store.counters.gaps == 1
    store._drop_oldest(1)  # takes the gap row alone
    store.commit(rows(a, value=2.0, time_ms=3))
    waiting = store.read(0, store.next_id, rows_max=10)
    assert waiting.metrics.count(GAP) == store.counters.gaps == 1
    store.close()


def test_a_read_that_fails_is_told_as_a_fault_of_the_store(tmp_path: Path) -> None:
    store, (a, *_) = opened(tmp_path / "s.db")
    store.commit(rows(a, value=1.0, time_ms=1))
    store._connection.execute("ALTER TABLE rows RENAME TO torn")
    with pytest.raises(StorageError):
        store.read(0, 10, rows_max=1)
    with pytest.raises(StorageError):
        store.first_id()
    store._connection.execute("ALTER TABLE torn RENAME TO rows")
    store.close()


_STEP = st.one_of(
    st.tuples(st.just("put"), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=6)),
    st.tuples(st.just("fail"), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=6)),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("drop"), st.integers(1, 5)),
    st.tuples(st.just("restart"), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(_STEP, max_size=25), policy=st.sampled_from(["drop_oldest", "drop_newest"]))
def test_reduction_follows_the_store_over_drops_and_crashes(steps: Any, policy: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        _follow(Path(directory) / "s.db", steps, policy)


def _follow(path: Path, steps: Any, policy: Any) -> None:
    store, numbers = opened(path, when_full=policy)
    reductions = {number: Reduction() for number in numbers}

    def reducer_of(found: EdgeStore) -> Reducer:
        last = {metric: [sample[:4] for sample in samples] for metric, samples in found.last_samples().items()}
        return Reducer(reductions, last_samples=last)

    reducer = reducer_of(store)
    present: dict[int, float] = {}  # what the source shows
    stored: dict[int, float] = {}  # the newest that the store ever held
    clock = generation = 0
    for what, argument in steps:
        if what in {"put", "fail"}:
            readings = Readings([], [], [], [])
            for index, value in argument:
                clock += 1
                readings.metrics.append(numbers[index])
                readings.values.append(float(value))
                readings.times_ns.append(clock * MS)
                readings.status_codes.append(0)
            batch = Rows()
            reducer.receive(readings, batch)
            insert = store._insert
            if what == "fail":
                store._insert = _refuse  # type: ignore[method-assign,assignment]
            committed = store.commit(batch)
            store._insert = insert  # type: ignore[method-assign]
            if not committed.holds(batch):
                reducer.take_back(batch)
            else:
                stored.update(zip(batch.metrics, batch.values, strict=True))  # type: ignore[arg-type]
                present.update(zip(readings.metrics, readings.values, strict=True))  # type: ignore[arg-type]
                # The sentence: after a commit that succeeded, what the source shows is what was stored last.
                for metric in readings.metrics:
                    assert stored[metric] == present[metric]
        elif what == "delete":
            store.delete([(0, argument)])
        elif what == "drop":
            store._drop_oldest(argument)
        else:
            generation += 1
            target = path.with_name(f"s{generation}.db")
            again = copied(path, target)
            assert again.counters == store.counters
            store.close()
            store, path = again, target
            store.when_full = policy
            reducer = reducer_of(store)
        counters = store.counters
        assert counters.read == counters.reduced + counters.stored + counters.refused
        found = store.read(0, store.next_id, rows_max=10_000)
        assert counters.waiting == sum(metric != GAP for metric in found.metrics)
        told = sum(Gap.from_json(str(v)).count for m, v in zip(found.metrics, found.values, strict=True) if m == GAP)
        pending = 0 if store._gap is None else store._gap.count
        assert told + pending <= counters.dropped
        for metric, value in stored.items():
            assert store.last_samples()[metric][-1][2] == value
    store.close()


def _refuse(_rows: Rows) -> Any:
    raise OwnBoundError("full", where="here")
