"""Pulls as rows: asked for, taken up, advanced page by page, ended.

A run is a job that outlives its worker. Three things keep it single and whole: a partial unique index (one
active run per portal and subject), an advisory lock on a connection of its own while a worker has it (a dead
worker's is free), and `attempts` as a fence (a worker that lost its lock without noticing can no longer move
the run).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest import capture_circuit, capture_plan, run_queries
from services.ingest.portals.http import Retry
from shared.calendar import Period
from shared.db import session_scope
from shared.errors import ChisoError, Conflict, Invalid
from shared.settings import Settings
from shared.vocabulary import Portal, Subject

CHANNEL = "sync"
SUBJECTS: dict[Portal, tuple[Subject, ...]] = {
    Portal.PROVINCIAL: (Subject.UNITS, Subject.DOSSIERS),
    Portal.NATIONAL: (
        Subject.UNITS,
        Subject.PROCEDURES,
        Subject.DOSSIERS,
        Subject.LOOKUPS,
        Subject.CAPTURES,
    ),
}
"""What each portal can be pulled for."""


class RunActive(Conflict):
    """One run per portal and subject at a time; `run` names the active one."""


class RunLost(Conflict):
    """Another worker has taken the run up, or somebody ended it."""


class Stopped(Exception):
    """The worker was told to end; the run stays as it is and is taken up again."""


@dataclass(slots=True)
class Run:
    """A run in hand. `cursor` is the subject's own and is written with each page."""

    id: int
    portal: Portal
    subject: Subject
    attempts: int
    started_at: datetime
    cursor: dict[str, Any]
    requested_by: str
    pages: int = 0
    items: int = 0
    total: int | None = None
    ended: bool = False


Progress = Callable[[Run], None]


@dataclass(slots=True)
class Job:
    """A run and what it needs to be worked off. `on_progress` is called after each committed page."""

    engine: AsyncEngine
    settings: Settings
    run: Run
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    on_progress: Progress | None = None
    retry: Retry | None = None

    @asynccontextmanager
    async def page(self) -> AsyncIterator[AsyncSession]:
        """The transaction of one page. Raises Stopped after its commit where the worker has to end and the
        run is not over yet."""
        async with session_scope(self.engine) as session:
            yield session
        if self.on_progress is not None:
            self.on_progress(self.run)
        if self.stop.is_set() and not self.run.ended:
            raise Stopped


async def request(
    session: AsyncSession,
    *,
    portal: Portal,
    subject: Subject,
    by: str,
    now: datetime,
    settings: Settings,
    cursor: dict[str, Any] | None = None,
) -> int:
    """Queue a run and wake the worker. `cursor`: where it begins. Returns its id. Raises Invalid for a subject that the
    portal does not have, Conflict for a portal that is not configured or a list that is not granted, RunActive,
    CircuitOpen."""
    check_subject(portal, subject, settings)
    if subject is Subject.CAPTURES:
        await capture_circuit.check(session)
    row = (
        await session.execute(
            text(
                "INSERT INTO sync_run (portal, subject, state, requested_by, queued_at, cursor, attempts,"
                " pages, items, accepted, unchanged, stale, rejected, complete)"
                " VALUES (:portal, :subject, 'queued', :by, :now, CAST(:cursor AS jsonb), 0, 0, 0, 0, 0, 0, 0, false)"
                " ON CONFLICT (portal, subject) WHERE state in ('queued', 'running') DO NOTHING RETURNING id"
            ),
            {
                "portal": portal.value,
                "subject": subject.value,
                "by": by,
                "now": now,
                "cursor": msgspec.json.encode(cursor or {}).decode(),
            },
        )
    ).one_or_none()
    if row is None:
        active = await run_queries.active_id(session, portal=portal, subject=subject)
        raise RunActive(
            f"Đang có một lần lấy dữ liệu {portal}/{subject} chưa xong (số {active}).",
            f"run {active} of {portal}/{subject} is still active",
            run=active,
        )
    await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})
    return int(row.id)


