"""Assess dossiers and keep the tally by differences (architecture.md §4).

A worker locks the head rows of its codes in key order, judges them with the pure core, writes what differs
and adds the difference to the tally, in key order, in one transaction: two workers on one dossier wait for
each other, and cost follows the dossiers taken, not those that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.copies import facts_of, unit_tree
from services.indicators.rules.assess import Assessment, Contribution, assess
from services.indicators.rules.measures import COLUMNS, added
from shared import queue
from shared.calendar import Period, period_of
from shared.db import driver, rows_to_columns
from shared.reasons import Source
from shared.vocabulary import Basis, Consumer

_CLOCKS_APART = timedelta(days=1)
"""By how much two machines' clocks may differ; what was written from further ahead was a wrong clock."""

Key = tuple[str, str, str]
"""Code, basis, period."""


class _Head(NamedTuple):
    code: str
    basis: str
    source: str
    open: bool
    assessed_at: datetime
    wake_at: datetime | None


async def assess_codes(
    session: AsyncSession, *, codes: Sequence[str], now: datetime, tally: bool = True
) -> None:
    """Judge these dossiers (distinct codes, in order) on both bases and store what differs. Without `tally`
    the counts are left for the caller to rebuild. The session's transaction holds the locks until it
    ends."""
    connection = await driver(session)
    wakes = await _lock(connection, codes)
    now = await _not_before_opened(connection, now)
    units = await unit_tree(connection)
    facts = await facts_of(connection, codes)
    old = await _contributions(connection, codes)
    assessed = {key: assess(each, now, units) for key, each in facts.items()}
    new = {
        (code, basis.value, period): contribution
        for (code, basis), assessment in assessed.items()
        for period, contribution in assessment.contributions.items()
    }
    await _write(connection, old, new)
    await _write_heads(connection, assessed, now)
    if tally:
        await _add(connection, differences(old, new))
    coming = {
        (code, assessment.wake_at)
        for (code, basis), assessment in assessed.items()
        if assessment.wake_at is not None and assessment.wake_at != wakes[code, basis.value]
    }
    await queue.enqueue_wake(session, sorted(coming), consumer=Consumer.INDICATORS, now=now)


def differences(
    old: Mapping[Key, Contribution], new: Mapping[Key, Contribution]
) -> dict[tuple[str, str, str, str], list[int]]:
    """Cell (basis, period, unit, procedure) → what is to be added to each of COLUMNS. A cell whose dossiers
    changed but whose counts did not is there with zeros: its list changed, so its time does."""
    cells: dict[tuple[str, str, str, str], list[int]] = {}
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        for sign, each in ((-1, before), (1, after)):
            if each is not None:
                cell = cells.setdefault(
                    (key[1], key[2], each.unit_code, each.procedure_code), [0] * len(COLUMNS)
                )
                for place, count in enumerate(added(each.bits, each.elapsed_seconds, each.working_seconds)):
                    cell[place] += sign * count
    return cells


async def _lock(
    connection: asyncpg.Connection, codes: Sequence[str]
) -> dict[tuple[str, str], datetime | None]:
    """Make sure of the head rows and lock them, in key order. Returns the wake that each has written."""
    await connection.execute(
        "INSERT INTO assessment (code, basis, source, open) SELECT code, basis, $3, false"
        " FROM unnest($1::text[]) AS c(code), unnest($2::text[]) AS b(basis)"
        ' ORDER BY code COLLATE "C", basis COLLATE "C" ON CONFLICT (code, basis) DO NOTHING',
        codes,
        [basis.value for basis in Basis],
        Source.NO_COPY.value,
    )
    rows = await connection.fetch(
        "SELECT code, basis, wake_at FROM assessment WHERE code = ANY($1::text[])"
        " ORDER BY code, basis FOR UPDATE",
        codes,
    )
    return {(code, basis): wake_at for code, basis, wake_at in rows}


async def _not_before_opened(connection: asyncpg.Connection, now: datetime) -> datetime:
    """`now`, but not before the newest opened month. Its job waited for every worker that had locked rows
    and has carried in what it saw; a worker that read its clock just before and came to its rows just after
    would leave its dossiers out of the month. Must run after _lock. A month that a wrong clock opened days
    ahead is not believed."""
    newest = await connection.fetchval(
        "SELECT max(period) FROM period_opened WHERE opened_at <= $1", now + _CLOCKS_APART
    )
    return now if newest is None else max(now, Period.parse(newest).start)


