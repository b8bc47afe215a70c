"""The national portal's list of dossiers (DanhSachHoSo), where it is granted: windows of a day, oldest first.

A dossier may be received on another day at the nation than in the province, so no single window proves that
it is absent there: only all of them together do, as of the moment at which the first was asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import presence, runs
from services.ingest.normalise import Head
from services.ingest.portals import national_messages
from services.ingest.portals.national import NationalPortal
from services.ingest.service import STALE, accept
from shared.calendar import TZ
from shared.db import driver
from shared.vocabulary import Portal

DAYS_WITHOUT_ANY = 120
"""How far back the list is read while no dossier is known at all."""

DAYS_AT_MOST = 3 * 366
"""One mistyped year of receipt must not make thousands of windows."""


class Windows(msgspec.Struct):
    """The cursor: `start` of the first window; `next` one; `end` of the last one; `asked_at`: the first
    question."""

    start: datetime
    next: datetime
    end: datetime
    asked_at: datetime


async def national_dossiers(job: runs.Job) -> None:
    """One pass over all windows, one transaction each. Raises ListRefused, what the client raises, RunLost,
    Stopped."""
    run = job.run
    windows = msgspec.convert(run.cursor, Windows) if run.cursor else await _windows(job)
    databases = frozenset(job.settings.population_db_codes)
    async with NationalPortal.of(job.settings, retry=job.retry) as portal:
        while windows.next < windows.end:
            start = windows.next
            end = min(start + timedelta(days=1), windows.end)
            asked_at = job.settings.now()
            listed = await portal.list_dossiers(start, end)
            try:
                heads = national_messages.heads(listed, databases=databases, now=asked_at)
            except (msgspec.MsgspecError, RecursionError):
                raise portal.answer_invalid() from None
            windows.next = end
            async with job.page() as session:
                outcome = await accept(
                    session,
                    portal=Portal.NATIONAL,
                    via="list",
                    door="list",
                    sender=run.portal.value,
                    now=asked_at,
                    heads=heads,
                )
                await presence.seen_but_refused(
                    session, heads, portal=Portal.NATIONAL, via="list", asked_at=asked_at, now=asked_at
                )
                stale = [
                    head.code
                    for head, result in zip(heads, outcome.results, strict=True)
                    if type(head) is Head and result == STALE
                ]
                await presence.listed_as_before(session, stale, asked_at=asked_at, now=asked_at)
                await presence.vanish(
                    session,
                    start=start,
                    end=end,
                    listed=[head.code for head in heads if head.code],
                    asked_since=windows.asked_at,
                    now=asked_at,
                )
                cursor: dict[str, Any] = msgspec.to_builtins(windows)
                await runs.advance(
                    session,
                    run,
                    cursor=cursor,
                    items=len(heads),
                    accepted=outcome.accepted,
                    unchanged=outcome.unchanged,
                    stale=outcome.stale,
                    rejected=outcome.rejected,
                )
    async with job.page() as session:
        now = job.settings.now()
        await presence.absent_from_list(
            session, start=windows.start, end=windows.end, asked_at=windows.asked_at, now=now
        )
        await runs.finish(session, run, now=now, complete=True, complete_through=windows.asked_at)


async def _windows(job: runs.Job) -> Windows:
    """From the day of the oldest receipt that any copy tells, up to now."""
    now = job.settings.now()
    async with job.page() as session:
        oldest = await _oldest_receipt(session, not_before=now - timedelta(days=DAYS_AT_MOST))
    first = (oldest or now - timedelta(days=DAYS_WITHOUT_ANY)).astimezone(TZ)
    start = first.replace(hour=0, minute=0, second=0, microsecond=0)
    return Windows(
        start=start, next=start, end=now.replace(microsecond=0) + timedelta(seconds=1), asked_at=now
    )


async def _oldest_receipt(session: AsyncSession, *, not_before: datetime) -> datetime | None:
    oldest: datetime | None = await (await driver(session)).fetchval(
        "SELECT min(received_at) FROM dossier WHERE received_at >= $1"
        " AND portal IN ('provincial', 'sent', 'national')",
        not_before,
    )
    return oldest
