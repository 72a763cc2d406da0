"""What a conforming node, host or broker may do, and what the watch itself misses, is reported as nobody's fault."""
# mypy: disable-error-code="func-returns-value"

from __future__ import annotations

import pytest

from tests.doctor.scene import DOUBLE, S, Scene, broken
from uns.doctor import grader as limits
from uns.doctor.reading import PAYLOAD_BYTES_MAX


def node_notes(scene: Scene) -> str:
    return "\n".join(note for node in scene.report().nodes for note in node.notes)


# ── what is not read ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_payload_beyond_our_bound_takes_a_seq_and_is_no_gap() -> None:
    scene = Scene()
    scene.births()
    scene.ddata(lambda p: scene.add(p, None, alias=10, bytes_value=bytes(PAYLOAD_BYTES_MAX)))
    scene.ddata()
    assert not broken(scene)
    assert scene.report().nodes[0].seq_gaps == 0
    assert scene.report().traffic.payloads_too_large == 1


def test_an_nbirth_beyond_our_bound_is_a_birth() -> None:
    scene = Scene()
    scene.ndeath()
    scene.bd_seq = 1
    scene.nbirth(lambda p: scene.add(p, "big", 17, bytes_value=bytes(PAYLOAD_BYTES_MAX)))
    scene.dbirth()
    scene.ndata()
    scene.ndeath()
    assert not broken(scene)


def test_a_message_that_cannot_be_read_is_one_finding_and_no_gap_after_it() -> None:
    scene = Scene()
    scene.births()
    scene.next_seq()
    scene.send("spBv1.0/G/NDATA/E", b"\xff\xff")
    scene.ndata()
    assert {rule for rule, _, _ in broken(scene)} == {"payload.protobuf"}


def test_a_seq_that_a_proto3_encoder_leaves_out_is_no_gap_for_the_next() -> None:
    scene = Scene()
    scene.births()
    scene.seq = 255
    scene.grader.nodes[next(iter(scene.grader.nodes))].seq = 255
    scene.ndata(lambda p: p.ClearField("seq"))
    scene.ndata()
    assert broken(scene) == {("seq.there", "NDATA", "G/E")}


def test_a_late_will_in_a_flood_of_births_takes_nobody_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BIRTH_METRICS_PER_SECOND_MAX", 1)
    monkeypatch.setattr(limits, "BIRTH_SECONDS_SAVED", 1)
    scene = Scene()
    scene.births()
    scene.wait(20)
    scene.bd_seq = 1
    scene.births()
    scene.bd_seq = 0
    scene.ndeath()
    scene.ndata()
    assert not broken(scene)


def test_births_that_come_all_at_once_are_read_whole() -> None:
    """A broker was restarted: all nodes are born within seconds."""
    scene = Scene()
    for number in range(40):
        scene.nbirth(
            lambda p: [scene.add(p, f"m{n}", DOUBLE, double_value=1.0) for n in range(5_000)], node=f"n{number}"
        )
    report = scene.report()
    assert report.traffic.births_unread == 0
    assert report.traffic.names_not_remembered == 0


