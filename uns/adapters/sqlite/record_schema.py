"""The schema of ``records.db``, in steps that are only ever appended; ``docs/reference/sql.md`` tells how to read."""

from __future__ import annotations

from uns.adapters.sqlite.audit_log import AUDIT_TABLES
from uns.adapters.sqlite.database import Migration
from uns.adapters.sqlite.record_views import fourth_step, seventh_step
from uns.enrichment.plan import FLAG_BIRTH, FLAG_CLOCK_SUSPECT, FLAG_TIME_GATEWAY, FLAG_TIME_SERVER, MAX_NS, MIN_NS

__all__ = ["FAR_ORDINAL", "MIGRATIONS", "RECORD_LOG", "SECOND_NS", "SPAN_NS"]

RECORD_LOG = "record log"  # the kind that stands in the file
SECOND_NS = 1_000_000_000


def _time(column: str) -> str:
    """RFC 3339 with ms, floor for times before 1970 too; NULL at the ends of time, which no calendar has."""
    seconds = f"(({column} - (({column} % 1000000000) + 1000000000) % 1000000000) / 1000000000)"
    milliseconds = f"((({column} % 1000000000) + 1000000000) % 1000000000 / 1000000)"
    return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || printf('.%03dZ', {milliseconds})"


_RECORD_COLUMNS = f"""
            samples.position AS position,
            series.equipment AS equipment,
            series.metric AS metric,
            {_time("samples.source_time_ns")} AS source_time,
            samples.source_time_ns AS source_time_ns,
            samples.ordinal AS ordinal,
            samples.value_num AS value_num,
            samples.value_int AS value_int,
            samples.value_text AS value_text,
            series.type AS type,
            series.unit AS unit,
            CASE samples.quality WHEN 0 THEN 'good' WHEN 1 THEN 'uncertain' WHEN 2 THEN 'bad' ELSE 'stale' END
                AS quality,
            samples.status_code AS status_code,
            (samples.flags & {FLAG_CLOCK_SUSPECT}) <> 0 AS clock_suspect,
            (samples.flags & {FLAG_BIRTH}) <> 0 AS from_birth,
            CASE WHEN samples.flags & {FLAG_TIME_GATEWAY} THEN 'gateway'
                 WHEN samples.flags & {FLAG_TIME_SERVER} THEN 'server' ELSE 'device' END AS time_source,
            context_intervals.status AS status,
            context_intervals.work_order AS work_order,
            context_intervals.body AS context,
            context_intervals.rev AS rev,
            context_intervals.reason AS reason,
            payloads.group_id AS group_id,
            payloads.edge_node_id AS edge_node_id,
            payloads.device_id AS device_id,
            payloads.session AS session,
            payloads.bd_seq AS bd_seq,
            payloads.seq AS seq,
            payloads.historical AS historical,
            payloads.received_at_ns AS received_at_ns,
            payloads.recorded_at_ns AS recorded_at_ns,
            payloads.raw_position AS raw_position"""

_RECORD_TABLES = """
            samples
            JOIN series ON series.series = samples.series
            JOIN payloads ON payloads.payload = samples.payload
            JOIN context_intervals ON context_intervals.equipment = series.equipment
                AND context_intervals.from_ns <= samples.source_time_ns
                AND context_intervals.to_ns > samples.source_time_ns"""

# samples: the log position is the row id, so that cursors read in log order; the key is an index with the time in
# front, so that live rows land on its last pages (docs/decisions/0004 has the figures).
_FIRST = f"""
        CREATE TABLE series (
            series INTEGER PRIMARY KEY,
            equipment TEXT NOT NULL,
            metric TEXT NOT NULL,
            type TEXT NOT NULL,
            unit TEXT
        ) STRICT;
        CREATE INDEX series_by_metric ON series (equipment, metric);
        CREATE TABLE payloads (
            payload INTEGER PRIMARY KEY,
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            device_id TEXT,
            session TEXT NOT NULL,
            bd_seq INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            historical INTEGER NOT NULL,
            received_at_ns INTEGER NOT NULL,
            recorded_at_ns INTEGER NOT NULL,
            raw_position INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE samples (
            position INTEGER PRIMARY KEY,
            series INTEGER NOT NULL,
            source_time_ns INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            value_num REAL,
            value_int INTEGER,
            value_text TEXT,
            quality INTEGER NOT NULL,
            status_code INTEGER NOT NULL,
            flags INTEGER NOT NULL,
            payload INTEGER NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX samples_by_key ON samples (source_time_ns, series, ordinal);
        CREATE TABLE newest (
            series INTEGER PRIMARY KEY,
            source_time_ns INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE context_series (
            series INTEGER PRIMARY KEY
        ) STRICT;
        CREATE TABLE context_positions (
            position INTEGER PRIMARY KEY
        ) STRICT;
        CREATE TABLE samples_per_second (
            equipment TEXT NOT NULL,
            second INTEGER NOT NULL,
            samples INTEGER NOT NULL,
            PRIMARY KEY (equipment, second)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE recorded_per_node (
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            samples INTEGER NOT NULL,
            PRIMARY KEY (group_id, edge_node_id)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE context_intervals (
            position INTEGER PRIMARY KEY,
            equipment TEXT NOT NULL,
            from_ns INTEGER NOT NULL,
            to_ns INTEGER NOT NULL,
            rev INTEGER NOT NULL,
            known_from_ns INTEGER NOT NULL,
            known_to_ns INTEGER NOT NULL,
            status TEXT NOT NULL,
            work_order TEXT,
            body TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
        CREATE INDEX context_intervals_by_time ON context_intervals (equipment, known_to_ns, from_ns);
        CREATE TABLE facts (
            source TEXT NOT NULL,
            id TEXT NOT NULL,
            source_rev TEXT NOT NULL,
            rev INTEGER NOT NULL,
            kind TEXT NOT NULL,
            equipment TEXT NOT NULL,
            action TEXT NOT NULL,
            valid_from_ns INTEGER NOT NULL,
            valid_to_ns INTEGER,
            known_at_ns INTEGER NOT NULL,
            body TEXT NOT NULL,
            hash TEXT NOT NULL,
            PRIMARY KEY (source, id, source_rev)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE unrecorded (
            kind TEXT NOT NULL,
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            source_time_ns INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            reason TEXT NOT NULL,
            raw BLOB NOT NULL,
            recorded_at_ns INTEGER NOT NULL,
            PRIMARY KEY (group_id, edge_node_id, device_id, metric, source_time_ns, ordinal)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE source_addresses (
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            address TEXT NOT NULL,
            known_from_ns INTEGER NOT NULL,
            PRIMARY KEY (group_id, edge_node_id, device_id, metric, known_from_ns)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE equipment_logs (
            equipment TEXT PRIMARY KEY,
            last_to INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE counters (
            name TEXT PRIMARY KEY,
            value INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE outbox (
            id INTEGER PRIMARY KEY,
            topic TEXT NOT NULL,
            payload BLOB NOT NULL,
            qos INTEGER NOT NULL,
            retain INTEGER NOT NULL
        ) STRICT;
        CREATE VIEW records AS SELECT {_RECORD_COLUMNS}
        FROM {_RECORD_TABLES}
            AND context_intervals.known_to_ns = {MAX_NS};
        CREATE VIEW records_all_revisions AS SELECT {_RECORD_COLUMNS},
            max(context_intervals.known_from_ns, payloads.recorded_at_ns) AS known_from_ns,
            context_intervals.known_to_ns AS known_to_ns
        FROM {_RECORD_TABLES}
        WHERE context_intervals.known_to_ns > payloads.recorded_at_ns;
        """  # noqa: S608 - numbers of ours

