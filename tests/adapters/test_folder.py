from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.servers import eventually
from uns.adapters.folder import FolderInbox, FolderOutbox, FolderTroubleError, InboxFile, Verdict, file_name
from uns.bridges.port import Business, Delivered, OutboundItem, Transient
from uns.errors import UnreachableError


def item(key: str = "performance:WO-7/0010", body: bytes = b"<a/>") -> OutboundItem:
    return OutboundItem(key=key, kind="performance", body=body)


@pytest.fixture
def outbox(tmp_path: Path):
    (tmp_path / "out").mkdir()
    return FolderOutbox(tmp_path / "out")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


async def test_a_file_appears_whole_and_is_flushed(outbox: FolderOutbox, tmp_path: Path) -> None:
    assert await outbox.deliver([item()]) == [Delivered(receipt="performance~3AWO-7~2F0010.xml")]
    assert files(tmp_path / "out") == ["performance~3AWO-7~2F0010.xml"]
    assert (tmp_path / "out/performance~3AWO-7~2F0010.xml").read_bytes() == b"<a/>"


@pytest.mark.parametrize("emptied", [True, False])
async def test_a_file_that_went_out_does_not_go_again(outbox: FolderOutbox, tmp_path: Path, emptied: bool) -> None:
    await outbox.deliver([item()])
    if emptied:  # whoever reads the folder was quick
        (tmp_path / "out/performance~3AWO-7~2F0010.xml").unlink()
    assert await outbox.read_back(item()) is True
    assert isinstance((await outbox.deliver([item()]))[0], Delivered)
    assert files(tmp_path / "out") == ([] if emptied else ["performance~3AWO-7~2F0010.xml"])


