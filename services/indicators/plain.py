"""Judges dossiers in bulk for a recount: many share a shape, and one of each shape is judged by the pure core.

A shape is all that a judgement looks at, with the moments replaced by their order (gathered.py): the months of receipt,
end, appointment, request for more papers and first petition, and which of them comes first. What the core says of one
dossier holds for all of its shape, with their own unit, procedure and moments in the places of its own. The core stays
the only place that knows the rules: what SQL supposes here (which copy counts, when it ended) is held against what the
core says of the shape's dossier. A shape of which they differ is left, like every dossier that is not plain, to be
judged by itself. That a shape is all that a judgement looks at is what tests/indicators/test_plain.py shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from services.indicators.copies import Both, facts_of, unit_tree
from services.indicators.gathered import PLACES, SHAPE, gather
from services.indicators.rules.assess import Contribution, Judged, assess_both
from services.indicators.rules.units import UnitTree
from shared.calendar import TZ, Period, local_day, working_sessions
from shared.db import rows_to_columns
from shared.reasons import Bit
from shared.vocabulary import Basis

_TICK = timedelta(microseconds=1)


def _worked(at: str, day: str, sessions: int) -> str:
    """Working time from the first of the days until `at`."""
    parts = (
        f"greatest(least({at} - {day}.starts_at, {day}.until{each}) - {day}.from{each}, interval '0')"
        for each in range(sessions)
    )
    return " + ".join([f"{day}.worked", *parts])


_HEADS = (
    "counted_source text, counted_open boolean, counted_wakes boolean,"
    " provincial_source text, provincial_open boolean, provincial_wakes boolean"
)
_TABLES = f"""
CREATE TEMP TABLE shape ({", ".join(f"{each.strip()} bigint" for each in SHAPE.split(","))}, no int, {_HEADS})
    ON COMMIT DROP;
CREATE TEMP TABLE part (no int, basis text, period text, bits bigint, reason text, ends int, due boolean,
    timed boolean) ON COMMIT DROP;
CREATE TEMP TABLE standing (own text, period text, unit_code text) ON COMMIT DROP;
"""


def _of(table: str) -> str:
    return ", ".join(f"{table}.{each}" for each in SHAPE.split(", "))


def _judge(sessions: int) -> str:
    columns = "".join(f", from{each}, until{each}" for each in range(sessions))
    arrays = "".join(f", ${each}::interval[]" for each in range(4, 4 + 2 * sessions))
    return f"""
CREATE TEMP TABLE judged ON COMMIT DROP AS
WITH working_day AS MATERIALIZED (
  SELECT * FROM unnest($1::date[], $2::timestamptz[], $3::interval[]{arrays}) AS w(day, starts_at, worked{columns}))
SELECT g.code, s.no, coalesce(g.unit_code, '') AS own, coalesce(procedure_code, '') AS procedure_code, due_at,
       told_end, asked_at,
       CASE WHEN end_at >= received_at THEN floor(extract(epoch FROM end_at - received_at))::int END AS elapsed,
       CASE WHEN end_at >= received_at
            THEN floor(extract(epoch FROM {_worked("end_at", "l", sessions)}
              - ({_worked("received_at", "f", sessions)})))::int END AS working
  FROM gathered g LEFT JOIN shape s ON plain AND ({_of("g")}) = ({_of("s")})
       LEFT JOIN working_day f ON f.day = (received_at AT TIME ZONE '{TZ.key}')::date
       LEFT JOIN working_day l ON l.day = (end_at AT TIME ZONE '{TZ.key}')::date
"""  # noqa: S608


_TOLD = (
    "st.unit_code, j.procedure_code, c.bits, c.reason, CASE c.ends WHEN 1 THEN j.told_end WHEN 2 THEN j.asked_at END, "
) + ", ".join(
    f"CASE WHEN c.{flag} THEN j.{column} END"
    for flag, column in (("due", "due_at"), ("timed", "elapsed"), ("timed", "working"))
)
"""What the shape's parts and the dossier's own say: the columns of Contribution, in their order."""
_STORED = ", ".join(f"a.{column}" for column in Contribution._fields)
_PARTS = "JOIN part c ON c.no = j.no JOIN standing st ON st.own = j.own AND st.period = c.period"
_LOOK = f"""
SELECT count(*) FILTER (WHERE c.no IS NULL) AS gone, count(*) FILTER (WHERE c.no IS NOT NULL) AS there,
       count(*) FILTER (WHERE c.no IS NOT NULL AND ({_STORED}) IS DISTINCT FROM ({_TOLD})) AS other
  FROM assessment_period a JOIN judged j ON j.code = a.code AND j.no IS NOT NULL
       LEFT JOIN part c ON c.no = j.no AND c.basis = a.basis AND c.period = a.period
       LEFT JOIN standing st ON st.own = j.own AND st.period = a.period
