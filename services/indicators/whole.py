"""All figures of units and periods, whatever they are counted from: dossiers by the tally, petitions on reading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import boards, petitions, queries
from services.indicators.boards import Place
from services.indicators.queries import Figures, Scope
from services.indicators.rules.units import UnitTree
from shared.calendar import Period
from shared.vocabulary import Basis


async def figures(session: AsyncSession, scope: Scope, *, now: datetime, units: UnitTree) -> Figures:
    """Of one unit in one period. What changes any of them changes the version."""
    seen = await petitions.seen(session, period=scope.period, now=now, units=units)
    return petitions.added(await queries.figures(session, scope), seen, scope.unit)


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
    return {place: petitions.added(each, seen[place.period], place.unit) for place, each in found.items()}
