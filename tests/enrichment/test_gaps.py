"""Gaps: what is missing, from when to when, and what history makes of it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.enrichment.builders import COUNT, SECOND, TEMPERATURE, Host, at, provenance
from uns.context.times import MAX_NS
from uns.enrichment.gaps import UNFILLED_PER_WAY_MAX, DroppedGap, read_dropped
from uns.enrichment.samples import Origin
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")


class Line(Host):
    """A host that hears of lives and deaths. Samples are (seconds, …) of one metric."""

    session = "s1"

    def live(self, *seconds: float, equipment: str = "reactor4", origin: Origin = "data", metric: Any = COUNT) -> None:
        self._bring(seconds, equipment, origin, historical=False, metric=metric)

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

    def _bring(self, seconds: Any, equipment: str, origin: Origin, *, historical: bool, metric: Any) -> None:
        self.now_ns += SECOND
        way = provenance(device_id=equipment, session=self.session, historical=historical, received_at_ns=self.now_ns)
        samples = [(metric, int(second), second) for second in seconds]
        self.samples(*samples, equipment=equipment, origin=origin, provenance=way)


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
    assert line.gaps() == [("death", "filled", 1, 60)]


def test_history_before_the_first_live_sample_fills_it_too():
    line = Line()
    line.live(1)
    line.dies()
    line.session = "s2"
    line.history(20)
    assert line.gaps() == [("death", "filled", 1, None)]
    line.live(60)
    assert line.gaps() == [("death", "filled", 1, 60)]


def test_a_live_sample_inside_does_not_fill_it():
    """A source that is read again tells what changed meanwhile with the stamp of then."""
    line = Line()
    line.live(1)
    line.dies()
    line.live(60)
    line.live(30, metric=TEMPERATURE)
    assert line.gaps() == [("death", "closed", 1, 60)]


def test_a_birth_ends_a_gap_and_its_own_sample_as_history_fills_it():
    """A birth tells the last stored sample: that it is in the history too says that the gateway went on reading."""
    line = Line()
    line.live(1)
    line.session = "s2"
    line.live(8, origin="birth")
    assert line.gaps() == [("session_lost", "closed", 1, 8)]
    line.history(8)
    assert line.gaps() == [("session_lost", "filled", 1, 8)]


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
    line.live(1, origin="birth")
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
    line.live(1, 2, origin="birth")
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
    assert line.gaps() == [("death", "filled", 1, 60), ("death", "open", 60, None)]


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
        clock += dice.randint(1, 5)
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
    assert plain.gaps() == restarted.gaps() == model(story)


def model(story: list[tuple[str, Any]]) -> list[tuple[Any, ...]]:
    """The same, said in another way: cut the story at deaths and new sessions, then look at what came when."""
    found: list[dict[str, Any]] = []
    newest, session, known = None, "s1", None
    for what, value in story:
        if what == "session":
            session = f"s{value}"
            continue
        is_open = bool(found) and found[-1]["to"] is None
        lost = what != "dies" and known is not None and session != known
        if (what == "dies" or lost) and newest is not None and not is_open:
            found.append(
                {"reason": "death" if what == "dies" else "session_lost", "from": newest, "to": None, "filled": False}
            )
        if what == "dies":
            continue
        known = session
        if what == "history":
            for gap in found:
                gap["filled"] |= gap["from"] < value and (gap["to"] is None or value < gap["to"])
        elif found and found[-1]["to"] is None and (newest is None or value > newest):
            found[-1]["to"] = value
        newest = value if newest is None else max(newest, value)
    return [
        (
            gap["reason"],
            "filled" if gap["filled"] else "open" if gap["to"] is None else "closed",
            gap["from"],
            gap["to"],
        )
        for gap in found
    ]
