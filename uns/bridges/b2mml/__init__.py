"""B2MML: schedules in, performances out. Pure: bytes and records, no file, no clock."""

from __future__ import annotations

from uns.bridges.b2mml.document import Limits
from uns.bridges.b2mml.mapping import response_id
from uns.bridges.b2mml.orders import ReadOptions
from uns.bridges.b2mml.performance import write_performance
from uns.bridges.b2mml.responses import PerformanceReading, read_performance
from uns.bridges.b2mml.schedule import JobDefinition, ScheduleReading, read_schedule

__all__ = [
    "JobDefinition",
    "Limits",
    "PerformanceReading",
    "ReadOptions",
    "ScheduleReading",
    "read_performance",
    "read_schedule",
    "response_id",
    "write_performance",
]
