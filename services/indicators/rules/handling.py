"""2.2: how long the handling of a dossier took, and the average of a procedure. Pure. Information, no points.

Rule (indicators.md §3, from an unsigned description of the 766 formulas; words read, author not verified):

    Chỉ tính trạng thái 9 và 10; bắt đầu trong kỳ (kết thúc có thể ở kỳ khác); từng thủ tục một; đơn vị Giờ, Ngày,
    Ngày làm việc, Tháng.

Doubts, read literally: from receipt to the end of 2.1's priority (9, else 10), with nothing taken off for supplements
(only 2.1 says so) [I]; a dossier that ended before it was received has no time. The unit is the procedure's own. Both
clocks are kept for each dossier, so that a procedure whose unit changes needs no second look at its dossiers: working
time (8 hours a day, shared/calendar_overrides.toml) for Giờ and Ngày làm việc, all time for Ngày and Tháng (30 days,
BLDS 2015 Điều 146). Where no unit is known: Ngày.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from services.indicators.rules.facts import DONE, Copy, End
from shared.calendar import working_time
from shared.vocabulary import DurationUnit

_HOUR = 3600
_SECONDS: dict[DurationUnit, int] = {
    DurationUnit.HOUR: _HOUR,
    DurationUnit.WORKING_DAY: 8 * _HOUR,
    DurationUnit.DAY: 24 * _HOUR,
    DurationUnit.MONTH: 30 * 24 * _HOUR,
}
_WORKING = frozenset({DurationUnit.HOUR, DurationUnit.WORKING_DAY})
LONGEST = 2**31 - 1
"""Seconds, some 68 years: what is longer is a typing error."""


class Handling(NamedTuple):
    """By both clocks, in whole seconds; of one dossier, or the sum over many."""

    elapsed_seconds: int
    working_seconds: int


def handling_of(copy: Copy, end: End | None, now: datetime) -> Handling | None:
    """None where there is no result yet, or no time can be told."""
    if (
        copy.received_at is None
        or end is None
        or end.at is None
        or end.done not in DONE
        or not copy.received_at <= end.at <= now
    ):
        return None
    elapsed = int((end.at - copy.received_at).total_seconds())
    if elapsed > LONGEST:
        return None
    return Handling(elapsed, int(working_time(copy.received_at, end.at).total_seconds()))


def unit_of(text: str | None) -> tuple[DurationUnit, bool]:
    """(the unit to tell in, whether it is the procedure's own)."""
    try:
        return DurationUnit(text or ""), True
    except ValueError:
        return DurationUnit.DAY, False


def average(handling: Handling, dossiers: int, unit: DurationUnit) -> Decimal:
    """In `unit`, half-up to 2 decimals."""
    seconds = handling.working_seconds if unit in _WORKING else handling.elapsed_seconds
    return (Decimal(seconds) / (dossiers * _SECONDS[unit])).quantize(Decimal("0.01"), ROUND_HALF_UP)
