"""What the receiving stage counts for marks: only what came once and in its turn, only for nodes that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.runtime.plants import TREE_TEXT
from tests.sparkplug.helpers import NODE, T0, Peer, online_host
from uns.adapters.mqtt import IncomingMessage
from uns.delivery.host import HostDelivery
from uns.delivery.messages import Confirm, Mark, mark_topic
from uns.namespace.loader import load_tree
from uns.runtime.host.receiver import DeliveryGate, Receiver
from uns.runtime.host.rejoin import RawReader
from uns.sparkplug.host import HostBounds, HostSession
from uns.sparkplug.topics import EdgeNodeDescriptor


class Wire:
    """Stands where a peer of the tests has its host: keeps what it says."""

    def __init__(self) -> None:
        self.messages: list[IncomingMessage] = []

    def receive_message(self, topic, payload, *, retain, now_ns, raw):
        self.messages.append(IncomingMessage(topic, payload, 0, retain))

    def events(self):
        return []

    def take(self) -> list[IncomingMessage]:
        taken, self.messages = self.messages, []
        return taken


class Host:
    def __init__(self, tmp_path, **options) -> None:
        file = tmp_path / "topic_tree.yaml"
        file.write_text(TREE_TEXT)
        self.tree, self._options = load_tree(file), options
        self.wire = Wire()
        self.renew()

    def renew(self) -> None:
        """A host that knows of nothing, and a peer that has said nothing."""
        self.session = online_host(**self._options)
        self.delivery = HostDelivery("host-1")
        self.gate = DeliveryGate(self.delivery)
        self.receiver = Receiver(self.tree, self.session, self.gate, next_position=1, on_event=lambda *_: None)
        self.peer = self.another(NODE)
        self.n = 0

    def another(self, node: EdgeNodeDescriptor) -> Peer:
        return Peer(cast("HostSession", self.wire), node=node)

    def receive(self, messages) -> list[Confirm]:
        return [confirm for _, confirm in self.receiver.receive(messages, T0).answers]

    def mark(self, messages: int, *, node=NODE, n: int | None = None, digest: int | None = None) -> IncomingMessage:
        """The next one; without a digest it is of a gateway of before it was there."""
        self.n = self.n + 1 if n is None else n
        mark = Mark(
            session="session-1",
            host="host-1",
            n=self.n,
            cursor="live",
            mark=1,
            messages=messages,
            repeat=False,
            digest=digest,
        )
        return IncomingMessage(mark_topic(node), msgspec.json.encode(mark), 0, False)

    def said(self, count: int) -> list[IncomingMessage]:
        for _ in range(count):
            self.peer.data()
        return self.wire.take()


@pytest.fixture
def host(tmp_path) -> Host:
    made = Host(tmp_path)
    made.peer.nbirth()
    assert made.receive(made.wire.take()) == []
    return made


def test_all_that_a_mark_counts_confirms_it(host):
    (confirm,) = host.receive([*host.said(3), host.mark(3)])
    assert confirm.ok


def test_message_that_came_twice_does_not_make_up_for_one_that_is_lost(host):
    first, second, _lost, fourth = host.said(4)
    (confirm,) = host.receive([first, second, second, fourth, host.mark(4)])
    assert not confirm.ok


def test_message_of_the_window_before_does_not_make_up_for_one_that_is_lost(host):
    first, late, third = host.said(3)
    (refused,) = host.receive([first, third, host.mark(3)])
    _lost, fifth = host.said(2)
    (confirm,) = host.receive([late, fifth, host.mark(2)])
    assert (refused.ok, confirm.ok) == (False, False)


def test_message_that_overtook_its_mark_does_not_make_up_for_one_that_is_lost(host):
    first, _lost, third, of_the_next = host.said(4)
    (confirm,) = host.receive([first, third, of_the_next, host.mark(3)])
    assert not confirm.ok


def test_one_loss_refuses_one_mark(host):
    host.receive([*host.said(3)[1:], host.mark(3)])
    (confirm,) = host.receive([*host.said(3), host.mark(3)])
    assert confirm.ok


def test_marks_of_a_node_that_is_kept_out_are_not_answered_and_nothing_is_kept_of_it(tmp_path):
    host = Host(tmp_path, bounds=HostBounds(nodes_max=1))
    host.peer.nbirth()
    host.receive(host.wire.take())
    strangers = [host.mark(1, node=EdgeNodeDescriptor("g", f"e{n}")) for n in range(50)]
    assert host.receive(strangers) == []
    assert len(host.delivery._counts) == 1


def test_node_that_gave_way_is_forgotten_everywhere(tmp_path):
    host = Host(tmp_path, bounds=HostBounds(nodes_max=1, away_kept_ms=0))
    host.peer.nbirth()
    host.peer.ndeath()
    host.receive(host.wire.take())
    host.another(EdgeNodeDescriptor("g", "e")).nbirth()
    host.receive(host.wire.take())
    assert set(host.session.nodes) == set(host.delivery._counts) == {EdgeNodeDescriptor("g", "e")}
    assert host.receiver._readers.of(NODE, None) is None


def test_a_node_that_is_born_again_and_again_with_other_devices_leaves_no_readers_behind(host):
    for number in range(20):
        host.peer.nbirth()
        host.peer.dbirth(f"device {number}")
        host.receive(host.wire.take())
    readers = host.receiver._readers
    assert [number for number in range(20) if readers.of(NODE, f"device {number}") is not None] == [19]
    assert readers.of(NODE, None) is not None


def test_a_ddeath_that_overtook_its_dbirth_is_logged_and_read_again_behind_it(host):
    host.peer.dbirth()
    host.peer.ddeath()
    birth, death = host.wire.take()
    group = host.receiver.receive([death, birth], T0)
    assert [(message.topic, message.payload) for message in group.messages] == [
        (birth.topic, birth.payload),
        (death.topic, death.payload),
    ]
    assert [row.payload for row in group.births] == [birth.payload, None]  # after a restart it is held as dead
    reader = RawReader(host.tree, [])
    assert [reader.read(message) for message in group.messages][1] == group.items[1]


def test_a_ddeath_of_time_0_counts_from_its_receipt_also_when_it_is_read_again(host):
    """A field that is not set, in words of its sender; nobody died in 1970."""
    host.peer.dbirth()
    host.receive(host.wire.take())
    host.peer.ddeath()
    (death,) = host.wire.take()
    wire = Payload.FromString(death.payload)
    wire.timestamp = 0
    group = host.receiver.receive([msgspec.structs.replace(death, payload=wire.SerializeToString())], T0)
    assert [item.since_ns for item in group.items] == [T0]
    assert RawReader(host.tree, []).read(group.messages[0]) == group.items[0]


def test_why_nothing_is_known_of_a_node_is_a_word_of_the_page_also_where_a_mark_told(host):
    """It stands in `stale_reason`, for programs."""
    other = msgspec.structs.replace(host.mark(1), payload=host.mark(1).payload.replace(b"session-1", b"session-2"))
    host.receive([other])
    node = host.session.nodes[NODE]
    assert not node.online
    page = Path("docs/reference/records.md").read_text(encoding="utf-8")
    assert f"`{node.reason}`" in next(line for line in page.splitlines() if line.startswith("| `stale_reason`"))
