"""Every requirement is reached by the simulation, or has a reason why not."""

from __future__ import annotations

from tests.simulation.reach import NOT_REACHED, all_requirements, holders

REACHED_MIN = 225  # of 299: what shows on the wire, or at a host, while things go wrong


def test_every_requirement_is_held_by_a_checker_or_has_a_reason():
    reached, excused = set(holders()), {tck_id for tck_ids in NOT_REACHED.values() for tck_id in tck_ids}
    assert reached & excused == set()
    assert all_requirements() - reached - excused == set()
    assert (reached | excused) - all_requirements() == set()
    assert len(reached) >= REACHED_MIN


def test_no_requirement_is_excused_twice():
    excused = [tck_id for tck_ids in NOT_REACHED.values() for tck_id in tck_ids]
    assert sorted(set(excused)) == sorted(excused)


def test_a_checker_names_each_requirement_once():
    assert all(len(names) == len(set(names)) for names in holders().values())