def configured(portal: Portal, subject: Subject, settings: Settings) -> bool:
    """Whether this has an address; the published figures have one of their own."""
    if subject is Subject.CAPTURES:
        return settings.reporting_url is not None
    url = settings.national_url if portal is Portal.NATIONAL else settings.provincial_url
    return url is not None and portal in SUBJECTS


def capture_of(subject: Subject, period: str, now: datetime) -> dict[str, Any]:
    """The cursor of a run that captures one period. Raises Invalid."""
    if subject is not Subject.CAPTURES:
        raise Invalid(
            "Chỉ kết xuất số liệu công bố (captures) mới có kỳ.",
            "only captures are of a period",
            field="period",
        )
    wanted = Period.parse(period)
    if wanted.year < capture_plan.FIRST_YEAR or wanted.start > now:
        raise Invalid(
            f"Cổng chỉ có số liệu từ năm {capture_plan.FIRST_YEAR} đến nay.",
            f"the portal has figures from {capture_plan.FIRST_YEAR} up to now",
            field="period",
        )
    return {"periods": [wanted.key]}


def check_subject(portal: Portal, subject: Subject, settings: Settings) -> None:
    """Raises Invalid, Conflict."""
    subjects = SUBJECTS.get(portal, ())
    if subject not in subjects:
        told = ", ".join(f"{p}: {'|'.join(s)}" for p, s in SUBJECTS.items())
        raise Invalid(
            f"Không lấy được nội dung này từ nguồn đã chọn; các cặp dùng được: {told}.",
            f"the portal has no such subject; there are {told}",
            field="subject" if subjects else "portal",
        )
    if not configured(portal, subject, settings):
        name = "REPORTING_URL" if subject is Subject.CAPTURES else f"{portal.value.upper()}_URL"
        raise Conflict(f"Chưa cấu hình {name}.", f"{name} is not set")
    if (portal, subject) == (Portal.NATIONAL, Subject.DOSSIERS) and not settings.national_list:
        raise Conflict(
            "Cổng DVC quốc gia chưa cấp quyền lấy danh sách hồ sơ (NATIONAL_LIST); hãy tra cứu từng mã (lookups).",
            "The national portal has not granted its list of dossiers (NATIONAL_LIST); look-ups ask code by code.",
            field="subject",
        )


@asynccontextmanager
async def lock(engine: AsyncEngine, portal: Portal, subject: Subject) -> AsyncIterator[bool]:
    """Whether we hold this portal and subject, on a connection of its own, until the block ends: a worker
    that dies loses its connection and with it the lock."""
    key = {"key": f"chiso sync {portal.value}/{subject.value}"}
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        held = bool(
            await connection.scalar(text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))"), key)
        )
        try:
            yield held
        finally:
            if held:
                try:
                    await connection.execute(
                        text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), key
                    )
                except (DBAPIError, OSError):
                    await connection.invalidate()


async def take_up(session: AsyncSession, run_id: int, *, now: datetime) -> Run | None:
    """Begin a run, or go on with one whose worker died. None where it has ended meanwhile. Only under
    `lock`."""
    row = (
        await session.execute(
            text(
                "UPDATE sync_run SET state = 'running', started_at = coalesce(started_at, :now),"
                " attempts = attempts + 1 WHERE id = :id AND state IN ('queued', 'running')"
                " RETURNING id, portal, subject, attempts, started_at, cursor, requested_by, pages,"
                " items, total"
            ),
            {"id": run_id, "now": now},
        )
    ).one_or_none()
    if row is None:
        return None
    return Run(
        id=row.id,
        portal=Portal(row.portal),
        subject=Subject(row.subject),
        attempts=row.attempts,
        started_at=row.started_at,
        cursor=row.cursor,
        requested_by=row.requested_by,
        pages=row.pages,
        items=row.items,
        total=row.total,
    )


