from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.actuals.plants import GOOD, JOB, NEXT, SCRAP, STATE, TEMPERATURE, Plant, job, line, lot
from tests.bridges.b2mml.outbound import SECOND, Follower, books
from tests.enrichment.builders import at, when
from uns.actuals.jobs import JobId
from uns.actuals.totals import job_actuals
from uns.bridges.b2mml.outbound import FAILED
from uns.context.records import JobOrder, MaterialUse, ResponseState, quantity
from uns.errors import StorageError

NOW_S = 1000  # everything that a test says of its plant is past, if it does not say otherwise


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    made.now_ns = at(NOW_S)
    yield made
    made.close()


def run_job(plant: Plant, good: int = 10, *, start: float = 0, end: float = 60, job_id: JobId = JOB) -> None:
    """A job that counts ``good``, from its first to its last second."""
    base = int(start) * 1000
    plant.samples((GOOD, base, start - 5), (STATE, 6, start - 5))
    plant.fact(job(job_id, start=start, end=end))
    plant.samples((GOOD, base + 1, start + 5), (GOOD, base + good, end - 5))


def test_a_finished_job_is_told_once_with_everything_it_did(plant: Plant) -> None:
    plant.samples((GOOD, 100, -5), (SCRAP, 7, -5), (STATE, 15, -5), (TEMPERATURE, 25.0, -5))
    plant.fact(job(start=0))
    plant.fact(lot("L-1", start=0, end=60))
    plant.fact(lot("R-9", "Consumed", start=0, end=60, material="RAW-1"))
    plant.samples((STATE, 6, 10), (GOOD, 110, 30), (TEMPERATURE, 35.0, 20), (TEMPERATURE, 25.0, 30), (SCRAP, 9, 50))
    follower = Follower(plant)
    assert follower.tell() == []  # it runs
    plant.fact(job(start=0, end=60, source_rev="2"))
    (told,) = follower.tell()
    assert (told.job_order, told.work_order, told.operation, told.state) == (
        "WO-1/0010", "WO-1", "0010", ResponseState.COMPLETED,
    )  # fmt: skip
    assert told.actual is not None
    assert (told.actual.start, told.actual.end) == (when(0), when(60))
    assert told.good is not None
    assert told.scrap is not None
    assert [f"{amount.value}" for amount in (told.good, told.scrap)] == ["10", "2"]
    assert told.setup_time is not None
    assert told.machine_time is not None
    assert [f"{time.value}" for time in (told.setup_time, told.machine_time)] == ["10", "50"]
    lots = {(m.lot, m.use, m.material) for m in told.materials}
    assert {("L-1", MaterialUse.PRODUCED, "FG-77"), ("R-9", MaterialUse.CONSUMED, "RAW-1")} <= lots
    assert [used.equipment for used in told.equipment] == ["packer1"]
    (found,) = told.quality
    assert found.metric == "temperature"
    assert [f"{value}" for value in (found.min, found.max, found.last)] == ["25", "35", "25"]
    assert found.out_of_range_s == 10
    assert follower.tell() == []


def test_it_waits_for_grace_after_the_end_and_after_the_end_was_known(plant: Plant) -> None:
    follower = Follower(plant, grace_ns=300 * SECOND)
    run_job(plant)
    assert follower.tell(later_s=290) == []
    assert len(follower.tell(later_s=20)) == 1


def test_an_end_that_lies_ahead_is_waited_for(plant: Plant) -> None:
    run_job(plant, end=NOW_S + 3600)
    follower = Follower(plant)
    assert follower.tell(later_s=60) == []
    assert len(follower.tell(later_s=3600)) == 1


def test_late_samples_make_one_correction_that_reverses_what_was_said(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant, grace_ns=60 * SECOND)
    (first,) = follower.tell(later_s=120)
    for seconds in range(30, 50):
        plant.samples((SCRAP, seconds, seconds))
        assert follower.tell() == []  # a flush makes one correction, not twenty
    (second,) = follower.tell(later_s=60)
    assert (second.action, second.reverses, second.revision) == ("replace", first.response_id, 1)
    assert second.response_id != first.response_id
    assert second.scrap is not None
    assert second.scrap.value == 19
    assert second.good == first.good
    assert second.reason == "restated: scrap 0 C62 is 19 C62"
    assert books(follower.items) == {"WO-1/0010": ("10", "Completed")}


