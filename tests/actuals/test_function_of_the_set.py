"""Totals are a function of the set of samples and facts: not of arrival, repetition, restarts or how batches are cut.

Random histories of three machines go through the real enricher into real record logs: once in order and at once,
once shuffled, repeated, with restarts of host and follower, read in pieces. A follower that computes a job anew
whenever it is told to must end with the same totals for every job; so must one that goes on with running totals.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.actuals.plants import (
    ENERGY,
    EXECUTION,
    GOOD,
    JOB,
    LOT,
    NEXT,
    PROGRAM,
    SCRAP,
    STATE,
    TEMPERATURE,
    Plant,
    job,
    line,
    lot,
)
from tests.enrichment.builders import at
from uns.actuals.jobs import JobId
from uns.actuals.totals import JobActuals, JobRuns, job_actuals
from uns.context.facts import Fact
from uns.enrichment.samples import Quality

END = 100  # seconds
GOOD_OF_MILL = msgspec.structs.replace(GOOD, rollover=50)


class History(NamedTuple):
    """What is known in the end, in no order."""

    samples: list[tuple[str, tuple[Any, ...]]]  # (equipment, sample)
    facts: list[Fact]


_TIMES = st.integers(0, END * 2).map(lambda n: n / 2)
_QUALITY = st.sampled_from([Quality.GOOD] * 8 + [Quality.BAD, Quality.UNCERTAIN])
_VALUES: dict[str, Any] = {
    GOOD.name: st.one_of(st.integers(0, 60), st.none()),
    SCRAP.name: st.integers(0, 5),
    ENERGY.name: st.floats(0, 10, allow_nan=False).map(lambda x: round(x, 3)),
    STATE.name: st.sampled_from([6, 6, 15, 4]),
    TEMPERATURE.name: st.sampled_from([15.0, 25.0, 35.5]),
    EXECUTION.name: st.sampled_from(["ACTIVE", "READY"]),
    PROGRAM.name: st.sampled_from(["P1", "P2", ""]),
    LOT.name: st.sampled_from(["L-1", "L-2"]),
}
_BY_EQUIPMENT = {
    "packer1": (GOOD, SCRAP, ENERGY, STATE, TEMPERATURE),
    "packer2": (GOOD, STATE),
    "mill1": (GOOD, EXECUTION, PROGRAM, LOT),
}


@st.composite
def histories(draw: st.DrawFn) -> History:
    found: dict[tuple[str, str, float], tuple[str, tuple[Any, ...]]] = {}
    for equipment, metrics in _BY_EQUIPMENT.items():
        for _ in range(draw(st.integers(0, 18 if equipment == "packer1" else 8))):
            metric = draw(st.sampled_from(metrics))
            seconds = draw(_TIMES)
            value = draw(_VALUES[metric.name])
            found[equipment, metric.name, seconds] = (equipment, (metric, value, seconds, draw(_QUALITY), 0))
    stated = st.lists(facts(), min_size=1, max_size=8, unique_by=lambda f: (f.id, f.source_rev))
    return History(list(found.values()), draw(stated))


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    start = draw(st.sampled_from([0, 5, 10, 20, 30, 50, 70, 99]))
    end = draw(st.one_of(st.none(), st.integers(start + 1, END + 10)))
    revision = str(draw(st.integers(1, 3)))
    kind = draw(st.sampled_from(["job", "job", "job", "definition", "lot", "delete"]))
    where = draw(st.sampled_from(["packer1", "packer1", "packer1", "packer2", "line7", "mill1"]))
    job_id = draw(st.sampled_from([JOB, NEXT]))
    also = draw(st.booleans())
    fields: dict[str, Any] = {"equipment": where, "source_rev": revision, "start": start, "end": end}
    match kind:
        case "lot":
            return lot(draw(st.sampled_from(["L-1", "L-2"])), draw(st.sampled_from(["Produced", "Consumed"])), **fields)
        case "definition":
            program = "P1" if job_id is JOB else "P2@3"
            return job(job_id, **fields, id=f"erp:{program}", state="released", recipe=program)
        case "delete":
            return job(job_id, **fields, action="delete", also=also)
        case _:
            state = "running" if end is None else draw(st.sampled_from(["completed", "aborted"]))
            return job(job_id, **fields, also=also, state=state)


class Follower:
    """Computes a job anew whenever the book says that it changed, and notes it; as a bridge does."""

    def __init__(self, plant: Plant, *, goes_on: bool) -> None:
        self.plant = plant
        self.goes_on = goes_on
        self.runs: dict[JobId, JobRuns] = {}
        self.told: dict[JobId, JobActuals] = {}

    def follow(self, positions_max: int) -> None:
        plant = self.plant
        while True:
            batch, progress, _ = plant.reader.read(plant.progress, positions_max=positions_max)
            if batch.is_empty():
                return
            plant.book.receive_batch(batch)
            plant.progress = progress
            for runs in self.runs.values():
                for touched in batch.touched:
                    runs.receive_touched(touched)
            for job_id in plant.book.take_changed():
                self._tell(job_id)
            plant.keep()

    def _tell(self, job_id: JobId) -> None:
        view = self.plant.book.job(job_id)
        assert view is not None
        runs = self.runs.setdefault(job_id, JobRuns()) if self.goes_on else None
        found = job_actuals(self.plant.tree, self.plant.reader, view, until_ns=at(END + 20), runs=runs)
        self.told[job_id] = found
        self.plant.book.note(job_id, found.leanings)
        if runs is not None:
            self.runs[job_id] = msgspec.json.decode(msgspec.json.encode(runs), type=JobRuns)


def content(found: JobActuals) -> Any:
    """Everything but log positions, which say in which order samples came."""
    return _without_positions(msgspec.to_builtins(found))


def _without_positions(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_positions(item)
            for key, item in value.items()
            if key not in ("position", "first_position", "last_position")
        }
    return [_without_positions(item) for item in value] if isinstance(value, list | tuple) else value


def final(plant: Plant) -> dict[JobId, Any]:
    """Of every job that has pieces, computed at once at the end."""
    plant.follow()
    found = {}
    for job_id in plant.book.jobs():
        view = plant.book.job(job_id)
        if view is not None and view.pieces:
            found[job_id] = content(job_actuals(plant.tree, plant.reader, view, until_ns=at(END + 20)))
    return found


def told(follower: Follower) -> dict[JobId, Any]:
    return {job_id: content(found) for job_id, found in follower.told.items() if found.start_ns is not None}


MEMORY = Path("/dev/shm")  # a hundred commits a history, and none needs to survive


ARGUMENTS = (histories(), st.randoms(use_true_random=False), st.booleans(), st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(*ARGUMENTS)
def test_totals_depend_on_nothing_but_the_set(history: History, random: Any, parallel: bool, goes_on: bool) -> None:
    hold(history, random, parallel=parallel, goes_on=goes_on)


@pytest.mark.long
@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(*ARGUMENTS)
def test_totals_depend_on_nothing_but_the_set_at_length(
    history: History, random: Any, parallel: bool, goes_on: bool
) -> None:
    hold(history, random, parallel=parallel, goes_on=goes_on)


def hold(history: History, random: Any, *, parallel: bool, goes_on: bool) -> None:
    """One history, both ways."""
    tree = line(allow_parallel=parallel)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        orderly = Plant(Path(directory) / "orderly", tree)
        shuffled = Plant(Path(directory) / "shuffled", tree)
        try:
            for fact in sorted(history.facts, key=lambda f: (f.id, f.source_rev)):
                orderly.fact(fact)
            for equipment, sample in sorted(history.samples, key=lambda s: (s[1][2], s[0], s[1][0].name)):
                orderly.samples(sample, equipment=equipment)
            arrivals: list[Any] = [*history.samples, *history.facts]
            arrivals += random.sample(arrivals, k=len(arrivals) // 4)  # twice
            random.shuffle(arrivals)
            follower = Follower(shuffled, goes_on=goes_on)
            for arrival in arrivals:
                if isinstance(arrival, Fact):
                    shuffled.fact(arrival)
                else:
                    shuffled.samples(arrival[1], equipment=arrival[0])
                if random.random() < 0.3:
                    follower.follow(random.choice([1, 2, 3, 1_000]))
                if random.random() < 0.03:
                    shuffled.restart_host()
                if random.random() < 0.05:
                    shuffled.restart_book()
            follower.follow(random.choice([1, 2, 3, 1_000]))
            assert final(orderly) == final(shuffled)
            assert told(follower) == final(shuffled)
        finally:
            orderly.close()
            shuffled.close()
