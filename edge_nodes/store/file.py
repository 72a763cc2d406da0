"""The file of an edge store: opened, checked, locked, set aside when it is corrupt. Only this package sees sqlite3."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from uns.errors import ConfigurationError, StorageError, StorageFullError

__all__ = ["DatabaseFile", "OwnBoundError", "open_for_reading"]

APPLICATION_ID = 0x756E7345
SCHEMA_VERSION = 1
PAGE_BYTES = 4096
BYTES_MIN = 1_000_000
WAL_SHARE = 5  # a fifth of bytes_max is the WAL's
AUTOCHECKPOINT_PAGES_MIN = 50
AUTOCHECKPOINT_PAGES_MAX = 500
BALLAST_SHARE = 20  # a twentieth of bytes_max lies beside the database as a file that a full disk may have
BALLAST_BYTES_MAX = 2 * 2**20
RESERVE_PAGES = 32  # never given to rows: DELETE needs a few pages too, exactly when the store is full
CORRUPT_FILES_MAX = 100
DISK_FREE_BYTES_MIN = 2 * 2**20  # below, a full database is the disk's fault and not our bound's

_SCHEMA = """
CREATE TABLE state(
    one INTEGER PRIMARY KEY CHECK (one = 1), identity TEXT NOT NULL, definition TEXT NOT NULL, bd_seq INTEGER,
    next_id INTEGER NOT NULL, snapshot_id INTEGER NOT NULL, clean INTEGER NOT NULL,
    read INTEGER NOT NULL, reduced INTEGER NOT NULL, stored INTEGER NOT NULL, refused INTEGER NOT NULL,
    confirmed INTEGER NOT NULL, dropped INTEGER NOT NULL, gaps INTEGER NOT NULL, gap TEXT
) STRICT;
CREATE TABLE metrics(
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, name TEXT NOT NULL, datatype INTEGER NOT NULL,
    UNIQUE (device_id, name, datatype)
) STRICT;
CREATE TABLE rows(
    id INTEGER PRIMARY KEY, metric INTEGER NOT NULL, time_ms INTEGER NOT NULL, time_rest_ns INTEGER NOT NULL,
    ordinal INTEGER NOT NULL, value, status_code INTEGER NOT NULL, time_source INTEGER NOT NULL
);
CREATE INDEX gap_rows ON rows(id) WHERE metric = 0;
CREATE TABLE last_samples(metric INTEGER PRIMARY KEY, samples BLOB NOT NULL) STRICT;
"""


class OwnBoundError(StorageFullError):
    """``bytes_max`` is reached; the disk itself has room."""


class DatabaseFile:
    """One edge node's database, locked for this process."""

    def __init__(self, path: Path, *, identity: str, bytes_max: int) -> None:
        """Open or make it; see :class:`EdgeStore` for what is raised."""
        self.path = path
        self.identity = identity
        self.bytes_max = max(bytes_max, BYTES_MIN)
        self.set_aside: Path | None = None
        self._ballast = path.with_name(path.name + ".ballast")
        self._ballast_bytes = min(self.bytes_max // BALLAST_SHARE, BALLAST_BYTES_MAX)
        own_bytes = self.bytes_max - self._ballast_bytes
        self._pages_max = own_bytes * (WAL_SHARE - 1) // WAL_SHARE // PAGE_BYTES
        had_lock = _lock_path(path).exists()
        self._lock = _locked(path)
        try:
            if not had_lock:
                _refuse_foreign_file(path)
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        try:
            self.connection = self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_corruption(error):
                raise _storage_error(error, self.path) from error
            self.set_aside = _set_aside(self.path)
            self.connection = self._connect()
        self.keep_ballast()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
        except sqlite3.OperationalError as error:
            raise StorageError(
                str(error), where=str(self.path), next_step="make the directory and let this user write it"
            ) from error
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        pages = self._pages_max
        autocheckpoint = min(max(pages // 50, AUTOCHECKPOINT_PAGES_MIN), AUTOCHECKPOINT_PAGES_MAX)
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        is_new = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        if not is_new and application_id != APPLICATION_ID:
            raise ConfigurationError(
                "this SQLite file is no edge store", where=str(self.path), next_step="give another `store: path`"
            )
        if not is_new and version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"the store has schema version {version}",
                where=str(self.path),
                expected=f"version {SCHEMA_VERSION}",
                next_step="use the release that wrote it until it is empty",
            )
        if is_new:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {autocheckpoint}")
        connection.execute(f"PRAGMA journal_size_limit = {2 * autocheckpoint * PAGE_BYTES}")
        if is_new:
            self._create(connection)
        self._check(connection)
        connection.execute(f"PRAGMA max_page_count = {pages - RESERVE_PAGES}")

    def _create(self, connection: sqlite3.Connection) -> None:
        # One transaction: after a crash there is a whole store or none.
        for statement in (
            "BEGIN IMMEDIATE",
            f"PRAGMA application_id = {APPLICATION_ID}",
            f"PRAGMA user_version = {SCHEMA_VERSION}",
            *_SCHEMA.split(";"),
        ):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO state VALUES (1, ?, '', NULL, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, NULL)", (self.identity,)
        )
        connection.execute("COMMIT")

    def _check(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT identity, clean FROM state").fetchone()
        if row is None:
            raise sqlite3.DatabaseError("malformed: no state")
        identity, clean = row
        if identity != self.identity:
            raise _foreign(identity, self.path, self.identity)
        if not clean and connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("malformed: quick_check")

    def close(self) -> None:
        """Leave a clean file behind."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.execute("UPDATE state SET clean = 1")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()
        self._lock.close()

    @contextlib.contextmanager
    def transaction(self, *, reserve: bool = False) -> Iterator[Any]:
        """All or nothing, on disk when it ends. ``reserve``: may use the reserve, because it makes room or counts.

        Raises :class:`OwnBoundError` or :class:`StorageFullError`; what was there before is then intact.
        """
        connection = self.connection
        try:
            if reserve:
                connection.execute(f"PRAGMA max_page_count = {self._pages_max}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection.execute
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._told(error) from error
            raise
        finally:
            if reserve:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute(f"PRAGMA max_page_count = {self._pages_max - RESERVE_PAGES}")

    def keep_ballast(self) -> None:
        """Lay room aside, if the disk has it: for what must be written when nothing else can be."""
        if self._ballast.exists() or self._disk_free() < DISK_FREE_BYTES_MIN + 2 * self._ballast_bytes:
            return
        with contextlib.suppress(OSError):
            self._ballast.write_bytes(bytes(self._ballast_bytes))

    def drop_ballast(self) -> bool:
        """Give that room back and use it for a checkpoint, so that the log begins anew; False if there is none."""
        if not self._ballast.exists():
            return False
        with contextlib.suppress(OSError, sqlite3.Error):
            self._ballast.unlink()
            self.connection.execute("PRAGMA wal_checkpoint(RESTART)")
        return True

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors of what happens inside become ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> StorageError:
        code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0
        if code == sqlite3.SQLITE_FULL and self._disk_free() >= DISK_FREE_BYTES_MIN:
            return OwnBoundError("the store is full", where=str(self.path), expected=f"{self.bytes_max} bytes at most")
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return StorageFullError(
                f"the store cannot be written: {error}", where=str(self.path), next_step="make room on the disk"
            )
        return _storage_error(error, self.path)

    def _disk_free(self) -> int:
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize


@contextlib.contextmanager
def open_for_reading(path: Path, *, identity: str) -> Iterator[sqlite3.Connection | None]:
    """A store that may be in use by ``uns-edge run``; nothing is written. None while a first run is making it."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(bytes(path))}?mode=ro", uri=True, timeout=5)
        ) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
                yield None
                return
            (found,) = connection.execute("SELECT identity FROM state").fetchone()
            if found != identity:
                raise _foreign(found, path, identity)
            yield connection
    except sqlite3.Error as error:
        raise StorageError(
            f"the store cannot be read: {error}",
            where=str(path),
            next_step="if it is corrupt, `uns-edge run` sets it aside and begins a new one",
        ) from error


