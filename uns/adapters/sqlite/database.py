"""What both logs share: opening, migrations, one writer, and errors that say what to do.

A database has one writing connection, used from one thread at a time, in WAL mode with ``synchronous=FULL``: a commit
that returned survives a power cut. Readers have connections of their own and never block it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

import msgspec

from uns.errors import ConfigurationError, StorageError, StorageFullError

__all__ = ["Database", "Migration", "file_at", "open_reader", "translated"]

_FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_PAGES_MAX = 0xFFFFFFFE


class Migration(msgspec.Struct, frozen=True):
    """One step of a schema. Steps are only ever appended: the number of a step is its version."""

    version: int
    script: str


class Database:
    """The writing side of one file. Every method may block on the disk: call from a worker thread."""

    def __init__(
        self,
        path: Path,
        *,
        kind: str,
        migrations: Sequence[Migration],
        page_bytes: int = 8192,
        bytes_max: int | None = None,
    ) -> None:
        self.path = path
        self._kind = kind
        self._page_bytes = page_bytes
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            try:
                self._configure(bytes_max)
                self._migrate(migrations)
            except BaseException:
                self.connection.close()
                raise

    def _configure(self, bytes_max: int | None) -> None:
        execute = self.connection.execute
        execute(f"PRAGMA page_size={self._page_bytes}")
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=FULL")
        execute("PRAGMA journal_size_limit=16777216")
        execute("PRAGMA temp_store=MEMORY")
        execute("PRAGMA cache_size=-16384")
        self._page_bytes = execute("PRAGMA page_size").fetchone()[0]
        self.limit(bytes_max)

    def limit(self, bytes_max: int | None) -> None:
        """Let the file grow to ``bytes_max`` and no further; a statement that would need more fails cleanly."""
        pages = _PAGES_MAX if bytes_max is None else max(1, bytes_max // self._page_bytes)
        self.connection.execute(f"PRAGMA max_page_count={pages}")

    def _migrate(self, migrations: Sequence[Migration]) -> None:
        newest = migrations[-1].version
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
            found = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('kind', 'schema')").fetchall())
            if found.get("kind", self._kind) != self._kind:
                raise ConfigurationError(
                    f"the file is a {found['kind']}",
                    where=str(self.path),
                    expected=f"a {self._kind}",
                    next_step="give another --store directory",
                )
            version = found.get("schema", 0)
            if version > newest:
                raise ConfigurationError(
                    f"the {self._kind} has schema {version}, written by a newer release",
                    where=str(self.path),
                    expected=f"at most schema {newest}",
                    next_step="run that release again, or restore the backup made before the upgrade",
                )
            for migration in migrations:
                if migration.version > version:
                    for statement in migration.script.split(";\n"):
                        if statement.strip():
                            connection.execute(statement)
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("kind", self._kind), ("schema", newest)]
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; leaving it without an error means that the disk has it."""
        connection = self.connection
        with translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise

    def used_bytes(self) -> int:
        """Bytes of pages that hold something; freed pages are used again before the file grows."""
        execute = self.connection.execute
        with translated(self.path):
            pages = execute("PRAGMA page_count").fetchone()[0] - execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages) * self._page_bytes

    def close(self) -> None:
        """Write the WAL back where that is possible, and close."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def file_at(path: Path) -> tuple[int, int] | None:
    """What tells the file at a path from another one: an open database goes on in a file that was taken away."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_reader(path: Path, *, kind: str | None = None) -> sqlite3.Connection:
    """A connection that cannot write. Keep its transactions short: a long one holds the WAL.

    With ``kind``, a file of any other kind is refused: a :class:`StorageError` that says what it is.
    """
    with translated(path):
        connection = sqlite3.connect(
            f"file:{quote(bytes(path.absolute()))}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5.0,
        )
        try:
            connection.execute("PRAGMA query_only=ON")
            if kind is not None:
                _refuse_others(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def _refuse_others(connection: sqlite3.Connection, path: Path, kind: str) -> None:
    try:
        row = connection.execute("SELECT value FROM meta WHERE key = 'kind'").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # no such table, no such column
            raise
        row = None
    if row is None or row[0] != kind:
        raise StorageError(
            "the file is no store of ours" if row is None else f"the file is a {row[0]}",
            where=str(path),
            expected=f"a {kind}",
            next_step="check the path",
        )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into our errors."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code in _FULL_CODES:
            raise StorageFullError(
                "the disk, or the bound of this store, is full",
                where=str(path),
                next_step="free space or raise the bound; it goes on by itself then",
            ) from error
        if code is not None and code & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise StorageError(
                f"not a readable database: {error}",
                where=str(path),
                next_step="move the file aside and keep it; a new one is made at the next start",
            ) from error
        raise StorageError(str(error), where=str(path)) from error
    except OSError as error:
        raise StorageError(error.strerror or str(error), where=str(path), next_step="check path and rights") from error
