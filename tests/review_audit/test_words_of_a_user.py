"""What a user gives to `uns audit` never ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.review_audit.stores import fact, lived


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--since", "999999999d"), 0),
        (("--until", "999999999d"), 0),
        (("--since", "9" * 400 + "d"), 2),
        (("--since", "0." + "9" * 400 + "d"), 2),
        (("--about", os.fsdecode(b"\xff\xfe")), 2),
        (("--actor", os.fsdecode(b"\xff\xfe")), 2),
        (("--limit", "9" * 20), 2),
        (("--about", "😀\x07"), 0),
    ],
)
def test_any_word_gets_an_answer(tmp_path: Path, words: tuple[str, ...], code: int):
    store = lived(tmp_path / "records.db", fact(1))
    command = [sys.executable, "-m", "uns", "audit", "list", "--store", str(store), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
