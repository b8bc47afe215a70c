"""Rebuild all assessments and the tally from the copies (`chiso recount`), and say whether they agree."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.rules.measures import COLUMNS, COUNTS, SUMS
from services.indicators.service import assess_codes
from shared.db import driver

BATCH = 5_000
"""Dossiers of one pass; bounds the memory."""

_NEXT = """
(SELECT DISTINCT code FROM dossier WHERE code > $1 ORDER BY code LIMIT $2)
UNION (SELECT DISTINCT code FROM assessment WHERE code > $1 ORDER BY code LIMIT $2)
ORDER BY code LIMIT $2
"""
_KEY = "basis, period, unit_code, procedure_code"
_COLUMNS = ", ".join(COLUMNS)
_FILTERED = ", ".join(
    [
        *(
            f"count(*) FILTER (WHERE bits & {each.mask} = {each.value}) AS {column}"
            for column, each in COUNTS.items()
        ),
        *(f"coalesce(sum({column}), 0)::bigint AS {column}" for column in SUMS),
    ]
)
_COUNTED = f"SELECT {_KEY}, {_FILTERED} FROM assessment_period GROUP BY {_KEY}"  # noqa: S608 - names of ours

_REBUILD = f"""
INSERT INTO tally ({_KEY}, {_COLUMNS}, changed_at)
SELECT {_KEY}, {_COLUMNS}, clock_timestamp() FROM ({_COUNTED}) AS counted ORDER BY {_KEY}
ON CONFLICT ({_KEY}) DO UPDATE SET
    {", ".join(f"{column} = excluded.{column}" for column in COLUMNS)},
    changed_at = greatest(tally.changed_at + interval '1 microsecond', excluded.changed_at)
WHERE ({", ".join(f"tally.{column}" for column in COLUMNS)})
    IS DISTINCT FROM ({", ".join(f"excluded.{column}" for column in COLUMNS)})
"""  # noqa: S608
_EMPTY = f"""
UPDATE tally t SET {", ".join(f"{column} = 0" for column in COLUMNS)},
    changed_at = greatest(t.changed_at + interval '1 microsecond', clock_timestamp())
WHERE ({" OR ".join(f"t.{column} <> 0" for column in COLUMNS)}) AND NOT EXISTS (
    SELECT FROM assessment_period p WHERE p.basis = t.basis AND p.period = t.period
    AND p.unit_code = t.unit_code AND p.procedure_code = t.procedure_code)
"""  # noqa: S608
_COMPARE = f"""
SELECT {_KEY}, {", ".join(f"coalesce(t.{column}, 0), coalesce(c.{column}, 0)" for column in COLUMNS)}
FROM tally t FULL JOIN ({_COUNTED}) c USING ({_KEY})
WHERE {" OR ".join(f"coalesce(t.{column}, 0) <> coalesce(c.{column}, 0)" for column in COLUMNS)}
ORDER BY {_KEY}
"""  # noqa: S608


class Difference(NamedTuple):
    """One count of one cell: what the tally says, what its dossiers add up to."""

    basis: str
    period: str
    unit_code: str
    procedure_code: str
    column: str
    tally: int
    counted: int


async def recount(session: AsyncSession, *, now: datetime) -> int:
    """Judge every dossier anew and rebuild the tally, in the session's transaction. Returns the number of
    dossiers. Workers wait meanwhile; readers see the old figures until it is committed."""
    connection = await driver(session)
    await connection.execute("LOCK TABLE assessment IN EXCLUSIVE MODE")
    last, done = "", 0
    while codes := [row["code"] for row in await connection.fetch(_NEXT, last, BATCH)]:
        await assess_codes(session, codes=codes, now=now, tally=False)
        last, done = codes[-1], done + len(codes)
    await connection.execute(_REBUILD)
    await connection.execute(_EMPTY)
    return done


async def check(session: AsyncSession) -> list[Difference]:
    """Where the tally is not the sum of its dossiers: never, or there is a fault. Sees one moment: one
    statement."""
    connection = await driver(session)
    found = []
    for row in await connection.fetch(_COMPARE):
        values = tuple(row)
        for place, column in enumerate(COLUMNS):
            tally, counted = values[4 + 2 * place : 6 + 2 * place]
            if tally != counted:
                basis, period, unit, procedure = values[:4]
                found.append(Difference(basis, period, unit, procedure, column, tally, counted))
    return found
