"""The figures that the documentation states."""

from __future__ import annotations

import pytest

from benchmarks.b2mml import measure


@pytest.mark.long
@pytest.mark.timeout(180)
def test_ten_thousand_orders_take_less_than_200_mb_and_10_s():
    figures = {figure.what: figure for figure in measure()}
    assert figures["read_schedule"].peak_mb < 200
    assert figures["read_schedule"].cpu_seconds < 10
    assert figures["whole way in"].peak_mb < 200
    assert figures["whole way in"].seconds < 10
