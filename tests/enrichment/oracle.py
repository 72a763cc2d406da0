"""The as-of join written down a second time, as plainly and slowly as possible: one question, one answer.

It knows only the set of facts and samples, so it cannot depend on an order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from uns.context.facts import Fact
from uns.context.times import MAX_NS, ns_of, rfc3339
from uns.namespace.model import TopicTree

PLANNED = {"released", "planned", "forecast", "waiting", "pending", "dispatched", "ready", "loaded"}
KINDS = ("job", "lot", "material", "person", "placement", "recipe_phase", "shift")
SETS = ("lot", "material", "person")

# (equipment, metric, kind, source_time_ns, ordinal, value)
Step = tuple[str, str, str, int, int, str]
# (from, to, order, source, content, ref, nothing)
Row = tuple[int, int, tuple[Any, ...], str, tuple[Any, ...], str, bool]


def revision_key(text: str) -> tuple[Any, ...]:
    return (0, int(text), text) if text.isdigit() else (1, 0, text)


class Counted(list[Fact]):
    """The messages that count, and for each fact the revision that first said what counts."""

    stated: dict[tuple[str, str], str]


def counting(facts: Iterable[Fact]) -> Counted:
    by_fact: dict[tuple[str, str], dict[str, Fact]] = {}
    for fact in facts:
        by_fact.setdefault((fact.source, fact.id), {})[fact.source_rev] = fact
    counted = Counted()
    counted.stated = {}
    for key, messages in by_fact.items():
        newest_first = sorted(messages.values(), key=lambda f: revision_key(f.source_rev), reverse=True)
        top = newest_first[0]
        if top.action == "delete":
            continue
        counted.append(top)
        alike = takewhile(lambda f, top=top: claim_of(f) == claim_of(top), newest_first)  # type: ignore[misc]
        counted.stated[key] = top.source_rev if claim_of(top) is None else list(alike)[-1].source_rev
    return counted


def claim_of(fact: Fact) -> tuple[Any, ...] | None:
    """What a message claims, its times aside; None where it claims nothing."""
    if fact.action == "delete":
        return None
    if fact.kind == "job":
        if fact.job_order is not None and (fact.state or "") in (*PLANNED, "cancelled"):
            return None
        return ("job", fact.equipment, fact.job_order, fact.work_order, fact.operation, fact.recipe)
    if fact.kind == "lot":
        return ("lot", fact.equipment, fact.lot, fact.material, fact.use)
    return (fact.kind, fact.equipment, name_of(fact))


def name_of(fact: Fact) -> str:
    if fact.kind == "job":
        return fact.job_order or "idle"
    field = {"recipe_phase": "phase"}.get(fact.kind, fact.kind)
    return str(getattr(fact, field))


def context_at(tree: TopicTree, facts: Iterable[Fact], steps: Iterable[Step], equipment: str, t: int) -> dict[str, Any]:
    """Everything that the record of a sample of ``equipment`` at ``t`` says of its circumstances."""
    counted = counting(facts)
    steps = sorted(steps, key=lambda s: (s[3], s[4]))
    chosen = {kind: choose(tree, counted, steps, equipment, kind, t) for kind in KINDS}
    holds = False
    for kind in KINDS:
        if chosen[kind] is None:
            chosen[kind] = bridged(tree, counted, steps, equipment, kind, t)
            holds = holds or chosen[kind] is not None
    return body(tree, equipment, {k: v for k, v in chosen.items() if v is not None}, holds)


def choose(tree: TopicTree, facts: Counted, steps: list[Step], equipment: str, kind: str, t: int) -> list[Row] | None:
    for level in tree.lineage(equipment):
        rows = [row for row in rows_of(tree, facts, steps, level.id, kind) if row[0] <= t < row[1]]
        if rows and kind in SETS:
            return sorted(rows, key=lambda row: row[5])
        if rows:
            best = max(rows, key=lambda row: row[2])
            equipment_class = tree.class_of(level.id)
            if kind == "job" and equipment_class is not None and equipment_class.allow_parallel and not best[6]:
                return [best, *sorted((r for r in rows if r is not best and not r[6]), key=lambda r: r[5])]
            return [best]
    return None


def bridged(tree: TopicTree, facts: Counted, steps: list[Step], equipment: str, kind: str, t: int) -> list[Row] | None:
    if not any(source.bridge_ns for source in tree.context.values()):
        return None
    ends, starts = [], []
    for level in tree.lineage(equipment):
        for row in rows_of(tree, facts, steps, level.id, kind):
            if row[1] <= t:
                ends.append(row[1])
            if row[0] > t:
                starts.append(row[0])
    if not ends or not starts:
        return None
    before = choose(tree, facts, steps, equipment, kind, max(ends) - 1)
    after = choose(tree, facts, steps, equipment, kind, min(starts))
    if before is None or after is None or [(r[3], r[4]) for r in before] != [(r[3], r[4]) for r in after]:
        return None
    allowed = min(tree.context[row[3]].bridge_ns for row in after)
    return before if min(starts) - max(ends) <= allowed else None


def rows_of(tree: TopicTree, facts: Counted, steps: list[Step], equipment: str, kind: str) -> list[Row]:
    here = [f for f in facts if f.equipment == equipment and f.kind == kind]
    if kind == "job":
        here = [f for f in here if f.job_order is None or (f.state or "") not in (*PLANNED, "cancelled")]
    rows: list[Row] = []
    for fact in here:
        start = ns_of(fact.valid_from)
        assert start is not None
        if fact.valid_to is not None:
            end = ns_of(fact.valid_to)
        elif kind in ("person", "material"):
            end = MAX_NS
        else:
            end = min(
                (
                    ns_of(other.valid_from) or 0
                    for other in here
                    if other.source == fact.source
                    and (kind != "lot" or other.use == fact.use)
                    and (ns_of(other.valid_from) or 0) > start
                    and not other.also
                ),
                default=MAX_NS,
            )
        assert end is not None
        content: tuple[Any, ...] = (name_of(fact),)
        if kind == "job":
            content = (fact.job_order, fact.work_order, fact.operation, fact.recipe)
        elif kind == "lot":
            content = (fact.lot, fact.material)
        order = (tree.context[fact.source].precedence, start, revision_key(fact.source_rev), fact.id, fact.source)
        ref = f"{kind}:{name_of(fact)}@{facts.stated[fact.source, fact.id]}"
        rows.append((start, end, order, fact.source, content, ref, kind == "job" and fact.job_order is None))
    return rows + plc_rows(tree, facts, steps, equipment, kind)


def plc_rows(tree: TopicTree, facts: Counted, steps: list[Step], equipment: str, kind: str) -> list[Row]:
    rows: list[Row] = []
    for metric in {s[1] for s in steps if s[0] == equipment and s[2] == kind}:
        mine = [s for s in steps if s[0] == equipment and s[1] == metric]
        runs: list[list[Any]] = []
        for step in mine:
            if not runs or runs[-1][2] != step[5]:
                if runs:
                    runs[-1][1] = step[3]
                runs.append([step[3], MAX_NS, step[5]])
        for start, end, value in runs:
            if start >= end:
                continue
            row = plc_row(tree, facts, equipment, metric, kind, start, end, value)
            if row is not None:
                rows.append(row)
    return rows


def plc_row(
    tree: TopicTree, facts: Counted, equipment: str, metric: str, kind: str, start: int, end: int, value: str
) -> Row | None:
    name, revision, content = value, "plc", (value,)
    if kind == "lot":
        content = (value, None)  # type: ignore[assignment]
    if kind == "job" and value:
        definition = definition_of(tree, facts, equipment, value, start)
        if definition is None:
            return None
        name, revision = definition.job_order or "", f"{definition.source_rev}/plc"
        content = (  # type: ignore[assignment]
            definition.job_order,
            definition.work_order,
            definition.operation,
            definition.recipe,
        )
    name = name or ("idle" if kind == "job" else "none")
    plc = tree.context.get("plc")
    order = (0 if plc is None else plc.precedence, start, (0, 0, ""), f"{equipment}:{metric}", "plc")
    return start, end, order, "plc", content if value else (), f"{kind}:{name}@{revision}:{rfc3339(start)}", not value


def definition_of(tree: TopicTree, facts: Counted, equipment: str, program: str, start: int) -> Fact | None:
    for level in tree.lineage(equipment):
        fitting = [
            f
            for f in facts
            if f.equipment == level.id
            and f.kind == "job"
            and f.job_order is not None
            and (f.state or "") in PLANNED
            and (f.recipe == program or (f.recipe or "").startswith(program + "@"))
        ]
        if fitting:

            def rank(f: Fact) -> tuple[Any, ...]:
                begin, end = ns_of(f.valid_from) or 0, None if f.valid_to is None else ns_of(f.valid_to)
                rest = (revision_key(f.source_rev), f.id, f.source)
                precedence = tree.context[f.source].precedence
                if begin > start:
                    return (1, precedence, -begin, *rest)
                return (0 if end is not None and end <= start else 2, precedence, begin, *rest)

            return max(fitting, key=rank)
    return None


def body(tree: TopicTree, equipment: str, chosen: dict[str, list[Row]], holds: bool) -> dict[str, Any]:
    equipment_class = tree.class_of(equipment)
    requires = () if equipment_class is None else equipment_class.requires

    def contents(kind: str) -> list[tuple[Any, ...]]:
        return [row[4] for row in chosen.get(kind, []) if not row[6]]

    missing = sorted(kind for kind in requires if not contents(kind))
    found: dict[str, Any] = {"status": "unresolved" if missing else "resolved", "missing": missing}
    if "job" in requires and "job" in chosen and chosen["job"][0][6]:
        found = {"status": "unassigned"}
    elif not missing and holds:
        found["hold"] = True
    if contents("job") and not chosen["job"][0][6]:
        found |= dict(zip(("job_order", "work_order", "operation", "recipe"), contents("job")[0], strict=True))
        names = sorted({c[0] for c in contents("job")})
        found["job_orders"] = names if len(names) > 1 else []
    found["lots"] = sorted({c[0] for c in contents("lot")})
    materials = sorted({c[0] for c in contents("material")})
    if "material" not in chosen:
        materials = sorted({c[1] for c in contents("lot") if c[1]})
    found["material" if len(materials) == 1 else "materials"] = materials[0] if len(materials) == 1 else materials
    found["persons"] = sorted({c[0] for c in contents("person")})
    for kind, field in (("recipe_phase", "phase"), ("shift", "shift"), ("placement", "placement")):
        found[field] = contents(kind)[0][0] if contents(kind) else None
    found["facts"] = sorted({row[5] for rows in chosen.values() for row in rows})
    return {name: value for name, value in found.items() if value not in (None, [], False)}
