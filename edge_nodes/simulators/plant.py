"""The machines that the simulators play, as pure functions of elapsed time and a seed.

The same seed and the same elapsed time give the same value, whoever asks and how often.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

__all__ = [
    "BatchReactor",
    "EnergyMeter",
    "MillState",
    "MillingMachine",
    "PackagingMachine",
    "PackerState",
    "ReactorState",
]

Phase = Literal["Charge", "Heat", "React", "Cool", "Discharge"]

REACTION_CELSIUS = 182.0
AMBIENT_CELSIUS = 24.0
_BATCHES_BEFORE = 40  # the count a reactor in its third month shows
# Phase and the part of the cycle at which it ends.
_PHASES: tuple[tuple[Phase, float], ...] = (
    ("Charge", 0.15),
    ("Heat", 0.40),
    ("React", 0.65),
    ("Cool", 0.85),
    ("Discharge", 1.0),
)
_PROGRAMS = ("O1001", "O1002", "O2040")


class ReactorState(msgspec.Struct, frozen=True):
    """What the reactor's PLC shows."""

    temperature: float
    pressure: float
    count: int
    phase: Phase


class BatchReactor(msgspec.Struct, frozen=True):
    """A batch reactor: charge, heat, react at 182.0 °C, cool, discharge, and again."""

    seed: int = 1
    cycle_s: float = 20.0

    def at(self, elapsed_s: float) -> ReactorState:
        """Its state ``elapsed_s`` after the start of the first batch."""
        batches, part = divmod(elapsed_s / self.cycle_s, 1.0)
        phase, begin, end = _phase(part)
        progress = (part - begin) / (end - begin)
        temperature = self._temperature(phase, progress, elapsed_s)
        heat = max(0.0, (temperature - AMBIENT_CELSIUS) / (REACTION_CELSIUS - AMBIENT_CELSIUS))
        pressure = 1.0 + 5.2 * heat * heat + _noise(self.seed, "pressure", elapsed_s) * 0.02
        return ReactorState(round(temperature, 1), round(pressure, 2), _BATCHES_BEFORE + 1 + int(batches), phase)

    def _temperature(self, phase: Phase, progress: float, elapsed_s: float) -> float:
        wobble = _noise(self.seed, "temperature", elapsed_s) * 0.15
        below = REACTION_CELSIUS - 1.5  # the controller closes the valve before the set point
        match phase:
            case "Charge":
                return AMBIENT_CELSIUS + 1.5 * progress + wobble
            case "Heat":
                return AMBIENT_CELSIUS + 1.5 + (below - AMBIENT_CELSIUS - 1.5) * progress + wobble
            case "React":
                # The set point itself is what the PLC shows first, and comes back to every second third of the phase.
                settled = progress < 1 / 3 or progress > 2 / 3
                return REACTION_CELSIUS if settled else REACTION_CELSIUS + 0.3 + wobble
            case "Cool":
                return REACTION_CELSIUS - (REACTION_CELSIUS - 45.0) * progress + wobble
            case "Discharge":
                return 45.0 - (45.0 - AMBIENT_CELSIUS) * progress + wobble


class MillState(msgspec.Struct, frozen=True):
    """What the CNC control shows."""

    program: str
    execution: Literal["ACTIVE", "READY"]
    spindle_load: float
    spindle_speed: float
    part_count: int


class MillingMachine(msgspec.Struct, frozen=True):
    """A CNC machine: every part a while of cutting and a while of loading, another program every few parts."""

    seed: int = 1
    part_s: float = 6.0
    parts_per_program: int = 4

    def at(self, elapsed_s: float) -> MillState:
        """Its state ``elapsed_s`` after the first cycle start."""
        parts, part = divmod(elapsed_s / self.part_s, 1.0)
        program = _PROGRAMS[int(parts) // self.parts_per_program % len(_PROGRAMS)]
        if part > 0.8:  # the door is open
            return MillState(program, "READY", 0.0, 0.0, int(parts) + 1)
        load = 35.0 + 25.0 * abs(_noise(self.seed, "load", elapsed_s)) + 10.0 * part
        speed = 8000.0 + 40.0 * _noise(self.seed, "speed", elapsed_s)
        return MillState(program, "ACTIVE", round(load, 1), round(speed, 0), int(parts))


class EnergyMeter(msgspec.Struct, frozen=True):
    """An energy meter that counts tenths of kWh in 32 bits, as such meters do."""

    seed: int = 1
    start_tenths: int = 1_234_560

    def tenths_of_kwh(self, elapsed_s: float) -> int:
        """The register, ``elapsed_s`` after the start; it never goes back."""
        return (self.start_tenths + int(elapsed_s * 1.7)) % (1 << 32)


class PackerState(msgspec.Struct, frozen=True):
    """What the packaging machine's PLC shows; states as PackML numbers them."""

    good: int
    scrap: int
    state: int
    speed: float


PACKML_HELD = 11
PACKML_EXECUTE = 6


class PackagingMachine(msgspec.Struct, frozen=True):
    """A packaging machine: it runs, and is held for a while now and then."""

    seed: int = 1
    period_s: float = 15.0
    packs_per_s: float = 2.0

    def at(self, elapsed_s: float) -> PackerState:
        """Its state ``elapsed_s`` after the start."""
        periods, part = divmod(elapsed_s / self.period_s, 1.0)
        running = min(part, 0.85) / 0.85
        packs = int((periods + running) * 0.85 * self.period_s * self.packs_per_s)
        scrap = packs // 40
        if part >= 0.85:
            return PackerState(packs - scrap, scrap, PACKML_HELD, 0.0)
        speed = self.packs_per_s * 60.0 + 1.5 * _noise(self.seed, "packer", elapsed_s)
        return PackerState(packs - scrap, scrap, PACKML_EXECUTE, round(speed, 1))


def _phase(part: float) -> tuple[Phase, float, float]:
    begin = 0.0
    for phase, end in _PHASES:
        if part < end:
            return phase, begin, end
        begin = end
    raise AssertionError(part)  # part is below 1.0


def _noise(seed: int, what: str, elapsed_s: float) -> float:
    """A number in [-1, 1], always the same for the same tenth of a second."""
    return random.Random(f"{seed}/{what}/{round(elapsed_s * 10)}").uniform(-1.0, 1.0)  # noqa: S311  a model, no secret
