"""The commands: rendering, TLS options that do not go together, and the example itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from examples.secure_plant import make_certificates as certificates
from tests.cli.test_tree import PLANT, run
from tests.servers import require_mosquitto
from uns.adapters.mqtt import BrokerAddress
from uns.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def test_render_prints_the_list_and_with_config_its_listener(capsys):
    code, out, err = run(capsys, "tree", "render", "acl", "--broker", "mosquitto", "--tree", PLANT)
    assert (code, err) == (0, "")
    assert "\nuser acme.dallas/gw-energy\n" in out
    code, out, _ = run(capsys, "tree", "render", "acl", "--config", "--port", "8884", "--tree", PLANT)
    assert code == 0
    assert "\nlistener 8884\n" in out


def test_render_json_is_one_document(capsys):
    code, out, _ = run(capsys, "tree", "render", "acl", "--json", "--tree", PLANT, "--reader", "historian")
    assert code == 0
    assert {"credential": "historian", "role": "reader"}.items() <= json.loads(out)["grants"][-1].items()


@pytest.mark.parametrize(
    "arguments", [("--broker", "emqx"), ("--reader", "uns-host-1"), ("--host-id", "a/b"), ("--reader", "x@houston")]
)
def test_what_cannot_be_rendered_is_2_and_prints_nothing(capsys, arguments):
    code, out, err = run(capsys, "tree", "render", "acl", "--tree", PLANT, *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command", [("host", "run"), ("context", "put", "--kind", "job", "--equipment", "x", "--idle")]
)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--cert-file", "c.pem"), "without its key"),
        (("--broker", "mqtt://localhost", "--ca-file", "c.pem"), "without TLS"),
    ],
)
def test_tls_options_that_do_not_go_together_are_2(capsys, command, options, says):
    code, _, err = run(capsys, *command, "--tree", PLANT, "--broker", "mqtts://localhost", *options)
    assert code == 2
    assert says in err


def test_a_host_with_a_missing_certificate_ends_at_once_with_2(capsys, tmp_path):
    files = str(tmp_path / "{connection}")
    tls = ("--cert-file", f"{files}.pem", "--key-file", f"{files}.key")
    arguments = ("--tree", PLANT, "--broker", "mqtts://localhost:1", "--store", str(tmp_path / "s"), *tls)
    code, _, err = run(capsys, "host", "run", *arguments)
    assert code == 2
    assert "uns-host-1.pem" in err


def test_a_key_that_others_can_read_is_refused(tmp_path):
    certificates.make_certificates(tmp_path, ["somebody"])
    address = BrokerAddress(
        url="mqtts://localhost",
        ca_file=str(tmp_path / "ca.pem"),
        cert_file=str(tmp_path / "somebody.pem"),
        key_file=str(tmp_path / "somebody.key"),
    )
    address.check()
    (tmp_path / "somebody.key").chmod(0o640)
    with pytest.raises(ConfigurationError, match="others can read the key file"):
        address.check()


def test_a_file_that_is_not_there_is_named_without_those_that_are(tmp_path):
    certificates.make_certificates(tmp_path, ["somebody"])
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "nobody.pem", "somebody.key"))
    with pytest.raises(ConfigurationError) as raised:
        BrokerAddress(url="mqtts://localhost", ca_file=ca, cert_file=cert, key_file=key).check()
    assert str(raised.value).startswith(f"{cert}: TLS files cannot be used")


def test_each_connection_has_its_own_files_and_name():
    address = BrokerAddress(url="mqtts://b", cert_file="{connection}.pem", username="u-{connection}", ca_file="ca.pem")
    own = address.of_connection("uns-host-1-out")
    assert (own.cert_file, own.username, own.ca_file) == ("uns-host-1-out.pem", "u-uns-host-1-out", "ca.pem")


def test_certificates_are_named_short_lived_and_their_keys_private(tmp_path):
    certificates.make_certificates(tmp_path, ["acme.dallas/gw-1"], days=2)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.key")} == {0o600}
    leaf = x509.load_pem_x509_certificate((tmp_path / "acme.dallas" / "gw-1.pem").read_bytes())
    assert leaf.subject.rfc4514_string() == "CN=acme.dallas/gw-1"
    assert leaf.not_valid_after_utc < datetime.now(UTC) + timedelta(days=2, minutes=1)


def test_making_them_again_renews_all_but_the_authority(tmp_path):
    certificates.make_certificates(tmp_path, ["a"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    certificates.make_certificates(tmp_path, ["a"])
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] == after[name]} == {"ca.pem", "ca.key"}


BRIDGES = ("--bridge", "mes@mes", "--bridge", "history")


def test_the_script_certifies_whom_the_list_names(tmp_path, capsys):
    arguments = (
        "--tree",
        PLANT,
        "--directory",
        str(tmp_path),
        "--reader",
        "historian",
        "--broker-name",
        "b.example",
        *BRIDGES,
    )
    assert certificates.main(arguments) == 0
    assert {"uns-host-1-out.pem", "historian.pem", "broker.pem"} <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "bridge" / "history.pem").exists()
    out = capsys.readouterr().out
    assert out.count("fact/mes") == 1, "a bridge that states facts has the credential of its source"


def test_no_certificate_and_no_key_is_committed():
    found = subprocess.run(["git", "ls-files", "*.pem", "*.key"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == ""


EXAMPLE = (sys.executable, "-m", "examples.secure_plant")


@pytest.mark.integration
def test_the_example_takes_an_order_to_its_performance_and_its_audit_logs_are_fine(tmp_path):
    require_mosquitto()
    pytest.importorskip("lxml")
    command = [*EXAMPLE, "--seconds", "3", "--directory", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    out = ended.stdout
    assert ended.returncode == 0, out + ended.stderr
    assert "BROKEN" not in out
    assert "holds  record log: rows by status resolved " in out
    assert "orders.xml dropped into the inbox: 2 of 2 orders accepted" in out
    assert "holds  bridge: orders_read 2 = facts_accepted 2 + " in out
    assert "holds  bridge: items 1 = delivered 1 + " in out
    assert re.search(r"holds  WO-10234: performance good [1-9]\d* = counted ", out)
    audited = re.findall(r"holds  audit log of (\S+): good (\d+) = entries (\d+), .* anchor (\d+)\n", out)
    assert [name for name, *_ in audited] == ["uns-host-1", "acme.dallas/gw-reaction-1", "acme.dallas/gw-energy", "mes"]
    assert all(len(set(numbers)) == 1 for _, *numbers in audited)
    assert len(list((tmp_path / "mes/outbox").glob("*.xml"))) == 1
    assert [file.name for file in (tmp_path / "mes/inbox/archive").glob("*/*")] == ["orders.xml"]
    # What it printed is what a person types; the broker is gone by now, and that is said.
    verify = next(line for line in out.splitlines() if line.startswith("uns audit verify"))
    typed = [sys.executable, "-m", *shlex.split(verify)]
    again = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 3, again.stdout + again.stderr


@pytest.mark.integration
@pytest.mark.long
def test_the_example_without_the_library_of_the_bridge_says_what_is_left_out(tmp_path):
    require_mosquitto()
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['lxml'] = None\n")
    ended = subprocess.run(
        [*EXAMPLE, "--seconds", "2"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "the bridge is left out, lxml is not installed: pip install 'uns-sparkplug[b2mml]'" in ended.stdout
    assert "BROKEN" not in ended.stdout
    assert ended.stdout.count("holds  audit log of ") == 3
