"""Files as runs: understood, worked off batch by batch, taken up again where they ended.

The file is never kept: it lies in a temporary file without a name while its process lives. What stays is a row that
says how far it got, written in the transaction of each batch; after a kill -9 the same file, sent again, goes on
there. A run is worked on by whoever holds its advisory lock, and `attempts` is the fence (as in runs.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import import_queries, import_runs
from services.ingest.files import dossiers
from services.ingest.files.table import Row
from services.ingest.import_files import Asked, Understood, understood
from services.ingest.import_lists import ListSettings, read_list, store_list
from services.ingest.import_runs import ImportLost, Progress
from services.ingest.normalise import Head, Refusal, stamp
from services.ingest.runs import sentence
from services.ingest.service import accept
from shared.db import session_scope
from shared.errors import Conflict, Invalid, Unreadable
from shared.settings import Settings

log = structlog.get_logger("imports")

LIST_LIMIT = 100_000
"""Rows of a file that is one transaction: petitions, procedures, units, predecessors."""
PATIENCE: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 30)
"""Pauses, in seconds, before a batch is tried again while the database is away."""


# --- dry run ------------------------------------------------------------------------------------------------


async def dry_run(file: Understood) -> dict[str, Any]:
    """What would become of the file, as an import shows it: all of it is read and nothing is stored."""
    run = Progress(total=file.table.total, report=file.report())
    now = file.settings.now()
    if file.asked.kind == "dossiers":
        read = _dossier_reader(file, now)
        received: set[str] = set()
        async for rows in file.table.batches(_columns_of(file), after=file.header.row):
            heads = await asyncio.to_thread(_read_all, read, rows)
            refused = [head for head in heads if isinstance(head, Refusal)]
            days = [head.received_at[:10] for head in heads if isinstance(head, Head) and head.received_at]
            received |= {min(days), max(days)} if days else set()
            _count(run, rows, refused)
        run.report["received"] = [min(received), max(received)] if received else None
    else:
        rows = await _Pending(file.table.batches(_columns_of(file), after=file.header.row)).all()
        read_rows = read_list(file.asked.kind, rows, _list_settings(file, now))
        _count(run, rows, read_rows.refused)
    return {
        "id": None,
        "kind": file.asked.kind,
        "portal": file.asked.portal.value if file.asked.kind == "dossiers" else None,
        "period": file.asked.period,
        "digest": file.digest.hex(),
        "size": file.size,
        "state": "dry_run",
        "requested_by": file.asked.by,
        "started_at": now,
        "finished_at": file.settings.now(),
        "attempts": 0,
        "last_row": run.cursor,
        "total": run.total,
        "items": run.items,
        "accepted": run.items - run.rejected,
        "unchanged": 0,
        "stale": 0,
        "rejected": run.rejected,
        "error": None,
    } | run.report


def _count(run: Progress, rows: Sequence[Row], refused: Sequence[Refusal]) -> None:
    run.items += len(rows)
    run.rejected += len(refused)
    run.cursor = rows[-1].number if rows else run.cursor
    run.refuse(refused)


def _dossier_reader(file: Understood, now: datetime) -> Callable[[Row], Head | Refusal]:
    exported_at = stamp(file.asked.exported_at) if file.asked.exported_at else None
    return dossiers.reader(
        file.header, file.words, portal=file.asked.portal, exported_at=exported_at, now=now
    )


def _read_all(read: Callable[[Row], Head | Refusal], rows: list[Row]) -> list[Head | Refusal]:
    return [read(row) for row in rows]


def _columns_of(file: Understood) -> list[int]:
    return [file.header.indexes[name] for name in sorted(file.header.indexes)]


def _list_settings(file: Understood, now: datetime) -> ListSettings:
    return ListSettings(
        fields=sorted(file.header.indexes),
        words=file.words,
        province=file.settings.province_code,
        complete=file.asked.complete,
        valid_from=file.asked.valid_from,
        valid_to=file.asked.valid_to,
        exported_at=stamp(file.asked.exported_at) if file.asked.exported_at else None,
        now=now,
    )


async def work_off(
    engine: AsyncEngine,
    file: Understood,
    run_id: int,
    *,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> bool:
    """Store the rest of the file. False: another process works on the run, or it is done already. `stop` ends it after
    the batch at hand. While the database is away the batch at hand is tried again (PATIENCE); then, and after any other
    error, the error is raised: the run is `failed`, or stays as it is for the same file to go on."""
    batches = file.table.batches
    pauses = iter(PATIENCE)
    pending: _Pending | None = None
    while True:
        try:
            async with import_runs.lock(engine, run_id) as held:
                if not held:
                    return False
                async with session_scope(engine) as session:
                    run = await import_runs.take_up(session, run_id)
                if run is None:
                    return pending is not None  # the answer to our last commit was lost, not the commit
                if pending is None:
                    after = max(run.cursor, file.header.row)
                    pending = _Pending(batches(_columns_of(file), after=after))
                return await _store_all(engine, file, run, pending, stop, on_progress)
        except Exception as error:
            pause = next(pauses, None) if _database_away(error) else None
            if pause is None:
                raise
            log.warning("import waits for the database", run=run_id, error=type(error).__name__)
            await asyncio.sleep(pause)


class _Pending:
    """The rows of a file, with the batch at hand kept until it is known to be committed."""

    def __init__(self, rows: AsyncIterator[list[Row]]) -> None:
        self._rows = rows
        self._batch: list[Row] | None = None
        self._all: list[Row] | None = None

    async def batch(self) -> list[Row] | None:
        if self._batch is None:
            self._batch = await anext(self._rows, None)
        return self._batch

    def done(self) -> None:
        self._batch = None

    async def all(self) -> list[Row]:
        """Raises Invalid beyond LIST_LIMIT rows."""
        if self._all is None:
            rows: list[Row] = []
            async for batch in self._rows:
                rows += batch
                if len(rows) > LIST_LIMIT:
                    raise Invalid(
                        f"Tệp có quá {LIST_LIMIT} dòng.",
                        f"The file has over {LIST_LIMIT} rows.",
                        field="file",
                    )
            self._all = rows
        return self._all


async def _store_all(
    engine: AsyncEngine,
    file: Understood,
    run: Progress,
    pending: _Pending,
    stop: asyncio.Event | None,
    on_progress: Callable[[Progress], None] | None,
) -> bool:
    told = log.bind(run=run.id, kind=file.asked.kind, attempt=run.attempts)
    told.info("import begins", row=run.cursor)
    try:
        if file.asked.kind == "dossiers":
            while (rows := await pending.batch()) is not None:
                if rows[-1].number > run.cursor:  # else it was committed, though we did not hear of it
                    await _store_dossiers(engine, file, run, rows)
                    if on_progress is not None:
                        on_progress(run)
                pending.done()
                if stop is not None and stop.is_set():
                    await import_runs.end(engine, run, "interrupted", error=None, now=file.settings.now())
                    told.info("import interrupted", row=run.cursor)
                    return True
            async with session_scope(engine) as session:
                await import_runs.advance(session, run, ended_at=file.settings.now())
        else:
            await _store_list(engine, file, run, pending)
        if on_progress is not None:
            on_progress(run)
    except ImportLost:
        told.warning("import lost to another process")
        return False
    except Exception as error:
        if not _database_away(error):
            told.warning("import failed", error=sentence(error), row=run.cursor)
            await import_runs.end(engine, run, "failed", error=sentence(error), now=file.settings.now())
        raise
    told.info("import done", items=run.items, rejected=run.rejected)
    return True


async def _store_dossiers(engine: AsyncEngine, file: Understood, run: Progress, rows: list[Row]) -> None:
    now = file.settings.now()
    read = _dossier_reader(file, now)
    heads = await asyncio.to_thread(_read_all, read, rows)
    async with session_scope(engine) as session:
        outcome = await accept(
            session,
            portal=file.asked.portal,
            via="import",
            door="import",
            sender=file.asked.by,
            now=now,
            heads=heads,
        )
        run.accepted += outcome.accepted
        run.unchanged += outcome.unchanged
        run.stale += outcome.stale
        _count(run, rows, [head for head in heads if isinstance(head, Refusal)])
        await import_runs.advance(session, run)


async def _store_list(engine: AsyncEngine, file: Understood, run: Progress, pending: _Pending) -> None:
    """One transaction: a list is taken as a whole or not at all."""
    rows = await pending.all()
    now = file.settings.now()
    given = read_list(file.asked.kind, rows, _list_settings(file, now))
    async with session_scope(engine) as session:
        stored = await store_list(session, given, by=file.asked.by, now=now)
        run.accepted, run.unchanged, run.stale = stored.changed, stored.unchanged, stored.stale
        _count(run, rows, given.refused)
        run.report |= stored.report
        await import_runs.advance(session, run, ended_at=now)


def _database_away(error: Exception) -> bool:
    """No connection, one that broke in the middle, a deadlock, or the server is shutting down: nothing that the file
    did wrong."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | asyncpg.InterfaceError | OSError):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    return state[:2] in ("08", "40", "53", "55", "57") or getattr(error, "connection_invalidated", False)


