"""Child processes: their first line, their failures with their logs, and none left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.servers import eventually
from uns.runtime.children import ChildFailedError, Children

pytestmark = pytest.mark.integration

READY = 'import sys,time; print(\'{"ready":true,"port":7}\', flush=True); time.sleep(60)'
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); time.sleep(60)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_first_line_says_that_it_is_ready(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("plc", python(READY), messages=True)
        assert await child.read_message() == {"ready": True, "port": 7}


async def test_a_child_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    program = "import sys; sys.stderr.write('port 502 is taken\\n'); sys.exit(3)"
    async with Children(tmp_path) as children:
        child = await children.start("plc", python(program), messages=True)
        with pytest.raises(ChildFailedError, match=r"plc ended with exit code 3(.|\n)*port 502 is taken"):
            await child.read_message()


async def test_a_child_that_says_nothing_is_named(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("plc", python("import time; time.sleep(60)"), messages=True)
        with pytest.raises(ChildFailedError, match="plc said nothing"):
            await child.read_message(timeout_s=0.1)


async def test_a_child_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("host", python("raise SystemExit('no broker')"))
        await eventually(lambda: child.return_code is not None)
        with pytest.raises(ChildFailedError, match="no broker"):
            children.check()


async def test_no_child_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - what happens inside is the point
        async with Children(tmp_path) as children:
            child = await children.start("plc", python(READY), messages=True)
            await child.read_message()
            raise RuntimeError
    assert not alive(child.pid)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("plc", python(STUBBORN), messages=True)
        await child.read_message()
        assert await child.stop(timeout_s=0.2) == -9


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's death on Linux only")
async def test_children_go_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, pathlib, signal, sys
from uns.runtime.children import Children
async def main():
    async with Children(pathlib.Path({str(tmp_path)!r})) as children:
        child = await children.start("plc", [sys.executable, "-c", {READY!r}], messages=True)
        await child.read_message()
        print('{{"pid":%d}}' % child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    async with Children(tmp_path) as children:
        parent = await children.start("parent", python(program), messages=True)
        pid = (await parent.read_message())["pid"]
        await eventually(lambda: not alive(pid) or _is_zombie(pid), what="the grandchild ends")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


async def test_stopping_takes_no_longer_than_the_child(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("plc", python(READY), messages=True)
        await child.read_message()
        began = time.monotonic()
        await child.stop()
        assert time.monotonic() - began < 5
