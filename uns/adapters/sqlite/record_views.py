"""The fourth step of ``records.db``: gaps, and the views that analysts ask; ``docs/reference/sql.md`` explains them.

The views of samples look their interval up by its start, not by overlap: intervals tile time, so the last one that
begins before a sample holds it. A look-up then costs the same however many intervals there are, and who asks for a
work order still begins at its intervals.
"""

from __future__ import annotations

from collections.abc import Callable

from uns.context.levels import DEFINITION_STATES, NEVER_STATES
from uns.enrichment.plan import MAX_NS

__all__ = ["fourth_step", "seventh_step"]

_Time = Callable[[str], str]
_SECOND_NS = 1_000_000_000
# Seconds that 64 bits of nanoseconds hold whole: no sample lies outside, and sums do not overflow.
_FIRST_NS, _LAST_NS = -9_223_372_036 * _SECOND_NS, 9_223_372_036 * _SECOND_NS

_TABLES = """
        CREATE TABLE gap_revisions (
            position INTEGER PRIMARY KEY,
            gap INTEGER NOT NULL,
            rev INTEGER NOT NULL,
            equipment TEXT NOT NULL,
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            reason TEXT NOT NULL,
            status TEXT NOT NULL,
            from_ns INTEGER NOT NULL,
            to_ns INTEGER NOT NULL,
            closed_by TEXT,
            samples INTEGER,
            detail TEXT NOT NULL,
            known_from_ns INTEGER NOT NULL,
            known_to_ns INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX gaps_by_time ON gap_revisions (equipment, known_to_ns, from_ns);
        CREATE TABLE ways (
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            equipment TEXT NOT NULL,
            session TEXT NOT NULL,
            PRIMARY KEY (group_id, edge_node_id, device_id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX facts_by_known_at ON facts (known_at_ns);
        CREATE INDEX context_intervals_by_start ON context_intervals (equipment, from_ns);
        CREATE INDEX context_intervals_by_order ON context_intervals (work_order, known_to_ns)"""

_SAMPLES = """samples
            JOIN series ON series.series = samples.series
            JOIN payloads ON payloads.payload = samples.payload"""


def _records(columns: str) -> str:
    # The unary + keeps these bounds from the index, which would look through all intervals before the sample; who
    # begins at intervals of an order still finds their samples by them.
    held = f"""context_intervals.equipment = series.equipment
                AND context_intervals.known_to_ns = {MAX_NS}
                AND context_intervals.from_ns = (
                    SELECT max(i.from_ns) FROM context_intervals AS i WHERE i.equipment = series.equipment
                    AND i.known_to_ns = {MAX_NS} AND i.from_ns <= samples.source_time_ns)
                AND +context_intervals.from_ns <= samples.source_time_ns
                AND +context_intervals.to_ns > samples.source_time_ns"""  # noqa: S608 - numbers of ours
    return f"CREATE VIEW records AS SELECT {columns} FROM {_SAMPLES} JOIN context_intervals ON {held}"  # noqa: S608


def _records_as_known_at(columns: str) -> str:
    """A view with a parameter: the hidden column of json_each takes what ``WHERE as_known_at_ns = …`` says.

    Any connection can read it, a read-only one too; without the condition it has no rows.
    """
    return f"""
        CREATE VIEW records_as_known_at AS SELECT {columns},
            max(context_intervals.known_from_ns, payloads.recorded_at_ns) AS known_from_ns,
            context_intervals.known_to_ns AS known_to_ns,
            asked.json AS as_known_at_ns
        FROM json_each AS asked
            CROSS JOIN {_SAMPLES}
            JOIN context_intervals ON context_intervals.position = (
                SELECT i.position FROM context_intervals AS i
                WHERE i.equipment = series.equipment AND i.from_ns <= samples.source_time_ns
                AND i.known_from_ns <= asked.value AND i.known_to_ns > asked.value
                ORDER BY i.from_ns DESC LIMIT 1)
        WHERE payloads.recorded_at_ns <= asked.value"""  # noqa: S608


# The message of a fact that counts has the highest source_rev: digits compare as numbers of any length, before texts.
def _rank_parts(fact: str) -> tuple[str, ...]:
    text = f"{fact}.source_rev = '' OR {fact}.source_rev GLOB '*[^0-9]*'"
    digits = f"ltrim({fact}.source_rev, '0')"
    return (
        f"iif({text}, 1, 0)",
        f"iif({text}, 0, length({digits}))",
        f"iif({text}, '', {digits})",
        f"{fact}.source_rev",
    )


