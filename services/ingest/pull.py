"""Which pull does what, and how one is worked off from its row to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import run_queries, runs
from services.ingest.lookups import national_lookups
from services.ingest.portals.http import Retry
from services.ingest.pull_captures import national_captures
from services.ingest.pull_dossiers import provincial_dossiers
from services.ingest.pull_list import national_dossiers
from services.ingest.pull_procedures import national_procedures
from services.ingest.pull_units import national_units, provincial_units
from shared.db import session_scope
from shared.errors import where
from shared.settings import Settings
from shared.vocabulary import Portal, Subject

log = structlog.get_logger("pull")

PULLS: Mapping[tuple[Portal, Subject], Callable[[runs.Job], Awaitable[None]]] = {
    (Portal.NATIONAL, Subject.UNITS): national_units,
    (Portal.PROVINCIAL, Subject.UNITS): provincial_units,
    (Portal.NATIONAL, Subject.PROCEDURES): national_procedures,
    (Portal.PROVINCIAL, Subject.DOSSIERS): provincial_dossiers,
    (Portal.NATIONAL, Subject.DOSSIERS): national_dossiers,
    (Portal.NATIONAL, Subject.LOOKUPS): national_lookups,
    (Portal.NATIONAL, Subject.CAPTURES): national_captures,
}


async def work_off(
    engine: AsyncEngine,
    settings: Settings,
    run_id: int,
    portal: Portal,
    subject: Subject,
    *,
    stop: asyncio.Event | None = None,
    on_progress: runs.Progress | None = None,
    retry: Retry | None = None,
    raising: bool = False,
) -> bool:
    """Take a run up where nobody works on it and pull to its end. False: another worker has it, it has ended,
    or it was stopped. What goes wrong ends the run as failed (and is raised with `raising`); a database that
    is away leaves it as it is and is always raised: the run is taken up again."""
    async with runs.lock(engine, portal, subject) as held:
        if not held:
            return False
        async with session_scope(engine) as session:
            run = await runs.take_up(session, run_id, now=settings.now())
        if run is None:
            return False
        told = log.bind(run=run.id, portal=portal.value, subject=subject.value, attempt=run.attempts)
        told.info("pull begins", page=run.pages)
        job = runs.Job(
            engine=engine,
            settings=settings,
            run=run,
            stop=stop or asyncio.Event(),
            on_progress=on_progress,
            retry=retry,
        )
        try:
            await PULLS[portal, subject](job)
        except runs.Stopped:
            told.info("pull interrupted", pages=run.pages, items=run.items)
            return False
        except runs.RunLost:
            told.warning("pull lost to another worker")
            return False
        except Exception as error:
            if _database_away(error):
                raise
            told.warning(
                "pull failed",
                error=runs.sentence(error),
                where=where(error),
                pages=run.pages,
                items=run.items,
            )
            async with session_scope(engine) as session:
                await runs.fail(session, run, error, now=settings.now())
            if raising:
                raise
            return True
        told.info("pull done", pages=run.pages, items=run.items)
        return True


def _database_away(error: Exception) -> bool:
    """No connection, or the server is shutting down: nothing that this run did wrong."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state[:2] in ("08", "53", "57")
    return isinstance(
        error,
        asyncpg.InterfaceError
        | asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError
        | OSError,
    )


async def run_one(
    engine: AsyncEngine,
    settings: Settings,
    portal: Portal,
    subject: Subject,
    on_progress: runs.Progress | None = None,
    *,
    by: str = "chiso sync",
    retry: Retry | None = None,
    cursor: dict[str, Any] | None = None,
) -> int:
    """Pull one subject in this process, to its end; a run that lies unfinished is gone on with, a new one begins at
    `cursor`. `on_progress` is called after each page with the Run (pages, items, total | None). Returns the run's id.
    Raises Invalid, Conflict (another process works on it), and what ended the run."""
    runs.check_subject(portal, subject, settings)
    async with session_scope(engine) as session:
        run_id = await run_queries.active_id(session, portal=portal, subject=subject)
    if run_id is None:
        async with session_scope(engine) as session:
            run_id = await runs.request(
                session,
                portal=portal,
                subject=subject,
                by=by,
                now=settings.now(),
                settings=settings,
                cursor=cursor,
            )
    ended = await work_off(
        engine, settings, run_id, portal, subject, on_progress=on_progress, retry=retry, raising=True
    )
    if not ended:
        raise runs.RunActive(
            f"Tiến trình khác đang thực hiện lần lấy dữ liệu số {run_id}.",
            f"another process works on run {run_id}",
            run=run_id,
        )
    return run_id
