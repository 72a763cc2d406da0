from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uns.errors import ConfigurationError
from uns.runtime.bridge.bridge_file import load_bridge
from uns.runtime.bridge.process import check_bridge, run_bridge

GOOD = """\
uns: 1
bridge: history
kind: postgres
host: {store: host}
target: {database: plant, host: db.example, user: uns, password_file: secret}
"""


def load(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "history.bridge.yaml"
    path.write_text(text)
    return load_bridge(path)


def findings(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    return [finding.removeprefix(f"{tmp_path}/") for finding in caught.value.findings]


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.record_log == tmp_path / "host/records.db"
    assert config.store == tmp_path / "history.bridge.db"
    assert config.target.password.file == tmp_path / "secret"


def test_across_a_network_the_server_must_prove_who_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).target.tls == "verify-full"
    assert load(tmp_path, GOOD.replace("db.example", "127.0.0.1")).target.tls == "prefer"


def test_every_finding_has_its_place(tmp_path: Path) -> None:
    text = GOOD + "retry: {first: 10s, max: 1s}\nrate: fast\ngrase: 5m\n"
    found = findings(tmp_path, text)
    assert [line.split(": ")[0] for line in found] == [
        "history.bridge.yaml:6:26",
        "history.bridge.yaml:7:7",
        "history.bridge.yaml:8:1",
    ]
    assert "did you mean 'grace'?" in found[2]


def test_a_password_in_the_file_is_refused(tmp_path: Path) -> None:
    found = findings(tmp_path, GOOD.replace("password_file: secret", "password: geheim"))
    assert len(found) == 1
    assert "chmod 600" in found[0]
    assert "geheim" not in found[0]


@pytest.mark.parametrize(
    ("broker", "text"),
    [
        ("url: mqtts://b, cert_file: c.pem", "go together"),
        ("url: mqtts://b, key_file: c.key", "go together"),
        ("url: mqtt://b, ca_file: ca.pem", "mqtts://"),
        ("url: mqtt://b, password: geheim", "chmod 600"),
        ("url: mqtt://b, password_file: secret, password_env: SECRET", "keep one"),
        ("url: http://b", "mqtt://host"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_finding(tmp_path: Path, broker: str, text: str) -> None:
    found = findings(tmp_path, GOOD + f"broker: {{{broker}}}\n")
    assert len(found) == 1
    assert found[0].startswith("history.bridge.yaml:6:")
    assert text in found[0]
    assert "geheim" not in found[0]


def test_files_of_the_broker_are_relative_to_the_file(tmp_path: Path) -> None:
    tls = "ca_file: ca.pem, cert_file: c.pem, key_file: c.key, password_file: secret"
    broker = load(tmp_path, GOOD + f"broker: {{url: mqtts://b, {tls}}}\n").broker
    files = [broker.ca_file, broker.cert_file, broker.key_file, broker.password_file]
    assert files == [str(tmp_path / name) for name in ("ca.pem", "c.pem", "c.key", "secret")]


@pytest.mark.parametrize("schema", ["Uns", "pg_x", "a b", 'x"; DROP'])
def test_a_schema_is_a_plain_name(tmp_path: Path, schema: str) -> None:
    quoted = schema.replace('"', '\\"')
    assert "schema" in findings(tmp_path, GOOD.replace("user: uns", f'user: uns, schema: "{quoted}"'))[0]


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    assert "postgres" in findings(tmp_path, GOOD.replace("kind: postgres", "kind: postgre"))[0]


@pytest.mark.parametrize(("secret", "says"), [("nowhere", "check broker.password_file"), ("open", "chmod 600")])
def test_what_is_wrong_with_the_brokers_files_is_told_before_it_runs(tmp_path: Path, secret: str, says: str) -> None:
    (tmp_path / "open").write_text("geheim")
    (tmp_path / "open").chmod(0o644)
    broker = f"broker: {{url: mqtts://broker.example:8883, username: u, password_file: {secret}}}\ntree: tree.yaml\n"
    config = load(tmp_path, GOOD + broker)
    (finding,) = (one for one in check_bridge(config) if one.rule == "broker")
    assert finding.severity == "error"
    assert says in finding.text
    with pytest.raises(ConfigurationError, match=says):
        run_bridge(config)
    assert not config.store.exists()
