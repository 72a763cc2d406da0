"""What to look at when a broker is not reached or refuses us: a sentence by cause, for whoever is called at night."""

from __future__ import annotations

import errno

from uns.adapters.broker_address import BrokerAddress, parse_broker_url

__all__ = ["next_step"]

# Parts of what the system, OpenSSL and paho say, in the order in which they are looked for.
_NAME = ("not known", "nodename nor servname", "name resolution", "No address associated")
_REFUSED = ("Connection refused", f"Errno {errno.ECONNREFUSED}]")
_SILENT = ("timed out", "Timeout", "No route to host", "unreachable", f"Errno {errno.EHOSTUNREACH}]")
_CREDENTIALS = ("Not authorized", "ad user name", "ad username", "Banned")
_THEIR_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED",)
_OUR_CERTIFICATE = ("ALERT", "alert")  # what a TLS server says of a client that it does not take
_NO_ANSWER = ("before it answered",)  # to CONNECT: the handshake of TLS is over then
_OTHER_END = ("WRONG_VERSION_NUMBER", "reset by peer", "EOF occurred", "Protocol error")
_VERSION = ("nsupported protocol version", "nacceptable protocol version")


def next_step(reason: str, address: BrokerAddress) -> str:
    """What to check, after ``reason``, the text of an attempt that failed."""
    secure = parse_broker_url(address.url)[2]
    who = "a client without a user name" if address.username is None else f"user {address.username!r}"
    not_secure = "that port may speak TLS: then write mqtts://; else the broker's log tells why"
    steps = (
        (_NAME, "check the broker's name in the URL, and this machine's name resolution"),
        (_REFUSED, "nothing listens there: check that the broker runs, and host and port"),
        (_SILENT, "nothing answers there: check that the broker runs, host and port, and firewalls on the way"),
        (_CREDENTIALS, f"the broker does not let {who} in: check user name and password here, accounts and log there"),
        (_VERSION, f"the broker does not speak MQTT {'5: use 3.1.1' if address.mqtt5 else '3.1.1: use 5'}"),
        (
            _THEIR_CERTIFICATE,
            "check that the broker's certificate is signed by the CA file, bears the URL's name and has not expired",
        ),
        (
            _OUR_CERTIFICATE,
            "the broker does not take this client's certificate: is one given, of an authority it knows, not expired?",
        ),
        (
            _NO_ANSWER,
            "the broker may not take this client's certificate: is one given, of an authority it knows, not expired? "
            "Its log tells"
            if secure
            else not_secure,
        ),
        (
            _OTHER_END,
            "check whether that port speaks TLS at all; without it, write mqtt://" if secure else not_secure,
        ),
    )
    for said, step in steps:
        if any(part in reason for part in said):
            return step
    return "check that the broker runs there and takes these credentials; its log tells more"
