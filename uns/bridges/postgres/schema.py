"""The schema in PostgreSQL, in steps that are only ever appended; ``docs/reference/postgres.md`` tells how to read.

Tables are those of the record log (the columns of :mod:`uns.enrichment.plan`), views those of ``records.db``, so that a
query moves from one to the other. Times have a column of type ``timestamptz`` beside their nanoseconds.
"""

from __future__ import annotations

import re

import msgspec

from uns.bridges.postgres.views import second_step, third_step
from uns.enrichment.plan import (
    FLAG_BIRTH,
    FLAG_CLOCK_SUSPECT,
    FLAG_TIME_GATEWAY,
    FLAG_TIME_SERVER,
    MAX_NS,
    MIN_NS,
)

__all__ = ["MIGRATIONS", "SCHEMA_NAME_RULE", "PostgresMigration", "is_schema_name", "render"]

SCHEMA_NAME_RULE = "a-z, 0-9 and _, beginning with a letter, at most 63 characters"


class PostgresMigration(msgspec.Struct, frozen=True):
    """One step; ``{schema}`` stands for the schema's name."""

    version: int
    script: str


def is_schema_name(name: str) -> bool:
    """Whether a name may be used without quotes: it goes into statements as text."""
    return re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) is not None and not name.startswith("pg_")


def render(migration: PostgresMigration, schema: str) -> str:
    """The statements of a step for a schema."""
    if not is_schema_name(schema):
        raise ValueError(schema)
    return migration.script.replace("{schema}", schema)


def _record_columns() -> str:
    return f"""
    samples.position,
    series.equipment,
    series.metric,
    {{schema}}.time_of(samples.source_time_ns) AS source_time,
    samples.source_time_ns,
    samples.ordinal,
    samples.value_num,
    samples.value_int,
    samples.value_text,
    series.type,
    series.unit,
    CASE samples.quality WHEN 0 THEN 'good' WHEN 1 THEN 'uncertain' WHEN 2 THEN 'bad' ELSE 'stale' END AS quality,
    samples.status_code,
    (samples.flags & {FLAG_CLOCK_SUSPECT}) <> 0 AS clock_suspect,
    (samples.flags & {FLAG_BIRTH}) <> 0 AS from_birth,
    CASE WHEN (samples.flags & {FLAG_TIME_GATEWAY}) <> 0 THEN 'gateway'
         WHEN (samples.flags & {FLAG_TIME_SERVER}) <> 0 THEN 'server' ELSE 'device' END AS time_source,
    context_intervals.status,
    context_intervals.work_order,
    context_intervals.body AS context,
    context_intervals.rev,
    context_intervals.reason,
    payloads.group_id,
    payloads.edge_node_id,
    payloads.device_id,
    payloads.session,
    payloads.bd_seq,
    payloads.seq,
    payloads.historical <> 0 AS historical,
    payloads.received_at_ns,
    payloads.recorded_at_ns,
    payloads.raw_position"""


_RECORD_TABLES = """
    {schema}.samples
    JOIN {schema}.series ON series.series = samples.series
    JOIN {schema}.payloads ON payloads.payload = samples.payload
    JOIN {schema}.context_intervals ON context_intervals.equipment = series.equipment
        AND context_intervals.from_ns <= samples.source_time_ns
        AND context_intervals.to_ns > samples.source_time_ns"""

