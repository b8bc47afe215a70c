"""Reads of the procedures that are public now, and their figures beside those of the tally.

There are some thousand procedures, so they need no tally: a reader's process reads them all, and remembers them until
a row changes. The tally tells which of them have a dossier submitted online (Figures.used).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.boards import Place
from services.indicators.queries import Figures, Scope
from services.indicators.rules.catalogue import Catalogue, Judged, Listed, publisher_of
from services.indicators.rules.measures import MEASURES, Measure
from services.indicators.rules.units import UnitTree
from shared.calendar import Period, local_day
from shared.db import driver
from shared.vocabulary import Portal, Subject


@dataclass(frozen=True, slots=True)
class Seen:
    """as_of: when the newest of what is said of any procedure came, None where there never was one. version: differs
    whenever what is said of one is another."""

    catalogue: Catalogue
    as_of: datetime | None
    version: str


# Two transactions can commit in another order than their clocks say: the newest time alone is no version.
_STATE = """
SELECT row((SELECT row(count(*), sum(hashtextextended(concat(xmin, ctid), 0))) FROM procedure),
           (SELECT row(count(*), max(updated_at)) FROM unit_alias),
           (SELECT min(finished_at) FROM sync_run WHERE portal = $1 AND subject = $2 AND state = 'done'))::text
"""
_LOOKED = "SELECT min(finished_at) FROM sync_run WHERE portal = $1 AND subject = $2 AND state = 'done'"
_PUBLIC = """
SELECT code, name, facts, levels, performers, publisher, decision_number, decided_on, effective_on, public_since,
       public_since_observed, greatest(listed_at, record_at) AS told_at
  FROM procedure WHERE public AND withdrawn_at IS NULL ORDER BY code
"""
_NAMES = "SELECT name_key, unit_code FROM unit_alias WHERE valid_to IS NULL"

_remembered: dict[str, tuple[UnitTree, str, Seen]] = {}


async def seen(session: AsyncSession, *, units: UnitTree) -> Seen:
    connection = await driver(session)
    of = (Portal.NATIONAL.value, Subject.PROCEDURES.value)
    state = str(await connection.fetchval(_STATE, *of))
    database = session.bind.engine.url.render_as_string(hide_password=True) if session.bind else ""
    known = _remembered.get(database)
    if known is not None and known[0] is units and known[1] == state:
        return known[2]
    looked_at = await connection.fetchval(_LOOKED, *of)
    looked_on = None if looked_at is None else local_day(looked_at)
    names = dict(map(tuple, await connection.fetch(_NAMES)))
    listed: list[Listed] = []
    as_of: datetime | None = None
    for row in await connection.fetch(_PUBLIC):
        as_of = max(filter(None, (as_of, row["told_at"])), default=None)
        own, foreign = publisher_of(row["publisher"], row["decision_number"], units.province)
        if foreign:
            continue
        found = (each if each in units else names.get(each) for each in row["performers"])
        since, observed = row["public_since"], row["public_since_observed"]
        listed.append(
            Listed(
                code=row["code"],
                name=row["name"],
                facts=row["facts"],
                levels=frozenset(row["levels"]),
                units=frozenset(each for each in found if each is not None),
                own=own,
                decided_on=row["decided_on"],
                effective_on=row["effective_on"],
                public_since=since,
                observed=observed,
                first_look=since is None or (observed and (looked_on is None or since <= looked_on)),
            )
        )
    catalogue = Catalogue(listed)
    told = "\n".join(repr(each[:3] + tuple(map(sorted, each[3:5])) + each[5:]) for each in catalogue.listed)
    fresh = Seen(catalogue, as_of, sha256(told.encode()).hexdigest()[:16])
    _remembered[database] = units, state, fresh
    return fresh


def added(figures: Figures, seen: Seen, scope: Scope, units: UnitTree) -> Figures:
    """With the figures of the catalogue, what cannot be told of the unit and what is to be told beside them."""
    return _added(figures, seen, scope.unit, scope.period, units)


def added_to_all(found: Mapping[Place, Figures], seen: Seen, units: UnitTree) -> dict[Place, Figures]:
    return {
        place: _added(figures, seen, place.unit, Period.parse(place.period), units)
        for place, figures in found.items()
    }


def _added(figures: Figures, seen: Seen, unit: str, period: Period, units: UnitTree) -> Figures:
    level = units.level(unit, period.last_day)
    counts = seen.catalogue.counts(unit, level, period, figures.used)
    uncounted = seen.catalogue.uncounted(level)
    for component in uncounted:
        for count in (MEASURES[component].numerator, MEASURES[component].denominator):
            counts.pop(count, None)
    return replace(
        figures,
        measured=figures.measured | counts,
        uncounted={**figures.uncounted, **uncounted},
        remarks={**figures.remarks, **seen.catalogue.remarks(period)},
        level=level,
        as_of=max(filter(None, (figures.as_of, seen.as_of)), default=None),
        version=f"{figures.version} {seen.version}",
    )


def behind(seen: Seen, measure: Measure, figures: Figures, scope: Scope) -> list[Judged]:
    """The procedures of a figure's denominator, by code."""
    return seen.catalogue.judged(measure, scope.unit, figures.level, scope.period, figures.used)
