"""The MES part of the demo: its files are real ones, and what it finds in the outbox is what counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.bridges.b2mml.schemas import official_schema, problems
from uns.bridges.b2mml import ReadOptions, read_schedule, write_performance
from uns.context.facts import FactAnswer
from uns.context.records import JobResponse, Quantity
from uns.namespace.loader import load_tree
from uns.runtime.demo.mes import ORDERS, MesPart, said_of
from uns.runtime.demo.run import PLANT_FILES
from uns.runtime.performances import Performances

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


def mes(directory: Path, answers: dict[str, FactAnswer] | None = None) -> MesPart:
    part = MesPart(PLANT_FILES, directory, seconds=60.0, run="r1", answers={} if answers is None else answers)
    part.inbox.mkdir(parents=True)
    return part


def written(folder: Path, revision: int, good: str, *, job: str = "WO-10234", delete: bool = False) -> None:
    key = f"{job}-{revision}"
    response = JobResponse(
        response_id=key,
        job_order=f"{job}/0010",
        work_order=job,
        published_at=NOW + timedelta(seconds=revision),
        revision=revision,
        action="delete" if delete else "replace" if revision else "add",
        reverses=f"{job}-{revision - 1}" if revision else None,
        good=Quantity(value=Decimal(good), unit="C62"),
    )
    (folder / f"{key}.xml").write_bytes(write_performance(response, sender="uns"))


def test_the_order_file_is_b2mml_and_names_both_orders(tmp_path: Path) -> None:
    file = mes(tmp_path).drop(int(NOW.timestamp()) * 10**9)
    options = ReadOptions(tree=load_tree(PLANT_FILES / "topic_tree.yaml"), source="mes", received_at=NOW)
    reading = read_schedule(file.read_bytes(), options, file=file.name)
    assert reading.findings == ()
    assert tuple(found.fact.work_order for found in reading.definitions) == ORDERS
    first = reading.definitions[0].fact
    assert (first.equipment, first.valid_from, first.valid_to) == ("line2", NOW, NOW + timedelta(seconds=27))
    assert [path.name for path in file.parent.iterdir()] == ["orders.xml"]


def test_the_order_file_is_valid_against_the_official_schema(tmp_path: Path) -> None:
    schema = official_schema()
    for file in (PLANT_FILES / "orders.xml", mes(tmp_path).drop(int(NOW.timestamp()) * 10**9)):
        assert problems(schema, file.read_bytes()) == []


def test_an_order_may_run_when_the_host_has_accepted_it(tmp_path: Path) -> None:
    answers: dict[str, FactAnswer] = {}
    part = mes(tmp_path, answers)
    assert part.accepted() == []
    for order, accepted in zip(ORDERS, (True, False), strict=True):
        key = f"{order}|{order}/0010"
        answers[key] = FactAnswer(id=key, source_rev="1", accepted=accepted)
    assert part.accepted() == ["WO-10234"]


def test_the_newest_document_of_a_job_stands(tmp_path: Path) -> None:
    found = Performances(tmp_path)
    written(tmp_path, 0, "3")
    written(tmp_path, 0, "8", job="WO-2")
    assert [said_of(each) for each in found.look()] == [
        "performance of WO-10234 lies in the outbox: good 3",
        "performance of WO-2 lies in the outbox: good 8",
    ]
    assert found.look() == []
    written(tmp_path, 1, "4")
    written(tmp_path, 1, "0", job="WO-2", delete=True)
    assert [said_of(each).split(" of ")[0] for each in found.look()] == ["corrected performance", "withdrawal"]
    standing = found.standing()
    assert list(standing) == ["WO-10234/0010"]
    good = standing["WO-10234/0010"].response.good
    assert good is not None
    assert good.value == 4


@pytest.mark.parametrize("seconds", [15.0, 60.0, 3600.0])
def test_the_grace_fits_between_the_end_of_the_order_and_the_end_of_the_demo(tmp_path: Path, seconds: float) -> None:
    part = MesPart(PLANT_FILES, tmp_path, seconds=seconds, run="r1", answers={})
    assert 0 < part.grace_s <= min(2.0, seconds * 0.1)
