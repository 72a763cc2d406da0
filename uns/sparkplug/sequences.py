"""Arithmetic of the two counters: ``seq`` of messages, ``bdSeq`` of connections (both 0 to 255, then 0 again)."""

from __future__ import annotations

from uns.errors import LocalProtocolError

__all__ = ["SEQ_MODULUS", "check_bd_seq", "next_bd_seq", "next_seq", "seq_distance"]

SEQ_MODULUS = 256


def next_seq(seq: int) -> int:
    """The number after ``seq`` (tck-id-payloads-ndata-seq-inc and its siblings: 255 is followed by 0)."""
    return (seq + 1) % SEQ_MODULUS


def next_bd_seq(bd_seq: int) -> int:
    """The number of the next CONNECT (tck-id-topics-nbirth-bdseq-increment)."""
    return (bd_seq + 1) % SEQ_MODULUS


def seq_distance(from_seq: int, to_seq: int) -> int:
    """How many steps lead from one number to the other: 0 to 255."""
    return (to_seq - from_seq) % SEQ_MODULUS


def check_bd_seq(bd_seq: int) -> int:
    """Give back ``bd_seq`` if an edge node of ours may use it, else raise."""
    if not 0 <= bd_seq < SEQ_MODULUS:
        raise LocalProtocolError(f"bdSeq {bd_seq}", expected=f"0 to {SEQ_MODULUS - 1}")
    return bd_seq
