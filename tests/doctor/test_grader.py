"""What the grader says beyond the table: health, what cannot be seen, bounds, and hostile traffic."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.sparkplug_b_pb2 import Payload
from tests.doctor.scene import DOUBLE, MS, T0, Scene, broken
from uns.delivery.messages import Mark
from uns.doctor import grader as limits
from uns.doctor import memory, reading, verdicts
from uns.doctor.grader import Grader
from uns.doctor.report import RequirementReport, printable
from uns.doctor.reporting import build_report
from uns.sparkplug.topics import EdgeNodeDescriptor


def requirement(scene: Scene, name: str, *, look_again: bool = True) -> RequirementReport:
    report = scene.report(look_again=look_again)
    return next(r for r in report.requirements if r.tck_id == f"tck-id-{name}")


def notes(scene: Scene) -> str:
    return " | ".join(note for node in scene.report().nodes for note in node.notes)


# ── what can be seen ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_permission_and_a_subscription_cannot_be_graded_and_say_why():
    found = requirement(Scene(), "message-flow-edge-node-ncmd-subscribe")
    assert (found.verdict, "between a client and the broker" in found.why) == ("not_visible", True)


def test_qos_proves_nothing_where_every_message_comes_at_qos_1():
    """amqtt delivers QoS 0 at QoS 1: nobody is blamed for it."""
    scene = Scene()
    scene.nbirth(qos=1)
    scene.ndata(qos=1)
    assert not broken(scene)
    assert "raise the QoS" in requirement(scene, "payloads-nbirth-qos").why


def test_retain_of_live_messages_cannot_be_seen_without_a_second_subscription():
    scene = Scene()
    scene.births()
    assert requirement(scene, "payloads-nbirth-retain", look_again=False).verdict == "not_visible"


def test_what_the_broker_does_not_keep_was_sent_without_retain():
    scene = Scene()
    scene.births()
    assert requirement(scene, "payloads-nbirth-retain").verdict == "ok"


def test_a_kept_birth_is_blamed_once_and_is_no_life_sign():
    scene = Scene()
    for _ in range(3):
        scene.nbirth(retain=True, qos=1)
    assert [finding.count for finding in scene.findings("retain.off")] == [1]
    assert scene.report().nodes[0].state == "unknown"
    assert broken(scene) == {("retain.off", "NBIRTH", "G/E")}


def test_a_should_warns_and_a_must_breaks():
    scene = Scene()
    scene.births()
    scene.ddata(lambda p: setattr(p.metrics[0], "datatype", DOUBLE))
    assert scene.report().verdict == "warnings"
    scene = Scene()
    scene.nbirth(lambda p: p.ClearField("seq"))
    assert scene.report().verdict == "broken"
    assert Scene().report().verdict == "nothing_seen"


def test_the_worst_comes_first_and_the_first_message_is_the_example():
    scene = Scene()
    scene.nbirth(node="good")
    for _ in range(3):
        scene.nbirth(lambda p: p.ClearField("metrics"), node="bad")
    scene.nbirth(lambda p: p.ClearField("timestamp"), node="middling")
    report = scene.report()
    assert [subject.subject for subject in report.subjects] == ["G/bad", "G/middling"]
    assert [node.edge_node for node in report.nodes] == ["G/bad", "G/middling", "G/good"]
    first = report.subjects[0].findings[0]
    assert (first.message, first.count, first.last_message) == (2, 3, 4)
    assert first.topic == "spBv1.0/G/NBIRTH/bad"


# ── sequences that are right though they look odd ────────────────────────────────────────────────────────────────────


def test_the_late_will_of_the_last_session_takes_nobody_down():
    scene = Scene()
    scene.births()
    scene.bd_seq = 1
    scene.births()
    scene.bd_seq = 0
    scene.ndeath()
    scene.ndata()
    assert not broken(scene)


def test_a_death_that_is_published_and_sent_as_will_counts_once():
    scene = Scene()
    scene.births()
    scene.ndeath(qos=0)
    scene.ndeath()
    scene.bd_seq = 1
    scene.births()
    assert not broken(scene)


def test_a_watch_that_begins_in_the_middle_blames_nobody():
    scene = Scene()
    scene.seq = 200
    for _ in range(100):
        scene.ddata()
    assert not broken(scene)
    assert "--rebirth" in notes(scene)


def test_what_we_missed_ourselves_is_not_a_gap():
    scene = Scene()
    scene.births()
    scene.seq = 90
    scene.grader.receive_interruption()
    scene.ndata()
    scene.ndata()
    assert not broken(scene)
    assert scene.report().traffic.interruptions == 1


def test_messages_out_of_order_are_one_gap_and_one_late_message():
    scene = Scene()
    scene.births()
    for seq in (2, 4, 3, 5):
        scene.seq = seq - 1
        scene.ndata()
    node = scene.report().nodes[0]
    assert (node.seq_gaps, node.out_of_order, node.messages_missing) == (1, 1, 0)
    assert scene.findings("seq.next")[0].count == 2


def test_a_compressed_payload_is_read():
    import gzip

    scene = Scene()
    inner = scene.payload(0)
    scene.add(inner, "bdSeq", 4, long_value=0)
    outer = Payload(
        uuid="SPBV1.0_COMPRESSED", body=gzip.compress(inner.SerializeToString()), seq=0, timestamp=scene.now_ms
    )
    scene.send("spBv1.0/G/NBIRTH/E", outer.SerializeToString())
    assert {rule for rule, _, _ in broken(scene)} == {"rebirth.metric", "rebirth.there"}
    outer.body = b"no such thing"
    scene = Scene()
    scene.send("spBv1.0/G/NBIRTH/E", outer.SerializeToString())
    assert "payload.protobuf" in {rule for rule, _, _ in broken(scene)}


def test_data_of_a_device_that_was_not_born_is_blamed_on_the_node():
    scene = Scene()
    scene.nbirth()
    scene.ddata()
    assert "birth.first" in {rule for rule, _, _ in broken(scene)}


def test_after_an_interruption_nothing_is_held_against_a_node_until_its_next_birth():
    scene = Scene()
    scene.births()
    scene.ncmd()
    scene.grader.receive_interruption()
    scene.wait(40)
    scene.ddata(lambda p: setattr(p.metrics[0], "alias", 99))
    scene.bd_seq = 5
    scene.ndeath()
    assert not broken(scene)
    assert scene.grader.bounds.names_left == memory.NAMES_MAX


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rebirth_storm_is_told():
    scene = Scene()
    for _ in range(6):
        scene.births()
        scene.ncmd()
    assert "rebirth storm: 6 NBIRTHs" in notes(scene)


def test_a_clock_that_is_off_is_told():
    scene = Scene()
    scene.nbirth(lambda p: setattr(p, "timestamp", p.timestamp + 60_000))
    assert "60.0 s ahead" in notes(scene)
    scene = Scene()
    scene.nbirth(lambda p: setattr(p, "timestamp", p.timestamp - 60_000))
    assert "60.0 s behind" in notes(scene)


def test_a_silent_node_is_told():
    scene = Scene()
    scene.births()
    scene.wait(61)
    assert "silent for 61 s" in notes(scene)


def mark(scene: Scene, messages: int, n: int = 1) -> None:
    import msgspec

    made = Mark(session="s", host="h", n=n, repeat=False, cursor="live", mark=1, messages=messages)
    scene.send("uns1/_mark/G/E", msgspec.json.encode(made))


def test_marks_without_their_data_show_an_acl_that_denies():
    scene = Scene()
    scene.births()
    scene.ndata()
    mark(scene, 1)
    assert "ACL" not in notes(scene)
    mark(scene, 3, n=2)
    assert "the broker's ACL denies spBv1.0/G/NDATA" in notes(scene)


def test_the_first_mark_of_a_watch_counts_what_came_before_it():
    scene = Scene()
    mark(scene, 5)
    assert "ACL" not in notes(scene)
    mark(scene, 5, n=2)
    assert "the broker's ACL denies" in notes(scene)


def test_marks_without_answers_are_told():
    scene = Scene()
    scene.births()
    scene.ndata()
    mark(scene, 1)
    scene.wait(11)
    assert "not answered for 11 s" in notes(scene)
    scene = Scene()
    scene.births()
    scene.ndata()
    mark(scene, 1)
    scene.send("uns1/_confirm/G/E", b'{"session":"s","n":1,"ok":true}')
    scene.wait(11)
    assert not notes(scene)


def test_hosts_are_told_with_what_they_say():
    scene = Scene()
    scene.state()
    scene.state(online=False, timestamp=scene.now_ms + 1)
    scene.send("STATE/h", b"ONLINE", qos=1, retain=True)
    host = scene.report().hosts[0]
    assert (host.sparkplug_host_id, host.state, host.changes) == ("h", "offline", 1)
    assert "version 2.2" in host.notes[0]


def test_nothing_at_all_says_why_that_may_be():
    assert "an access list hides" in Scene().report().notes[0]


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nodes_are_remembered_up_to_their_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "NODES_MAX", 5)
    scene = Scene()
    for n in range(8):
        scene.nbirth(node=f"E{n}")
    report = scene.report()
    assert (len(report.nodes), report.traffic.nodes_not_remembered) == (5, 3)


def test_devices_are_remembered_up_to_their_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "DEVICES_MAX", 5)
    scene = Scene()
    scene.nbirth()
    for n in range(8):
        scene.dbirth(device=f"D{n}")
    assert scene.report().nodes[0].devices == 5
    assert scene.report().traffic.devices_not_remembered == 3


def test_names_are_given_back_when_a_node_dies():
    scene = Scene()
    scene.births()
    held = memory.NAMES_MAX - scene.grader.bounds.names_left
    for _ in range(5):
        scene.reconnect()
    assert memory.NAMES_MAX - scene.grader.bounds.names_left == held == 5


def test_names_beyond_the_bound_are_counted_and_their_data_is_not_judged():
    scene = Scene()
    scene.grader.bounds.names_left = 4
    scene.births()
    scene.ddata()
    assert scene.report().traffic.names_not_remembered == 2
    assert not broken(scene)


def test_devices_of_all_nodes_have_a_bound():
    scene = Scene()
    scene.grader.bounds.devices_left = 3
    for n in range(5):
        scene.nbirth(node=f"E{n}")
        scene.dbirth(node=f"E{n}")
    assert scene.report().traffic.devices_not_remembered == 2


def test_a_birth_costs_the_same_however_many_devices_its_node_has():
    """A node of 2000 devices births them all at once: a look at all others at each would take a minute of it."""
    scene = Scene()
    scene.nbirth()
    births = []
    for number in range(2000):
        made = Payload(timestamp=scene.now_ms, seq=(number + 1) % 256)
        for place in range(2 if 100 <= number < 1900 else 100):
            scene.add(made, f"m{place}", DOUBLE, alias=2 + number * 100 + place, double_value=1.0)
        births.append((f"spBv1.0/G/DBIRTH/E/D{number}", made.SerializeToString()))
    seconds = []
    for part in (births[:100], births[100:-100], births[-100:]):
        start = time.process_time()
        for topic, payload in part:
            scene.send(topic, payload)
            scene.wait(1)
        seconds.append(time.process_time() - start)
    assert len(scene.grader.nodes[EdgeNodeDescriptor("G", "E")].devices) == 2000
    assert seconds[2] < 2 * seconds[0] + 0.1
    assert not broken(scene)


def test_an_alias_of_two_devices_is_told_of_each_birth_that_takes_it_and_is_free_after_the_death():
    scene = Scene()
    scene.nbirth()
    for device in ("D", "D2", "D2"):
        scene.dbirth(device=device)
    (found,) = scene.findings("alias.unique")
    assert (found.count, found.seen) == (2, "alias 10 of 'temperature', and of 'temperature' of device 'D'")
    again = Scene()
    again.nbirth()
    again.dbirth()
    again.ddeath()
    again.dbirth(device="D2")
    assert not broken(again)


def test_device_ids_that_differ_by_case_alone_are_told_once_for_each_device():
    scene = Scene()
    scene.nbirth()
    for device, alias in (("D", 10), ("d", 11), ("D", 10), ("d", 11)):
        scene.dbirth(device=device, alias=alias)
    (found,) = scene.findings("ids.folded")
    assert (found.count, found.seen) == (1, "device 'D' and 'd'")


def test_a_long_name_counts_as_several():
    scene = Scene()
    scene.nbirth(lambda p: scene.add(p, "n" * 1000, DOUBLE, double_value=1.0))
    assert memory.NAMES_MAX - scene.grader.bounds.names_left == 3 + 16


def test_definitions_beyond_the_bound_are_not_remembered_and_nobody_is_blamed(monkeypatch: pytest.MonkeyPatch):
    from tests.doctor.faults import define, instance
    from uns.doctor import following

    monkeypatch.setattr(following, "DEFINITIONS_MAX", 0)
    scene = Scene()
    scene.nbirth(lambda p: define(scene, p))
    scene.dbirth(lambda p: instance(scene, p))
    assert not broken(scene)
    assert scene.report().traffic.names_not_remembered == 1


def test_findings_and_subjects_have_a_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verdicts, "FINDINGS_MAX", 10)
    monkeypatch.setattr(verdicts, "SUBJECTS_MAX", 10)
    scene = Scene()
    for n in range(50):
        scene.send(f"spBv1.0/{n}", b"")
    report = scene.report()
    assert sum(len(subject.findings) for subject in report.subjects) == 10
    assert report.traffic.findings_not_kept == 40
    assert len(scene.grader.verdicts.subjects) == 10
    assert requirement(scene, "topic-structure").broken == 50


def test_data_that_comes_faster_than_it_is_read_is_graded_by_its_head(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "DATA_METRICS_PER_SECOND_MAX", 10)
    scene = Scene()
    scene.births()
    for _ in range(50):
        scene.ddata(lambda p: setattr(p.metrics[0], "datatype", DOUBLE))
    assert scene.findings("datatype.absent")[0].count == 10
    assert scene.report().traffic.data_metrics_unread == 40
    assert requirement(scene, "payloads-ddata-seq-inc").ok == 50


def test_births_that_come_faster_than_they_are_read_are_graded_by_their_head(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "BIRTH_METRICS_PER_SECOND_MAX", 10)
    monkeypatch.setattr(limits, "BIRTH_SECONDS_SAVED", 1)
    scene = Scene()
    for _ in range(10):
        scene.births()
    assert scene.report().traffic.births_unread == 16
    assert requirement(scene, "topics-nbirth-seq-num").ok == 10
    assert not broken(scene)


def test_a_payload_beyond_its_bound_is_counted_and_not_read():
    scene = Scene()
    scene.send("spBv1.0/G/NBIRTH/E", b"\0" * (reading.PAYLOAD_BYTES_MAX + 1))
    assert scene.report().traffic.payloads_too_large == 1


def test_an_id_without_end_is_not_remembered():
    scene = Scene()
    scene.nbirth(node="E" * 300)
    scene.send("spBv1.0/STATE/" + "h" * 300, b"x", qos=1)
    report = scene.report()
    assert (report.traffic.topics_too_long, len(report.nodes), len(report.hosts)) == (2, 0, 0)


def test_a_megabyte_of_empty_metrics_costs_little():
    scene = Scene()
    began = time.monotonic()
    scene.send("spBv1.0/G/NBIRTH/E", b"\x12\x00" * (reading.PAYLOAD_BYTES_MAX // 2))
    assert time.monotonic() - began < 10
    assert len(scene.grader.nodes) == 1


def test_templates_without_end_end_at_their_bound():
    body = b""
    for _ in range(3_000):
        inner = b"\x12" + varint(len(body)) + body
        body = b"\x92\x01" + varint(len(inner)) + inner
    scene = Scene()
    scene.send("spBv1.0/G/NBIRTH/E", b"\x12" + varint(len(body)) + body)
    assert broken(scene)


def varint(number: int) -> bytes:
    made = b""
    while number > 0x7F:
        made += bytes([number & 0x7F | 0x80])
        number >>= 7
    return made + bytes([number])


# ── hostile traffic ──────────────────────────────────────────────────────────────────────────────────────────────────

KINDS = ("NBIRTH", "NDATA", "NDEATH", "NCMD", "DBIRTH", "DDATA", "DDEATH", "DCMD")


def test_mutated_messages_raise_nothing():
    """Every message of a day with bits flipped, bytes cut off and appended; then the report is made."""
    messages: list[tuple[str, bytes]] = []

    class Recorder(Scene):
        def send(self, topic: str, payload: bytes, **_more: object) -> None:
            messages.append((topic, payload))

    from tests.doctor.test_rules import good_day

    good_day(Recorder())
    chance = random.Random(4)
    kept = chance.sample(messages, 60) + messages[:6]
    grader = Grader(T0)
    now = T0
    for topic, payload in kept:
        for _ in range(40):
            now += MS
            made = bytearray(payload)
            for _ in range(chance.randint(1, 4)):
                if made:
                    made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
            made = made[: chance.randint(0, len(made))] if chance.random() < 0.3 else made
            grader.receive(topic, bytes(made) + chance.randbytes(chance.choice((0, 0, 5))), 0, False, now)
        for cut in range(len(payload)):
            grader.receive(topic, payload[:cut], 0, False, now)
    grader.look_again()
    grader.finish(now)
    assert build_report(grader, now_ns=now).traffic.messages > 3_000


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS) | st.text(max_size=8),
            st.text(max_size=6),
            st.text(max_size=6),
            st.binary(max_size=60),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_any_bytes_on_any_topic_raise_nothing(messages):
    grader = Grader(T0)
    for kind, group, node, payload, qos, retain in messages:
        for topic in (
            f"spBv1.0/{group}/{kind}/{node}",
            f"spBv1.0/{group}/{kind}/{node}/d",
            f"spBv1.0/STATE/{node}",
            f"STATE/{node}",
            f"uns1/_mark/{group}/{node}",
            f"$sparkplug/certificates/{node}",
            node,
        ):
            grader.receive(topic, payload, qos, retain, T0)
    grader.look_again()
    grader.finish(T0)
    build_report(grader, now_ns=T0)


def test_what_is_printed_moves_no_cursor():
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\x0a"
    assert len(printable("x" * 10_000)) < 300
