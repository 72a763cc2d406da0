from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tests.proxy import FaultProxy


@contextlib.asynccontextmanager
async def an_echo():
    """A server that says back what it hears; ends with its client."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def a_proxied_echo(*, seed: int = 0):
    async with an_echo() as port, FaultProxy("127.0.0.1", port, seed=seed) as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, proxy: FaultProxy) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def ask(self, data: bytes, *, timeout_s: float = 5.0) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), timeout_s)

    async def rest(self, *, timeout_s: float = 5.0) -> bytes:
        return await asyncio.wait_for(self.reader.read(), timeout_s)

    def close(self) -> None:
        self.writer.close()


async def test_without_faults_bytes_pass():
    async with a_proxied_echo() as proxy:
        client = await Client.to(proxy)
        assert await client.ask(b"x" * 100_000) == b"x" * 100_000
        assert (proxy.bytes_up, proxy.bytes_down, proxy.connections) == (100_000, 100_000, 1)
        client.close()


@pytest.mark.parametrize("direction", [None, "up", "down"])
async def test_a_freeze_holds_bytes_back_and_ends_nothing(direction):
    async with a_proxied_echo() as proxy:
        client = await Client.to(proxy)
        await client.ask(b"before")
        proxy.freeze(direction)
        with pytest.raises(TimeoutError):
            await client.ask(b"during", timeout_s=0.1)
        assert not client.reader.at_eof()
        assert proxy.bytes_up == (12 if direction == "down" else 6)
        proxy.thaw()
        assert await asyncio.wait_for(client.reader.readexactly(6), 5) == b"during"
        client.close()


async def test_a_freeze_holds_back_the_end_as_well():
    async with a_proxied_echo() as proxy:
        client = await Client.to(proxy)
        await client.ask(b"x")
        proxy.freeze()
        client.writer.write_eof()
        with pytest.raises(TimeoutError):
            await client.rest(timeout_s=0.1)
        proxy.thaw()
        assert await client.rest() == b""
        client.close()


async def test_fin_ends_in_order():
    async with a_proxied_echo() as proxy:
        client = await Client.to(proxy)
        await client.ask(b"x")
        proxy.fin()
        assert await client.rest() == b""
        assert proxy.open_connections == 0
        client.close()


async def test_rst_ends_hard():
    async with a_proxied_echo() as proxy:
        client = await Client.to(proxy)
        await client.ask(b"x")
        proxy.rst()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        client.close()


@pytest.mark.parametrize("count", [1, 7, 4_096])
async def test_cut_after_passes_exactly_so_many_bytes(count):
    async with a_proxied_echo() as proxy:
        client = await Client.to(proxy)
        await client.ask(b"x" * 10)
        proxy.cut_after(count, direction="down", how="fin")
        client.writer.write(b"y" * 10_000)
        with contextlib.suppress(ConnectionResetError):
            assert await client.rest() == b"y" * count
        assert proxy.bytes_down == 10 + count
        assert proxy.cuts == 1
        client.close()


async def test_random_cuts_follow_the_seed():
    async def lives(seed: int) -> list[int]:
        found = []
        async with a_proxied_echo(seed=seed) as proxy:
            proxy.cut_randomly(1, 5_000, how="rst")
            for _ in range(4):
                before = proxy.bytes_up
                client = await Client.to(proxy)
                client.writer.write(b"z" * 6_000)
                with contextlib.suppress(ConnectionResetError):
                    await client.rest()
                found.append(proxy.bytes_up - before)
                client.close()
        return found

    assert await lives(1) == await lives(1) != await lives(2)


async def test_throttle_limits_the_rate():
    async with a_proxied_echo() as proxy:
        proxy.throttle(50_000)
        client = await Client.to(proxy)
        begin = time.monotonic()
        await client.ask(b"x" * 10_000)
        assert time.monotonic() - begin >= 0.15
        client.close()


async def test_delay_keeps_order():
    async with a_proxied_echo(seed=3) as proxy:
        proxy.delay(0.02, 0.02)
        client = await Client.to(proxy)
        begin = time.monotonic()
        for number in range(5):
            client.writer.write(bytes([number]))
            await client.writer.drain()
        assert await asyncio.wait_for(client.reader.readexactly(5), 5) == bytes(range(5))
        assert time.monotonic() - begin >= 0.04
        client.close()


async def test_refuse_refuses_and_accept_listens_on_the_same_port():
    async with a_proxied_echo() as proxy:
        port = proxy.port
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await Client.to(proxy)
        await proxy.accept()
        assert proxy.port == port
        client = await Client.to(proxy)
        assert await client.ask(b"again") == b"again"
        client.close()


async def test_swallow_accepts_and_stays_silent():
    async with a_proxied_echo() as proxy:
        proxy.swallow()
        client = await Client.to(proxy)
        with pytest.raises(TimeoutError):
            await client.ask(b"hello?", timeout_s=0.1)
        assert proxy.bytes_up == 0
        client.close()


async def test_clear_takes_every_fault_away():
    async with a_proxied_echo() as proxy:
        proxy.throttle(1)
        proxy.delay(10)
        proxy.freeze()
        proxy.swallow()
        proxy.cut_randomly(1, 1)
        proxy.clear()
        client = await Client.to(proxy)
        assert await client.ask(b"x" * 1_000) == b"x" * 1_000
        client.close()


async def test_a_server_that_is_away_ends_the_client():
    async with FaultProxy("127.0.0.1", 1) as proxy:
        client = await Client.to(proxy)
        with contextlib.suppress(ConnectionResetError):
            assert await client.rest() == b""
        client.close()
