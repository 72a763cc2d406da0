"""The second step of the schema in PostgreSQL: gaps, and views with the columns that those of ``records.db`` have.

Views of samples look their interval up by its start, as in SQLite: intervals tile time.
"""

from __future__ import annotations

from uns.context.levels import DEFINITION_STATES, NEVER_STATES
from uns.enrichment.plan import MAX_NS

__all__ = ["second_step", "third_step"]

_TABLES = """
CREATE TABLE {schema}.gap_revisions (
    position bigint PRIMARY KEY,
    gap bigint NOT NULL,
    rev bigint NOT NULL,
    equipment text NOT NULL,
    group_id text NOT NULL,
    edge_node_id text NOT NULL,
    device_id text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL,
    from_ns bigint NOT NULL,
    to_ns bigint NOT NULL,
    closed_by text,
    samples bigint,
    detail text NOT NULL,
    known_from_ns bigint NOT NULL,
    known_to_ns bigint NOT NULL
);
CREATE FUNCTION {schema}.time_or_null(ns bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    nullif(nullif({schema}.time_of(ns), 'infinity'), '-infinity');
CREATE INDEX gaps_by_time ON {schema}.gap_revisions (equipment, known_to_ns, from_ns);
CREATE INDEX context_intervals_by_start ON {schema}.context_intervals (equipment, from_ns);"""

_SAMPLES = """{schema}.samples
    JOIN {schema}.series ON series.series = samples.series
    JOIN {schema}.payloads ON payloads.payload = samples.payload"""


def _records(columns: str) -> str:
    return f"""
CREATE OR REPLACE VIEW {{schema}}.records AS SELECT {columns}
FROM {_SAMPLES}
    JOIN {{schema}}.context_intervals ON context_intervals.equipment = series.equipment
        AND context_intervals.known_to_ns = {MAX_NS}
        AND context_intervals.from_ns <= samples.source_time_ns
        AND context_intervals.to_ns > samples.source_time_ns
        AND context_intervals.from_ns = (
            SELECT max(i.from_ns) FROM {{schema}}.context_intervals AS i WHERE i.equipment = series.equipment
            AND i.known_to_ns = {MAX_NS} AND i.from_ns <= samples.source_time_ns);"""  # noqa: S608 - ours


def _records_as_known_at(columns: str) -> str:
    return f"""
CREATE OR REPLACE FUNCTION {{schema}}.records_as_known_at(t timestamptz)
RETURNS SETOF {{schema}}.records_all_revisions LANGUAGE sql STABLE AS $$
    SELECT {columns},
        greatest(context_intervals.known_from_ns, payloads.recorded_at_ns) AS known_from_ns,
        context_intervals.known_to_ns AS known_to_ns
    FROM {_SAMPLES}
        JOIN {{schema}}.context_intervals ON context_intervals.position = (
            SELECT i.position FROM {{schema}}.context_intervals AS i
            WHERE i.equipment = series.equipment AND i.from_ns <= samples.source_time_ns
            AND i.known_from_ns <= {{schema}}.ns_of(t) AND i.known_to_ns > {{schema}}.ns_of(t)
            ORDER BY i.from_ns DESC LIMIT 1)
    WHERE payloads.recorded_at_ns <= {{schema}}.ns_of(t)
$$;"""  # noqa: S608 - ours


# The message of a fact that counts has the highest source_rev: digits compare as numbers of any length, before texts.
def _rank(fact: str) -> tuple[str, ...]:
    text = f"{fact}.source_rev !~ '^[0-9]+$'"
    digits = f"ltrim({fact}.source_rev, '0')"
    return (
        f"({text})",
        f"CASE WHEN {text} THEN 0 ELSE length({digits}) END",
        f"CASE WHEN {text} THEN '' ELSE {digits} END COLLATE \"C\"",
        f'{fact}.source_rev COLLATE "C"',
    )


def _facts_now() -> str:
    return f"""
CREATE VIEW {{schema}}.facts_now AS SELECT
    f.source, f.id, f.source_rev, f.kind, f.equipment, f.action, f.valid_from_ns, f.valid_to_ns, f.known_at_ns, f.body
FROM {{schema}}.facts AS f
WHERE f.action <> 'delete' AND NOT EXISTS (
    SELECT 1 FROM {{schema}}.facts AS later WHERE later.source = f.source AND later.id = f.id
    AND ROW({", ".join(_rank("later"))}) > ROW({", ".join(_rank("f"))}));"""  # noqa: S608 - ours


_SAMPLES_OF_INTERVAL = """(
    SELECT count(*) FROM {schema}.samples JOIN {schema}.series ON series.series = samples.series
    WHERE samples.source_time_ns >= i.from_ns AND samples.source_time_ns < i.to_ns
    AND series.equipment = i.equipment)"""

