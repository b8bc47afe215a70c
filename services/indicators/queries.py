"""Reads of the figures, of the dossiers behind them, and of one dossier's assessment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators.copies import unit_tree
from services.indicators.rules.assess import BOTH
from services.indicators.rules.handling import Handling
from services.indicators.rules.measures import COUNTS, Condition
from services.indicators.rules.units import UnitTree
from shared.calendar import Period
from shared.db import driver, session_scope
from shared.reasons import Bit
from shared.vocabulary import Basis

_WITHIN = (
    "unit_code >= $3 AND unit_code < $3 || '/' AND (unit_code = $3 OR starts_with(unit_code, $3 || '.'))"
)
"""A subtree by its codes; the range is what the index can use."""


_OF_BASIS = "basis = ANY($1::text[])"
"""Its own rows, and those that stand for both."""
_FOREIGN = {
    basis: int(bit)
    for basis, bit in (
        (Basis.COUNTED, Bit.FROM_PROVINCIAL),
        (Basis.PROVINCIAL, Bit.FROM_NATIONAL | Bit.FROM_SENT_CONFIRMED | Bit.FROM_SENT_UNCONFIRMED),
    )
}
"""In a row that stands for both bases: from which copy the other one takes it."""
_OF_COUNTED = frozenset({"from_national", "from_sent_confirmed", "from_sent_unconfirmed"})
"""Counts that say something of the counted basis only."""


class Scope(NamedTuple):
    """What a figure is about."""

    basis: Basis
    period: Period
    unit: str

    @property
    def key(self) -> tuple[list[str], str, str]:
        return [self.basis.value, BOTH], self.period.key, self.unit


@dataclass(frozen=True, slots=True)
class Figures:
    """counts: by name of measures.COUNTS, over the unit's subtree. as_of: commit time of the newest change in
    them, None where there never was one. version: differs whenever a dossier in scope changed."""

    counts: dict[str, int]
    as_of: datetime | None
    version: str


async def figures(session: AsyncSession, scope: Scope) -> Figures:
    connection = await driver(session)
    sums = ", ".join(f"coalesce(sum({column}), 0)::bigint AS {column}" for column in COUNTS)
    # Two transactions can commit in another order than their clocks say: the newest time alone is no version.
    row = await connection.fetchrow(
        f"SELECT {sums}, max(changed_at) AS as_of, sum(extract(epoch FROM changed_at)) AS times"  # noqa: S608
        f" FROM tally WHERE {_OF_BASIS} AND period = $2 AND {_WITHIN}",
        *scope.key,
    )
    zero = _OF_COUNTED if scope.basis is Basis.PROVINCIAL else ()
    counts = {column: 0 if column in zero else row[column] for column in COUNTS}
    return Figures(counts, row["as_of"], f"{row['as_of']} {row['times']}")


async def units(session: AsyncSession) -> UnitTree:
    return await unit_tree(await driver(session))


async def names_version(session: AsyncSession) -> str:
    """Differs whenever a name of a unit or a procedure may have changed."""
    connection = await driver(session)
    return str(
        await connection.fetchval(
            "SELECT row((SELECT max(updated_at) FROM unit), (SELECT max(listed_at) FROM procedure))::text"
        )
    )


class ProcedureTime(NamedTuple):
    """The handling times of one procedure's dossiers; `unit` and `maximum` as the national database has them."""

    procedure_code: str
    name: str | None
    unit: str | None
    maximum: Decimal | None
    dossiers: int
    handling: Handling


_TIMES = f"""
SELECT t.procedure_code, p.name, p.duration_unit, p.max_duration, t.handled, t.elapsed_seconds, t.working_seconds
FROM (SELECT procedure_code, sum(handled)::bigint AS handled, sum(elapsed_seconds)::bigint AS elapsed_seconds,
             sum(working_seconds)::bigint AS working_seconds
        FROM tally WHERE {_OF_BASIS} AND period = $2 AND {_WITHIN} GROUP BY procedure_code) AS t
  LEFT JOIN procedure p ON p.code = t.procedure_code
WHERE t.handled > 0 AND ($4::bigint IS NULL OR t.handled < $4 OR (t.handled = $4 AND t.procedure_code > $5))
ORDER BY t.handled DESC, t.procedure_code LIMIT $6
"""  # noqa: S608 - nothing of a caller's in it