async def advance(
    session: AsyncSession,
    run: Run,
    *,
    cursor: dict[str, Any],
    items: int,
    accepted: int = 0,
    unchanged: int = 0,
    stale: int = 0,
    rejected: int = 0,
    total: int | None = None,
) -> None:
    """Count a page and remember where it ended, in the page's own transaction. Raises RunLost."""
    row = (
        await session.execute(
            text(
                "UPDATE sync_run SET cursor = CAST(:cursor AS jsonb), pages = pages + 1,"
                " items = items + :items, accepted = accepted + :accepted,"
                " unchanged = unchanged + :unchanged, stale = stale + :stale,"
                " rejected = rejected + :rejected, total = coalesce(:total, total)"
                " WHERE id = :id AND attempts = :attempts AND state = 'running' RETURNING pages, items, total"
            ),
            {
                "id": run.id,
                "attempts": run.attempts,
                "cursor": msgspec.json.encode(cursor).decode(),
                "items": items,
                "accepted": accepted,
                "unchanged": unchanged,
                "stale": stale,
                "rejected": rejected,
                "total": total,
            },
        )
    ).one_or_none()
    if row is None:
        raise _lost(run)
    run.cursor, run.pages, run.items, run.total = cursor, row.pages, row.items, row.total


def _lost(run: Run) -> RunLost:
    return RunLost(
        f"Lần lấy dữ liệu số {run.id} đã được tiến trình khác tiếp quản.",
        f"run {run.id} was taken up by another worker",
    )


async def known(
    session: AsyncSession, run: Run, *, now: datetime, watermark: datetime | None, complete_through: datetime
) -> None:
    """Say how far the subject is known before the run ends: what it does then must see it committed."""
    await _state(session, run, now=now, watermark=watermark, complete_through=complete_through)


async def finish(
    session: AsyncSession,
    run: Run,
    *,
    now: datetime,
    complete: bool,
    watermark: datetime | None = None,
    complete_through: datetime | None = None,
    remark: str | None = None,
) -> None:
    """End a run and say how far its subject is now known, in the last page's transaction. `remark`, shown as
    the run's error: why it is not complete though it has ended well. Raises RunLost."""
    done = await session.scalar(
        text(
            "UPDATE sync_run SET state = 'done', finished_at = :now, complete = :complete, error = :remark"
            " WHERE id = :id AND attempts = :attempts AND state = 'running' RETURNING id"
        ),
        {"id": run.id, "attempts": run.attempts, "now": now, "complete": complete, "remark": remark},
    )
    if done is None:
        raise _lost(run)
    run.ended = True
    await _state(session, run, now=now, watermark=watermark, complete_through=complete_through, run_id=run.id)


async def _state(
    session: AsyncSession,
    run: Run,
    *,
    now: datetime,
    watermark: datetime | None,
    complete_through: datetime | None,
    run_id: int | None = None,
) -> None:
    await session.execute(
        text(
            "INSERT INTO sync_state AS s"
            " (portal, subject, watermark, complete_through, last_run_id, updated_at)"
            " VALUES (:portal, :subject, :watermark, :through, :id, :now)"
            " ON CONFLICT (portal, subject) DO UPDATE SET"
            " watermark = coalesce(excluded.watermark, s.watermark),"
            " complete_through = greatest(excluded.complete_through, s.complete_through),"
            " last_run_id = coalesce(excluded.last_run_id, s.last_run_id), updated_at = excluded.updated_at"
        ),
        {
            "portal": run.portal.value,
            "subject": run.subject.value,
            "watermark": watermark,
            "through": complete_through,
            "id": run_id,
            "now": now,
        },
    )


async def fail(session: AsyncSession, run: Run, error: Exception, *, now: datetime) -> None:
    """End a run with what went wrong. How far the subject is known does not change."""
    await session.execute(
        text(
            "UPDATE sync_run SET state = 'failed', finished_at = :now, error = :error"
            " WHERE id = :id AND attempts = :attempts AND state = 'running'"
        ),
        {"id": run.id, "attempts": run.attempts, "now": now, "error": sentence(error)},
    )


def sentence(error: Exception) -> str:
    """The kind and our own words; another error's text may hold what came in, so only its kind is told."""
    kind = type(error).__name__
    if isinstance(error, ChisoError):
        return f"{kind}: {error.vi} | {error.en}"
    return f"{kind}: lỗi nội bộ, xem nhật ký. | internal error, see the log"
