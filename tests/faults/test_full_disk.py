"""A full disk on either side: said once and clearly, nothing stored is lost, and room is all it takes to go on.

The disk is a small tmpfs in a mount namespace of the child (``unshare``), which needs no root where user namespaces
are allowed; elsewhere these tests are skipped, and the bounds that the stores give themselves are tested all the same.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def can_mount() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="no user namespaces with mounts: run as root to test this")


def on_small_disk(directory: Path, size: str):
    """Wrap a command so that ``directory`` is a disk of ``size`` for it alone."""

    def wrap(command: list[str]) -> list[str]:
        directory.mkdir(parents=True, exist_ok=True)
        mount = f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(directory))} && exec {shlex.join(command)}"
        return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]

    return wrap


def seen_by(child, path: Path) -> Path:
    """A path as the child sees it."""
    return Path(f"/proc/{child.pid}/root{path}")


def fill(directory: Path, *, leave: int) -> Path:
    """Take all room but ``leave`` bytes."""
    filler = directory / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
        except OSError:
            pass
    file_size = filler.stat().st_size
    with filler.open("r+b") as file:
        file.truncate(max(0, file_size - leave))
    return filler
