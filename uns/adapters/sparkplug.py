"""A Sparkplug session, edge node's or host's, over one MQTT connection: the loop that most programs would write.

The session decides; this carries out its actions in order, hands it what comes in, and wakes it at its deadlines. One
object is one CONNECT, for which the caller calls ``session.connect(…)`` first; after :class:`ConnectionLost` a program
calls ``connect`` again and makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from uns.adapters.broker_address import BrokerAddress
from uns.adapters.mqtt import MqttConnection
from uns.errors import ConfigurationError, ConnectionLost, LocalProtocolError, UnreachableError
from uns.sparkplug.messages import Action, Connect, Disconnect, Message, Subscribe

__all__ = ["BrokerAddress", "Session", "SparkplugConnection", "run"]

_NS_PER_S = 1_000_000_000
# How a program ends, as every command of this product does.
_EXIT_READER_GONE = 1
_EXIT_CONFIGURATION = 2
_EXIT_UNREACHABLE = 3
_EXIT_INTERRUPTED = 130
_Event = TypeVar("_Event")
_Event_co = TypeVar("_Event_co", covariant=True)


class Session(Protocol[_Event_co]):
    """What :class:`~uns.sparkplug.EdgeNodeSession` and :class:`~uns.sparkplug.HostSession` have in common."""

    def actions(self) -> list[Action]: ...  # noqa: D102
    def events(self) -> Sequence[_Event_co]: ...  # noqa: D102
    def next_deadline_ns(self) -> int | None: ...  # noqa: D102
    def receive_connected(self, now_ns: int) -> None: ...  # noqa: D102
    def receive_subscribed(self, now_ns: int) -> None: ...  # noqa: D102
    def receive_message(self, topic: str, payload: bytes, *, retain: bool, now_ns: int) -> None: ...  # noqa: D102
    def receive_timer(self, now_ns: int) -> None: ...  # noqa: D102
    def receive_disconnected(self, now_ns: int) -> None: ...  # noqa: D102
    def close(self, now_ns: int) -> None: ...  # noqa: D102


class SparkplugConnection(Generic[_Event]):
    """An async context manager: entered, the session is subscribed; left, it has said goodbye and is disconnected.

    Entering raises :class:`~uns.errors.UnreachableError` or :class:`~uns.errors.ConfigurationError` where there is no
    broker to be had; the session is then disconnected, and may ``connect`` again.
    """

    def __init__(
        self,
        session: Session[_Event],
        address: BrokerAddress,
        *,
        keep_alive_s: int = 30,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._session = session
        self._address = address
        self._keep_alive_s = keep_alive_s
        self._clock = clock
        self._connection: MqttConnection | None = None
        self._told_of_loss = False

    async def __aenter__(self) -> Self:
        """Open the connection, subscribe, and let the session go on from there."""
        actions = self._session.actions()
        connect = actions[0] if len(actions) == 1 else None
        if self._connection is not None or not isinstance(connect, Connect):
            raise LocalProtocolError(
                "the session asks for no connection, or this object has had its own",
                expected="session.connect(…) directly before, and a new SparkplugConnection for each",
            )
        connection = MqttConnection(
            self._address, client_id=connect.client_id, will=connect.will, keep_alive_s=self._keep_alive_s
        )
        self._connection = connection
        try:
            await connection.__aenter__()
        except BaseException:
            self._lose()
            raise
        try:
            self._session.receive_connected(self._clock())
            await self.flush()
            self._session.receive_subscribed(self._clock())
            await self.flush()
        except BaseException:
            connection.abort()
            self._lose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._told_of_loss:
            self._session.close(self._clock())
            with contextlib.suppress(ConnectionLost):
                await self.flush()
        if self._connection is not None:
            await self._connection.__aexit__(exc_type, exc, tb)
        self._lose()

    async def flush(self) -> None:
        """Carry out what the session has decided. ``receive`` does so first; call it to have something out sooner."""
        connection = self._open()
        messages: list[Message] = []
        for action in self._session.actions():
            if isinstance(action, Subscribe):
                await connection.subscribe(action.filters)
            elif isinstance(action, Disconnect):
                connection.publish_many(messages)
                messages = []
                await connection.disconnect()
            elif not isinstance(action, Connect):
                messages.append(action.message)
        if messages:
            connection.publish_many(messages)
            await connection.writable()

    async def receive(self, timeout_s: float | None = None) -> Sequence[_Event]:
        """The session's next events, in order; none where nothing happened within ``timeout_s``.

        Raises :class:`ConnectionLost` when the connection is over, after the events that this caused were given.
        """
        ends_at_ns = None if timeout_s is None else self._clock() + int(timeout_s * _NS_PER_S)
        if self._told_of_loss:
            raise ConnectionLost("the connection is over", where=self._address.url)
        try:
            while True:
                await self.flush()
                if events := self._session.events():
                    return events
                if ends_at_ns is not None and self._clock() >= ends_at_ns:
                    return ()
                await self._wait(ends_at_ns)
        except ConnectionLost:
            self._lose()
            if events := self._session.events():
                return events
            raise

    async def _wait(self, ends_at_ns: int | None) -> None:
        """Until messages come, the session's deadline or the caller's time: hand over what there is."""
        deadlines = [at for at in (ends_at_ns, self._session.next_deadline_ns()) if at is not None]
        wait_s = max(0.0, (min(deadlines) - self._clock()) / _NS_PER_S) if deadlines else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                for message in await self._open().next_batch():
                    self._session.receive_message(
                        message.topic, message.payload, retain=message.retain, now_ns=self._clock()
                    )
        self._session.receive_timer(self._clock())

    def _open(self) -> MqttConnection:
        if self._connection is None:
            raise LocalProtocolError("the connection is not open", expected="async with SparkplugConnection(…)")
        return self._connection

    def _lose(self) -> None:
        if not self._told_of_loss:
            self._told_of_loss = True
            self._session.receive_disconnected(self._clock())


def run(program: Coroutine[Any, Any, None]) -> None:
    """Run a program to its end, as a shell or a service expects it; a mistake in the program keeps its traceback.

    Ctrl-C and SIGTERM leave every ``async with``, so that sessions say goodbye, and exit with 130 and 0. A broker that
    is not there, or not any more, is one line on standard error and exits with 3; an address that is none, with 2.
    """
    try:
        asyncio.run(_until_terminated(program))
    except KeyboardInterrupt:
        _end("interrupted", _EXIT_INTERRUPTED)
    except UnreachableError as error:
        _end(str(error), _EXIT_UNREACHABLE)
    except ConfigurationError as error:
        _end(str(error), _EXIT_CONFIGURATION)
    except BrokenPipeError:  # whoever read the output has gone; what is still to be flushed must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(_EXIT_READER_GONE) from None


async def _until_terminated(program: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(program, name="program")
    with contextlib.suppress(NotImplementedError):  # there are no such signals on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if (me := asyncio.current_task()) is not None and me.cancelling():
            raise  # Ctrl-C
        sys.stderr.write("terminated\n")


def _end(why: str, exit_code: int) -> NoReturn:
    sys.stderr.write(f"{why}\n")
    raise SystemExit(exit_code)
