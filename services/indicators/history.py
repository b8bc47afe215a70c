"""What will be asked for later and cannot be computed then: who became overdue when, and each day's figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import whole
from services.indicators.copies import unit_tree
from services.indicators.queries import Figures
from services.indicators.rules import engine, scoring
from services.indicators.rules.engine import RuleSet
from shared.calendar import Period, local_day, period_of
from shared.db import driver, rows_to_columns
from shared.reasons import Bit
from shared.vocabulary import BOTH, Basis, UnitLevel

KEPT = timedelta(days=400)
"""Days of figures and changes: a year and a month."""

_LATE = Bit.MEMBER.value
_LOOKED_AT = Bit.MEMBER.value | Bit.ON_TIME.value | Bit.UNDETERMINED.value
_BASES = {basis.value: (basis.value,) for basis in Basis} | {BOTH: tuple(basis.value for basis in Basis)}
_encode = msgspec.json.Encoder().encode

Row = tuple[Any, ...]
"""A row of assessment_period: code, basis, period, unit, procedure, bits, reason, end, deadline, …"""


class OverdueChange(NamedTuple):
    """A row of overdue_change, without its moment."""

    code: str
    basis: str
    period: str
    unit_code: str
    procedure_code: str
    overdue: bool
    bits: int | None
    reason: str | None
    deadline_at: datetime | None
    end_at: datetime | None


def overdue_changes(before: Iterable[Row], after: Iterable[Row], *, news_of: str) -> list[OverdueChange]:
    """From all rows of some dossiers before and after a judgement. Pure. news_of: the first month of which a dossier
    that was not there before is news; years of history that are loaded today have not become overdue today.

    A dossier is overdue where its newest month says so: one that was overdue and is carried into a new month has not
    become so a second time.
    """
    was, now = _newest(before), _newest(after)
    found: list[OverdueChange] = []
    for key in sorted(was.keys() | now.keys()):
        old, new = was.get(key), now.get(key)
        late = new is not None and _overdue(new)
        if late == (old is not None and _overdue(old)):
            continue
        row = new or old
        assert row is not None
        if old is None and row[2] < news_of:
            continue
        period, unit, procedure, bits, reason, end_at, deadline_at = row[2:9]
        if new is None:
            bits = reason = end_at = deadline_at = None
        found.append(OverdueChange(*key, period, unit, procedure, late, bits, reason, deadline_at, end_at))
    return found


def _newest(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """(code, basis) → the row of its newest month."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        if len(row[2]) != 7 or row[2][5] == "Q":
            continue
        for basis in _BASES[row[1]]:
            before = found.get((row[0], basis))
            if before is None or before[2] < row[2]:
                found[row[0], basis] = row
    return found


def _overdue(row: Row) -> bool:
    return bool(row[5] & _LOOKED_AT == _LATE)


async def write(connection: asyncpg.Connection, changes: Sequence[OverdueChange], *, at: datetime) -> None:
    if changes:
        await connection.execute(
            "INSERT INTO overdue_change (at, code, basis, period, unit_code, procedure_code, overdue, bits, reason,"
            " deadline_at, end_at) SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[],"
            " $6::text[], $7::bool[], $8::bigint[], $9::text[], $10::timestamptz[], $11::timestamptz[])",
            at,
            *rows_to_columns([tuple(each) for each in changes], 10),
        )


def periods_kept(now: datetime) -> list[Period]:
    """The running month, quarter and year, and those just ended while they still move."""
    running = [period_of(kind, now) for kind in ("month", "quarter", "year")]
    ended = [each.previous() for each in running if now - each.start < timedelta(days=31)]
    return [each for each in (*running, *ended) if engine.governed(each)]


async def keep_day(session: AsyncSession, *, now: datetime) -> int | None:
    """At a day's first moment (or the first one after a stop): keep every unit's figures as they stand. Returns the
    number of units with figures, None where the day has been kept already."""
    connection = await driver(session)
    day = local_day(now)
    if await connection.fetchval("SELECT 1 FROM figure_day_taken WHERE day = $1", day):
        return None
    mine = await connection.fetchval(
        "INSERT INTO figure_day_taken (day, taken_at, units) VALUES ($1, $2, 0)"
        " ON CONFLICT (day) DO NOTHING RETURNING day",
        day,
        now,
    )
    if mine is None:
        return None
    units = await unit_tree(connection)
    periods = periods_kept(now)
    codes = sorted({units.province, *(code for level in UnitLevel for code in units.standing(level, day))})
    found = await whole.figures_of_all(
        session, basis=Basis.COUNTED, periods=periods, codes=codes, now=now, units=units
    )
    rules = {each.key: engine.rule_set_for(each) for each in periods}
    rows = [
        (
            place.period,
            place.unit,
            rules[place.period].id,
            _encode(components(each, rules[place.period])).decode(),
        )
        for place, each in found.items()
        if each.as_of is not None
    ]
    await connection.execute(
        "INSERT INTO figure_day (day, taken_at, period, unit_code, rule_set, components)"
        " SELECT $1, $2, t.period, t.unit, t.rules, t.told::jsonb"
        " FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS t(period, unit, rules, told)",
        day,
        now,
        *rows_to_columns(rows, 4),
    )
    number = len({row[1] for row in rows})
    await connection.execute("UPDATE figure_day_taken SET units = $2 WHERE day = $1", day, number)
    await connection.execute("DELETE FROM figure_day WHERE day < $1", day - KEPT)
    await connection.execute("DELETE FROM overdue_change WHERE at < $1", now - KEPT)
    return number


def components(figures: Figures, rules: RuleSet) -> dict[str, tuple[int | None, int | None, str | None]]:
    """Component → numerator, denominator (None: nothing is counted), points (None: no score). Pure."""
    found = {}
    for group in scoring.score_groups(figures.measured, rules, figures.level).values():
        for component, measure, score in group.scored:
            counts = (
                (None, None)
                if measure is None
                else (figures.measured[measure.numerator], figures.measured[measure.denominator])
            )
            found[component.id] = (*counts, None if score.points is None else str(score.points))
    return found