def test_samples_that_change_nothing_make_no_document(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant)
    follower.tell()
    plant.samples((GOOD, 4, 20))  # between 1 and 10: the same total
    assert follower.tell() == []


def test_a_corrected_end_moves_what_was_counted(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant)
    follower.tell()
    plant.fact(job(start=0, end=50, source_rev="2", state="aborted"))
    (told,) = follower.tell()
    assert told.action == "replace"
    assert told.good is not None
    assert (f"{told.good.value}", told.state) == ("1", ResponseState.ABORTED)
    assert told.reason is not None
    assert "state Completed is Aborted" in told.reason
    assert "good 10 C62 is 1 C62" in told.reason


def test_a_job_that_was_taken_back_is_deleted_and_may_come_again(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant)
    (first,) = follower.tell()
    plant.fact(job(start=0, end=60, source_rev="2", action="delete"))
    (second,) = follower.tell()
    assert (second.action, second.reverses, second.materials) == ("delete", first.response_id, ())
    assert books(follower.items) == {}
    plant.fact(job(start=0, end=60, source_rev="3"))
    (third,) = follower.tell()
    assert (third.action, third.revision, third.reverses) == ("add", 2, None)
    assert len({item.key for item in follower.items}) == 3
    assert books(follower.items) == {"WO-1/0010": ("10", "Completed")}


@pytest.mark.parametrize(
    ("planned", "state", "other"),
    [
        (None, ResponseState.OTHER, "Withdrawn"),
        ("released", ResponseState.WAITING, None),
        ("dispatched", ResponseState.READY, None),
        ("cancelled", ResponseState.ABORTED, None),
    ],
)
def test_what_takes_a_job_back_bears_the_state_that_is_left_of_it(
    plant: Plant, planned: str | None, state: ResponseState, other: str | None
) -> None:
    if planned is not None:
        plant.fact(job(id="WO-1|WO-1/0010", start=0, end=60, state=planned))
    run_job(plant)
    follower = Follower(plant)
    follower.tell()
    plant.fact(job(start=0, end=60, source_rev="2", action="delete"))
    (told,) = follower.tell()
    assert (told.action, told.state, told.other_state, told.final) == ("delete", state, other, False)
    assert b">Running<" not in follower.items[-1].body


def test_a_job_that_goes_on_is_corrected_when_it_ends_again(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant)
    follower.tell()
    plant.fact(job(start=0, source_rev="2"))
    plant.samples((GOOD, 30, 90))
    assert follower.tell(later_s=3600) == []
    plant.fact(job(start=0, end=120, source_rev="3"))
    (told,) = follower.tell()
    assert told.good is not None
    assert (told.action, f"{told.good.value}") == ("replace", "30")


def test_a_job_that_was_only_planned_is_never_told(plant: Plant) -> None:
    plant.fact(job(start=0, end=60, state="released"))
    assert Follower(plant).tell(later_s=3600) == []


def test_what_was_ordered_goes_back_with_it_in_the_units_of_its_sender(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant)
    follower.orders["WO-1|WO-1/0010"] = JobOrder(
        job_order="WO-1/0010", work_order="WO-1", schedule="S-7", material="FG-77", quantity=quantity(12, "EA"),
        work_master="RCP-7", work_master_version="3",
    )  # fmt: skip
    (told,) = follower.tell()
    assert (told.schedule, told.material, told.work_master) == ("S-7", "FG-77", "RCP-7")
    assert told.good is not None
    assert (told.good.unit, told.good.unit_as_received) == ("C62", "EA")
    assert b"<UnitOfMeasure>EA</UnitOfMeasure>" in follower.items[0].body


def test_what_was_made_and_consumed_goes_back_in_the_same_units_as_the_totals(plant: Plant) -> None:
    run_job(plant)
    plant.fact(lot("L-1", start=0, end=60))
    follower = Follower(plant)
    follower.orders["WO-1|WO-1/0010"] = JobOrder(
        job_order="WO-1/0010", work_order="WO-1", material="FG-77", quantity=quantity(12, "EA")
    )
    (told,) = follower.tell()
    (made,) = told.materials
    assert made.quantity is not None
    assert (made.quantity.unit, made.quantity.unit_as_received) == ("C62", "EA")
    assert made.quantity == told.good


