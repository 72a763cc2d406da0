"""Certificates for a plant: ``python -m examples.secure_plant.make_certificates --directory certificates``.

One authority, one certificate for the broker, and one for each credential that ``uns tree render acl`` names, with that
name as its CN. They live short; making them again renews them (the authority stays), and every process of ours reads
its files anew at its next connection. A plant with an authority of its own asks it for the same names instead.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from uns.errors import ConfigurationError, UnsError
from uns.namespace.acl import access_grants, parse_bridge, parse_reader
from uns.namespace.loader import load_tree

__all__ = ["Authority", "make_certificates"]

AUTHORITY_DAYS = 365
LEAF_DAYS = 30
_CLOCKS_DIFFER = timedelta(minutes=5)


class Authority:
    """A certificate authority in a directory: ``ca.pem`` and ``ca.key``, made where they are missing."""

    def __init__(self, directory: Path, *, now: datetime, days: int = AUTHORITY_DAYS) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = directory / "ca.pem", directory / "ca.key"
        if certificate.exists() and key.exists():
            self.certificate = x509.load_pem_x509_certificate(certificate.read_bytes())
            loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise ConfigurationError("not an authority of ours", where=str(key), next_step="choose a new directory")
            self._key = loaded
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant authority")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self.certificate = (
            self._builder(name, self._key.public_key(), now, timedelta(days=days))
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write(key, _private_pem(self._key), mode=0o600)
        _write(certificate, self.certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)

    def issue(
        self, file: str, common_name: str, *, now: datetime, lifetime: timedelta, server_names: Sequence[str] = ()
    ) -> None:
        """Write ``file``.pem and ``file``.key; with ``server_names`` it is for a server, else for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH
        authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            self._builder(name, key.public_key(), now, lifetime)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(authority_id, critical=False)
        )
        if server_names:
            names = x509.SubjectAlternativeName([_general_name(text) for text in server_names])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        place = self.directory / file
        place.parent.mkdir(parents=True, exist_ok=True)
        # The key first: whoever connects in between has a pair that does not fit, and tries again.
        _write(place.with_name(f"{place.name}.key"), _private_pem(key), mode=0o600)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        _write(place.with_name(f"{place.name}.pem"), pem, mode=0o644)

    @staticmethod
    def _builder(
        name: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + lifetime)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def make_certificates(
    directory: Path,
    credentials: Sequence[str],
    *,
    broker_names: Sequence[str] = ("localhost", "127.0.0.1"),
    days: float = LEAF_DAYS,
) -> None:
    """``ca``, ``broker`` and one pair for each credential, in files of its name (its slashes are directories)."""
    now = datetime.now(UTC)
    authority = Authority(directory, now=now)
    lifetime = timedelta(days=days)
    authority.issue("broker", broker_names[0], now=now, lifetime=lifetime, server_names=broker_names)
    for credential in credentials:
        authority.issue(credential, credential, now=now, lifetime=lifetime)


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and make them."""
    parser = argparse.ArgumentParser(prog="python -m examples.secure_plant.make_certificates", description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path("topic_tree.yaml"))
    parser.add_argument("--directory", type=Path, default=Path("certificates"))
    parser.add_argument("--broker-name", action="append", help="name or address that clients use; localhost by default")
    parser.add_argument("--host-id", action="append", help="as in `uns tree render acl`")
    parser.add_argument("--reader", action="append", help="as in `uns tree render acl`")
    parser.add_argument("--bridge", action="append", help="as in `uns tree render acl`")
    parser.add_argument("--observer", action="append", help="as in `uns tree render acl`")
    parser.add_argument("--days", type=float, default=LEAF_DAYS, help="how long they are valid")
    options = parser.parse_args(arguments)
    try:
        grants = access_grants(
            load_tree(options.tree),
            host_ids=tuple(options.host_id or ["uns-host-1"]),
            readers=None if options.reader is None else [parse_reader(text) for text in options.reader],
            bridges=[parse_bridge(text) for text in options.bridge or ()],
            observers=options.observer or (),
        )
        credentials = [grant.credential for grant in grants]
        names = tuple(options.broker_name or ("localhost", "127.0.0.1"))
        make_certificates(options.directory, credentials, broker_names=names, days=options.days)
    except UnsError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.directory}: ca, broker and {len(credentials)} clients, valid for {options.days:g} days")
    for credential in credentials:
        print(f"  {credential}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
