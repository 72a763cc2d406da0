"""How each rule of the doctor is broken, and by whom: one fault in traffic that is right otherwise."""

# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doctor.scene import DATASET, DOUBLE, INT32, STRING, TEMPLATE, Scene

Play = Callable[[Scene], Any]
Change = Callable[[Any], Any]


def raw_metric(body: bytes) -> bytes:
    return b"\x12" + bytes([len(body)]) + body


def define(s: Scene, p) -> None:
    metric = s.add(p, "Motor", TEMPLATE)
    template = metric.template_value
    template.is_definition = True
    template.version = "1"
    for name in ("speed", "torque"):
        member = template.metrics.add()
        member.name, member.datatype, member.is_null = name, DOUBLE, True
        member.timestamp = s.now_ms
    parameter = template.parameters.add()
    parameter.name, parameter.type, parameter.int_value = "poles", INT32, 4


def instance(s: Scene, p, *, members=("speed", "torque"), in_birth: bool = True):
    metric = s.add(p, "motor 1", TEMPLATE if in_birth else None)
    template = metric.template_value
    template.is_definition = False
    template.template_ref = "Motor"
    for name in members:
        member = template.metrics.add()
        member.name, member.double_value, member.timestamp = name, 1.0, s.now_ms
        if in_birth:
            member.datatype = DOUBLE
    parameter = template.parameters.add()
    parameter.name, parameter.type, parameter.int_value = "poles", INT32, 6
    return template


def rich(s: Scene, p):
    """A DBIRTH with a property set, a data set and a template instance."""
    instance(s, p)
    properties = p.metrics[0].properties
    properties.keys.append("Quality")
    value = properties.values.add()
    value.type, value.int_value = INT32, 192
    return dataset(s, p)


def dataset(s: Scene, p):
    held = s.add(p, "table", DATASET).dataset_value
    held.num_of_columns = 2
    held.columns.extend(["a", "b"])
    held.types.extend([INT32, STRING])
    row = held.rows.add()
    row.elements.add().int_value = 1
    row.elements.add().string_value = "x"
    return held


def quality(
    p, *, kind: int | None = INT32, field: str = "int_value", value: object = 192, key: str = "Quality"
) -> None:
    properties = p.metrics[0].properties
    properties.keys.append(key)
    made = properties.values.add()
    if kind is not None:
        made.type = kind
    setattr(made, field, value)


def on_data_set(change: Change) -> Play:
    return lambda s: s.births(lambda p: change(dataset(s, p)))


def on_definition(change: Change, kind: str = "nbirth") -> Play:
    def play(s: Scene) -> None:
        if kind != "nbirth":
            s.nbirth()
        getattr(s, kind)(lambda p: (define(s, p), change(p.metrics[-1].template_value)))

    return play


def on_instance(change: Change, kind: str = "dbirth") -> Play:
    def play(s: Scene) -> None:
        s.nbirth(lambda p: define(s, p))
        if kind != "dbirth":
            s.dbirth(lambda p: instance(s, p) and None)
        getattr(s, kind)(lambda p: change(instance(s, p)))

    return play


def varint(number: int) -> bytes:
    made = b""
    while number > 0x7F:
        made += bytes([number & 0x7F | 0x80])
        number >>= 7
    return made + bytes([number])


HUGE = b"\x80\x80\x80\x80\x80\x01"  # 2**35 as a varint, in a field of 32 bits
AN_INT32 = b"\x20\x03\x50\x01"


def metric_with(fields: bytes) -> Play:
    """An NBIRTH with one more metric, hand-made: what protobuf would not write."""
    return lambda s: s.nbirth(extra=raw_metric(b"\x0a\x01a\x18" + varint(s.now_ms) + fields))


def template_with(fields: bytes) -> Play:
    """The same with a template definition."""
    template = b"\x28\x01" + fields
    return metric_with(b"\x20\x13\x92\x01" + bytes([len(template)]) + template)


def data_then(s: Scene, *steps: Callable[[], object]) -> None:
    s.births()
    s.ndata()
    for step in steps:
        step()


def skip_seq(s: Scene) -> None:
    s.births()
    s.ndata()
    s.next_seq()
    s.ndata()


def late_devices(s: Scene) -> None:
    s.births()
    s.nbirth()
    s.ndata()
    s.dbirth()


def two_senders(s: Scene) -> None:
    for bd_seq in (4, 9, 4, 9):
        s.bd_seq = bd_seq
        s.births()


def no_stop(s: Scene) -> None:
    s.births()
    s.ncmd()
    s.wait(5)
    s.ndata()


def unanswered(s: Scene) -> None:
    s.births()
    s.ncmd()
    s.wait(31)


