"""From the log to ranges of it, and from rows to the text that COPY reads. No I/O.

An item is a range of positions, not a copy of its rows: the record log keeps them, and a range of 20,000 samples costs
the outbox one row. So the outbox stays small while PostgreSQL is down for a week.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import Any

import msgspec

from uns.bridges.port import LogBatch, OutboundItem, RecordReader
from uns.enrichment.plan import SampleRow

__all__ = ["LogRange", "PostgresMapping", "copy_text", "json_for_jsonb", "samples_text", "split_range"]


class LogRange(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an item: positions in (``after``, ``to``] and the facts that became known with them."""

    after: int
    to: int
    facts_after_ns: int = 0
    facts_to_ns: int = 0
    facts: int = 0


class PostgresMapping:
    """One item a batch; what is in it is read when it is delivered."""

    wants_samples = False

    def load(self, state: Map[str, bytes], reader: RecordReader) -> None:
        """There is nothing to remember."""

    def receive_batch(self, batch: LogBatch, now_ns: int) -> list[OutboundItem]:  # noqa: ARG002 - the port's
        """The range of the batch."""
        return [
            _item(
                LogRange(
                    after=batch.after,
                    to=batch.to,
                    facts_after_ns=batch.facts_after_ns,
                    facts_to_ns=batch.facts_to_ns if batch.facts else batch.facts_after_ns,
                    facts=len(batch.facts),
                )
            )
        ]

    def receive_timer(self, now_ns: int) -> list[OutboundItem]:  # noqa: ARG002
        """Nothing follows from the time."""
        return []

    def next_deadline_ns(self) -> int | None:
        """Never."""
        return None

    def drain_state(self) -> dict[str, bytes | None]:
        """None."""
        return {}


def split_range(item: OutboundItem) -> list[OutboundItem]:
    """Two halves of a range, so that one row that is refused does not keep the others; its facts go apart."""
    found = msgspec.json.decode(item.body, type=LogRange)
    positions = found.to - found.after
    if positions > 0 and found.facts:
        bare = msgspec.structs.replace(found, facts=0, facts_to_ns=found.facts_after_ns)
        return [_item(bare), _item(msgspec.structs.replace(found, after=found.to))]
    if positions <= 1:
        return []
    middle = found.after + positions // 2
    return [
        _item(msgspec.structs.replace(found, to=middle)),
        _item(msgspec.structs.replace(found, after=middle)),
    ]


def _item(part: LogRange) -> OutboundItem:
    facts = f"+facts:{part.facts_after_ns}-{part.facts_to_ns}/{part.facts}" if part.facts else ""
    return OutboundItem(
        key=f"log:{part.after}-{part.to}{facts}",
        kind="log_range",
        body=msgspec.json.encode(part),
        subject=f"positions {part.after + 1} to {part.to}" if part.to > part.after else f"{part.facts} facts",
        first_position=part.after + 1 if part.to > part.after else 0,
        last_position=part.to if part.to > part.after else 0,
    )


# ── text for COPY ────────────────────────────────────────────────────────────────────────────────────────────────────

# NUL has no place in PostgreSQL's text; U+2400 is the sign for it.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\u2400"})
_JSON_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def copy_text(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows in the text format of COPY. Floats keep every bit."""
    return "".join(["\t".join([_field(value) for value in row]) + "\n" for row in rows]).encode()


def samples_text(rows: Sequence[SampleRow]) -> bytes:
    """The same for rows of samples, at a third of the cost: their columns are known."""
    null = "\\N"
    return "".join([
        f"{position}\t{series}\t{time_ns}\t{ordinal}\t{null if num is None else repr(num)}\t"
        f"{null if integer is None else integer}\t{null if text is None else text.translate(_ESCAPES)}\t"
        f"{quality}\t{status_code}\t{flags}\t{payload}\n"
        for position, series, time_ns, ordinal, num, integer, text, quality, status_code, flags, payload in rows
    ]).encode()  # fmt: skip


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if type(value) is str:
        return value.translate(_ESCAPES)
    return repr(value)


def json_for_jsonb(text: str) -> str:
    r"""JSON that jsonb takes: it refuses ``\u0000``, which JSON allows."""
    return _JSON_NUL.sub("\\1\\\\u2400", text) if "\\u0000" in text else text