@pytest.mark.parametrize("call", range(1, 12))
async def test_a_crash_at_any_point_neither_loses_nor_repeats(
    outbox: FolderOutbox, tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every system call that writes is a point to die at."""

    class KilledError(BaseException):
        pass

    calls = 0

    def dying(real: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KilledError
            return real(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dying(os.fsync))
        patched.setattr(Path, "rename", dying(Path.rename))
        patched.setattr(Path, "open", dying(Path.open))
        with contextlib.suppress(KilledError):
            outbox._write(item())
    went = (tmp_path / "out/performance~3AWO-7~2F0010.xml").exists()
    assert await outbox.read_back(item()) is went
    assert isinstance((await outbox.deliver([item()]))[0], Delivered)
    assert files(tmp_path / "out") == ["performance~3AWO-7~2F0010.xml"]


async def test_nothing_is_overwritten(outbox: FolderOutbox, tmp_path: Path) -> None:
    (tmp_path / "out/performance~3AWO-7~2F0010.xml").write_bytes(b"somebody else's")
    [outcome] = await outbox.deliver([item()])
    assert isinstance(outcome, Business)
    assert "nothing is overwritten" in outcome.next_step
    assert (tmp_path / "out/performance~3AWO-7~2F0010.xml").read_bytes() == b"somebody else's"


async def test_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    outbox = FolderOutbox(tmp_path / "share/out")
    outcomes = await outbox.deliver([item(), item("other")])
    assert all(isinstance(outcome, Transient) and "is gone" in outcome.reason for outcome in outcomes)
    assert not (tmp_path / "share").exists()
    assert await outbox.read_back(item()) is None


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "rights")]
)
async def test_a_folder_that_cannot_be_written_is_a_trouble_of_now(
    outbox: FolderOutbox, tmp_path: Path, number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        [outcome] = await outbox.deliver([item()])
    assert isinstance(outcome, Transient)
    assert words in outcome.reason
    assert files(tmp_path / "out") == []
    assert isinstance((await outbox.deliver([item()]))[0], Delivered)


def test_a_key_becomes_a_name_that_every_system_takes() -> None:
    assert file_name("a/b: ü", ".xml") == "a~2Fb~3A~20~C3~BC.xml"
    with pytest.raises(ValueError, match="names no file"):
        file_name("x" * 300, ".xml")


def inbox_of(tmp_path: Path, **settings: Any) -> FolderInbox:
    (tmp_path / "in").mkdir(exist_ok=True)
    defaults: dict[str, Any] = {"poll_s": 0.01, "settle_s": 0.0}
    return FolderInbox(
        tmp_path / "in", archive=tmp_path / "archive", quarantine=tmp_path / "quarantine", **(defaults | settings)
    )


async def running(inbox: FolderInbox, handle: Any, done: Any) -> None:
    task = asyncio.create_task(inbox.run(handle))
    try:
        await eventually(done)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_files_are_taken_oldest_first_and_archived(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path)
    for number, name in enumerate(["b.xml", "a.xml"]):
        (tmp_path / "in" / name).write_text(name)
        os.utime(tmp_path / "in" / name, (1000 + number, 1000 + number))
    (tmp_path / "in/notes.txt").write_text("not ours")
    (tmp_path / "in/b.xml").rename(tmp_path / "in/B.XML")
    taken: list[str] = []

    async def handle(file: InboxFile) -> Verdict:
        taken.append(file.data.decode())
        return Verdict("archive")

    await running(inbox, handle, lambda: inbox.counters["archived"] == 2)
    assert taken == ["b.xml", "a.xml"]
    assert files(tmp_path / "in") == ["notes.txt"]
    assert sorted(path.name for path in (tmp_path / "archive").glob("*/*")) == ["B.XML", "a.xml"]


async def test_what_is_refused_lies_in_quarantine_with_its_report(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path)
    (tmp_path / "in/bad.xml").write_text("<bad")

    async def handle(file: InboxFile) -> Verdict:
        return Verdict("quarantine", "bad.xml:1:4: not well-formed; send it again whole")

    await running(inbox, handle, lambda: inbox.counters["quarantined"] == 1)
    assert "not well-formed" in (tmp_path / "quarantine/bad.xml.report.txt").read_text()
    assert (tmp_path / "quarantine/bad.xml").read_text() == "<bad"


async def test_files_in_quarantine_are_counted_until_they_are_moved_away(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, pattern="*")
    for name in ("1.xml", "2.xml"):
        (tmp_path / "in" / name).write_text("<bad")

    async def handle(file: InboxFile) -> Verdict:
        return Verdict("quarantine", "not well-formed")

    await running(inbox, handle, lambda: inbox.set_aside == 2)
    for path in (tmp_path / "quarantine").iterdir():
        path.unlink()
    await running(inbox, handle, lambda: inbox.set_aside == 0)


async def test_a_file_waits_while_the_host_does_not_answer(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path)
    (tmp_path / "in/order.xml").write_text("<order/>")
    tries = 0

    async def handle(file: InboxFile) -> Verdict:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnreachableError("the host does not answer")
        return Verdict("archive")

    await running(inbox, handle, lambda: inbox.counters["archived"] == 1)
    assert tries == 3


def test_a_file_that_is_still_written_is_left_alone(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, settle_s=2.0, now_s=lambda: 1010.0)
    path = tmp_path / "in/order.xml"
    path.write_text("<or")
    os.utime(path, (1009.0, 1009.0))
    assert inbox.look() == []
    assert inbox.look() == []
    path.write_text("<order/>")
    os.utime(path, (1000.0, 1000.0))
    assert inbox.look() == []  # it changed since the last look
    assert inbox.look() == [path]


def test_a_second_file_of_a_name_overwrites_nothing(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path)
    for content in ("1", "2"):
        (tmp_path / "in/order.xml").write_text(content)
        file = inbox.read(tmp_path / "in/order.xml")
        assert file is not None
        inbox.archive(file)
    kept = sorted(path.read_text() for path in (tmp_path / "archive").glob("*/*.xml"))
    assert kept == ["1", "2"]


def test_an_inbox_that_is_gone_says_so(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path)
    (tmp_path / "in").rmdir()
    with pytest.raises(FolderTroubleError, match="is gone; mount or make it again"):
        inbox.look()


async def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, file_bytes_max=10)
    (tmp_path / "in/order.xml").write_text("x" * 11)
    await running(inbox, None, lambda: inbox.counters["quarantined"] == 1)
    assert "larger than 10 bytes" in (tmp_path / "quarantine/order.xml.report.txt").read_text()
