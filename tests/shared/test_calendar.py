"""Việt Nam time, periods, working days, deadlines, export days: calendar.md."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calendar import (
    TZ,
    Period,
    add_working_days,
    day_off_name,
    deadline,
    export_day,
    is_working_day,
    parse_wire,
    period_keys_of,
    period_of,
    periods_between,
    working_days_between,
)
from shared.errors import Invalid
from shared.vocabulary import DurationUnit

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"

days = st.dates(date(1995, 1, 1), date(2090, 12, 31))
moments = st.datetimes(datetime(1995, 1, 1), datetime(2090, 12, 31)).map(lambda at: at.replace(tzinfo=TZ))  # noqa: DTZ001


def local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=TZ)  # type: ignore[arg-type, misc]


def rows_of(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the documents' data are not beside the project: {name}")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- wire times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20260803093000", local(2026, 8, 3, 9, 30)),
        ("20260803", local(2026, 8, 3)),
        ("2026-08-03 09:30:00", local(2026, 8, 3, 9, 30)),
        ("2026-08-03T09:30:00", local(2026, 8, 3, 9, 30)),
        ("2026-08-03T02:30:00.000+0000", local(2026, 8, 3, 9, 30)),
        ("2026-08-03T02:30:00Z", local(2026, 8, 3, 9, 30)),
        ("2026-08-03T09:30:00+07:00", local(2026, 8, 3, 9, 30)),
        ("2026-08-02T17:30:00Z", local(2026, 8, 3, 0, 30)),  # the day shift
        (" 2026-08-03 ", local(2026, 8, 3)),
    ],
)
def test_wire_times(text: str, moment: datetime) -> None:
    parsed = parse_wire(text)
    assert parsed == moment
    assert parsed.tzinfo is TZ


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260231000000",
        "20260803240000",
        "20260803006000",
        "2026080309300",
        "202608030930000",
        "00010101000000",
        "99991231235959",
        "19891231235959",
        "21010101000000",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "2026-08-03 24:00:00",
        "2026-W32-1",
        "20260803T093000",
        "2026-08-03\x0009:30:00",
        "2026080309300\x00",
        "２０260803093000",
        "2026-08-03T09:30:00+99:00",
        "hôm nay",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_wire(text, field="NgayTiepNhan")
    assert caught.value.field == "NgayTiepNhan"


@given(st.text(max_size=30))
def test_any_text_is_a_time_in_bounds_or_invalid(text: str) -> None:
    try:
        moment = parse_wire(text)
    except Invalid:
        return
    assert 1990 <= moment.year <= 2100


@given(moments)
def test_wire_form_comes_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert parse_wire(f"{moment:%Y%m%d%H%M%S}") == moment
    assert parse_wire(moment.astimezone(UTC).isoformat()) == moment


# --- periods


@pytest.mark.parametrize(
    ("text", "kind", "first", "last"),
    [
        ("2026-08", "month", date(2026, 8, 1), date(2026, 8, 31)),
        ("2024-02", "month", date(2024, 2, 1), date(2024, 2, 29)),
        ("2026-Q3", "quarter", date(2026, 7, 1), date(2026, 9, 30)),
        ("2026", "year", date(2026, 1, 1), date(2026, 12, 31)),
    ],
)
def test_periods(text: str, kind: str, first: date, last: date) -> None:
    period = Period.parse(text)
    assert (period.key, str(period), period.kind) == (text, text, kind)
    assert (period.first_day, period.last_day) == (first, last)
    assert period.start == datetime.combine(first, time(), TZ)
    assert period.end == datetime.combine(last + timedelta(days=1), time(), TZ)
    assert period.contains(period.start)
    assert not period.contains(period.end)
    assert period.contains(period.end - timedelta(microseconds=1))
    assert period == Period(period.kind, period.year, period.number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-13",
        "2026-00",
        "2026-Q5",
        "2026-8",
        "26",
        "0001",
        "9999",
        "2026-q3",
        "2026-08-01",
        "２026",
        "2026\n",
    ],
)
def test_what_is_no_period(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Period.parse(text)
    assert caught.value.field == "period"


def test_a_period_starts_at_local_midnight() -> None:
    assert Period.parse("2026-08").start == datetime(2026, 7, 31, 17, tzinfo=UTC)
    assert period_keys_of(datetime(2025, 12, 31, 17, tzinfo=UTC)) == ("2026-01", "2026-Q1", "2026")
    assert period_keys_of(datetime(2025, 12, 31, 16, 59, tzinfo=UTC)) == ("2025-12", "2025-Q4", "2025")
    with pytest.raises(ValueError, match="time zone"):
        period_keys_of(datetime(2026, 1, 1))  # noqa: DTZ001


@given(moments, st.sampled_from(["month", "quarter", "year"]))
def test_periods_tile_time(moment: datetime, kind: str) -> None:
    period = period_of(kind, moment)  # type: ignore[arg-type]
    assert period.contains(moment)
    assert Period.parse(period.key) == period
    assert period.key in period_keys_of(moment)
    assert period.next().start == period.end
    assert period.previous().end == period.start
    assert period.next().previous() is period


@given(moments, st.timedeltas(timedelta(days=-800), timedelta(days=800)))
def test_periods_between_is_the_rule_of_belonging(start: datetime, length: timedelta) -> None:
    end = start + length
    found = periods_between(start, end)
    assert len(set(found)) == len(found)
    low, high = sorted((start, end))
    near = {
        period_of(kind, at)
        for kind in ("month", "quarter", "year")
        for at in (low + timedelta(days=n) for n in range(-40, (high - low).days + 40, 20))
    }
    assert set(found) == {period for period in near if start < period.end and end >= period.start}


# --- working days


def test_days_off_are_those_of_the_table() -> None:
    rows = rows_of("vn_holidays_2022_2026.csv")
    expected = {date.fromisoformat(row["ngay"]) for row in rows}
    made_up = {date(2024, 5, 4), date(2025, 4, 26), date(2026, 1, 10), date(2026, 8, 22)}
    day = date(2022, 1, 1)
    while day.year < 2027:
        assert is_working_day(day) == ((day.weekday() < 5 or day in made_up) and day not in expected), day
        day += timedelta(days=1)
    for row in rows:
        name = day_off_name(date.fromisoformat(row["ngay"]))
        assert name is not None
        assert row["ten"].split(",")[0].rstrip(")") in name


def test_the_swap_that_the_package_does_not_know() -> None:
    assert not is_working_day(date(2026, 1, 2))
    assert day_off_name(date(2026, 1, 2)) == "Ngày nghỉ (hoán đổi với thứ Bảy 10/01/2026)"
    assert is_working_day(date(2026, 1, 10))
    assert day_off_name(date(2026, 1, 10)) is None
    assert day_off_name(date(2026, 1, 3)) == "Thứ Bảy"
    assert day_off_name(date(2026, 1, 4)) == "Chủ nhật"


@given(days, st.integers(-1500, 1500))
def test_adding_and_counting_working_days_are_inverse(day: date, count: int) -> None:
    there = add_working_days(day, count)
    assert working_days_between(day, there) == count
    assert count == 0 or is_working_day(there)
    assert (there > day) == (count > 0)


@given(days, st.integers(0, 90))
def test_counting_equals_looking_at_every_day(day: date, length: int) -> None:
    after = [day + timedelta(days=n) for n in range(1, length + 1)]
    assert working_days_between(day, day + timedelta(days=length)) == sum(map(is_working_day, after))


@given(days, st.integers(0, 200), st.integers(0, 200))
def test_adding_in_two_steps_is_adding_at_once(day: date, one: int, other: int) -> None:
    assert add_working_days(add_working_days(day, one), other) == add_working_days(day, one + other)


# --- deadlines


def end_of(*parts: int) -> datetime:
    return local(*parts, 23, 59, 59, 999999)


@pytest.mark.parametrize(
    ("start", "value", "unit", "last"),
    [
        (local(2026, 8, 3, 9), 5, DurationUnit.WORKING_DAY, end_of(2026, 8, 10)),
        (local(2026, 8, 20, 9), 2, DurationUnit.WORKING_DAY, end_of(2026, 8, 22)),  # a make-up Saturday
        (local(2026, 8, 28, 9), 1, DurationUnit.WORKING_DAY, end_of(2026, 9, 3)),  # over Quốc khánh
        (local(2025, 12, 31, 9), 1, DurationUnit.WORKING_DAY, end_of(2026, 1, 5)),
        (local(2026, 8, 8, 9), 1, DurationUnit.WORKING_DAY, end_of(2026, 8, 10)),  # received on a Saturday
        (local(2026, 8, 3, 9), 5, DurationUnit.DAY, end_of(2026, 8, 10)),  # 08/08 is a Saturday
        (local(2026, 8, 3, 9), 4, DurationUnit.DAY, end_of(2026, 8, 7)),
        (local(2026, 8, 3, 9), Decimal("0.5"), DurationUnit.DAY, end_of(2026, 8, 4)),
        (local(2026, 1, 31, 9), 1, DurationUnit.MONTH, end_of(2026, 3, 2)),  # 28/02 is a Saturday
        (local(2024, 1, 31, 9), 1, DurationUnit.MONTH, end_of(2024, 2, 29)),
        (local(2026, 10, 15, 9), 3, DurationUnit.MONTH, end_of(2027, 1, 15)),
        (local(2026, 8, 3, 9), Decimal("0.5"), DurationUnit.MONTH, end_of(2026, 8, 18)),
        (local(2026, 8, 3, 8), 4, DurationUnit.HOUR, local(2026, 8, 3, 14)),
        (local(2026, 8, 3, 7, 30), 4, DurationUnit.HOUR, local(2026, 8, 3, 11, 30)),
        (local(2026, 8, 3, 7, 30), 8, DurationUnit.HOUR, local(2026, 8, 3, 17, 30)),
        (local(2026, 8, 3, 12), 1, DurationUnit.HOUR, local(2026, 8, 3, 14, 30)),
        (local(2026, 8, 7, 17), 1, DurationUnit.HOUR, local(2026, 8, 10, 8)),
        (local(2026, 8, 8, 9), Decimal("1.5"), DurationUnit.HOUR, local(2026, 8, 10, 9)),
        (local(2026, 8, 7, 20), 16, DurationUnit.HOUR, local(2026, 8, 11, 17, 30)),
        (datetime(2026, 8, 3, 18, tzinfo=UTC), 1, DurationUnit.WORKING_DAY, end_of(2026, 8, 5)),  # 04/08 here
    ],
)
def test_deadlines(start: datetime, value: Decimal | int, unit: DurationUnit, last: datetime) -> None:
    assert deadline(start, value, unit) == last


@given(moments, st.integers(1, 300), st.sampled_from(DurationUnit))
def test_a_deadline_lies_on_a_working_day_and_grows(start: datetime, value: int, unit: DurationUnit) -> None:
    last = deadline(start, value, unit)
    assert last > start
    assert last.tzinfo is TZ
    assert is_working_day(last.date())
    assert deadline(start, value + 1, unit) >= last
    assert deadline(start + timedelta(hours=5), value, unit) >= last


@pytest.mark.parametrize("value", [0, -1, Decimal("NaN"), Decimal("Infinity"), 10**9])
@pytest.mark.parametrize("unit", DurationUnit)
def test_what_is_no_duration(value: Decimal | int, unit: DurationUnit) -> None:
    with pytest.raises(Invalid) as caught:
        deadline(local(2026, 8, 3), value, unit)
    assert caught.value.field == "value"


def test_a_naive_start_is_a_fault_of_the_caller() -> None:
    for unit in DurationUnit:
        with pytest.raises(ValueError, match="time zone"):
            deadline(datetime(2026, 8, 3), 1, unit)  # noqa: DTZ001


# --- export days


def test_export_days_are_those_of_the_table() -> None:
    expected = {
        date.fromisoformat(row["ngay_cuoi_thang"]): (
            date.fromisoformat(row["thu2_tuan_ke_tiep"]),
            date.fromisoformat(row["de_xuat_ngay_lam_viec_dau_tien_tu_thu2_do"]),
            row["thu2_do_cung_nghi"] == "có",
        )
        for row in rows_of("vn_ngay_xuat_so_lieu_2022_2026.csv")
    }
    month = Period.parse("2022-01")
    while month.year < 2027:
        found = export_day(month)
        literal, proposed, flagged = expected.get(month.last_day, (month.last_day, month.last_day, False))
        assert (found.literal, found.proposed) == (literal, proposed), month
        assert found.moved == (month.last_day in expected)
        assert (found.reason is not None) == found.moved
        assert (found.proposed != found.literal) == flagged
        month = month.next()


def test_an_export_day_says_why_it_moves() -> None:
    assert export_day(Period.parse("2026-09")) == (date(2026, 9, 30), date(2026, 9, 30), False, None)
    reason = export_day(Period.parse("2025-08")).reason
    assert reason == (
        "Ngày cuối tháng 31/08/2025 là ngày nghỉ (Chủ nhật); chuyển sang thứ Hai tuần kế tiếp 01/09/2025, "
        "nhưng ngày đó cũng nghỉ (Quốc khánh): đề xuất ngày làm việc tiếp theo 03/09/2025."
    )


@pytest.mark.parametrize("text", ["2026-Q3", "2026"])
def test_only_months_have_an_export_day(text: str) -> None:
    with pytest.raises(Invalid):
        export_day(Period.parse(text))
