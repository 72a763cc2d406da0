"""``uns explain`` of a quantity: the samples behind it, and a performance file held against the log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.actuals.plants import GOOD, SCRAP, STATE, Plant, job, lot
from tests.cli.test_host_commands import document, uns
from tests.runtime.plants import Plant as HostPlant
from tests.runtime.plants import plant as host_plant
from tests.servers import mosquitto
from uns.actuals.response import job_response
from uns.bridges.b2mml import write_performance
from uns.cli.main import build_app
from uns.errors import ConfigurationError, UnsError

TREE = """\
uns: 1
enterprise: acme
classes:
  Packer:
    context: {requires: [job]}
    metrics:
      good:  {type: UInt32, unit: C62, role: counter, counts: good, rollover: 4294967296}
      scrap: {type: UInt32, unit: C62, role: counter, counts: scrap}
      energy: {type: Double, unit: KWH, role: counter}
      state: {type: UInt16, role: state, times: {machine: [6], setup: [15, 3]}}
sites:
  dallas:
    time_zone: America/Chicago
    equipment:
      line7:
        level: ProductionLine
        equipment:
          packer1: {level: WorkCell, class: Packer, gateways: [gw-1]}
context:
  mes: {provides: [job], precedence: 10}
  scanner: {provides: [lot], precedence: 10}
"""


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    (tmp_path / "topic_tree.yaml").write_text(TREE)
    made = Plant(tmp_path / "host")
    made.samples((GOOD, 100, -5), (SCRAP, 7, -5), (STATE, 6, -5))
    made.fact(job(start=0, end=1000))
    made.fact(lot("L-1", start=0, end=1000))
    made.samples((GOOD, 101, 5), (SCRAP, 9, 6), (GOOD, 3, 40), (GOOD, 900, 800))
    yield made
    made.close()


@pytest.fixture
def run(plant: Plant, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``uns explain`` on the store of the plant; exit code and stdout."""
    directory = plant.path.parent

    def explain(*arguments: str) -> tuple[int, str]:
        words = ["explain", *arguments, "--store", str(directory), "--tree", str(directory.parent / "topic_tree.yaml")]
        code = 0
        try:
            build_app(words)(args=words, prog_name="uns")
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, capsys.readouterr().out

    return explain


def test_a_quantity_is_shown_with_baseline_first_last_and_each_step(run: Any) -> None:
    code, out = run("WO-1/0010")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "Job WO-1/0010 operation 0010 of WO-1"
    assert "good     901" in lines
    assert "packer1/good counts good: 901, 3 samples" in lines
    assert "1 gap; 1 reset" in lines
    assert "baseline  100 at 2026-06-03T11:59:55.000Z, log position 2" in lines
    assert any(line.startswith("reset     101 at 2026-06-03T12:00:05.000Z → 3 at") for line in lines)
    assert any(line.startswith("counts 3, log positions ") for line in lines)
    assert any(
        line.startswith("context   2026-06-03T12:00:00.000Z … 2026-06-03T12:16:40.000Z: job:WO-1") for line in lines
    )
    assert "energy" not in out  # no sample, and nothing that anybody asked for


def test_json_has_the_evidence_of_the_one_quantity_that_was_asked_for(run: Any, plant: Plant) -> None:
    found = json.loads(run("WO-1", "--quantity", "good", "--json")[1])
    (explained,) = found["jobs"]
    assert explained["quantities"] == [{"quantity": "good", "value": "901", "unit": "C62"}]
    (counter,) = explained["counters"]
    (piece,) = counter["pieces"]
    assert (piece["baseline"]["value"], piece["first"]["value"], piece["last"]["value"]) == (100, 101, 900)
    assert [(step["kind"], step["counted"]) for step in piece["steps"]] == [("reset", "3"), ("gap", "897")]
    (context,) = piece["contexts"]
    assert context["facts"] == ["job:WO-1/0010@1", "lot:L-1@1"]
    shown = {s["position"] for s in (piece["baseline"], piece["first"], piece["last"])}
    assert shown <= set(range(1, plant.reader.head() + 1))
    assert found["log"] == {"to": plant.reader.head()}


