"""The procedures of the national database: the list, then each one's record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import directory, run_queries, runs
from services.ingest.normalise import Refusal
from services.ingest.portals import national_reference as reference
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway, PortalRefused
from services.ingest.portals.national import NationalPortal, Procedure
from services.ingest.reference_rows import gather, quarantine, read_rows
from shared import queue
from shared.vocabulary import Consumer

DETAILS = 100
"""LayThuTuc answers in one transaction; so many of them are asked for before the run can be stopped."""

WAKE_BATCH = 10_000
NAMED = 10


async def national_procedures(job: runs.Job) -> None:
    """LayDanhSachTTHC, then LayThuTuc for each. A run that is taken up again lists once more and goes on
    behind the details that it has. Dossiers are woken when all records have been committed; the changed
    durations of runs that failed before are this run's. Raises as the client, RunLost, Stopped."""
    run = job.run
    after: str = run.cursor.get("after", "")
    durations: list[str] = run.cursor.get("durations", [])
    if not run.cursor:
        async with job.page() as session:
            durations = await run_queries.left_by_failed(
                session, portal=run.portal, subject=run.subject, key="durations"
            )
    async with NationalPortal.of(job.settings, retry=job.retry) as portal:
        listed_at = job.settings.now()
        rows = await portal.list_procedures()
        good, bad = read_rows(rows, reference.listed)
        nameless, unknown = _broken(rows, bad)
        # An empty list is no news that the nation has abolished everything.
        complete = bool(good) and not unknown
        good += [reference.ListedProcedure(code, None) for code in nameless]
        codes = sorted({row.code for row in good})
        async with job.page() as session:
            await quarantine(session, run, bad, listed_at)
            withdrawn = await directory.write_listing(session, good, listed_at=listed_at, complete=complete)
            await runs.advance(
                session,
                run,
                cursor={"after": after, "durations": durations},
                items=0,
                rejected=len(bad),
                stale=withdrawn,
                total=len(codes),
            )
        remaining = [code for code in codes if code > after]
        for start in range(0, len(remaining), DETAILS):
            batch = remaining[start : start + DETAILS]
            asked_at = job.settings.now()
            answers = await gather(batch, lambda code: _detail(portal, code))
            durations = await _store_details(job, batch, answers, durations, asked_at=asked_at)
    async with job.page() as session:
        now = job.settings.now()
        await _wake_dossiers(session, durations, now=now)
        await queue.enqueue(session, [queue.PROCEDURES], consumers=(Consumer.RECONCILE,), now=now)
        await runs.finish(
            session,
            run,
            now=now,
            complete=complete,
            complete_through=listed_at if complete else None,
            remark=_unreadable(unknown) if unknown else None,
        )


def _broken(rows: Sequence[object], bad: Sequence[Refusal]) -> tuple[list[str], list[int]]:
    """Of rows that cannot be read: the codes that they are of, and the positions of those that may be of any code.
    Only these make a list incomplete; one row that stays broken for years must not keep it so. Pure."""
    nameless: list[str] = []
    unknown: list[int] = []
    for row, position in ((rows[each.position], each.position) for each in bad):
        code = reference.listed_code(row)
        if code is not None:
            nameless.append(code)
        elif not reference.is_empty(row):
            unknown.append(position)
    return nameless, unknown


def _unreadable(positions: list[int]) -> str:
    """The first ones are named, as quarantine counts them: from 0."""
    told = ", ".join(map(str, positions[:NAMED]))
    return (
        f"Danh mục chưa đầy đủ: {len(positions)} dòng không đọc được mã thủ tục (vị trí {told}); không thủ tục nào"
        f" bị coi là đã rút. | incomplete: {len(positions)} rows without a readable code (positions {told})"
    )


async def _detail(portal: NationalPortal, code: str) -> Procedure | None:
    """None where the portal cannot answer for this one; the others go on."""
    try:
        return await portal.procedure(code)
    except PortalAnswerInvalid:
        return None
    except PortalAway as away:
        if away.status != 500:
            raise
        return None
    except PortalRefused as refused:
        if refused.status is not None:
            raise
        return None


async def _store_details(
    job: runs.Job,
    batch: list[str],
    answers: list[Procedure | None],
    durations: list[str],
    *,
    asked_at: datetime,
) -> list[str]:
    records = [
        (code, found.record)
        for code, found in zip(batch, answers, strict=True)
        if found is not None and found.record is not None
    ]

    def read(row: Any) -> reference.ProcedureRow:
        return reference.procedure(*row)

    good, bad = read_rows(records, read)
    unverified = [
        code for code, found in zip(batch, answers, strict=True) if found is not None and found.unverified
    ]
    async with job.page() as session:
        await quarantine(session, job.run, bad, asked_at)
        changed = await directory.write_records(session, good, record_at=asked_at)
        await directory.mark_unverified(session, unverified)
        durations = sorted({*durations, *changed})
        await runs.advance(
            session,
            job.run,
            cursor={"after": batch[-1], "durations": durations},
            items=len(batch),
            accepted=len(good),
            rejected=len(batch) - len(good),
        )
    return durations


async def _wake_dossiers(session: AsyncSession, procedures: list[str], *, now: datetime) -> None:
    """A changed maximum duration moves the deadline of dossiers without an appointment."""
    after = ""
    while procedures:
        codes = await directory.dossiers_of(session, procedures, after=after, limit=WAKE_BATCH)
        if not codes:
            return
        await queue.enqueue(session, codes, consumers=(Consumer.INDICATORS,), now=now)
        after = codes[-1]
