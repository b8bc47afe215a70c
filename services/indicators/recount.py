"""Rebuild all assessments and the tally from the copies (`chiso recount`), and say whether they agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.plain import judge_plain
from services.indicators.rules.measures import COLUMNS, SUMS
from services.indicators.service import assess_codes, not_before_opened
from shared import collecting, queue
from shared.db import driver
from shared.dossier_components import COUNTS
from shared.vocabulary import Consumer

BATCH = 25_000
"""Dossiers of one pass; bounds the memory."""

AT_LARGE = "SET LOCAL work_mem = '128MB'; SET LOCAL jit = off; SET LOCAL enable_mergejoin = off"
"""Whole tables are joined: in memory, and without compiling first."""

_KEY = "basis, period, unit_code, procedure_code"
_COLUMNS = ", ".join(COLUMNS)
_FILTERED = ", ".join(
    [
        *(
            f"coalesce(sum(n) FILTER (WHERE bits & {each.mask} = {each.value}), 0)::bigint AS {column}"
            for column, each in COUNTS.items()
        ),
        *(f"coalesce(sum({column}), 0)::bigint AS {column}" for column in SUMS),
    ]
)
# Of all combinations of bits only some dozens occur: each row is looked at once, each combination once for each count.
_COUNTED = f"""
SELECT {_KEY}, {_FILTERED} FROM (
  SELECT {_KEY}, bits, count(*) AS n, {", ".join(f"sum({column})::bigint AS {column}" for column in SUMS)}
    FROM assessment_period GROUP BY {_KEY}, bits) AS alike
GROUP BY {_KEY}
"""  # noqa: S608 - names of ours

_COUNT = f"CREATE TEMP TABLE counted ON COMMIT DROP AS {_COUNTED}"
_REBUILD = f"""
INSERT INTO tally ({_KEY}, {_COLUMNS}, changed_at)
SELECT {_KEY}, {_COLUMNS}, clock_timestamp() FROM counted c
 WHERE NOT EXISTS (SELECT FROM tally t WHERE ({", ".join(f"t.{each}" for each in _KEY.split(", "))})
                                           = ({", ".join(f"c.{each}" for each in _KEY.split(", "))})
   AND {" AND ".join(f"t.{column} = c.{column}" for column in COLUMNS)})
 ORDER BY {_KEY}
ON CONFLICT ({_KEY}) DO UPDATE SET
    {", ".join(f"{column} = excluded.{column}" for column in COLUMNS)},
    changed_at = greatest(tally.changed_at + interval '1 microsecond', excluded.changed_at)
"""  # noqa: S608
_EMPTY = f"""
UPDATE tally t SET {", ".join(f"{column} = 0" for column in COLUMNS)},
    changed_at = greatest(t.changed_at + interval '1 microsecond', clock_timestamp())
WHERE ({" OR ".join(f"t.{column} <> 0" for column in COLUMNS)})
  AND NOT EXISTS (SELECT FROM counted c WHERE (c.basis, c.period, c.unit_code, c.procedure_code)
                                            = (t.basis, t.period, t.unit_code, t.procedure_code))
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


class Progress(NamedTuple):
    """dossiers: judged so far, of `total`; known once those are judged that are alike."""

    dossiers: int
    total: int


async def recount(
    session: AsyncSession, *, now: datetime, on_progress: Callable[[Progress], None] = lambda _: None
) -> int:
    """Judge every dossier anew, in bulk where they are alike (plain.py), and rebuild the tally, in the session's
    transaction. Returns the number of dossiers. Workers wait meanwhile; readers see the old figures until it is
    committed."""
    connection = await driver(session)
    await connection.execute("LOCK TABLE assessment IN EXCLUSIVE MODE")
    await connection.execute(AT_LARGE)
    now = await not_before_opened(connection, now)
    plain = await judge_plain(connection, now)
    await queue.enqueue_wake(session, plain.wakes, consumer=Consumer.INDICATORS, now=now)
    total = plain.judged + len(plain.left)
    on_progress(Progress(plain.judged, total))
    for start in range(0, len(plain.left), BATCH):
        with collecting.put_off():
            await assess_codes(session, codes=plain.left[start : start + BATCH], now=now, tally=False)
        on_progress(Progress(min(plain.judged + start + BATCH, total), total))
    await connection.execute(_COUNT)
    await connection.execute(_REBUILD)
    await connection.execute(_EMPTY)
    await connection.execute("DROP TABLE counted")
    return total


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
