"""The store: what survives a restart, a full quota, a full disk, a corrupt file, another node's configuration."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_nodes.gaps import Gap, merge_gaps
from edge_nodes.reduction import Rows
from edge_nodes.rows import GAP, MetricName
from edge_nodes.store import EdgeStore, waiting_orphans
from edge_nodes.store.file import DatabaseFile
from uns.errors import ConfigurationError, StorageError, StorageFullError
from uns.sparkplug.datatypes import DataType

NODE = "acme.dallas/gw-1"
MS = 1_000_000
FLOAT = MetricName("reactor4", "temperature", DataType.FLOAT)


def names(*datatypes: DataType) -> list[MetricName]:
    return [MetricName("reactor4", f"m{i}", d) for i, d in enumerate(datatypes)]


def rows(*values, metric: int = 1, start: int = 1, ordinals=(), reduced: int = 0) -> Rows:
    n = len(values)
    return Rows(
        metrics=[metric] * n,
        times_ns=[(start + i) * MS + 250 for i in range(n)],
        ordinals=list(ordinals) or [0] * n,
        values=list(values),
        status_codes=[0] * n,
        time_sources=[0] * n,
        read=n + reduced,
        reduced=reduced,
    )


@contextlib.contextmanager
def opened(path: Path, metrics=(FLOAT,), **fields) -> Iterator[EdgeStore]:
    store = EdgeStore(path, identity=fields.pop("identity", NODE), **fields)
    try:
        store.register(list(metrics))
        yield store
    finally:
        store.close()


def read_all(store: EdgeStore):
    return store.read(0, store.next_id, rows_max=1_000_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        (DataType.FLOAT, [182.0, -0.0, math.inf, -math.inf, None, 5.0]),
        (DataType.DOUBLE, [0.1, 1e308, 5e-324]),
        (DataType.UINT64, [0, 2**63 - 1, 2**63, 2**64 - 1, None]),
        (DataType.INT64, [-(2**63), 2**63 - 1]),
        (DataType.BOOLEAN, [True, False, None]),
        (DataType.STRING, ["", "0010", "NaN", "läuft", "with\0nul"]),
        (DataType.BYTES, [b"", b"NaN", b"\0\xff"]),
        (DataType.DATETIME, [1_780_000_000_123]),
    ],
)
def test_every_value_comes_back_as_it_was(path: Path, datatype: DataType, values) -> None:
    with opened(path, names(datatype)) as store:
        store.commit(rows(*values))
    with opened(path, names(datatype)) as store:
        back = read_all(store).values
        assert [(type(v), str(v)) for v in back] == [(type(v), str(v)) for v in values]


def test_nan_comes_back_as_nan(path: Path) -> None:
    with opened(path) as store:
        store.commit(rows(math.nan, None))
        nan, none = read_all(store).values
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert none is None


def test_counts_are_committed_with_their_rows(path: Path) -> None:
    with opened(path) as store:
        store.commit(rows(1.0, 2.0, reduced=3))
    with opened(path) as store:
        counters = store.counters
    assert (counters.read, counters.reduced, counters.stored, counters.waiting) == (5, 3, 2, 2)


def test_ids_are_never_used_twice(path: Path) -> None:
    with opened(path) as store:
        assert store.commit(rows(1.0, 2.0)).next_id == 3
        assert store.delete([(0, 3)]) == 2
    with opened(path) as store:
        assert store.commit(rows(3.0)).first_id == 3
        assert store.first_id() == 3
        assert store.counters.confirmed == 2


def test_reading_is_by_pages(path: Path) -> None:
    with opened(path) as store:
        store.commit(rows(*map(float, range(10))))
        page = store.read(3, 9, rows_max=4)
        assert (page.first_id, page.next_id, page.values) == (3, 7, [2.0, 3.0, 4.0, 5.0])
        page = store.read(7, 9, rows_max=4)
        assert (page.next_id, page.values) == (9, [6.0, 7.0])
        assert store.read(9, 9, rows_max=4).next_id == 9


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq", "tck-id-topics-nbirth-bdseq-increment"
)
def test_bd_seq_goes_on_by_one_over_restarts_and_wraps(path: Path) -> None:
    seen = []
    for _ in range(4):
        with opened(path) as store:
            seen += [store.next_bd_seq() for _ in range(65)]
    assert seen == [i % 256 for i in range(260)]


def test_a_bd_seq_that_no_broker_saw_is_taken_again(path: Path) -> None:
    with opened(path) as store:
        first = store.next_bd_seq()
        store.give_back_bd_seq()
        assert store.next_bd_seq() == first == 0
    with opened(path) as store:
        store.give_back_bd_seq()
        assert [store.next_bd_seq(), store.next_bd_seq()] == [0, 1]


@pytest.mark.parametrize("delete", [False, True])
def test_the_last_samples_survive_even_when_their_rows_are_confirmed(path: Path, delete: bool) -> None:
    batch = rows(1.0, 2.0, 3.0, ordinals=[0, 0, 1])
    batch.times_ns = [5 * MS, 6 * MS + 1, 6 * MS + 2]
    with opened(path) as store:
        store.commit(batch)
        if delete:
            store.delete([(0, store.next_id)])
    with opened(path) as store:
        assert store.last_samples() == {1: [(6 * MS + 1, 0, 2.0, 0, 0), (6 * MS + 2, 1, 3.0, 0, 0)]}


def test_a_metric_keeps_its_number_and_a_retyped_one_gets_another(path: Path) -> None:
    one, other = names(DataType.FLOAT, DataType.STRING)
    retyped = MetricName(one.device_id, one.name, DataType.DOUBLE)
    with opened(path) as store:
        first = store.register([one, other])
        assert store.register([other, retyped, one]) == [first[1], max(first) + 1, first[0]]


def test_the_unit_of_a_metric_is_the_one_of_the_last_definition_that_had_it(path: Path) -> None:
    with opened(path, metrics=()) as store:
        (first, second) = store.register(names(DataType.FLOAT, DataType.INT32), units=["CEL", None])
        assert store.units == {first: "CEL"}
        store.register(names(DataType.FLOAT, DataType.INT32)[1:], units=["C62"])
    with opened(path, metrics=()) as store:
        assert store.units == {first: "CEL", second: "C62"}


def test_orphans_are_metrics_with_waiting_rows_that_the_definition_lacks(path: Path) -> None:
    kept, gone = names(DataType.FLOAT, DataType.FLOAT)
    with opened(path, [kept, gone]) as store:
        store.commit(rows(1.0, metric=1))
        store.commit(rows(1.0, 2.0, metric=2))
        assert store.orphans([kept]) == {gone: 2}
        assert waiting_orphans(path, identity=NODE, names=[kept]) == {gone: 2}
        store.delete([(0, store.next_id)])
        assert store.orphans([kept]) == {}


def test_looking_for_orphans_makes_no_store(path: Path) -> None:
    assert waiting_orphans(path, identity=NODE, names=[]) == {}
    assert not path.exists()


def test_another_nodes_store_is_refused_and_left_alone(path: Path) -> None:
    with opened(path) as store:
        store.commit(rows(1.0))
    with pytest.raises(ConfigurationError, match=r"belongs to edge node acme\.dallas/gw-1"):
        EdgeStore(path, identity="acme.dallas/gw-2")
    with opened(path) as store:
        assert len(read_all(store)) == 1


def test_a_store_in_use_is_refused(path: Path) -> None:
    with opened(path), pytest.raises(ConfigurationError, match="another uns-edge"):
        EdgeStore(path, identity=NODE)


def test_a_foreign_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("uns: 1\n")
    with pytest.raises(ConfigurationError, match="no edge store"):
        EdgeStore(path, identity=NODE)
    assert path.read_text() == "uns: 1\n"


def test_a_foreign_database_is_refused(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t(x)")
    with pytest.raises(ConfigurationError, match="no edge store"):
        EdgeStore(path, identity=NODE)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="make the directory"):
        EdgeStore(tmp_path / "nowhere" / "store.db", identity=NODE)


def test_a_corrupt_file_is_set_aside_and_a_new_one_begun(path: Path) -> None:
    with opened(path) as store:
        store.commit(rows(1.0))
    for n in (1, 2):
        path.write_bytes(b"garbage" * 2000)
        with opened(path) as store:
            assert store.set_aside == path.with_name(f"store.db.corrupt-{n}")
            assert len(read_all(store)) == 0
            store.commit(rows(1.0))
    assert path.with_name("store.db.corrupt-1").read_bytes().startswith(b"garbage")


_CRASH = """
import os, sys
from pathlib import Path
from tests.edge_nodes.test_store import FLOAT, NODE, rows
from edge_nodes.store import EdgeStore
store = EdgeStore(Path(sys.argv[1]), identity=NODE)
store.register([FLOAT])
for i in range(20):
    store.commit(rows(float(i), start=i + 1))
