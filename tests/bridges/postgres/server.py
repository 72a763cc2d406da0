"""A real PostgreSQL for tests: a cluster of its own in a temporary directory, a Unix socket, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from uns.adapters.postgres import PostgresAddress

__all__ = ["PostgresServer", "find_postgres", "require_postgres"]

_HINT = "PostgreSQL is not installed; `apt-get install postgresql` runs these tests too"
_USER = "postgres"  # the unprivileged user the Debian package makes; initdb refuses root


def find_postgres() -> Path | None:
    """The directory of ``initdb`` and ``pg_ctl``: the newest of Debian's, or the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).parent


def require_postgres() -> Path:
    """Skip with one helpful line where PostgreSQL is absent; fail where it must not be (UNS_REQUIRE_POSTGRES=1)."""
    binaries = find_postgres()
    if binaries is None:
        if os.environ.get("UNS_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"UNS_REQUIRE_POSTGRES=1, but {_HINT}")
        pytest.skip(_HINT)
    return binaries


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class PostgresServer:
    """``start()``, ``stop()``; databases for tests are made by :meth:`database`.

    With ``tcp`` it listens on 127.0.0.1 too, on a port of its own, and asks the role ``bridge`` for its password there.
    """

    def __init__(self, binaries: Path, *, settings: tuple[str, ...] = (), tcp: bool = False) -> None:
        self._binaries = binaries
        # Socket paths may have 107 characters, and the server's user must reach the directory.
        self.directory = Path(tempfile.mkdtemp(prefix="uns-pg-", dir="/tmp"))
        self.data = self.directory / "data"
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._run(
            "initdb", "-D", self.data, "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        self.port = _free_port() if tcp else 5432
        if tcp:
            access = self.data / "pg_hba.conf"
            rule = "host all bridge 127.0.0.1/32 scram-sha-256\n"
            access.write_text(rule + access.read_text())
        lines = [
            f"listen_addresses = '{'127.0.0.1' if tcp else ''}'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.directory}'",
            "fsync = off",  # the tests kill processes, not the machine
            "shared_buffers = 32MB",
            "max_wal_size = 256MB",
            *settings,
        ]
        configuration = self.data / "postgresql.auto.conf"
        configuration.write_text("\n".join(lines) + "\n")

    @property
    def running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-l", self.directory / "log", "-w", "-t", "30", "start")

    def stop(self, *, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "30", "stop")

    def close(self) -> None:
        if self.running:
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def database(self, *, user: str = "bridge") -> PostgresAddress:
        """An empty database owned by ``user``: one for all tests, emptied each time, since making one takes long."""
        with self.connect("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (user,)).fetchone() is None:
                connection.execute(f"CREATE ROLE {user} LOGIN".encode())
                connection.execute(f"CREATE DATABASE plant OWNER {user}".encode())
        with self.connect("plant") as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (user,))
            connection.execute("DROP SCHEMA IF EXISTS uns CASCADE")
        return PostgresAddress(host=str(self.directory), port=self.port, database="plant", user=user)

    def connect(self, database: str, *, user: str = "admin") -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.directory), port=self.port, dbname=database, user=user, autocommit=True)

    def run(self, program: str, *arguments: object) -> None:
        """One of its programs, as its user: pg_dump, pg_restore."""
        self._run(program, *arguments)

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as_user, str(self._binaries / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.fail(f"{program}: {done.stdout}{done.stderr}")
