"""JSON over HTTP on a Unix socket or on loopback: the host's API, and the client side of it. The only aiohttp import.

An address is ``unix:/path/to/host.sock``, a path, or ``127.0.0.1:PORT``. Nothing but loopback is bound: there is no
login, whoever reaches the socket may read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web

from uns.errors import ConfigurationError, UnreachableError, UnsError

__all__ = ["ApiAddress", "ApiServer", "NotFoundError", "PlainText", "get_json", "parse_api_address", "stream_json"]

_SOCKET_PATH_BYTES_MAX = 107  # of sockaddr_un on Linux, without its NUL
_REQUEST_BYTES_MAX = 64 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Query = Mapping[str, str]


class PlainText(msgspec.Struct, frozen=True):
    """An answer that is not JSON (Prometheus metrics)."""

    text: str


Answer = Callable[[Query], Awaitable[Any]]
Stream = Callable[[Query], AsyncGenerator[Any, None]]


class NotFoundError(UnsError):
    """What was asked for does not exist; the text says what does."""


class ApiAddress(msgspec.Struct, frozen=True):
    """Either a socket file or a port on loopback."""

    path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else f"{self.host}:{self.port}"


def parse_api_address(text: str) -> ApiAddress:
    """Read an address; raise :class:`ConfigurationError` for another form or for anything beyond loopback."""
    form = "unix:/path/host.sock or 127.0.0.1:PORT"
    if text.startswith("unix:") or "/" in text.removeprefix("http://"):
        path = Path(text.removeprefix("unix:").removeprefix("//"))
        if len(str(path).encode()) > _SOCKET_PATH_BYTES_MAX:
            raise ConfigurationError(
                f"the socket path has {len(str(path).encode())} bytes",
                where=str(path),
                expected=f"at most {_SOCKET_PATH_BYTES_MAX} (the system's bound)",
                next_step="give --api with a shorter path, or 127.0.0.1:PORT",
            )
        return ApiAddress(path=path)
    host, _, port = text.removeprefix("http://").rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ConfigurationError(f"API address {text!r} cannot be read", expected=form)
    if host not in _LOOPBACK:
        raise ConfigurationError(
            f"API address {text!r} is not on loopback",
            expected=form,
            next_step="the API has no login: reach it through an SSH tunnel or a proxy that has one",
        )
    return ApiAddress(host=host, port=int(port))


class ApiServer:
    """Serve ``answers`` (path to function) and ``streams`` (path to generator, one JSON line each).

    A function gets the query as a mapping. :class:`NotFoundError` becomes 404, :class:`ConfigurationError` 400, others
    of ours 500, each with ``{"error": …}``.
    """

    def __init__(self, address: ApiAddress, *, answers: Mapping[str, Answer], streams: Mapping[str, Stream]) -> None:
        self.address = address
        application = web.Application(client_max_size=_REQUEST_BYTES_MAX)
        for path, answer in answers.items():
            application.router.add_get(path, _answering(answer))
        for path, stream in streams.items():
            application.router.add_get(path, _streaming(stream))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> Self:
        """Start to listen; raise :class:`ConfigurationError` where that is impossible."""
        await self._runner.setup()
        try:
            if self.address.path is not None:
                await asyncio.to_thread(_clear_stale_socket, self.address.path)
                await web.UnixSite(self._runner, str(self.address.path)).start()
                await asyncio.to_thread(self.address.path.chmod, 0o660)
            else:
                await web.TCPSite(self._runner, self.address.host, self.address.port).start()
                port = self._runner.addresses[0][1]
                self.address = msgspec.structs.replace(self.address, port=port)
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigurationError(
                f"the API cannot listen: {error.strerror or error}",
                where=str(self.address),
                next_step="another host may run there; give another --api",
            ) from error
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        if self.address.path is not None:
            with contextlib.suppress(OSError):
                self.address.path.unlink()


def _clear_stale_socket(path: Path) -> None:
    """Remove what a killed process left; never a socket that somebody listens on, nor another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _answering(answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            found = await answer(request.query)
        except UnsError as error:
            return _error(error)
        if isinstance(found, PlainText):
            return web.Response(text=found.text, content_type="text/plain")
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    return handle


def _streaming(stream: Stream) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        async with contextlib.aclosing(stream(request.query)) as lines:
            try:
                first = await anext(lines, None)
            except UnsError as error:
                return _error(error)
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                if first is not None:
                    await response.write(msgspec.json.encode(first) + b"\n")
                async for line in lines:
                    await response.write(msgspec.json.encode(line) + b"\n")
        return response

    return handle


def _error(error: UnsError) -> web.Response:
    status = 404 if isinstance(error, NotFoundError) else 400 if isinstance(error, ConfigurationError) else 500
    body = msgspec.json.encode({"error": str(error)})
    return web.Response(status=status, body=body, content_type="application/json")


def _address(address: ApiAddress | str) -> ApiAddress:
    return parse_api_address(address) if isinstance(address, str) else address


@contextlib.asynccontextmanager
async def _get(address: ApiAddress, path: str, query: Query, total_s: float | None) -> AsyncIterator[Any]:
    connector = aiohttp.UnixConnector(str(address.path)) if address.path is not None else aiohttp.TCPConnector(limit=1)
    url = f"http://{address.host}:{address.port}{path}" if address.path is None else f"http://host{path}"
    timeout = aiohttp.ClientTimeout(total=total_s, connect=5.0)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            session.get(url, params=dict(query)) as response,
        ):
            if response.status == 200:
                yield response
                return
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UnreachableError(
            f"no host answers ({error or type(error).__name__})",
            where=str(address),
            next_step="start it with `uns host run`, or say where it is with --host-api",
        ) from error
    try:
        text = msgspec.json.decode(body, type=dict[str, str])["error"]
    except (msgspec.DecodeError, KeyError):
        text = f"HTTP {response.status}"
    raise ConfigurationError(text) if response.status == 400 else NotFoundError(text)


async def get_json(address: ApiAddress | str, path: str, query: Query | None = None, *, timeout_s: float = 30.0) -> Any:
    """The answer of a running host.

    Raises :class:`UnreachableError`, :class:`ConfigurationError` for a question that cannot be read, or
    :class:`NotFoundError`.
    """
    async with _get(_address(address), path, query or {}, timeout_s) as response:
        return msgspec.json.decode(await response.read())


async def stream_json(address: ApiAddress | str, path: str, query: Query | None = None) -> AsyncIterator[Any]:
    """One value per line until the host ends the stream."""
    async with _get(_address(address), path, query or {}, None) as response:
        async for line in response.content:
            if line.strip():
                yield msgspec.json.decode(line)