# A source whose clock stands still puts everything at one time: is a content among so many? Only rows far from the
# usual ordinals are in it, so that others do not pay for it.
FAR_ORDINAL = 64
_SECOND = f"""
        CREATE INDEX samples_far ON samples
            (source_time_ns, series, value_num, value_int, value_text, quality, status_code, ordinal)
        WHERE ordinal >= {FAR_ORDINAL}"""

# Sums that the host's status needs: counted once from what there is, then kept with each commit.
_FLOOR_SECOND = f"((source_time_ns - ((source_time_ns % {SECOND_NS}) + {SECOND_NS}) % {SECOND_NS}) / {SECOND_NS})"
# Intervals tile time: the last that begins before a sample is the one that holds it. The view's join would look at all.
_STATUS = f"""(SELECT status FROM context_intervals WHERE context_intervals.equipment = series.equipment
            AND known_to_ns = {MAX_NS} AND from_ns <= source_time_ns ORDER BY from_ns DESC LIMIT 1)"""  # noqa: S608
_THIRD = f"""
        CREATE TABLE foreign_per_second (
            equipment TEXT NOT NULL,
            second INTEGER NOT NULL,
            samples INTEGER NOT NULL,
            PRIMARY KEY (equipment, second)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO foreign_per_second SELECT equipment, {_FLOOR_SECOND}, count(*) FROM samples
            CROSS JOIN series USING (series) CROSS JOIN payloads USING (payload) WHERE session = '' GROUP BY 1, 2;
        CREATE TABLE unrecorded_per_node (
            kind TEXT NOT NULL,
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            samples INTEGER NOT NULL,
            PRIMARY KEY (kind, group_id, edge_node_id)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO unrecorded_per_node SELECT kind, group_id, edge_node_id, count(*) FROM unrecorded GROUP BY 1, 2, 3;
        CREATE TEMP TABLE found AS SELECT {_STATUS} AS status, session = '' AS foreigner, count(*) AS samples
            FROM samples CROSS JOIN series USING (series) CROSS JOIN payloads USING (payload) GROUP BY 1, 2;
        INSERT INTO counters SELECT 'status_' || status, sum(samples) FROM found GROUP BY status;
        INSERT INTO counters SELECT 'foreign_status_' || status, samples FROM found WHERE foreigner;
        DROP TABLE found"""  # noqa: S608


def _time_or_null(column: str) -> str:
    return f"iif({column} IN ({MIN_NS}, {MAX_NS}), NULL, {_time(column)})"


_FOURTH = fourth_step(_RECORD_COLUMNS, _time_or_null)

# When each series has samples, in spans of ten minutes: who reads one metric of a log whose key has the time in front
# passes over the times in which it was silent (docs/decisions/0011). It lags behind like `newest`, never ahead.
SPAN_NS = 600 * SECOND_NS
_SIXTH = f"""
        CREATE TABLE series_spans (
            series INTEGER NOT NULL,
            span INTEGER NOT NULL,
            first_ns INTEGER NOT NULL,
            last_ns INTEGER NOT NULL,
            PRIMARY KEY (series, span)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO series_spans SELECT series, source_time_ns / {SPAN_NS}, min(source_time_ns), max(source_time_ns)
            FROM samples GROUP BY 1, 2"""  # noqa: S608 - a number of ours

MIGRATIONS = (
    Migration(1, _FIRST),
    Migration(2, _SECOND),
    Migration(3, _THIRD),
    Migration(4, _FOURTH),
    Migration(5, AUDIT_TABLES),
    Migration(6, _SIXTH),
    Migration(7, seventh_step(_time_or_null)),
)
