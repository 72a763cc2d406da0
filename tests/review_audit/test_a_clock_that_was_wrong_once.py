"""One stamp from the future, and a host that starts again: gaps and present values are those of a host that went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.enrichment.builders import COUNT, SECOND, TEMPERATURE, at, batch, plant, provenance
from tests.enrichment.test_gaps import NODE
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.enrichment.pipeline import Enricher

FUTURE = {"past_max_ns": None, "future_max_ns": 60 * SECOND}


class Plant:
    """A host on a real record log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self.log, self.index = RecordLog(self.path), RecordIndexReader(self.path)
        self.enricher = Enricher(plant(), self.index)
        self.enricher.load(self.log.load()[0], at(0))

    def restart(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self.index.close()
        self.log.close()

    def commit(self) -> None:
        self.log.commit(self.enricher.drain(), joined=0)
        self.enricher.committed()

    def live(self, now: float, *stamps: float, metric: Any = COUNT) -> None:
        way = provenance(device_id="reactor4", received_at_ns=at(now))
        given = batch(*((metric, int(stamp), stamp) for stamp in stamps), provenance=way)
        self.enricher.receive_batch(given, at(now), **FUTURE)
        self.commit()

    def dies(self, now: float) -> None:
        self.enricher.receive_death(NODE, None, at(now))
        self.commit()

    def gaps(self) -> list[Any]:
        return self.log._database.connection.execute(
            "SELECT reason, status, (from_ns - ?) / 1000000000 FROM gaps WHERE equipment = 'reactor4'", (at(0),)
        ).fetchall()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("wrong", [(3_600,), (3_600, 7_200), (90,), (10**8,)])
def test_a_death_after_a_restart_opens_its_gap(tmp_path: Path, restarts: bool, wrong: tuple[float, ...]):
    made = Plant(tmp_path / "records.db")
    made.live(2, 1, 2)
    for stamp in wrong:
        made.live(3, stamp)
    made.live(9, 5, 9)
    if restarts:
        made.restart()
    made.dies(20)
    assert made.gaps() == [("death", "open", 9)]
    made.close()


@pytest.mark.parametrize("restarts", [False, True])
def test_metrics_of_one_way_are_looked_at_together(tmp_path: Path, restarts: bool):
    made = Plant(tmp_path / "records.db")
    made.live(9, 9)
    made.live(9, 5, metric=TEMPERATURE)
    made.live(10, 3_600)
    if restarts:
        made.restart()
    made.dies(20)
    assert made.gaps() == [("death", "open", 9)]
    made.close()


def test_a_clock_that_was_never_right_opens_none(tmp_path: Path):
    made = Plant(tmp_path / "records.db")
    for number in range(5):
        made.live(number, 10_000 * (number + 1))
    made.restart()
    made.dies(20)
    assert made.gaps() == []
    made.close()
