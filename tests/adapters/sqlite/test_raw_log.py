from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from uns.adapters.sqlite.raw_log import RawBirth, RawLog, RawMessage
from uns.errors import ConfigurationError, StorageError, StorageFullError
from uns.sparkplug.codec import Leniency
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")


def message(position: int, *, samples: int = 1, payload: bytes = b"x", session: str = "s1", at_ns: int = 0):
    return RawMessage(position, at_ns, "spBv1.0/g/NDATA/n", session, samples, payload)


def birth(position: int, *, device: str | None = None, session: str = "s1", payload: bytes | None = b"b"):
    return RawBirth(position, 0, NODE, device, session, 7, payload)


@pytest.fixture
def log(tmp_path: Path):
    opened = RawLog(tmp_path / "raw.db")
    yield opened
    opened.close()


def test_what_was_appended_is_read_in_order_and_survives_reopening(tmp_path):
    log = RawLog(tmp_path / "raw.db")
    log.append([message(1), message(2, payload=b"two", samples=5)], counts={("acme.dallas/gw-1", "received"): 6})
    log.append([message(5)], counts={("acme.dallas/gw-1", "received"): 1})
    log.close()
    again = RawLog(tmp_path / "raw.db")
    assert again.head() == 5
    assert [m.position for m in again.read(0, messages_max=10)] == [1, 2, 5]
    assert again.read(1, messages_max=1) == [message(2, payload=b"two", samples=5)]
    terms = again.terms(1)
    assert (terms.unjoined, terms.foreign_unjoined) == (6, 0)
    assert terms.counters == {"acme.dallas/gw-1": {"received": 7}}
    assert terms.total("received") == 7
    assert again.terms(5).unjoined == 0
    again.close()


def test_a_failed_append_leaves_nothing_behind(log):
    log.append([message(1)])
    with pytest.raises(StorageError):
        log.append([message(2), message(1)], counts={("n", "received"): 2})
    assert log.head() == 1
    assert log.terms(0).counters == {}


def test_the_newest_births_of_one_session_are_held(log):
    log.append(
        [message(n) for n in range(1, 7)],
        [
            birth(1, session="old"),
            birth(2, device="gone", session="old"),
            birth(3, payload=b"node"),
            birth(4, device="a", payload=b"a1"),
            birth(5, device="a", payload=b"a2"),
            birth(6, device="dead"),
        ],
    )
    log.append([message(7)], [birth(7, device="dead", payload=None)])
    (held,) = log.held()
    assert (held.edge_node, held.session, held.bd_seq, held.payload) == (NODE, "s1", 7, b"node")
    assert held.devices == {"a": b"a2"}


def test_a_dead_node_is_not_held(log):
    log.append([message(1), message(2)], [birth(1), birth(2, payload=None)])
    assert log.held() == []


def test_births_until_a_position_decode_what_follows_it(log):
    log.append([message(n) for n in range(1, 4)], [birth(1, payload=b"1"), birth(3, payload=b"3", session="s2")])
    assert [b.payload for b in log.births_until(2)] == [b"1"]
    assert [b.payload for b in log.births_until(3)] == [b"3"]


def test_pruning_by_age_stops_at_what_is_not_joined(tmp_path):
    log = RawLog(tmp_path / "raw.db", retention_ns=100)
    log.append([message(n, at_ns=n) for n in range(1, 11)], [birth(1, payload=b"1"), birth(4, payload=b"4")])
    assert log.prune(joined=3, now_ns=1_000) == 3
    assert [m.position for m in log.read(0, messages_max=99)] == list(range(4, 11))
    assert [b.position for b in log.births_until(99)] == [4]
    assert [b.position for b in log.births_until(3)] == [1], "the birth that decodes what is not joined stays"
    assert log.prune(joined=10, now_ns=105) == 1
    log.close()


def test_births_of_an_ended_session_go_when_they_serve_nothing_more(tmp_path):
    log = RawLog(tmp_path / "raw.db", retention_ns=1)
    log.append(
        [message(n) for n in range(1, 5)],
        [birth(1, session="old"), birth(2, device="a", session="old"), birth(3, session="new")],
    )
    log.prune(joined=2, now_ns=100)
    assert [b.position for b in log.births_until(2)] == [1, 2]
    log.prune(joined=4, now_ns=100)
    assert [b.position for b in log.births_until(99)] == [3]
    log.close()


