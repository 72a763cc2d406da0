"""Structured logs on stderr: one event, then fields. The only place that configures structlog.

INFO says births and deaths, WARNING what heals itself, ERROR loss or that a human is needed.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

__all__ = ["Logger", "configure_logs", "get_logger"]

Logger = structlog.stdlib.BoundLogger

_LIBRARIES = ("aiohttp", "asyncio", "asyncua", "amqtt", "mqtt", "pymodbus", "transitions", "websockets")


def configure_logs(*, as_json: bool, level: str = "info", stream: TextIO | None = None) -> None:
    """Once per process, before the first line. ``as_json`` for machines, else one readable line an event."""
    number = logging.getLevelNamesMapping()[level.upper()]
    target = sys.stderr if stream is None else stream
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=32)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=True,
    )
    # What libraries say goes the same way, from warnings up.
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


def get_logger(component: str) -> Logger:
    """A logger whose events carry ``component``."""
    logger: Logger = structlog.get_logger(component=component)
    return logger


class _Forward(logging.Handler):
    """Give a record of the standard library to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        exception = record.exc_info if record.exc_info and record.exc_info[0] is not None else None
        getattr(structlog.get_logger(component=record.name), level)(record.getMessage(), exc_info=exception)
