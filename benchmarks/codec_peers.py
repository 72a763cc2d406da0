"""The same bytes through other people's Sparkplug codecs, each in a process of its own; none of them is a dependency.

Those that ``make test-interop`` has installed below ``build/interop`` are taken, else what ``PYTHONPATH`` and
``NODE_PATH`` lead to. One that is not there is left out, and said so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["peers"]

INSTALLED = Path(__file__).resolve().parents[1] / "build" / "interop"

# Reads {"birth": hex, "data": hex, "metrics": n} and prints metrics/s by name.
_PYTHON = """
import dataclasses, json, sys, time
try:
    import pysparkplug
except ImportError:
    print("{}"); sys.exit()
given = json.load(sys.stdin)
birth_bytes, data_bytes = bytes.fromhex(given["birth"]), bytes.fromhex(given["data"])
birth = pysparkplug.DBirth.decode(birth_bytes)
data = pysparkplug.DData.decode(data_bytes, birth=birth)
short = dataclasses.replace(data, metrics=tuple(dataclasses.replace(m, name=None) for m in data.metrics))
assert len(short.encode()) == len(data_bytes), (len(short.encode()), len(data_bytes))
work = {
    "decode_data": lambda: pysparkplug.DData.decode(data_bytes, birth=birth),
    "encode_data": short.encode,
    "decode_birth": lambda: pysparkplug.DBirth.decode(birth_bytes),
    "encode_birth": birth.encode,
}
found = {}
for name, call in work.items():
    best = 1e9
    for _ in range(7):
        calls, start = 0, time.process_time()
        while (elapsed := time.process_time() - start) < 0.12:
            call()
            calls += 1
        best = min(best, elapsed / calls)
    found[name] = given["metrics"] / best
print(json.dumps(found))
"""
_NODE = """
let sparkplug;
try { sparkplug = require('sparkplug-payload').get('spBv1.0'); } catch { console.log('{}'); process.exit(); }
const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const birthBytes = Buffer.from(given.birth, 'hex'), dataBytes = Buffer.from(given.data, 'hex');
const birth = sparkplug.decodePayload(birthBytes);
const types = new Map(birth.metrics.map((m) => [String(m.alias), m]));
const data = sparkplug.decodePayload(dataBytes);
const values = data.metrics.map((m) => ({alias: m.alias, timestamp: m.timestamp,
  type: types.get(String(m.alias)).type, value: types.get(String(m.alias)).value}));
const work = {
  decode_data: () => sparkplug.decodePayload(dataBytes),
  encode_data: () => sparkplug.encodePayload({timestamp: data.timestamp, seq: data.seq, metrics: values}),
  decode_birth: () => sparkplug.decodePayload(birthBytes),
  encode_birth: () => sparkplug.encodePayload(birth),
};
const found = {};
for (const [name, call] of Object.entries(work)) {
  let best = Infinity;
  for (let round = 0; round < 7; round++) {
    let calls = 0, elapsed = 0;
    const start = process.cpuUsage().user;
    while ((elapsed = (process.cpuUsage().user - start) / 1e6) < 0.12) {
      for (let i = 0; i < 20; i++) call();
      calls += 20;
    }
    best = Math.min(best, elapsed / calls);
  }
  found[name] = given.metrics / best;
}
console.log(JSON.stringify(found));
"""


def peers(birth: bytes, data: bytes, metrics: int) -> dict[str, dict[str, float]]:
    """Metrics/s of each peer that is installed."""
    given = json.dumps({"birth": birth.hex(), "data": data.hex(), "metrics": metrics})
    found = {}
    for name, (command, environment) in _commands().items():
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=Path(__file__).parent,
            env=os.environ | environment,
        )
        if done.returncode:
            print(f"{name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        elif figures := json.loads(done.stdout):
            found[name] = figures
        else:
            print(f"{name}: not installed, so not compared; `make test-interop` installs it", file=sys.stderr)
    return found


def _commands() -> dict[str, tuple[list[str], dict[str, str]]]:
    """By peer: what runs it, and what to add to the environment."""
    python, modules = _newest("pysparkplug-*/bin/python"), _newest("npm-*/node_modules")
    node = shutil.which("node")
    return {
        "pysparkplug": ([str(python or sys.executable), "-c", _PYTHON], {}),
        "npm sparkplug-payload": (
            [node, "-e", _NODE] if node else [sys.executable, "-c", "print({})"],
            {} if modules is None else {"NODE_PATH": str(modules)},
        ),
    }


def _newest(pattern: str) -> Path | None:
    return max(INSTALLED.glob(pattern), key=lambda path: path.lstat().st_mtime, default=None)
