"""Numbers of the national reporting system (BCQG), as people hand them in (indicators.md §3, 1.4)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.access import no_such_unit
from shared.calendar import TZ, Period, check_begun
from shared.db import driver
from shared.errors import Invalid
from shared.identifiers import is_within
from shared.vocabulary import ReportSource

MOST = 10_000_000
"""Dossiers of one unit in one period; a larger number is a typing error."""
_LOCK = 0x1404
"""One at a time: numbers are held against each other."""


class Given(NamedTuple):
    unit_code: str
    period: Period
    number: int
    source: ReportSource


class Stored(NamedTuple):
    """new: false where the newest number said the same. replaced: the number before it, if there was one."""

    row: dict[str, Any]
    new: bool
    replaced: int | None


async def add(session: AsyncSession, given: Given, *, by: str, now: datetime) -> Stored:
    """The newest number of a unit and period counts; the same one again changes nothing. Raises NotFound(unit),
    Invalid(period, count): a period that has not begun, a number that cannot be beside those of the unit's longer and
    shorter periods, or of the units above and below."""
    check_begun(given.period, now)
    connection = await driver(session)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM unit WHERE code = $1)", given.unit_code):
        raise no_such_unit()
    newest = await _newest(connection)
    _check(given, newest)
    before = newest.get((given.unit_code, given.period.key))
    if before is not None and (before["count"], before["source"]) == (given.number, given.source):
        return Stored(dict(before), False, None)
    row = await connection.fetchrow(
        "INSERT INTO reporting_count (unit_code, period, count, source, given_at, given_by)"
        " VALUES ($1, $2, $3, $4, $5, $6) RETURNING unit_code, period, count, source, given_at, given_by",
        given.unit_code,
        given.period.key,
        given.number,
        given.source.value,
        now,
        by,
    )
    return Stored(dict(row), True, None if before is None else before["count"])


async def listing(
    session: AsyncSession, *, within: str, period: str | None, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """What was given for a unit and those below it, the newest first, older than the row `before`. period: a key of
    Period. counts: no newer number of the same unit and period replaced it."""
    rows = await session.execute(
        text(
            "SELECT id, unit_code AS unit, period, count, source, given_at, given_by, NOT EXISTS (SELECT FROM"
            " reporting_count AS newer WHERE newer.unit_code = given.unit_code AND newer.period = given.period"
            " AND newer.id > given.id) AS counts FROM reporting_count AS given"
            " WHERE starts_with(unit_code || '.', :within || '.')"
            " AND (CAST(:period AS text) IS NULL OR period = :period)"
            " AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {"within": within, "period": period, "before": before, "limit": limit},
    )
    return [row._asdict() | {"given_at": row.given_at.astimezone(TZ)} for row in rows]


async def _newest(connection: asyncpg.Connection) -> dict[tuple[str, str], asyncpg.Record]:
    """By unit and period: some thousand numbers a year at the most."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (unit_code, period) unit_code, period, count, source, given_at, given_by"
        " FROM reporting_count ORDER BY unit_code, period, id DESC"
    )
    return {(row["unit_code"], row["period"]): row for row in rows}


def _check(given: Given, newest: dict[tuple[str, str], asyncpg.Record]) -> None:
    """A whole is not less than a part of it: a quarter than its months, a unit than those below it."""
    for (unit, key), row in newest.items():
        if unit == given.unit_code:
            other = Period.parse(key)
            within, around = _inside(other, given.period), _inside(given.period, other)
            told = f"kỳ {key}", f"period {key}"
        elif key == given.period.key:
            within, around = is_within(unit, given.unit_code), is_within(given.unit_code, unit)
            told = f"đơn vị {unit}", f"unit {unit}"
        else:
            continue
        if (within and row["count"] > given.number) or (around and row["count"] < given.number):
            raise Invalid(
                f"Số này không thể đúng cùng với số {row['count']} đã nhập cho {told[0]}.",
                f"cannot be right beside {row['count']}, given for {told[1]}",
                field="count",
            )


def _inside(inner: Period, outer: Period) -> bool:
    return inner != outer and outer.first_day <= inner.first_day and inner.last_day <= outer.last_day
