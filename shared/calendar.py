"""Việt Nam time: wire times, periods, working days, deadlines, export days. Pure.

Sources: calendar.md; portals.md §1.4 (wire format); indicators.md §6 (periods); Bộ luật Dân sự 2015, Điều
146–148 (durations). Days off come from the package `holidays`; calendar_overrides.toml holds what it does not
know. Every moment that leaves this module is aware and in `TZ`.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import holidays

from shared.errors import Invalid
from shared.vocabulary import DurationUnit

TZ = ZoneInfo("Asia/Ho_Chi_Minh")
FIRST_YEAR, LAST_YEAR = 1990, 2100
"""Years that a message or a period may speak of; outside of them a date is a typing error."""

_END_OF_DAY = time(23, 59, 59, 999999, tzinfo=TZ)
# Hours stop at 23: newer Pythons read "24:00" as the next midnight, older ones do not.
_WIRE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


# --- wire times ---------------------------------------------------------------------------------------------


def parse_wire(text: str, *, field: str | None = None) -> datetime:
    """A time as the portals write it, aware, in TZ.

    `yyyyMMddHHmmss` and `yyyyMMdd` (local), `yyyy-MM-dd[ HH:mm[:ss]]` (local), ISO 8601 with or without an
    offset (without: local). A day alone is its first moment. Invalid(field): anything else, a day or hour
    that does not exist, a year outside 1990–2100.
    """
    try:
        moment = datetime.combine(_day(text[:8]), _clock(text[8:])) if len(text) == 14 else _parse_other(text)
    except (ValueError, OverflowError):
        raise _not_a_time(field) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _not_a_time(field)
    return moment


def _parse_other(text: str) -> datetime:
    text = text.strip()
    if len(text) == 8:
        return datetime.combine(_day(text), time(), TZ)
    if not _WIRE.fullmatch(text):
        raise ValueError
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=TZ) if moment.tzinfo is None else moment.astimezone(TZ)


@lru_cache(maxsize=16_384)
def _day(text: str) -> date:
    return date.fromisoformat(_digits(text))


@lru_cache(maxsize=86_400)  # every second of a day: three times as fast as building the moment each time
def _clock(text: str) -> time:
    if text >= "24":
        raise ValueError
    return time.fromisoformat(_digits(text)).replace(tzinfo=TZ)


def _digits(text: str) -> str:
    if not (text.isdecimal() and text.isascii()):  # fromisoformat also reads weeks and fractions
        raise ValueError
    return text


def _not_a_time(field: str | None) -> Invalid:
    return Invalid(
        "Thời gian không đúng: cần dạng yyyyMMddHHmmss (giờ Việt Nam), ngày có thật, năm từ 1990 đến 2100.",
        "not a time: expected yyyyMMddHHmmss (Việt Nam time), an existing day, a year from 1990 to 2100",
        field=field,
    )


# --- periods ------------------------------------------------------------------------------------------------

PeriodKind: TypeAlias = Literal["month", "quarter", "year"]
_PARTS: dict[PeriodKind, int] = {"month": 12, "quarter": 4, "year": 1}
_PERIOD = re.compile(r"([0-9]{4})(?:-(?:(0[1-9]|1[0-2])|Q([1-4])))?")


@dataclass(frozen=True)
class Period:
    """A month, quarter or year (indicators.md §6). `number` counts inside the year, from 1."""

    kind: PeriodKind
    year: int
    number: int

    @staticmethod
    def parse(text: str) -> Period:
        """`2026-08`, `2026-Q3`, `2026`. Invalid(field="period"): anything else, a year outside 1990–2100."""
        match = _PERIOD.fullmatch(text)
        if match is None or not FIRST_YEAR <= int(match[1]) <= LAST_YEAR:
            raise Invalid(
                "Kỳ không đúng dạng: 2026-08 (tháng), 2026-Q3 (quý) hoặc 2026 (năm).",
                "not a period: expected 2026-08, 2026-Q3 or 2026",
                field="period",
            )
        year, month, quarter = match.groups()
        if month:
            return _period("month", int(year), int(month))
        return _period("quarter", int(year), int(quarter)) if quarter else _period("year", int(year), 1)

    @cached_property
    def key(self) -> str:
        suffix = {"month": f"-{self.number:02}", "quarter": f"-Q{self.number}", "year": ""}
        return f"{self.year:04}{suffix[self.kind]}"

    @cached_property
    def first_day(self) -> date:
        return date(self.year, (self.number - 1) * (12 // _PARTS[self.kind]) + 1, 1)

    @cached_property
    def last_day(self) -> date:
        month = self.number * (12 // _PARTS[self.kind])
        return date(self.year, month, monthrange(self.year, month)[1])

    @cached_property
    def start(self) -> datetime:
        """The first moment that belongs to the period."""
        return datetime.combine(self.first_day, time(), TZ)

    @cached_property
    def end(self) -> datetime:
        """The first moment that no longer belongs to it."""
        return datetime.combine(self.last_day + timedelta(days=1), time(), TZ)

    @cached_property
    def bounds(self) -> tuple[datetime, datetime]:
        """start and end in UTC: moments of one zone are compared ten times as fast as those of two, and what comes from
        the database is in UTC."""
        return self.start.astimezone(UTC), self.end.astimezone(UTC)

    def contains(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def next(self) -> Period:
        return _numbered(self.kind, _count(self.kind, self.first_day) + 1)

    def previous(self) -> Period:
        return _numbered(self.kind, _count(self.kind, self.first_day) - 1)

    def __str__(self) -> str:
        return self.key


@lru_cache(maxsize=4_096)
def _period(kind: PeriodKind, year: int, number: int) -> Period:
    return Period(kind, year, number)  # one object per period: its cached ends are computed once


def _count(kind: PeriodKind, day: date) -> int:
    """Periods of a kind since year 0, so that they can be stepped through."""
    parts = _PARTS[kind]
    return day.year * parts + (day.month - 1) * parts // 12


def _numbered(kind: PeriodKind, count: int) -> Period:
    year, number = divmod(count, _PARTS[kind])
    return _period(kind, year, number + 1)


def period_of(kind: PeriodKind, moment: datetime) -> Period:
    """The period of a kind that holds a moment (aware)."""
    return _numbered(kind, _count(kind, local_day(moment)))


def check_begun(period: Period, now: datetime, *, field: str = "period") -> None:
    """Raises Invalid(field) for a period that has not begun, and names the last one of its kind that has."""
    if period.start > now:
        last = period_of(period.kind, now).key
        raise Invalid(
            f"Kỳ này chưa bắt đầu; kỳ cuối cùng hỏi được: {last}.",
            f"this period has not begun; the last one that can be asked for is {last}",
            field=field,
        )


def period_keys_of(moment: datetime) -> tuple[str, str, str]:
    """Keys of the month, quarter and year that hold a moment (aware)."""
    day = local_day(moment)
    return _keys(day.year, day.month)


@lru_cache(maxsize=4_096)
def _keys(year: int, month: int) -> tuple[str, str, str]:
    day = date(year, month, 1)
    return (
        _numbered("month", _count("month", day)).key,
        _numbered("quarter", _count("quarter", day)).key,
        _numbered("year", _count("year", day)).key,
    )


def periods_between(start: datetime, end: datetime) -> tuple[Period, ...]:
    """All months, then quarters, then years that begin by `end` and are not over at `start`; both are aware.

    That is the rule by which a dossier belongs to a period (indicators.md §3: received before the period's
    end, not ended before its start), so `end` itself is inside: what ends at a period's first moment belongs
    to that period too. With end before start (an impossible record) only periods that hold both are left.
    """
    first, last = local_day(start), local_day(end)
    return _periods(first.year, first.month, last.year, last.month)


@lru_cache(maxsize=16_384)
def _periods(year: int, month: int, last_year: int, last_month: int) -> tuple[Period, ...]:
    first, last = date(year, month, 1), date(last_year, last_month, 1)
    return tuple(
        _numbered(kind, count)
        for kind in _PARTS
        for count in range(_count(kind, first), _count(kind, last) + 1)
    )


def local_day(moment: datetime) -> date:
    """The day of an aware moment in Việt Nam; ValueError for a naive one, which is a fault of the caller."""
    if moment.tzinfo is None:
        raise ValueError("a moment without time zone")
    return moment.astimezone(TZ).date()


# --- days off and working days ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _overrides() -> Mapping[str, Any]:
    text = resources.files("shared").joinpath("calendar_overrides.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


class _Year(NamedTuple):
    names: Mapping[date, str]  # of public holidays and substituted days off
    working: tuple[int, ...]  # ordinals, ascending


@lru_cache(maxsize=256)
def _year(year: int) -> _Year:
    package = holidays.country_holidays("VN", years=year, language="vi")
    names = {day: str(name) for day, name in package.items() if day.year == year}
    worked = {day for day in package.weekend_workdays if day.year == year}
    for entry in _overrides()["day"]:
        if entry["on"].year != year:
            continue
        if entry["working"]:
            names.pop(entry["on"], None)
            worked.add(entry["on"])
        else:
            names[entry["on"]] = entry["name"]
            worked.discard(entry["on"])
    first, last = date(year, 1, 1).toordinal(), date(year, 12, 31).toordinal()
    days = map(date.fromordinal, range(first, last + 1))
    working = tuple(
        day.toordinal() for day in days if day in worked or (day.weekday() < 5 and day not in names)
    )
    return _Year(names, working)


def is_working_day(day: date) -> bool:
    """No Saturday, Sunday, public holiday or substituted day off; a make-up Saturday is one (calendar.md)."""
    working = _year(day.year).working
    place = bisect_left(working, day.toordinal())
    return place < len(working) and working[place] == day.toordinal()


def day_off_name(day: date) -> str | None:
    """Why a day is off, in Vietnamese; None for a working day."""
    if is_working_day(day):
        return None
    return _year(day.year).names.get(day) or ("Thứ Bảy" if day.weekday() == 5 else "Chủ nhật")


def add_working_days(day: date, count: int) -> date:
    """The count-th working day after `day` (before it, if negative), `day` not counted. 0: `day` itself."""
    if count == 0:
        return day
    year, ordinal = day.year, day.toordinal()
    working = _year(year).working
    if count > 0:
        place = bisect_right(working, ordinal) + count - 1
        while place >= len(working):
            place -= len(working)
            year += 1
            working = _year(year).working
    else:
        place = bisect_left(working, ordinal) + count
        while place < 0:
            year -= 1
            working = _year(year).working
            place += len(working)
    return date.fromordinal(working[place])


def working_days_between(start: date, end: date) -> int:
    """Working days after `start` up to and with `end`: the inverse of add_working_days.

    Negative if `end` is before `start`: then the working days from `end` on, before `start`.
    """
    if end < start:
        return -_working_days(end, start, bisect_left)
    return _working_days(start, end, bisect_right)


def _working_days(start: date, end: date, place: Callable[[tuple[int, ...], int], int]) -> int:
    whole = sum(len(_year(year).working) for year in range(start.year, end.year))
    return (
        whole
        + place(_year(end.year).working, end.toordinal())
        - place(_year(start.year).working, start.toordinal())
    )


# --- deadlines ----------------------------------------------------------------------------------------------

LONGEST: dict[DurationUnit, int] = {
    DurationUnit.HOUR: 20_000,
    DurationUnit.DAY: 20_000,
    DurationUnit.WORKING_DAY: 15_000,
    DurationUnit.MONTH: 600,
}
"""Longest duration that is believed, some fifty years; a longer one is a typing error."""


def deadline(start: datetime, value: Decimal | int, unit: DurationUnit) -> datetime:
    """The last moment in time of a duration that begins at `start` (aware).

    Ngày làm việc: counted from the next day; the end of the n-th working day.
    Ngày: calendar days, counted from the next day. Tháng: the same day n months later, or that month's last.
    Both: if the last day is off, the end of the next working day (BLDS 2015 Điều 147–148).
    Giờ: working hours, 8 a day (calendar_overrides.toml, not verified); work outside of them begins with the
    next session.
    A part of a day counts as a day (our reading, in favour of the unit); half a month is 15 days (BLDS 2015
    Điều 146), other parts of one in proportion, upwards.
    Invalid(field="value"): not above zero, not finite, or longer than LONGEST.
    """
    amount = Decimal(value)
    if not amount.is_finite() or not 0 < amount <= LONGEST[unit]:
        raise Invalid(
            "Thời hạn giải quyết phải là số dương và không quá dài.",
            "a duration must be above zero and not longer than some fifty years",
            field="value",
        )
    day = local_day(start)
    if unit is DurationUnit.HOUR:
        return _after_hours(start.astimezone(TZ), amount)
    if unit is DurationUnit.WORKING_DAY:
        return datetime.combine(add_working_days(day, _whole(amount)), _END_OF_DAY)
    if unit is DurationUnit.MONTH:
        months = int(amount)
        last = _months_later(day, months) + timedelta(days=_whole((amount - months) * 30))
    else:
        last = day + timedelta(days=_whole(amount))
    return datetime.combine(last if is_working_day(last) else add_working_days(last, 1), _END_OF_DAY)


def _whole(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


@lru_cache(maxsize=4_096)
def _sessions(day: date) -> tuple[tuple[timedelta, timedelta], ...]:
    """Working sessions of a working day, as distances from its midnight."""
    entries = sorted((entry for entry in _overrides()["hours"] if entry["since"] <= day), key=_since)
    if not entries:
        raise Invalid("Chưa có dữ liệu giờ làm việc cho ngày này.", "no working hours known for this day")
    return tuple((_since_midnight(begin), _since_midnight(end)) for begin, end in entries[-1]["sessions"])


def _since(entry: Mapping[str, date]) -> date:
    return entry["since"]


def _since_midnight(clock: time) -> timedelta:
    return timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)


def _after_hours(start: datetime, hours: Decimal) -> datetime:
    left = timedelta(microseconds=_whole(hours * 3_600_000_000))
    day, passed = start.date(), start.replace(tzinfo=None) - datetime.combine(start.date(), time())
    if not is_working_day(day):
        day, passed = add_working_days(day, 1), timedelta()
    while True:
        for begin, end in _sessions(day):
            begin = max(begin, passed)
            if begin < end and left <= end - begin:
                return datetime.combine(day, time(), TZ) + begin + left
            left -= max(end - begin, timedelta())
        day, passed = add_working_days(day, 1), timedelta()


def working_sessions(day: date) -> tuple[tuple[timedelta, timedelta], ...]:
    """Working sessions of a day, as distances from its midnight; of a day off none."""
    return _sessions(day) if is_working_day(day) else ()


def working_time(start: datetime, end: datetime) -> timedelta:
    """Time of working sessions between two aware moments; nothing where `end` is not after `start`."""
    if end <= start:
        return timedelta()
    first, last = start.astimezone(TZ), end.astimezone(TZ)
    worked = _worked_by(last) - _worked_by(first)
    for year in range(first.year, last.year):
        worked += _worked(year)[-1]
    return worked


@lru_cache(maxsize=256)
def _worked(year: int) -> tuple[timedelta, ...]:
    """Working time of a year before each of its days; the last entry: in the whole year."""
    day, total = date(year, 1, 1), timedelta()
    before = [total]
    while day.year == year:
        if is_working_day(day):
            total += sum((end - begin for begin, end in _sessions(day)), timedelta())
        before.append(total)
        day += timedelta(days=1)
    return tuple(before)


def _worked_by(moment: datetime) -> timedelta:
    """Working time of the moment's year until then; the moment is in TZ."""
    day = moment.date()
    before = _worked(day.year)
    number = day.toordinal() - date(day.year, 1, 1).toordinal()
    worked = before[number]
    if worked == before[number + 1]:
        return worked
    passed = moment.replace(tzinfo=None) - datetime(day.year, day.month, day.day)  # noqa: DTZ001 - both without zone
    for begin, end in _sessions(day):
        if passed > begin:
            worked += min(passed, end) - begin
    return worked