_FIRST = f"""
CREATE TABLE {{schema}}.bridges (
    bridge text PRIMARY KEY,
    log_id text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {{schema}}.deliveries (
    bridge text NOT NULL,
    key text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    samples bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bridge, key)
);
CREATE INDEX deliveries_by_position ON {{schema}}.deliveries (bridge, first_position);
CREATE TABLE {{schema}}.series (
    series bigint PRIMARY KEY,
    equipment text NOT NULL,
    metric text NOT NULL,
    type text NOT NULL,
    unit text
);
CREATE INDEX series_by_metric ON {{schema}}.series (equipment, metric);
CREATE TABLE {{schema}}.payloads (
    payload bigint PRIMARY KEY,
    group_id text NOT NULL,
    edge_node_id text NOT NULL,
    device_id text,
    session text NOT NULL,
    bd_seq bigint NOT NULL,
    seq bigint NOT NULL,
    historical bigint NOT NULL,
    received_at_ns bigint NOT NULL,
    recorded_at_ns bigint NOT NULL,
    raw_position bigint NOT NULL
);
CREATE TABLE {{schema}}.samples (
    position bigint PRIMARY KEY,
    series bigint NOT NULL,
    source_time_ns bigint NOT NULL,
    ordinal bigint NOT NULL,
    value_num double precision,
    value_int bigint,
    value_text text,
    quality smallint NOT NULL,
    status_code bigint NOT NULL,
    flags smallint NOT NULL,
    payload bigint NOT NULL
);
CREATE UNIQUE INDEX samples_by_key ON {{schema}}.samples (source_time_ns, series, ordinal);
CREATE TABLE {{schema}}.context_intervals (
    position bigint PRIMARY KEY,
    equipment text NOT NULL,
    from_ns bigint NOT NULL,
    to_ns bigint NOT NULL,
    rev bigint NOT NULL,
    known_from_ns bigint NOT NULL,
    known_to_ns bigint NOT NULL,
    status text NOT NULL,
    work_order text,
    body jsonb NOT NULL,
    reason text NOT NULL
);
CREATE INDEX context_intervals_by_time ON {{schema}}.context_intervals (equipment, known_to_ns, from_ns);
CREATE INDEX context_intervals_by_order ON {{schema}}.context_intervals (work_order);
CREATE TABLE {{schema}}.facts (
    source text NOT NULL,
    id text NOT NULL,
    source_rev text NOT NULL,
    rev bigint NOT NULL,
    kind text NOT NULL,
    equipment text NOT NULL,
    action text NOT NULL,
    valid_from_ns bigint NOT NULL,
    valid_to_ns bigint,
    known_at_ns bigint NOT NULL,
    body jsonb NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (source, id, source_rev)
);
CREATE FUNCTION {{schema}}.time_of(ns bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE ns WHEN '{MIN_NS}'::bigint THEN '-infinity'::timestamptz WHEN {MAX_NS} THEN 'infinity'::timestamptz
    ELSE timestamptz '1970-01-01 00:00:00+00'
        + ((ns - ((ns % 1000) + 1000) % 1000) / 1000) * interval '1 microsecond' END;
CREATE FUNCTION {{schema}}.ns_of(t timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE t WHEN '-infinity'::timestamptz THEN '{MIN_NS}'::bigint WHEN 'infinity'::timestamptz THEN {MAX_NS}
    ELSE (extract(epoch FROM t) * 1000000000)::bigint END;
CREATE VIEW {{schema}}.records AS SELECT {_record_columns()}
FROM {_RECORD_TABLES}
    AND context_intervals.known_to_ns = {MAX_NS};
CREATE VIEW {{schema}}.records_all_revisions AS SELECT {_record_columns()},
    greatest(context_intervals.known_from_ns, payloads.recorded_at_ns) AS known_from_ns,
    context_intervals.known_to_ns AS known_to_ns
FROM {_RECORD_TABLES}
WHERE context_intervals.known_to_ns > payloads.recorded_at_ns;
CREATE FUNCTION {{schema}}.records_as_known_at(t timestamptz) RETURNS SETOF {{schema}}.records_all_revisions
LANGUAGE sql STABLE AS $$
    SELECT * FROM {{schema}}.records_all_revisions
    WHERE {{schema}}.ns_of(t) >= known_from_ns AND {{schema}}.ns_of(t) < known_to_ns
$$;
CREATE VIEW {{schema}}.orders AS SELECT
    work_order,
    equipment,
    body ->> 'job_order' AS job_order,
    body ->> 'operation' AS operation,
    body ->> 'material' AS material,
    status,
    {{schema}}.time_of(from_ns) AS from_time,
    {{schema}}.time_of(to_ns) AS to_time,
    from_ns,
    to_ns,
    rev,
    reason
FROM {{schema}}.context_intervals
WHERE known_to_ns = {MAX_NS} AND work_order IS NOT NULL;
CREATE VIEW {{schema}}.lots AS SELECT
    lot.lot,
    equipment,
    body ->> 'material' AS material,
    work_order,
    {{schema}}.time_of(from_ns) AS from_time,
    {{schema}}.time_of(to_ns) AS to_time,
    from_ns,
    to_ns,
    rev
FROM {{schema}}.context_intervals
CROSS JOIN LATERAL jsonb_array_elements_text(
    CASE jsonb_typeof(body -> 'lots') WHEN 'array' THEN body -> 'lots' ELSE '[]'::jsonb END
) AS lot (lot)
WHERE known_to_ns = {MAX_NS};
"""  # noqa: S608 - numbers and words of ours

MIGRATIONS = (
    PostgresMigration(1, _FIRST),
    PostgresMigration(2, second_step(_record_columns())),
    PostgresMigration(3, third_step()),
)
