"""Every checker can fail: each promise is broken once, and its checker fires."""

from __future__ import annotations

import ast
import traceback
from pathlib import Path

import pytest

from tests.simulation import final
from tests.simulation.checkers import CHECKERS, BrokenPromiseError
from tests.simulation.checking import Checker
from tests.simulation.plants import PLANTED
from tests.simulation.plants_at_rest import PLANTED_AT_REST
from tests.simulation.plants_more import PLANTED_MORE
from tests.simulation.plants_walk import PLANTED_WALK
from tests.simulation.plants_wire import PLANTED_WIRE
from tests.simulation.run import Simulation
from tests.simulation.world import BusyLoopError
from uns.errors import LocalProtocolError

ALL_PLANTED = [*PLANTED_WALK, *PLANTED_WIRE, *PLANTED_MORE, *PLANTED, *PLANTED_AT_REST]
played: set[object] = set()  # plants
fired: set[tuple[str, int | None]] = set()  # lines of checkers
WHEREVER_A_WILL_IS_ASKED_FOR = "will"  # the connection has none: the checkers of wills say the same


@pytest.mark.parametrize(("plant", "checker"), ALL_PLANTED, ids=[plant.__name__ for plant, _ in ALL_PLANTED])
def test_a_broken_promise_is_noticed(plant, checker, monkeypatch):
    plant(monkeypatch)
    played.add(plant)
    others = set()
    for seed in range(10_000, 10_150):
        try:
            Simulation(seed).run()
        except (BrokenPromiseError, BusyLoopError) as error:
            fired.update((frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__))
            if error.checker == checker:
                return
            others.add(error.checker)
        except LocalProtocolError as error:
            others.add(str(error))
    pytest.fail(f"{checker} did not fire in 150 seeds; others did: {others}")


def checkers_in_the_source() -> set[str]:
    """Whoever raises a broken promise: subclasses of ``Checker``, checks at rest, and names given as a text."""
    names = {check.__name__ for check in final.CHECKS}
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef(name=name, bases=[ast.Name(id="Checker")]):
                    names.add(name)
                case ast.ClassDef(name=name) if name.endswith("Checker") and name != Checker.__name__:
                    names.add(name)
                case ast.Call(func=ast.Name(id="BrokenPromiseError"), args=[ast.Constant(value=str(name)), *_]):
                    names.add(name)
                case ast.Assign(targets=[ast.Name(id="checker")], value=ast.Constant(value=str(name))):
                    names.add(name)
    return names


def test_every_checker_is_planted():
    assert checkers_in_the_source() - {WHEREVER_A_WILL_IS_ASKED_FOR} == {checker for _, checker in ALL_PLANTED}


def test_every_checker_looks_on():
    def below(checker: type[Checker]) -> set[type[Checker]]:
        return {checker}.union(*(below(one) for one in checker.__subclasses__()))

    assert below(Checker) - {Checker} == set(CHECKERS)
    source = Path(final.__file__).read_text()
    defined = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    checks = {name for name in defined if f"def {name}(simulation: Simulation) -> None:" in source}
    assert checks == {check.__name__ for check in final.CHECKS}


def rules_in_the_source() -> set[tuple[str, range]]:
    """The lines of each call that may raise a broken promise."""
    found = set()
    for path in Path(__file__).parent.glob("*checkers.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="require" | "_require") | ast.Name(id="BrokenPromiseError")):
                    found.add((str(path), range(node.lineno, (node.end_lineno or 0) + 1)))
    return found


def test_every_rule_of_every_checker_is_broken_once():
    """Not only each checker: each of its rules. Comes last, and judges only where all plants were played before it."""
    if len(played) < len(ALL_PLANTED):
        pytest.skip("plays with all the others only")
    never = [
        f"{Path(path).name}:{lines.start}"
        for path, lines in rules_in_the_source()
        if not any((path, line) in fired for line in lines)
    ]
    assert sorted(never) == []