# A body names its job, and all of them where several run in parallel.
_JOBS = """CROSS JOIN LATERAL jsonb_array_elements_text(CASE jsonb_typeof(i.body -> 'job_orders')
    WHEN 'array' THEN i.body -> 'job_orders' ELSE jsonb_build_array(i.body -> 'job_order') END) AS jobs (job)"""

_WORK_OF_JOB = """CASE WHEN jobs.job IS NOT DISTINCT FROM i.body ->> 'job_order' THEN i.work_order ELSE (
        SELECT min(f.body ->> 'work_order' COLLATE "C") FROM {schema}.facts_now AS f
        WHERE f.kind = 'job' AND f.body ->> 'job_order' = jobs.job) END"""


def _order_runs() -> str:
    return f"""
CREATE VIEW {{schema}}.order_runs AS SELECT
    {_WORK_OF_JOB} AS work_order,
    jobs.job AS job_order,
    i.equipment,
    i.status,
    {{schema}}.time_or_null(i.from_ns) AS from_time,
    {{schema}}.time_or_null(i.to_ns) AS to_time,
    i.from_ns,
    i.to_ns,
    i.rev,
    i.reason,
    {_SAMPLES_OF_INTERVAL} AS samples
FROM {{schema}}.context_intervals AS i {_JOBS}
WHERE i.known_to_ns = {MAX_NS} AND (i.work_order IS NOT NULL OR jobs.job IS NOT NULL);"""  # noqa: S608 - ours


def _words(words: frozenset[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))


def _samples_of_order(status: str) -> str:
    where = f"AND i.status = '{status}'" if status else ""
    return f"""(SELECT coalesce(sum({_SAMPLES_OF_INTERVAL}), 0)::bigint
        FROM {{schema}}.context_intervals AS i {_JOBS}
        WHERE i.equipment IN (SELECT jsonb_array_elements_text(runs.equipment)) AND i.known_to_ns = {MAX_NS}
        AND i.from_ns >= runs.from_ns AND i.from_ns < runs.to_ns
        AND coalesce(jobs.job, '') = orders.job AND coalesce({_WORK_OF_JOB}, '') = orders.work {where})"""  # noqa: S608


def _orders() -> str:
    state = "lower(trim(coalesce(f.body ->> 'state', 'running')))"
    job, work = "coalesce(f.body ->> 'job_order', '')", "coalesce(f.body ->> 'work_order', '')"
    rank = ", ".join(f"{part} DESC" for part in _rank("f"))
    planned, never = _words(DEFINITION_STATES), _words(NEVER_STATES)
    ties = 'f.id COLLATE "C" DESC, f.source COLLATE "C" DESC'
    return f"""
CREATE OR REPLACE VIEW {{schema}}.orders AS WITH
stated AS (SELECT DISTINCT ON ({job}, {work}) {job} AS job, {work} AS work, f.equipment, f.valid_from_ns,
    f.valid_to_ns, {state} AS state, {state} NOT IN ({planned}, {never}) AS is_actual,
    {state} IN ({planned}) AS is_plan,
    f.body ->> 'operation' AS operation, f.body ->> 'recipe' AS recipe
    FROM {{schema}}.facts_now AS f WHERE f.kind = 'job' AND f.body ->> 'job_order' IS NOT NULL
    ORDER BY {job}, {work}, {state} NOT IN ({planned}, {never}) DESC, f.valid_from_ns DESC, {rank}, {ties}),
planned AS (SELECT DISTINCT ON ({job}, {work}) {job} AS job, {work} AS work, f.valid_from_ns, f.valid_to_ns,
    f.body ->> 'operation' AS operation, f.body ->> 'recipe' AS recipe
    FROM {{schema}}.facts AS f JOIN {{schema}}.facts_now ON facts_now.source = f.source AND facts_now.id = f.id
    WHERE f.kind = 'job' AND f.body ->> 'job_order' IS NOT NULL AND f.action <> 'delete' AND {state} IN ({planned})
    ORDER BY {job}, {work}, {rank}, {ties}),
at_equipment AS (SELECT coalesce(job_order, '') AS job, coalesce(work_order, '') AS work, equipment,
    min(from_ns) AS from_ns, max(to_ns) AS to_ns FROM {{schema}}.order_runs GROUP BY 1, 2, 3),
runs AS (SELECT job, work, jsonb_agg(equipment ORDER BY equipment COLLATE "C") AS equipment, min(from_ns) AS from_ns,
    max(to_ns) AS to_ns FROM at_equipment GROUP BY 1, 2),
keys AS (SELECT job, work FROM stated UNION SELECT job, work FROM runs),
orders AS (SELECT keys.job, keys.work, stated.state AS said, stated.is_plan, stated.equipment AS place,
    stated.is_actual AND stated.valid_to_ns IS NULL AS is_open,
    coalesce(stated.operation, planned.operation) AS operation, coalesce(stated.recipe, planned.recipe) AS recipe,
    planned.valid_from_ns AS planned_from_ns, planned.valid_to_ns AS planned_to_ns,
    coalesce(runs.from_ns, CASE WHEN stated.is_actual THEN stated.valid_from_ns END) AS actual_from_ns,
    coalesce(runs.to_ns, CASE WHEN stated.is_actual THEN coalesce(stated.valid_to_ns, {MAX_NS}) END) AS actual_to_ns
    FROM keys
    LEFT JOIN stated ON stated.job = keys.job AND stated.work = keys.work
    LEFT JOIN planned ON planned.job = keys.job AND planned.work = keys.work
    LEFT JOIN runs ON runs.job = keys.job AND runs.work = keys.work)
SELECT
    nullif(orders.work, '') AS work_order,
    nullif(orders.job, '') AS job_order,
    orders.operation,
    orders.recipe,
    CASE WHEN orders.actual_to_ns < {MAX_NS} AND (coalesce(orders.is_plan, true) OR orders.is_open) THEN 'ended'
        WHEN orders.actual_to_ns IS NOT NULL AND coalesce(orders.is_plan, true) THEN 'running'
        ELSE orders.said END AS state,
    orders.place AS equipment,
    runs.equipment AS ran_at,
    {{schema}}.time_or_null(orders.planned_from_ns) AS planned_from_time,
    {{schema}}.time_or_null(orders.planned_to_ns) AS planned_to_time,
    {{schema}}.time_or_null(orders.actual_from_ns) AS actual_from_time,
    {{schema}}.time_or_null(orders.actual_to_ns) AS actual_to_time,
    orders.planned_from_ns,
    orders.planned_to_ns,
    orders.actual_from_ns,
    orders.actual_to_ns,
    {_samples_of_order("")} AS samples,
    {_samples_of_order("resolved")} AS samples_resolved,
    {_samples_of_order("unresolved")} AS samples_unresolved
FROM orders LEFT JOIN runs ON runs.job = orders.job AND runs.work = orders.work;"""  # noqa: S608 - ours


