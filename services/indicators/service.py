"""Assess dossiers and keep the tally by differences (architecture.md §4).

A worker locks the head rows of its codes in key order, judges them with the pure core, writes what differs
and adds the difference to the tally, in key order, in one transaction: two workers on one dossier wait for
each other, and cost follows the dossiers taken, not those that are there.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import history
from services.indicators.copies import facts_of, unit_tree
from services.indicators.rules.assess import Head, Judged, assess_both
from services.indicators.rules.measures import COLUMNS, added
from shared import queue
from shared.calendar import Period, period_of
from shared.db import driver, rows_to_columns, spelt
from shared.reasons import Source
from shared.vocabulary import Basis, Consumer

_CLOCKS_APART = timedelta(days=1)
"""By how much two machines' clocks may differ; what was written from further ahead was a wrong clock."""

Row = tuple[Any, ...]
"""A row of assessment_period: code, basis, period (its key), then a Contribution."""
Cell = tuple[str, str, str, str]
"""Basis, period, unit, procedure: Row[1:5]."""
_BITS, _SUMS = 5, slice(9, 11)
_COUNTED, _PROVINCIAL = Basis.COUNTED.value, Basis.PROVINCIAL.value


async def assess_codes(
    session: AsyncSession, *, codes: Sequence[str], now: datetime, tally: bool = True
) -> None:
    """Judge these dossiers (distinct codes, in order) on both bases and store what differs. Without `tally`
    the counts are left for the caller to rebuild, who holds the whole table: then no row is locked, and heads are
    written only where they say something new. The session's transaction holds the locks until it ends."""
    connection = await driver(session)
    kept = await _lock(connection, codes, rows=tally)
    # In UTC, as the moments that it is compared with.
    now = (await not_before_opened(connection, now)).astimezone(UTC)
    units = await unit_tree(connection)
    facts = await facts_of(connection, codes)
    old = await contributions(connection, codes)
    judged = {code: assess_both(*each, now, units) for code, each in facts.items()}
    changes = changed(old, rows_of(judged))
    await _write(connection, changes)
    await history.write(connection, _overdue(old, judged, changes, now), at=now)
    if tally:
        await _add(connection, differences(changes))
    await _write_heads(connection, kept, judged, now, all_counted=tally)
    coming = {
        (code, head.wake_at)
        for code, each in judged.items()
        for basis, head in ((_COUNTED, each.counted), (_PROVINCIAL, each.provincial))
        if head.wake_at is not None and head.wake_at != kept[code, basis].wake_at
    }
    await queue.enqueue_wake(session, sorted(coming), consumer=Consumer.INDICATORS, now=now)


def _overdue(
    old: Iterable[Row], judged: Mapping[str, Judged], changes: Iterable[Change], now: datetime
) -> list[history.OverdueChange]:
    """Of the dossiers with changed rows: who became overdue, who is it no more."""
    touched = {(was or row)[0] for was, row in changes}  # type: ignore[index]
    after = [
        (code, basis, period, *contribution)
        for code in touched
        for (basis, period), contribution in judged[code].stored.items()
    ]
    month = period_of("month", now).previous().key
    return history.overdue_changes([row for row in old if row[0] in touched], after, news_of=month)


async def has_copy(session: AsyncSession, code: str) -> bool:
    """Whether there is a dossier with this very code: somebody may have given one a word that is reserved."""
    return bool(await (await driver(session)).fetchval("SELECT 1 FROM dossier WHERE code = $1 LIMIT 1", code))


def rows_of(judged: Mapping[str, Judged]) -> list[Row]:
    return [
        (code, basis, period, *contribution)
        for code, each in judged.items()
        for (basis, period), contribution in each.stored.items()
    ]


Change = tuple[Row | None, Row | None]
"""A row before and after; None: there is none."""


def changed(before: Iterable[Row], after: Iterable[Row]) -> list[Change]:
    """The rows that are not the same before and after."""
    old = {row[:3]: row for row in before}
    found: list[Change] = []
    for row in after:
        was = old.pop(row[:3], None)
        if was != row:
            found.append((was, row))
    found += [(was, None) for was in old.values()]
    return found


def differences(changes: Iterable[Change]) -> dict[Cell, tuple[int, ...]]:
    """Cell → what is to be added to each of COLUMNS. A cell whose dossiers changed but whose counts did not is
    there with zeros: its list changed, so its time does."""
    cells: dict[Cell, tuple[int, ...]] = {}
    for was, row in changes:
        if was is not None and row is not None and was[1:5] == row[1:5]:
            moved = [(row[1:5], _moved(_told(was), _told(row)))]
        else:
            moved = [(row[1:5], _told(row))] if row is not None else []
            if was is not None:
                moved.append((was[1:5], _moved(_told(was), _ZEROS)))
        for cell, counts in moved:
            before = cells.get(cell)
            cells[cell] = counts if before is None else tuple(map(operator.add, before, counts))
    return cells


