"""Where a broker is and who we are to it: URL, TLS files, and secrets as references that are read when needed."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from uns.errors import ConfigurationError

__all__ = ["BrokerAddress", "parse_broker_url", "tls_context"]

_SECURE_PORT = 8883
_PLAIN_PORT = 1883


class BrokerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is and who we are to it. Secrets are references, read at each CONNECT, never values."""

    url: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    password_env: str | None = None

    def password(self) -> str | None:
        """Read the password from where it is kept; raise :class:`ConfigurationError` where that is not possible."""
        if self.password_file is not None:
            return _read_password_file(Path(self.password_file))
        if self.password_env is not None:
            value = os.environ.get(self.password_env)
            if value is None:
                raise ConfigurationError(
                    f"environment variable {self.password_env} is not set",
                    where="broker.password_env",
                    next_step="set it for this process, or use password_file",
                )
            return value
        return None


def parse_broker_url(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken; raise :class:`ConfigurationError` for anything but mqtt(s)://host[:port].

    A password in a URL would end in logs and process lists, so it is refused here.
    """
    form = "mqtt://host[:port] or mqtts://host[:port]"
    shown = url.rsplit("@", 1)[-1]  # whatever stood before it may be a secret
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"broker URL {shown!r} cannot be read: {error}", expected=form) from error
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.path not in {"", "/"} or parts.query:
        raise ConfigurationError(f"broker URL {shown!r} cannot be used", expected=form)
    if parts.password is not None or parts.username is not None:
        raise ConfigurationError(
            "credentials in a broker URL end in logs", expected=form, next_step="use username and password_file"
        )
    secure = parts.scheme == "mqtts"
    return parts.hostname, port or (_SECURE_PORT if secure else _PLAIN_PORT), secure


def tls_context(address: BrokerAddress) -> ssl.SSLContext:
    """TLS 1.2 or newer with the files of the address; raise :class:`ConfigurationError` where they cannot be used."""
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if address.cert_file is not None:
            context.load_cert_chain(address.cert_file, address.key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f for f in (address.ca_file, address.cert_file, address.key_file) if f is not None)
        raise ConfigurationError(
            f"TLS files cannot be used: {error}", where=files, next_step="check paths, rights and PEM format"
        ) from error
    return context


def _read_password_file(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(
                "others can read the password file", where=str(path), next_step=f"chmod 600 {path}"
            )
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(
            f"password file: {error.strerror}", where=str(path), next_step="check broker.password_file"
        ) from error
