"""What a cell says: texts, times and days as spreadsheets hold them. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from services.ingest.normalise import Refused, stamp, stamped
from shared.calendar import FIRST_YEAR, LAST_YEAR, TZ, parse_wire
from shared.errors import Invalid

_EPOCH = datetime(1899, 12, 30, tzinfo=TZ)
"""Day 0 of Excel's count, as it is from March 1900 on."""
_SERIALS = (32874.0, 73416.0)
"""Days of the years 1990 to 2100 in Excel's count."""
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4})")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_LOCAL = re.compile(r"([0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{4})(?:[ T,]+([0-9:]{4,8}))?")
_LOCAL_CLOCK_FIRST = re.compile(r"([0-9:]{4,8})[ ,]+(?:ngày )?([0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{4})")


def text(cell: Any) -> str | None:
    """One line in NFC without stray spaces, or None for an empty cell. A number as it would be typed."""
    if type(cell) is str:
        line = " ".join(cell.split())
        return (line if line.isascii() else unicodedata.normalize("NFC", line)) or None
    if cell is None or isinstance(cell, bool):
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell)


def moment(cell: Any, field: str) -> str | None:
    """A stamp (normalise.stamp) of a time: dd/mm/yyyy with or without a clock before or behind it, ISO 8601, the
    protocol's 14 digits, or Excel's count of days. None for an empty cell. Raises Refused for anything else, and for a
    day that does not exist."""
    if cell == "" or cell is None:
        return None
    if type(cell) is str:
        found = _written(cell)
        if found is not None:
            return found
        line = cell.strip()
        if not line:
            return None
        try:
            return _rounded(parse_wire(line))
        except Invalid:
            raise _wrong(field) from None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise _wrong(field)
    if _SERIALS[0] <= cell < _SERIALS[1]:
        return stamp(_EPOCH + timedelta(seconds=round(cell * 86_400)))
    return stamped(text(cell), field)


def day(cell: Any, field: str) -> date | None:
    """A day alone. Raises as `moment`."""
    at = moment(cell, field)
    return date.fromisoformat(at[:10]) if at else None


def _written(cell: str) -> str | None:
    """The forms that people and spreadsheets write; None for another form or a moment that there is not."""
    line = cell.strip()
    if (
        len(line) == 19 and line[10] in "T "
    ):  # one of the two forms of nearly all cells, from parts that are known
        on, clock = _day(line[:10]), _clock(line[11:])
        return f"{on}T{clock}+07:00" if on and clock else None
    if match := _LOCAL.fullmatch(line):
        on, clock = _day(match[1]), _clock(match[2] or "00:00")
    elif match := _LOCAL_CLOCK_FIRST.fullmatch(line):
        on, clock = _day(match[2]), _clock(match[1])
    else:
        return None
    return f"{on}T{clock}+07:00" if on and clock else None


@lru_cache(maxsize=65_536)
def _day(told: str) -> str | None:
    """d/m/yyyy or yyyy-mm-dd → yyyy-mm-dd; None where there is no such day."""
    match = _DAY.fullmatch(told)
    if match is None:
        return None
    year, month, on = match.group(1, 2, 3) if match[1] else match.group(6, 5, 4)
    try:
        found = date(int(year), int(month), int(on))
    except ValueError:
        return None
    return found.isoformat() if FIRST_YEAR <= found.year <= LAST_YEAR else None


@lru_cache(maxsize=200_000)  # the seconds of a day, with and without the zero in front
def _clock(told: str) -> str | None:
    """H:MM[:SS] → HH:MM:SS; None where there is no such time."""
    match = _CLOCK.fullmatch(told)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3] or 0) > 59:
        return None
    return f"{int(match[1]):02d}:{match[2]}:{match[3] or '00'}"


def _rounded(at: datetime) -> str:
    """To the second: a spreadsheet's fraction of a day seldom meets it."""
    if at.microsecond:
        at = (at + timedelta(microseconds=500_000)).replace(microsecond=0)
    return stamp(at)


def _wrong(field: str) -> Refused:
    return Refused(
        field,
        f"{field}: không phải ngày giờ hợp lệ; cần dạng 03/08/2026 09:30 hoặc 2026-08-03T09:30:00.",
        f"{field}: not a time that exists; expected 03/08/2026 09:30 or 2026-08-03T09:30:00",
    )
