"""Folders as a way in and out: files that appear whole, are taken once, and never vanish without a trace.

Out: a file is written under ``.uns/``, flushed, noted there as sent, then renamed into place; so nobody reads half a
file, and after a crash the note tells whether the reader may have taken it already.
In: the folder is polled; a file is taken when it has not changed between two looks; afterwards it goes to the archive,
or to the quarantine with a report beside it.

A folder that is full, read-only or gone is a trouble of now: it is said and tried again.
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from uns.adapters.logs import get_logger
from uns.bridges.port import Auth, Business, Delivered, Finding, OutboundItem, Outcome, Transient, Unknown
from uns.errors import StorageError, UnreachableError

__all__ = ["FILE_BYTES_MAX", "FolderInbox", "FolderOutbox", "FolderTroubleError", "InboxFile", "Verdict", "file_name"]

FILE_BYTES_MAX = 256 * 1024 * 1024  # of one file in an inbox
NAME_BYTES_MAX = 200  # a file system takes 255, and reports add to it
SET_ASIDE_MAX = 1_000  # files in the quarantine are counted so far
NOTES_KEPT_S = 30 * 86_400.0
_T = TypeVar("_T")
_Mark = tuple[int, int, int]  # size, time of the last change, inode
_WORK = ".uns"
_PART = ".part"
_SENT = ".sent"
_REPORT = ".report.txt"
_SAYS = {
    errno.ENOSPC: ("the disk is full", "free space"),
    errno.EDQUOT: ("the quota is used up", "free space or raise the quota"),
    errno.EROFS: ("the file system is read-only", "mount it for writing"),
    errno.EACCES: ("the folder may not be used", "give this process rights on it"),
    errno.EPERM: ("the folder may not be used", "give this process rights on it"),
    errno.ENOENT: ("the folder is gone", "mount or make it again"),
    errno.ENOTDIR: ("it is no folder", "make it a folder"),
    errno.ESTALE: ("the share was mounted anew", "mount it again"),
    errno.EIO: ("the disk does not answer", "check the disk or the share"),
    errno.EXDEV: ("it lies on another file system than the inbox", "give folders on one file system"),
}


class FolderTroubleError(Exception):
    """A folder cannot be used now; the text says why and what to do."""

    def __init__(self, folder: Path, error: OSError) -> None:
        what, step = _SAYS.get(error.errno or 0, (error.strerror or str(error), "check the folder"))
        super().__init__(f"{_shown(folder)}: {what}; {step}")


def file_name(key: str, suffix: str) -> str:
    """A file name for a key: readable, reversible (``~XX`` for every other byte), the same on every system."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    name = "".join(chr(byte) if byte in plain else f"~{byte:02X}" for byte in key.encode())
    if len(name) + len(suffix) > NAME_BYTES_MAX:
        raise ValueError(f"a key of {len(key)} characters names no file")
    return name + suffix