def test_what_it_cannot_explain_is_one_clear_message(run: Any) -> None:
    with pytest.raises(ConfigurationError, match="no counter of WO-1 counts 'goods'") as caught:
        run("WO-1", "--quantity", "goods")
    assert "good, scrap" in str(caught.value)
    with pytest.raises(UnsError, match="no work order or job 'WO-9'"):
        run("WO-9")
    with pytest.raises(ConfigurationError, match="what shall be explained"):
        run()
    with pytest.raises(ConfigurationError, match="--at goes with a record"):
        run("WO-1", "--at", "2026-06-03T12:00:00Z")


def write_file(plant: Plant) -> Path:
    """The performance as a bridge would write it now."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=plant.now_ns // 1000)
    response = job_response(plant.actuals(), plant.tree, response_id="r-1", published_at=moment, source="mes")
    file = plant.path.parent / "WO-1.xml"
    file.write_bytes(write_performance(response, sender="uns"))
    plant.now_ns += 1_000_000_000
    return file


def test_a_file_that_says_what_the_log_says_is_fine(run: Any, plant: Plant) -> None:
    code, out = run("--file", str(write_file(plant)))
    assert (code, out.splitlines()[-1].strip()) == (0, "says what the log says now"), out


def test_a_file_that_a_late_sample_made_wrong_is_told_with_the_positions(run: Any, plant: Plant) -> None:
    file = write_file(plant)
    plant.samples((GOOD, 950, 900))
    code, out = run("--file", str(file))
    assert code == 1
    assert "good: the file says 901 C62, the log says 951 C62" in out
    assert "1 samples of packer1/good were recorded, log positions" in out
    compared = json.loads(run("--file", str(file), "--json")[1])["jobs"][0]
    assert (compared["same"], compared["late"][0]["samples"], compared["restatements"]) == (False, 1, [])


def test_a_file_that_a_correction_made_wrong_names_the_restatement(run: Any, plant: Plant) -> None:
    file = write_file(plant)
    plant.fact(job(start=0, end=600, source_rev="2"))
    code, out = run("--file", str(file))
    assert code == 1
    assert "good: the file says 901 C62, the log says 4 C62" in out
    assert "packer1 was restated" in out
    assert "fact mes:WO-1/0010@2" in out
    plant.fact(job(start=0, end=600, source_rev="3", action="delete"))
    code, out = run("--file", str(file))
    assert code == 1
    assert "job: the file says it ran, the log says taken back: nothing says that it ran" in out


def test_a_file_that_is_none_is_one_clear_message(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run("--file", str(tmp_path / "nowhere.xml"))
    (tmp_path / "other.xml").write_text("<other/>")
    with pytest.raises(ConfigurationError, match="no performance of a job is in it"):
        run("--file", str(tmp_path / "other.xml"))


@pytest.mark.integration
async def test_a_running_host_explains_orders_beside_records(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with host_plant(tmp_path, broker.url) as made:
            await made.start_host()
            await made.start_edge()
            await explain_on(made)


async def explain_on(made: HostPlant) -> None:
    names = {"job_order": "WO-1/10", "work_order": "WO-1", "operation": "10"}
    await made.tell(id="mes:1", kind="job", valid_from="2020-01-01T00:00:00Z", **names)
    start_ms = time.time_ns() // 1_000_000 - 60_000
    for number, count in enumerate((10, 14, 20)):
        made.edge.put("reactor4", [("batch/count", count, start_ms + 1000 * number)])
    await made.until_drained()
    found = await document("explain", "WO-1", "--quantity", "good", made=made)
    assert found["jobs"][0]["quantities"] == [{"quantity": "good", "value": "10", "unit": "C62"}]
    code, out, _ = await uns("explain", "WO-1/10", made=made)
    assert code == 0
    assert "reactor4/batch/count counts good: 10" in out
    assert "baseline  none before it" in out
    code, out, _ = await uns("explain", "reactor4/batch/count", made=made)
    assert (code, out.partition(" ")[0]) == (0, "20")
    code, _, err = await uns("explain", "WO-2", made=made)
    assert code == 1
    assert "no equipment, metric, work order or job 'WO-2'" in err
    code, _, err = await uns("explain", "WO-1", "--quantity", "goods", made=made)
    assert code in (1, 2)
    assert "no counter of WO-1 counts 'goods'" in err
