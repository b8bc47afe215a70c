"""What is read of pulls."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import NotFound
from shared.vocabulary import Portal, Subject

_COLUMNS = (
    "id, portal, subject, state, requested_by, queued_at, started_at, finished_at, attempts, pages, total,"
    " items, accepted, unchanged, stale, rejected, complete, error"
)


async def active_id(session: AsyncSession, *, portal: Portal, subject: Subject) -> int | None:
    found = await session.scalar(
        text(
            "SELECT id FROM sync_run WHERE portal = :portal AND subject = :subject"
            " AND state IN ('queued', 'running')"
        ),
        {"portal": portal.value, "subject": subject.value},
    )
    return None if found is None else int(found)


async def active(session: AsyncSession) -> list[tuple[int, Portal, Subject]]:
    """Queued runs, and running ones, whether or not somebody works on them. Oldest first."""
    rows = await session.execute(
        text("SELECT id, portal, subject FROM sync_run WHERE state IN ('queued', 'running') ORDER BY id")
    )
    return [(row.id, Portal(row.portal), Subject(row.subject)) for row in rows]


async def ended(session: AsyncSession) -> set[tuple[Portal, Subject]]:
    """What has been pulled to an end at least once, well or not."""
    rows = await session.execute(
        text("SELECT DISTINCT portal, subject FROM sync_run WHERE state IN ('done', 'failed')")
    )
    return {(Portal(row.portal), Subject(row.subject)) for row in rows}


class Ended(NamedTuple):
    """How a run ended."""

    state: str
    finished_at: datetime
    error: str


async def ended_since(
    session: AsyncSession, portal: Portal, subject: Subject, *, since: datetime
) -> list[Ended]:
    """Runs of a subject that were asked for since a moment and have ended, oldest first."""
    rows = await session.execute(
        text(
            "SELECT state, finished_at, coalesce(error, '') AS error FROM sync_run WHERE portal = :portal"
            " AND subject = :subject AND queued_at >= :since AND state IN ('done', 'failed') ORDER BY id"
        ),
        {"portal": portal.value, "subject": subject.value, "since": since},
    )
    return [Ended(*row) for row in rows]


async def known_through(
    session: AsyncSession, *, portal: Portal, subject: Subject
) -> tuple[datetime | None, datetime | None]:
    """(watermark, complete_through) of sync_state."""
    row = (
        await session.execute(
            text(
                "SELECT watermark, complete_through FROM sync_state"
                " WHERE portal = :portal AND subject = :subject"
            ),
            {"portal": portal.value, "subject": subject.value},
        )
    ).one_or_none()
    return (row.watermark, row.complete_through) if row else (None, None)


async def left_by_failed(session: AsyncSession, *, portal: Portal, subject: Subject, key: str) -> list[str]:
    """What runs that failed since the last one that ended well had noted under `key` of their cursor, for
    their end that never came."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT jsonb_array_elements_text(cursor -> :key) FROM sync_run"
            " WHERE portal = :portal AND subject = :subject AND state = 'failed' AND cursor ? :key"
            " AND id > coalesce((SELECT max(id) FROM sync_run"
            " WHERE portal = :portal AND subject = :subject AND state = 'done'), 0) ORDER BY 1"
        ),
        {"key": key, "portal": portal.value, "subject": subject.value},
    )
    return list(rows.scalars())


async def read(session: AsyncSession, run_id: int) -> dict[str, Any]:
    """Raises NotFound."""
    row = (
        await session.execute(text(f"SELECT {_COLUMNS} FROM sync_run WHERE id = :id"), {"id": run_id})  # noqa: S608
    ).one_or_none()
    if row is None:
        raise NotFound("Không có lần lấy dữ liệu này.", "There is no such run.")
    return dict(row._mapping)


async def listing(
    session: AsyncSession,
    *,
    portal: Portal | None,
    subject: Subject | None,
    state: str | None,
    before: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Runs, newest first, with ids below `before`."""
    rows = await session.execute(
        text(
            f"SELECT {_COLUMNS} FROM sync_run"  # noqa: S608
            " WHERE (CAST(:portal AS text) IS NULL OR portal = :portal)"
            " AND (CAST(:subject AS text) IS NULL OR subject = :subject)"
            " AND (CAST(:state AS text) IS NULL OR state = :state)"
            " AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {"portal": portal, "subject": subject, "state": state, "before": before, "limit": limit},
    )
    return [dict(row._mapping) for row in rows]
