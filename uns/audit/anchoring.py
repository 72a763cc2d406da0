"""What a component makes of the anchor that it finds outside of its log: at its start, and while it runs."""

from __future__ import annotations

import msgspec

from uns.audit.chain import ANCHOR_SCHEMA, Anchor, Head
from uns.context.times import MAX_NS

__all__ = ["ANCHOR_BYTES_MAX", "Judgement", "judge", "parse_anchor"]

ANCHOR_BYTES_MAX = 64 * 1024
_decoder = msgspec.json.Decoder(Anchor)


class Judgement(msgspec.Struct, frozen=True):
    """``fits``: the log holds what the anchor names. Otherwise ``what`` says what it does not."""

    fits: bool
    what: str = ""


def parse_anchor(payload: bytes | str) -> Anchor | None:
    """An anchor from the wire or a file; None for anything else."""
    if len(payload) > ANCHOR_BYTES_MAX:
        return None
    try:
        anchor = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return anchor if anchor.schema_name == ANCHOR_SCHEMA and 0 <= anchor.number <= MAX_NS else None


def judge(anchor: Anchor | None, head: Head, hash_at_number: str | None) -> Judgement:
    """Hold an anchor against a log that ends at ``head``; ``hash_at_number`` is what the log has at its number."""
    if anchor is None:
        return Judgement(fits=False, what="what stands in the place of the anchor is no anchor")
    if anchor.log != head.log:
        return Judgement(fits=False, what="the anchor is of another log: this one was begun anew or replaced")
    if anchor.number > head.number:
        what = f"the log ends at {head.number}, the anchor names {anchor.number}: it was cut, or a backup restored"
        return Judgement(fits=False, what=what)
    if anchor.hash != hash_at_number:
        what = f"entry {anchor.number} is not the one that the anchor names: the log was written anew"
        return Judgement(fits=False, what=what)
    return Judgement(fits=True)
