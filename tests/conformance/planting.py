"""Faults put into the product for one run of a test, and the runner that says whether the test saw them.

A fault changes what the product does (what its sessions put on the wire, refuse or believe), never the test. The runner
calls the test function as pytest would, with each of its parameters.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from google.protobuf.message import DecodeError

from schemas.sparkplug_b_pb2 import Payload
from tests.conformance import lives
from tests.review_host.stages import stages
from tests.runtime.test_host_parts import Shown
from uns.adapters.broker import EmbeddedBroker, MosquittoProcess
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug import Connect, EdgeNodeSession, HostSession, Publish, Subscribe
from uns.sparkplug.messages import Action, Message

__all__ = [
    "Fault",
    "Plant",
    "actions",
    "failure",
    "failure_served",
    "forgiving",
    "in_payload",
    "in_state",
    "on_wire",
    "replaced",
    "runs_here",
    "subscribed",
    "table",
    "told",
    "will",
]

Plant = Callable[[pytest.MonkeyPatch], None]
Changed = Message | list[Message] | None

# What a test may end with that saw a fault. An AttributeError or a TypeError would be a fault that was planted badly.
SEEN = (AssertionError, pytest.fail.Exception, DecodeError, ValueError, LocalProtocolError, RemoteProtocolError)


class Fault(NamedTuple):
    """What to do to the product, and the requirements that it breaks (without ``tck-id-``)."""

    breaks: str
    plant: Plant

    @property
    def tck_ids(self) -> list[str]:
        """In full."""
        return [f"tck-id-{name}" for name in self.breaks.split()]


# ── the runner ───────────────────────────────────────────────────────────────────────────────────────────────────


def function_of(test: str) -> Callable[..., object]:
    """``tests/x/test_y.py::test_z`` as a function."""
    file, _, name = test.partition("::")
    found: Callable[..., object] = getattr(importlib.import_module(file[:-3].replace("/", ".")), name)
    return found


def runs_here(test: str) -> bool:
    """Whether it needs neither an event loop nor servers."""
    return not inspect.iscoroutinefunction(function_of(test))


def cases(function: Callable[..., object]) -> Iterator[dict[str, object]]:
    """The arguments of each run, of all its ``parametrize``."""
    columns: list[list[dict[str, object]]] = []
    for mark in getattr(function, "pytestmark", []):
        if mark.name != "parametrize":
            continue
        names, rows = mark.args[:2]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        columns.append([dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in rows])
    for chosen in itertools.product(*columns):
        yield {name: value for part in chosen for name, value in part.items()}


def failure(test: str, directory: Path) -> str:
    """Run it; what it says if it sees a fault, else nothing."""
    function = function_of(test)
    wanted = inspect.signature(function).parameters
    for number, arguments in enumerate(cases(function)):
        if "path" in wanted and "path" not in arguments:
            arguments["path"] = directory / f"{number}.db"
        if "tmp_path" in wanted:
            arguments["tmp_path"] = directory
        if "shown" in wanted:
            arguments["shown"] = Shown(directory)
        lives.edge_life.cache_clear()
        lives.host_life.cache_clear()
        try:
            function(**arguments)
        except SEEN as error:
            return f"{type(error).__name__}: {error}"
        finally:
            lives.edge_life.cache_clear()
            lives.host_life.cache_clear()
    return ""


async def failure_served(test: str, directory: Path, *, broker: MosquittoProcess | None = None) -> str:
    """The same of a test with servers; what it asks for as a fixture is made here, unless ``broker`` stands for it."""
    async with contextlib.AsyncExitStack() as stack:
        arguments: dict[str, object] = {}
        wanted = inspect.signature(function_of(test)).parameters
        if "tmp_path" in wanted:
            arguments["tmp_path"] = directory
        if "broker" in wanted:
            arguments["broker"] = broker or await stack.enter_async_context(EmbeddedBroker())
        if "host" in wanted:
            arguments["host"] = await stack.enter_async_context(stages(directory))
        try:
            await cast(Any, function_of(test))(**arguments)
        except (*SEEN, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
    return ""


# ── what sessions ask for ────────────────────────────────────────────────────────────────────────────────────────


def actions(change: Callable[[list[Action]], list[Action]]) -> Plant:
    """Both sessions hand out other actions than they decided on."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for session in (EdgeNodeSession, HostSession):
            real = session.actions
            monkeypatch.setattr(session, "actions", lambda self, real=real: change(real(self)))

    return plant


