"""Reads of the figures, of the dossiers behind them, and of one dossier's assessment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators.copies import unit_tree
from services.indicators.rules.handling import Handling
from services.indicators.rules.measures import DOSSIER_SYNC, Measure, Part, figures_of
from services.indicators.rules.units import UnitTree
from shared.calendar import Period
from shared.db import driver, session_scope
from shared.dossier_components import COUNTS, Count
from shared.reasons import Bit
from shared.vocabulary import BOTH, Basis, ProcedureFact

WITHIN = "unit_code >= $3 AND unit_code < $3 || '/' AND (unit_code = $3 OR starts_with(unit_code, $3 || '.'))"
"""A subtree by its codes; the range is what the index can use."""


OF_BASIS = "basis = ANY($1::text[])"
"""Its own rows, and those that stand for both."""
FOREIGN = {
    basis: int(bit)
    for basis, bit in (
        (Basis.COUNTED, Bit.FROM_PROVINCIAL),
        (Basis.PROVINCIAL, Bit.FROM_NATIONAL | Bit.FROM_SENT_CONFIRMED | Bit.FROM_SENT_UNCONFIRMED),
    )
}
"""In a row that stands for both bases: from which copy the other one takes it."""
OF_COUNTED = frozenset({"from_national", "from_sent_confirmed", "from_sent_unconfirmed"})
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
    """counts: by name of measures.COUNTS, over the unit's subtree; measured: the figures of the measures. as_of: commit
    time of the newest change in them, None where there never was one. version: differs whenever a dossier in scope, or
    what the national database says of a procedure, changed. used: procedures with an online service and a dossier
    submitted online (3.2). uncounted: component → why it cannot be told. remarks: component →
    what is to be told beside its figure. level: of the unit, which not every component
    applies to."""

    counts: dict[str, int]
    measured: dict[Count, int]
    as_of: datetime | None
    version: str
    used: frozenset[str] = frozenset()
    uncounted: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    level: str | None = None


def measured_sql(count: Count) -> str:
    """A figure over the cells `t`, with the facts `f` of their procedures."""
    column = f"t.{count.column}"
    if count.with_result is not None:
        result = int(ProcedureFact.RESULT)
        column = f"CASE WHEN f & {result} <> 0 THEN t.{count.with_result} ELSE {column} END"
    of = [f"f & {int(count.of)} = {int(count.of)}"] if count.of else []
    if count.procedures:
        return f"count(DISTINCT t.procedure_code) FILTER (WHERE {' AND '.join([f'{column} > 0', *of])})"
    return f"coalesce(sum({column}){f' FILTER (WHERE {of[0]})' if of else ''}, 0)::bigint"


MEASURED = (*figures_of("tally"), DOSSIER_SYNC.numerator)
USED = (
    "coalesce(array_agg(DISTINCT t.procedure_code)"
    f" FILTER (WHERE t.online > 0 AND f & {int(ProcedureFact.ONLINE_SERVICE)} <> 0), '{{}}')"
)
"""Figures.used over the cells `t`, with the facts `f` of their procedures."""
# Distinct procedures are counted over the subtree's non-empty cells (architecture.md §4): one row for each first.
# Two transactions can commit in another order than their clocks say: the newest time alone is no version.
_FIGURES = f"""
SELECT {", ".join(f"coalesce(sum(t.{column}), 0)::bigint" for column in COUNTS)},
       {", ".join(measured_sql(count) for count in MEASURED)},
       {USED}, max(t.as_of), sum(t.times), bit_xor(hashtextextended(t.procedure_code || f, 0))
FROM (SELECT procedure_code, {", ".join(f"sum({column})::bigint AS {column}" for column in COUNTS)},
             max(changed_at) AS as_of, sum(extract(epoch FROM changed_at)) AS times
        FROM tally WHERE {OF_BASIS} AND period = $2 AND {WITHIN} GROUP BY procedure_code) AS t
  LEFT JOIN procedure p ON p.code = t.procedure_code
  CROSS JOIN LATERAL (SELECT coalesce(p.facts, 0) AS f) AS facts
"""  # noqa: S608 - names of ours


async def figures(session: AsyncSession, scope: Scope) -> Figures:
    row = tuple(await (await driver(session)).fetchrow(_FIGURES, *scope.key))
    zero = OF_COUNTED if scope.basis is Basis.PROVINCIAL else ()
    counts = {column: 0 if column in zero else value for column, value in zip(COUNTS, row, strict=False)}
    measured = dict(zip(MEASURED, row[len(COUNTS) :], strict=False))
    used, as_of, times, facts = row[-4:]
    return Figures(counts, measured, as_of, f"{as_of} {times} {facts}", frozenset(used))


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
        FROM tally WHERE {OF_BASIS} AND period = $2 AND {WITHIN} GROUP BY procedure_code) AS t
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
            f" WHERE {OF_BASIS} AND period = $2 AND {WITHIN} AND handled > 0",
            *scope.key,
        )
    )


class Item(NamedTuple):
    """One dossier behind a figure. procedure_facts: of vocabulary.ProcedureFact, 0 where the procedure is not known."""

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
    procedure_facts: int


_PART = f"""
(SELECT unit_code, a.code, procedure_code, bits, reason, end_at, deadline_at, elapsed_seconds, working_seconds,
        name, duration_unit, coalesce(p.facts, 0) AS procedure_facts
   FROM assessment_period a LEFT JOIN procedure p ON p.code = a.procedure_code
  WHERE basis = %(basis)s AND period = $2 AND {WITHIN} AND %(condition)s AND (unit_code, a.code) > ($4, $5)
  ORDER BY unit_code, a.code LIMIT $6)