def _rank(fact: str) -> str:
    return f"({', '.join(_rank_parts(fact))})"


_FACTS_NOW = f"""
        CREATE VIEW facts_now AS SELECT
            facts.source AS source,
            facts.id AS id,
            facts.source_rev AS source_rev,
            facts.kind AS kind,
            facts.equipment AS equipment,
            facts.action AS action,
            facts.valid_from_ns AS valid_from_ns,
            facts.valid_to_ns AS valid_to_ns,
            facts.known_at_ns AS known_at_ns,
            facts.body AS body
        FROM facts
        WHERE facts.action <> 'delete' AND NOT EXISTS (
            SELECT 1 FROM facts AS later WHERE later.source = facts.source AND later.id = facts.id
            AND {_rank("later")} > {_rank("facts")})"""  # noqa: S608


def _whole(ns: str, *, up: bool) -> str:
    """The second in which a time lies, or the next one: rounded down or up."""
    remainder = f"(({ns} % {_SECOND_NS}) + {_SECOND_NS}) % {_SECOND_NS}"
    floor = f"({ns} - {remainder}) / {_SECOND_NS}"
    return f"({floor} + ({remainder} > 0))" if up else f"({floor})"


def _samples_between(equipment: str, from_ns: str, to_ns: str) -> str:
    """How many samples lie in [from, to): whole seconds from their sums, the ends by key."""
    start, end = f"max({from_ns}, {_FIRST_NS})", f"min({to_ns}, {_LAST_NS})"
    first, last = _whole(start, up=True), _whole(end, up=False)
    keys = (  # numbers and columns of ours
        "SELECT count(*) FROM samples WHERE samples.source_time_ns >= {} AND samples.source_time_ns < {} AND "  # noqa: S608
        f"samples.series IN (SELECT series.series FROM series WHERE series.equipment = {equipment})"
    )
    head = keys.format(start, f"min({first} * {_SECOND_NS}, {end})")
    tail = keys.format(f"max({first}, {last}) * {_SECOND_NS}", end)
    seconds = (
        "SELECT coalesce(sum(s.samples), 0) FROM samples_per_second AS s "  # noqa: S608
        f"WHERE s.equipment = {equipment} AND s.second >= {first} AND s.second < {last}"
    )
    return f"(({seconds}) + ({head}) + ({tail}))"


def _text(field: str, table: str) -> str:
    return f"json_extract({table}.body, '$.{field}')"


# A body names its job, and all of them where several run in parallel.
_JOBS = f"""json_each(coalesce({_text("job_orders", "context_intervals")},
            json_array({_text("job_order", "context_intervals")}))) AS jobs"""

_WORK_OF_JOB = f"""iif(jobs.value IS {_text("job_order", "context_intervals")}, context_intervals.work_order, (
                SELECT min({_text("work_order", "facts_now")}) FROM facts_now
                WHERE facts_now.kind = 'job' AND {_text("job_order", "facts_now")} = jobs.value))"""  # noqa: S608


def _order_runs(time: _Time) -> str:
    """Which job ran where, from when to when: a row for each stretch with one context, for parallel jobs each."""
    between = _samples_between("context_intervals.equipment", "context_intervals.from_ns", "context_intervals.to_ns")
    return f"""
        CREATE VIEW order_runs AS SELECT
            {_WORK_OF_JOB} AS work_order,
            jobs.value AS job_order,
            context_intervals.equipment AS equipment,
            context_intervals.status AS status,
            {time("context_intervals.from_ns")} AS from_time,
            {time("context_intervals.to_ns")} AS to_time,
            context_intervals.from_ns AS from_ns,
            context_intervals.to_ns AS to_ns,
            context_intervals.rev AS rev,
            context_intervals.reason AS reason,
            {between} AS samples
        FROM context_intervals, {_JOBS}
        WHERE context_intervals.known_to_ns = {MAX_NS}
            AND (context_intervals.work_order IS NOT NULL OR jobs.value IS NOT NULL)"""  # noqa: S608


def _words(words: frozenset[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))


