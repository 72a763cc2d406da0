"""A machine's recorded day, end to end through real OPC UA and MQTT: every row accounted for, twice the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edge_nodes.simulators.shdr import Day, load_day
from tests.bridges.b2mml.schemas import official_schema, problems
from tests.data import require_data
from uns.bridges.b2mml import read_performance
from uns.context.records import JobResponse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUMBERS = (
    "rows", "samples", "liveness", "repeats", "malformed", "resolved", "unassigned", "unresolved", "rejected",
    "restated_intervals", "jobs", "recorded",
)  # fmt: skip
DAYS = ("Hurco01-20170329-20170330.txt", "Mazak03-20170907-20170908.txt.gz", "Mazak01-20190605-20190606.txt.gz")


def play(file: Path, store: Path, *options: str, code: int = 0) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNS_")}
    command = [sys.executable, "-m", "examples.nist_day", "--file", str(file), "--store", str(store), "--json"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert done.returncode == code, done.stderr + done.stdout
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def statuses_of(day: Day) -> Counter[str]:
    """What must come out, told from the file alone: the program that ran at each sample's ms, newest start first."""
    programs = sorted(
        (o.time_us // 1000, number, str(o.value))
        for number, o in enumerate(day.observations)
        if o.key == day.program_key and not o.repeats
    )
    times = [time_ms for time_ms, _, _ in programs]
    found: Counter[str] = Counter()
    for observation in day.observations:
        if observation.repeats:
            continue
        at = bisect_right(times, observation.time_us // 1000)
        program = programs[at - 1][2] if at else None
        found["unresolved" if program is None else "resolved" if program.strip() else "unassigned"] += 1
    return found


def check(day: Day, outcome: dict[str, Any]) -> None:
    assert outcome["ok"] is True
    assert any(each["text"].startswith("rows by status resolved ") for each in outcome["equations"])
    assert outcome["rows"] == sum(outcome[name] for name in ("samples", "liveness", "repeats", "malformed"))
    assert outcome["samples"] == sum(outcome[n] for n in ("resolved", "unassigned", "unresolved", "rejected"))
    assert (outcome["rows"], outcome["samples"], outcome["repeats"]) == (day.rows, day.samples, day.repeats)
    assert (outcome["lost"], outcome["duplicates"], outcome["rejected"]) == (0, 0, 0)
    expected = statuses_of(day)
    assert {name: outcome[name] for name in ("resolved", "unassigned", "unresolved")} == {
        name: expected[name] for name in ("resolved", "unassigned", "unresolved")
    }


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def responses_of(out: Path) -> dict[str, JobResponse]:
    """What the documents say, by job; each is read as its receiver reads it."""
    found = [response for body in files_of(out).values() for response in read_performance(body).responses]
    assert len({response.job_order for response in found}) == len(found)  # nothing was corrected: the day was over
    return {response.job_order: response for response in found}


def check_performances(outcome: dict[str, Any], out: Path) -> None:
    """A file for each finished job, valid, with what the outcome says."""
    assert len(files_of(out)) == outcome["performance_files"] == len(outcome["performances"])
    assert {job["job_order"] for job in outcome["performances"]} == set(responses_of(out))
    assert len(outcome["performances"]) + len(outcome["still_running"]) >= outcome["jobs"]
    assert any(each["subject"] == "performances" for each in outcome["equations"])
    schema = official_schema()
    assert [problems(schema, body) for body in files_of(out).values()] == [[]] * len(files_of(out))


def play_twice(file: Path, store: Path) -> None:
    day = load_day(file)
    out = store.with_name("out")
    first = play(file, store, "--out", str(out))
    check(day, first)
    check_performances(first, out)
    assert first["recorded"] == first["samples"]
    written = files_of(out)
    second = play(file, store, "--out", str(out))
    assert (second["performance_files"], second["performances"]) == (0, first["performances"])
    assert files_of(out) == written
    assert {name: second[name] for name in NUMBERS} == {name: first[name] for name in NUMBERS}
    assert second["ok"] is True
    assert second["host"]["recorded"] == first["host"]["recorded"]


def test_a_small_day_is_accounted_for_and_playing_it_again_changes_nothing(tmp_path: Path) -> None:
    play_twice(require_data("nist-smstestbed/Hurco02-20170329-20170330.txt"), tmp_path / "store")


@pytest.mark.long
@pytest.mark.parametrize("name", DAYS)
def test_a_day_is_accounted_for_and_playing_it_again_changes_nothing(tmp_path: Path, name: str) -> None:
    play_twice(require_data(f"nist-smstestbed/{name}"), tmp_path / "store")


ODD = """\
2017-09-07T09:00:00.000Z|program|81
2017-09-07T09:00:01.000Z|a|x
2017-09-07T09:00:01.000Z|a|y
2017-09-07T09:00:01.000Z|a|x
2017-09-07T09:00:01.0004Z|a|x
garbage

2017-09-07T09:00:01.500Z|Xload|UNAVAILABLE
2017-09-07T09:00:02.000Z|program|
2017-09-07T09:00:03.000Z|Xload|4
2017-09-07T09:00:03.000Z|Xload|5
2017-09-07T09:00:03.000Z|Xload|4
2017-09-07T08:59:59.000Z|Xload|7
2017-09-07T09:00:03.000Z|program|82
2017-09-07T09:00:00.500Z|program|83
2017-09-07T09:00:00.500Z|program|84
2017-09-07T09:00:00.600Z|no:number|1|2
"""


def test_odd_rows_are_each_one_of_the_four(tmp_path: Path) -> None:
    """Rows that go back in time, values that change within one ms and back again, a program that comes late."""
    file = tmp_path / "Odd01-20170907.txt"
    file.write_text(ODD)
    outcome = play(file, tmp_path / "store")
    check(load_day(file), outcome)
    assert (outcome["liveness"], outcome["repeats"], outcome["malformed"]) == (1, 2, 3)
    assert outcome["restated_intervals"] >= 1  # the late program
    assert outcome["samples_by_work_order"]["WO-84"] > 0


PARTS = """\
2017-09-07T09:00:00.000Z|Part_Count|100
2017-09-07T09:00:01.000Z|program|81
2017-09-07T09:00:01.000Z|execution|ACTIVE
2017-09-07T09:01:00.000Z|Part_Count|101
2017-09-07T09:02:00.000Z|Part_Count|102
2017-09-07T09:02:30.000Z|execution|READY
2017-09-07T09:03:00.000Z|program|82
2017-09-07T09:03:10.000Z|Part_Count|103
2017-09-07T09:04:00.000Z|Part_Count|0
2017-09-07T09:05:00.000Z|Part_Count|1
2017-09-07T09:06:00.000Z|program|83
2017-09-07T09:06:30.000Z|Part_Count|4
"""


def test_parts_are_told_by_job_and_a_folder_takes_a_day_once_from_whatever_store(tmp_path: Path) -> None:
    """A counter that goes on over a change of job, and one that is reset within a job; the last job has no end."""
    file, out = tmp_path / "Mill01-20170907.txt", tmp_path / "out"
    file.write_text(PARTS)
    first = play(file, tmp_path / "store", "--out", str(out))
    check(load_day(file), first)
    check_performances(first, out)
    assert (first["performance_files"], first["still_running"]) == (2, ["WO-83/0010"])
    assert {job["work_order"]: job["good"] for job in first["performances"]} == {"WO-81": "2", "WO-82": "2"}
    (equation,) = (each["text"] for each in first["equations"] if each["text"].startswith("good"))
    assert equation == "good 4 in documents = 4 in samples"
    machine_time = responses_of(out)["WO-81/0010"].machine_time
    assert machine_time is not None
    assert machine_time.value == 149
    written = files_of(out)
    second = play(file, tmp_path / "another-store", "--out", str(out))
    assert (second["ok"], second["performance_files"]) == (True, 0)
    assert files_of(out) == written


@pytest.mark.long
def test_two_days_share_a_store(tmp_path: Path) -> None:
    file, other = tmp_path / "Mill01-20170907.txt", tmp_path / "Mill01-20170908.txt"
    file.write_text("2017-09-07T09:00:00Z|program|81\n2017-09-07T09:00:01Z|Xload|4\n")
    other.write_text("2017-09-08T09:00:00Z|program|82\n2017-09-08T09:00:01Z|Xload|5\n2017-09-08T09:00:02Z|Yload|x\n")
    store = tmp_path / "store"
    assert play(file, store)["samples"] == 2
    assert play(other, store)["samples"] == 3
    again = play(file, store)
    assert (again["samples"], again["recorded"], again["ok"]) == (2, 5, True)


def test_a_day_without_any_value_is_accounted_for(tmp_path: Path) -> None:
    file = tmp_path / "Mill01-20170907.txt"
    file.write_text("2017-09-07T09:00:00Z|program|UNAVAILABLE\nx\n")
    outcome = play(file, tmp_path / "store")
    assert (outcome["rows"], outcome["samples"], outcome["liveness"], outcome["malformed"]) == (2, 0, 1, 1)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.nist_day", "--file", str(tmp_path / "none.txt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