def _fill(log: RawLog) -> int:
    for position in range(1, 100):
        try:
            log.append([message(position, payload=bytes(50_000))])
        except StorageFullError:
            return position - 1
    pytest.fail("the bound was never reached")


@pytest.mark.parametrize(
    ("births", "left"),
    [
        pytest.param([birth(1), birth(2, device="a"), birth(3, payload=None)], [3], id="the node died"),
        pytest.param(
            [birth(n, device=None if n % 2 else f"d{n}", session="foreign:bd0") for n in range(1, 7)],
            [5, 6],
            id="a foreign node is born again and again with other devices",
        ),
        pytest.param([birth(1), birth(2, device="a"), birth(3)], [2, 3], id="a rebirth of ours that is not whole yet"),
        pytest.param([birth(1), birth(2, device="a", payload=None), birth(3)], [2, 3], id="a device died"),
    ],
)
def test_births_that_nothing_can_be_read_with_any_more_are_pruned(tmp_path, births, left):
    log = RawLog(tmp_path / "raw.db", retention_ns=1)
    log.append([message(one.position) for one in births], births)
    log.prune(joined=10, now_ns=100)
    assert [one.position for one in log.births_until(10)] == left
    log.close()


def test_a_full_log_refuses_and_takes_again_after_pruning(tmp_path):
    log = RawLog(tmp_path / "raw.db", bytes_max=1_000_000)
    position = _fill(log)
    assert position > 10
    assert log.head() == position, "what was committed before is intact"
    with pytest.raises(StorageFullError, match="full"):
        log.append([message(position + 1, payload=bytes(50_000))])
    assert log.prune(joined=0, now_ns=0) == 0, "nothing that is not joined may go"
    assert log.prune(joined=position, now_ns=0) == position
    log.append([message(position + 1, payload=bytes(50_000))])
    assert log.head() == position + 1
    log.close()


def test_a_file_of_a_newer_release_is_refused_with_what_to_do(tmp_path):
    RawLog(tmp_path / "raw.db").close()
    with sqlite3.connect(tmp_path / "raw.db") as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"schema 99.*newer release.*run that release"):
        RawLog(tmp_path / "raw.db")


def test_a_file_of_another_kind_is_refused(tmp_path):
    RawLog(tmp_path / "raw.db").close()
    with sqlite3.connect(tmp_path / "raw.db") as connection:
        connection.execute("UPDATE meta SET value = 'record log' WHERE key = 'kind'")
    connection.close()
    with pytest.raises(ConfigurationError, match="is a record log"):
        RawLog(tmp_path / "raw.db")


def test_garbage_where_the_log_should_be_is_a_storage_error_that_keeps_the_file(tmp_path):
    (tmp_path / "raw.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StorageError, match="move the file aside"):
        RawLog(tmp_path / "raw.db")
    assert (tmp_path / "raw.db").read_bytes().startswith(b"this is no database")


def test_what_foreign_nodes_sent_is_counted_apart(log):
    log.append([message(1, samples=3), message(2, samples=5, session="foreign:bd7"), message(3, samples=1, session="")])
    terms = log.terms(0)
    assert (terms.unjoined, terms.foreign_unjoined) == (3, 6)


def test_with_which_options_messages_were_read_is_kept_from_where_they_changed(tmp_path):
    log = RawLog(tmp_path / "raw.db")
    assert log.leniencies() == []
    strict, mild = Leniency(), Leniency(scale_nanoseconds=True, inflate_bytes_max=1 << 20)
    for leniency, position in ((strict, 1), (strict, 5), (mild, 7), (mild, 9), (strict, 12), (mild, 12)):
        log.read_with(leniency, from_position=position)
    # Before the first start that says so: as it is read then. What nothing was read with is not kept.
    assert log.leniencies() == [(0, strict), (7, mild), (12, mild)]
    log.close()