def test_few_metrics_that_hold_much_count_as_many() -> None:
    """A payload of one metric may cost as much as one of thousands."""
    scene = Scene()
    scene.births()
    for _ in range(10):
        scene.ddata(lambda p: scene.add(p, None, alias=10, bytes_value=bytes(PAYLOAD_BYTES_MAX // 2)))
    assert scene.report().traffic.data_metrics_unread > 0


def test_lists_that_are_cut_at_our_bound_are_not_judged() -> None:
    def wide(p) -> None:
        held = scene.add(p, "wide", 16).dataset_value
        held.num_of_columns = 12_000
        held.columns.extend(f"c{n}" for n in range(12_000))
        held.types.extend([DOUBLE] * 12_000)

    scene = Scene()
    scene.nbirth(wide)
    assert not broken(scene)


# ── births and deaths ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_late_will_of_a_session_before_the_watch_is_no_wrong_death() -> None:
    scene = Scene()
    scene.bd_seq = 7
    scene.ndata()
    scene.births()
    scene.bd_seq = 6
    scene.ndeath()
    scene.ndata()
    scene.bd_seq = 7
    scene.ndeath()
    assert not broken(scene)
    assert scene.report().nodes[0].state == "offline"


def test_a_death_published_and_its_will_long_after_are_one_death() -> None:
    scene = Scene()
    scene.births()
    scene.reconnect()
    scene.bd_seq = 0
    scene.ndeath()
    scene.ddata()
    assert not broken(scene)


def test_the_will_of_a_connection_that_was_never_born_is_no_wrong_death() -> None:
    """An edge node that waits for its primary host connects and leaves without a birth."""
    scene = Scene()
    scene.bd_seq = 4
    scene.births()
    scene.ndeath()
    scene.bd_seq = 6
    scene.births()
    scene.bd_seq = 5
    scene.ndeath()
    scene.ddata()
    assert not broken(scene)


def test_a_death_with_the_number_of_an_earlier_connection_is_blamed_once_the_node_is_born_anew() -> None:
    scene = Scene()
    scene.bd_seq = 4
    scene.births()
    scene.bd_seq = 3
    scene.ndeath()
    assert not broken(scene)
    assert "an NDEATH of bdSeq 3 came to the session of bdSeq 4" in node_notes(scene)
    scene = Scene()
    scene.bd_seq = 4
    scene.births()
    scene.bd_seq = 3
    scene.ndeath()
    scene.bd_seq = 5
    scene.births()
    (finding,) = scene.findings("bdseq.death")
    assert (finding.message, finding.topic, finding.message_type) == (3, "spBv1.0/G/NDEATH/E", "NDEATH")
    assert broken(scene) == {("bdseq.death", "NDEATH", "G/E")}


def test_wills_of_sessions_that_an_interruption_hid_are_no_wrong_deaths() -> None:
    scene = Scene()
    scene.births()
    scene.grader.receive_interruption()
    scene.bd_seq = 3
    scene.births()
    scene.bd_seq = 2
    scene.ndeath()
    scene.ddata()
    scene.bd_seq = 3
    scene.reconnect()
    assert not broken(scene)


def test_a_session_that_ends_without_a_death_is_told_and_blamed_on_nobody() -> None:
    """Its Will may come yet: a half-open connection dies by its keep-alive."""
    scene = Scene()
    scene.births()
    scene.bd_seq = 1
    scene.births()
    assert not broken(scene)
    assert "1 sessions ended and no NDEATH" in node_notes(scene)
    scene = Scene()
    scene.births()
    scene.bd_seq = 1
    scene.births()
    scene.bd_seq = 0
    scene.ndeath()
    assert "no NDEATH" not in node_notes(scene)


def test_a_gateway_that_begins_at_0_with_every_start_is_not_two() -> None:
    """bdSeq 0, 1, 0, 1: each session ends before the next one begins."""
    scene = Scene()
    for bd_seq in (0, 1, 0, 1, 0, 1):
        scene.bd_seq = bd_seq
        scene.births()
        scene.ndeath()
    assert not {found for found in broken(scene) if found[0] == "node.unique"}


# ── what others do to a node ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["NBIRTH", "NDATA", "NDEATH"])
def test_whoever_deletes_a_kept_message_is_not_taken_for_the_node(kind: str) -> None:
    """Our own advice for a birth that is kept: `mosquitto_pub -r -n`."""
    scene = Scene()
    scene.births()
    scene.send(f"spBv1.0/G/{kind}/E", b"")
    scene.ndata()
    assert not broken(scene)
    assert scene.report().traffic.cleared == 1
    assert "1 empty messages on its topics" in node_notes(scene)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p.metrics[0], "boolean_value", False),
        lambda p: p.metrics[0].ClearField("boolean_value"),
        lambda p: setattr(p.metrics[0], "int_value", 1),
    ],
)
def test_a_request_that_asks_for_nothing_need_not_be_answered(change) -> None:
    scene = Scene()
    scene.births()
    scene.ncmd(change)
    scene.wait(10)
    scene.ddata()
    scene.wait(40)
    assert {subject for _, _, subject in broken(scene)} <= {"commands to G/E"}


def test_our_own_request_is_followed_and_not_graded() -> None:
    """It says its type, for nodes that fall silent without; the standard would rather have none."""
    scene = Scene()
    scene.births()
    made = scene.payload()
    scene.add(made, "Node Control/Rebirth", 11, boolean_value=True)
    topic, payload = "spBv1.0/G/NCMD/E", made.SerializeToString()
    scene.grader.expect_own(topic, payload)
    scene.send(topic, payload)
    scene.births()
    assert not broken(scene)
    assert scene.report().nodes[0].rebirth_requests == 1


def test_data_that_is_under_way_for_some_seconds_after_a_request_is_no_fault() -> None:
    scene = Scene()
    scene.births()
    scene.ddata()
    scene.ncmd()
    sent_ms = scene.now_ms + 500
    scene.wait(8)
    scene.ddata(lambda p: (setattr(p, "timestamp", sent_ms), setattr(p.metrics[0], "timestamp", sent_ms)))
    scene.births()
    assert not broken(scene)


