"""Imports as rows: registered, taken up, advanced with each batch, ended.

A run is worked on by whoever holds its advisory lock, and `attempts` is the fence (as in runs.py)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest.import_files import Understood
from services.ingest.import_queries import LOCK, WORKED_ON
from services.ingest.normalise import Refusal
from shared.db import session_scope
from shared.errors import Conflict

SHOWN = 20
"""Refusals that are told beside the counts; all of them are in the quarantine."""


class ImportLost(Conflict):
    """Another process has taken the run up."""


@dataclass(slots=True)
class Progress:
    """A run in hand: what has been committed of it, and what was told of its rows."""

    id: int = 0
    attempts: int = 0
    cursor: int = 0
    total: int = 0
    items: int = 0
    accepted: int = 0
    unchanged: int = 0
    stale: int = 0
    rejected: int = 0
    report: dict[str, Any] = field(default_factory=dict)

    def refuse(self, refused: Sequence[Refusal]) -> None:
        told = self.report.setdefault("refusals", [])
        for each in refused[: max(0, SHOWN - len(told))]:
            told.append({"row": each.position, "field": each.field, "reason": each.en, "reason_vi": each.vi})


_REGISTER = f"""
INSERT INTO import_run AS r (task, kind, portal, period, digest, name_digest, size, state, requested_by, started_at,
  attempts, cursor, total, items, accepted, unchanged, stale, rejected, report)
VALUES (:task, :kind, :portal, :period, :digest, :name_digest, :size, 'queued', :by, :now,
  0, 0, :total, 0, 0, 0, 0, 0, CAST(:report AS jsonb))
ON CONFLICT (task) DO UPDATE SET
  state = CASE WHEN r.state IN ('interrupted', 'failed') OR :again AND r.state <> 'running'
      OR r.state = 'running' AND NOT {WORKED_ON} THEN 'queued' ELSE r.state END,
  cursor = CASE WHEN :again AND r.state <> 'running' THEN 0 ELSE r.cursor END
RETURNING id, state"""  # noqa: S608


async def register(session: AsyncSession, file: Understood) -> tuple[int, str]:
    """(the run's id, its state): of a file that is new, one that went half way, or one that is done.

    One that went half way is queued again at once: who asks for it right after must not read *interrupted*, as if it
    had ended a second time.
    """
    asked = file.asked
    row = (
        await session.execute(
            text(_REGISTER),
            {
                "task": file.task(),
                "kind": asked.kind,
                "portal": asked.portal.value if asked.kind == "dossiers" else None,
                "period": asked.period,
                "digest": file.digest,
                "name_digest": hashlib.blake2b(asked.name.encode(), digest_size=16).digest(),
                "size": file.size,
                "by": asked.by,
                "now": file.settings.now(),
                "total": file.table.total,
                "again": asked.again,
                "report": msgspec.json.encode(file.report()).decode(),
            },
        )
    ).one()
    return row.id, row.state


@asynccontextmanager
async def lock(engine: AsyncEngine, run_id: int) -> AsyncIterator[bool]:
    """Whether we hold this run, on a connection of its own, until the block ends: who dies loses it."""
    key = {"id": str(run_id)}
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        spelt = LOCK.replace("r.id", "CAST(:id AS text)")
        held = bool(
            await connection.scalar(text(f"SELECT pg_try_advisory_lock(hashtextextended({spelt}, 0))"), key)
        )
        try:
            yield held
        finally:
            if held:
                try:
                    await connection.execute(
                        text(f"SELECT pg_advisory_unlock(hashtextextended({spelt}, 0))"), key
                    )
                except (DBAPIError, OSError):
                    await connection.invalidate()


async def take_up(session: AsyncSession, run_id: int) -> Progress | None:
    """None where the run is done. Only under its lock."""
    row = (
        await session.execute(
            text(
                "UPDATE import_run SET state = 'running', attempts = attempts + 1, finished_at = NULL, error = NULL,"
                " items = CASE WHEN cursor = 0 THEN 0 ELSE items END,"
                " accepted = CASE WHEN cursor = 0 THEN 0 ELSE accepted END,"
                " unchanged = CASE WHEN cursor = 0 THEN 0 ELSE unchanged END,"
                " stale = CASE WHEN cursor = 0 THEN 0 ELSE stale END,"
                " rejected = CASE WHEN cursor = 0 THEN 0 ELSE rejected END,"
                " report = CASE WHEN cursor = 0 THEN report || '{\"refusals\": []}' ELSE report END"
                " WHERE id = :id AND state <> 'done' RETURNING id, attempts, cursor, total, items, accepted,"
                " unchanged, stale, rejected, report"
            ),
            {"id": run_id},
        )
    ).one_or_none()
    return None if row is None else Progress(**row._mapping)


async def advance(session: AsyncSession, run: Progress, *, ended_at: datetime | None = None) -> None:
    """Write down how far the run is, in the transaction of what was stored. Raises ImportLost."""
    done = await session.scalar(
        text(
            "UPDATE import_run SET cursor = :cursor, items = :items, accepted = :accepted, unchanged = :unchanged,"
            " stale = :stale, rejected = :rejected, report = CAST(:report AS jsonb),"
            " state = CASE WHEN CAST(:ended_at AS timestamptz) IS NULL THEN state ELSE 'done' END,"
            " finished_at = :ended_at WHERE id = :id AND attempts = :attempts AND state = 'running' RETURNING id"
        ),
        {
            "id": run.id,
            "attempts": run.attempts,
            "cursor": run.cursor,
            "items": run.items,
            "accepted": run.accepted,
            "unchanged": run.unchanged,
            "stale": run.stale,
            "rejected": run.rejected,
            "report": msgspec.json.encode(run.report).decode(),
            "ended_at": ended_at,
        },
    )
    if done is None:
        raise ImportLost(
            f"Lần nạp tệp số {run.id} đã được tiến trình khác tiếp quản.",
            f"import {run.id} was taken up by another process",
        )


async def end(engine: AsyncEngine, run: Progress, state: str, *, error: str | None, now: datetime) -> None:
    async with session_scope(engine) as session:
        await session.execute(
            text(
                "UPDATE import_run SET state = :state, error = :error, finished_at = :now"
                " WHERE id = :id AND attempts = :attempts AND state = 'running'"
            ),
            {"id": run.id, "attempts": run.attempts, "state": state, "error": error, "now": now},
        )