class FolderOutbox:
    """Puts files into a folder that somebody else empties. Half of a :class:`uns.bridges.port.Target`.

    ``name_of`` tells the file name of an item; the default makes it of the key.
    """

    name = "folder"
    items_max = 16

    def __init__(
        self, folder: Path, *, suffix: str = ".xml", name_of: Callable[[OutboundItem], str] | None = None
    ) -> None:
        self.folder = folder
        self._work = folder / _WORK
        self._name_of = name_of or (lambda item: file_name(item.key, suffix))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="uns-bridge-folder")

    async def start(self) -> int | Transient | Auth | None:
        """Make the working folder and forget old notes."""
        return await self._blocking(self._start)

    async def deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        """One file an item."""
        return await self._blocking(lambda: self._deliver(items))

    async def read_back(self, item: OutboundItem) -> bool | None:
        """Whether its file went out, by the note that was made before."""
        return await self._blocking(lambda: self._read_back(item))

    def split(self, item: OutboundItem) -> list[OutboundItem]:  # noqa: ARG002 - the port's
        """A file has no parts."""
        return []

    async def check(self) -> list[Finding]:
        """Whether a file can be written there now."""
        return await self._blocking(self._check)

    async def close(self) -> None:
        """Let go of the worker thread."""
        self._thread.shutdown(wait=False)

    def _start(self) -> int | Transient | Auth | None:
        try:
            self._make_work()
            oldest = time.time() - NOTES_KEPT_S
            for note in self._work.glob(f"*{_SENT}"):
                if note.stat().st_mtime < oldest:
                    note.unlink(missing_ok=True)
        except OSError as error:
            return Transient(str(FolderTroubleError(self.folder, error)))
        return None

    def _make_work(self) -> None:
        # Never the folder itself: an unmounted share would be written to the disk below it, where nobody looks.
        if not self.folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder))
        self._work.mkdir(exist_ok=True)

    def _deliver(self, items: Sequence[OutboundItem]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for item in items:
            stopped = outcomes and isinstance(outcomes[-1], Transient)
            outcomes.append(outcomes[-1] if stopped else self._write(item))
        return outcomes

    def _write(self, item: OutboundItem) -> Outcome:
        try:
            name = self._name_of(item)
        except ValueError as error:
            return Business(str(error), "give the source a shorter id, then drop it")
        final, part, note = self.folder / name, self._work / (name + _PART), self._work / (name + _SENT)
        renaming = False
        try:
            self._make_work()
            if note.exists() and not part.exists():
                return Delivered(receipt="was there already")
            if final.exists():
                if final.read_bytes() == item.body:
                    return Delivered(receipt=f"{name} was there already")
                return Business(
                    f"{final} is there with other content", "move that file away, then retry it: nothing is overwritten"
                )
            _write_durably(part, item.body)
            _write_durably(note, item.key.encode())
            _flush_directory(self._work)
            renaming = True
            part.rename(final)
            _flush_directory(self.folder)
        except OSError as error:
            trouble = str(FolderTroubleError(self.folder, error))
            if renaming and not part.exists():
                return Unknown(trouble)
            # The part stays: without it the note would say that the file went out.
            return Transient(trouble)
        return Delivered(receipt=name)

    def _read_back(self, item: OutboundItem) -> bool | None:
        try:
            if not self.folder.is_dir():
                return None
            name = self._name_of(item)
            part, note = self._work / (name + _PART), self._work / (name + _SENT)
            return note.exists() and not part.exists()
        except ValueError:
            return False
        except OSError:
            return None

    def _check(self) -> list[Finding]:
        try:
            self._make_work()
            probe = self._work / "probe"
            _write_durably(probe, b"probe")
            probe.unlink()
        except OSError as error:
            return [Finding(rule="folder", text=str(FolderTroubleError(self.folder, error)), unreachable=True)]
        return [Finding(rule="folder", text=f"{self.folder} can be written", severity="info")]

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, call)
        return await asyncio.shield(future)


class InboxFile(msgspec.Struct, frozen=True):
    """One file that lay still, with its content; ``data`` is empty where it is larger than the bound."""

    path: Path
    data: bytes
    too_large: bool = False
    mark: _Mark | None = None  # by what it is told from another one of its name

    @property
    def name(self) -> str:
        """Its name in the folder, as text: a byte that is no UTF-8 is written out."""
        return _shown(self.path.name)

    def is_there(self) -> bool:
        """Whether this is what lies there now; where a share tells it by nothing, the content does."""
        try:
            found = self.path.stat()
            same = self.too_large or _mark(found) == self.mark
            return same or (found.st_size == len(self.data) and self.path.read_bytes() == self.data)
        except FileNotFoundError:
            return False


class Verdict(msgspec.Struct, frozen=True):
    """Where a file goes when it is done, and what is written beside it (nothing where the report is empty)."""

    put: Literal["archive", "quarantine"]
    report: str = ""


Handler = Callable[[InboxFile], Awaitable[Verdict]]


