"""Whatever vanishes, and whoever dies: what the edge deletes the host has committed, and in the end that is all."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.delivery.channel import Channel

Step = tuple[str, int]

small = st.integers(0, 8)
steps = st.one_of(
    st.tuples(st.just("store"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["live", "live", "live", "history", "history", "history"]), st.just(0)),
    st.tuples(st.just("deliver"), st.integers(1, 10)),
    st.tuples(st.sampled_from(["commit", "confirms"]), st.integers(1, 5)),
    st.tuples(st.just("time"), st.sampled_from([1, 100, 500, 1_000, 5_000, -3_000])),
    st.tuples(st.sampled_from(["lose_up", "lose_down", "duplicate_confirm", "cut_up"]), small),
    st.tuples(st.sampled_from(["overtake_up", "overtake_up", "duplicate_up", "overtake_down"]), small),
    st.tuples(st.sampled_from(["refuse_from_elsewhere", "confirm_ahead"]), small),
    st.tuples(
        st.sampled_from(
            ["connect", "rebirth", "disconnect", "crash_edge", "fail_commit", "reconnect_host", "crash_host"]
        ),
        st.just(0),
    ),
)


def play(channel: Channel, step: Step) -> None:
    name, number = step
    match name:
        case "live" | "history":
            channel.send(name)
        case "time":
            channel.pass_time(number)
        case "confirms":
            channel.receive_confirms(number)
        case "commit" | "connect" | "rebirth" | "disconnect":
            getattr(channel, name)()
        case "crash_edge" | "fail_commit" | "reconnect_host" | "crash_host":
            getattr(channel, name)()
        case _:
            getattr(channel, name)(number)


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=80))
def test_rows_deleted_at_the_edge_are_committed_at_the_host_and_all_are_in_the_end(script):
    channel = Channel()
    channel.connect()
    for step in script:
        play(channel, step)
        channel.check()
    channel.settle()
    assert channel.stored <= channel.committed


@settings(max_examples=100, deadline=None)
@given(
    lost=st.lists(st.integers(0, 11), min_size=1, max_size=6, unique=True),
    history=st.integers(0, 10),
    live=st.integers(1, 10),
)
def test_any_part_of_one_window_may_vanish(lost, history, live):
    channel = Channel(rows_per_message=1)
    channel.store(history)
    channel.connect()
    channel.store(live)
    while channel.send("live") or channel.send("history"):
        pass
    channel.pass_time(500)
    for index in sorted(lost, reverse=True):
        if index < len(channel.up):
            del channel.up[index]
    channel.settle()
    assert channel.stored <= channel.committed


def test_a_loss_of_256_messages_is_seen():
    channel = Channel(rows_per_message=1)
    channel.connect()
    channel.edge._mark_messages_max = 1_000
    channel.store(600)
    while channel.send("live"):
        pass
    channel.pass_time(500)
    channel.deliver(1)  # the birth
    for _ in range(512):
        channel.lose_up(10)
    channel.deliver(len(channel.up))
    channel.commit()
    assert [answer.ok for answer in channel.down] == [False]
    channel.settle()
    assert channel.stored <= channel.committed