def rebirth_with_next_bd_seq(s: Scene) -> None:
    s.births()
    s.ncmd()
    s.bd_seq += 1
    s.births()


def same_after_death(s: Scene) -> None:
    s.births()
    s.ndeath()
    s.births()


def unknown_death(s: Scene) -> None:
    s.births()
    s.bd_seq = 77
    s.ndeath()


def repeated_values(s: Scene) -> None:
    s.births()
    for _ in range(120):
        s.ddata(lambda p: setattr(p.metrics[0], "double_value", 1.0))


def certificates(*, complete: bool) -> Play:
    def play(s: Scene) -> None:
        s.births()
        s.grader.look_again()
        s.send("$sparkplug/certificates/spBv1.0/G/NBIRTH/E", b"x", retain=True)
        if complete:
            s.send("$sparkplug/certificates/spBv1.0/G/DBIRTH/E/D", b"x", retain=True)

    return play


def states(*timestamps: int) -> Play:
    def play(s: Scene) -> None:
        for timestamp in timestamps:
            s.state(timestamp=s.now_ms + timestamp - s.now_ms % 1000)
        again(s, b'{"online": true, "timestamp": %d}' % (s.now_ms + timestamps[-1] - s.now_ms % 1000))

    return play


STATE_OF_H = "spBv1.0/STATE/h"
NO_TIME = b'{"online":false}'


def again(s: Scene, payload: bytes) -> None:
    """The broker has kept a STATE of h, and hands it out at the second subscription."""
    s.grader.look_again()
    s.send(STATE_OF_H, payload, qos=1, retain=True)


def kept_state(s: Scene, *, online: bool = True) -> None:
    again(s, b'{"online": %s, "timestamp": %d}' % (b"true" if online else b"false", s.now_ms))


def far_death(s: Scene) -> None:
    s.state()
    payload = b'{"online": false, "timestamp": %d}' % (s.now_ms + 900_000)
    s.send(STATE_OF_H, payload, qos=1)
    again(s, payload)


def command(kind: str, change) -> Play:
    def play(s: Scene) -> None:
        s.births()
        getattr(s, kind)(change)

    return play


def folded(first: str, second: str) -> Play:
    def play(s: Scene) -> None:
        s.nbirth(node=first)
        s.nbirth(node=second)

    return play


def set_flag(field: str, value: object) -> Change:
    return lambda held: setattr(held, field, value)


def clear(field: str) -> Change:
    return lambda held: held.ClearField(field)


def first(change: Change) -> Change:
    return lambda p: change(p.metrics[0])


def named(name: str, change: Change) -> Change:
    return lambda p: change(next(m for m in p.metrics if m.name == name))


REBIRTH = "Node Control/Rebirth"
KEPT = {"retain": True}

