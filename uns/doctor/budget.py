"""How much may be read whole, so that a listener never falls behind what it listens to."""

from __future__ import annotations

__all__ = ["Budget"]

_S = 1_000_000_000


class Budget:
    """So many a second, saved up for some seconds; one of any size where nothing was taken since."""

    def __init__(self, per_second: int, saved_s: int, now_ns: int) -> None:
        self._per_second = per_second
        self._most = per_second * saved_s
        self._left = self._most
        self._second = now_ns // _S
        self.refused = 0

    def take(self, count: int, now_ns: int) -> bool:
        """Whether ``count`` may be read now; what may not is counted in ``refused``."""
        passed = abs(now_ns // _S - self._second)  # a clock that steps gives no more than time that passed
        if passed:
            self._second = now_ns // _S
            self._left = min(self._left + passed * self._per_second, self._most)
        if count > self._left and self._left < self._most:
            self.refused += count
            return False
        self._left -= count
        return True
