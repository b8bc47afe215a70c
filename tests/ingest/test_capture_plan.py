"""When the published figures are captured, and which periods."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from services.ingest.capture_plan import Tried, is_due, periods, report_day, start_of
from shared.calendar import TZ


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=TZ)


EVERY = {"2026-06", "2026-09", "2026-Q2", "2026-Q3", "2026-10", "2026"}


@pytest.mark.parametrize(
    ("now", "known", "expected"),
    [
        ("2026-10-10 05:00", EVERY, ["2026-09", "2026-10", "2026-Q3", "2026-Q4", "2026"]),
        ("2026-10-15 05:00", EVERY, ["2026-09", "2026-10", "2026-Q3", "2026-Q4", "2026"]),
        ("2026-10-16 05:00", EVERY, ["2026-10", "2026-Q4", "2026"]),
        ("2026-10-16 05:00", EVERY - {"2026-Q3"}, ["2026-10", "2026-Q3", "2026-Q4", "2026"]),
        ("2026-01-03 05:00", set(), ["2026-01", "2026-Q1", "2026"]),
        ("2027-01-03 05:00", EVERY, ["2026-12", "2027-01", "2026-Q4", "2027-Q1", "2026", "2027"]),
        ("2027-03-20 05:00", {"2027-02"}, ["2027-03", "2026-Q4", "2027-Q1", "2026", "2027"]),
    ],
)
def test_periods(now: str, known: set[str], expected: list[str]) -> None:
    """The running ones, and the last ended ones for 15 days or until they are known; nothing before 2026."""
    assert [each.key for each in periods(at(now), known)] == expected


def test_about_five_o_clock_another_minute_each_day() -> None:
    starts = [start_of(date(2026, 10, 1) + timedelta(days=day)) for day in range(100)]
    assert all(start.replace(hour=4, minute=50, second=0) <= start <= start.replace(hour=5, minute=10, second=0)
               for start in starts)  # fmt: skip
    assert len({start.time() for start in starts}) > 50
    assert starts == [start_of(start.date()) for start in starts], "the same for every worker"


def test_once_a_day_and_later_the_same_morning() -> None:
    start = start_of(date(2026, 10, 10))
    hour = timedelta(hours=1)
    assert not is_due(start - timedelta(seconds=1), [])
    assert is_due(start, [])
    assert is_due(start + 9 * hour, []), "a worker that was away asks as soon as it is back"
    assert not is_due(start + 9 * hour, [Tried(True, start)])
    failed = Tried(False, start)
    assert not is_due(start + hour - timedelta(seconds=1), [failed])
    assert is_due(start + hour, [failed])
    assert not is_due(start + 9 * hour, [failed] * 3)
    assert not is_due(start + 9 * hour, [Tried(False, start, limited=True)])


def test_the_day_of_the_figures_is_the_one_before_in_viet_nam() -> None:
    """Not the UTC date: at 05:00 here it is still yesterday there (reporting-api.md §8, day shift)."""
    assert report_day(at("2026-10-10 05:00")) == date(2026, 10, 9)
    assert report_day(datetime.fromisoformat("2026-10-09T22:00:00+00:00")) == date(2026, 10, 9)
