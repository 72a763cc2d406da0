"""Every rule of the table is shown a good sequence and a broken one: a rule that cannot fail is a defect."""

# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.doctor.faults import (
    ALSO,
    BROKEN,
    NEVER_BROKEN,
    OVER_TIME,
    Play,
    certificates,
    define,
    instance,
    on_definition,
    rich,
)
from tests.doctor.faults_by_type import ALSO_IN, BY_TYPE
from tests.doctor.scene import T0, Scene, broken
from uns.doctor.grader import Grader
from uns.doctor.report import Finding, Report, printable
from uns.doctor.requirements import REASONS, REQUIREMENTS, ids_of
from uns.doctor.rules import RULES


def good_day(s: Scene) -> None:
    """Everything that the standard has, rightly."""
    s.state()
    s.nbirth(lambda p: (define(s, p), None))
    s.dbirth(lambda p: rich(s, p))
    for _ in range(120):
        s.ndata()
        s.ddata(lambda p: None)
    s.ddata(lambda p: instance(s, p, members=("speed",), in_birth=False))
    s.ncmd()
    s.nbirth(lambda p: (define(s, p), None))
    s.dbirth(lambda p: rich(s, p))
    s.ncmd(lambda p: (s.add(p, None, alias=1, double_value=1.5), p.metrics.__delitem__(0)))
    s.wait(1)
    s.nbirth(lambda p: (define(s, p), None))
    s.dbirth()
    s.dcmd()
    s.ddeath()
    s.dbirth()
    s.reconnect()
    s.state(timestamp=s.now_ms + 1)
    s.state(online=False)
    s.grader.look_again()
    s.send("spBv1.0/STATE/h", b'{"online":false,"timestamp":%d}' % s.now_ms, qos=1, retain=True)


NOT_IN_A_GOOD_DAY = ("aware", "birth-retain", "birth-retained", "state-birth")
# What a good day does not touch: how it is kept.
GOOD: dict[str, Play] = {
    "certificate.there": certificates(complete=True),
    "state.retained": lambda s: (s.state(), s.grader.look_again(), s.state(retain=True, timestamp=s.now_ms)),
    "alias.unique": lambda s: s.births(),
    "template.version": on_definition(lambda _t: None),
}


def bystanders(s: Scene, other: Scene) -> None:
    """A node, a host and a commander that keep everything: nobody may blame them for what another does."""
    other.now = s.now
    other.state(host="bystander")
    other.reconnect() if other.value else other.births()
    for _ in range(3):
        other.ndata()
        other.ddata()
    other.ncmd()
    other.births()
    other.reconnect()
    s.now = other.now


def test_the_table_has_a_fault_for_every_rule() -> None:
    assert set(BROKEN) | NEVER_BROKEN == set(RULES)
    assert set(ALSO) | OVER_TIME <= set(BROKEN)


class Listened(Grader):
    """Notes what was sent as which message."""

    def __init__(self, now_ns: int) -> None:
        super().__init__(now_ns)
        self.topics: list[str] = [""]  # by the number of the message

    def receive(self, topic: str, payload: bytes, qos: int, retain: bool, now_ns: int) -> None:
        if not topic.startswith("$"):
            self.topics.append(topic)
        super().receive(topic, payload, qos, retain, now_ns)


def play_among_bystanders(rule: str, play: Play) -> tuple[Report, Listened, range]:
    """The report of a watch in which this is the one fault, and the numbers of the messages that were planted."""
    listened = Listened(T0)
    scene = Scene(listened)
    other = Scene(listened, group="bystanders")
    bystanders(scene, other)
    before = len(listened.topics)
    play(scene)
    planted = range(before, len(listened.topics))
    if not listened.looked_again:
        bystanders(scene, other)
        listened.look_again()
    kept = b'{"online": true, "timestamp": %d}' % (listened.hosts["bystander"].timestamp or 0)
    scene.send("spBv1.0/STATE/bystander", kept, qos=1, retain=True)
    if rule == "certificate.there":  # this broker is aware of the bystanders' births
        for kind, device in (("NBIRTH", ""), ("DBIRTH", "/D")):
            scene.send(f"$sparkplug/certificates/spBv1.0/bystanders/{kind}/E{device}", b"x", retain=True)
    return scene.report(look_again=False), listened, planted


