"""The same faults in every type of message that has an id of its own."""

# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doctor.faults import Change, Play, clear, first, named, set_flag
from tests.doctor.scene import Scene
from uns.doctor.requirements import REQUIREMENTS

__all__ = ["ALSO_IN", "BY_TYPE"]


def message(s: Scene, kind: str, change: Change | None = None, **more: Any) -> None:
    """One message of that type, after the births that it needs."""
    if kind != "NBIRTH":
        s.nbirth()
    if kind not in {"NBIRTH", "DBIRTH"}:
        s.dbirth()
    getattr(s, kind.lower())(change, **more)


def gap_before(s: Scene, kind: str) -> None:
    s.nbirth()
    if kind != "DBIRTH":
        s.dbirth()
    s.next_seq()
    getattr(s, kind.lower())()


def unreadable(s: Scene, kind: str) -> None:
    if kind == "DBIRTH":
        s.nbirth()
    s.send(f"spBv1.0/G/{kind}/E" + ("/D" if kind == "DBIRTH" else ""), b"\xff\xff")


def stale(p: Any) -> None:
    p.metrics.add(alias=1, timestamp=p.timestamp - 5, double_value=1.0)


def unchanging(s: Scene) -> None:
    s.births()
    for _ in range(120):
        s.ndata(lambda p: setattr(p.metrics[0], "double_value", 1.0))


def no_nbirth_certificate(s: Scene) -> None:
    s.births()
    s.grader.look_again()
    s.send("$sparkplug/certificates/spBv1.0/G/DBIRTH/E/D", b"x", retain=True)


IN_ANY_TYPE: dict[str, Callable[[Scene, str], Any]] = {
    "payload.protobuf": unreadable,
    "payload.timestamp": lambda s, kind: message(s, kind, clear("timestamp")),
    "seq.there": lambda s, kind: message(s, kind, clear("seq")),
    "seq.absent": lambda s, kind: message(s, kind, set_flag("seq", 0)),
    "seq.next": gap_before,
    "qos.zero": lambda s, kind: message(s, kind, qos=1),
    "retain.off": lambda s, kind: message(s, kind, retain=True),
    "topic.device_there": lambda s, kind: s.send(f"spBv1.0/G/{kind}/E", b""),
    "topic.device_absent": lambda s, kind: s.send(f"spBv1.0/G/{kind}/E/D", b""),
    "data.something": lambda s, kind: message(s, kind, clear("metrics")),
}
IN_ONE_TYPE: dict[tuple[str, str], Play] = {
    ("birth.first", "DDATA"): lambda s: (s.births(), s.ddeath(), s.ddata()),
    ("birth.value", "NBIRTH"): lambda s: s.nbirth(named("uptime", set_flag("is_null", True))),
    ("birth.complete", "DBIRTH"): lambda s: (s.nbirth(), s.dbirth(first(clear("double_value")))),
    ("command.fits", "NCMD"): lambda s: message(s, "NCMD", lambda p: s.add(p, None, alias=1, string_value="x")),
    ("command.in_birth", "NCMD"): lambda s: message(s, "NCMD", lambda p: s.add(p, None, alias=99, int_value=1)),
    ("data.in_birth", "NDATA"): lambda s: message(s, "NDATA", first(set_flag("alias", 99))),
    ("data.changes", "NDATA"): unchanging,
    ("metrics.time_order", "NBIRTH"): lambda s: s.nbirth(lambda p: setattr(p.metrics[1], "timestamp", s.now_ms - 5)),
    ("metrics.time_order", "NDATA"): lambda s: message(s, "NDATA", stale),
    ("metrics.time_order", "DDATA"): lambda s: message(
        s, "DDATA", lambda p: p.metrics.add(alias=10, timestamp=p.timestamp - 5, double_value=1.0)
    ),
    ("certificate.there", "NBIRTH"): no_nbirth_certificate,
}
ALSO_IN: dict[tuple[str, str], set[str]] = {
    ("seq.there", "NBIRTH"): {"seq.zero"},
    ("birth.complete", "DBIRTH"): {"birth.value"},
}


def in_type(play: Callable[[Scene, str], Any], kind: str) -> Play:
    return lambda s: play(s, kind)


def planted_by_type() -> dict[tuple[str, str], tuple[Play, str]]:
    """For each rule and message type that the table of requirements names together: how to break it, and who does."""
    found: dict[tuple[str, str], tuple[Play, str]] = {}
    for requirement in REQUIREMENTS:
        for rule in requirement.rules:
            for kind in requirement.kinds:
                subject = "commands to G/E" if kind in {"NCMD", "DCMD"} else "G/E"
                if rule.startswith("topic."):
                    subject = f"topic spBv1.0/G/{kind}/E" + ("/D" if rule.endswith("absent") else "")
                if rule == "certificate.there":
                    subject = "broker"
                if rule in IN_ANY_TYPE:
                    found[rule, kind] = (in_type(IN_ANY_TYPE[rule], kind), subject)
                elif (rule, kind) in IN_ONE_TYPE:
                    found[rule, kind] = (IN_ONE_TYPE[rule, kind], subject)
    return found


BY_TYPE = planted_by_type()