def test_a_corrected_order_alone_restates_nothing(plant: Plant) -> None:
    run_job(plant)
    follower = Follower(plant)
    follower.tell()
    follower.orders["WO-1|WO-1/0010"] = JobOrder(job_order="WO-1/0010", schedule="S-8")
    plant.samples((GOOD, 4, 20))
    assert follower.tell() == []


def test_two_jobs_at_once_are_told_each(tmp_path: Path) -> None:
    plant = Plant(tmp_path, line(allow_parallel=True))
    plant.now_ns = at(NOW_S)
    plant.samples((GOOD, 100, -5))
    plant.fact(job(JOB, start=0, end=60))
    plant.fact(job(NEXT, start=30, end=90))
    plant.samples((GOOD, 110, 20), (GOOD, 120, 50), (GOOD, 130, 80))
    follower = Follower(plant)
    follower.tell()
    assert books(follower.items) == {"WO-1/0010": ("20", "Completed"), "WO-2/0010": ("20", "Completed")}
    plant.close()


def test_two_jobs_at_once_where_one_may_share_nothing(plant: Plant) -> None:
    plant.samples((GOOD, 100, -5))
    plant.fact(job(JOB, start=0, end=60))
    plant.fact(job(NEXT, start=30, end=90))
    plant.samples((GOOD, 110, 20), (GOOD, 120, 50), (GOOD, 130, 80))
    follower = Follower(plant)
    follower.tell()
    assert books(follower.items) == {"WO-1/0010": ("10", "Completed"), "WO-2/0010": ("20", "Completed")}


@pytest.mark.parametrize("positions_max", [1, 3, 20_000])
def test_a_log_that_is_read_late_makes_one_document_a_job(plant: Plant, positions_max: int) -> None:
    run_job(plant)
    plant.fact(job(start=0, end=50, source_rev="2"))
    plant.fact(job(start=0, end=60, source_rev="3"))
    plant.samples((SCRAP, 1, 20), (SCRAP, 2, 30))
    run_job(plant, start=100, end=160, job_id=NEXT)
    follower = Follower(plant)
    told = follower.tell(positions_max=positions_max)
    assert [(response.job_order, response.revision) for response in told] == [("WO-1/0010", 0), ("WO-2/0010", 0)]


def test_a_restart_at_any_point_tells_the_same(plant: Plant) -> None:
    follower = Follower(plant, grace_ns=10 * SECOND)
    reference: list[tuple[str, str]] = []
    for step, change in enumerate(changes(plant)):
        change()
        follower.step(now_ns=plant.now_ns)
        if step % 2:
            follower.restart()
        reference += [(item.key, item.subject) for item in follower.tell_items(later_s=11)]
        follower.restart()
        assert follower.tell_items(later_s=11) == []
    assert [subject for _, subject in reference] == [
        "WO-1/0010 (revision 0): good 10 C62, scrap 0 C62",
        "WO-1/0010 corrected (revision 1): good 10 C62, scrap 4 C62",
        "WO-1/0010 corrected (revision 2): good 1 C62, scrap 4 C62",
        "WO-1/0010 taken back (revision 3)",
    ]
    assert len({key for key, _ in reference}) == len(reference)


def changes(plant: Plant) -> list[Any]:
    return [
        lambda: run_job(plant),
        lambda: plant.samples((SCRAP, 1, 20), (SCRAP, 5, 30)),
        lambda: plant.fact(job(start=0, end=50, source_rev="2")),
        lambda: plant.fact(job(start=0, end=50, source_rev="3", action="delete")),
    ]


def test_a_commit_that_fails_loses_nothing(plant: Plant) -> None:
    follower = Follower(plant)
    run_job(plant)
    for _ in range(3):
        follower.step(now_ns=plant.now_ns + SECOND, commits=False)
    (told,) = follower.tell()
    assert told.revision == 0


def test_jobs_that_ended_before_since_are_not_told(plant: Plant) -> None:
    run_job(plant)
    run_job(plant, start=100, end=160, job_id=NEXT)
    follower = Follower(plant, since_ns=plant.view(NEXT).start_ns)
    assert [response.job_order for response in follower.tell()] == ["WO-2/0010"]


