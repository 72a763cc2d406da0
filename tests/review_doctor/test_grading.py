"""What a first user of `uns doctor` stumbled over: one message is blamed once, and for one thing."""

from __future__ import annotations

import pytest

from tests.doctor.scene import Scene, broken
from uns.cli.doctor import print_report
from uns.doctor.report import Finding

STATE_H = "spBv1.0/STATE/h"


def findings(scene: Scene) -> list[Finding]:
    return [finding for subject in scene.report().subjects for finding in subject.findings]


@pytest.mark.parametrize("payload", [b"\xff\xff", b"[]", b"{}", b'{"online":"yes","timestamp":1}', b"x" * 5000])
def test_a_state_that_says_neither_is_a_broken_birth_and_no_death(payload: bytes) -> None:
    scene = Scene()
    scene.send(STATE_H, payload, qos=1)
    assert broken(scene) == {("state.birth", "STATE", "host h")}


def test_a_state_that_the_broker_hands_out_again_is_no_second_message() -> None:
    scene = Scene()
    scene.send(STATE_H, b"ONLINE", qos=1)
    scene.grader.look_again()
    scene.send(STATE_H, b"ONLINE", qos=1, retain=True)
    (finding,) = (one for one in findings(scene) if one.rule == "state.birth")
    assert finding.count == 1


def test_a_kept_state_that_was_not_seen_live_is_graded() -> None:
    scene = Scene()
    scene.send(STATE_H, b"ONLINE", qos=1, retain=True)
    scene.grader.look_again()
    scene.send(STATE_H, b"OFFLINE", qos=1, retain=True)
    assert [(one.rule, one.count) for one in findings(scene)][:2] == [("state.birth", 1), ("state.death", 1)]


def test_a_finding_without_an_id_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    scene.send("spBv1.0/G/NDATA/E", b"\xff\xff\xff")
    (finding,) = findings(scene)
    assert finding.tck_ids == ()
    print_report(scene.report())
    printed = capsys.readouterr().out.splitlines()
    assert not any(line.isspace() for line in printed)
    assert any("no tck-id of its own" in line for line in printed)
