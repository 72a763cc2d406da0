"""What one peer may take of a host, and who gives way: nobody's greed is another one's loss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
from uns.sparkplug.host_nodes import BirthSize
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


# ── all strangers together ───────────────────────────────────────────────────────────────────────────────────────


def names(count: int) -> list[BirthMetric]:
    return [metric(f"name {index}") for index in range(count)]


def test_strangers_together_are_bounded_and_a_newcomer_is_told_so():
    host = online_host(bounds=HostBounds(strangers_metrics_max=100))
    first, second = (Peer(host, node=stranger(i), session_id="", bd_seq=None) for i in range(2))
    first.nbirth(names(60))
    (refused, *_) = second.nbirth(names(60))
    assert "no room for births of 60 metrics" in refused.text
    assert host.violations == {"strangers_births_max": 1}
    assert kinds(first.data()) == ["DataReceived"]  # one that is online and works is not sent away
    assert kinds(second.nbirth(names(40))) == ["NodeBorn", "ConformanceWarning"]
    assert host.births_of_strangers.metrics == 100


def test_a_device_that_strangers_leave_no_room_for_is_refused_alone():
    host = online_host(bounds=HostBounds(strangers_birth_bytes_max=2_000))
    peer = Peer(host, node=stranger(1))
    peer.nbirth()
    large = [metric("text", DataType.STRING, "x" * 2_000)]
    assert kinds(peer.dbirth("d", large)) == ["Violation", "RebirthRequested"]
    assert host.violations == {"strangers_births_max": 1}
    assert kinds(peer.data()) == ["DataReceived"]


def test_declared_nodes_need_no_room_of_the_strangers():
    host = online_host(bounds=HostBounds(strangers_metrics_max=3), declared={NODE}.__contains__)
    Peer(host, node=stranger(1)).nbirth()
    peer = Peer(host)
    assert kinds(peer.nbirth(names(50))) == ["NodeBorn"]
    assert kinds(peer.dbirth("d", names(50))) == ["DeviceBorn"]
    assert host.births_of_strangers.metrics == 3


def test_strangers_that_are_long_away_give_way_to_a_birth_if_that_helps():
    host = online_host(bounds=HostBounds(strangers_metrics_max=100, away_kept_ms=60_000))
    peers = [Peer(host, node=stranger(i), session_id="", bd_seq=None) for i in range(4)]
    for peer in peers[:3]:
        peer.nbirth(names(30))
    peers[1].ndeath(now_ns=T0)
    peers[0].ndeath(now_ns=T0 + 30 * S)
    assert kinds(peers[3].nbirth(names(40), now_ns=T0 + 59 * S))[0] == "Violation"  # nobody is away long enough
    assert kinds(peers[3].nbirth(names(90), now_ns=T0 + 99 * S))[0] == "Violation"  # in vain: nobody goes
    assert set(host.nodes) == {stranger(i) for i in range(4)}
    assert kinds(peers[3].nbirth(names(40), now_ns=T0 + 99 * S))[:2] == ["NodeForgotten", "NodeBorn"]
    assert set(host.nodes) == {stranger(i) for i in (0, 2, 3)}  # the one that was away longest went, and no more


def test_nobody_takes_the_room_of_a_node_that_is_born_again_before_its_devices_are():
    host = online_host(bounds=HostBounds(strangers_metrics_max=100))
    peer, greedy = (Peer(host, node=stranger(i), session_id="", bd_seq=None) for i in range(2))
    peer.nbirth(names(10))
    peer.dbirth("d", names(80))
    peer.nbirth(names(10))
    assert kinds(greedy.nbirth(names(50)))[0] == "Violation"
    assert kinds(peer.dbirth("d", names(80))) == ["DeviceBorn"]
    peer.nbirth(names(10))
    host.receive_timer(T0 + 5 * S)  # its DBIRTHs have had their time
    host.events()
    assert kinds(greedy.nbirth(names(50)))[0] == "NodeBorn"


def test_a_birth_that_is_smaller_than_the_one_before_is_never_refused():
    host = online_host(bounds=HostBounds(strangers_metrics_max=100))
    peer = Peer(host, node=stranger(1), session_id="", bd_seq=None)
    peer.nbirth(names(100))
    assert kinds(peer.nbirth(names(99)))[0] == "NodeBorn"


_BOUND = HostBounds(
    nodes_max=4, strangers_metrics_max=40, strangers_birth_bytes_max=2_000, devices_per_node_max=3, away_kept_ms=60_000
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["nbirth", "dbirth", "ndeath", "ddeath", "data", "bad", "time", "host"]),
        st.integers(0, 5),  # who
        st.integers(0, 25),  # how many metrics, or seconds
        st.integers(0, 3),  # which device
    ),
    max_size=60,
)


@given(_STEPS)
def test_the_births_of_strangers_stay_within_their_bound_and_are_counted_right(steps):
    declared = {stranger(0), stranger(1)}
    host = online_host(bounds=_BOUND, declared=declared.__contains__)
    peers = [Peer(host, node=stranger(i), session_id="" if i % 2 else f"s{i}", bd_seq=None) for i in range(6)]
    now_ns = T0
    for what, who, count, device in steps:
        peer = peers[who]
        online_before = {node for node, state in host.nodes.items() if state.online}
        if what == "time":
            now_ns += count * 5 * S
            host.receive_timer(now_ns)
        elif what == "host":
            host.receive_disconnected(now_ns)
            host.connect(now_ns)
            host.receive_connected(now_ns)
            host.receive_subscribed(now_ns)
            online_before.clear()
        elif what == "bad":
            peer.send(MessageType.NBIRTH, b"\xff", now_ns=now_ns)
        elif what == "nbirth":
            born_kinds = kinds(peer.nbirth(names(count), now_ns=now_ns))
            assert "NodeBorn" in born_kinds or peer.node not in declared
        elif what == "dbirth":
            peer.dbirth(f"d{device}", names(count), now_ns=now_ns)
        elif what == "data" and None in peer.tables:
            peer.data(now_ns=now_ns)
        elif what in {"ndeath", "ddeath"}:
            peer.send(MessageType[what.upper()], b"\x18\x00", now_ns=now_ns, device=None if what[0] == "n" else "d0")
        host.events()
        _strangers_are_within_bounds(host, declared)
        assert online_before <= set(host.nodes)  # whoever is online keeps its place
    now_ns += 1_000 * S
    for peer in peers:
        peer.ndeath(bd_seq=None, now_ns=now_ns)
    now_ns += 61 * S
    for number in range(100, 104):  # all go for others, whose births take nothing but bytes
        assert "NodeBorn" in kinds(Peer(host, node=stranger(number), session_id="").nbirth([], now_ns=now_ns))
    assert host.births_of_strangers == BirthSize(4, 4 * len(Peer(host, session_id="").birth_payload([])))


def _strangers_are_within_bounds(host, declared):
    total = BirthSize()
    for edge_node, node in host.nodes.items():
        held = BirthSize(len(node.birth.metrics) if node.birth else 0, node.birth_bytes)
        assert node.held == sum((device.size() for device in node.devices.values()), held)
        if edge_node not in declared:
            total += node.held.largest(node.reserved)
    assert host.births_of_strangers == total
    assert total.fits(BirthSize(_BOUND.strangers_metrics_max, _BOUND.strangers_birth_bytes_max))


def test_a_stranger_that_was_born_with_nothing_gives_no_room_and_stops_nobody():
    host = online_host(bounds=HostBounds(strangers_metrics_max=7, away_kept_ms=60_000))
    empty, large, later = (Peer(host, node=stranger(i), session_id="", bd_seq=None) for i in range(3))
    assert "NodeBorn" in kinds(empty.send(MessageType.NBIRTH, b""))
    empty.ndeath(now_ns=T0 + S)
    large.nbirth([metric(f"m{i}") for i in range(7)], now_ns=T0 + S)
    large.ndeath(now_ns=T0 + 2 * S)
    assert kinds(later.nbirth([metric("m")], now_ns=T0 + 100 * S))[:2] == ["NodeForgotten", "NodeBorn"]
    assert set(host.nodes) == {empty.node, later.node}


def test_no_room_is_kept_once_all_devices_are_back():
    """A device that comes back smaller later on leaves the rest to others."""
    host = online_host()
    peer = Peer(host, session_id="")
    for _ in range(2):
        peer.nbirth()
        peer.dbirth("a", [metric(f"m{i}", alias=10 + i) for i in range(4)])
    large = host.births_of_strangers
    peer.ddeath("a")
    peer.dbirth("a")
    assert host.births_of_strangers.metrics == large.metrics - 3
    assert host.births_of_strangers == host.nodes[NODE].held
