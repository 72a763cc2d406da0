"""One bridge as one frozen configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.broker_address import BrokerAddress
from uns.bridges.rules import RetryPolicy
from uns.runtime.bridge.runner import RunnerLimits

__all__ = ["BridgeConfig"]


class BridgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One bridge, ready to run. ``target`` is what the kind's own reader made."""

    file: Path
    name: str
    kind: str
    host_store: Path
    store: Path
    store_bytes_max: int
    target: Any
    retry: RetryPolicy
    limits: RunnerLimits
    grace_ns: int
    dry_run: bool
    broker: BrokerAddress | None = None
    tree: Path | None = None
    anchor_file: Path | None = None  # a place for the anchor of the audit log, outside of the store's

    def for_audit(self) -> dict[str, Any]:
        """What the audit log tells when it changes between two starts; secrets are names of files and variables."""
        told: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return told

    @property
    def record_log(self) -> Path:
        """The host's record log."""
        return self.host_store / "records.db"
