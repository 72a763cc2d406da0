"""The tutorial's commands, run as they stand but on free ports: each succeeds, and one of them tells the sentence."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.data import require_data
from tests.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SKIPPED = ("make demo", ". .venv/bin/activate")  # test_demo.py runs the first; the second is what `command_of` does


def lines_of(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and line not in SKIPPED]


def command_of(line: str) -> list[str]:
    words = shlex.split(line.removesuffix(" &"))
    programs = {
        "uns": [sys.executable, "-m", "uns"],
        "uns-edge": [sys.executable, "-m", "edge_nodes.cli"],
        "python": [sys.executable],
    }
    return [*programs.get(words[0], words[:1]), *words[1:]]


class Shell:
    """A directory like the repository's, in which lines are run; ports are free ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {str(port): str(free_port()) for port in (1883, 4840, 5020)}
        self.background: list[subprocess.Popen[bytes]] = []
        (directory / "examples" / "plant").mkdir(parents=True)
        (directory / "var").mkdir()
        (directory / "topic_tree.yaml").write_text((ROOT / "topic_tree.yaml").read_text())
        for file in (ROOT / "examples" / "plant").iterdir():
            (directory / "examples" / "plant" / file.name).write_text(self.with_free_ports(file.read_text()))
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("UNS_")}
        self.environment |= {"PYTHONPATH": str(ROOT), "UNS_BROKER": f"mqtt://127.0.0.1:{self.ports['1883']}"}

    def with_free_ports(self, text: str) -> str:
        return re.sub("|".join(self.ports), lambda match: self.ports[match.group()], text)

    def run(self, line: str) -> str:
        """Run a line as its reader would: a look that comes too early is taken again."""
        command = command_of(self.with_free_ports(line))
        if command[-1:] == ["broker"]:
            command += ["--port", self.ports["1883"]]
        if line.endswith("&"):
            with (self.directory / f"{len(self.background)}.log").open("wb") as log:
                self.background.append(
                    subprocess.Popen(command, cwd=self.directory, env=self.environment, stdout=log, stderr=log)
                )
            return ""
        deadline = time.monotonic() + 40
        while True:
            done = subprocess.run(
                command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-600:] for path in sorted(self.directory.glob("*.log")))
                pytest.fail(f"{line}\n{done.stdout}{done.stderr}\n{logs}")
            time.sleep(0.2)

    def end(self) -> list[int]:
        for process in self.background:
            process.terminate()
        try:
            return [process.wait(20) for process in self.background]
        finally:
            for process in self.background:
                process.kill()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    # Socket paths may have 107 characters, and pytest's directories are long.
    link = Path(f"/tmp/uns-tutorial-{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path)
    shell = Shell(link)
    try:
        yield shell
    finally:
        shell.end()
        link.unlink()


def eventually_now(condition: Callable[[], object], what: str, deadline_s: float = 40.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.2)


def test_the_first_ten_minutes(shell: Shell) -> None:
    lines = lines_of("docs/tutorial/first-ten-minutes.md")
    assert len(lines) > 14
    said = {line: shell.run(line) for line in lines}
    explained = next(text for line, text in said.items() if line.startswith("uns explain"))
    assert re.search(r"was read on Reactor 4, during Work Order WO-10234, producing Lot L-8891, at ", explained)
    counted = next(text for line, text in said.items() if line.startswith("uns explain WO-10234"))
    assert re.search(r"(?m)^  good +\d+$", counted)
    eventually_now(lambda: list(shell.directory.glob("var/mes/outbox/*.xml")), "a performance in the outbox")
    (file,) = shell.directory.glob("var/mes/outbox/*.xml")
    assert "says what the log says now" in shell.run(f"uns explain --file {file}")
    assert len(list(shell.directory.glob("var/mes/inbox/archive/*/orders.xml"))) == 1
    assert shell.end() == [0] * 7


@pytest.mark.long  # tests/examples plays the same day without it
def test_the_replay_of_a_real_day(shell: Shell) -> None:
    small = "nist-smstestbed/Hurco02-20170329-20170330.txt"
    folder = require_data(small).parent
    *_, line, again = lines_of("docs/how-to/replay-a-real-day.md")
    assert line == again
    del shell.environment["UNS_BROKER"]
    for text in (line, again):
        assert '"ok": true' in shell.run(text.replace("../shared/data/nist-smstestbed", str(folder)))