os._exit(9)
"""


def crashed(path: Path) -> None:
    """Twenty commits and no close."""
    assert subprocess.run([sys.executable, "-c", _CRASH, str(path)], check=False).returncode == 9


def test_commits_survive_a_process_that_does_not_close(path: Path) -> None:
    crashed(path)
    with opened(path) as store:
        assert read_all(store).values == [float(i) for i in range(20)]


def test_a_torn_write_ahead_log_costs_its_tail_and_nothing_else(path: Path, tmp_path: Path) -> None:
    crashed(path)
    whole = {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in ("", "-wal")}
    size = len(whole["-wal"])
    for step, cut in enumerate(range(0, size, size // 12)):
        for flip in (False, True):
            target = tmp_path / f"{step}-{flip}.db"
            wal = whole["-wal"]
            wal = wal[:cut] + bytes([wal[cut] ^ 0xFF]) + wal[cut + 1 :] if flip else wal[:cut]
            target.write_bytes(whole[""])
            target.with_name(target.name + "-wal").write_bytes(wal)
            target.with_name(target.name + ".lock").touch()
            with opened(target) as store:
                values = read_all(store).values
                assert values == [float(i) for i in range(len(values))]
                assert store.counters.stored == len(values)


# ── full ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def filled(path: Path, when_full, *, batches: int = 60, batch: int = 1000) -> None:
    with opened(path, when_full=when_full, bytes_max=1_000_000) as store:
        for i in range(batches):
            store.commit(rows(*[float(j) for j in range(batch)], start=1 + i * batch))


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_a_full_store_drops_by_policy_and_every_drop_is_counted_and_lies_in_a_gap(path: Path, when_full) -> None:
    filled(path, when_full)
    with opened(path, when_full=when_full, bytes_max=1_000_000) as store:
        store.delete([(0, store.first_id() + 100)])  # room for the gap record
        store.commit(rows(1.0, start=100_000))
        kept = read_all(store)
        counters = store.counters
        assert counters.dropped > 0
        assert counters.stored == 60_001
        assert counters.stored == counters.confirmed + counters.waiting + counters.dropped
        assert counters.waiting == sum(m != GAP for m in kept.metrics)
        gaps = [Gap.from_json(str(v)) for m, v in zip(kept.metrics, kept.values, strict=True) if m == GAP]
        assert sum(gap.count for gap in gaps) == counters.dropped
        assert len(gaps) == counters.gaps
        times = [t for m, t in zip(kept.metrics, kept.times_ms, strict=True) if m != GAP]
        if when_full == "drop_oldest":
            assert times[-2:] == [60_000, 100_000]
        else:
            assert times[0] == 101
            assert 60_000 not in times


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_the_file_and_its_wal_stay_within_the_bound(path: Path, when_full) -> None:
    with opened(path, when_full=when_full, bytes_max=1_000_000) as store:
        largest = 0
        for i in range(60):
            store.commit(rows(*[float(j) for j in range(500)], start=1 + i * 500))
            largest = max(largest, sum(f.stat().st_size for f in path.parent.glob("store.db*")))
    assert largest < 1_400_000  # the WAL may pass its share by one commit


def test_a_full_store_can_still_be_emptied(path: Path) -> None:
    filled(path, "drop_newest")
    with opened(path, when_full="drop_newest", bytes_max=1_000_000) as store:
        waiting = store.counters.waiting
        assert store.delete([(0, store.next_id)]) == waiting
        store.commit(rows(1.0))
        assert store.counters.waiting == 1


def test_more_rows_than_the_whole_store_takes_are_counted_as_dropped(path: Path) -> None:
    with opened(path, bytes_max=1_000_000) as store:
        store.commit(rows(*[float(j) for j in range(60_000)]))
        assert store.counters.dropped == store.counters.stored == 60_000
        store.commit(rows(1.0))
        assert read_all(store).metrics == [GAP, 1]


def test_a_full_disk_drops_nothing_that_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, "drop_oldest", batches=5)
    with opened(path, bytes_max=1_000_000) as store:
        monkeypatch.setattr(DatabaseFile, "_disk_free", lambda _: 0)
        before = msgspec.structs.replace(store.counters)
        with pytest.raises(StorageFullError, match="make room on the disk"):
            store.commit(rows(*[float(j) for j in range(60_000)]))
        assert store.counters == before
        store.commit(rows(1.0))
        assert store.counters.waiting == before.waiting + 1


def test_on_a_full_disk_what_makes_room_still_works(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bdSeq and DELETE may use the ballast; rows may not."""
    with opened(path) as store:
        store.commit(rows(1.0, 2.0))
        ballast = path.with_name("store.db.ballast")
        assert ballast.stat().st_size > 0
        monkeypatch.setattr(DatabaseFile, "_disk_free", lambda _: 0)
        whole = store._file.transaction

        @contextlib.contextmanager
        def full_while_the_ballast_lies_there(*, reserve: bool = False):
            if ballast.exists():
                raise StorageFullError("full")
            with whole(reserve=reserve) as execute:
                yield execute

        monkeypatch.setattr(store, "_transaction", full_while_the_ballast_lies_there)
        with pytest.raises(StorageFullError):
            store.commit(rows(3.0))
        assert ballast.exists()
        assert store.next_bd_seq() == 0
        assert not ballast.exists()
        assert store.delete([(0, 3)]) == 2
        monkeypatch.undo()
        store.commit(rows(3.0))
        store.delete([(3, 4)])
        assert ballast.exists(), "laid aside again"


def test_gaps_merge_and_read_back() -> None:
    one = Gap.of([5 * MS, 3 * MS], reason="a")
    both = merge_gaps(one, Gap.of([9 * MS], reason="b"))
    assert both == Gap(from_ns=3 * MS, to_ns=9 * MS, count=3, reason="b")
    assert Gap.from_json(both.to_json()) == both
    assert '"from":"1970-01-01T00:00:00.003Z"' in both.to_json()
    with pytest.raises(StorageError):
        Gap.from_json("{}")
