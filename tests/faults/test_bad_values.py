"""Strange values and wrong wiring: what fits the type arrives exactly, what does not is refused and counted."""

from __future__ import annotations

import json

import pytest

from tests.faults.campaign import ODD_METRICS
from tests.faults.plant import Options, edge_terms, plant
from tests.faults.process import until

pytestmark = pytest.mark.integration

WRONG = (
    ("odd/text", "Float", "Odd.Text"),
    ("odd/negative", "UInt32", "Odd.Negative"),
    ("odd/nowhere", "Float", "Odd.Nowhere"),  # the PLC has no such node
)


async def test_strange_values_arrive_exactly_and_wrong_ones_are_refused_while_all_else_goes_on(tmp_path):
    async with plant(tmp_path, Options(beside=ODD_METRICS + WRONG)) as made:
        await until(lambda: edge_terms(made.edge_stats())["refused"] > 20, "wrong types are refused and counted")
        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=True) == []

        scans = len(made.oracle().scans)
        exact = dict(
            made.query(
                "SELECT metric || '=' || coalesce(value_text, value_int, value_num, 'null'), count(*) FROM records"
                " WHERE metric LIKE 'odd/%' AND quality = 'good' GROUP BY 1"
            )
        )
        assert exact[f"odd/largest={2**64 - 1}"] >= scans
        assert exact[f"odd/smallest={-(2**63)}"] >= scans
        assert {key.split("=")[0] for key in exact} == {name for name, _, _ in ODD_METRICS}
        ticks = [json.loads(payload) for payload in made.observer.ticks]
        samples = {(s["metric"], s.get("value"), s.get("special")) for tick in ticks for s in tick["samples"]}
        assert ("odd/nan", None, "NaN") in samples
        assert ("odd/infinity", None, "-Infinity") in samples
        assert ("odd/largest", str(2**64 - 1), None) in samples
        said = made.edge.output
        assert "Odd.Nowhere" in said, "an unknown node id is told"
        assert said.count("Odd.Nowhere") < 10, "and told once, not at each scan"
        assert "Traceback" not in said + made.host.output
