"""The kind ``postgres``: its target settings, and what is built of them."""

from __future__ import annotations

from pathlib import Path

from uns.adapters.postgres import PostgresAddress, PostgresTarget
from uns.adapters.secrets import read_secret
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.bridges.port import Mapping, Target
from uns.bridges.postgres.mapping import PostgresMapping
from uns.bridges.postgres.schema import SCHEMA_NAME_RULE, is_schema_name
from uns.namespace.yaml_file import Fields
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.bridge.kinds import Kind

__all__ = ["KIND"]

_TLS = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OPTIONAL = (
    "host", "port", "user", "schema", "password", "password_file", "password_env",
    "tls", "ca_file", "cert_file", "key_file",
)  # fmt: skip


def _read_target(fields: Fields, directory: Path) -> PostgresAddress:
    schema = fields.text("schema", default="uns")
    if not is_schema_name(schema):
        fields.findings.error(
            "schema", f"{schema!r} cannot name a schema", fields.position_of("schema"), SCHEMA_NAME_RULE
        )
    host = fields.text("host", default="")
    tls = fields.choice("tls", {word: word for word in _TLS}, default="")
    if not tls:
        # Across a network only to whom we know; on this machine there is nobody between.
        tls = (
            "verify-full" if host and not host.startswith("/") and host not in {"localhost", "127.0.0.1"} else "prefer"
        )
    files = {key: fields.text(key, default=None) for key in ("ca_file", "cert_file", "key_file")}
    return PostgresAddress(
        host=host,
        port=fields.integer("port", default=5432, minimum=1, maximum=65535),
        database=fields.text("database", default="uns"),
        user=fields.text("user", default="uns"),
        schema=schema,
        password=read_secret(fields, directory),
        tls=tls,
        **{key: None if place is None else directory / place for key, place in files.items()},
    )


def _build(config: BridgeConfig, log: RecordCursor) -> tuple[Mapping, Target]:
    return PostgresMapping(), PostgresTarget(config.name, config.target, log)


KIND = Kind(
    target_required=("database",),
    target_optional=_OPTIONAL,
    read_target=_read_target,
    build=_build,
    audit_sums=True,  # a copy of the log makes several items a second, for ever
)