def _foreign(found: str, path: Path, identity: str) -> ConfigurationError:
    return ConfigurationError(
        f"the store belongs to edge node {found}",
        where=str(path),
        expected=identity,
        next_step="give this gateway a `store: path` of its own",
    )


def _locked(path: Path) -> Any:
    try:
        lock = _lock_path(path).open("w")
    except OSError as error:
        raise StorageError(
            f"cannot write here: {error.strerror}",
            where=str(path),
            next_step="make the directory and let this user write it",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigurationError(
            "another uns-edge uses this store", where=str(path), next_step="stop it, or give another `store: path`"
        ) from error
    return lock


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _refuse_foreign_file(path: Path) -> None:
    """Only a file that was ours before may be set aside; a mistyped path must not rename somebody's document."""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if head and head != _MAGIC:
            raise ConfigurationError(
                "this file is no edge store", where=str(path), next_step="give another `store: path`"
            )


_MAGIC = b"SQLite format 3\0"


def _is_corruption(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)) or str(
        error
    ).startswith("malformed")


def _set_aside(path: Path) -> Path:
    for n in range(1, CORRUPT_FILES_MAX):
        target = path.with_name(f"{path.name}.corrupt-{n}")
        if not target.exists():
            break
    else:
        raise StorageError(
            f"{CORRUPT_FILES_MAX} corrupt stores lie here already",
            where=str(path),
            next_step="look at the disk, then remove them",
        )
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(target.with_name(target.name + suffix))
    return target


def _storage_error(error: sqlite3.Error, path: Path) -> StorageError:
    return StorageError(str(error), where=str(path), next_step="look at the disk and the file's owner")
