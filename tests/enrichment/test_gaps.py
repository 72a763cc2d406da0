"""Gaps: what is missing, from when to when, and what history makes of it."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from tests.enrichment.builders import COUNT, SECOND, TEMPERATURE, Host, at, batch, provenance
from uns.context.times import MAX_NS
from uns.enrichment.gaps import FILLED_SILENCE_NS, UNFILLED_PER_WAY_MAX, DroppedGap, read_dropped
from uns.enrichment.samples import Origin
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
HOUR = 3_600
SILENCE = FILLED_SILENCE_NS // SECOND


class Line(Host):
    """A host that hears of lives and deaths. Samples are (seconds, …) of one metric."""

    session = "s1"

    def live(self, *seconds: float, equipment: str = "reactor4", metric: Any = COUNT) -> None:
        self._bring(seconds, equipment, "data", historical=False, metric=metric)

    def birth(self, *seconds: float, ours: bool = True) -> None:
        self._bring(seconds, "reactor4", "birth", historical=False, metric=COUNT, ours=ours)

    def history(self, *seconds: float, equipment: str = "reactor4") -> None:
        self._bring(seconds, equipment, "data", historical=True, metric=COUNT)

    def dies(self, device_id: str | None = None) -> None:
        self.now_ns += SECOND
        self.enricher.receive_death(NODE, device_id, self.now_ns)
        self.commit()

    def drops(self, text: str, **fields: Any) -> bool:
        self.now_ns += SECOND
        told = self.enricher.receive_gap(text, provenance(device_id=None, **fields), self.now_ns)
        self.commit()
        return told

    def gaps(self, equipment: str = "reactor4") -> list[tuple[Any, ...]]:
        """(reason, status, from, to) in seconds; None for an open end."""
        return [
            (row[7], row[8], (row[9] - at(0)) / SECOND, None if row[10] == MAX_NS else (row[10] - at(0)) / SECOND)
            for row in self.log.current_gaps()
            if row[3] == equipment
        ]

    def missing(self) -> list[tuple[Any, ...]]:
        """What is not filled, in the order of time."""
        return sorted((row for row in self.gaps() if row[1] != "filled"), key=lambda row: row[2])

    def _bring(
        self, seconds: Any, equipment: str, origin: Origin, *, historical: bool, metric: Any, ours: bool = True
    ) -> None:
        self.now_ns = max(self.now_ns, *map(at, seconds)) + SECOND
        way = provenance(device_id=equipment, session=self.session, historical=historical, received_at_ns=self.now_ns)
        samples = [(metric, int(second), second) for second in seconds]
        self.samples(*samples, equipment=equipment, origin=origin, provenance=way, ours=ours)


def test_a_death_opens_a_gap_that_the_next_sample_closes():
    line = Line()
    line.live(1, 2)
    line.dies()
    assert line.gaps() == [("death", "open", 2, None)]
    line.session = "s2"
    line.live(60)
    assert line.gaps() == [("death", "closed", 2, 60)]


def test_each_state_is_a_revision_that_was_known_for_a_time():
    line = Line()
    line.live(1)
    line.dies()
    line.live(60)
    line.history(30)
    rows = sorted(line.log.gaps.values())
    assert [(row[2], row[8]) for row in rows] == [(0, "open"), (1, "closed"), (2, "filled")]
    assert {row[1] for row in rows} == {rows[0][0]}, "the first revision names it"
    assert [row[15] for row in rows] == [rows[1][14], rows[2][14], MAX_NS]


def test_history_that_fills_a_gap_says_that_it_was_none():
    line = Line()
    line.live(1)
    line.dies()
    line.session = "s2"
    line.live(60)
    line.history(0.5, 1, 60, 61)
    assert line.gaps() == [("death", "closed", 1, 60)], "none of these lies inside"
    line.history(30)
    assert line.gaps() == [("death", "filled", 30, 60)], "what is left is no longer than the bound"


def test_history_before_the_first_live_sample_narrows_it_and_the_live_one_ends_it():
    line = Line()
    line.live(1)
    line.dies()
    line.session = "s2"
    line.history(20)
    assert line.gaps() == [("death", "open", 20, None)]
    line.live(45)
    assert line.gaps() == [("death", "filled", 20, 45)]


@pytest.mark.parametrize("history_first", [True, False])
def test_a_gateway_that_went_on_reading_leaves_no_gap(history_first: bool):
    line = Line()
    line.live(1, 2)
    line.dies()
    line.session = "s2"
    line.birth(HOUR - 1)
    if not history_first:
        line.live(HOUR)
    for second in range(3, HOUR, 100):
        line.history(*range(second, min(second + 100, HOUR)))
    if history_first:
        line.live(HOUR)
    assert line.gaps() == [("death", "filled", HOUR - 1, HOUR)]


@pytest.mark.parametrize("birth", [True, False])
@pytest.mark.parametrize("history_first", [True, False])
def test_a_gateway_that_was_killed_with_unsent_samples_leaves_its_outage(birth: bool, history_first: bool):
    """Its birth tells the last of them; what it had stored does not say that it was alive afterwards."""
    line = Line()
    line.live(1, 2)
    line.dies()
    line.session = "s2"
    if birth:
        line.birth(3.5)
    steps = [lambda: line.history(2.5, 3, 3.5), lambda: line.live(HOUR)]
    for step in steps if history_first else reversed(steps):
        step()
    assert line.gaps() == [("death", "closed", 3.5, HOUR)]


def test_a_gateway_that_reads_before_it_is_connected_again_leaves_its_outage_too():
    line = Line()
    line.live(1, 2)
    line.dies()
    line.session = "s2"
    line.birth(HOUR + 20)
    line.live(HOUR + 21)
    line.history(2.5, 3, HOUR, HOUR + 10, HOUR + 20)
    assert line.gaps() == [("death", "closed", 3, HOUR)]


def test_each_silence_between_historical_samples_is_a_gap():
    line = Line()
    line.live(1)
    line.dies()
    line.session = "s2"
    line.live(1_000)
    line.history(10, 200, 210, 990)
    assert line.missing() == [("death", "closed", 10, 200), ("death", "closed", 210, 990)]
    line.history(*range(20, 200, 10))
    assert line.missing() == [("death", "closed", 210, 990)]


def test_a_silence_of_just_the_bound_is_filled():
    line = Line()
    line.live(1)
    line.dies()
    line.session = "s2"
    line.live(1 + 2 * SILENCE)
    line.history(1 + SILENCE)
    assert line.missing() == []
    line.dies()
    line.live(3 + 4 * SILENCE)
    line.history(2 + 3 * SILENCE)
    assert line.missing() == [
        ("death", "closed", 1 + 2 * SILENCE, 2 + 3 * SILENCE), ("death", "closed", 2 + 3 * SILENCE, 3 + 4 * SILENCE),
    ]  # fmt: skip


def test_a_short_gap_without_history_stays_one():
    line = Line()
    line.live(1)
    line.dies()
    line.live(3)
    assert line.gaps() == [("death", "closed", 1, 3)]


def test_what_history_makes_of_a_gap_in_one_plan_is_one_revision():
    line = Line()
    line.live(1)
    line.dies()
    line.live(HOUR)
    way = provenance(device_id="reactor4", historical=True, received_at_ns=at(HOUR))
    for second in range(2, 1_000, 10):
        line.enricher.receive_batch(batch((COUNT, second, second), provenance=way), at(HOUR))
    line.commit()
    rows = sorted(line.log.gaps.values())
    assert [(row[2], row[8]) for row in rows] == [(0, "open"), (1, "closed"), (2, "closed")]
    assert line.missing() == [("death", "closed", 992, HOUR)]


@pytest.mark.parametrize("seed", range(30))
def test_what_is_missing_does_not_depend_on_the_order_of_history(seed: int):
    dice = random.Random(seed)
    history = sorted(dice.sample(range(2, HOUR), dice.randint(1, 200)))
    shuffled = [*history, *dice.choices(history, k=5)]
    dice.shuffle(shuffled)
    found = []
    for times, live_at in ((history, len(history)), (shuffled, dice.randint(0, len(shuffled)))):
        line = Line()
        line.live(1)
        line.dies()
        line.session = "s2"
        for part in (times[:live_at], times[live_at:]):
            for start in range(0, len(part), 7):
                line.history(*part[start : start + 7])
                if dice.random() < 0.1:
                    line.restart()
            line.live(HOUR)
        found.append(line.missing())
    assert found[0] == found[1]
    ends = [1, *history, HOUR]
    assert [row[2:] for row in found[0]] == [(a, b) for a, b in pairwise(ends) if b - a > SILENCE]


def test_a_live_sample_inside_does_not_fill_it():
    """A source that is read again tells what changed meanwhile with the stamp of then."""
    line = Line()
    line.live(1)
    line.dies()
    line.live(60)
    line.live(30, metric=TEMPERATURE)
    assert line.gaps() == [("death", "closed", 1, 60)]


def test_a_birth_of_a_foreign_node_ends_a_gap_and_that_of_ours_does_not():
    """Ours tells the last stored sample, whenever that was; the others tell what they read at the time."""
    for ours, expected in ((True, ("session_lost", "open", 1, None)), (False, ("session_lost", "closed", 1, 8))):
        line = Line()
        line.live(1)
        line.session = "s2"
        line.birth(8, ours=ours)
        assert line.gaps() == [expected]


def test_another_session_without_a_death_is_a_lost_one():
    line = Line()
    line.live(1)
    line.session = "s2"
    line.live(5)
    assert line.gaps() == [("session_lost", "closed", 1, 5)]


def test_a_birth_that_tells_nothing_new_leaves_the_gap_open():
    line = Line()
    line.live(1)
    line.dies()
    line.session = "s2"
    line.birth(1, ours=False)
    assert line.gaps() == [("death", "open", 1, None)]


def test_a_death_of_the_node_takes_all_its_devices_and_that_of_a_device_only_its_own():
    line = Line()
    line.live(1)
    line.live(2, equipment="reactor5")
    line.dies("reactor5")
    assert (line.gaps(), line.gaps("reactor5")) == ([], [("death", "open", 2, None)])
    line.dies()
    assert (line.gaps(), line.gaps("reactor5")) == ([("death", "open", 1, None)], [("death", "open", 2, None)])


def test_a_way_without_samples_has_no_gap():
    line = Line()
    line.dies()
    line.live(1)
    assert line.gaps() == []


def test_a_rebirth_is_no_gap():
    line = Line()
    line.live(1)
    line.birth(1, 2)
    line.live(50)
    assert line.gaps() == []


@pytest.mark.parametrize("restart_at", range(7))
def test_a_restart_at_any_point_changes_nothing(restart_at: int):
    line = Line()
    steps = [
        lambda: line.live(1), line.dies, lambda: setattr(line, "session", "s2"), lambda: line.history(10),
        lambda: line.live(60), lambda: line.history(30), line.dies,
    ]  # fmt: skip
    for number, step in enumerate(steps):
        step()
        if number == restart_at:
            line.restart()
    assert line.gaps() == [("death", "filled", 30, 60), ("death", "open", 60, None)]


def test_what_an_edge_dropped_lies_at_all_it_feeds_and_is_told_once():
    line = Line()
    text = '{"from":"2026-06-03T12:00:01.000Z","to":"2026-06-03T12:00:09.000Z","count":5,"reason":"store full"}'
    assert line.drops(text)
    assert not line.drops(text), "it was sent again"
    line.restart()
    assert not line.drops(text)
    for equipment in ("reactor4", "reactor5", "mill1", "tank9"):
        assert line.gaps(equipment) == [("dropped", "closed", 1, 9)]
    events = line.log.documents("/_event/")
    assert len(events) == 4
    assert events[0] | {"time": ""} == {
        "schema": "uns1.event/1", "type": "gap", "enterprise": "acme", "equipment": "reactor4", "time": "",
        "path": "acme/dallas/reaction/line2/reactor4", "from": "2026-06-03T12:00:01.000Z",
        "to": "2026-06-03T12:00:09.000Z", "samples": 5, "source": "acme.dallas/gw-1",
        "what": "dropped at the edge: store full",
    }  # fmt: skip


def test_an_edge_that_feeds_nothing_here_makes_no_gap():
    line = Line()
    assert line.drops('{"count":5}', edge_node_id="gw-9"), "it is still news"
    assert line.log.gaps == {}


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ("no json", 0, "no json"),
        ('{"count": 5}', 5, ""),
        (
            '{"from": "2026-06-03T12:00:00", "to": "2026-06-03T12:00:01Z", "count": 1}',
            0,
            '{"from": "2026-06-03T12:00:00',
        ),
        ('{"from": "2026-06-03T12:00:01Z", "to": "2026-06-03T12:00:00Z", "count": -1}', 0, ""),
        ('{"from": "0001-01-01T00:00:00Z", "to": "2026-06-03T12:00:00Z", "count": 2}', 2, ""),
    ],
)
def test_a_gap_that_cannot_be_placed_is_an_event_without_a_row(text: str, count: int, reason: str):
    found = read_dropped(text)
    assert (found.from_ns, found.to_ns, found.count) == (None, None, count)
    assert found.reason.startswith(reason)
    line = Line()
    assert line.drops(text)
    assert line.log.gaps == {}
    assert len(line.log.documents("/_event/")) == 4


def test_a_gap_is_read_with_its_times():
    text = json.dumps({"from": "1970-01-01T00:00:01Z", "to": "1970-01-01T00:00:02Z", "count": 3, "reason": "disk full"})
    assert read_dropped(text) == DroppedGap(from_ns=SECOND, to_ns=2 * SECOND, count=3, reason="disk full")


def test_a_count_that_no_column_holds_is_the_highest_that_one_does():
    times = '"from": "2026-06-03T12:00:00Z", "to": "2026-06-03T12:00:01Z"'
    assert read_dropped(f'{{{times}, "count": {10**30}}}').count == 2**63 - 1


def test_gaps_that_wait_for_history_are_bounded():
    line = Line()
    for number in range(UNFILLED_PER_WAY_MAX + 5):
        line.live(10 * number)
        line.dies()
    line.live(10_000)
    line.history(*(10 * number + 5 for number in range(UNFILLED_PER_WAY_MAX + 4)))
    statuses = [status for _, status, *_ in line.gaps()]
    assert statuses == ["closed"] * 5 + ["filled"] * (UNFILLED_PER_WAY_MAX - 1) + ["closed"]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_gaps_are_those_that_the_log_tells(seed: int):
    """Against a model that looks at the whole story at once; and the same with restarts."""
    dice = random.Random(seed)
    story: list[tuple[str, Any]] = []
    clock = 0
    for _ in range(dice.randint(5, 40)):
        clock += dice.randint(1, 40)
        story.append(
            dice.choice(
                (
                    ("live", clock),
                    ("live", clock),
                    ("history", dice.randint(0, clock)),
                    ("dies", None),
                    ("session", clock),
                )
            )
        )
    plain, restarted = Line(), Line()
    for what, value in story:
        for line in (plain, restarted):
            if what == "session":
                line.session = f"s{value}"
            elif what == "dies":
                line.dies()
            else:
                getattr(line, what)(value)
        if dice.random() < 0.3:
            restarted.restart()
    assert plain.gaps() == restarted.gaps()
    assert plain.missing() == model(story)


def model(story: list[tuple[str, Any]]) -> list[tuple[Any, ...]]:
    """The same, said in another way: cut the story at deaths and new sessions, then look at what history leaves."""
    found: list[tuple[str, float, float | None]] = []
    newest, session, known = None, "s1", None
    for what, value in story:
        if what == "session":
            session = f"s{value}"
            continue
        is_open = bool(found) and found[-1][2] is None
        lost = what != "dies" and known is not None and session != known
        if (what == "dies" or lost) and newest is not None and not is_open:
            found.append(("death" if what == "dies" else "session_lost", newest, None))
        if what == "dies":
            continue
        known = session
        if what == "live" and found and found[-1][2] is None and (newest is None or value > newest):
            found[-1] = (*found[-1][:2], value)
        newest = value if newest is None else max(newest, value)
    history = sorted({value for what, value in story if what == "history"})
    left: list[tuple[Any, ...]] = []
    for reason, start, end in found:
        inside = [value for value in history if start < value and (end is None or value < end)]
        for before, after in pairwise([start, *inside, end]):
            if after is None:
                left.append((reason, "open", before, None))
            elif not inside or after - before > SILENCE:
                left.append((reason, "closed", before, after))
    return left