async def times(
    session: AsyncSession, scope: Scope, *, after: tuple[int, str] | None, limit: int
) -> list[ProcedureTime]:
    """Handling times by procedure, those of the most dossiers first, beyond `after` (dossiers, procedure)."""
    rows = await (await driver(session)).fetch(_TIMES, *scope.key, *(after or (None, "")), limit)
    return [ProcedureTime(row[0], row[1], row[2], row[3], row[4], Handling(row[5], row[6])) for row in rows]


async def count_times(session: AsyncSession, scope: Scope) -> int:
    """Procedures with a handling time."""
    connection = await driver(session)
    return int(
        await connection.fetchval(
            "SELECT count(DISTINCT procedure_code) FROM tally"  # noqa: S608
            f" WHERE {_OF_BASIS} AND period = $2 AND {_WITHIN} AND handled > 0",
            *scope.key,
        )
    )


class Item(NamedTuple):
    """One dossier behind a figure."""

    unit_code: str
    code: str
    procedure_code: str
    procedure_name: str | None
    bits: int
    reason: str
    end_at: datetime | None
    deadline_at: datetime | None
    elapsed_seconds: int | None
    working_seconds: int | None
    duration_unit: str | None


_PART = f"""
(SELECT unit_code, code, procedure_code, bits, reason, end_at, deadline_at, elapsed_seconds, working_seconds
   FROM assessment_period WHERE basis = %s AND period = $2 AND {_WITHIN}
    AND bits & $4 = $5 AND (unit_code, code) > ($6, $7)
  ORDER BY unit_code, code LIMIT $8)
"""  # noqa: S608 - nothing of a caller's in it
# Two ranges of the index in its order, each read no further than the page.
_ITEMS = f"""
SELECT p.unit_code, p.code, p.procedure_code, n.name, p.bits, p.reason, p.end_at, p.deadline_at,
       p.elapsed_seconds, p.working_seconds, n.duration_unit
FROM ({_PART % "$1"} UNION ALL {_PART % f"'{BOTH}'"} ORDER BY unit_code, code LIMIT $8) AS p
LEFT JOIN procedure n ON n.code = p.procedure_code ORDER BY p.unit_code, p.code
"""  # noqa: S608


async def items(
    session: AsyncSession, scope: Scope, condition: Condition, *, after: tuple[str, str], limit: int
) -> list[Item]:
    """The next dossiers after (unit, code), in that order; ("", "") begins."""
    connection = await driver(session)
    rows = await connection.fetch(
        _ITEMS,
        scope.basis.value,
        scope.period.key,
        scope.unit,
        condition.mask,
        condition.value,
        *after,
        limit,
    )
    foreign = _FOREIGN[scope.basis]
    return [each._replace(bits=each.bits & ~foreign) for each in (Item(*row) for row in rows)]


async def all_items(
    engine: AsyncEngine, scope: Scope, condition: Condition, *, page: int = 1_000
) -> AsyncIterator[Item]:
    """All of them, each page in a short transaction of its own: whoever reads slowly holds no connection and no
    snapshot meanwhile. What changes during the reading may be missing or stand there in its new form."""
    after = ("", "")
    while True:
        async with session_scope(engine) as session:
            found = await items(session, scope, condition, after=after, limit=page)
        for each in found:
            yield each
        if len(found) < page:
            return
        after = (found[-1].unit_code, found[-1].code)


class Assessed(NamedTuple):
    """One dossier: its units by its copies, when it was judged (None: not yet), its head rows by basis and its
    contributions."""

    units: list[str | None]
    assessed_at: datetime | None
    heads: list[asyncpg.Record]
    periods: list[asyncpg.Record]

    def periods_of(self, basis: str) -> list[asyncpg.Record]:
        return [row for row in self.periods if row["basis"] in (basis, BOTH)]


async def assessed(session: AsyncSession, code: str) -> Assessed | None:
    """None: no such dossier."""
    connection = await driver(session)
    units = [
        row["unit_code"]
        for row in await connection.fetch("SELECT DISTINCT unit_code FROM dossier WHERE code = $1", code)
    ]
    if not units:
        return None
    heads: list[Any] = await connection.fetch(
        "SELECT basis, source, open, assessed_at, wake_at FROM assessment WHERE code = $1 ORDER BY basis",
        code,
    )
    periods: list[Any] = await connection.fetch(
        "SELECT basis, period, unit_code, procedure_code, bits, reason, end_at, deadline_at"
        " FROM assessment_period WHERE code = $1 ORDER BY period",
        code,
    )
    at = max((row["assessed_at"] for row in heads if row["assessed_at"] is not None), default=None)
    return Assessed(units, at, heads, periods)


def percent(ratio: Decimal) -> Decimal:
    """A ratio as percent with 2 decimals."""
    return (ratio * 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
