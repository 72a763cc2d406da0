"""Standard streams that the caller closed: no traceback, whatever is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(redirection: str, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "uns", *arguments]
    return subprocess.run(command, input=given, cwd=ROOT, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "arguments", [("sparkplug", "decode"), ("sparkplug", "encode", "--hex"), ("context", "put", "-")]
)
def test_a_closed_standard_input_is_said(arguments: tuple[str, ...]) -> None:
    done = run("<&-", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(b"uns: standard input is closed")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (("sparkplug", "decode"), b"\x08\x01"),
        (("sparkplug", "decode", "--json"), b"\x08\x01"),
        (("sparkplug", "encode"), b"{}"),
        (("sparkplug", "encode", "--hex"), b"{}"),
    ],
)
def test_what_goes_to_a_closed_standard_output_is_lost_quietly(arguments: tuple[str, ...], given: bytes) -> None:
    done = run(">&-", *arguments, given=given)
    assert (done.returncode, done.stderr) == (0, b"")
