from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from uns.adapters.http import (
    ApiAddress,
    ApiServer,
    NotFoundError,
    PlainText,
    get_json,
    parse_api_address,
    stream_json,
)
from uns.errors import ConfigurationError, UnreachableError


async def _hello(query) -> dict[str, str]:
    return {"hello": query.get("name", "world")}


async def _nobody(_query) -> None:
    raise NotFoundError("no equipment 'x'", next_step="uns ls shows what there is")


async def _text(_query) -> PlainText:
    return PlainText("uns_up 1\n")


async def _count(query) -> AsyncGenerator[int, None]:
    for n in range(int(query.get("to", "3"))):
        await asyncio.sleep(0)
        yield n


def server(address: ApiAddress) -> ApiServer:
    return ApiServer(
        address, answers={"/hello": _hello, "/nobody": _nobody, "/text": _text}, streams={"/count": _count}
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unix:/run/uns/host.sock", "unix:/run/uns/host.sock"),
        ("var/host.sock", "unix:var/host.sock"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost:8080", "localhost:8080"),
    ],
)
def test_an_address_is_a_socket_file_or_a_port_on_loopback(text, shown):
    assert str(parse_api_address(text)) == shown


@pytest.mark.parametrize("text", ["0.0.0.0:80", "192.168.0.3:80"])
def test_nothing_beyond_loopback_is_bound(text):
    with pytest.raises(ConfigurationError, match="not on loopback"):
        parse_api_address(text)


def test_an_unreadable_address_says_the_form():
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:PORT"):
        parse_api_address("host")
    with pytest.raises(ConfigurationError, match="shorter path"):
        parse_api_address("/" + "x" * 200)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_answers_and_streams_come_over_either_way(tmp_path: Path, kind):
    address = ApiAddress(path=tmp_path / "sub" / "host.sock") if kind == "unix" else ApiAddress()
    async with server(address) as running:
        assert await get_json(running.address, "/hello", {"name": "Ada & co"}) == {"hello": "Ada & co"}
        assert [n async for n in stream_json(running.address, "/count", {"to": "4"})] == [0, 1, 2, 3]
        with pytest.raises(NotFoundError, match="uns ls shows"):
            await get_json(running.address, "/nobody")
        with pytest.raises(NotFoundError, match="404"):
            await get_json(running.address, "/unknown")
    if address.path is not None:
        assert not address.path.exists()


async def test_nobody_there_says_what_to_do(tmp_path):
    with pytest.raises(UnreachableError, match="uns host run"):
        await get_json(ApiAddress(path=tmp_path / "none.sock"), "/hello")
    with pytest.raises(UnreachableError, match="uns host run"):
        await get_json(ApiAddress(port=1), "/hello")


async def test_a_socket_left_by_a_killed_process_is_replaced_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "host.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    async with server(ApiAddress(path=path)) as running:
        assert await get_json(running.address, "/hello") == {"hello": "world"}
        with pytest.raises(ConfigurationError, match="another"):
            await server(ApiAddress(path=path)).__aenter__()
        assert await get_json(running.address, "/hello") == {"hello": "world"}


async def test_a_file_in_the_way_is_kept(tmp_path):
    path = tmp_path / "host.sock"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="in the way"):
        await server(ApiAddress(path=path)).__aenter__()
    assert path.read_text() == "precious"