# Samples of a job, from the stretches between its first and its last: found by equipment and time.
def _samples_of_order(status: str) -> str:
    between = _samples_between("context_intervals.equipment", "context_intervals.from_ns", "context_intervals.to_ns")
    where = f"AND context_intervals.status = '{status}'" if status else ""
    return f"""(SELECT coalesce(sum({between}), 0)
                FROM json_each(runs.equipment) AS places
                CROSS JOIN context_intervals ON context_intervals.equipment = places.value
                    AND context_intervals.known_to_ns = {MAX_NS}
                    AND context_intervals.from_ns >= runs.from_ns AND context_intervals.from_ns < runs.to_ns
                CROSS JOIN {_JOBS}
                WHERE coalesce(jobs.value, '') = orders.job
                    AND coalesce({_WORK_OF_JOB}, '') = orders.work {where})"""  # noqa: S608


def _orders(time: _Time) -> str:
    """A row for each job that was stated or ran."""
    state = f"lower(trim(coalesce({_text('state', 'f')}, 'running')))"
    key = f"coalesce({_text('job_order', 'f')}, '') AS job, coalesce({_text('work_order', 'f')}, '') AS work"
    is_job = f"f.kind = 'job' AND {_text('job_order', 'f')} IS NOT NULL"
    rank = ", ".join(f"{part} DESC" for part in _rank_parts("f"))
    planned = _words(DEFINITION_STATES)
    return f"""
        CREATE VIEW orders AS WITH
        stated AS (SELECT * FROM (SELECT {key}, f.equipment, f.valid_from_ns, f.valid_to_ns, {state} AS state,
            {state} NOT IN ({planned}, {_words(NEVER_STATES)}) AS is_actual, {state} IN ({planned}) AS is_plan,
            {_text("operation", "f")} AS operation, {_text("recipe", "f")} AS recipe,
            row_number() OVER (
                PARTITION BY coalesce({_text("job_order", "f")}, ''), coalesce({_text("work_order", "f")}, '')
                ORDER BY {state} NOT IN ({planned}, {_words(NEVER_STATES)}) DESC, f.valid_from_ns DESC,
                {rank}, f.id DESC, f.source DESC) AS place
            FROM facts_now AS f WHERE {is_job}) WHERE place = 1),
        planned AS (SELECT * FROM (SELECT {key}, f.valid_from_ns, f.valid_to_ns,
                {_text("operation", "f")} AS operation, {_text("recipe", "f")} AS recipe, row_number() OVER (
                PARTITION BY coalesce({_text("job_order", "f")}, ''), coalesce({_text("work_order", "f")}, '')
                ORDER BY {rank}, f.id DESC, f.source DESC) AS place
            FROM facts AS f JOIN facts_now ON facts_now.source = f.source AND facts_now.id = f.id
            WHERE {is_job} AND f.action <> 'delete' AND {state} IN ({planned})) WHERE place = 1),
        at_equipment AS (SELECT coalesce(order_runs.job_order, '') AS job, coalesce(order_runs.work_order, '') AS work,
            order_runs.equipment AS equipment, min(order_runs.from_ns) AS from_ns, max(order_runs.to_ns) AS to_ns
            FROM order_runs GROUP BY 1, 2, 3 ORDER BY 1, 2, 3),
        runs AS (SELECT job, work, json_group_array(equipment) AS equipment, min(from_ns) AS from_ns,
            max(to_ns) AS to_ns FROM at_equipment GROUP BY 1, 2),
        orders AS (SELECT job, work FROM stated UNION SELECT job, work FROM runs),
        times AS (SELECT orders.job AS job, orders.work AS work, stated.state AS said, stated.is_plan AS is_plan,
            stated.equipment AS place, stated.is_actual AND stated.valid_to_ns IS NULL AS is_open,
            coalesce(stated.operation, planned.operation) AS operation,
            coalesce(stated.recipe, planned.recipe) AS recipe,
            planned.valid_from_ns AS planned_from_ns, planned.valid_to_ns AS planned_to_ns,
            coalesce(runs.from_ns, iif(stated.is_actual, stated.valid_from_ns, NULL)) AS actual_from_ns,
            coalesce(runs.to_ns, iif(stated.is_actual, coalesce(stated.valid_to_ns, {MAX_NS}), NULL)) AS actual_to_ns
            FROM orders
            LEFT JOIN stated ON stated.job = orders.job AND stated.work = orders.work
            LEFT JOIN planned ON planned.job = orders.job AND planned.work = orders.work
            LEFT JOIN runs ON runs.job = orders.job AND runs.work = orders.work)
        SELECT
            nullif(orders.work, '') AS work_order,
            nullif(orders.job, '') AS job_order,
            orders.operation AS operation,
            orders.recipe AS recipe,
            CASE WHEN orders.actual_to_ns < {MAX_NS} AND (coalesce(orders.is_plan, 1) OR orders.is_open) THEN 'ended'
                WHEN orders.actual_to_ns IS NOT NULL AND coalesce(orders.is_plan, 1) THEN 'running'
                ELSE orders.said END AS state,
            orders.place AS equipment,
            runs.equipment AS ran_at,
            {time("orders.planned_from_ns")} AS planned_from_time,
            {time("orders.planned_to_ns")} AS planned_to_time,
            {time("orders.actual_from_ns")} AS actual_from_time,
            {time("orders.actual_to_ns")} AS actual_to_time,
            orders.planned_from_ns AS planned_from_ns,
            orders.planned_to_ns AS planned_to_ns,
            orders.actual_from_ns AS actual_from_ns,
            orders.actual_to_ns AS actual_to_ns,
            {_samples_of_order("")} AS samples,
            {_samples_of_order("resolved")} AS samples_resolved,
            {_samples_of_order("unresolved")} AS samples_unresolved
        FROM times AS orders LEFT JOIN runs ON runs.job = orders.job AND runs.work = orders.work"""  # noqa: S608


