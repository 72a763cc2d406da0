"""The two programs of docs/reference/sparkplug.md run against a real broker, and are as short as they say."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from tests.servers import free_port, mosquitto

ROOT = Path(__file__).resolve().parents[2]
LINES = {"03_publish_a_device": 30, "04_follow_a_plant": 20}


def lines_of(source: str) -> int:
    """Lines that say something: imports too; no blank ones, no comments, not the text at the top."""
    text = ast.parse(source).body[0]
    top = range(text.lineno, (text.end_lineno or 0) + 1)
    lines = enumerate(source.splitlines(), start=1)
    return sum(1 for number, line in lines if number not in top and line.strip() and not line.strip().startswith("#"))


@pytest.mark.parametrize("name", sorted(LINES))
def test_the_example_is_as_short_as_it_says(name: str) -> None:
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert f"in {LINES[name]} lines" in source
    assert lines_of(source) <= LINES[name]


def test_the_page_shows_the_program_as_it_is() -> None:
    page = (ROOT / "docs/reference/sparkplug.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown in (ROOT / "examples/04_follow_a_plant.py").read_text(encoding="utf-8")


async def start(name: str, url: str, directory: Path) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"examples.{name}", url),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=_with_ctrl_c,
    )


def _with_ctrl_c() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def ended(process: Process) -> tuple[int, list[str]]:
    """The exit code, and what was said on standard error."""
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode().splitlines()


async def kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def lines_until(process: Process, pattern: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(30):
        while not lines or not re.fullmatch(pattern, lines[-1]):
            line = await process.stdout.readline()
            assert line, f"ended after {lines}"
            lines.append(line.decode().rstrip())
    return lines


@pytest.mark.integration
async def test_one_example_follows_what_the_other_publishes(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        follower = await start("04_follow_a_plant", broker.url, tmp_path)
        try:
            for bd_seq in ("0", "1"):  # a second life of the node is born with the next bdSeq
                publisher = await start("03_publish_a_device", broker.url, tmp_path)
                try:
                    lines = await lines_until(follower, r"acme.dallas/example-node reactor4 temperature 18[123]\.\d+")
                    assert "acme.dallas/example-node NodeBorn" in lines
                    assert (tmp_path / "example-node.bdseq").read_text() == bd_seq
                finally:
                    await kill(publisher)  # no goodbye: the broker sends the Will
                await lines_until(follower, "acme.dallas/example-node NodeDied")
        finally:
            await kill(follower)


@pytest.mark.parametrize("name", sorted(LINES))
@pytest.mark.parametrize(("url", "code"), [("mqtt://127.0.0.1:{port}", 3), ("http://127.0.0.1", 2)])
async def test_a_broker_that_cannot_be_had_is_one_line(name: str, url: str, code: int, tmp_path: Path) -> None:
    url = url.format(port=free_port())
    found, said = await ended(await start(name, url, tmp_path))
    assert (found, len(said)) == (code, 1)
    assert url in said[0]


@pytest.mark.integration
async def test_ctrl_c_and_a_service_s_stop_end_both_with_their_goodbyes(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        for number, expected in ((signal.SIGINT, (130, ["interrupted"])), (signal.SIGTERM, (0, ["terminated"]))):
            follower = await start("04_follow_a_plant", broker.url, tmp_path)
            publisher = await start("03_publish_a_device", broker.url, tmp_path)
            try:
                await lines_until(follower, r"acme.dallas/example-node reactor4 temperature .*")
                publisher.send_signal(number)
                assert await ended(publisher) == expected
                await lines_until(follower, "acme.dallas/example-node NodeDied")
                follower.send_signal(number)
                assert await ended(follower) == expected
            finally:
                await kill(publisher)
                await kill(follower)


@pytest.mark.integration
async def test_a_reader_that_goes_away_ends_a_program_without_a_word(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        publisher = await start("03_publish_a_device", broker.url, tmp_path)
        follower = await start("04_follow_a_plant", broker.url, tmp_path)
        try:
            await lines_until(follower, r"acme.dallas/example-node reactor4 temperature .*")
            assert follower.stdout is not None
            follower.stdout._transport.close()  # type: ignore[attr-defined]  # as `| head -1` does
            assert await ended(follower) == (1, [])
        finally:
            await kill(publisher)
            await kill(follower)


@pytest.mark.integration
async def test_a_broker_that_goes_away_ends_a_program_in_one_line(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        publisher = await start("03_publish_a_device", broker.url, tmp_path)
        follower = await start("04_follow_a_plant", broker.url, tmp_path)
        await lines_until(follower, r"acme.dallas/example-node reactor4 temperature .*")
    try:
        for process in (follower, publisher):
            code, said = await ended(process)
            assert (code, len(said)) == (3, 1)
            assert broker.url in said[0]
    finally:
        await kill(publisher)
        await kill(follower)