"""  # noqa: S608
_GONE = """
DELETE FROM assessment_period a USING judged j WHERE j.code = a.code AND j.no IS NOT NULL
   AND NOT EXISTS (SELECT FROM part c WHERE c.no = j.no AND c.basis = a.basis AND c.period = a.period)
"""
_OTHER = f"""
UPDATE assessment_period a SET ({", ".join(Contribution._fields)}) = ROW({_TOLD})
  FROM judged j {_PARTS}
 WHERE j.code = a.code AND c.basis = a.basis AND c.period = a.period AND ({_STORED}) IS DISTINCT FROM ({_TOLD})
"""  # noqa: S608
_NEW = f"""
INSERT INTO assessment_period (code, basis, period, {", ".join(Contribution._fields)})
SELECT j.code, c.basis, c.period, {_TOLD} FROM judged j {_PARTS}
 WHERE NOT EXISTS (SELECT FROM assessment_period a WHERE (a.code, a.basis, a.period) = (j.code, c.basis, c.period))
 ORDER BY j.code, c.basis, c.period
"""  # noqa: S608
_HEAD = f"""
FROM judged j JOIN shape s USING (no) CROSS JOIN LATERAL (VALUES
  ('{Basis.COUNTED.value}', s.counted_source, s.counted_open, s.counted_wakes),
  ('{Basis.PROVINCIAL.value}', s.provincial_source, s.provincial_open, s.provincial_wakes))
    AS t(basis, source, open, wakes)
"""
_WAKE = "CASE WHEN t.wakes THEN j.due_at + interval '1 microsecond' END"
_HEADS_CHANGED = f"""
CREATE TEMP TABLE head ON COMMIT DROP AS
SELECT j.code, t.basis, t.source, t.open, {_WAKE} AS wake_at, a.wake_at AS was, a.code IS NULL AS new
  {_HEAD} LEFT JOIN assessment a ON a.code = j.code AND a.basis = t.basis
 WHERE a.code IS NULL OR (a.source, a.open, a.wake_at) IS DISTINCT FROM (t.source, t.open, {_WAKE})
    OR a.assessed_at IS NULL AND t.basis = '{Basis.COUNTED.value}'
"""  # noqa: S608
_HEADS_NEW = """
INSERT INTO assessment (code, basis, source, open, wake_at, assessed_at)
SELECT code, basis, source, open, wake_at, $1 FROM head WHERE new ORDER BY code, basis
"""
_HEADS_OTHER = """
UPDATE assessment a SET source = h.source, open = h.open, wake_at = h.wake_at, assessed_at = $1
  FROM head h WHERE NOT h.new AND h.code = a.code AND h.basis = a.basis
"""
_WAKES = "SELECT DISTINCT code, wake_at FROM head WHERE wake_at IS DISTINCT FROM was AND wake_at IS NOT NULL"
_LEFT = """
SELECT code FROM judged WHERE no IS NULL
UNION ALL
SELECT a.code FROM assessment a WHERE basis = $1 AND NOT EXISTS (SELECT FROM judged j WHERE j.code = a.code)
ORDER BY 1
"""


class Plain(NamedTuple):
    """What is left to do. left: the codes to be judged one by one, in order; wakes: to be queued."""

    judged: int
    left: list[str]
    wakes: list[tuple[str, datetime]]


async def judge_plain(connection: asyncpg.Connection, now: datetime) -> Plain:
    """Store what the plain dossiers contribute, where it is not stored so already. The caller's transaction keeps all
    others off `assessment`; the tally is the caller's to rebuild."""
    units = await unit_tree(connection)
    await connection.execute(_TABLES)
    await gather(connection, now)
    shapes = await connection.fetch(
        f"SELECT {SHAPE}, min(code) AS code FROM gathered WHERE plain GROUP BY {SHAPE} ORDER BY count(*) DESC, code"  # noqa: S608
    )
    await _parts(connection, shapes, now, units)
    days = await connection.fetchrow("SELECT min(received_at), max(end_at) FROM gathered WHERE plain")
    await _stand(connection, units)
    sessions, columns = _working_days(days[0], days[1], now)
    await connection.execute(_judge(sessions), *columns)
    await connection.execute("ANALYZE judged; ANALYZE shape; ANALYZE part; ANALYZE standing")
    judged = await connection.fetchval("SELECT count(no) FROM judged")
    expected = await connection.fetchval("SELECT count(*) FROM judged JOIN part USING (no)")
    look = await connection.fetchrow(_LOOK)
    if look["gone"]:
        await connection.execute(_GONE)
    if look["other"]:
        await connection.execute(_OTHER)
    if look["there"] < expected:
        await connection.execute(_NEW)
    await connection.execute(_HEADS_CHANGED)
    await connection.execute(_HEADS_NEW, now)
    await connection.execute(_HEADS_OTHER, now)
    wakes = [(row[0], row[1]) for row in await connection.fetch(_WAKES)]
    left = [row[0] for row in await connection.fetch(_LEFT, Basis.COUNTED.value)]
    await connection.execute("DROP TABLE gathered, shape, part, standing, judged, head")
    return Plain(judged, left, wakes)


