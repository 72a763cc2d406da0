from __future__ import annotations

import pytest

from uns.delivery.host import HostDelivery
from uns.delivery.messages import Confirm, Mark
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
OTHER = EdgeNodeDescriptor("acme.dallas", "gw-2")


def a_mark(
    n: int, messages: int, *, session: str = "s1", repeat: bool = False, host: str = "host-1", v: int = 1
) -> Mark:
    return Mark(v=v, session=session, host=host, n=n, repeat=repeat, cursor="live", mark=1, messages=messages)


def a_host(*, born: bool = True) -> HostDelivery:
    host = HostDelivery("host-1")
    if born:
        host.receive_birth(NODE, "s1")
    return host


def ok(host: HostDelivery, mark: Mark, *, held: bool = True) -> bool | None:
    confirm = host.receive_mark(NODE, mark, session_held=held)
    return None if confirm is None else confirm.ok


def test_the_next_mark_with_the_right_count_is_ok():
    host = a_host()
    host.count(NODE, "s1", 3, digest=0)
    assert host.receive_mark(NODE, a_mark(1, 3), session_held=True) == Confirm(session="s1", n=1, ok=True)
    host.count(NODE, "s1", digest=0)
    assert ok(host, a_mark(2, 1))


@pytest.mark.parametrize("messages", [2, 4, 3 + 256, 3 + 512])
def test_a_wrong_count_is_refused_even_if_seq_could_not_tell(messages):
    host = a_host()
    host.count(NODE, "s1", 3, digest=0)
    assert ok(host, a_mark(1, messages)) is False


def test_a_refusal_starts_the_count_again():
    host = a_host()
    host.count(NODE, "s1", 2, digest=0)
    assert ok(host, a_mark(1, 3)) is False
    host.count(NODE, "s1", 5, digest=0)
    assert ok(host, a_mark(2, 5))


def test_a_repeated_mark_gets_the_same_answer():
    host = a_host()
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(1, 1))
    host.count(NODE, "s1", 7, digest=0)
    assert ok(host, a_mark(1, 1, repeat=True))
    assert ok(host, a_mark(1, 1, repeat=True))
    assert ok(host, a_mark(2, 7)), "the repetition does not touch the count"
    assert ok(host, a_mark(3, 9)) is False
    assert ok(host, a_mark(3, 9, repeat=True)) is False


def test_a_repetition_whose_first_was_lost_is_refused_and_the_session_goes_on():
    host = a_host()
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(1, 1, repeat=True)) is False
    host.count(NODE, "s1", 4, digest=0)
    assert ok(host, a_mark(2, 4))


def test_a_skipped_mark_is_refused_and_the_session_goes_on():
    host = a_host()
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(2, 1)) is False
    assert ok(host, a_mark(3, 0))


def test_a_forged_high_mark_does_not_silence_the_session():
    host = a_host()
    assert ok(host, a_mark(1_000_000, 0)) is False
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(1, 1)) is False
    host.count(NODE, "s1", 2, digest=0)
    assert ok(host, a_mark(2, 2))


def test_marks_for_another_host_or_of_another_version_are_left_alone():
    host = a_host()
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(1, 1, host="host-2")) is None
    assert ok(host, a_mark(1, 1, v=2)) is None
    assert ok(host, a_mark(1, 1))
    assert host.marks_ignored == 2


def test_a_session_without_births_is_refused():
    host = a_host(born=False)
    assert ok(host, a_mark(1, 0), held=False) is False


def test_a_session_named_after_a_restart_is_refused_once():
    host = a_host(born=False)
    host.count(NODE, "s1", 9, digest=0)  # no session known: not counted
    assert ok(host, a_mark(5, 9)) is False
    host.count(NODE, "s1", 2, digest=0)
    assert ok(host, a_mark(6, 2))


def test_a_rebirth_changes_neither_number_nor_count():
    host = a_host()
    host.count(NODE, "s1", 1, digest=0)
    host.receive_birth(NODE, "s1")
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(1, 2))
    host.receive_birth(NODE, "s1")
    assert ok(host, a_mark(2, 0))


def test_a_birth_behind_a_mark_of_its_session_changes_neither_number_nor_count():
    host = a_host(born=False)
    assert ok(host, a_mark(4, 9), held=False) is False
    host.receive_birth(NODE, "s1")
    host.count(NODE, "s1", 3, digest=0)
    assert ok(host, a_mark(5, 3))


def test_a_new_session_starts_at_one():
    host = a_host()
    host.count(NODE, "s1", 3, digest=0)
    host.receive_birth(NODE, "s2")
    host.count(NODE, "s1", 3, digest=0)  # decoded late, for the old session
    host.count(NODE, "s2", 1, digest=0)
    assert ok(host, a_mark(1, 1, session="s2"))


def test_a_mark_of_a_past_session_is_refused():
    host = a_host()
    host.receive_birth(NODE, "s2")
    host.count(NODE, "s2", 1, digest=0)
    assert ok(host, a_mark(1, 1, session="s1"), held=False) is False


def test_after_forgetting_nothing_is_ok_until_a_mark_was_refused():
    host = a_host()
    host.count(NODE, "s1", 3, digest=0)
    assert ok(host, a_mark(1, 3))
    host.count(NODE, "s1", 2, digest=0)
    host.forget_all()
    assert ok(host, a_mark(1, 3, repeat=True)) is False, "its answer died with the connection"
    assert ok(host, a_mark(2, 0))


def test_edge_nodes_are_counted_apart():
    host = a_host()
    host.receive_birth(OTHER, "s9")
    host.count(OTHER, "s9", 5, digest=0)
    host.count(NODE, "s1", 1, digest=0)
    assert ok(host, a_mark(1, 1))
    confirm = host.receive_mark(OTHER, a_mark(1, 5, session="s9"), session_held=True)
    assert confirm is not None
    assert confirm.ok


def test_edge_nodes_max_bounds_what_strangers_can_make_us_keep():
    host = HostDelivery("host-1", edge_nodes_max=2)
    for number in range(5):
        node = EdgeNodeDescriptor("g", f"n{number}")
        host.receive_birth(node, "s")
        confirm = host.receive_mark(node, a_mark(1, 0, session="s"), session_held=True)
        assert (confirm is None) == (number >= 2)
    assert host.marks_ignored == 3


def test_answers_are_counted():
    host = a_host()
    ok(host, a_mark(1, 0))
    ok(host, a_mark(2, 1))
    ok(host, a_mark(2, 1, repeat=True))
    assert (host.marks_confirmed, host.marks_refused) == (1, 1)