class FolderInbox:
    """Takes files out of a folder, oldest first, each to its end before the next.

    :meth:`run` gives every file to ``handle`` and puts it where its verdict says, with the report beside it.
    :class:`UnreachableError` and :class:`StorageError` leave the file where it is for the next round; any other
    exception is a bug, and the file is set aside with it. A crash in between means that a file is handled again, so
    what a handler tells the host must be idempotent (facts are: id and source_rev).
    """

    def __init__(
        self,
        inbox: Path,
        *,
        archive: Path,
        quarantine: Path,
        pattern: str = "*.xml",
        poll_s: float = 1.0,
        settle_s: float = 2.0,
        file_bytes_max: int = FILE_BYTES_MAX,
        files_max: int = 100,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.inbox = inbox
        self._archive = archive
        self._quarantine = quarantine
        self._pattern = pattern
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._file_bytes_max = file_bytes_max
        self._files_max = files_max
        self._now_s = now_s
        self._seen: dict[Path, _Mark] = {}
        self._decided: dict[Path, tuple[_Mark | None, Verdict]] = {}  # handled, and not yet put away
        self.counters = {"archived": 0, "quarantined": 0}
        self.set_aside = 0  # files in the quarantine now, up to SET_ASIDE_MAX: somebody has to look at them
        self.trouble = ""
        self._log = get_logger("inbox")

    async def run(self, handle: Handler) -> None:
        """Look, hand over, put away, until cancelled."""
        while True:
            trouble = ""
            try:
                self.set_aside = await asyncio.to_thread(self._count_set_aside)
                for path in await asyncio.to_thread(self.look):
                    trouble = await self._take(path, handle) or trouble
            except FolderTroubleError as error:
                trouble = str(error)
            except (UnreachableError, StorageError) as error:
                trouble = f"waiting: {error}"
            self._say(trouble)
            await asyncio.sleep(self._poll_s)

    def look(self) -> list[Path]:
        """Files that have not changed since the last look and are old enough, oldest first."""
        before, self._seen = self._seen, {}
        still: list[tuple[int, Path]] = []
        try:
            for path in self.inbox.iterdir():
                if path.name.startswith(".") or not self._fits(path.name) or path.is_symlink():
                    continue
                with suppress(FileNotFoundError):  # its writer renamed it meanwhile
                    found = path.stat()
                    mark = self._seen[path] = _mark(found)
                    old = self._now_s() - found.st_mtime >= self._settle_s or found.st_mtime > self._now_s()
                    if path.is_file() and before.get(path) == mark and old:
                        still.append((found.st_mtime_ns, path))
        except OSError as error:
            raise FolderTroubleError(self.inbox, error) from error
        return [path for _, path in sorted(still)[: self._files_max]]

    def _count_set_aside(self) -> int:
        found = 0
        with suppress(OSError), os.scandir(self._quarantine) as entries:  # it is made with the first file
            for entry in entries:
                found += self._fits(entry.name) and not entry.name.startswith(".") and not entry.name.endswith(_REPORT)
                if found == SET_ASIDE_MAX:
                    break
        return found

    def _fits(self, name: str) -> bool:
        """Upper and lower case aside: who writes from Windows does not see it."""
        return fnmatch.fnmatchcase(name.lower(), self._pattern.lower())

    def read(self, path: Path) -> InboxFile | None:
        """A file with its content; None where it is gone, or is being written."""
        try:
            with path.open("rb") as opened:
                found = os.fstat(opened.fileno())
                if found.st_size > self._file_bytes_max:
                    return InboxFile(path, b"", too_large=True, mark=_mark(found))
                data = opened.read(found.st_size + 1)
                if len(data) != found.st_size or _mark(os.fstat(opened.fileno())) != _mark(found):
                    return None
            return InboxFile(path, data, mark=_mark(found))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FolderTroubleError(path, error) from error

    def archive(self, file: InboxFile, report: str = "") -> Path:
        """Put a file where the done ones are, by day."""
        day = datetime.fromtimestamp(self._now_s(), UTC).strftime("%Y-%m-%d")
        found = self._put(file, self._archive, day, report)
        self.counters["archived"] += 1
        return found

    def quarantine(self, file: InboxFile, report: str) -> Path:
        """Put a file aside with a report beside it: ``NAME.report.txt``."""
        found = self._put(file, self._quarantine, "", report)
        self.counters["quarantined"] += 1
        return found

    def check(self) -> list[Finding]:
        """Whether files can be taken and put away now."""
        try:
            device = _usable(self.inbox).st_dev
        except OSError as error:
            return [_trouble_finding("inbox", self.inbox, error)]
        findings = [Finding(rule="inbox", text=f"{self.inbox} can be read", severity="info")]
        for name, folder in (("archive", self._archive), ("quarantine", self._quarantine)):
            try:
                self._make(folder)
                if folder.stat().st_dev != device:
                    findings.append(
                        Finding(
                            rule=name,
                            text=f"{folder} lies on another file system than {self.inbox}, so that no file can be "
                            "renamed into it at once",
                            next_step=f"give `{name}:` a folder beside or below the inbox, or leave the key out",
                        )
                    )
                probe = folder / f".{_PART}"
                _write_durably(probe, b"probe")
                probe.unlink()
            except OSError as error:
                findings.append(_trouble_finding(name, folder, error))
            except FolderTroubleError as error:
                findings.append(Finding(rule=name, text=str(error), unreachable=True))
        return findings

    async def _take(self, path: Path, handle: Handler) -> str:
        """One file to its end; gives what keeps this one alone from being taken."""
        try:
            file = await asyncio.to_thread(self.read, path)
        except FolderTroubleError as error:
            return str(error)
        if file is None:
            return ""
        decided = self._decided.get(path)
        if decided is not None and decided[0] == file.mark:
            verdict = decided[1]  # it was told already, and only putting it away failed
        else:
            verdict = await self._judge(file, handle)
            self._decided = {path: (file.mark, verdict)}
        put = self.archive if verdict.put == "archive" else self.quarantine
        where = await asyncio.to_thread(put, file, verdict.report)
        self._decided.pop(path, None)
        if verdict.put == "archive":
            self._log.info("taken in", file=file.name, where=str(where), reported=bool(verdict.report))
        else:
            self._log.error("quarantined", file=file.name, where=str(where), report=verdict.report)
        return ""

    async def _judge(self, file: InboxFile, handle: Handler) -> Verdict:
        if file.too_large:
            return Verdict(
                "quarantine", f"larger than {self._file_bytes_max} bytes; split it, then put it into the inbox again"
            )
        try:
            return await handle(file)
        except (UnreachableError, StorageError, FolderTroubleError):
            raise
        except Exception as error:  # noqa: BLE001 - one file must not keep the others waiting for ever
            self._log.exception("a file cannot be handled and is set aside", file=file.name)
            return Verdict(
                "quarantine",
                f"internal error: {error!r}; report it with this file, then put it into the inbox again",
            )

    def _put(self, file: InboxFile, folder: Path, day: str, report: str) -> Path:
        """Rename a file into a folder; its report first, so that none lies there without.

        Where its writer has put another one in its place meanwhile, that one stays and what was read is written.
        """
        self._make(folder)
        try:
            folder = folder / day
            folder.mkdir(exist_ok=True)
            target = _free(folder / _short(file.path.name))
            if report:
                when = datetime.fromtimestamp(self._now_s(), UTC).isoformat()
                text = f"file: {file.name}\ntime: {when}\n\n{report}\n"
                _write_durably(target.with_name(target.name + _REPORT), text.encode(errors="backslashreplace"))
            if file.is_there():
                _rename(file.path, target)
            else:
                part = target.with_name(f".{target.name}{_PART}")
                _write_durably(part, file.data)
                _rename(part, target)
        except OSError as error:
            raise FolderTroubleError(folder, error) from error
        return target

    @staticmethod
    def _make(folder: Path) -> None:
        # Never what lies above it: an unmounted share would be made anew on the disk below, where nobody looks.
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FolderTroubleError(folder, error) from error

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            self._log.warning("the inbox waits", reason=trouble)
        self.trouble = trouble


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(folder: Path) -> None:
    """After it a rename in the folder survives a power cut; some shares cannot, and have nothing better."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _shown(name: Path | str) -> str:
    """A name as text that can be written down anywhere; names on a disk are bytes, and need not be UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _mark(found: os.stat_result) -> _Mark:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _usable(folder: Path) -> os.stat_result:
    """What the system says of a folder that can be read and changed; OSError otherwise."""
    found = folder.stat()
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return found


def _trouble_finding(rule: str, folder: Path, error: OSError) -> Finding:
    return Finding(rule=rule, text=str(FolderTroubleError(folder, error)), unreachable=True)


def _short(name: str) -> str:
    """A name that leaves room for what is added to it."""
    raw = os.fsencode(name)
    suffix = Path(name).suffix[:20]
    if len(raw) <= NAME_BYTES_MAX:
        return name
    return os.fsdecode(raw[: NAME_BYTES_MAX - len(os.fsencode(suffix))]) + suffix


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    _flush_directory(target.parent)


def _free(path: Path) -> Path:
    """The path, or the first with a number that is not taken: an archive overwrites nothing."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}~{number}{path.suffix}")
    return found
