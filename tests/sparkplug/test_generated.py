import os
import subprocess
import sys

from schemas.protobuf import GENERATED, SCHEMAS, generate_protobuf


def test_generated_code_and_stubs_are_current(tmp_path):
    for file in generate_protobuf(tmp_path):
        committed = SCHEMAS / file.name
        assert committed.read_text() == file.read_text(), f"{committed} is old: run make generate"
    assert {path.name for path in tmp_path.iterdir()} == set(GENERATED)


def test_pure_python_protobuf_is_refused_with_a_next_step():
    done = subprocess.run(
        [sys.executable, "-c", "import uns.sparkplug.codec"],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        cwd=SCHEMAS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" in done.stderr
