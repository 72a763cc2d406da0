"""The figures that the documentation states."""

from __future__ import annotations

import pytest

from benchmarks.b2mml import measure


@pytest.mark.long
def test_ten_thousand_orders_take_less_than_200_mb_and_10_s():
    figure = next(figure for figure in measure() if figure.what == "read_schedule")
    assert figure.peak_mb < 200
    assert figure.cpu_seconds < 10
