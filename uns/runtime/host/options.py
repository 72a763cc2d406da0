"""What a host is told: addresses, places, bounds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.mqtt import BrokerAddress
from uns.errors import ConfigurationError
from uns.runtime.host.joiner import JoinerLimits
from uns.runtime.host.order_state import OrderStateLimits
from uns.runtime.host.output import OutputLimits
from uns.sparkplug.codec import PAYLOAD_BYTES_MAX, Leniency

__all__ = ["DEFAULT_HOST_ID", "REORDER_TIMEOUT_MS_MAX", "HostOptions", "parse_duration_ns", "parse_size"]

DEFAULT_HOST_ID = "uns-host-1"
REORDER_TIMEOUT_MS_MAX = 600_000
DAY_NS = 86_400 * 1_000_000_000

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_DURATIONS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": DAY_NS}


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One host process."""

    tree: Path
    broker: BrokerAddress
    store: Path
    host_id: str = DEFAULT_HOST_ID
    api: str | None = None  # None: host.sock in the store
    raw_retention_ns: int | None = 7 * DAY_NS
    raw_bytes_max: int | None = 2 * 10**9
    record_bytes_max: int | None = None
    stats_file: Path | None = None
    anchor_file: Path | None = None  # a second place for the anchor of the audit log, outside of the store
    reorder_timeout_ms: int = 5000  # how long a missing seq is waited for (operational-behavior-host-reordering-param)
    rebirths_per_second_max: int = 10  # over all nodes; 0: this host looks on, and asks nobody
    accept_compressed: bool = False  # payloads in the envelope SPBV1.0_COMPRESSED
    accept_nanoseconds: bool = False  # timestamps that can only be ns
    unlimited_time: bool = False  # believe every source time: for replays of the past
    joining: JoinerLimits = JoinerLimits()
    output: OutputLimits = OutputLimits()
    orders: OrderStateLimits = OrderStateLimits()

    @property
    def leniency(self) -> Leniency:
        """What is read of foreign payloads beyond the standard."""
        return Leniency(
            scale_nanoseconds=self.accept_nanoseconds,
            inflate_bytes_max=PAYLOAD_BYTES_MAX if self.accept_compressed else 0,
        )

    @property
    def api_address(self) -> str:
        """Where the API listens."""
        return f"unix:{self.store / 'host.sock'}" if self.api is None else self.api

    def for_audit(self) -> dict[str, Any]:
        """What the audit log tells when it changes between two starts. Secrets are names of files and variables."""
        told: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return {name: value for name, value in told.items() if name != "tree"}


def parse_size(text: str) -> int:
    """``2GB``, ``512MiB``, ``1000`` to bytes; raise :class:`ConfigurationError` for another form."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in _SIZES:
        raise ConfigurationError(f"{text!r} is no size", expected="a number with B, KB, MB, GB, KiB, MiB or GiB")
    return int(float(found[1]) * _SIZES[found[2].upper()])


def parse_duration_ns(text: str) -> int:
    """``300s``, ``7d`` to nanoseconds; raise :class:`ConfigurationError` for another form."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*(ms|s|m|h|d)", text.strip())
    if found is None:
        raise ConfigurationError(f"{text!r} is no duration", expected="a number with ms, s, m, h or d")
    return int(float(found[1]) * _DURATIONS[found[2]])
