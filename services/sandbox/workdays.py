"""Working time of the sandbox: an own, small calendar. Moments are epoch seconds; `work` is seconds of
working time since the calendar's first day, so that adding hours of work is plain addition."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta, timezone

import holidays

ZONE = timezone(timedelta(hours=7), "Asia/Ho_Chi_Minh")  # Việt Nam has had no daylight saving since 1945
OFFSET = 7 * 3600
DAY = 86_400
WORK_DAY = 8 * 3600
_MORNING, _MORNING_LENGTH = 7 * 3600 + 1800, 4 * 3600 + 1800  # 07:30-12:00
_AFTERNOON = 13 * 3600 + 1800  # 13:30-17:00
_CLOSING = 17 * 3600


def epoch(moment: datetime) -> int:
    """Seconds since 1970; the moment must carry an offset."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs an offset, such as +07:00")
    return int(moment.timestamp())


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, ZONE)


def iso(seconds: int | None) -> str | None:
    return None if seconds is None else moment(seconds).isoformat()


def wire(seconds: int | None) -> str:
    """yyyyMMddHHmmss in Việt Nam's time, "" when absent (portals.md §1.4)."""
    return "" if seconds is None else time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds + OFFSET))


def wire_utc(seconds: int | None) -> str | None:
    """ISO in UTC as iGate writes it (portals.md §4)."""
    if seconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+0000", time.gmtime(seconds))


def from_wire(text: str) -> int:
    """Reads yyyyMMddHHmmss; ValueError when it is something else."""
    return epoch(datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=ZONE))


class Workdays:
    """Working days from `first` to `last`: no weekends, no public holidays or days off in exchange."""

    def __init__(self, first: date, last: date) -> None:
        off = holidays.country_holidays("VN", years=range(first.year, last.year + 1))
        swapped = {date(2026, 1, 2)}  # 12729/VPCP-KGVX; the package does not know it
        self.days: list[int] = []
        day = first
        while day <= last:
            if day.weekday() < 5 and day not in off and day not in swapped:
                midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
                self.days.append(int(midnight.timestamp()) - OFFSET)
            day += timedelta(days=1)

    def to_work(self, at: int) -> int:
        """Working time passed before a moment."""
        index = bisect_right(self.days, at) - 1
        passed = at - self.days[index]
        if passed >= DAY:
            return (index + 1) * WORK_DAY
        morning = min(max(passed - _MORNING, 0), _MORNING_LENGTH)
        afternoon = min(max(passed - _AFTERNOON, 0), WORK_DAY - _MORNING_LENGTH)
        return index * WORK_DAY + morning + afternoon

    def from_work(self, work: int) -> int:
        index, rest = divmod(work, WORK_DAY)
        start = _MORNING + rest if rest < _MORNING_LENGTH else _AFTERNOON + rest - _MORNING_LENGTH
        return self.days[index] + start

    def closing_on_or_after(self, at: int) -> int:
        """17:00 of the day that `at` falls on, or of the next working day."""
        midnight = at - (at + OFFSET) % DAY
        return self.days[bisect_left(self.days, midnight)] + _CLOSING

    def due(self, received: int, duration: int, unit: str) -> int:
        """The appointment for something received (in working time) now. Counting starts the day after."""
        work = self.to_work(received)
        if unit == "Giờ":
            return self.from_work(work + duration * 3600)
        if unit == "Ngày làm việc":
            return self.days[work // WORK_DAY + duration] + _CLOSING
        if unit == "Ngày":
            return self.closing_on_or_after(received + duration * DAY)
        local = moment(received)
        months = local.month - 1 + duration
        year, month = local.year + months // 12, months % 12 + 1
        return self.closing_on_or_after(epoch(local.replace(year=year, month=month, day=min(local.day, 28))))
