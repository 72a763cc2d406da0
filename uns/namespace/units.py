"""Units of measure: the UNECE Recommendation 20 codes that a plant needs, and how people write them.

The tree and the records carry the code (``CEL``); screens show the symbol (``°C``). A code that is missing here is
added here: one line.
"""

from __future__ import annotations

import msgspec

__all__ = ["UNITS", "Unit", "code_of", "symbol_of"]


class Unit(msgspec.Struct, frozen=True):
    """One unit of measure."""

    code: str
    symbol: str
    name: str


_TABLE = (
    # temperature
    ("CEL", "°C", "degree Celsius"),
    ("FAH", "°F", "degree Fahrenheit"),
    ("KEL", "K", "kelvin"),
    # pressure
    ("BAR", "bar", "bar"),
    ("MBR", "mbar", "millibar"),
    ("PAL", "Pa", "pascal"),
    ("KPA", "kPa", "kilopascal"),
    ("MPA", "MPa", "megapascal"),
    ("PS", "lbf/in²", "pound-force per square inch"),
    # count and share
    ("C62", "1", "one"),
    ("P1", "%", "percent"),
    ("59", "ppm", "part per million"),
    ("Q30", "pH", "pH"),
    # time
    ("C26", "ms", "millisecond"),
    ("SEC", "s", "second"),
    ("MIN", "min", "minute"),
    ("HUR", "h", "hour"),
    ("DAY", "d", "day"),
    # frequency and speed
    ("HTZ", "Hz", "hertz"),
    ("KHZ", "kHz", "kilohertz"),
    ("C94", "1/min", "reciprocal minute"),
    ("RPM", "r/min", "revolutions per minute"),
    ("MTS", "m/s", "metre per second"),
    ("2X", "m/min", "metre per minute"),
    ("KMH", "km/h", "kilometre per hour"),
    ("C16", "mm/s", "millimetre per second"),
    ("MSK", "m/s²", "metre per second squared"),
    # length, area, angle
    ("4H", "µm", "micrometre"),
    ("MMT", "mm", "millimetre"),
    ("CMT", "cm", "centimetre"),
    ("MTR", "m", "metre"),
    ("KMT", "km", "kilometre"),
    ("INH", "in", "inch"),
    ("FOT", "ft", "foot"),
    ("MTK", "m²", "square metre"),
    ("DD", "°", "degree (angle)"),
    ("C81", "rad", "radian"),
    # volume and flow
    ("MLT", "ml", "millilitre"),
    ("LTR", "l", "litre"),
    ("MTQ", "m³", "cubic metre"),
    ("GLL", "gal (US)", "US gallon"),
    ("L2", "l/min", "litre per minute"),
    ("E32", "l/h", "litre per hour"),
    ("MQH", "m³/h", "cubic metre per hour"),
    ("MQS", "m³/s", "cubic metre per second"),
    # mass, flow of mass, density, force
    ("MGM", "mg", "milligram"),
    ("GRM", "g", "gram"),
    ("KGM", "kg", "kilogram"),
    ("TNE", "t", "tonne"),
    ("LBR", "lb", "pound"),
    ("E93", "kg/h", "kilogram per hour"),
    ("KGS", "kg/s", "kilogram per second"),
    ("KMQ", "kg/m³", "kilogram per cubic metre"),
    ("NEW", "N", "newton"),
    ("B47", "kN", "kilonewton"),
    ("NU", "N·m", "newton metre"),
    # electricity
    ("VLT", "V", "volt"),
    ("KVT", "kV", "kilovolt"),
    ("4K", "mA", "milliampere"),
    ("AMP", "A", "ampere"),
    ("OHM", "Ω", "ohm"),
    ("WTT", "W", "watt"),
    ("KWT", "kW", "kilowatt"),
    ("MAW", "MW", "megawatt"),
    ("D46", "V·A", "volt-ampere"),
    ("KVA", "kV·A", "kilovolt-ampere"),
    ("KVR", "kvar", "kilovar"),
    # energy
    ("JOU", "J", "joule"),
    ("KJO", "kJ", "kilojoule"),
    ("WHR", "W·h", "watt hour"),
    ("KWH", "kW·h", "kilowatt hour"),
    ("MWH", "MW·h", "megawatt hour (1000 kW.h)"),
    # others
    ("D10", "S/m", "siemens per metre"),
    ("LUX", "lx", "lux"),
    ("2N", "dB", "decibel"),
    ("C7", "cP", "centipoise"),
)

UNITS: dict[str, Unit] = {code: Unit(code, symbol, name) for code, symbol, name in _TABLE}


def symbol_of(code: str | None) -> str:
    """How people write the unit; an unknown code stands for itself, no unit and ``C62`` are an empty text."""
    if code is None or code == "C62":
        return ""
    unit = UNITS.get(code)
    return code if unit is None else unit.symbol


# What engineers type where a code is wanted: symbols, and the common words of ERP systems and screens.
_ALIASES = {"EA": "C62", "PC": "C62", "PCE": "C62", "KG": "KGM", "G": "GRM", "M": "MTR", "MM": "MMT", "L": "LTR"}
_ALIASES |= {"H": "HUR", "S": "SEC", "C": "CEL", "PSI": "PS", "DEGC": "CEL", "KW": "KWT", "U/MIN": "RPM"}
_BY_SYMBOL = {unit.symbol.upper().replace("·", ""): unit.code for unit in UNITS.values()}


def code_of(written: str) -> str | None:
    """The code that was probably meant by a symbol or a common word; None if nothing is near."""
    key = written.strip().upper().replace("·", "")
    return key if key in UNITS else _BY_SYMBOL.get(key) or _ALIASES.get(key)