async def _contributions(connection: asyncpg.Connection, codes: Sequence[str]) -> dict[Key, Contribution]:
    rows = await connection.fetch(
        "SELECT code, basis, period, unit_code, procedure_code, bits, reason, end_at, deadline_at,"
        " elapsed_seconds, working_seconds FROM assessment_period WHERE code = ANY($1::text[])",
        codes,
    )
    return {(row[0], row[1], row[2]): Contribution(*tuple(row)[3:]) for row in rows}


async def _write(
    connection: asyncpg.Connection, old: Mapping[Key, Contribution], new: Mapping[Key, Contribution]
) -> None:
    gone = sorted(old.keys() - new.keys())
    if gone:
        await connection.execute(
            "DELETE FROM assessment_period p USING unnest($1::text[], $2::text[], $3::text[])"
            " AS t(code, basis, period) WHERE p.code = t.code AND p.basis = t.basis AND p.period = t.period",
            *rows_to_columns(list(gone), 3),
        )
    changed: list[tuple[Any, ...]] = [(*key, *each) for key, each in new.items() if old.get(key) != each]
    if changed:
        changed.sort(key=lambda row: row[:3])
        await connection.execute(
            "INSERT INTO assessment_period"
            " (code, basis, period, unit_code, procedure_code, bits, reason, end_at, deadline_at,"
            " elapsed_seconds, working_seconds)"
            " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],"
            " $7::text[], $8::timestamptz[], $9::timestamptz[], $10::int[], $11::int[]) AS t(code, basis, period)"
            ' ORDER BY code COLLATE "C", basis COLLATE "C", period COLLATE "C"'
            " ON CONFLICT (code, basis, period) DO UPDATE SET unit_code = excluded.unit_code,"
            " procedure_code = excluded.procedure_code, bits = excluded.bits, reason = excluded.reason,"
            " end_at = excluded.end_at, deadline_at = excluded.deadline_at,"
            " elapsed_seconds = excluded.elapsed_seconds, working_seconds = excluded.working_seconds",
            *rows_to_columns(changed, 11),
        )


async def _write_heads(
    connection: asyncpg.Connection, assessed: Mapping[tuple[str, Basis], Assessment], now: datetime
) -> None:
    heads: list[tuple[Any, ...]] = [
        _Head(code, basis.value, each.source.value, each.open, now, each.wake_at)
        for (code, basis), each in assessed.items()
    ]
    await connection.execute(
        "UPDATE assessment a SET source = t.source, open = t.open, assessed_at = t.assessed_at,"
        " wake_at = t.wake_at FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[],"
        " $5::timestamptz[], $6::timestamptz[])"
        " AS t(code, basis, source, open, assessed_at, wake_at) WHERE a.code = t.code AND a.basis = t.basis",
        *rows_to_columns(heads, 6),
    )


_COLUMNS = ", ".join(COLUMNS)
_ARRAYS = ", ".join(f"${place}::bigint[]" for place in range(5, 5 + len(COLUMNS)))
_ADD = f"""
INSERT INTO tally (basis, period, unit_code, procedure_code, {_COLUMNS}, changed_at)
SELECT t.*, ${5 + len(COLUMNS)} FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], {_ARRAYS})
    AS t(basis, period, unit_code, procedure_code, {_COLUMNS})
ORDER BY basis COLLATE "C", period COLLATE "C", unit_code COLLATE "C", procedure_code COLLATE "C"
ON CONFLICT (basis, period, unit_code, procedure_code) DO UPDATE SET
    {", ".join(f"{column} = tally.{column} + excluded.{column}" for column in COLUMNS)},
    changed_at = greatest(tally.changed_at + interval '1 microsecond', excluded.changed_at)
"""  # noqa: S608 - column names of ours
"""A cell's time grows with every change, so that a figure's version does, whatever two workers' clocks
say."""


async def _add(connection: asyncpg.Connection, cells: Mapping[tuple[str, str, str, str], list[int]]) -> None:
    if cells:
        rows = [(*cell, *counts) for cell, counts in sorted(cells.items())]
        at = await connection.fetchval("SELECT clock_timestamp()")
        await connection.execute(_ADD, *rows_to_columns(rows, 4 + len(COLUMNS)), at)


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
