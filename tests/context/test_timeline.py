"""Who runs what, when: open ends, inheritance, conflicts, sets, idle, bridges, PLC runs, status."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.enrichment.builders import SECOND, at, fact, plant
from uns.context.claims import clip, cover, merge_windows, rev_key
from uns.context.facts import Fact
from uns.context.steps import StepSeries
from uns.context.store import ContextStore
from uns.context.timeline import ContextBody, Timeline
from uns.context.times import MAX_NS, MIN_NS


class World:
    """A store and its timeline; every fact must be accepted."""

    def __init__(self, *facts: Fact, **options: Any) -> None:
        self.store = ContextStore(plant(**options))
        self.timeline = Timeline(self.store)
        for given in facts:
            answer, _ = self.store.receive(given, now_ns=at(0))
            assert answer.accepted, answer.reason

    def step(
        self, value: Any, seconds: float, *, equipment: str = "mill1", kind: str = "job", ordinal: int = 0
    ) -> None:
        self.store.receive_step(equipment, "metric", kind, source_time_ns=at(seconds), ordinal=ordinal, value=value)

    def at(self, seconds: float, equipment: str = "reactor4") -> ContextBody:
        return self.timeline.context_at(equipment, at(seconds))

    def jobs(self, *seconds: float, equipment: str = "reactor4") -> list[str | None]:
        return [self.at(s, equipment).job_order for s in seconds]


# Open ends


def test_a_fact_holds_from_its_start_to_just_before_its_end():
    world = World(fact(valid_from=10, valid_to=20))
    assert world.jobs(9.999, 10, 19.999, 20) == [None, "WO-1/0010", "WO-1/0010", None]


def test_an_open_fact_ends_at_the_next_start_of_its_source_kind_and_equipment():
    world = World(fact(), fact(id="j2", job_order="J2", valid_from=10, valid_to=20))
    assert world.jobs(9, 10, 19, 20) == ["WO-1/0010", "J2", "J2", None]


@pytest.mark.parametrize(
    "other",
    [
        fact(id="j2", source="erp", job_order="J2", valid_from=10, valid_to=20),
        fact(id="j2", equipment="line2", job_order="J2", valid_from=10, valid_to=20),
        fact("shift", shift="B", valid_from=10, valid_to=20),
        fact(id="j2", job_order="J2", valid_from=10, state="released"),
        fact(id="j2", job_order="J2", valid_from=10, state="cancelled"),
    ],
)
def test_an_open_fact_goes_on_over_what_is_not_its_successor(other: Fact):
    assert World(fact(), other).jobs(15, 25) == ["WO-1/0010", "WO-1/0010"]


def test_a_second_lot_of_the_same_use_ends_the_first_unless_it_says_also():
    first = fact("lot", lot="A", use="Produced")
    for also, expected in ((False, ("B",)), (True, ("A", "B"))):
        world = World(first, fact("lot", id="l2", lot="B", use="Produced", valid_from=10, also=also))
        assert world.at(5).lots == ("A",)
        assert world.at(15).lots == expected


def test_a_lot_of_another_use_leaves_the_first_open():
    world = World(fact("lot", lot="A", use="Produced"), fact("lot", id="l2", lot="B", use="Consumed", valid_from=10))
    assert world.at(15).lots == ("A", "B")


def test_persons_and_materials_stay_until_they_are_closed():
    world = World(
        fact("person", person="p1"),
        fact("person", id="p2", person="p2", valid_from=5, valid_to=10),
        fact("material", material="M1"),
        fact("material", id="m2", material="M2", valid_from=5, valid_to=10),
    )
    assert world.at(7).persons == ("p1", "p2")
    assert world.at(7).materials == ("M1", "M2")
    assert world.at(12).persons == ("p1",)
    assert (world.at(12).material, world.at(12).materials) == ("M1", ())


def test_a_deleted_fact_has_no_effect_and_its_history_stays():
    world = World(fact(), fact(source_rev="2", action="delete"))
    assert world.jobs(5) == [None]
    assert len(world.store.history("mes", "job:1")) == 2
    world.store.receive(fact(source_rev="3"), now_ns=at(0))
    assert world.jobs(5) == ["WO-1/0010"]


def test_a_fact_may_move_to_another_equipment():
    world = World(fact(), fact(source_rev="2", equipment="reactor5"))
    assert world.jobs(5) == [None]
    assert world.jobs(5, equipment="reactor5") == ["WO-1/0010"]


# Inheritance and conflicts


def test_each_kind_comes_from_the_nearest_level_that_covers_it():
    world = World(
        fact(equipment="line2", job_order="LINE"),
        fact("shift", equipment="reaction", shift="B"),
        fact(id="j2", job_order="UNIT", valid_from=10, valid_to=20),
    )
    assert world.jobs(5, 15, 25) == ["LINE", "UNIT", "LINE"]
    assert world.at(15).shift == "B"
    assert world.jobs(15, equipment="reactor5") == ["LINE"]


def test_a_nearer_idle_beats_a_farther_job():
    world = World(fact(equipment="line2"), fact(id="idle", job_order=None, valid_from=10, valid_to=20))
    assert [world.at(s).status for s in (5, 15, 25)] == ["unresolved", "unassigned", "unresolved"]
    assert world.jobs(5, 15, 25) == ["WO-1/0010", None, "WO-1/0010"]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (fact(id="a", source="erp", valid_from=5), fact(id="b", source="mes", valid_from=0)),  # precedence first
        (fact(id="z", valid_from=0, valid_to=30), fact(id="a", valid_from=5, valid_to=30)),  # then the later start
        (fact(id="z", source_rev="9", valid_to=30), fact(id="a", source_rev="10", valid_to=30)),  # then source_rev
        (fact(id="a", valid_to=30), fact(id="b", valid_to=30)),  # then the id
    ],
)
def test_conflicts_at_one_level_have_one_order(low: Fact, high: Fact):
    import msgspec

    low = msgspec.structs.replace(low, job_order="LOW")
    high = msgspec.structs.replace(high, job_order="HIGH")
    assert World(low, high).jobs(10) == ["HIGH"]
    assert World(high, low).jobs(10) == ["HIGH"]


def test_a_set_comes_whole_from_the_nearest_level_that_has_any():
    world = World(
        fact("lot", equipment="line2", lot="LINE"),
        fact("lot", id="l2", lot="A", use="a", valid_from=10, valid_to=20),
        fact("lot", id="l3", lot="B", use="b", valid_from=10, valid_to=20),
    )
    assert [world.at(s).lots for s in (5, 15, 25)] == [("LINE",), ("A", "B"), ("LINE",)]


def test_parallel_jobs_are_all_named_where_the_class_allows_them():
    jobs = (fact(valid_to=20), fact(id="j2", job_order="J2", valid_from=5, valid_to=20))
    assert World(*jobs, allow_parallel=True).at(10).job_orders == ("J2", "WO-1/0010")
    assert World(*jobs, allow_parallel=True).at(10).job_order == "J2"
    assert World(*jobs).at(10).job_orders == ()


def test_an_open_parallel_job_stays_open_beside_one_that_says_also():
    world = World(fact(), fact(id="j2", job_order="J2", valid_from=5, also=True), allow_parallel=True)
    assert world.at(10).job_orders == ("J2", "WO-1/0010")


def test_the_material_of_the_lots_counts_unless_a_material_is_stated():
    lot = fact("lot", material="FG-77")
    assert World(lot).at(5).material == "FG-77"
    assert World(lot, fact("material", material="RAW-1")).at(5).material == "RAW-1"


# Status


@pytest.mark.parametrize(
    ("facts", "status", "missing"),
    [
        ((), "unresolved", ("job", "lot")),
        ((fact(),), "unresolved", ("lot",)),
        ((fact("lot"),), "unresolved", ("job",)),
        ((fact(), fact("lot")), "resolved", ()),
        ((fact(job_order=None),), "unassigned", ()),
        ((fact(job_order=None), fact("lot")), "unassigned", ()),
    ],
)
def test_status(facts: tuple[Fact, ...], status: str, missing: tuple[str, ...]):
    body = World(*facts).at(5)
    assert (body.status, body.missing) == (status, missing)


def test_what_requires_nothing_is_resolved_and_idle_does_not_make_it_unassigned():
    assert World().at(5, "tank9").status == "resolved"
    assert World().at(5, "line2").status == "resolved"
    assert World(fact(job_order=None, equipment="tank9")).at(5, "tank9").status == "resolved"


# Bridges


def gap(seconds: float, **second: Any) -> tuple[Fact, ...]:
    fields: dict[str, Any] = {"id": "j2", "valid_from": 10 + seconds} | second
    return (
        fact("lot", valid_from=-100),
        fact(valid_from=0, valid_to=10),
        fact(**fields),
    )


def test_a_gap_up_to_the_bridge_with_equal_content_is_held():
    world = World(*gap(5), bridge_ns=5 * SECOND)
    assert (world.at(12).status, world.at(12).hold, world.at(12).job_order) == ("resolved", True, "WO-1/0010")
    assert not world.at(9).hold
    assert not world.at(16).hold


@pytest.mark.parametrize(
    "facts",
    [
        gap(5.001),
        gap(5, job_order="J2"),
        gap(5, source="erp"),
    ],
)
def test_what_is_not_bridged(facts: tuple[Fact, ...]):
    world = World(*facts, bridge_ns=5 * SECOND)
    assert (world.at(12).status, world.at(12).hold) == ("unresolved", False)


def test_a_window_inside_a_gap_is_bridged_like_the_whole():
    world = World(*gap(5), bridge_ns=5 * SECOND)
    whole = world.timeline.segments("reactor4", at(-50), at(50))
    for seconds in (10, 11, 14.999):
        inside = world.timeline.segments("reactor4", at(seconds), at(seconds) + 1)
        assert [s.body for s in inside] == [s.body for s in whole if s.from_ns <= at(seconds) < s.to_ns]


def test_what_is_farther_fills_a_gap_before_a_bridge_does():
    world = World(*gap(5), fact(id="line", equipment="line2", job_order="LINE"), bridge_ns=5 * SECOND)
    assert (world.at(12).job_order, world.at(12).hold) == ("LINE", False)


# PLC runs


def definition(job: str, recipe: str, **fields: Any) -> Fact:
    values: dict[str, Any] = {"id": job, "job_order": job, "recipe": recipe, "state": "released", "equipment": "mill1"}
    return fact(**(values | fields))


def test_a_planned_job_makes_no_interval():
    assert World(definition("J1", "81")).at(5, "mill1").missing == ("job",)


def test_a_program_is_the_start_of_the_job_whose_recipe_it_is():
    world = World(definition("J1", "81"), definition("J2", "82@4"))
    world.step("81", 10)
    world.step("82", 20)
    world.step("83", 30)
    assert world.jobs(9, 10, 20, 30, equipment="mill1") == [None, "J1", "J2", None]
    assert world.at(15, "mill1").facts == ("job:J1@1/plc:2026-06-03T12:00:10.000Z",)
    assert world.at(25, "mill1").recipe == "82@4"
    assert world.at(35, "mill1").missing == ("job",)


def test_a_definition_that_comes_later_names_the_runs_before_it():
    world = World()
    world.step("81", 10)
    assert world.jobs(15, equipment="mill1") == [None]
    _, change = world.store.receive(definition("J1", "81", valid_from=1000), now_ns=at(0))
    assert change is not None
    assert change.windows == (("mill1", at(10), MAX_NS),)
    assert world.jobs(15, equipment="mill1") == ["J1"]


def test_the_nearest_definition_counts_then_the_plan_that_covers_the_start():
    world = World(
        definition("LINE", "81", equipment="line2"),
        definition("OVER", "81", valid_from=0, valid_to=5),
        definition("NOW", "81", valid_from=1, valid_to=100),
        definition("LATER", "81", valid_from=50),
    )
    world.step("81", 10)
    assert world.jobs(15, equipment="mill1") == ["NOW"]


def test_a_program_with_the_beginning_of_a_recipe_is_another_recipe():
    world = World(definition("J1", "812"), definition("J2", "8@1"))
    world.step("81", 10)
    assert world.jobs(15, equipment="mill1") == [None]


@pytest.mark.parametrize("blank", ["", "  ", "\0"])
def test_a_blank_program_says_idle(blank: str):
    world = World(definition("J1", "81"))
    world.step("81", 0)
    world.step(blank, 10)
    assert world.at(15, "mill1").status == "unassigned"


def test_numbers_stand_for_their_text():
    world = World(definition("J1", "81"), definition("J2", "82"))
    world.step(81, 0)
    world.step(82.0, 10)
    assert world.jobs(5, 15, equipment="mill1") == ["J1", "J2"]


def test_a_blank_lot_says_none_and_beats_the_lot_of_the_line():
    world = World(fact("lot", equipment="line2"), fact())
    world.step("", 10, equipment="reactor4", kind="lot")
    assert (world.at(5).lots, world.at(5).status) == (("L-1",), "resolved")
    assert (world.at(15).lots, world.at(15).missing) == ((), ("lot",))


def test_the_plc_weighs_less_than_a_source_with_precedence():
    world = World(definition("J1", "81"), fact(equipment="mill1", job_order="MES", valid_from=10, valid_to=20))
    world.step("81", 0)
    assert world.jobs(5, 15, 25, equipment="mill1") == ["J1", "MES", "J1"]


# Step functions


def test_equal_neighbours_are_one_run_and_late_samples_cut_it():
    steps = StepSeries()
    assert steps.add(at(0), 0, "A") == (at(0), MAX_NS)
    assert steps.add(at(10), 0, "A") is None
    assert steps.add(at(10), 0, "A") is None
    assert steps.runs(MIN_NS, MAX_NS) == [(at(0), MAX_NS, "A")]
    assert steps.add(at(5), 0, "B") == (at(0), MAX_NS)
    assert steps.runs(MIN_NS, MAX_NS) == [(at(0), at(5), "A"), (at(5), at(10), "B"), (at(10), MAX_NS, "A")]
    assert steps.runs(at(6), at(7)) == [(at(5), at(10), "B")]


def test_the_highest_ordinal_of_one_time_counts():
    steps = StepSeries()
    steps.add(at(0), 1, "B")
    steps.add(at(0), 0, "A")
    assert steps.runs(MIN_NS, MAX_NS) == [(at(0), MAX_NS, "B")]


def test_runs_do_not_depend_on_the_order_of_samples():
    samples = [(0, "A"), (1, "A"), (2, "B"), (3, "A"), (4, "A")]
    results = set()
    for order in itertools.permutations(samples):
        steps = StepSeries()
        for seconds, value in order:
            steps.add(at(seconds), 0, value)
        results.add(tuple(steps.runs(MIN_NS, MAX_NS)))
    assert len(results) == 1


def test_beyond_its_bound_a_series_forgets_repeats_and_keeps_changes():
    steps = StepSeries(samples_max=10)
    for second in range(100):
        steps.add(at(second), 0, "A" if second < 50 else "B")
    assert len(steps) <= 12
    assert steps.runs(MIN_NS, MAX_NS) == [(at(0), at(50), "A"), (at(50), MAX_NS, "B")]


# Small parts


def test_revisions_are_in_one_order_whatever_they_look_like():
    texts = ["2", "10", "1a", "9", "010", "", "b", "²"]
    orders = {tuple(sorted(order, key=rev_key)) for order in itertools.permutations(texts[:6])}
    assert len(orders) == 1
    assert rev_key("9") < rev_key("10")


def test_windows_that_touch_are_joined():
    assert merge_windows([(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)]) == [(0, 3), (5, 9)]


def test_nothing_covers_nothing():
    assert cover([], 0, 10) == []
    assert clip([], [(0, 10)]) == []


def test_far_ends_of_time_are_ordinary_ends():
    world = World(fact(valid_from=at(0) and fact().valid_from))
    segments = world.timeline.segments("reactor4", MIN_NS, MAX_NS)
    assert (segments[0].from_ns, segments[-1].to_ns) == (MIN_NS, MAX_NS)
    assert [s.body.job_order for s in segments] == [None, "WO-1/0010"]
