"""Performance documents of a folder, read as whoever takes them reads them. Needs the library of b2mml bridges."""

from __future__ import annotations

from pathlib import Path

import msgspec

from uns.context.records import JobResponse

__all__ = ["Performances", "WrittenPerformance", "missing_library"]


class WrittenPerformance(msgspec.Struct, frozen=True):
    """One document and what it says."""

    file: Path
    response: JobResponse


def missing_library() -> str:
    """What to install before documents can be read or written; empty where nothing is missing."""
    try:
        import uns.bridges.b2mml  # noqa: F401, PLC0415 - whether it is there is the question
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"uns", "schemas"}:
            raise
        return f"{error.name} is not installed: pip install 'uns-sparkplug[b2mml]'"
    return ""


class Performances:
    """Follows a folder: :meth:`look` reads what is new. Files appear whole and are never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[WrittenPerformance] = []  # in the order of their publication
        self._seen: set[Path] = set()

    def look(self) -> list[WrittenPerformance]:
        """Read the documents that are new since the last look."""
        from uns.bridges.b2mml import read_performance  # noqa: PLC0415 - its library may be absent

        new: list[WrittenPerformance] = []
        for file in sorted(self.folder.glob("*.xml")):
            if file not in self._seen:
                self._seen.add(file)
                reading = read_performance(file.read_bytes(), file=file.name)
                new += [WrittenPerformance(file, response) for response in reading.responses]
        new.sort(key=lambda each: (each.response.published_at, each.response.revision))
        self.written += new
        return new

    def standing(self) -> dict[str, WrittenPerformance]:
        """What counts of each job: its newest document, unless that takes it back. By job order."""
        newest: dict[str, WrittenPerformance] = {}
        for each in self.written:
            known = newest.get(each.response.job_order)
            if known is None or each.response.revision > known.response.revision:
                newest[each.response.job_order] = each
        return {job: each for job, each in newest.items() if each.response.action != "delete"}