async def run_one(
    engine: AsyncEngine,
    settings: Settings,
    path: Path,
    asked: Asked,
    *,
    trial: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Import one file in this process, to its end; what is done already is only told. Returns the import as the API
    shows it. Raises Invalid, Unreadable, TooLarge, Conflict (another process works on it), and what ended the run."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise Unreadable("Không mở được tệp.", f"The file cannot be opened: {error.strerror}.") from None
    with file:
        async with understood(file, asked, settings) as given:
            if trial:
                return await dry_run(given)
            async with session_scope(engine) as session:
                run_id, state = await import_runs.register(session, given)
            if state != "done" and not await work_off(engine, given, run_id, on_progress=on_progress):
                raise Conflict(
                    f"Tiến trình khác đang nạp tệp này (số {run_id}).",
                    f"Another process is importing this file (import {run_id}).",
                )
    async with session_scope(engine) as session:
        return await import_queries.read(session, run_id)


def told(run: dict[str, Any]) -> Iterator[str]:
    """An import in lines for a terminal."""
    counts = ", ".join(f"{run[name]} {name}" for name in ("accepted", "unchanged", "stale", "rejected"))
    number = "" if run["id"] is None else f" {run['id']}"
    yield f"import{number} {run['state']}: {run['items']} rows ({counts})"
    if run["id"] is None:
        yield f"header in row {run['header_row']}"
        for column in run["columns"]:
            what = column["field"] or f"not read ({column['why']})"
            yield f"column {column['position']} {column['header'] or ''}: {what}"
    for refusal in run["refusals"]:
        yield f"row {refusal['row']}: {refusal['reason']}"
    if ambiguous := run.get("ambiguous"):
        yield f"names that mean no unit: {', '.join(ambiguous)}"
