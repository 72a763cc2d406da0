"""PostgreSQL under the contract suite: refusals are those that a database really gives."""

from __future__ import annotations

from typing import Any

from tests.bridges.logs import HandLog
from tests.bridges.postgres.server import PostgresServer
from uns.adapters.postgres import PostgresAddress, PostgresTarget
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.bridges.postgres.mapping import PostgresMapping

__all__ = ["PostgresHarness"]

_REFUSE = """
    CREATE OR REPLACE FUNCTION uns.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.value_num IN ({values}) THEN
            RAISE EXCEPTION 'refused %', NEW.value_num USING ERRCODE = '{state}';
        END IF;
        RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON uns.samples FOR EACH ROW EXECUTE FUNCTION uns.refuse();
    """


class PostgresHarness:
    name = "postgres"
    ordered = False
    positions_max = 2
    kinds = frozenset({"transient", "auth", "business", "poison"})

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.address: PostgresAddress = server.database()
        self.log: HandLog | None = None

    def admin(self) -> Any:
        return self.server.connect(self.address.database)

    def bridge(self) -> Any:
        assert self.log is not None
        return PostgresMapping(), PostgresTarget("history", self.address, RecordCursor(self.log.path))

    async def delivered(self) -> list[float]:
        if not self.server.running:
            return []
        with self.admin() as connection:
            if connection.execute("SELECT to_regclass('uns.samples')").fetchone()[0] is None:
                return []
            return [
                row[0]
                for row in connection.execute(
                    "SELECT value_num FROM uns.samples LEFT JOIN uns.deliveries ON position "
                    "BETWEEN first_position AND last_position ORDER BY number, position"
                )
            ]

    async def trouble(self, kind: str | None) -> None:
        if kind == "transient":
            self.server.stop()
        elif kind == "auth":
            self._alter("NOLOGIN")
            with self.admin() as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bridge'")
        else:
            if not self.server.running:
                self.server.start()
            self._alter("LOGIN")

    def _alter(self, what: str) -> None:
        with self.admin() as connection:
            connection.execute(f"ALTER ROLE bridge {what}".encode())

    async def refuse(self, value: float, kind: str | None) -> None:
        # The bridge has to make its schema first.
        _, target = self.bridge()
        assert isinstance(await target.start(), int)
        await target.close()
        with self.admin() as connection:
            if kind is None:
                connection.execute("DROP TRIGGER refuse ON uns.samples")
            else:
                state = "P0001" if kind == "business" else "22000"
                connection.execute(_REFUSE.format(values=value, state=state).encode())
