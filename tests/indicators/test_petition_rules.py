"""5.2 and 5.3 as cases that an official could read (tests/cases/petitions.toml), and what holds for any petition."""

from __future__ import annotations

import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.indicators.rules import petitions
from services.indicators.rules.engine import petition_limits
from services.indicators.rules.measures import MEASURES, Part
from services.indicators.rules.petitions import Judged, Petition, judge, judged_at
from shared.calendar import TZ, Period
from shared.errors import Invalid

CASES = tomllib.loads((Path(__file__).parents[1] / "cases" / "petitions.toml").read_text(encoding="utf-8"))[
    "case"
]
NOW = datetime(2026, 11, 15, 8, tzinfo=TZ)
TIMES = ("transferred_at", "received_at", "more_asked_at", "handled_at", "published_at", "refused_at")
BASE = Petition(
    code="PAKN-1",
    kind="tthc",
    dossier_code=None,
    sent_at=datetime(2026, 8, 3, 9, tzinfo=TZ),
    transferred_at=None,
    received_at=datetime(2026, 8, 4, 10, tzinfo=TZ),
    more_asked_at=None,
    handled_at=None,
    published_at=None,
    refused_at=None,
    likes=0,
    dislikes=0,
    repeated_at=None,
)


def local(value: datetime | str) -> datetime | None:
    return None if isinstance(value, str) else value.replace(tzinfo=TZ)


def petition_of(case: dict[str, Any]) -> Petition:
    times: dict[str, Any] = {
        name: local(case[name]) for name in ("sent_at", *TIMES, "repeated_at") if name in case
    }
    return BASE._replace(**times, **{name: case[name] for name in ("likes", "dislikes") if name in case})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    petition = petition_of(case)
    now = local(case["at"]) if "at" in case else NOW
    assert now is not None
    for key, expected in case["expect"].items():
        period = Period.parse(key)
        assert period.contains(petition.counted_at), key
        found = judge(petition, petition_limits(period), judged_at(period, now))
        words = (
            "đúng hạn" if found.on_time else "quá hạn",
            "hài lòng" if found.satisfied else "không hài lòng",
        )
        assert ", ".join(words) == expected, (key, petitions.explain(petition, found))
        assert petitions.explain(petition, found).startswith(
            ("Đúng hạn", "Chưa") if found.on_time else ("Quá hạn",)
        )
        if "duty" in case:
            assert found.duty == case["duty"]
        if "wake_at" in case:
            assert found.wake_at == local(case["wake_at"])


def test_a_petition_is_in_one_month_only() -> None:
    for case in CASES:
        months = [key for key in case["expect"] if len(key) == 7 and "Q" not in key]
        petition = petition_of(case)
        assert all(Period.parse(month).contains(petition.counted_at) for month in months)


def test_what_a_petition_is_told_to_be() -> None:
    late = judge(BASE, petition_limits(Period.parse("2026-08")), datetime(2026, 9, 1, tzinfo=TZ))
    assert petitions.explain(BASE, late) == (
        "Quá hạn: chưa trả lời, hạn 23:59 22/08/2026 (15 ngày làm việc từ khi gửi, 09:00 03/08/2026)."
    )
    moved = BASE._replace(transferred_at=datetime(2026, 8, 6, 8, tzinfo=TZ))
    assert "làm việc từ khi chuyển đến, 08:00 06/08/2026)" in petitions.explain(
        moved, judge(moved, petition_limits(Period.parse("2026-08")), NOW)
    )
    shown = moved._replace(handled_at=moved.transferred_at, published_at=moved.transferred_at)
    assert "(2 ngày làm việc từ khi trả lời, 08:00 06/08/2026)" in petitions.explain(
        shown, judge(shown, petition_limits(Period.parse("2026-08")), NOW)
    )
    refused = BASE._replace(refused_at=datetime(2026, 8, 5, 9, tzinfo=TZ), dislikes=1, repeated_at=NOW)
    told = petitions.explain(refused, judge(refused, petition_limits(Period.parse("2026")), NOW))
    assert told == (
        "Đúng hạn: từ chối 09:00 05/08/2026, hạn 23:59 05/08/2026 (2 ngày làm việc từ khi gửi, 09:00 03/08/2026);"
        " lượt không thích nhiều hơn lượt thích;"
        " có phản ánh, kiến nghị gửi lại sau đó."
    )


def test_no_limits_before_the_decision() -> None:
    with pytest.raises(Invalid):
        petition_limits(Period.parse("2022-05"))


PARTS: tuple[Part, ...] = ("numerator", "shortfall")
moments = st.integers(0, 90 * 24).map(lambda hours: BASE.sent_at + timedelta(hours=hours))
some_petitions = st.builds(
    BASE._replace,
    **{name: st.none() | moments for name in (*TIMES, "repeated_at")},
    likes=st.integers(0, 3),
    dislikes=st.integers(0, 3),
    kind=st.sampled_from(["tthc", "staff", "other"]),
)
LIMITS = petition_limits(Period.parse("2026"))


@given(some_petitions, moments)
def test_nothing_changes_by_itself_before_wake_at(petition: Petition, at: datetime) -> None:
    found = judge(petition, LIMITS, at)
    if found.wake_at is None:
        assert judge(petition, LIMITS, at + timedelta(days=400))[:2] == found[:2]
    else:
        assert found.wake_at > at
        for moment in (at, found.wake_at - timedelta(microseconds=1)):
            assert judge(petition, LIMITS, moment)[:7] == found[:7]


@given(some_petitions, moments)
def test_overdue_stays_overdue_and_is_never_satisfying(petition: Petition, at: datetime) -> None:
    known: dict[str, Any] = {
        name: time if (time := getattr(petition, name)) and time <= at else None for name in TIMES
    }
    past = petition._replace(**known)
    found = judge(past, LIMITS, at)
    assert found.on_time or not found.satisfied
    if not found.on_time:
        assert not judge(past, LIMITS, at + timedelta(days=30)).on_time


@given(st.lists(st.tuples(some_petitions, moments), max_size=8))
def test_the_list_is_the_figure(given_: list[tuple[Petition, datetime]]) -> None:
    judged = [Judged("H31.135", petition, judge(petition, LIMITS, at)) for petition, at in given_]
    counts = petitions.count(judged)
    numerators = {"5.1": counts.procedure, "5.2": counts.on_time, "5.3": counts.satisfied}
    for component, numerator in numerators.items():
        parts = [petitions.part_of(judged, MEASURES[component], part) for part in PARTS]
        assert [len(part) for part in parts] == [numerator, counts.petitions - numerator]
    assert counts.procedure + counts.staff + counts.other == counts.petitions
    assert counts.satisfied <= counts.on_time
