"""Where a broker is and who we are to it: URL, TLS files, and secrets as references that are read when needed."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from uns.adapters.secrets import Secret, refuse_readable_by_others
from uns.errors import ConfigurationError

__all__ = ["BrokerAddress", "parse_broker_url", "tls_context"]

_CONNECTION = "{connection}"
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
    mqtt5: bool = False  # else 3.1.1

    def of_connection(self, name: str) -> BrokerAddress:
        """With ``{connection}`` in files and user name replaced.

        A broker that takes the client id from the credential lets each credential in once, so that a process with
        several connections needs one for each.
        """
        given = {
            field: text.replace(_CONNECTION, name)
            for field in ("cert_file", "key_file", "username", "password_file", "password_env")
            if isinstance(text := getattr(self, field), str)
        }
        return msgspec.structs.replace(self, **given)

    def check(self) -> None:
        """Raise :class:`ConfigurationError` where files or secrets cannot be used: at the start, before anybody waits.

        Later they are read anew at each CONNECT, which is how certificates are renewed; what is wrong then is waited
        for, since files are replaced one after the other.
        """
        self.password()
        if parse_broker_url(self.url)[2]:
            tls_context(self)

    def password(self) -> str | None:
        """Read the password from where it is kept; raise :class:`ConfigurationError` where that is not possible."""
        file = None if self.password_file is None else Path(self.password_file)
        return Secret(file=file, variable=self.password_env).read(section="broker")


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
    if address.key_file is not None:
        refuse_readable_by_others(Path(address.key_file), "key")
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if address.cert_file is not None:
            context.load_cert_chain(address.cert_file, address.key_file)
    except (OSError, ssl.SSLError) as error:
        files = [f for f in (address.ca_file, address.cert_file, address.key_file) if f is not None]
        missing = [f for f in files if not Path(f).exists()]  # the error itself does not name it
        raise ConfigurationError(
            f"TLS files cannot be used: {error}",
            where=", ".join(missing or files),
            next_step="check paths, rights and PEM format",
        ) from error
    return context
