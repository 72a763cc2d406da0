"""PostgreSQL as the target of a bridge: COPY, one transaction a range, our cursor in its books. The one psycopg seam.

A range counts as delivered when a row of ``deliveries`` says so, and that row is committed with the rows it speaks of.
So a range that is sent twice (killed after COMMIT, before the answer) finds its own row and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection, errors, sql

from uns.adapters.secrets import Secret
from uns.adapters.sqlite.record_cursor import RecordCursor, TableRows
from uns.bridges.port import (
    Auth,
    Delivered,
    Emit,
    Finding,
    OutboundItem,
    Outcome,
    Transient,
    Unknown,
)
from uns.bridges.postgres.errors import Refusal, outcome_of
from uns.bridges.postgres.mapping import LogRange, copy_text, json_for_jsonb, samples_text, split_range
from uns.bridges.postgres.schema import MIGRATIONS, render
from uns.enrichment.plan import (
    FACT_COLUMNS,
    GAP_COLUMNS,
    INTERVAL_COLUMNS,
    PAYLOAD_COLUMNS,
    SAMPLE_COLUMNS,
    SERIES_COLUMNS,
    GapClosedRow,
    IntervalClosedRow,
)
from uns.errors import ConfigurationError, StorageError

__all__ = ["PostgresAddress", "PostgresTarget"]

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 120.0  # of one range; then the connection is given up and the range read back
_TABLES: dict[str, Sequence[str]] = {
    "series": SERIES_COLUMNS,
    "payloads": PAYLOAD_COLUMNS,
    "samples": SAMPLE_COLUMNS,
    "context_intervals": INTERVAL_COLUMNS,
    "facts": FACT_COLUMNS,
    "gap_revisions": GAP_COLUMNS,
}
_BODY_COLUMN = {"context_intervals": INTERVAL_COLUMNS.index("body"), "facts": FACT_COLUMNS.index("body")}
_NEWEST = MIGRATIONS[-1].version
# Where the run of ranges without a hole ends that begins at position 1.
_CONTIGUOUS = """
    WITH ranges AS (
        SELECT first_position, last_position, coalesce(max(last_position) OVER (
            ORDER BY first_position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS reached
        FROM {schema}.deliveries WHERE bridge = %s AND last_position > 0)
    SELECT coalesce(min(reached) FILTER (WHERE first_position > reached + 1), max(last_position), 0) FROM ranges
    """


class PostgresAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is and who we are to it; the password is a reference."""

    host: str = ""  # name, address, or directory of a Unix socket; "": the default socket
    port: int = 5432
    database: str = "uns"
    user: str = "uns"
    schema: str = "uns"
    password: Secret = Secret()
    tls: str = "prefer"  # libpq's sslmode
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __str__(self) -> str:
        return f"{self.user}@{self.host or 'local socket'}:{self.port}/{self.database}, schema {self.schema}"


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A range, ready to be sent."""

    count: int  # of samples
    samples: bytes
    series: set[int]
    merged: dict[str, bytes]  # the other tables
    closed: list[IntervalClosedRow]
    closed_since: list[IntervalClosedRow]
    gaps_closed: list[GapClosedRow]
    gaps_closed_since: list[GapClosedRow]
    has_log_id: bool


class PostgresTarget:
    """Implements :class:`uns.bridges.port.Target`. ``log`` is its own reader of the record log."""

    name = "postgres"
    items_max = 8  # each a transaction; while one is written the next is read

    def __init__(self, bridge: str, address: PostgresAddress, log: RecordCursor) -> None:
        self.bridge = bridge
        self.address = address
        self._log = log
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="uns-bridge-rows")
        self._connection: AsyncConnection[Any] | None = None
        self._claimed = False  # through this connection, as is the next
        self._series: set[int] = set()  # certainly there

    # ── the port ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> int | Transient | Auth | None:
        """Make or migrate the schema; the position up to which it has everything."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await self._connect()
                await self._migrate(connection)
                if refused := await self._claim(connection):
                    return refused
                row = await (await connection.execute(self._sql(_CONTIGUOUS), (self.bridge,))).fetchone()
                await connection.commit()
        except (psycopg.Error, OSError, TimeoutError, ConfigurationError) as error:
            await self._drop_connection()
            outcome = _trouble(error)
            return outcome if isinstance(outcome, Transient | Auth) else Auth(outcome.reason, "see the reason")
        return None if row is None else int(row[0])

    async def deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        """One transaction for each range; the rows of the next are read meanwhile."""
        parts = [msgspec.json.decode(item.body, type=LogRange) for item in items]
        outcomes: list[Outcome] = []
        rows = self._read_ahead(parts[0])
        for at, item in enumerate(items):
            following = self._read_ahead(parts[at + 1]) if at + 1 < len(items) else None
            outcome = await self._deliver(item, parts[at], rows)
            outcomes.append(outcome)
            if isinstance(outcome, Unknown | Auth) or (isinstance(outcome, Transient) and outcome.whole_target):
                if following is not None:
                    await asyncio.wait([following])
                    following.exception()
                rest = len(items) - len(outcomes)
                outcomes += [Transient(f"not tried after: {outcome.reason}")] * rest
                break
            if following is not None:
                rows = following
        return outcomes

    async def read_back(self, item: OutboundItem) -> bool | None:
        """Whether its row stands in the books."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await self._connect()
                row = await (
                    await connection.execute(
                        self._sql("SELECT 1 FROM {schema}.deliveries WHERE bridge = %s AND key = %s"),
                        (self.bridge, item.key),
                    )
                ).fetchone()
                await connection.commit()
        except (psycopg.Error, OSError, TimeoutError, ConfigurationError):
            await self._drop_connection()
            return None
        return row is not None

    def split(self, item: OutboundItem) -> list[OutboundItem]:
        """Halves of the range."""
        return split_range(item)

    async def inbound(self, emit: Emit) -> None:
        """Nothing comes from here."""

    async def check(self) -> list[Finding]:
        """Whether it answers, its version, encoding, our rights, and how far its books go."""
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                connection = await self._connect()
                return await self._look(connection)
        except (psycopg.Error, OSError, TimeoutError, ConfigurationError) as error:
            outcome = _trouble(error)
            down = isinstance(outcome, Transient)
            step = "check host, port, and that it runs" if down else getattr(outcome, "next_step", "")
            return [Finding(rule="connect", text=f"{self.address}: {outcome.reason}", next_step=step, unreachable=down)]
        finally:
            await self._drop_connection()

    async def close(self) -> None:
        """Close the connection."""
        await self._drop_connection()
        self._reads.shutdown(wait=False)

    # ── one range ────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_ahead(self, part: LogRange) -> asyncio.Future[_Rows]:
        return asyncio.get_running_loop().run_in_executor(self._reads, self._read, part)

    async def _deliver(self, item: OutboundItem, part: LogRange, rows: asyncio.Future[_Rows]) -> Outcome:
        committing = False
        try:
            read = await rows
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await self._connect()
                if refused := await self._claim(connection):
                    await connection.rollback()
                    return refused
                receipt = await self._write(connection, item, part, read)
                committing = True
                await connection.commit()
        except StorageError as error:
            await self._drop_connection()
            return Transient(f"the record log cannot be read: {error}")
        except (psycopg.Error, OSError, TimeoutError, ConfigurationError) as error:
            await self._drop_connection()
            if committing and not isinstance(error, errors.IntegrityError):
                return Unknown(f"no answer to COMMIT: {error}")
            return _trouble(error)
        except BaseException:
            await self._drop_connection()
            raise
        self._claimed = self._claimed or read.has_log_id
        self._series |= read.series
        return Delivered(receipt=receipt)

    async def _write(self, connection: AsyncConnection[Any], item: OutboundItem, part: LogRange, rows: _Rows) -> str:
        # One statement tells whether the range is new, and whether later ones came before it.
        mine = await (
            await connection.execute(
                self._sql(
                    "WITH mine AS (INSERT INTO {schema}.deliveries (bridge, key, first_position, last_position, "
                    "samples) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1) "
                    "SELECT EXISTS (SELECT 1 FROM mine), EXISTS (SELECT 1 FROM {schema}.deliveries "
                    "WHERE bridge = %s AND first_position > %s)"
                ),
                (self.bridge, item.key, item.first_position, item.last_position, rows.count, self.bridge, part.to),
            )
        ).fetchone()
        assert mine is not None  # noqa: S101 - one row by its making
        is_new, is_late = mine
        if not is_new:
            return "was there already"
        for table, text in rows.merged.items():
            if text and not (table == "series" and rows.series <= self._series):
                await self._merge(connection, table, text)
        if rows.samples:
            await self._copy_samples(connection, rows.samples, certainly_new=not is_late)
        await self._close(connection, "context_intervals", rows.closed + (rows.closed_since if is_late else []))
        await self._close(connection, "gap_revisions", rows.gaps_closed + (rows.gaps_closed_since if is_late else []))
        return f"{rows.count} samples"

    async def _close(self, connection: AsyncConnection[Any], table: str, rows: Sequence[tuple[int, int]]) -> None:
        """Say since when revisions are no longer current."""
        if rows:
            await connection.cursor().executemany(
                self._sql("UPDATE {schema}.{table} SET known_to_ns = %s WHERE position = %s", table), rows
            )

    def _read(self, part: LogRange) -> _Rows:
        """The rows of a range as text for COPY; runs on a thread of its own."""
        found: TableRows = self._log.table_rows(
            part.after, part.to, facts_after_ns=part.facts_after_ns, facts_to_ns=part.facts_to_ns
        )
        return _Rows(
            count=len(found.samples),
            samples=samples_text(found.samples),
            series={row[0] for row in found.series},
            merged={
                "series": copy_text(found.series),
                "payloads": copy_text(found.payloads),
                "context_intervals": copy_text(_with_json(found.intervals, _BODY_COLUMN["context_intervals"])),
                "facts": copy_text(_with_json(found.facts, _BODY_COLUMN["facts"])),
                "gap_revisions": copy_text(found.gaps),
            },
            closed=found.closed,
            closed_since=found.closed_since,
            gaps_closed=found.gaps_closed,
            gaps_closed_since=found.gaps_closed_since,
            has_log_id=bool(self._log.log_id()),
        )

    async def _copy_samples(self, connection: AsyncConnection[Any], text: bytes, *, certainly_new: bool) -> None:
        """Straight into the table where the books say that it has none of them; else, or if it has, by merging."""
        if certainly_new:
            await connection.execute("SAVEPOINT straight")
            try:
                await self._copy(connection, self._sql("COPY {schema}.samples ({columns}) FROM STDIN", "samples"), text)
            except errors.UniqueViolation:
                await connection.execute("ROLLBACK TO straight")
            else:
                await connection.execute("RELEASE straight")
                return
        await self._merge(connection, "samples", text)

    async def _merge(self, connection: AsyncConnection[Any], table: str, text: bytes) -> None:
        """Rows into a staging table, and from there what is not there yet."""
        stage = sql.Identifier(f"uns_stage_{table}")
        await connection.execute(
            self._sql("CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE {schema}.{table}) ON COMMIT DELETE ROWS", table)
        )
        await self._copy(connection, sql.SQL("COPY {} ({}) FROM STDIN").format(stage, _columns(table)), text)
        await connection.execute(
            self._sql(
                "INSERT INTO {schema}.{table} ({columns}) SELECT {columns} FROM {stage} ON CONFLICT DO NOTHING", table
            )
        )

    @staticmethod
    async def _copy(connection: AsyncConnection[Any], statement: sql.Composed, text: bytes) -> None:
        async with connection.cursor().copy(statement) as copy:
            await copy.write(text)

    # ── connection and schema ────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self) -> AsyncConnection[Any]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        address = self.address
        files = {"sslrootcert": address.ca_file, "sslcert": address.cert_file, "sslkey": address.key_file}
        more: dict[str, Any] = {key: str(path) for key, path in files.items() if path is not None}
        self._connection = await AsyncConnection.connect(
            host=address.host or None,
            port=address.port,
            dbname=address.database,
            user=address.user,
            password=address.password.read(section="target"),
            sslmode=address.tls,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=f"uns bridge {self.bridge}"[:63],
            tcp_user_timeout=15_000,
            keepalives_idle=10,
            # A commit that was answered survives a power cut, whatever the database's default is.
            options="-c synchronous_commit=on -c timezone=UTC -c client_min_messages=warning",
            **more,
        )
        return self._connection

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._claimed, self._series = False, set()
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                await connection.close()

    async def _migrate(self, connection: AsyncConnection[Any]) -> None:
        execute = connection.execute
        await execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"uns schema {self.address.schema}",))
        found = await (
            await execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.address.schema,))
        ).fetchone()
        if found is None:
            await execute(self._sql("CREATE SCHEMA {schema}"))
        await execute(self._sql("CREATE TABLE IF NOT EXISTS {schema}.meta (key text PRIMARY KEY, value text NOT NULL)"))
        row = await (await execute(self._sql("SELECT value FROM {schema}.meta WHERE key = 'schema'"))).fetchone()
        version = 0 if row is None else int(row[0])
        if version > _NEWEST:
            raise ConfigurationError(
                f"schema {self.address.schema} has version {version}, made by a newer release",
                expected=f"at most version {_NEWEST}",
                next_step="run that release again, or give another schema",
            )
        for migration in MIGRATIONS:
            if migration.version > version:
                await execute(render(migration, self.address.schema).encode())
        if version < _NEWEST:
            await execute(
                self._sql(
                    "INSERT INTO {schema}.meta VALUES ('schema', %s) "
                    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
                ),
                (str(_NEWEST),),
            )
        await connection.commit()

    async def _claim(self, connection: AsyncConnection[Any]) -> Auth | None:
        """Write into its books whose log it holds; positions of another log would be taken for ours."""
        if self._claimed:
            return None
        log_id = await asyncio.get_running_loop().run_in_executor(self._reads, self._log.log_id)
        if not log_id:
            return None
        other = await (
            await connection.execute(
                self._sql("SELECT bridge, log_id FROM {schema}.bridges WHERE log_id <> %s LIMIT 1"), (log_id,)
            )
        ).fetchone()
        if other is not None:
            return Auth(
                f"schema {self.address.schema} holds another record log (bridge {other[0]}: {other[1]})",
                "give this bridge a schema of its own",
            )
        await connection.execute(
            self._sql("INSERT INTO {schema}.bridges (bridge, log_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"),
            (self.bridge, log_id),
        )
        return None

    async def _look(self, connection: AsyncConnection[Any]) -> list[Finding]:
        findings: list[Finding] = []
        row = await (
            await connection.execute(
                "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
                "current_setting('server_encoding'), pg_is_in_recovery(), "
                "has_database_privilege(current_database(), 'CREATE'), to_regnamespace(%s) IS NOT NULL",
                (self.address.schema,),
            )
        ).fetchone()
        assert row is not None  # noqa: S101 - one row by its making
        number, version, encoding, standby, may_create, exists = row
        findings.append(Finding(rule="connect", text=f"PostgreSQL {version} answers", severity="info"))
        if number < 140000:
            findings.append(Finding(rule="version", text=f"PostgreSQL {version}", next_step="14 or newer is needed"))
        if encoding != "UTF8":
            findings.append(
                Finding(rule="encoding", text=f"the database is {encoding}", next_step="create it WITH ENCODING 'UTF8'")
            )
        if standby:
            findings.append(Finding(rule="standby", text="this server is read-only", next_step="give the primary"))
        if not exists and not may_create:
            findings.append(
                Finding(
                    rule="rights",
                    text=f"{self.address.user} may not create schema {self.address.schema}",
                    next_step=f"CREATE SCHEMA {self.address.schema} AUTHORIZATION {self.address.user}",
                )
            )
        return findings

    def _sql(self, statement: str, table: str = "") -> sql.Composed:
        names: dict[str, sql.Composable] = {"schema": sql.Identifier(self.address.schema)}
        if table:
            names |= {
                "table": sql.Identifier(table),
                "stage": sql.Identifier(f"uns_stage_{table}"),
                "columns": _columns(table),
            }
        return sql.SQL(statement).format(**names)


def _columns(table: str) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, _TABLES[table]))


def _with_json(rows: Sequence[tuple[Any, ...]], column: int) -> list[tuple[Any, ...]]:
    return [(*row[:column], json_for_jsonb(row[column]), *row[column + 1 :]) for row in rows]


def _trouble(error: BaseException) -> Refusal:
    """What an error means for an item that surely was not committed."""
    if isinstance(error, ConfigurationError):
        return Auth(error.what, error.next_step or "mend the bridge file, then start it again")
    if isinstance(error, TimeoutError):
        return Transient(f"PostgreSQL did not answer within {ANSWER_TIMEOUT_S:g} s")
    sqlstate = getattr(error, "sqlstate", None)
    text = str(error)
    if sqlstate is None and ("password" in text or "no pg_hba.conf entry" in text or "certificate" in text):
        sqlstate = "28000"  # libpq keeps no SQLSTATE of a connection that was refused
    elif sqlstate is None and "does not exist" in text:
        sqlstate = "3D000" if "database" in text else "28000"
    elif sqlstate is None and "not permitted to log in" in text:
        sqlstate = "28000"
    return outcome_of(sqlstate, text)
