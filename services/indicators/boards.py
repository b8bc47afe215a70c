"""Figures of many units, or of many periods, in one query over the tally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.queries import MEASURED, OF_BASIS, OF_COUNTED, USED, Figures, measured_sql
from shared.calendar import Period
from shared.db import driver
from shared.vocabulary import BOTH, Basis

COUNTED = (
    "dossiers", "on_time", "done", "undetermined", "from_national", "from_sent_confirmed", "from_sent_unconfirmed",
)  # fmt: skip
"""What stands beside the scores."""

_COLUMNS = sorted(
    {*COUNTED, "online"}
    | {count.column for count in MEASURED}
    | {count.with_result for count in MEASURED if count.with_result}
)
# Each unit's range of the key is read once: its own cells and those below it.
_FIGURES = f"""
SELECT u.unit, t.period, {", ".join(f"sum(t.{column})::bigint" for column in COUNTED)},
       {", ".join(measured_sql(count) for count in MEASURED)}, {USED}, max(t.changed_at)
FROM unnest($3::text[]) AS u(unit) CROSS JOIN LATERAL (
     SELECT period, procedure_code, changed_at, {", ".join(_COLUMNS)}
       FROM tally WHERE {OF_BASIS} AND period = ANY($2::text[])
        AND unit_code >= u.unit AND unit_code < u.unit || '/'
        AND (unit_code = u.unit OR starts_with(unit_code, u.unit || '.'))) AS t
  LEFT JOIN (SELECT code, facts AS f FROM procedure) AS p ON p.code = t.procedure_code
GROUP BY u.unit, t.period
"""  # noqa: S608 - names of ours


class Place(NamedTuple):
    """A unit with what is below it, and the key of a period."""

    unit: str
    period: str


async def figures(
    session: AsyncSession, *, basis: Basis, periods: Sequence[Period], units: Sequence[str]
) -> dict[Place, Figures]:
    """As queries.figures, for each of the units in each of the periods; `counts` are those of COUNTED. Without a
    version: the answers are hashed whole."""
    keys = [period.key for period in periods]
    rows = await (await driver(session)).fetch(_FIGURES, [basis.value, BOTH], keys, units)
    zero = OF_COUNTED if basis is Basis.PROVINCIAL else ()
    found = {Place(unit, key): _NOTHING for unit in units for key in keys}
    for unit, key, *values in map(tuple, rows):
        counts = {
            column: 0 if column in zero else value for column, value in zip(COUNTED, values, strict=False)
        }
        measured = dict(zip(MEASURED, values[len(COUNTED) :], strict=False))
        used, as_of = values[-2:]
        found[Place(unit, key)] = Figures(counts, measured, as_of, "", frozenset(used))
    return found


_NOTHING = Figures(dict.fromkeys(COUNTED, 0), dict.fromkeys(MEASURED, 0), None, "")


def newest(found: Mapping[Place, Figures]) -> datetime | None:
    """Commit time of the newest change in any of them."""
    return max((each.as_of for each in found.values() if each.as_of is not None), default=None)


def together(found: Sequence[Figures]) -> dict[str, int]:
    """The counts of units that are not below each other, added up."""
    return {column: sum(each.counts[column] for each in found) for column in COUNTED}
