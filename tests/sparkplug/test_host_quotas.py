"""What one peer may take of a host, and who gives way: nobody's greed is another one's loss."""

from __future__ import annotations

from tests.sparkplug.helpers import (
    NODE,
    T0,
    Peer,
    S,
    born,
    held_births,
    kinds,
    metric,
    online_host,
    published,
)
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host import HostBounds
from uns.sparkplug.metrics import BirthMetric
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType


def stranger(number: int) -> EdgeNodeDescriptor:
    return EdgeNodeDescriptor("g", f"e{number}")


def test_nodes_max():
    host = online_host(bounds=HostBounds(nodes_max=2))
    peers = [Peer(host, node=stranger(i)) for i in range(3)]
    assert [kinds(peer.nbirth())[0] for peer in peers] == ["NodeBorn", "NodeBorn", "Violation"]
    assert host.violations["nodes_max"] == 1
    assert not host.name_session(peers[2].node, "s", T0)
    assert kinds(peers[0].data()) == ["DataReceived"]


def test_declared_node_is_not_kept_out_by_strangers():
    host = online_host(bounds=HostBounds(nodes_max=2), declared={NODE}.__contains__)
    for number in range(4):
        Peer(host, node=stranger(number)).nbirth()
    assert kinds(Peer(host).nbirth()) == ["NodeBorn"]
    Peer(host).ndeath(now_ns=T0)
    host.receive_message(stranger(9).topic(MessageType.NDATA), b"", retain=False, now_ns=T0 + 10**18)
    assert NODE in host.nodes  # nor does it give way, however long it is dead
    assert len(host.nodes) == 3


def test_made_up_names_take_the_place_of_each_other_only():
    host = online_host(bounds=HostBounds(nodes_max=3))
    peer = Peer(host)
    peer.nbirth()
    for number in range(2_000):
        host.receive_message(stranger(number).topic(MessageType.NDATA), b"", retain=False, now_ns=T0)
    assert set(host.nodes) == {NODE, stranger(1998), stranger(1999)}
    assert host.counters["nodes_forgotten"] == 1998
    assert kinds(host.events()).count("NodeForgotten") == 1998
    assert kinds(peer.data()) == ["DataReceived"]
    host.receive_timer(T0 + 60 * S)  # no request for any that is forgotten
    assert {message.topic for message in published(host)} <= {
        node.topic(MessageType.NCMD) for node in [NODE, *map(stranger, range(2_000))]
    }


def test_node_that_is_long_dead_gives_way_and_one_that_died_just_now_does_not():
    host = online_host(bounds=HostBounds(nodes_max=2, away_kept_ms=60_000))
    first, second, third = (Peer(host, node=stranger(i)) for i in range(3))
    first.nbirth(), second.nbirth()
    second.ndeath(now_ns=T0 + S)
    first.ndeath(now_ns=T0 + 2 * S)
    assert kinds(third.nbirth(now_ns=T0 + 30 * S)) == ["Violation"]
    assert kinds(third.nbirth(now_ns=T0 + 61 * S)) == ["NodeForgotten", "NodeBorn"]
    assert set(host.nodes) == {first.node, third.node}  # the one that is dead longest went
    first.nbirth(now_ns=T0 + 62 * S)
    assert kinds(second.nbirth(now_ns=T0 + 200 * S)) == ["Violation"]  # both are alive now


def test_nodes_that_went_with_the_connection_and_never_came_back_give_way():
    host = online_host(bounds=HostBounds(nodes_max=1, away_kept_ms=60_000))
    Peer(host, node=stranger(1)).nbirth()
    host.receive_disconnected(T0)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    host.events()
    assert kinds(Peer(host).nbirth(now_ns=T0 + S)) == ["Violation"]
    assert kinds(Peer(host).nbirth(now_ns=T0 + 61 * S)) == ["NodeForgotten", "NodeBorn"]


def test_held_births_beyond_nodes_max_are_told():
    host = online_host(bounds=HostBounds(nodes_max=1))
    Peer(host, node=stranger(1)).nbirth()
    host.hold_births(held_births(), T0)
    assert host.violations["nodes_max"] == 1


def test_devices_per_node_max():
    host = online_host(bounds=HostBounds(devices_per_node_max=1))
    peer = born(host)
    assert kinds(peer.dbirth("other")) == ["Violation", "RebirthRequested"]
    assert kinds(peer.dbirth("reactor4")) == ["DeviceBorn"]


def test_metrics_per_node_max():
    host = online_host(bounds=HostBounds(metrics_per_node_max=5))
    peer = Peer(host)
    many = [metric(str(i)) for i in range(6)]
    assert kinds(peer.nbirth(many))[0] == "Violation"
    peer.nbirth()  # three: bdSeq, session, uptime
    assert kinds(peer.dbirth("a", many[:3]))[0] == "Violation"
    assert kinds(peer.dbirth("a", many[:2])) == ["DeviceBorn"]
    assert kinds(peer.dbirth("a", many[:2])) == ["DeviceBorn"]


def test_birth_bytes_per_node_max():
    host = online_host(bounds=HostBounds(birth_bytes_per_node_max=1_000))
    peer = born(host)
    large = [metric("text", DataType.STRING, "x" * 900)]
    assert kinds(peer.dbirth("reactor4", large))[0] == "Violation"
    peer.nbirth()
    assert kinds(peer.dbirth("reactor4", [metric("text", DataType.STRING, "x" * 500)])) == ["DeviceBorn"]
    assert kinds(peer.dbirth("reactor4", [metric("text", DataType.STRING, "y" * 500)])) == [
        "DeviceBorn"
    ]  # in its place


def test_node_that_births_a_million_names_meets_its_quota_while_others_go_on():
    host = online_host(rebirth_interval_min_ms=1)
    greedy, other = Peer(host), born(host, node=stranger(1))
    greedy.nbirth()
    refused = 0
    for device in range(100):  # of 10,000 names each
        names = [BirthMetric(name=f"{device}/{i}", datatype=DataType.INT32, value=1, alias=None) for i in range(10_000)]
        events = greedy.dbirth(f"d{device}", names)
        refused += kinds(events)[0] == "Violation"
        if device % 10 == 0:
            assert kinds(other.data("reactor4")) == ["DataReceived"]
    assert host.nodes[NODE].metrics_held() <= HostBounds().metrics_per_node_max
    assert refused == host.violations["dbirth"] >= 90
    assert kinds(greedy.data("d0", value=7))[-1] == "DataReceived"  # what it was granted still counts
    over = b"".join(b"\x12\x04\x0a\x02" + f"{i % 100:02}".encode() for i in range(150_000))  # in one message
    assert kinds(greedy.send(MessageType.NBIRTH, over))[0] == "Violation"
    assert kinds(other.data("reactor4")) == ["DataReceived"]