def seventh_step(time: _Time) -> str:
    """``orders`` anew: it said `running` of a job that something else had ended, and counted what a namesake made."""
    return f"DROP VIEW orders;\n{_orders(time)}"


def _lots(time: _Time) -> str:
    """Which lot was where, from when to when."""
    use = _text("use", "facts_now")
    between = _samples_between("context_intervals.equipment", "context_intervals.from_ns", "context_intervals.to_ns")
    return f"""
        CREATE VIEW lots AS SELECT
            lots.value AS lot,
            context_intervals.equipment AS equipment,
            {_text("material", "context_intervals")} AS material,
            context_intervals.work_order AS work_order,
            {time("context_intervals.from_ns")} AS from_time,
            {time("context_intervals.to_ns")} AS to_time,
            context_intervals.from_ns AS from_ns,
            context_intervals.to_ns AS to_ns,
            context_intervals.rev AS rev,
            {_text("job_order", "context_intervals")} AS job_order,
            (SELECT iif(min({use}) = max({use}), min({use}), NULL) FROM facts_now
                WHERE facts_now.kind = 'lot' AND {_text("lot", "facts_now")} = lots.value) AS use,
            context_intervals.status AS status,
            {between} AS samples
        FROM context_intervals, json_each(context_intervals.body, '$.lots') AS lots
        WHERE context_intervals.known_to_ns = {MAX_NS}"""  # noqa: S608


def _gaps(time: _Time, *, all_revisions: bool) -> str:
    name, more = ("gaps_all_revisions", "") if all_revisions else ("gaps", f" WHERE known_to_ns = {MAX_NS}")
    return f"""
        CREATE VIEW {name} AS SELECT
            gap_revisions.equipment AS equipment,
            gap_revisions.status AS status,
            gap_revisions.reason AS reason,
            {time("gap_revisions.from_ns")} AS from_time,
            {time("gap_revisions.to_ns")} AS to_time,
            gap_revisions.from_ns AS from_ns,
            gap_revisions.to_ns AS to_ns,
            gap_revisions.samples AS samples,
            gap_revisions.detail AS detail,
            gap_revisions.group_id AS group_id,
            gap_revisions.edge_node_id AS edge_node_id,
            nullif(gap_revisions.device_id, '') AS device_id,
            gap_revisions.gap AS gap,
            gap_revisions.rev AS rev,
            gap_revisions.known_from_ns AS known_from_ns,
            gap_revisions.known_to_ns AS known_to_ns
        FROM gap_revisions{more}"""  # noqa: S608


def fourth_step(columns: str, time: _Time) -> str:
    """The script. ``columns`` are those of ``records``; ``time`` renders a column of nanoseconds."""
    return ";\n".join([
        _TABLES,
        "DROP VIEW records",
        _records(columns),
        _records_as_known_at(columns),
        _FACTS_NOW,
        _order_runs(time),
        _orders(time),
        _lots(time),
        _gaps(time, all_revisions=False),
        _gaps(time, all_revisions=True),
    ])  # fmt: skip