async def _parts(
    connection: asyncpg.Connection, shapes: Sequence[asyncpg.Record], now: datetime, units: UnitTree
) -> None:
    """Judge a dossier of each shape; what holds for the whole shape goes into `shape` and `part`."""
    codes = [row["code"] for row in shapes]
    own = {
        row["code"]: row
        for row in await connection.fetch("SELECT * FROM gathered WHERE code = ANY($1::text[])", codes)
    }
    facts = await facts_of(connection, codes)
    heads: list[tuple[Any, ...]] = []
    parts: list[tuple[Any, ...]] = []
    for number, shape in enumerate(shapes):
        code = shape["code"]
        judged = assess_both(*facts[code], now, units)
        if _as_supposed(own[code], facts[code], judged, units):
            heads.append((*tuple(shape)[:-1], number, *_head(judged)))
            parts += [
                (number, basis, period, *_part(each)) for (basis, period), each in judged.stored.items()
            ]
    await connection.copy_records_to_table("shape", records=heads)
    await connection.copy_records_to_table("part", records=parts)


def _as_supposed(own: asyncpg.Record, facts: Both, judged: Judged, units: UnitTree) -> bool:
    """Whether the core looked at the copy and the moments that SQL supposes, and says nothing else of them."""
    copy = facts.counted.copy
    if (copy and copy.portal) is not PLACES.get(own["place"]):
        return False
    wakes = (None, own["due_at"] and own["due_at"] + _TICK)
    ends = (None, own["told_end"], own["asked_at"])
    return all(each.wake_at in wakes for each in (judged.counted, judged.provincial)) and all(
        each.unit_code == units.standing_for(own["unit_code"], Period.parse(period).last_day)
        and each.procedure_code == (own["procedure_code"] or "")
        and each.end_at == ends[_ends(each)]
        and each.deadline_at in (None, own["due_at"])
        for (_, period), each in judged.stored.items()
    )


def _head(judged: Judged) -> tuple[Any, ...]:
    return tuple(
        value
        for head in (judged.counted, judged.provincial)
        for value in (head.source.value, head.open, head.wake_at is not None)
    )


def _ends(each: Contribution) -> int:
    """Which end is compared: 0: the period's, 1: the dossier's own, 2: the request for more papers."""
    return 0 if each.end_at is None else 1 if each.bits & Bit.DONE.value else 2


def _part(each: Contribution) -> tuple[Any, ...]:
    """Which moments are told; the dossier's own stand for them."""
    return (
        each.bits,
        each.reason,
        _ends(each),
        each.deadline_at is not None,
        each.elapsed_seconds is not None,
    )


async def _stand(connection: asyncpg.Connection, units: UnitTree) -> None:
    """Who stands for each unit in each period."""
    own = [row[0] for row in await connection.fetch("SELECT DISTINCT unit_code FROM gathered WHERE plain")]
    periods = [Period.parse(row[0]) for row in await connection.fetch("SELECT DISTINCT period FROM part")]
    await connection.copy_records_to_table(
        "standing",
        records=[
            (code or "", period.key, units.standing_for(code, period.last_day))
            for code in own
            for period in periods
        ],
    )


def _working_days(
    first: datetime | None, last: datetime | None, now: datetime
) -> tuple[int, list[list[Any]]]:
    """(the most sessions of a day, columns: day, its first moment, working time before it, begin and end of each
    session): of all days from the first receipt to the last end."""
    day, until = local_day(first or now), local_day(last or now)
    rows: list[tuple[date, datetime, timedelta, tuple[tuple[timedelta, timedelta], ...]]] = []
    worked = timedelta()
    while day <= until:
        sessions = working_sessions(day)
        rows.append((day, datetime(day.year, day.month, day.day, tzinfo=TZ), worked, sessions))
        worked += sum((end - begin for begin, end in sessions), timedelta())
        day += timedelta(days=1)
    most = max((len(row[3]) for row in rows), default=0)
    none = (timedelta(), timedelta())
    flat = [
        (
            *row[:3],
            *(moment for each in range(most) for moment in (row[3][each] if each < len(row[3]) else none)),
        )
        for row in rows
    ]
    return most, rows_to_columns(flat, 3 + 2 * most)
