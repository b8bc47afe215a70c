"""What changed since a moment: who became overdue, who is it no more, points won and lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime, time
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators.queries import Scope
from shared.calendar import TZ
from shared.db import driver, session_scope
from shared.errors import Invalid
from shared.vocabulary import Basis

Counted = tuple[int | None, int | None, str | None]
"""numerator, denominator, points of a component, as figure_day keeps them."""


_FIRST = datetime(1990, 1, 1, tzinfo=TZ)
"""Nothing of ours is older; beyond it lie moments that have no spelling in UTC."""


class Kept(NamedTuple):
    """The figures of a day that is gone."""

    taken_at: datetime
    rule_set: str
    components: dict[str, Counted]


class Turned(NamedTuple):
    """A dossier that is overdue now and was not, or was and is not."""

    id: int
    code: str
    unit_code: str
    procedure_code: str
    procedure_name: str | None
    overdue: bool
    at: datetime
    bits: int | None
    reason: str | None
    deadline_at: datetime | None
    end_at: datetime | None


def moment(since: str | None, now: datetime) -> datetime:
    """A day (its first moment) or a time; none: the first moment of yesterday. Invalid(field="since"): neither, or
    ahead."""
    try:
        if since is None:
            found = datetime.combine(date.fromordinal(now.astimezone(TZ).toordinal() - 1), time(), TZ)
        elif len(since) == 10:
            found = datetime.combine(date.fromisoformat(since), time(), TZ)
        else:
            found = datetime.fromisoformat(since.replace(" ", "+"))  # a plus sign that nobody escaped
            found = (found if found.tzinfo else found.replace(tzinfo=TZ)).astimezone(TZ)
        if found < _FIRST:
            raise ValueError
    except (ValueError, OverflowError):
        raise Invalid(
            "Viết một ngày (2026-08-24) hoặc một thời điểm (2026-08-24T07:00:00+07:00).",
            "expected a day (2026-08-24) or a time (2026-08-24T07:00:00+07:00)",
            field="since",
        ) from None
    if found > now:
        raise Invalid("Thời điểm này còn ở phía trước.", "this moment lies ahead", field="since")
    return found


async def kept(session: AsyncSession, scope: Scope, since: datetime) -> Kept | None:
    """The figures kept last before `since` (or at it); where none of this period are older, the first ones kept.
    None: none are kept, or the scope is of another basis than the counted one."""
    if scope.basis is not Basis.COUNTED:
        return None
    row = await (await driver(session)).fetchrow(
        """
        (SELECT taken_at, rule_set, components::text, 0 AS place FROM figure_day
          WHERE period = $1 AND unit_code = $2 AND taken_at <= $3 ORDER BY day DESC LIMIT 1)
        UNION ALL
        (SELECT taken_at, rule_set, components::text, 1 FROM figure_day
          WHERE period = $1 AND unit_code = $2 AND taken_at > $3 ORDER BY day LIMIT 1)
        ORDER BY place LIMIT 1
        """,
        scope.period.key,
        scope.unit,
        since,
    )
    if row is None:
        return None
    return Kept(row[0].astimezone(TZ), row[1], msgspec.json.decode(row[2], type=dict[str, Counted]))


# A dossier may turn more than once: what it was before its first turn and what it is since its last decide.
_TURNED = """
WITH turns AS (
  SELECT *, first_value(overdue) OVER (PARTITION BY code ORDER BY id) AS first,
         row_number() OVER (PARTITION BY code ORDER BY id DESC) AS place
    FROM overdue_change WHERE basis = $1 AND at > $2
), turned AS (
  SELECT * FROM turns
   WHERE place = 1 AND overdue = first
     AND unit_code >= $3 AND unit_code < $3 || '/' AND (unit_code = $3 OR starts_with(unit_code, $3 || '.'))
)
"""
_LIST = f"""{_TURNED}
SELECT t.id, t.code, t.unit_code, t.procedure_code, p.name, t.overdue, t.at, t.bits, t.reason, t.deadline_at, t.end_at
  FROM turned t LEFT JOIN procedure p ON p.code = t.procedure_code
 WHERE ($4::bool IS NULL OR t.overdue = $4) AND ($5::bigint IS NULL OR t.id < $5) ORDER BY t.id DESC LIMIT $6
"""  # noqa: S608 - nothing of a caller's in it


async def count(session: AsyncSession, scope: Scope, since: datetime) -> tuple[int, int]:
    """(became overdue, are it no more), net, of the unit's subtree."""
    row = await (await driver(session)).fetchrow(
        _TURNED + "SELECT count(*) FILTER (WHERE overdue), count(*) FILTER (WHERE NOT overdue) FROM turned",  # noqa: S608
        scope.basis.value,
        since,
        scope.unit,
    )
    return row[0], row[1]


async def turned(
    session: AsyncSession,
    scope: Scope,
    since: datetime,
    *,
    overdue: bool | None,
    before: int | None,
    limit: int,
) -> list[Turned]:
    """The newest first, with ids below `before`."""
    rows: list[Any] = await (await driver(session)).fetch(
        _LIST, scope.basis.value, since, scope.unit, overdue, before, limit
    )
    return [Turned(*row) for row in map(tuple, rows)]


async def all_turned(
    engine: AsyncEngine, scope: Scope, since: datetime, *, overdue: bool | None
) -> AsyncIterator[Turned]:
    before = None
    while True:
        async with session_scope(engine) as session:
            page = await turned(session, scope, since, overdue=overdue, before=before, limit=5_000)
        for each in page:
            yield each
        if len(page) < 5_000:
            return
        before = page[-1].id