def test_a_job_whose_document_cannot_be_made_stops_no_other_and_is_tried_at_each_start(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tree: Any, reader: Any, view: Any) -> Any:
        if view.job == JOB:
            raise ArithmeticError("a bug")
        return job_actuals(tree, reader, view)

    follower = Follower(plant)
    with monkeypatch.context() as patched:
        patched.setattr("uns.bridges.b2mml.outbound.job_actuals", broken)
        run_job(plant)
        run_job(plant, start=100, end=160, job_id=NEXT)
        failed, told = follower.tell_items()
        assert (failed.kind, "a bug" in failed.body.decode()) == (FAILED, True)
        assert Follower.read(told).job_order == "WO-2/0010"
        follower.restart()
        assert [item.key for item in follower.tell_items()] == [failed.key]  # the same dead letter
    follower.restart()
    (mended,) = follower.tell()
    assert (mended.job_order, mended.revision) == ("WO-1/0010", 0)
    follower.restart()
    assert follower.tell() == []


def test_a_log_that_cannot_be_read_now_is_no_fault_of_the_job(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any) -> Any:
        raise StorageError("the disk does not answer")

    follower = Follower(plant)
    run_job(plant)
    with monkeypatch.context() as patched:
        patched.setattr("uns.bridges.b2mml.outbound.job_actuals", down)
        with pytest.raises(StorageError):
            follower.step(now_ns=plant.now_ns + SECOND)
    follower.restart()
    assert len(follower.tell()) == 1


def test_many_jobs_of_a_backlog_are_told_before_the_book_forgets_them(plant: Plant) -> None:
    for number in range(9):
        run_job(plant, start=number * 100, end=number * 100 + 60, job_id=JobId(f"J{number}"))
    follower = Follower(plant, pending_max=4)
    told = follower.tell(positions_max=5)
    assert [response.job_order for response in told] == [f"J{number}" for number in range(9)]


def test_what_is_remembered_has_a_bound(plant: Plant) -> None:
    follower = Follower(plant, told_max=2)
    for number in range(4):
        run_job(plant, start=number * 100, end=number * 100 + 60, job_id=JobId(f"J{number}"))
    follower.tell()
    assert sorted(key for key in follower.state if key.startswith("told:")) == [
        f"told:{msgspec.json.encode(JobId(name)).decode()}" for name in ("J2", "J3")
    ]


def test_the_same_response_has_the_same_key_everywhere(plant: Plant, tmp_path: Path) -> None:
    run_job(plant)
    again = Plant(tmp_path / "again")
    again.now_ns = at(NOW_S)
    run_job(again)
    keys = [Follower(one).tell()[0].response_id for one in (plant, again)]
    assert keys[0] == keys[1]
    again.close()


@pytest.mark.parametrize("seed", range(25))
def test_whatever_comes_between_the_receiver_ends_with_what_a_late_reader_would_be_told(
    tmp_path: Path, seed: int
) -> None:
    """Jobs, corrections and late samples in any order; turns, restarts and failed commits in between."""
    chance = random.Random(seed)
    plant = Plant(tmp_path)
    plant.now_ns = at(NOW_S + 10_000)
    follower = Follower(plant, grace_ns=chance.choice([0, 5]) * SECOND)
    jobs = 0
    revisions: dict[int, int] = {}
    for _ in range(60):
        what = chance.choice(("job", "job", "late", "end", "delete", "turn", "turn", "restart", "fails", "time"))
        number = chance.randrange(jobs) if jobs else 0
        if what == "job" or not jobs:
            run_job(plant, good=chance.randint(2, 9), start=jobs * 100, end=jobs * 100 + 60, job_id=JobId(f"J{jobs}"))
            revisions[jobs] = 1
            jobs += 1
        elif what == "late":
            plant.samples((SCRAP, chance.randint(0, 50), number * 100 + chance.randint(0, 59)))
        elif what in {"end", "delete"}:
            revisions[number] += 1
            plant.fact(
                job(
                    JobId(f"J{number}"),
                    start=number * 100,
                    end=number * 100 + chance.choice([20, 60, 90]),
                    source_rev=str(revisions[number]),
                    action="delete" if what == "delete" else "change",
                )
            )
        elif what == "restart":
            follower.restart()
        elif what == "time":
            plant.now_ns += 6 * SECOND
        else:
            follower.step(now_ns=plant.now_ns, positions_max=chance.choice([1, 3, 1000]), commits=what == "turn")
    follower.tell_items()
    follower.tell_items(later_s=10)  # `grace` after the last of it was read
    late = Follower(plant)
    late.tell_items(later_s=10)
    assert books(follower.items) == books(late.items)
    plant.close()
