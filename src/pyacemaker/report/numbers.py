"""Numbers as people read them."""

import math
from typing import Any

ABSENT = "–"
"""Stands where a number was not measured."""


def fixed(value: float | None, decimals: int = 2) -> str:
    """With so many decimals."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:.{decimals}f}".replace("-", "−")


def rounded(value: float | None, digits: int = 3) -> str:
    """With so many significant digits, and no exponent between 0.001 and 100 000."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0.0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 < size < 5:
        return fixed(value, max(0, digits - 1 - size))
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def percent(share: float | None) -> str:
    """A share of one in per cent."""
    return ABSENT if share is None else f"{100.0 * share:.0f} %"


def duration(seconds: float | None) -> str:
    """Seconds as s, min or h."""
    if seconds is None:
        return ABSENT
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"


def core_hours(core_seconds: float) -> str:
    """Core-seconds as core-hours, and as seconds where they are few."""
    hours = core_seconds / 3600.0
    return f"{core_seconds:.1f} core-s" if hours < 0.05 else f"{hours:.2f} core-h"


def count(number: int, what: str, several: str | None = None) -> str:
    """`1 label`, `2 labels`."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def short(value: Any) -> str:
    """A figure of a gate in a table cell: numbers rounded, lists and mappings shortened."""
    if value is None:
        return ABSENT
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return rounded(float(value))
    if isinstance(value, dict):
        flat = [f"{key} {short(item)}" for key, item in value.items() if not isinstance(item, dict | list)]
        return "; ".join(flat[:4]) + ("; …" if len(flat) > 4 else "") if flat else f"{len(value)} entries"
    if all(item is None or isinstance(item, int | float) for item in value):
        return ", ".join(rounded(item) for item in value[:2]) + (", …" if len(value) > 2 else "")
    return f"{len(value)} entries"
