"""TraCuuHoSo, code by code: whether a dossier that we know exists at the nation (portals.md §1.3).

It tells existence only. What is due longest comes first, at most LOOKUPS_PER_SECOND; what was answered is written in
batches, each a transaction. One run passes once over what is due at its start, and what arrives meanwhile goes
first: a pass over all dossiers may last for hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from services.ingest import presence, runs
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway, PortalRefused
from services.ingest.portals.national import SESSION_UNKNOWN, NationalPortal

BATCH = 500
CONCURRENCY = 16
BATCH_SECONDS = 5.0
"""A batch is made no larger than this lasts, so that a worker that is told to end does so in time."""

FAILED_AT_MOST = 100
"""Codes whose look-up failed for their own sake; with more than that something else is wrong."""


class Pace:
    """At most `rate` calls begin per second, however many wait."""

    def __init__(self, rate: float) -> None:
        self._gap = 1.0 / rate
        self._next = 0.0

    async def turn(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        at = max(now, self._next)
        self._next = at + self._gap
        if at > now:
            await asyncio.sleep(at - now)


async def national_lookups(job: runs.Job) -> None:
    """Raises what the portal's client raises, RunLost, Stopped."""
    run, rate = job.run, job.settings.lookups_per_second
    before = run.started_at
    failed = int(run.cursor.get("failed", 0))
    limit = int(min(BATCH, max(CONCURRENCY, rate * BATCH_SECONDS)))
    pace = Pace(rate)
    total: int | None = None
    async with NationalPortal.of(job.settings, retry=job.retry) as portal:
        while True:
            admitted = 1
            while admitted:
                async with job.page() as session:
                    admitted = await presence.admit(session, now=job.settings.now())
            async with job.page() as session:
                if run.total is None and total is None:
                    await presence.put_aside(session, before=before)
                    total = await presence.count_due(session, before=before)
                codes = await presence.due(session, before=before, limit=limit)
            if not codes:
                break
            # The proof is as old as the batch's first question; a fixed clock may stand before the run's
            # start.
            asked_at = max(job.settings.now(), before)
            results, wrong, error = await _ask(portal, codes, pace)
            failed += len(wrong)
            async with job.page() as session:
                told: list[tuple[str, bool | None]] = [*results, *((code, None) for code in wrong)]
                await presence.record_lookups(session, told, asked_at=asked_at, now=job.settings.now())
                found = sum(was_found for _, was_found in results)
                await runs.advance(
                    session,
                    run,
                    cursor={"failed": failed},
                    items=len(results) + len(wrong),
                    accepted=found,
                    unchanged=len(results) - found,
                    rejected=len(wrong),
                    total=total,
                )
            if error is not None:
                raise error
            if failed > FAILED_AT_MOST:
                raise portal.answer_invalid()
    async with job.page() as session:
        now = job.settings.now()
        await runs.finish(session, run, now=now, complete=not failed, complete_through=None)


async def _ask(
    portal: NationalPortal, codes: list[str], pace: Pace
) -> tuple[list[tuple[str, bool]], list[str], Exception | None]:
    """Answers, codes that the portal could not answer for, and the error that ended the batch early: what was
    answered before it is kept."""
    results: list[tuple[str, bool]] = []
    wrong: list[str] = []
    remaining: Iterator[str] = iter(codes)

    async def worker() -> None:
        for code in remaining:
            await pace.turn()
            try:
                results.append((code, await portal.lookup(code)))
            except PortalAnswerInvalid:
                wrong.append(code)
            except PortalAway as away:
                if away.status != 500:  # which may be this code's own trouble; where it is not, many fail
                    raise
                wrong.append(code)
            except PortalRefused as refused:
                if refused.status is not None or refused.code == SESSION_UNKNOWN:
                    raise
                wrong.append(code)

    workers = [asyncio.create_task(worker()) for _ in range(min(CONCURRENCY, len(codes)))]
    try:
        done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        error = next((found for task in done if (found := task.exception())), None)
        if error is not None and not isinstance(error, Exception):
            raise error
        return results, wrong, error
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