# By rule: how to break it, and the subject that is to be blamed ("G/E" where nothing is said).
BROKEN: dict[str, Play | tuple[Play, str]] = {
    "topic.namespace": (lambda s: s.send("spAv1.0/G/NBIRTH/E", b""), "topic spAv1.0/G/NBIRTH/E"),
    "topic.form": (lambda s: s.send("spBv1.0/G/NHELLO/E", b""), "topic spBv1.0/G/NHELLO/E"),
    "topic.device_there": (lambda s: s.send("spBv1.0/G/DDATA/E", b""), "topic spBv1.0/G/DDATA/E"),
    "topic.device_absent": (lambda s: s.send("spBv1.0/G/NDATA/E/D", b""), "topic spBv1.0/G/NDATA/E/D"),
    "topic.group_id": (lambda s: Scene(s.grader, group="G+").nbirth(), "G+/E"),
    "topic.edge_node_id": (lambda s: s.nbirth(node="E#"), "G/E#"),
    "topic.device_id": lambda s: (s.nbirth(), s.dbirth(device="D\x00")),
    "qos.zero": lambda s: (s.nbirth(qos=1), s.ndata()),
    "qos.state_birth": (lambda s: (s.state(qos=0), kept_state(s)), "host h"),
    "qos.state_death": (lambda s: (s.state(online=False, qos=0), kept_state(s, online=False)), "host h"),
    "retain.off": lambda s: s.nbirth(retain=True),
    "payload.protobuf": lambda s: s.send("spBv1.0/G/NBIRTH/E", b'{"metrics": []}'),
    "payload.timestamp": lambda s: s.nbirth(clear("timestamp")),
    "payload.timestamp_ms": lambda s: s.nbirth(set_flag("timestamp", s.now)),
    "seq.there": lambda s: s.nbirth(clear("seq")),
    "seq.zero": lambda s: s.nbirth(set_flag("seq", 3)),
    "seq.absent": lambda s: (s.births(), s.ndeath(set_flag("seq", 0))),
    "metric.named": lambda s: data_then(s, lambda: s.ddata(first(clear("alias")))),
    "alias.named": lambda s: s.nbirth(named("uptime", clear("name"))),
    "birth.complete": lambda s: s.nbirth(named("uptime", clear("double_value"))),
    "birth.value": lambda s: s.dbirth(first(set_flag("is_null", True))),
    "birth.datatype": lambda s: s.dbirth(first(clear("datatype"))),
    "metric.timestamp": lambda s: s.nbirth(first(clear("timestamp"))),
    "metric.timestamp_ms": lambda s: s.nbirth(lambda p: [setattr(m, "timestamp", s.now) for m in p.metrics]),
    "datatype.number": metric_with(b"\x20" + HUGE + b"\x50\x01"),
    "datatype.known": lambda s: s.dbirth(first(set_flag("datatype", 35))),
    "datatype.absent": lambda s: data_then(s, lambda: s.ddata(first(set_flag("datatype", DOUBLE)))),
    "metrics.time_order": lambda s: s.dbirth(lambda p: setattr(p.metrics[1], "timestamp", s.now_ms - 5)),
    "metrics.folded": lambda s: s.dbirth(lambda p: s.add(p, "Phase", STRING, string_value="x")),
    "data.something": lambda s: data_then(s, lambda: s.ndata(clear("metrics"))),
    "bdseq.there": lambda s: s.nbirth(lambda p: p.metrics.__delitem__(0)),
    "bdseq.int64": lambda s: s.nbirth(first(set_flag("datatype", 8))),
    "bdseq.death_int64": lambda s: s.ndeath(first(set_flag("datatype", 8))),
    "death.metrics": lambda s: s.ndeath(lambda p: s.add(p, "more", DOUBLE, double_value=1.0)),
    "rebirth.metric": lambda s: s.nbirth(lambda p: p.metrics.__delitem__(1)),
    "rebirth.there": lambda s: s.nbirth(lambda p: p.metrics.__delitem__(1)),
    "rebirth.boolean": lambda s: s.nbirth(named(REBIRTH, set_flag("datatype", INT32))),
    "rebirth.false": lambda s: s.nbirth(named(REBIRTH, set_flag("boolean_value", True))),
    "rebirth.alias": lambda s: s.nbirth(named(REBIRTH, set_flag("alias", 7))),
    "command.rebirth_verb": (
        command("dcmd", lambda p: (p.metrics[0].ClearField("alias"), setattr(p.metrics[0], "name", REBIRTH))),
        "commands to G/E",
    ),
    "datatype.command": (command("ncmd", first(set_flag("datatype", 11))), "commands to G/E"),
    "command.rebirth_name": (command("ncmd", first(set_flag("name", "Node Control/Refresh"))), "commands to G/E"),
    "command.rebirth_true": (command("ncmd", first(set_flag("boolean_value", False))), "commands to G/E"),
    "command.node_verb": (command("dcmd", first(set_flag("alias", 1))), "commands to G/E"),
    "command.device_verb": (
        command("ncmd", lambda p: (p.metrics[0].ClearField("name"), setattr(p.metrics[0], "alias", 10))),
        "commands to G/E",
    ),
    "properties.length": lambda s: s.nbirth(lambda p: p.metrics[0].properties.keys.append("unit")),
    "properties.type_number": metric_with(AN_INT32 + b"\x4a\x0c\x0a\x01u\x12\x07\x08" + HUGE),
    "properties.type_known": lambda s: s.nbirth(lambda p: quality(p, kind=16, key="engUnit")),
    "properties.type_there": lambda s: s.nbirth(lambda p: quality(p, kind=None)),
    "quality.type": lambda s: s.nbirth(lambda p: quality(p, kind=4)),
    "quality.value": lambda s: s.nbirth(lambda p: quality(p, value=193)),
    "dataset.count": on_data_set(set_flag("num_of_columns", 3)),
    "dataset.headers": on_data_set(lambda d: d.columns.append("c")),
    "dataset.type_number": metric_with(b"\x20\x10\x8a\x01\x0c\x08\x01\x12\x01a\x18" + HUGE),
    "dataset.type_known": on_data_set(lambda d: d.types.__setitem__(0, DATASET)),
    "dataset.types": on_data_set(clear("types")),
    "dataset.cells": on_data_set(lambda d: d.rows[0].elements[0].Clear()),
    "template.flag": on_instance(clear("is_definition")),
    "template.definition_flag": on_definition(clear("is_definition")),
    "template.definition_ref": on_definition(set_flag("template_ref", "Motor")),
    "template.instance_flag": on_instance(set_flag("is_definition", True)),
    "template.instance_ref": on_instance(clear("template_ref")),
    "template.nbirth_only": on_definition(lambda _t: None, "dbirth"),
    "template.version": template_with(b"\x0a\x02\xff\xfe"),
    "template.defined": on_instance(set_flag("template_ref", "Pump")),
    "template.members": on_instance(lambda t: t.metrics.add(name="extra")),
    "template.members_all": on_instance(lambda t: t.metrics.__delitem__(0)),
    "template.parameters": on_instance(lambda t: setattr(t.parameters[0], "name", "other")),
    "parameter.name": on_instance(lambda t: t.parameters[0].ClearField("name")),
    "parameter.name_text": template_with(b"\x1a\x06\x0a\x02\xff\xfe\x10\x03"),
    "parameter.type_number": template_with(b"\x1a\x0a\x0a\x01a\x10" + HUGE),
    "parameter.type_known": on_instance(lambda t: setattr(t.parameters[0], "type", DATASET)),
    "parameter.type_there": on_instance(lambda t: t.parameters[0].ClearField("type")),
    "parameter.value": template_with(b"\x1a\x08\x0a\x01a\x10\x03\x4a\x01x"),
    "seq.next": skip_seq,
    "bdseq.grows": same_after_death,
    "bdseq.rebirth": rebirth_with_next_bd_seq,
    "bdseq.death": unknown_death,
    "node.unique": two_senders,
    "device.unique": lambda s: (s.births(), s.dbirth(lambda p: [setattr(m, "name", m.name + "2") for m in p.metrics])),
    "birth.first": lambda s: (s.births(), s.ndeath(), s.ndata()),
    "birth.node_first": lambda s: (s.births(), s.ndeath(), s.dbirth()),
    "birth.together": late_devices,
    "rebirth.stops": no_stop,
    "rebirth.answered": unanswered,
    "alias.unique": lambda s: s.births(first(set_flag("alias", 1))),
    "alias.alone": lambda s: data_then(s, lambda: s.ddata(first(set_flag("name", "temperature")))),
    "data.in_birth": lambda s: data_then(s, lambda: s.ddata(first(set_flag("alias", 99)))),
    "command.in_birth": (command("dcmd", first(set_flag("alias", 99))), "commands to G/E"),
    "command.fits": (command("dcmd", first(set_flag("string_value", "x"))), "commands to G/E"),
    "state.birth": (lambda s: (s.send(STATE_OF_H, b"ONLINE", qos=1), again(s, b"ONLINE")), "host h"),
    "state.death": (lambda s: (s.send(STATE_OF_H, NO_TIME, qos=1), again(s, NO_TIME)), "host h"),
    "state.death_time": (far_death, "host h"),
    "host.unique": (states(1000, 2000, 1000), "host h"),
    "ids.folded": (folded("E", "e"), "G/e"),
    "data.changes": repeated_values,
    "state.retained": (lambda s: s.state(), "host h"),
    "state.death_retained": (lambda s: s.state(online=False), "host h"),
    "state.topic": (lambda s: s.send("STATE/h", b"ONLINE", qos=1), "host h"),
    "certificate.there": (certificates(complete=False), "broker"),
}
# Cannot be broken from outside: a death published at QoS 0 is right, and looks like a Will at QoS 0. It can be kept.
NEVER_BROKEN = {"qos.will"}
# One fault that the standard forbids twice over: what else it breaks, in the same message of the same sender.
ALSO: dict[str, set[str]] = {
    "alias.named": {"birth.complete"},
    "birth.complete": {"birth.value"},
    "birth.datatype": {"birth.complete"},
    "seq.there": {"seq.zero"},
    "rebirth.there": {"rebirth.metric"},
    "rebirth.metric": {"rebirth.there"},
    "rebirth.boolean": {"rebirth.metric"},
    "rebirth.false": {"rebirth.metric"},
    "command.rebirth_verb": {"command.node_verb", "command.in_birth"},
    "command.rebirth_name": {"command.in_birth"},
    "command.node_verb": {"command.in_birth"},
    "command.device_verb": {"command.in_birth"},
    "datatype.number": {"datatype.known"},
    "properties.type_number": {"properties.type_known"},
    "dataset.type_number": {"dataset.type_known"},
    "dataset.headers": {"dataset.count"},
    "dataset.types": {"dataset.headers"},
    "template.flag": {"template.instance_flag"},
    "template.definition_flag": {"template.flag"},
    "template.definition_ref": {"template.instance_flag"},
    "template.instance_flag": {"template.definition_ref", "template.nbirth_only"},
    "template.instance_ref": {"template.definition_flag"},
    "parameter.type_number": {"parameter.type_known"},
}
# Judged by the whole watch: no single message shows them.
OVER_TIME = {"data.changes", "state.retained", "state.death_retained", "state.topic", "certificate.there"}
OVER_TIME |= {"rebirth.answered"}
