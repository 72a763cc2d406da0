"""Trees for tests: everything a test is not about has a default."""

from __future__ import annotations

import textwrap

from uns.namespace.loader import lint_text
from uns.namespace.model import TopicTree

PUMP = "{type: Float, unit: MQH}"
EQUIPMENT = "pump1: {level: Unit, class: Pump, gateways: [gw-1]}"


def tree_text(
    *, metric: str = PUMP, name: str = "flow", equipment: str = EQUIPMENT, context: str = "{}", requires: str = "[]"
) -> str:
    indented = textwrap.indent(textwrap.dedent(equipment).strip(), "      ")
    return (
        "uns: 1\nenterprise: acme\nclasses:\n  Pump:\n"
        f"    context: {{requires: {requires}}}\n    metrics:\n      {name}: {metric}\n"
        f"sites:\n  dallas:\n    time_zone: America/Chicago\n    equipment:\n{indented}\ncontext: {context}\n"
    )


def make_tree(**parts: str) -> TopicTree:
    return tree_of(tree_text(**parts))


def tree_of(text: str) -> TopicTree:
    tree, findings = lint_text(text)
    assert tree is not None, "\n".join(str(finding) for finding in findings)
    return tree


def rules_of(text: str) -> list[str]:
    """The rules that a text breaks, from the top; warnings with their word before them."""
    return [f.rule if f.severity == "error" else f"warning: {f.rule}" for f in lint_text(text)[1]]
