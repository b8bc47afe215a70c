"""Once a night: is the tally still the sum of its dossiers, and are the dossiers still judged as the rules say?

Everything is seen in one snapshot, and nothing is locked or mended: a difference is a fault of ours, which somebody
must look into before `chiso recount` wipes its traces. The whole tally is counted again from the assessments. The
assessments are judged again from the copies, a part each night, so that all of them are in TURN nights. In a snapshot
each must be right but those that the queue names: a change and its row in the queue come with one commit, a judgement
and the row's end with another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators import recount, service
from services.indicators.copies import facts_of, unit_tree
from services.indicators.rules.assess import assess_both
from shared import collecting, queue
from shared.calendar import local_day, period_of
from shared.db import driver, session_scope
from shared.vocabulary import Basis, Consumer

AT = time(2, 30)
"""When a night's check is due, in Việt Nam: after the day's first moment and its work."""
TURN = 30
"""In how many nights every dossier is judged again."""
BATCH = 1000
"""Dossiers judged at once; bounds the memory, and how long the worker beside it waits."""
_LOCK = 0x6368_6973_6F02
"""Advisory lock of whoever checks."""

_PART = """
SELECT code FROM (SELECT code FROM dossier UNION SELECT code FROM assessment) AS c
WHERE abs(hashtext(code)::bigint) % $1 = $2 EXCEPT
SELECT unnest(codes) FROM change WHERE consumer = $3 AND wake_at <= $4 ORDER BY 1
"""
_KEEP = """
INSERT INTO tally_check (night, checked_at, cells, drift_cells, dossiers, drift_dossiers)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (night) DO NOTHING
"""


class Checked(NamedTuple):
    """cells: of the tally; drift_cells: those that say something else than their dossiers, because the tally does or an
    assessment behind it; dossiers: judged again; drift_dossiers: those that the rules judge otherwise than is kept."""

    cells: int
    drift_cells: int
    dossiers: int
    drift_dossiers: int


def night_of(now: datetime) -> date:
    """The day whose check is the newest that is due."""
    return local_day(now - timedelta(hours=AT.hour, minutes=AT.minute))


async def check_if_due(engine: AsyncEngine, clock: Callable[[], datetime]) -> Checked | None:
    """Check unless this night's check is done or another worker is at it (then None), and keep what was found."""
    async with session_scope(engine) as session:
        connection = await driver(session)
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return None
        now = clock()
        night, month = night_of(now), period_of("month", now).key
        if await connection.fetchval("SELECT 1 FROM tally_check WHERE night = $1", night):
            return None
        if not await connection.fetchval("SELECT 1 FROM period_opened WHERE period = $1", month):
            return None  # the open dossiers are yet to be carried in
        async with session_scope(engine.execution_options(isolation_level="REPEATABLE READ")) as apart:
            found = await check(apart, clock, part=night.toordinal() % TURN)
        await connection.execute(_KEEP, night, clock(), *found)
    return found


async def check(
    session: AsyncSession, clock: Callable[[], datetime], *, part: int, of: int = TURN
) -> Checked:
    """Hold the tally against the assessments, and those of one part in `of` against the copies. The session's
    transaction is REPEATABLE READ and sees one moment; it changes nothing."""
    connection = await driver(session)
    await connection.execute(recount.AT_LARGE)
    # After the snapshot: what has turned by then stands in its queue.
    now = (await service.not_before_opened(connection, clock())).astimezone(UTC)
    cells = {
        (each.basis, each.period, each.unit_code, each.procedure_code)
        for each in await recount.check(session)
    }
    # One that broke its worker waits until then, with a judgement of before.
    upto = now + queue.POSTPONED
    codes = [row[0] for row in await connection.fetch(_PART, of, part, Consumer.INDICATORS.value, upto)]
    drifted = 0
    for start in range(0, len(codes), BATCH):
        with collecting.put_off():
            touched, differing = await _judged_again(connection, codes[start : start + BATCH], now)
        cells |= touched
        drifted += differing
    total = await connection.fetchval("SELECT count(*) FROM tally")
    return Checked(total, len(cells), len(codes), drifted)


async def _judged_again(
    connection: asyncpg.Connection, codes: Sequence[str], now: datetime
) -> tuple[set[service.Cell], int]:
    """(cells that would count otherwise, number of dossiers whose assessment says something else)."""
    units, facts = await unit_tree(connection), await facts_of(connection, codes)
    judged = {code: assess_both(*each, now, units) for code, each in facts.items()}
    changes = service.changed(await service.contributions(connection, codes), service.rows_of(judged))
    heads = await service.heads(connection, codes)
    differing = {row[0] for change in changes for row in change if row is not None}
    for code, each in judged.items():
        for basis, head in ((Basis.COUNTED, each.counted), (Basis.PROVINCIAL, each.provincial)):
            kept = heads.get((code, basis.value))
            if kept is None or kept[:2] != head[:2]:
                differing.add(code)
    moved = service.differences(changes)
    return {cell for cell, counts in moved.items() if any(counts)}, len(differing)
