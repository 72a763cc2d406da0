"""The plant of docs/reference/doctor.md: ``python -m tests.doctor.example`` prints what the page shows."""

from __future__ import annotations

import contextlib
import io

import msgspec

from tests.doctor.scene import Scene
from uns.cli.doctor import print_report
from uns.doctor.report import Report


def report() -> Report:
    scene = Scene()
    scene.state()
    scene.births()
    for _ in range(20):
        scene.ddata()
    scene.nbirth(node="packer")
    for _ in range(3):
        scene.ndata(lambda p: setattr(p.metrics[0], "datatype", 10), node="packer")
        scene.next_seq()
    scene.grader.look_again()
    scene.nbirth(node="packer", retain=True)
    scene.state(timestamp=scene.now_ms, retain=True)
    return scene.report(look_again=False)


def text() -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_report(report())
    return out.getvalue()


def document() -> str:
    """The same as JSON, cut to one of each list."""
    made = report()
    first = made.subjects[0]
    cut = msgspec.structs.replace(
        made,
        subjects=[msgspec.structs.replace(first, findings=first.findings[:1])],
        nodes=made.nodes[:1],
        requirements=[next(r for r in made.requirements if r.verdict == "not_visible")],
    )
    return msgspec.json.format(msgspec.json.encode(cut), indent=2).decode()


if __name__ == "__main__":
    print(text())
    print(document())
