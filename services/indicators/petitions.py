"""Reads of petitions and of the citizens' monthly ratings: figures of 5.1–5.3 and the petitions behind them. What
5.4 has to know of a dossier is read with its copies (copies.py).

There are some hundred petitions a month in the province, so they need no tally: those of a period are read in one
query, judged by the pure core and counted on reading (ADR 0013). A reader's process remembers what it judged until a
petition or the unit tree changes, or a limit runs out (`wake_at`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.queries import Figures
from services.indicators.rules.engine import petition_limits
from services.indicators.rules.petitions import NONE, Counts, Judged, Petition, count, judge, judged_at
from services.indicators.rules.units import UnitTree
from shared.calendar import Period
from shared.db import driver
from shared.identifiers import is_within

REMEMBERED = 64
"""Periods whose petitions a process remembers judged."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The petitions of a period as of `at` (now, or the period's end), in order of unit and code, and their counts by
    unit, each with what is below it. as_of: commit time of the newest change of any petition, None where there never
    was one. version: differs whenever one changed or one of the period is judged differently."""

    judged: tuple[Judged, ...]
    totals: Mapping[str, Counts]
    at: datetime
    wake_at: datetime | None
    as_of: datetime | None
    version: str

    def within(self, unit: str) -> list[Judged]:
        """Those of a unit and what is below it."""
        return [each for each in self.judged if is_within(each.unit_code, unit)]

    def counts(self, unit: str) -> Counts:
        return self.totals.get(unit, NONE)


# Two transactions can commit in another order than their clocks say, and one can write twice: the newest time alone is
# no version. The table is small.
_VERSION = """
SELECT max(learnt_at) AS as_of, count(*) AS petitions, sum(hashtextextended(concat(xmin, ctid), 0)) AS rows
  FROM petition
"""
_OF_PERIOD = """
SELECT p.unit_code, p.code, p.kind, p.dossier_code, p.sent_at, p.transferred_at, p.received_at, p.more_asked_at,
       p.handled_at, p.published_at, p.refused_at, p.likes, p.dislikes,
       (SELECT min(r.sent_at) FROM petition r WHERE r.repeats_code = p.code AND r.sent_at > p.sent_at) AS repeated_at
  FROM petition p WHERE coalesce(p.received_at, p.sent_at) >= $1 AND coalesce(p.received_at, p.sent_at) < $2
"""

_remembered: dict[tuple[str, str], tuple[UnitTree, Seen]] = {}


async def seen(session: AsyncSession, *, period: Period, now: datetime, units: UnitTree) -> Seen:
    """The province's petitions of a period, judged. Raises Invalid where no limits are in force."""
    return (await seen_in(session, periods=[period], now=now, units=units))[period.key]


async def seen_in(
    session: AsyncSession, *, periods: Sequence[Period], now: datetime, units: UnitTree
) -> dict[str, Seen]:
    """As seen(), of each period, by its key."""
    connection = await driver(session)
    row = await connection.fetchrow(_VERSION)
    version = f"{row['as_of']} {row['petitions']} {row['rows']}"
    found: dict[str, Seen] = {}
    for period in periods:
        key = (_database(session), period.key)
        known = _remembered.get(key)
        if known is not None and known[0] is units and _holds(known[1], version, judged_at(period, now)):
            found[period.key] = known[1]
            continue
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        fresh = await _judged(connection, period, now, units, row["as_of"], version)
        _remembered[key] = units, fresh
        found[period.key] = fresh
    return found


async def _judged(
    connection: asyncpg.Connection,
    period: Period,
    now: datetime,
    units: UnitTree,
    as_of: datetime | None,
    version: str,
) -> Seen:
    limits, at = petition_limits(period), judged_at(period, now)
    judged: list[Judged] = []
    turns: list[datetime] = []
    for unit_code, *values in map(tuple, await connection.fetch(_OF_PERIOD, period.start, period.end)):
        petition = Petition(*values)
        if petition.counted_at > at:  # of a clock that is ahead of ours
            turns.append(petition.counted_at)
            continue
        judgement = judge(petition, limits, at)
        judged.append(Judged(units.standing_for(unit_code, period.last_day), petition, judgement))
        if judgement.wake_at is not None:
            turns.append(judgement.wake_at)
    judged.sort(key=lambda each: (each.unit_code, each.petition.code))
    told = f"{len(judged)} {sum(each.judgement.on_time for each in judged)}"  # nothing is on time again by itself
    return Seen(tuple(judged), _totals(judged), at, min(turns, default=None), as_of, f"{version} {told}")


def _totals(judged: Iterable[Judged]) -> dict[str, Counts]:
    """Of each unit that has petitions, and of those above it."""
    below: dict[str, list[Judged]] = defaultdict(list)
    for each in judged:
        parts = each.unit_code.split(".")
        for length in range(1, len(parts) + 1):
            below[".".join(parts[:length])].append(each)
    return {unit: count(found) for unit, found in below.items()}


def _holds(known: Seen, version: str, at: datetime) -> bool:
    return (
        known.version.startswith(version + " ")
        and known.at <= at
        and (known.wake_at is None or at < known.wake_at)
    )


def _database(session: AsyncSession) -> str:
    return session.bind.engine.url.render_as_string(hide_password=True) if session.bind else ""


def added(found: Figures, petitions: Seen, unit: str) -> Figures:
    """The figures of the tally and those of a unit's petitions: what changes either changes the version."""
    times = [at for at in (found.as_of, petitions.as_of) if at is not None]
    return replace(
        found,
        measured={**found.measured, **petitions.counts(unit).measured},
        as_of=max(times, default=None),
        version=f"{found.version} {petitions.version}",
    )


class Ratings(NamedTuple):
    """raters: how many rated, those whose shares were not told among them. The shares, in percent of the others, None
    where there are none."""

    raters: int
    very_satisfied: Decimal | None
    satisfied: Decimal | None
    not_satisfied: Decimal | None


_RATINGS = """
SELECT unit_code, sum(raters), sum(raters) FILTER (WHERE told), sum(raters * very_satisfied) FILTER (WHERE told),
       sum(raters * satisfied) FILTER (WHERE told), sum(raters * not_satisfied) FILTER (WHERE told)
  FROM (SELECT *, num_nulls(very_satisfied, satisfied, not_satisfied) = 0 AS told FROM citizen_rating
         WHERE month >= $1 AND month <= $2) AS r GROUP BY unit_code
"""


async def ratings(session: AsyncSession, *, unit: str, period: Period, units: UnitTree) -> Ratings:
    """What the people served by a unit and what is below it thought in the months of a period: information, it scores
    nothing."""
    connection = await driver(session)
    months = (f"{period.first_day:%Y-%m}", f"{period.last_day:%Y-%m}")
    rows = [
        tuple(row)[1:]
        for row in await connection.fetch(_RATINGS, *months)
        if is_within(units.standing_for(row[0], period.last_day), unit)
    ]
    raters, told, *sums = [
        sum((each or _ZERO for each in column), _ZERO) for column in zip(*rows, strict=True)
    ] or [_ZERO] * 5
    shares = [(each / told).quantize(_CENT, ROUND_HALF_UP) if told else None for each in sums]
    return Ratings(int(raters), *shares)


_ZERO, _CENT = Decimal(0), Decimal("0.01")
