"""2.2: how long the handling took, by both clocks, and the average of each procedure."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main
from services.indicators.rules.assess import assess
from services.indicators.rules.facts import Facts
from services.indicators.rules.handling import Handling, average, unit_of
from services.indicators.rules.measures import MEASURES
from shared.calendar import is_working_day, working_time
from shared.db import session_scope
from shared.reasons import Bit, Source
from shared.settings import Settings
from shared.vocabulary import DurationUnit
from tests import make
from tests.indicators.test_api import store
from tests.indicators.test_assess import BASE, UNITS
from tests.make import moment

HOUR = 3600
NOW = moment("2026-11-02 09:00")
COUNTED = MEASURES["2.2"].numerator.column


def handled(now: datetime = NOW, **fields: Any) -> dict[str, tuple[int, int]]:
    """Period → both sums, of the periods in which it counts."""
    copy = BASE._replace(**{"status": 9, "finished_at": None, **fields})
    contributions = assess(Facts(Source.NATIONAL, copy, None), now, UNITS).contributions
    found = {}
    for period, each in contributions.items():
        assert bool(each.bits & Bit.HANDLED) == (each.elapsed_seconds is not None)
        if each.elapsed_seconds is not None:
            assert each.working_seconds is not None
            found[period] = (each.elapsed_seconds, each.working_seconds)
    return found


RECEIVED = moment(
    "2026-08-28 16:30"
)  # a Friday; Monday 31/8 was worked off before, 1 and 2/9 are National Day


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # An hour on Friday, one on Thursday 3/9: all in the month of the start.
        ({"finished_at": moment("2026-09-03 08:30")}, (5 * 24 * HOUR + 16 * HOUR, 2 * HOUR)),
        ({"status": 10, "returned_at": moment("2026-08-28 17:00")}, (HOUR // 2, HOUR // 2)),
        # 9 before 10, as in 2.1.
        (
            {
                "status": 10,
                "finished_at": moment("2026-08-28 17:00"),
                "returned_at": moment("2026-09-10 08:00"),
            },
            (HOUR // 2, HOUR // 2),
        ),
        ({"status": 4, "finished_at": moment("2026-08-28 17:00")}, None),
        ({"status": 3, "rejected_at": moment("2026-08-28 17:00")}, None),
        ({"status": 9}, None),
        ({"finished_at": moment("2026-08-28 16:00")}, None),
        ({"finished_at": moment("2026-08-28 16:30")}, (0, 0)),
    ],
)
def test_only_what_has_a_result_and_both_times(
    fields: dict[str, Any], expected: tuple[int, int] | None
) -> None:
    found = handled(**{"received_at": RECEIVED, **fields})
    periods = ("2026-08", "2026-Q3", "2026")
    assert found == ({} if expected is None else dict.fromkeys(periods, expected))


def test_not_before_it_has_ended() -> None:
    end = moment("2026-09-03 08:30")
    fields = {"received_at": RECEIVED, "finished_at": end}
    assert handled(end - timedelta(seconds=1), **fields) == {}
    assert set(handled(end, **fields)) == {"2026-08", "2026-Q3", "2026"}


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("Giờ", "6.00"), ("Ngày làm việc", "0.75"), ("Ngày", "1.50"), ("Tháng", "0.05"), (None, "1.50")],
)
def test_in_the_procedure_s_own_unit(unit: str | None, expected: str) -> None:
    told, known = unit_of(unit)
    assert known == (unit is not None)
    assert average(Handling(2 * 36 * HOUR, 2 * 6 * HOUR), 2, told) == Decimal(expected)
    assert set(DurationUnit) == {unit_of(each.value)[0] for each in DurationUnit}


moments = st.integers(0, 80 * 144).map(lambda tens: moment("2025-12-20") + timedelta(minutes=10 * tens))


@given(moments, moments)
def test_working_time_is_what_a_clock_counts(start: datetime, end: datetime) -> None:
    """Over the turn of the year, Tết and a make-up Saturday."""
    step, at, ticks = timedelta(minutes=10), start, 0
    while at < end:
        clock = at.hour * 60 + at.minute
        ticks += is_working_day(at.date()) and (450 <= clock < 690 or 810 <= clock < 1050)
        at += step
    assert working_time(start, end) == ticks * step


@given(moments, moments, moments)
def test_working_time_adds_up(first: datetime, second: datetime, third: datetime) -> None:
    first, second, third = sorted((first, second, third))
    assert working_time(first, second) + working_time(second, third) == working_time(first, third)


async def test_shown_beside_the_score_and_listed(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
        await make.procedure(session, "1.001613", name="Khác", max_duration=None, duration_unit=None)
    end = moment("2026-08-05 09:30")  # two days, 16 working hours, after the receipt
    done = {"status": 9, "finished_at": end, "version": end}
    long = moment("2026-10-01 09:30")
    await store(
        engine,
        make.head("H31.135-260803-0001", **done),
        make.head("H31.135-260803-0002", status=9, finished_at=long, version=long),
        make.head("H31.135-260803-0003"),
        make.head("H31.136-260803-0001", agency_code="H31.136", procedure_code="1.001613", **done),
    )
    async with make.client(engine, settings, *main.routers) as http:
        params = {"period": "2026-08"}
        group = (await http.get("/v1/indicators/progress", params=params)).json()
        assert [component["id"] for component in group["components"]] == ["2.1"], "no points, so no component"
        found = group["handling"]
        assert (found["id"], found["dossiers"], found["procedures"]) == ("2.2", 3, 2)
        assert found["why"].startswith("3 hồ sơ tiếp nhận trong kỳ đã có kết quả")
        first, second = found["by_procedure"]
        days = (working_time(moment("2026-08-03 09:30"), long).total_seconds() / HOUR / 8 + 2) / 2
        assert (first["procedure_code"], first["dossiers"], first["unit"]) == ("1.001612", 2, "Ngày làm việc")
        assert (first["average"], first["maximum"]) == (f"{days:.2f}", "3.00")
        assert (second["average"], second["unit"], second["unit_known"]) == ("2.00", "Ngày", False)

        answer = await http.get("/v1/indicators/progress/2.2/items", params=params | {"part": "numerator"})
        listed = answer.json()["items"]
        assert len(listed) == found["dossiers"]
        assert (listed[0]["handling_time"], listed[0]["handling_unit"]) == ("2.00", "Ngày làm việc")
        shortfall = await http.get("/v1/indicators/progress/2.2/items", params=params | {"part": "shortfall"})
        assert shortfall.json()["items"] == []

        path = "/v1/indicators/progress/2.2/procedures"
        page = (await http.get(path, params=params | {"limit": 1})).json()
        rest = (await http.get(path, params=params | {"limit": 1, "cursor": page["next"]})).json()
        assert page["items"] + rest["items"] == found["by_procedure"]
        assert rest["next"] is None
        table = await http.get(path, params=params, headers={"Accept": "text/csv"})
        assert [row["Số hồ sơ"] for row in csv.DictReader(io.StringIO(table.text.lstrip("\ufeff")))] == [
            "2",
            "1",
        ]
        own = (await http.get("/v1/indicators/progress", params=params | {"unit": "H31.136"})).json()
        assert (own["handling"]["dossiers"], own["handling"]["procedures"]) == (1, 1)
        september = (await http.get("/v1/indicators/progress", params={"period": "2026-09"})).json()
        assert september["handling"]["dossiers"] == 0, "the start decides"
