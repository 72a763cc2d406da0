"""What docs/reference/audit.md and docs/how-to/prove-the-audit-trail.md say is what programs do."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from tests.adapters.sqlite.test_audit_log import filled, tamper
from tests.servers import mosquitto
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_log import RecordLog
from uns.audit import events, verification
from uns.audit.anchoring import parse_anchor
from uns.audit.chain import anchor_of
from uns.namespace.topics import audit_topic
from uns.sparkplug.messages import Message

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference/audit.md"
HOW_TO = ROOT / "docs/how-to/prove-the-audit-trail.md"


def fences(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with closing(RecordLog(tmp_path / "var/host/records.db")) as records:
        filled(records)
    with closing(BridgeStore(tmp_path / "var/mes.bridge.db")) as books:
        books.claim("mes")
    return tmp_path / "var/host"


def run_verifier(store: Path) -> subprocess.CompletedProcess[str]:
    (program,) = fences(REFERENCE, "python")
    return subprocess.run(
        [sys.executable, "-c", program], cwd=store, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_dozen_lines_verify_a_log_without_us(store: Path):
    ended = run_verifier(store)
    assert ended.returncode == 0, ended.stderr
    assert "10 entries" in ended.stdout


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x' WHERE number = 6", "DELETE FROM audit_log WHERE number = 6"]
)
def test_the_dozen_lines_find_what_is_wrong(store: Path, statement: str):
    tamper(store / "records.db", statement)
    assert "entry 6" in run_verifier(store).stderr


def test_every_finding_is_in_the_reference():
    kinds = set(get_args(verification.FindingKind))
    table = REFERENCE.read_text(encoding="utf-8").split("| finding | means |")[1].split("The first bad record")[0]
    assert set(re.findall(r"`([a-z]+)`", table)) >= kinds


def test_every_action_is_in_the_reference():
    page = REFERENCE.read_text(encoding="utf-8")
    table = page.split("## What is written")[1].split("Bounds:")[0]
    named = set(re.findall(r"`([a-z_]+\.[a-z_.]+)`", table))
    ours = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    ours |= {"bridge.delivered", "bridge.dead", "bridge.delivered.sum", "bridge.split", "bridge.rewound"}
    ours |= {
        "command.refused",
        "command.executed",
        "store.dropped",
        "clock.set_back",
        "clock.set_forward",
        "document.taken",
        "document.refused",
        "dead_letter.retry",
        "dead_letter.drop",
    }
    assert ours <= named, ours - named


def test_the_anchor_of_the_reference_is_one():
    (text,) = fences(REFERENCE, "json")
    assert parse_anchor(text) is not None


def test_quotations_of_the_how_to_are_what_verify_prints(store: Path):
    tamper(store / "records.db", "UPDATE audit_log SET actor = 'nobody' WHERE number = 9")
    ended = subprocess.run(
        [sys.executable, "-m", "uns", "audit", "verify", "--store", str(store)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    for line in fences(HOW_TO, "text")[1].splitlines():
        if not line.startswith("      "):  # the entry itself is another one
            assert line in ended.stdout


@pytest.mark.integration
@pytest.mark.parametrize("page", [REFERENCE, HOW_TO], ids=lambda page: page.stem)
async def test_every_command_runs(page: Path, store: Path, tmp_path: Path):
    with closing(RecordLog(store / "records.db")) as records:
        head = records.audit.head
    anchor = json.dumps(
        {**json.loads(fences(REFERENCE, "json")[0]), "log": head.log, "number": head.number, "hash": head.hash}
    )
    assert parse_anchor(anchor) is not None
    assert anchor_of(head, "uns-host-1", 1).number == head.number
    with mosquitto(tmp_path) as broker:
        async with MqttConnection(BrokerAddress(url=broker.url), client_id="host") as connection:
            message = Message(audit_topic("uns-host-1"), anchor.encode(), qos=1, retain=True)
            await connection.publish_acknowledged(message)
        ran = 0
        saved = tmp_path / "saved-anchors.jsonl"
        saved.write_text(anchor + "\n")
        for block in fences(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.split(" > ")[0], comments=True)
                if words[:2] != ["uns", "audit"]:
                    continue
                secured = {"--ca-file", "--cert-file", "--key-file"}  # this broker has no TLS
                words = [w for at, w in enumerate(words) if w not in secured and words[at - 1] not in secured]
                words = [broker.url if word.startswith("mqtt") else word for word in words]
                ended = await asyncio.to_thread(
                    subprocess.run, [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True,
                    timeout=60, check=False,
                )  # fmt: skip
                assert ended.returncode == 0, (line, ended.stdout, ended.stderr)
                ran += 1
        assert ran >= 3
