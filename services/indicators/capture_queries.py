"""Reads of captures, for a unit and what is below it. The province sees what no unit of ours is known for, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from shared.db import driver, session_scope

GROUPS = ("transparency", "progress", "online-service", "online-payment", "digitisation", "satisfaction")
TOTAL = "TOTAL"


class Head(NamedTuple):
    """A capture that has ended, with what its checks and its scoring say."""

    id: int
    period: str
    scope: str
    state: str
    captured_at: datetime
    report_on: date
    missing: list[str]
    parser: str
    rule_set: str | None
    checks_failed: list[str]
    scores_checked: int | None
    scores_differing: int | None
    politeness: str


_HEAD = """
SELECT c.id, c.period, c.scope, c.state, c.captured_at, c.report_on, c.missing, c.parser, s.rule_set,
       ARRAY(SELECT k.code FROM capture_check k WHERE k.capture_id = c.id AND NOT k.holds ORDER BY k.code),
       s.checked, s.differing, c.politeness::text
  FROM capture c LEFT JOIN capture_scoring s ON s.capture_id = c.id
 WHERE c.state <> 'open'
"""


async def heads(
    session: AsyncSession, *, period: str | None, state: str | None, before: int | None, limit: int
) -> list[Head]:
    """Newest first, with ids below `before`."""
    rows = await (await driver(session)).fetch(
        f"{_HEAD} AND ($1::text IS NULL OR c.period = $1) AND ($2::text IS NULL OR c.state = $2)"
        " AND ($3::bigint IS NULL OR c.id < $3) ORDER BY c.id DESC LIMIT $4",
        period,
        state,
        before,
        limit,
    )
    return [Head(*row) for row in rows]


async def head(session: AsyncSession, capture_id: int) -> Head | None:
    row = await (await driver(session)).fetchrow(f"{_HEAD} AND c.id = $1", capture_id)
    return None if row is None else Head(*row)


async def newest(session: AsyncSession, scope: str, period: str) -> Head | None:
    """The newest complete capture of a period."""
    row = await (await driver(session)).fetchrow(
        f"{_HEAD} AND c.scope = $1 AND c.period = $2 AND c.state = 'complete'"
        " ORDER BY c.captured_at DESC, c.id DESC LIMIT 1",
        scope,
        period,
    )
    return None if row is None else Head(*row)


_WITHIN = (
    "(unit_code = $2 OR starts_with(unit_code, $2 || '.') OR (strpos($2, '.') = 0 AND unit_code IS NULL"
    " AND kind NOT IN ('nation', 'province')))"
)


class Unit(NamedTuple):
    """A unit of a capture."""

    department_id: UUID
    department_code: str | None
    name: str
    kind: str
    unit_code: str | None
    missing: list[str]


class Figure(NamedTuple):
    """A figure of a capture; `counts` is JSON."""

    department_id: UUID
    group: str
    code: str
    given: int
    numerator: int | None
    denominator: int | None
    ratio: Decimal | None
    score: Decimal | None
    max_score: Decimal | None
    data_quality: str | None
    counts: str | None


async def units(session: AsyncSession, capture_id: int, unit: str) -> list[Unit]:
    rows = await (await driver(session)).fetch(
        "SELECT department_id, department_code, name, kind, unit_code, missing FROM captured_unit"  # noqa: S608
        f" WHERE capture_id = $1 AND {_WITHIN} ORDER BY unit_code NULLS LAST, department_code, name",
        capture_id,
        unit,
    )
    return [Unit(*row) for row in rows]


async def figures(session: AsyncSession, capture_id: int, departments: Sequence[UUID]) -> list[Figure]:
    """All figures of these units, but for the other provinces' list."""
    rows = await (await driver(session)).fetch(
        f"SELECT {_FIGURE} FROM captured_figure WHERE capture_id = $1"  # noqa: S608 - names of ours
        " AND department_id = ANY($2::uuid[]) AND endpoint <> 'national'"
        " ORDER BY department_id, endpoint, component",
        capture_id,
        departments,
    )
    return [Figure(*row) for row in rows]


_FIGURE = (
    "department_id, endpoint, component, given, numerator, denominator, ratio, score, max_score, data_quality,"
    " counts::text"
)


async def sums(session: AsyncSession, capture_id: int, departments: Sequence[UUID]) -> list[Figure]:
    """The units' sums only: of each group, and in all."""
    rows = await (await driver(session)).fetch(
        f"SELECT {_FIGURE} FROM captured_figure WHERE capture_id = $1"  # noqa: S608
        " AND department_id = ANY($2::uuid[]) AND component = 'TOTAL' AND endpoint <> 'national'",
        capture_id,
        departments,
    )
    return [Figure(*row) for row in rows]