_ZEROS = (0,) * len(COLUMNS)


def _told(row: Row) -> tuple[int, ...]:
    return added(row[_BITS], *row[_SUMS])


def _moved(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(operator.sub, after, before))


_HEADS = "SELECT code, basis, source, open, wake_at FROM assessment WHERE code = ANY($1::text[])"
_LOCKED = " ORDER BY code, basis FOR UPDATE"


async def _lock(
    connection: asyncpg.Connection, codes: Sequence[str], *, rows: bool
) -> dict[tuple[str, str], Head]:
    """Make sure of the head rows (each code has both) and lock them, in key order, unless the caller has locked the
    table. Returns them as they are."""
    if rows:
        # Most are there. Where one is missing the locks are given back first: whoever makes rows while holding others
        # and whoever holds them in key order could wait for each other.
        await connection.execute("SAVEPOINT found")
        found = await heads(connection, codes, locked=True)
        if len(found) == len(codes) * len(Basis):
            await connection.execute("RELEASE SAVEPOINT found")
            return found
        await connection.execute("ROLLBACK TO SAVEPOINT found; RELEASE SAVEPOINT found")
    await connection.execute(
        "INSERT INTO assessment (code, basis, source, open) SELECT code, basis, $3, false"
        " FROM unnest($1::text[]) AS c(code), unnest($2::text[]) AS b(basis)"
        " WHERE NOT EXISTS (SELECT FROM assessment a WHERE a.code = c.code AND a.basis = b.basis)"
        ' ORDER BY code COLLATE "C", basis COLLATE "C" ON CONFLICT (code, basis) DO NOTHING',
        codes,
        [basis.value for basis in Basis],
        Source.NO_COPY.value,
    )
    return await heads(connection, codes, locked=rows)


async def heads(
    connection: asyncpg.Connection, codes: Sequence[str], *, locked: bool = False
) -> dict[tuple[str, str], Head]:
    """(code, basis) → the head row, where there is one."""
    found = await connection.fetch(_HEADS + _LOCKED if locked else _HEADS, codes)
    return {(row[0], row[1]): Head(*row[2:]) for row in map(tuple, found)}


async def not_before_opened(connection: asyncpg.Connection, now: datetime) -> datetime:
    """`now`, but not before the newest opened month. Its job waited for every worker that had locked rows
    and has carried in what it saw; a worker that read its clock just before and came to its rows just after
    would leave its dossiers out of the month. Must run after _lock. A month that a wrong clock opened days
    ahead is not believed."""
    newest = await connection.fetchval(
        "SELECT max(period) FROM period_opened WHERE opened_at <= $1", now + _CLOCKS_APART
    )
    return now if newest is None else max(now, Period.parse(newest).start)


async def contributions(connection: asyncpg.Connection, codes: Sequence[str]) -> list[Row]:
    rows = await connection.fetch(
        f"SELECT {_ROW} FROM assessment_period WHERE code = ANY($1::text[])",  # noqa: S608 - column names of ours
        codes,
    )
    return list(map(tuple, rows))


_ROW = (
    "code, basis, period, unit_code, procedure_code, bits, reason, end_at, deadline_at,"
    " elapsed_seconds, working_seconds"
)
_UNNESTED = (
    "unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[],"
    " $6::text::bigint[], $7::text::text[], $8::text::timestamptz[], $9::text::timestamptz[], $10::text::int[],"
    " $11::text::int[])"
)
_INSERT = f"""
INSERT INTO assessment_period ({_ROW}) SELECT * FROM {_UNNESTED} AS t({_ROW})
ORDER BY code COLLATE "C", basis COLLATE "C", period COLLATE "C"
"""  # noqa: S608
_UPDATE = f"""
UPDATE assessment_period p SET unit_code = t.unit_code, procedure_code = t.procedure_code, bits = t.bits,
    reason = t.reason, end_at = t.end_at, deadline_at = t.deadline_at, elapsed_seconds = t.elapsed_seconds,
    working_seconds = t.working_seconds
FROM {_UNNESTED} AS t({_ROW}) WHERE p.code = t.code AND p.basis = t.basis AND p.period = t.period
"""  # noqa: S608
_DELETE = """
DELETE FROM assessment_period p
USING unnest($1::text::text[], $2::text::text[], $3::text::text[]) AS t(code, basis, period)
WHERE p.code = t.code AND p.basis = t.basis AND p.period = t.period
"""


async def _write(connection: asyncpg.Connection, changes: Sequence[Change]) -> None:
    """Whoever holds the head rows is the only one at these: what is there and what is not is known."""
    gone = [was[:3] for was, row in changes if row is None and was is not None]
    new = [row for was, row in changes if was is None and row is not None]
    moved = [row for was, row in changes if was is not None and row is not None]
    if gone:
        await connection.execute(_DELETE, *map(spelt, rows_to_columns(gone, 3)))
    if moved:
        await connection.execute(_UPDATE, *map(spelt, rows_to_columns(moved, 11)))
    if new:
        await connection.execute(_INSERT, *map(spelt, rows_to_columns(new, 11)))


