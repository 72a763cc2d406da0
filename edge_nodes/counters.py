"""What happened toward the broker, in numbers."""

from __future__ import annotations

import msgspec

__all__ = ["PublisherCounters"]


class PublisherCounters(msgspec.Struct):
    """Since the start of the process; parts of the stats by these names."""

    connects: int = 0
    births: int = 0
    device_births: int = 0
    device_deaths: int = 0
    data_messages: int = 0
    marks: int = 0
    confirms: int = 0
    refusals: int = 0
    unanswered: int = 0
    commands_refused: int = 0
    messages_ignored: int = 0  # what could not be read, or came at a wrong time
    clock_steps: int = 0  # of the wall clock, either way
    clock_set_back: int = 0  # of these the ones that ended a session
