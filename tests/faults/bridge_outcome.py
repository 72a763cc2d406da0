"""What a campaign against a bridge came to."""

from __future__ import annotations

import msgspec

__all__ = ["BridgeOutcome"]


class BridgeOutcome(msgspec.Struct, kw_only=True):
    """``faults`` are the promises that did not hold; ``lost`` and ``twice`` by the target's own books."""

    name: str
    kills: int = 0
    through: str = ""  # what went through it meanwhile
    lost: int = 0
    twice: int = 0
    faults: list[str] = []