async def _write_heads(
    connection: asyncpg.Connection,
    old: Mapping[tuple[str, str], Head],
    judged: Mapping[str, Judged],
    now: datetime,
    *,
    all_counted: bool,
) -> None:
    """The moment of the judgement stands in the row of the counted basis, for both; the other is written only where it
    says something new. A row that was just made says NO_COPY: of the counted basis it is written for its moment."""
    heads = [
        (code, _COUNTED, *each.counted, now)
        for code, each in judged.items()
        if all_counted or each.counted != old[code, _COUNTED] or each.counted.source is Source.NO_COPY
    ]
    heads += [
        (code, _PROVINCIAL, *each.provincial, now)
        for code, each in judged.items()
        if each.provincial != old[code, _PROVINCIAL]
    ]
    await connection.execute(
        "UPDATE assessment a SET source = t.source, open = t.open, assessed_at = t.assessed_at,"
        " wake_at = t.wake_at FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::boolean[],"
        " $5::text::timestamptz[], $6::text::timestamptz[])"
        " AS t(code, basis, source, open, wake_at, assessed_at) WHERE a.code = t.code AND a.basis = t.basis",
        *map(spelt, rows_to_columns(heads, 6)),
    )


def _add_to(columns: Sequence[str]) -> str:
    """SQL that adds to these columns; cells that are new get zeros in the others."""
    arrays = "".join(f", ${place}::text::bigint[]" for place, _ in enumerate(columns, start=6))
    told = "".join(f", {column}" for column in columns)
    adding = "".join(f"{column} = tally.{column} + excluded.{column}, " for column in columns)
    others = [column for column in COLUMNS if column not in columns]
    return f"""
INSERT INTO tally (changed_at, basis, period, unit_code, procedure_code{told}{"".join(f", {each}" for each in others)})
SELECT $1::timestamptz, t.*{", 0" * len(others)}
  FROM unnest($2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[]{arrays})
    AS t(basis, period, unit_code, procedure_code{told})
ORDER BY basis COLLATE "C", period COLLATE "C", unit_code COLLATE "C", procedure_code COLLATE "C"
ON CONFLICT (basis, period, unit_code, procedure_code) DO UPDATE SET {adding}
    changed_at = greatest(tally.changed_at + interval '1 microsecond', excluded.changed_at)
"""  # noqa: S608 - column names of ours


async def _add(connection: asyncpg.Connection, cells: Mapping[Cell, tuple[int, ...]]) -> None:
    """A cell's time grows with every change, so that a figure's version does, whatever two workers' clocks say. Of many
    changes most columns know nothing: only those that something is added to are sent."""
    if not cells:
        return
    keys = sorted(cells)
    counts = zip(*(cells[key] for key in keys), strict=True)
    moved = {column: each for column, each in zip(COLUMNS, counts, strict=True) if any(each)}
    at = await connection.fetchval("SELECT clock_timestamp()")
    columns = [*rows_to_columns(keys, 4), *moved.values()]
    await connection.execute(_add_to(tuple(moved)), at, *map(spelt, columns))


async def open_period(session: AsyncSession, *, now: datetime) -> int | None:
    """The first moment of a month (and so of quarters and years): hand every open dossier to the workers, who
    carry it in. Works off any number of missed months, for an assessment covers them all. Returns the
    number of dossiers, None where the month has been opened already.

    It waits for the workers that hold rows, and keeps new ones waiting, so that none slips between. Months
    that a wrong clock opened ahead are opened again in their time.
    """
    connection = await driver(session)
    month = period_of("month", now).key
    await connection.execute("DELETE FROM period_opened WHERE opened_at > $1", now + _CLOCKS_APART)
    if await connection.fetchval("SELECT 1 FROM period_opened WHERE period = $1", month):
        return None
    mine = await connection.fetchval(
        "INSERT INTO period_opened (period, opened_at, carried) VALUES ($1, $2, 0)"
        " ON CONFLICT (period) DO NOTHING RETURNING period",
        month,
        now,
    )
    if mine is None:
        return None
    await connection.execute("LOCK TABLE assessment IN SHARE MODE")
    appending = queue.appending(
        "SELECT DISTINCT code FROM assessment WHERE open ORDER BY code",
        consumers=(Consumer.INDICATORS,),
        at="$1::timestamptz",
    )
    carried: int = await connection.fetchval(
        f"WITH queued AS ({appending} RETURNING cardinality(codes) AS n) SELECT coalesce(sum(n), 0) FROM queued",  # noqa: S608
        now,
    )
    await connection.execute("UPDATE period_opened SET carried = $2 WHERE period = $1", month, carried)
    await connection.execute("SELECT pg_notify($1, '')", queue.CHANNEL)
    return carried
