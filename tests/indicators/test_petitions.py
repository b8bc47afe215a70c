"""Figures of petitions from the database: the list behind a figure is the figure, for every unit and period, through
mergers of units; what is remembered is never out of date; complaints; ratings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import petitions, queries
from services.indicators.copies import complaints
from services.indicators.rules.engine import petition_limits
from services.indicators.rules.measures import MEASURES, Part
from services.indicators.rules.petitions import Counts, Petition, judge, judged_at, part_of
from services.ingest.petition_messages import PetitionRow, PushedPetition, row_of
from services.ingest.petitions import accept_petitions, accept_ratings
from services.ingest.portals.rating_messages import RatingRow
from shared.calendar import Period
from shared.db import driver
from shared.identifiers import is_within
from tests import make
from tests.make import NOW, moment

PERIODS = [Period.parse(key) for key in ("2026-08", "2026-09", "2026-Q3", "2026-10", "2026-11", "2026")]
PARTS: tuple[Part, ...] = ("numerator", "shortfall")
UNITS = ["H31", "H31.135", "H31.136", "H31.16"]


def petition(code: str = "P1", **fields: Any) -> PetitionRow:
    values = {
        "code": code,
        "kind": "tthc",
        "unit_code": "H31.135",
        "sent_at": "2026-08-03T09:00:00+07:00",
    } | fields
    read = row_of(PushedPetition(**values), position=0, raw=b"", now=NOW)
    assert isinstance(read, PetitionRow), read
    return read


async def take(session: AsyncSession, rows: Sequence[PetitionRow], now: datetime = NOW) -> None:
    await accept_petitions(session, list(rows), via="push", door="petitions", sender="k", now=now)


async def seen(session: AsyncSession, period: Period | str, now: datetime = NOW) -> petitions.Seen:
    asked = period if isinstance(period, Period) else Period.parse(period)
    return await petitions.seen(session, period=asked, now=now, units=await queries.units(session))


hours = st.integers(0, 24 * 70).map(lambda each: moment("2026-08-20") + timedelta(hours=each))
OPTIONAL = ("transferred_at", "received_at", "more_asked_at", "handled_at", "published_at", "refused_at")
SOME = st.lists(
    st.fixed_dictionaries(
        {
            "code": st.sampled_from([f"P{n}" for n in range(8)]),
            "kind": st.sampled_from(["tthc", "staff", "other"]),
            "unit_code": st.sampled_from(["H31.135", "H31.136", "H31.16", "H31.199", None]),
            "repeats_code": st.sampled_from([None, None, "P8", "P9"]),
            "sent_at": hours,
            "likes": st.integers(0, 2),
            "dislikes": st.integers(0, 2),
        },
        optional=dict.fromkeys(
            ("transferred_at", "received_at", "more_asked_at", "handled_at", "published_at", "refused_at"),
            hours,
        ),
    ),
    max_size=8,
    unique_by=lambda fields: str(fields["code"]),
)


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=SOME)
async def test_the_list_is_the_figure_for_every_unit_and_period(
    session: AsyncSession, some: list[Any]
) -> None:
    rows = [
        petition(**{k: v.isoformat() if isinstance(v, datetime) else v for k, v in fields.items()})
        for fields in some
    ]
    rows += [
        petition("P8", unit_code="H31.136"),
        petition("P9", unit_code="H31.16", sent_at="2026-09-10T08:00:00+07:00"),
    ]
    async with session.begin_nested() as undone:
        await make.units(session)
        # Ended on 30/9/2026 and taken over by H31.135: its petitions count there from the period on that ends later.
        await make.unit(
            session, "H31.199", "UBND xã Cũ", valid_to=date(2026, 9, 30), successor_code="H31.135"
        )
        await take(session, rows)
        for period in PERIODS:
            found = await seen(session, period)
            for unit in UNITS:
                counts, judged = found.counts(unit), found.within(unit)
                assert counts == by_hand(rows, unit, period)
                numerators = {"5.1": counts.procedure, "5.2": counts.on_time, "5.3": counts.satisfied}
                for component, numerator in numerators.items():
                    items = [
                        {each.petition.code for each in part_of(judged, MEASURES[component], part)}
                        for part in PARTS
                    ]
                    assert [len(part) for part in items] == [numerator, counts.petitions - numerator]
                    assert not items[0] & items[1]
        await undone.rollback()


def by_hand(rows: Sequence[PetitionRow], unit: str, period: Period) -> Counts:
    counts = [0] * 6
    at = judged_at(period, NOW)
    for row in rows:
        whose = row.agency_code or "H31"
        if whose == "H31.199" and period.last_day > date(2026, 9, 30):
            whose = "H31.135"
        counted_at = row.received_at or row.sent_at
        if not (is_within(whose, unit) and period.contains(counted_at) and counted_at <= at):
            continue
        repeated = [
            each.sent_at for each in rows if each.repeats_code == row.code and each.sent_at > row.sent_at
        ]
        told = {name: getattr(row, name) for name in Petition._fields if name != "repeated_at"}
        found = judge(Petition(**told, repeated_at=min(repeated, default=None)), petition_limits(period), at)
        kinds = [row.kind == kind for kind in ("tthc", "staff", "other")]
        for n, each in enumerate([True, found.on_time, found.satisfied, *kinds]):
            counts[n] += each
    return Counts(*counts)


async def test_what_is_remembered_ends_with_a_change_a_limit_or_a_new_tree(session: AsyncSession) -> None:
    await make.units(session)
    await take(session, [petition(), petition("P2", unit_code="H31.136")])
    early = moment("2026-08-10 08:00")
    first = await seen(session, "2026-08", early)
    assert first.counts("H31") == Counts(2, 2, 2, 2, 0, 0)
    assert first.wake_at == moment("2026-08-23")
    assert await seen(session, "2026-08", moment("2026-08-22 23:59")) is first
    late = await seen(session, "2026-08", moment("2026-08-23"))
    assert late.counts("H31.135") == Counts(1, 0, 0, 1, 0, 0)
    assert late.as_of == first.as_of == NOW
    assert late.version != first.version, "an ETag of the figure before must not hold"
    assert (await seen(session, "2026-08", early)).counts("H31").on_time == 2, (
        "an earlier now is not the later one"
    )

    later = NOW + timedelta(minutes=1)
    repeated = petition("P3", repeats_code="P1", unit_code="H31.16", sent_at="2026-09-10T08:00:00+07:00")
    answered = petition(handled_at="2026-08-07T08:00:00+07:00", published_at="2026-08-07T09:00:00+07:00")
    await take(session, [answered, repeated], later)
    assert (await seen(session, "2026-08")).counts("H31.135") == Counts(1, 1, 1, 1, 0, 0)
    quarter = await seen(session, "2026-Q3")
    assert quarter.counts("H31.135") == Counts(1, 1, 0, 1, 0, 0), "repeated within the quarter"
    assert quarter.as_of == later
    assert await seen(session, "2026-Q3") is quarter

    await session.execute(
        text("UPDATE unit SET valid_to = '2026-09-29', successor_code = 'H31.136' WHERE code = 'H31.135'")
    )
    assert (await seen(session, "2026-Q3")).counts("H31.136").petitions == 2
    assert (await seen(session, "2026-08")).counts("H31.136").petitions == 1


async def test_a_petition_from_a_clock_that_is_ahead_is_counted_when_its_time_has_come(
    session: AsyncSession,
) -> None:
    await make.units(session)
    await take(session, [petition(sent_at=(NOW + timedelta(hours=3)).isoformat())])
    found = await seen(session, "2026-11")
    assert (found.judged, found.wake_at) == ((), NOW + timedelta(hours=3))
    assert len((await seen(session, "2026-11", NOW + timedelta(hours=3))).judged) == 1


async def test_dossiers_complained_of(session: AsyncSession) -> None:
    await make.units(session)
    one, other = "H31.135-260720-0007", "H31.135-260720-0008"
    await take(
        session,
        [
            petition(dossier_code=one, sent_at="2026-08-09T09:00:00+07:00"),
            petition("P2", dossier_code=one),
            petition("P3"),
        ],
    )
    found = await complaints(await driver(session), [one, other])
    assert found == {one: moment("2026-08-03 09:00")}


async def test_ratings_are_weighed_by_those_who_rated(session: AsyncSession) -> None:
    await make.units(session)

    def rating(
        month: str, agency: str, raters: int, *shares: str | None, procedure: str = "1.001612"
    ) -> RatingRow:
        told = [None if share is None else Decimal(share) for share in shares]
        return RatingRow(month, agency, procedure, "UBND phường Sơn Nam", raters, *told)

    await accept_ratings(
        session,
        [
            rating("2026-08", "H31.135", 30, "50", "40", "10"),
            rating("2026-08", "H31.135", 10, "90", "10", "0", procedure=""),
            rating("2026-08", "H31.136", 60, None, None, None),
            rating("2026-09", "UBND phường Sơn Nam", 20, "0", "0", "100"),
        ],
        via="push",
        door="dvcqg",
        sender="k",
        now=NOW,
    )
    units = await queries.units(session)

    async def told(unit: str, period: str) -> tuple[Any, ...]:
        return await petitions.ratings(session, unit=unit, period=Period.parse(period), units=units)

    assert await told("H31.135", "2026-08") == (40, Decimal("60.00"), Decimal("32.50"), Decimal("7.50"))
    assert await told("H31", "2026-08") == (100, Decimal("60.00"), Decimal("32.50"), Decimal("7.50"))
    assert await told("H31.136", "2026-08") == (60, None, None, None)
    assert await told("H31.136", "2026-Q3") == (80, Decimal("0.00"), Decimal("0.00"), Decimal("100.00"))
    assert await told("H31.16", "2026") == (0, None, None, None)
