"""Foreign environments, each in a folder of its own below ``build/interop``: pinned, cached, never in our own venv.

A folder is named after what it is made of; a changed pin makes a new one. Where the toolchain is absent, or nothing can
be fetched, the peer's tests are skipped with the reason; with ``UNS_REQUIRE_INTEROP=1`` they fail instead.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

__all__ = ["PEERS", "NotInstalledError", "Peer", "installed"]

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent / "peers"
BUILD = ROOT / "build" / "interop"
INSTALL_S = 600
_STAMP = ".installed"


class Peer(msgspec.Struct, frozen=True):
    """A foreign implementation: what pins it, what it needs, how it is made, how its program is started."""

    name: str
    version: str
    pins: tuple[str, ...]  # files in its folder of sources that decide what is installed
    installs_with: tuple[str, ...]  # tools on the path
    runs_with: tuple[str, ...]
    install: Callable[[Path, Path], None]  # sources, folder
    command: Callable[[Path, Path], list[str]]


class NotInstalledError(Exception):
    """Why a peer cannot be had on this machine."""


def installed(peer: Peer) -> list[str]:
    """The command that starts the peer's program; skips (or fails) where it cannot be had."""
    try:
        return peer.command(SOURCES / peer.name, _folder(peer))
    except NotInstalledError as error:
        reason = f"{peer.name} {peer.version}: {error}"
        if os.environ.get("UNS_REQUIRE_INTEROP") == "1":
            pytest.fail(f"UNS_REQUIRE_INTEROP=1, but {reason}", pytrace=False)
        pytest.skip(reason)


def _folder(peer: Peer) -> Path:
    sources = SOURCES / peer.name
    pins = b"\0".join((sources / pin).read_bytes() for pin in peer.pins)
    key = hashlib.sha256(pins + sys.version.encode()).hexdigest()[:12]
    folder = BUILD / f"{peer.name}-{key}"
    _require_tools(peer.runs_with)
    if (folder / _STAMP).exists():
        return folder
    _require_tools(peer.installs_with)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    peer.install(sources, folder)
    (folder / _STAMP).touch()
    return folder


def _require_tools(tools: tuple[str, ...]) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise NotInstalledError(f"{tool} is not on the path")


def _run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise NotInstalledError(f"`{' '.join(command[:4])} …` failed: {' / '.join(said[-3:])}")


def _install_python(sources: Path, folder: Path) -> None:
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "venv", str(folder), cwd=sources)
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--require-hashes", "-r", str(sources / "requirements.lock"), cwd=sources)


def _install_npm(sources: Path, folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(sources / name, folder)
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)


def _install_java(sources: Path, folder: Path) -> None:
    shutil.copy(sources / "pom.xml", folder)
    _run("mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory=lib", cwd=folder)


def _python(sources: Path, folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-u", str(sources / "peer.py")]


def _node(sources: Path, folder: Path) -> list[str]:
    return ["env", f"NODE_PATH={folder / 'node_modules'}", "node", str(sources / "peer.js")]


def _java(sources: Path, folder: Path) -> list[str]:
    # Compiled at each start, from the one source file: nothing of ours is cached with what is theirs.
    log = f"-Dlogback.configurationFile={sources / 'logback.xml'}"
    return ["java", "-Xmx256m", log, "-cp", f"{folder / 'lib'}/*", str(sources / "Peer.java")]


def _pinned(peer: str, pin: str, pattern: str) -> str:
    found = re.search(pattern, (SOURCES / peer / pin).read_text())
    assert found is not None, (peer, pin)
    return found[1]


PEERS: dict[str, Peer] = {
    "pysparkplug": Peer(
        "pysparkplug",
        _pinned("pysparkplug", "requirements.lock", r"(?m)^pysparkplug==(\S+)"),
        ("requirements.lock",),
        (),
        (),
        _install_python,
        _python,
    ),
    "mqtt_spb_wrapper": Peer(
        "mqtt_spb_wrapper",
        _pinned("mqtt_spb_wrapper", "requirements.lock", r"(?m)^mqtt-spb-wrapper==(\S+)"),
        ("requirements.lock",),
        (),
        (),
        _install_python,
        _python,
    ),
    "npm": Peer(
        "npm",
        _pinned("npm", "package.json", r'"sparkplug-client": "([^"]+)"'),
        ("package-lock.json",),
        ("npm",),
        ("node",),
        _install_npm,
        _node,
    ),
    "tahu": Peer(
        "tahu",
        _pinned("tahu", "pom.xml", r"<artifactId>tahu-host</artifactId>\s*<version>([^<]+)"),
        ("pom.xml",),
        ("mvn",),
        ("java", "javac"),  # its one source file is compiled at each start
        _install_java,
        _java,
    ),
}
