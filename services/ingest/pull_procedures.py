"""The procedures of the national database: the list, then each one's record, the days of the decisions that publish
them, and which of them have an online service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import directory, run_queries, runs
from services.ingest.normalise import Refusal
from services.ingest.portals import national_reference as reference
from services.ingest.portals import procedure_facts
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway, PortalRefused
from services.ingest.portals.national import NationalPortal, Procedure
from services.ingest.reference_rows import gather, quarantine, read_rows
from shared import queue
from shared.vocabulary import Consumer

DETAILS = 100
"""LayThuTuc answers in one transaction; so many of them are asked for before the run can be stopped."""

PORTAL_FAILED = (PortalAnswerInvalid, PortalAway, PortalRefused)

WAKE_BATCH = 10_000
NAMED = 10


async def national_procedures(job: runs.Job) -> None:
    """LayDanhSachTTHC, then LayThuTuc for each, LayQDCB for each decision of which the day is not known, and LayDVC. A
    portal that does not answer the last two leaves what was known of them; the run's remark says so.

    A run that is taken up again lists once more and goes on behind the details that it has. Dossiers are woken when all
    records have been committed; the changed durations of runs that failed before are this run's. Raises as the client,
    RunLost, Stopped."""
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
        remarks = [_unreadable(unknown)] if unknown else []
        remarks += filter(None, [await _decisions(job, portal), await _online_services(job, portal)])
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
            remark=_joined(remarks),
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


def _joined(remarks: Sequence[str]) -> str | None:
    """Remarks are “Vietnamese | English”; several are one of the same form."""
    parts = [remark.partition(" | ") for remark in remarks]
    return " | ".join(" ".join(told[n] for told in parts) for n in (0, 2)) if parts else None


async def _decisions(job: runs.Job, portal: NationalPortal) -> str | None:
    """The days of the publishing decisions. One that cannot be told is asked for again by the next run; a portal that
    does not offer the service is not asked for the rest. What is to be told of it, or None."""
    async with job.page() as session:
        ids = await directory.undated_decisions(session)
    for start in range(0, len(ids), DETAILS):
        batch = ids[start : start + DETAILS]
        try:
            # The first alone: where the service is refused, the others need not be asked for.
            first = await _decision(portal, batch[0])
            answers = [first, *await gather(batch[1:], lambda each: _decision(portal, each))]
        except PORTAL_FAILED:
            return (
                "Không lấy được ngày của quyết định công bố (LayQDCB); giữ giá trị cũ. |"
                " the days of publishing decisions could not be had (LayQDCB); the old ones stay"
            )
        async with job.page() as session:
            await directory.write_decisions(session, dict(zip(batch, answers, strict=True)))
    return None


async def _decision(portal: NationalPortal, decision: str) -> list[Any]:
    try:
        return await portal.decision(decision)
    except PortalAnswerInvalid:
        return []


async def _online_services(job: runs.Job, portal: NationalPortal) -> str | None:
    """Which procedures have an online service. What is to be told of it, or None."""
    try:
        services = procedure_facts.online_services(await portal.list_online_services())
    except PORTAL_FAILED:
        services = {}
    if not services:  # an empty list is no news that the nation has ended every service
        return (
            "Không lấy được danh sách dịch vụ công trực tuyến (LayDVC); giữ giá trị cũ. |"
            " the list of online services could not be had (LayDVC); what was known stays"
        )
    async with job.page() as session:
        await directory.write_online_services(session, services)
    return None


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