def _lots() -> str:
    use = "f.body ->> 'use' COLLATE \"C\""
    return f"""
CREATE OR REPLACE VIEW {{schema}}.lots AS SELECT
    lot.lot,
    i.equipment,
    i.body ->> 'material' AS material,
    i.work_order,
    {{schema}}.time_or_null(i.from_ns) AS from_time,
    {{schema}}.time_or_null(i.to_ns) AS to_time,
    i.from_ns,
    i.to_ns,
    i.rev,
    i.body ->> 'job_order' AS job_order,
    (SELECT CASE WHEN min({use}) = max({use}) THEN min({use}) END FROM {{schema}}.facts_now AS f
        WHERE f.kind = 'lot' AND f.body ->> 'lot' = lot.lot) AS use,
    i.status,
    {_SAMPLES_OF_INTERVAL} AS samples
FROM {{schema}}.context_intervals AS i
CROSS JOIN LATERAL jsonb_array_elements_text(
    CASE jsonb_typeof(i.body -> 'lots') WHEN 'array' THEN i.body -> 'lots' ELSE '[]'::jsonb END
) AS lot (lot)
WHERE i.known_to_ns = {MAX_NS};"""  # noqa: S608 - ours


def _gaps(name: str, where: str) -> str:
    return f"""
CREATE VIEW {{schema}}.{name} AS SELECT
    equipment,
    status,
    reason,
    {{schema}}.time_or_null(from_ns) AS from_time,
    {{schema}}.time_or_null(to_ns) AS to_time,
    from_ns,
    to_ns,
    samples,
    detail,
    group_id,
    edge_node_id,
    nullif(device_id, '') AS device_id,
    gap,
    rev,
    known_from_ns,
    known_to_ns
FROM {{schema}}.gap_revisions{where};"""  # noqa: S608 - ours


def second_step(columns: str) -> str:
    """The script. ``columns`` are those of ``records``."""
    return "\n".join([
        _TABLES,
        _records(columns),
        _records_as_known_at(columns),
        _facts_now(),
        _order_runs(),
        "DROP VIEW {schema}.orders;",
        _orders(),
        _lots(),
        _gaps("gaps", f" WHERE known_to_ns = {MAX_NS}"),
        _gaps("gaps_all_revisions", ""),
    ])  # fmt: skip


def third_step() -> str:
    """``orders`` in place, so that it keeps who may read it: see the seventh step of ``records.db``."""
    return _orders()
