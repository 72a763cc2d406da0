"""Every order in which a network may bring DATA, marks and a rebirth, and every loss of DATA among them.

A mark is never confirmed unless all DATA that it counts had come. The gateway makes its second mark when the first was
answered, so no order has them the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import msgspec
import pytest

from tests.runtime.test_receiver import Host
from tests.sparkplug.helpers import NODE, T0
from uns.adapters.mqtt import IncomingMessage
from uns.delivery.edge import EdgeDelivery, PublishMark
from uns.delivery.host import HostDelivery
from uns.delivery.messages import Cursor, digest_of, mark_topic

WINDOWS = (("live 1", "history 1"), ("live 2", "history 2"))  # names of the DATA messages before each mark
DATA = [name for window in WINDOWS for name in window]
MARKS = ["mark 1", "mark 2"]


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Host:
    return Host(tmp_path_factory.mktemp("tree"))


def session_of(host: Host, *, rebirth_before: str = "", with_digest: bool = True) -> dict[str, IncomingMessage]:
    """What a gateway says in one session: both windows, each of both cursors, and their marks; and a rebirth."""
    delivery = EdgeDelivery(host_id="host-1")
    said: dict[str, IncomingMessage] = {}

    def birth(name: str) -> None:
        host.peer.nbirth()
        (said[name],) = host.wire.take()

    birth("birth")
    delivery.session_started("session-1", head=2, now_ns=T0)
    ids: dict[Cursor, int] = {"history": 0, "live": 2}
    for n, window in enumerate(WINDOWS, start=1):
        for name in window:
            if name == rebirth_before:
                birth("rebirth")
            host.peer.data(value=DATA.index(name))
            (said[name],) = host.wire.take()
            cursor: Cursor = "live" if name.startswith("live") else "history"
            delivery.sent(
                cursor,
                from_id=ids[cursor],
                next_id=ids[cursor] + 1,
                messages=1,
                digest=digest_of(said[name].payload) if with_digest else None,
                now_ns=T0,
            )
            ids[cursor] += 1
        delivery.receive_timer(T0 + n * 500_000_000)
        (mark,) = (action.mark for action in delivery.actions() if isinstance(action, PublishMark))
        said[f"mark {n}"] = IncomingMessage(mark_topic(NODE), msgspec.json.encode(mark), 0, False)
        delivery._outstanding = None  # answered, whatever the answer was
    return said


def orders(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Each subset of the DATA with all the rest, in each order."""
    rest = [name for name in names if name not in DATA]
    for kept in range(len(DATA) + 1):
        for data in combinations(DATA, kept):
            for order in permutations([*data, *rest]):
                if order.index("mark 1") < order.index("mark 2"):
                    yield order


def false_confirmations(host: Host, said: dict[str, IncomingMessage]) -> list[tuple[str, ...]]:
    found = []
    for order in orders([name for name in said if name != "birth"]):
        host.renew()
        host.receive([said["birth"]])
        came: set[str] = set()
        for name in order:
            answers = host.receive([said[name]])
            came.add(name)
            if name in MARKS and answers[0].ok and not came.issuperset(WINDOWS[MARKS.index(name)]):
                found.append(order)
    return found


@pytest.mark.parametrize("rebirth_before", ["", "live 1", "history 1", "live 2", "history 2"])
def test_no_order_and_no_loss_makes_a_host_confirm_what_did_not_come(host, rebirth_before):
    assert not false_confirmations(host, session_of(host, rebirth_before=rebirth_before))


def test_a_count_alone_is_no_proof_where_data_changes_places_with_its_mark(host):
    """What the digest is there for: this finds the confirmations that it prevents."""
    found = false_confirmations(host, session_of(host, with_digest=False))
    assert ("live 1", "mark 1", "history 1", "live 2", "mark 2") in found


def test_without_disorder_a_mark_is_confirmed_if_nothing_of_it_was_lost(host):
    """However much was lost before, and with a rebirth anywhere."""
    for rebirth_before in ("", *DATA):
        said = session_of(host, rebirth_before=rebirth_before)
        for kept in range(len(DATA) + 1):
            for lost in combinations(DATA, kept):
                host.renew()
                answers = host.receive([message for name, message in said.items() if name not in lost])
                assert [answer.ok for answer in answers] == [not set(window) & set(lost) for window in WINDOWS]


def test_a_loss_of_as_many_messages_as_there_are_numbers_is_seen(host):
    host.renew()
    said = session_of(host)
    host.receive([said["birth"], said["live 1"], said["history 1"], said["mark 1"]])
    host.peer.seq = 2
    payloads = []
    for value in range(258):
        host.peer.data(value=value)
        payloads.append(host.wire.take()[0])
    digest = sum(digest_of(message.payload) for message in payloads)
    (answer,) = host.receive([payloads[0], payloads[-1], host.mark(258, n=2, digest=digest)])
    assert not answer.ok


def test_marks_of_a_session_that_is_named_after_a_restart_are_confirmed_from_the_second_on(host):
    host.renew()
    said = session_of(host)
    host.receive([said["birth"]])
    host.delivery = host.gate.delivery = HostDelivery("host-1")
    first, second = host.receive([message for name, message in said.items() if name != "birth"])
    assert (first.ok, second.ok) == (False, True)


def test_data_that_changed_places_before_its_mark_is_confirmed_and_so_is_data_that_came_twice(host):
    """Brokers keep the order of each topic, not always that of two devices."""
    for order in permutations(("live 1", "history 1")):
        for more in ((), (order[0],), (order[1],)):
            host.renew()
            said = session_of(host)
            (answer,) = host.receive([said[name] for name in ("birth", *order, *more, "mark 1")])
            assert answer.ok == (order == ("live 1", "history 1") or not more), (order, more)
