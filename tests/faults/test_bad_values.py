"""Strange values and wrong wiring: what fits the type arrives exactly, what does not is refused and counted."""

from __future__ import annotations

import json

import pytest

from tests.faults.counter_plc import NAMESPACE_URI
from tests.faults.plant import Options, edge_terms, plant
from tests.faults.process import until

pytestmark = pytest.mark.integration

STRANGE = {  # metric: (datatype in the tree, node)
    "odd/nan": ("Double", "Odd.Nan"),
    "odd/infinity": ("Double", "Odd.Infinity"),
    "odd/largest": ("UInt64", "Odd.Largest"),
    "odd/smallest": ("Int64", "Odd.Smallest"),
    "odd/text": ("Float", "Odd.Text"),
    "odd/negative": ("UInt32", "Odd.Negative"),
    "odd/nowhere": ("Float", "Odd.Nowhere"),  # the PLC has no such node
}


async def test_strange_values_arrive_exactly_and_wrong_ones_are_refused_while_all_else_goes_on(tmp_path):
    options = Options(
        odd=True,
        extra_metrics="".join(f"      {name}: {{type: {datatype}}}\n" for name, (datatype, _) in STRANGE.items()),
        extra_wiring="".join(
            f'        {name}: {{node: "nsu={NAMESPACE_URI};s={node}"}}\n' for name, (_, node) in STRANGE.items()
        ),
    )
    async with plant(tmp_path, options) as made:
        await until(lambda: edge_terms(made.edge_stats())["refused"] > 20, "wrong types are refused and counted")
        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=True) == []

        def values(metric):
            return {
                row[:3]
                for row in made.query(
                    f"SELECT value_num, value_int, value_text FROM records"
                    f" WHERE metric = '{metric}' AND quality = 'good' AND from_birth = 0"
                )
            }

        assert values("odd/largest") == {(None, None, str(2**64 - 1))} or any(
            str(2**64 - 1) in map(str, row) for row in values("odd/largest")
        )
        assert any(-(2**63) in row for row in values("odd/smallest"))
        assert values("odd/text") == set()
        assert values("odd/negative") == set()
        assert values("odd/nowhere") == set()
        ticks = [json.loads(payload) for payload in made.observer.ticks]
        samples = {(s["metric"], s.get("value"), s.get("special")) for tick in ticks for s in tick["samples"]}
        assert ("odd/nan", None, "NaN") in samples
        assert ("odd/infinity", None, "-Infinity") in samples
        assert ("odd/largest", str(2**64 - 1), None) in samples
        said = made.edge.output
        assert "Odd.Nowhere" in said, "an unknown node id is told"
        assert said.count("Odd.Nowhere") < 10, "and told once, not at each scan"
        assert "Traceback" not in said + made.host.output