def kind_of(topic: str) -> str:
    levels = topic.split("/")
    return "STATE" if levels[1] == "STATE" else levels[2]


def on_wire(kinds: str, change: Callable[[Message], Changed]) -> Plant:
    """Messages of these kinds are published otherwise, not at all (None), or with others (a list)."""

    def changed(asked: list[Action]) -> list[Action]:
        made: list[Action] = []
        for action in asked:
            if isinstance(action, Publish) and kind_of(action.message.topic) in kinds.split():
                found = change(action.message)
                messages = found if isinstance(found, list) else [] if found is None else [found]
                made += [Publish(message) for message in messages]
            else:
                made.append(action)
        return made

    return actions(changed)


def replaced(**fields: Any) -> Callable[[Message], Message]:
    """The message with other fields; a function of the old value gives the new one."""

    def change(message: Message) -> Message:
        given = {name: new(getattr(message, name)) if callable(new) else new for name, new in fields.items()}
        return msgspec.structs.replace(message, **given)

    return change


def edited(edit: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    """A payload as protobuf, changed in place."""

    def change(payload: bytes) -> bytes:
        wire = Payload.FromString(payload)
        edit(wire)
        return wire.SerializeToString()

    return change


def in_payload(kinds: str, edit: Callable[[Any], object]) -> Plant:
    """Payloads of these kinds are changed in place."""
    return on_wire(kinds, replaced(payload=edited(edit)))


def in_state(edit: Callable[[dict[str, Any]], object], *, online: bool) -> Plant:
    """The birth (``online``) or the goodbye of a host says something else."""

    def change(payload: bytes) -> bytes:
        body = json.loads(payload)
        if body["online"] is online:
            edit(body)
        return json.dumps(body).encode()

    return on_wire("STATE", replaced(payload=change))


def will(kind: str, **fields: Any) -> Plant:
    """The Will of a CONNECT is another: ``NDEATH`` of an edge node, ``STATE`` of a host."""

    def changed(asked: list[Action]) -> list[Action]:
        return [
            msgspec.structs.replace(action, will=replaced(**fields)(action.will))
            if isinstance(action, Connect) and kind_of(action.will.topic) == kind
            else action
            for action in asked
        ]

    return actions(changed)


def subscribed(change: Callable[[tuple[tuple[str, int], ...]], tuple[tuple[str, int], ...]]) -> Plant:
    """Other filters are subscribed to."""
    return actions(
        lambda asked: [
            Subscribe(change(action.filters)) if isinstance(action, Subscribe) else action for action in asked
        ]
    )


# ── what the product refuses, believes and tells ─────────────────────────────────────────────────────────────────


def forgiving(target: Any, name: str, words: str, result: Any = None) -> Plant:
    """What raised a :class:`LocalProtocolError` with these words does nothing and gives ``result``."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(target, name)

        def forgive(*arguments: Any, **named: Any) -> Any:
            try:
                return real(*arguments, **named)
            except LocalProtocolError as error:
                if re.search(words, str(error)) is None:
                    raise
                return result

        monkeypatch.setattr(target, name, forgive)

    return plant


def table(transitions: Any, *rows: tuple[Any, Any, Any]) -> Plant:
    """Inputs are taken in states where they are not."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for state, received, following in rows:
            monkeypatch.setitem(transitions, (state, received), following)

    return plant


def told(session: type, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Plant:
    """The session takes a message that it receives for another one, or for none."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real: Any = session.receive_message  # type: ignore[attr-defined]

        def receive(self: Any, topic: str, payload: bytes, *arguments: Any, **named: Any) -> None:
            if (seen := change(topic, payload)) is not None:
                real(self, *seen, *arguments, **named)

        monkeypatch.setattr(session, "receive_message", receive)

    return plant
