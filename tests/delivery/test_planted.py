"""The lossless check can fail: each rule of the protocol is taken away once, and it must notice."""

from __future__ import annotations

import random

import msgspec
import pytest

from tests.delivery.channel import NODE, Channel
from tests.delivery.test_lossless import play
from uns.delivery.edge import EdgeDelivery, _Outstanding
from uns.delivery.host import HostDelivery
from uns.delivery.messages import Confirm, Mark

STEPS = (
    [("store", n) for n in (1, 2, 5)]
    + [("live", 0)] * 4
    + [("history", 0)] * 4
    + [("deliver", n) for n in (1, 3, 9)]
    + [("commit", 0), ("confirms", 3)] * 3
    + [("time", n) for n in (100, 500, 500, 5_000)]
    + [("lose_up", n) for n in (0, 1, 3)]
    + [("duplicate_confirm", 0)] * 3
    + [("lose_down", 0), ("cut_up", 2), ("rebirth", 0), ("disconnect", 0), ("connect", 0), ("connect", 0)]
    + [("fail_commit", 0), ("reconnect_host", 0), ("crash_host", 0), ("crash_edge", 0)]
)
DISORDER = [("overtake_up", 0), ("overtake_up", 1), ("overtake_up", 3), ("duplicate_up", 2), ("overtake_down", 0)]
STRANGE = [("refuse_from_elsewhere", 0), ("confirm_ahead", 0), ("confirm_ahead", 4), ("time", -3_000)]


def hunt(make=Channel, seeds: int = 5_000, *, steps=(*STEPS, *DISORDER, *STRANGE)) -> None:
    """Play seeded scripts; raises at the first broken promise."""
    for seed in range(seeds):
        rng = random.Random(seed)
        channel = make()
        channel.connect()
        for _ in range(rng.randrange(20, 120)):
            play(channel, rng.choice(steps))
            channel.check()
        channel.settle()
        assert channel.stored <= channel.committed


def test_the_protocol_as_it_is_passes():
    hunt(seeds=500)


@pytest.fixture
def counts_alone(monkeypatch):
    """A gateway of before the digest."""
    monkeypatch.setattr(Channel, "digest_of", lambda self, data: None)


def test_a_gateway_whose_marks_have_no_digest_is_safe_where_nothing_overtakes(counts_alone):
    hunt(seeds=500, steps=STEPS)


def test_a_gateway_whose_marks_have_no_digest_where_messages_overtake(counts_alone):
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_a_host_that_does_not_count(monkeypatch, counts_alone):
    receive_mark = HostDelivery.receive_mark

    def lenient(self, edge_node, mark, *, session_held):
        count = self._counts.get(NODE)
        if count is not None:
            count.messages = mark.messages
        return receive_mark(self, edge_node, mark, session_held=session_held)

    monkeypatch.setattr(HostDelivery, "receive_mark", lenient)
    with pytest.raises(AssertionError, match="never committed"):
        hunt(steps=STEPS)


def test_a_host_that_looks_at_the_count_modulo_two(monkeypatch, counts_alone):
    """As ``seq`` does modulo 256."""
    receive_mark = HostDelivery.receive_mark

    def modular(self, edge_node, mark: Mark, *, session_held):
        count = self._counts.get(NODE)
        if count is not None and (count.messages - mark.messages) % 2 == 0:
            mark = msgspec.structs.replace(mark, messages=count.messages)
        return receive_mark(self, edge_node, mark, session_held=session_held)

    monkeypatch.setattr(HostDelivery, "receive_mark", modular)
    with pytest.raises(AssertionError, match="never committed"):
        hunt(steps=STEPS)


def test_a_host_that_looks_at_no_digest(monkeypatch):
    receive_mark = HostDelivery.receive_mark

    def lenient(self, edge_node, mark: Mark, *, session_held):
        return receive_mark(self, edge_node, msgspec.structs.replace(mark, digest=None), session_held=session_held)

    monkeypatch.setattr(HostDelivery, "receive_mark", lenient)
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_a_host_that_answers_before_its_commit(monkeypatch):
    monkeypatch.setattr(Channel, "fail_commit", lambda self: self.uncommitted.clear())
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_a_host_that_goes_on_counting_after_a_failed_commit(monkeypatch):
    def fail_commit(self):
        self.uncommitted.clear()
        self.answers.clear()

    monkeypatch.setattr(Channel, "fail_commit", fail_commit)
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_an_edge_that_sends_no_history_again_after_a_refusal(monkeypatch):
    def forgetful(self, waiting: _Outstanding, now_ns):
        self._outstanding = None
        self._live_start = waiting.live_below
        self._history_confirmed = self._history_position

    monkeypatch.setattr(EdgeDelivery, "_refused", forgetful)
    with pytest.raises(AssertionError):
        hunt()


def test_an_edge_that_leaves_refused_live_rows_live(monkeypatch):
    refused = EdgeDelivery._refused

    def stubborn(self, waiting: _Outstanding, now_ns):
        start = self._live_start
        refused(self, waiting, now_ns)
        self._live_start = start

    monkeypatch.setattr(EdgeDelivery, "_refused", stubborn)
    with pytest.raises(AssertionError):
        hunt()


def test_an_edge_that_takes_an_answer_of_another_session(monkeypatch):
    receive_confirm = EdgeDelivery.receive_confirm

    def careless(self, confirm: Confirm, now_ns):
        receive_confirm(self, msgspec.structs.replace(confirm, session=self.session_id or ""), now_ns)

    monkeypatch.setattr(EdgeDelivery, "receive_confirm", careless)
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_an_edge_that_takes_an_answer_to_a_later_mark(monkeypatch):
    receive_confirm = EdgeDelivery.receive_confirm

    def careless(self, confirm: Confirm, now_ns):
        waiting = self._outstanding
        if waiting is not None and confirm.n > waiting.mark.n:
            confirm = msgspec.structs.replace(confirm, n=waiting.mark.n)
        receive_confirm(self, confirm, now_ns)

    monkeypatch.setattr(EdgeDelivery, "receive_confirm", careless)
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_an_edge_that_takes_any_answer(monkeypatch):
    receive_confirm = EdgeDelivery.receive_confirm

    def credulous(self, confirm: Confirm, now_ns):
        waiting = self._outstanding
        if waiting is not None:
            confirm = msgspec.structs.replace(confirm, session=waiting.mark.session, n=waiting.mark.n)
        receive_confirm(self, confirm, now_ns)

    monkeypatch.setattr(EdgeDelivery, "receive_confirm", credulous)
    with pytest.raises(AssertionError, match="never committed"):
        hunt()


def test_level_broker_loses_what_the_host_does_not_get():
    """The documented weakness of level ``broker``: a PUBACK says nothing of the host."""
    channel = Channel(level="broker")
    channel.connect()
    channel.store(4)
    while channel.send("live"):
        pass
    channel.pass_time(500)
    channel.up.clear()
    channel.edge.receive_puback(1, channel.now_ns)
    channel.drain_edge()
    with pytest.raises(AssertionError, match="never committed"):
        channel.check()
