"""Small disks that fill up and get room again, without root.

* ``Tmpfs``: a tmpfs in a user and mount namespace of the child alone (``unshare``); writes fail with ENOSPC. Needs
  user namespaces, which some containers forbid (:func:`can_mount`).
* ``FileSizeLimit``: the kernel refuses to let any file of the child grow (``prlimit``); writes fail with EFBIG.
  Works everywhere.
"""

from __future__ import annotations

import resource
import shlex
import subprocess
from pathlib import Path
from typing import Protocol

from tests.faults.process import Child

__all__ = ["Disk", "FileSizeLimit", "Tmpfs", "can_mount"]


class Disk(Protocol):
    """What a test needs of one: a way to start the child on it, to take its room, and to give it back."""

    is_namespace: bool

    def wrap(self, directory: Path, command: list[str]) -> list[str]: ...
    def fill(self, child: Child) -> None: ...
    def make_room(self, child: Child) -> None: ...


def can_mount() -> bool:
    """Whether an ordinary user may mount a tmpfs in a namespace of its own here."""
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Tmpfs:
    """``directory/name`` is a disk of ``size`` for the child, which sees everything else as usual."""

    is_namespace = True

    def __init__(self, name: str, *, size: str = "16m") -> None:
        self._name = name
        self._size = size
        self._mount = Path()

    def wrap(self, directory: Path, command: list[str]) -> list[str]:
        self._mount = directory / self._name
        self._mount.mkdir(parents=True, exist_ok=True)
        mount = f"mount -t tmpfs -o size={self._size} tmpfs {shlex.quote(str(self._mount))}"
        return ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{mount} && exec {shlex.join(command)}"]

    def _filler(self, child: Child) -> Path:
        return Path(f"/proc/{child.pid}/root{self._mount}/filler")

    def fill(self, child: Child) -> None:
        try:
            with self._filler(child).open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass  # full, as wanted

    def make_room(self, child: Child) -> None:
        self._filler(child).unlink()

    def remount(self, child: Child, option: str) -> None:
        """``ro`` or ``rw``, while the child lives on it."""
        enter = ["nsenter", "--target", str(child.pid), "--user", "--preserve-credentials", "--mount"]
        subprocess.run([*enter, "mount", "-o", f"remount,{option}", str(self._mount)], check=True, timeout=10)

    def seen_by(self, child: Child) -> Path:
        """The disk as a path that everybody can use."""
        return Path(f"/proc/{child.pid}/root{self._mount}")


class FileSizeLimit:
    """No file of the child grows beyond ``size`` bytes, so its log must be shorter."""

    is_namespace = False

    def __init__(self, size: int = 32_768) -> None:
        self._size = size

    def wrap(self, directory: Path, command: list[str]) -> list[str]:
        return command

    def fill(self, child: Child) -> None:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (self._size, resource.RLIM_INFINITY))

    def make_room(self, child: Child) -> None:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