def assert_exactly(rule: str, play: Play, subject: str, also: set[str]) -> list[Finding]:
    report, listened, planted = play_among_bystanders(rule, play)
    found = [finding for reported in report.subjects for finding in reported.findings]
    assert {(finding.rule, finding.subject) for finding in found} == {(name, subject) for name in {rule} | also}, [
        finding.seen for finding in found
    ]
    for finding in found:
        assert finding.seen
        assert finding.tck_ids == ids_of(finding.rule, finding.message_type)
        assert finding.tck_ids, f"{rule} in {finding.message_type} breaks no requirement"
        if finding.rule in OVER_TIME:
            assert finding.message == 0
        else:
            assert finding.message in planted
            assert printable(listened.topics[finding.message]) == finding.topic
    broken_ids = {r.tck_id for r in report.requirements if r.verdict == "broken"}
    assert broken_ids == {tck_id for finding in found for tck_id in finding.tck_ids}
    return found


@pytest.mark.parametrize("rule", sorted(BROKEN))
def test_exactly_the_planted_fault_is_found_and_its_sender_named(rule: str) -> None:
    planted = BROKEN[rule]
    play, subject = planted if isinstance(planted, tuple) else (planted, "G/E")
    assert_exactly(rule, play, subject, ALSO.get(rule, set()))


@pytest.mark.parametrize(("rule", "kind"), sorted(BY_TYPE))
def test_a_fault_is_found_in_every_type_of_message_that_has_an_id_of_its_own(rule: str, kind: str) -> None:
    play, subject = BY_TYPE[rule, kind]
    found = assert_exactly(rule, play, subject, ALSO_IN.get((rule, kind), set()))
    assert {finding.message_type for finding in found} == {kind}


def test_every_id_that_is_graded_can_be_found_broken() -> None:
    plays = [(rule, planted[0] if isinstance(planted, tuple) else planted) for rule, planted in BROKEN.items()]
    plays += [(rule, play) for (rule, _kind), (play, _subject) in BY_TYPE.items()]
    found: set[str] = set()
    for rule, play in plays:
        report = play_among_bystanders(rule, play)[0]
        found |= {requirement.tck_id for requirement in report.requirements if requirement.verdict == "broken"}
    graded = {requirement.tck_id for requirement in REQUIREMENTS if set(requirement.rules) - NEVER_BROKEN}
    assert found == graded


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_that_is_kept_is_counted(rule: str) -> None:
    scene = Scene()
    GOOD.get(rule, good_day)(scene)
    scene.report(look_again=False)
    assert sum(tally.ok for (key, _kind), tally in scene.grader.verdicts.tallies.items() if key == rule) > 0
    assert not scene.findings(rule)


def test_a_good_day_breaks_nothing() -> None:
    scene = Scene()
    good_day(scene)
    report = scene.report(look_again=False)
    assert not broken(scene), [finding.seen for finding in scene.findings()]
    assert report.verdict == "ok"
    assert report.totals.ok > 200
    unseen = [r.tck_id for r in report.requirements if r.verdict == "not_seen"]
    assert [name for name in unseen if not any(part in name for part in NOT_IN_A_GOOD_DAY)] == []


def test_every_requirement_is_graded_or_has_a_reason() -> None:
    ledger = YAML(typ="safe").load(Path(__file__).parents[1] / "conformance" / "requirements.yaml")
    assert {requirement.tck_id for requirement in REQUIREMENTS} == set(ledger)
    assert len(REQUIREMENTS) == 299 == len({requirement.tck_id for requirement in REQUIREMENTS})
    assert {requirement.why_unseen for requirement in REQUIREMENTS} - {""} == set(REASONS.values())
    for requirement in REQUIREMENTS:
        assert bool(requirement.rules) != bool(requirement.why_unseen)
        for rule in requirement.rules:
            assert set(requirement.kinds) <= set(RULES[rule].kinds)