async def checks(session: AsyncSession, capture_id: int) -> list[tuple[str, bool | None, int, int, Any]]:
    rows = await (await driver(session)).fetch(
        "SELECT code, holds, checked, failed, detail::text FROM capture_check WHERE capture_id = $1"
        " ORDER BY holds NULLS LAST, code",
        capture_id,
    )
    return [(row[0], row[1], row[2], row[3], msgspec.json.decode(row[4])) for row in rows]


async def differences(
    session: AsyncSession, capture_id: int, unit: str, *, limit: int
) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await (await driver(session)).fetch(
        "SELECT u.unit_code, u.name, d.endpoint, d.component, d.numerator, d.denominator, d.published,"  # noqa: S608
        " d.recomputed FROM capture_score_check d JOIN captured_unit u USING (capture_id, department_id)"
        f" WHERE d.capture_id = $1 AND {_WITHIN} ORDER BY u.unit_code, d.endpoint, d.component LIMIT $3",
        capture_id,
        unit,
        limit,
    )
    return found


async def bodies(session: AsyncSession, capture_id: int) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await (await driver(session)).fetch(
        "SELECT b.endpoint, b.asked_at, b.status, encode(b.digest, 'hex') AS sha256, c.size, b.source, b.error"
        " FROM capture_body b LEFT JOIN capture_content c ON c.digest = b.digest"
        " WHERE b.capture_id = $1 ORDER BY b.asked_at, b.endpoint",
        capture_id,
    )
    return found


_MOVED = f"""
WITH a AS (SELECT f.*, u.unit_code, u.name FROM captured_figure f JOIN captured_unit u USING (capture_id, department_id)
            WHERE capture_id = $1 AND {_WITHIN} AND endpoint <> 'national'),
     b AS (SELECT f.*, u.unit_code, u.name FROM captured_figure f JOIN captured_unit u USING (capture_id, department_id)
            WHERE capture_id = $3 AND {_WITHIN} AND endpoint <> 'national')
SELECT coalesce(b.unit_code, a.unit_code) AS unit_code, coalesce(b.name, a.name) AS name, endpoint, component,
       a.capture_id IS NOT NULL AS before, a.numerator AS n0, a.denominator AS d0, a.score AS s0,
       b.capture_id IS NOT NULL AS after, b.numerator AS n1, b.denominator AS d1, b.score AS s1,
       count(*) OVER () AS changed
  FROM a FULL JOIN b USING (department_id, endpoint, component)
 WHERE (a.capture_id IS NULL) <> (b.capture_id IS NULL)
    OR (a.numerator, a.denominator, a.score) IS DISTINCT FROM (b.numerator, b.denominator, b.score)
 ORDER BY abs(coalesce(b.score - a.score, 0)) DESC, 1 NULLS LAST, endpoint, component, department_id LIMIT $4
"""  # noqa: S608 - nothing of a caller's in it


async def moved(
    session: AsyncSession, a: int, b: int, unit: str, *, limit: int | None
) -> list[asyncpg.Record]:
    """Figures that are not the same in two captures, the largest changes of score first."""
    found: list[asyncpg.Record] = await (await driver(session)).fetch(_MOVED, a, unit, b, limit)
    return found


async def all_figures(engine: AsyncEngine, capture_id: int, unit: str) -> AsyncIterator[tuple[Unit, Figure]]:
    """Every figure of every unit in scope, unit by unit."""
    async with session_scope(engine) as session:
        found = await units(session, capture_id, unit)
    for each in found:
        async with session_scope(engine) as session:
            rows = await figures(session, capture_id, [each.department_id])
        for figure in rows:
            yield each, figure


_EXPLAINING = """
SELECT f.kind, count(*) AS findings, (array_agg(f.code ORDER BY f.code))[1:$4] AS codes
  FROM finding f
 WHERE f.subject = 'dossier' AND f.state = 'open' AND f.kind = ANY($2::text[])
   AND (f.unit_code = $1 OR starts_with(f.unit_code, $1 || '.') OR strpos($1, '.') = 0)
   AND EXISTS (SELECT FROM assessment_period p WHERE p.code = f.code AND p.period = $3)
 GROUP BY f.kind ORDER BY count(*) DESC, f.kind
"""


async def explaining(
    session: AsyncSession, unit: str, kinds: Sequence[str], period: str, *, limit: int
) -> list[asyncpg.Record]:
    """Open findings of these kinds on dossiers that belong to the period on any basis: how many, the first codes."""
    found: list[asyncpg.Record] = await (await driver(session)).fetch(_EXPLAINING, unit, kinds, period, limit)
    return found


async def published_of(
    session: AsyncSession, scope: str, unit: str, period: str, group: str
) -> tuple[Head, dict[str, Figure]] | None:
    """A unit's figures of one group by code, of the newest complete capture of a period; None: there is none."""
    found = await newest(session, scope, period)
    if found is None:
        return None
    own = [each.department_id for each in await units(session, found.id, unit) if each.unit_code == unit]
    return found, {each.code: each for each in await figures(session, found.id, own) if each.group == group}
