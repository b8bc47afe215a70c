"""All figures of units and periods, whatever they are counted from: dossiers by the tally, petitions, the procedures
that are public now and what was reported on reading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import boards, catalogue, petitions, queries, reports
from services.indicators.boards import Place
from services.indicators.queries import Figures, Scope
from services.indicators.rules.units import UnitTree
from shared.calendar import Period
from shared.vocabulary import Basis


async def figures(session: AsyncSession, scope: Scope, *, now: datetime, units: UnitTree) -> Figures:
    """Of one unit in one period. What changes any of them changes the version."""
    seen = await petitions.seen(session, period=scope.period, now=now, units=units)
    found = petitions.added(await queries.figures(session, scope), seen, scope.unit)
    found = catalogue.added(found, await catalogue.seen(session, units=units), scope, units)
    given = await reports.given(session, units=[scope.unit], periods=[scope.period])
    return reports.added(found, given, unit=scope.unit, period=scope.period, basis=scope.basis)


async def figures_of_all(
    session: AsyncSession,
    *,
    basis: Basis,
    periods: Sequence[Period],
    codes: Sequence[str],
    now: datetime,
    units: UnitTree,
) -> dict[Place, Figures]:
    """Of each of the units in each of the periods, without a version: the answers are hashed whole."""
    found = await boards.figures(session, basis=basis, periods=periods, units=codes)
    seen = await petitions.seen_in(session, periods=periods, now=now, units=units)
    found = {place: petitions.added(each, seen[place.period], place.unit) for place, each in found.items()}
    found = catalogue.added_to_all(found, await catalogue.seen(session, units=units), units)
    given = await reports.given(session, units=codes, periods=periods)
    by_key = {period.key: period for period in periods}
    return {
        place: reports.added(each, given, unit=place.unit, period=by_key[place.period], basis=basis)
        for place, each in found.items()
    }