"""  # noqa: S608 - nothing of a caller's in it


def _holds(count: Count) -> str:
    """Whether a dossier of assessment_period, beside its procedure `p`, counts."""
    plain, resulting, of = count.plain, count.resulting, int(count.of)
    condition = f"bits & {plain.mask} = {plain.value}"
    if resulting != plain:
        result = int(ProcedureFact.RESULT)
        condition = (
            f"CASE WHEN coalesce(p.facts, 0) & {result} <> 0 THEN bits & {resulting.mask} = {resulting.value}"
            f" ELSE {condition} END"
        )
    return f"{condition} AND coalesce(p.facts, 0) & {of} = {of}" if of else condition


def _condition(measure: Measure, part: Part) -> str:
    if part == "numerator":
        return _holds(measure.numerator)
    return f"{_holds(measure.denominator)} AND NOT ({_holds(measure.numerator)})"


# Two ranges of the index in its order, each read no further than the page.
def _items(condition: str) -> str:
    own = _PART % {"basis": "$1", "condition": condition}
    both = _PART % {"basis": f"'{BOTH}'", "condition": condition}
    return f"""
SELECT unit_code, code, procedure_code, name, bits, reason, end_at, deadline_at, elapsed_seconds, working_seconds,
       duration_unit, procedure_facts
FROM ({own} UNION ALL {both}) AS found ORDER BY unit_code, code LIMIT $6
"""  # noqa: S608 - names of ours


async def items(
    session: AsyncSession, scope: Scope, measure: Measure, part: Part, *, after: tuple[str, str], limit: int
) -> list[Item]:
    """The next dossiers after (unit, code), in that order; ("", "") begins."""
    connection = await driver(session)
    rows = await connection.fetch(
        _items(_condition(measure, part)), scope.basis.value, scope.period.key, scope.unit, *after, limit
    )
    foreign = FOREIGN[scope.basis]
    return [each._replace(bits=each.bits & ~foreign) for each in (Item(*row) for row in rows)]


class ProcedureItem(NamedTuple):
    """One procedure behind a figure, and how many of its dossiers the figure's column has."""

    code: str
    name: str | None
    dossiers: int


async def procedure_items(
    session: AsyncSession, scope: Scope, measure: Measure, part: Part, *, after: str, limit: int
) -> list[ProcedureItem]:
    """The next procedures behind a figure that counts procedures, by code."""
    whole, within = measure.denominator, measure.numerator
    condition = (
        _procedure_holds(within)
        if part == "numerator"
        else (f"{_procedure_holds(whole)} AND NOT ({_procedure_holds(within)})")
    )
    columns = sorted({whole.column, within.column})
    shown = within.column if part == "numerator" else whole.column
    rows = await (await driver(session)).fetch(
        f"""
        SELECT t.procedure_code, p.name, t.{shown}
        FROM (SELECT procedure_code, {", ".join(f"sum({column})::bigint AS {column}" for column in columns)}
                FROM tally WHERE {OF_BASIS} AND period = $2 AND {WITHIN} AND procedure_code > $4
               GROUP BY procedure_code) AS t
          JOIN procedure p ON p.code = t.procedure_code
        WHERE {condition} ORDER BY t.procedure_code LIMIT $5
        """,  # noqa: S608 - names of ours
        *scope.key,
        after,
        limit,
    )
    return [ProcedureItem(*row) for row in rows]


def _procedure_holds(count: Count) -> str:
    return f"t.{count.column} > 0 AND p.facts & {int(count.of)} = {int(count.of)}"


async def all_items(
    engine: AsyncEngine, scope: Scope, measure: Measure, part: Part, *, page: int = 1_000
) -> AsyncIterator[Item]:
    """All of them, each page in a short transaction of its own: whoever reads slowly holds no connection and no
    snapshot meanwhile. What changes during the reading may be missing or stand there in its new form."""
    after = ("", "")
    while True:
        async with session_scope(engine) as session:
            found = await items(session, scope, measure, part, after=after, limit=page)
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
        "SELECT basis, period, unit_code, procedure_code, bits, reason, end_at, deadline_at,"
        " coalesce(p.facts, 0) AS procedure_facts"
        " FROM assessment_period a LEFT JOIN procedure p ON p.code = a.procedure_code"
        " WHERE a.code = $1 ORDER BY period",
        code,
    )
    at = max((row["assessed_at"] for row in heads if row["assessed_at"] is not None), default=None)
    return Assessed(units, at, heads, periods)


def percent(ratio: Decimal) -> Decimal:
    """A ratio as percent with 2 decimals."""
    return (ratio * 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