# --- export days --------------------------------------------------------------------------------------------


class ExportDay(NamedTuple):
    """When a month's figures are captured (calendar.md).

    literal: as the letters say: the last day, or the Monday of the next week where that is off.
    proposed: literal, or the next working day where that Monday is off too: our proposal, for the owner to
    settle; `proposed != literal` is the flag. moved: literal is not the month's last day.
    reason: a Vietnamese sentence where anything moves, else None.
    """

    literal: date
    proposed: date
    moved: bool
    reason: str | None


def export_day(month: Period) -> ExportDay:
    """The export day of a month. Invalid(field="period"): a quarter or a year."""
    if month.kind != "month":
        raise Invalid("Ngày kết xuất chỉ có theo tháng.", "only a month has an export day", field="period")
    last = month.last_day
    off = day_off_name(last)
    if off is None:
        return ExportDay(last, last, False, None)
    monday = last + timedelta(days=7 - last.weekday())
    reason = (
        f"Ngày cuối tháng {last:%d/%m/%Y} là ngày nghỉ ({off}); "
        f"chuyển sang thứ Hai tuần kế tiếp {monday:%d/%m/%Y}"
    )
    monday_off = day_off_name(monday)
    if monday_off is None:
        return ExportDay(monday, monday, True, f"{reason}.")
    proposed = add_working_days(monday, 1)
    reason += (
        f", nhưng ngày đó cũng nghỉ ({monday_off}): đề xuất ngày làm việc tiếp theo {proposed:%d/%m/%Y}."
    )
    return ExportDay(monday, proposed, True, reason)
