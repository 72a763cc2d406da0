"""Options that several commands share, so that they read and behave alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

if TYPE_CHECKING:
    from uns.adapters.broker_address import BrokerAddress

__all__ = [
    "DEFAULT_BROKER",
    "DEFAULT_TREE",
    "BrokerOption",
    "CaFileOption",
    "CertFileOption",
    "JsonOption",
    "KeyFileOption",
    "MqttOption",
    "PasswordEnvOption",
    "PasswordFileOption",
    "TreeOption",
    "UsernameOption",
    "broker_address",
    "standard_input",
]

DEFAULT_BROKER = "mqtt://127.0.0.1:1883"
DEFAULT_TREE = Path("topic_tree.yaml")

TreeOption = Annotated[
    Path, typer.Option("--tree", envvar="UNS_TREE", help="The topic tree, the file that declares the plant.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]

# Who we are to a broker: every command that connects takes all of these (a gateway has them in its node file).
BrokerOption = Annotated[
    str, typer.Option("--broker", envvar="UNS_BROKER", help="The broker: mqtt://host[:port] or mqtts://host[:port].")
]
CaFileOption = Annotated[
    str | None, typer.Option("--ca-file", envvar="UNS_CA_FILE", help="CA certificates (PEM) for mqtts.")
]
CertFileOption = Annotated[
    str | None, typer.Option("--cert-file", envvar="UNS_CERT_FILE", help="Own certificate (PEM) for mqtts.")
]
KeyFileOption = Annotated[
    str | None, typer.Option("--key-file", envvar="UNS_KEY_FILE", help="Its key (PEM), readable by its owner only.")
]
UsernameOption = Annotated[
    str | None, typer.Option("--username", envvar="UNS_USERNAME", help="User name at the broker.")
]
PasswordFileOption = Annotated[
    str | None,
    typer.Option(
        "--password-file", envvar="UNS_PASSWORD_FILE", help="File with the password, readable by its owner only."
    ),
]
PasswordEnvOption = Annotated[
    str | None, typer.Option("--password-env", help="Name of the variable with the password.")
]

MqttOption = Annotated[str, typer.Option("--mqtt", envvar="UNS_MQTT", help="The version of MQTT to speak: 3.1.1 or 5.")]
_MQTT_VERSIONS = {"3.1.1": False, "5": True}


def broker_address(
    url: str,
    *,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    username: str | None = None,
    password_file: str | None = None,
    password_env: str | None = None,
    mqtt: str = "3.1.1",
) -> BrokerAddress:
    """What the options say; raise :class:`~uns.errors.ConfigurationError` where they do not go together."""
    from uns.adapters.broker_address import BrokerAddress, parse_broker_url
    from uns.errors import ConfigurationError

    _, _, secure = parse_broker_url(url)
    if (cert_file is None) != (key_file is None):
        raise ConfigurationError("a certificate without its key, or a key alone", expected="--cert-file and --key-file")
    if not secure and (ca_file is not None or cert_file is not None):
        raise ConfigurationError("TLS files are given for a broker without TLS", where=url, next_step="write mqtts://")
    if mqtt not in _MQTT_VERSIONS:
        raise ConfigurationError(f"--mqtt {mqtt!r}", expected=" or ".join(_MQTT_VERSIONS))
    return BrokerAddress(
        url=url,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        username=username,
        password_file=password_file,
        password_env=password_env,
        mqtt5=_MQTT_VERSIONS[mqtt],
    )


def standard_input() -> BinaryIO:
    """The bytes of standard input; raise :class:`~uns.errors.ConfigurationError` where the caller closed it."""
    from uns.errors import ConfigurationError

    if sys.stdin is None:
        raise ConfigurationError("standard input is closed", next_step="name a file, or send it something")
    return sys.stdin.buffer