def test_a_node_that_does_not_answer_is_told_so_in_place_of_being_asked_once_more() -> None:
    scene = Scene()
    scene.ndata()
    scene.ncmd()
    scene.ndata()
    assert "answered none of 1 rebirth requests" in node_notes(scene)
    assert "uns doctor --rebirth" not in node_notes(scene)


def test_an_empty_name_beside_an_alias_is_found_by_its_alias() -> None:
    scene = Scene()
    scene.births()
    scene.ddata(lambda p: setattr(p.metrics[0], "name", ""))
    assert {rule for rule, _, _ in broken(scene)} == {"alias.alone"}


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_host_whose_state_a_broker_lost_in_a_restart_is_not_blamed() -> None:
    scene = Scene()
    scene.state()
    scene.grader.receive_interruption()
    assert not broken(scene)
    assert scene.report().hosts[0].state == "unknown"


def test_a_state_that_holds_over_an_interruption_is_known_again() -> None:
    scene = Scene()
    document = b'{"online": true, "timestamp": %d}' % scene.now_ms
    scene.send("spBv1.0/STATE/h", document, qos=1)
    scene.grader.receive_interruption()
    scene.send("spBv1.0/STATE/h", document, qos=1, retain=True)
    assert scene.report(look_again=False).hosts[0].state == "online"


def test_a_host_is_held_against_its_own_clock() -> None:
    """Whose clock is right, ours or its, is not known here."""
    scene = Scene()
    scene.state(timestamp=scene.now_ms - 3_600_000)
    scene.wait(10)
    document = b'{"online": false, "timestamp": %d}' % (scene.now_ms - 3_600_000)
    scene.send("spBv1.0/STATE/h", document, qos=1)
    scene.grader.look_again()
    scene.send("spBv1.0/STATE/h", document, qos=1, retain=True)
    scene.report(look_again=False)
    assert not broken(scene)


def test_a_kept_state_at_qos_1_shows_that_this_broker_lowers_nothing() -> None:
    scene = Scene()
    scene.births()
    scene.state(retain=True)
    found = {r.tck_id: r.verdict for r in scene.report().requirements}
    assert found["tck-id-host-topic-phid-birth-qos"] == "ok"


def test_a_death_older_than_the_birth_is_told() -> None:
    scene = Scene()
    scene.state()
    scene.state(online=False, timestamp=scene.now_ms - 50)
    assert "edge nodes ignore them" in "".join(scene.report().hosts[0].notes)


def test_a_plant_beyond_our_bound_of_certificates_blames_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOPICS_MAX", 1)
    scene = Scene()
    for node in ("a", "b"):
        scene.nbirth(node=node)
    scene.grader.look_again()
    for node in ("a", "b"):
        scene.send(f"$sparkplug/certificates/spBv1.0/G/NBIRTH/{node}", b"x", retain=True)
    assert not {found for found in broken(scene) if found[2] == "broker"}


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_live_messages_and_kept_copies_are_counted_apart() -> None:
    scene = Scene()
    scene.births()
    for _ in range(2):
        scene.send("spBv1.0/STATE/h", b'{"online": true, "timestamp": %d}' % 1_700_000_000_000, qos=1, retain=True)
    traffic = scene.report().traffic
    assert (traffic.messages, traffic.retained) == (2, 2)


def test_ids_that_differ_by_case_alone_are_warned_of_for_groups_nodes_and_devices() -> None:
    scene = Scene()
    scene.births()
    scene.dbirth(lambda p: p.metrics[0].ClearField("alias"), device="d")
    Scene(scene.grader, group="g").nbirth(node="other")
    scene.nbirth(node="e")
    seen = {finding.seen for finding in scene.findings("ids.folded")}
    assert seen == {"device 'D' and 'd'", "group 'G' and 'g'", "'G/E' and 'G/e'"}
    assert {finding.level for finding in scene.findings("ids.folded")} == {"SHOULD"}


def test_hosts_without_nodes_say_that_nodes_may_be_hidden() -> None:
    scene = Scene()
    scene.state(retain=True)
    assert "no edge node came" in "".join(scene.report().notes)


def test_a_clock_that_steps_back_gives_no_more_than_time_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BIRTH_METRICS_PER_SECOND_MAX", 5)
    monkeypatch.setattr(limits, "BIRTH_SECONDS_SAVED", 1)
    scene = Scene()
    scene.births()
    scene.now -= 3600 * S
    scene.births()
    scene.births()
    assert scene.report().traffic.births_unread > 0
