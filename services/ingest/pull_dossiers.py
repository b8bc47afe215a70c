"""The walk through the provincial system's dossiers, the one updated last first.

Why nothing is missed. A row that changes during the walk moves to the top; the rows above its old place move
down, so a page may repeat rows of the page before, which is harmless. It is not looked for in this walk: the
watermark that the walk leaves is the newest `updatedDate` *at its start*, so the next one meets it. Rows move
up only when some are deleted above; then the total shrinks, and the walk goes back by as many rows. The same
holds for the time in which a run lies dead: it goes on at the page that it had reached, with the total that
it had seen. Clocks of several servers and transactions that commit late are covered by LAG.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.ingest import presence, run_queries, runs
from services.ingest.portals import igate_messages
from services.ingest.portals.provincial import ProvincialPortal
from services.ingest.service import accept
from shared import queue
from shared.vocabulary import Consumer, Portal

PAGE_SIZE = 200
LAG = timedelta(minutes=10)
"""How far below the watermark a walk goes on."""

REACH_BACK = timedelta(days=7)
"""A walk's end is news about dossiers received up to so long before the end of the one before: longer than
any grace time, within which their absence was not judged yet."""


class Walk(msgspec.Struct):
    """The cursor. `page`, of `size` rows, is read next; `until`: where the walk may stop; `newest`: the
    watermark to be left; `rows`: totalElements when last seen; `ended`: all pages are read, and what the walk
    proves is to be told to reconcile, back from `since`."""

    size: int
    page: int = 0
    until: datetime | None = None
    newest: datetime | None = None
    rows: int | None = None
    ended: bool = False
    since: datetime | None = None


async def provincial_dossiers(job: runs.Job, *, page_size: int = PAGE_SIZE, lag: timedelta = LAG) -> None:
    """One walk, one transaction per page. Raises what the portal's client raises, RunLost, Stopped."""
    run = job.run
    if run.cursor:
        walk = msgspec.convert(run.cursor, Walk)
    else:
        async with job.page() as session:
            watermark, _ = await run_queries.known_through(session, portal=run.portal, subject=run.subject)
        walk = Walk(page_size, until=watermark - lag if watermark else None)
    async with ProvincialPortal.of(job.settings, retry=job.retry) as portal:
        while not walk.ended:
            asked_at = job.settings.now()
            page = await portal.search(walk.page, walk.size)
            back = steps_back(walk, page)
            walk.rows = page.total_elements
            if back:
                walk.page -= back
                continue
            if not page.content and walk.page * walk.size < page.total_elements:
                raise portal.answer_invalid()
            read = igate_messages.read(page.content, now=asked_at)
            if walk.newest is None and read.newest is not None:
                # A row may be dated a little ahead; a watermark ahead of us would hide what comes until then.
                walk.newest = min(read.newest, run.started_at)
            walk.page += 1
            ends = page.last or not page.content or _reached(walk.until, read.oldest)
            await _store(job, walk, read, page, asked_at=asked_at, ends=ends)
    await _tell(job, walk)


def _reached(until: datetime | None, oldest: datetime | None) -> bool:
    return until is not None and oldest is not None and oldest < until


def steps_back(walk: Walk, page: igate_messages.Page) -> int:
    """Pages to go back because rows were deleted since the page before: as many rows as the total has shrunk
    by may have moved up, past the walk. Pure."""
    if walk.rows is None or walk.page == 0 or page.total_elements >= walk.rows:
        return 0
    moved = walk.rows - page.total_elements
    return min(walk.page, -(-moved // max(1, len(page.content))))


async def _store(
    job: runs.Job,
    walk: Walk,
    read: igate_messages.Read,
    page: igate_messages.Page,
    *,
    asked_at: datetime,
    ends: bool,
) -> None:
    run = job.run
    async with job.page() as session:
        if ends:
            _, before = await run_queries.known_through(session, portal=run.portal, subject=run.subject)
            walk.ended, walk.since = True, before - REACH_BACK if before else None
        outcome = await accept(
            session,
            portal=Portal.PROVINCIAL,
            via="pull",
            door="pull",
            sender=run.portal.value,
            now=asked_at,
            heads=read.heads,
            steps=read.steps,
        )
        await presence.seen_but_refused(
            session, read.heads, portal=Portal.PROVINCIAL, via="pull", asked_at=asked_at, now=asked_at
        )
        cursor: dict[str, Any] = msgspec.to_builtins(walk)
        await runs.advance(
            session,
            run,
            cursor=cursor,
            items=len(read.heads),
            accepted=outcome.accepted,
            unchanged=outcome.unchanged,
            stale=outcome.stale,
            rejected=outcome.rejected,
            # Of a walk that stops at a watermark nobody knows beforehand how long it is.
            total=page.total_elements if walk.until is None else None,
        )
        if ends:
            await runs.known(
                session,
                run,
                now=job.settings.now(),
                watermark=walk.newest,
                complete_through=run.started_at,
            )


async def _tell(job: runs.Job, walk: Walk) -> None:
    """Wake the dossiers that a walk proves something about. In a transaction after the one that said how far the
    province is known: what is committed before this one looks is found by it, and what is committed later is
    judged by that word already."""
    run = job.run
    async with job.page() as session:
        now = job.settings.now()
        codes = await presence.unmatched_on_province(session, since=walk.since, through=run.started_at)
        await queue.enqueue(session, codes, consumers=(Consumer.RECONCILE,), now=now)
        await runs.finish(
            session, run, now=now, complete=True, watermark=walk.newest, complete_through=run.started_at
        )
