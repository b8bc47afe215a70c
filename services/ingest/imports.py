"""Files as runs: understood, worked off batch by batch, taken up again where they ended.

The file is never kept: it lies in a temporary file without a name while its process lives. What stays is a row that
says how far it got, written in the transaction of each batch; after a kill -9 the same file, sent again, goes on
there. A run is worked on by whoever holds its advisory lock, and `attempts` is the fence (as in runs.py).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, BinaryIO

import asyncpg
import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest.files import columns, dossiers, table
from services.ingest.files.columns import Header, Kind, Words
from services.ingest.files.reader import Sheet
from services.ingest.files.table import Row, Table
from services.ingest.import_lists import ListSettings, read_list, store_list
from services.ingest.import_queries import LOCK
from services.ingest.normalise import Head, Refusal, stamp
from services.ingest.runs import sentence
from services.ingest.service import accept
from shared.db import session_scope
from shared.errors import Conflict, Invalid
from shared.settings import Settings
from shared.vocabulary import Portal

log = structlog.get_logger("imports")

SHOWN = 20
"""Refusals that are told beside the counts; all of them are in the quarantine."""
LIST_LIMIT = 100_000
"""Rows of a file that is one transaction: procedures, units, predecessors."""
PATIENCE: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 30)
"""Pauses, in seconds, before a batch is tried again while the database is away."""


class ImportLost(Conflict):
    """Another process has taken the run up."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a file is to be read. `complete`: a list of procedures that holds all there are. `exported_at`: when the
    portal made a dossier export. `valid_from`, `valid_to`: days of units that the file does not date."""

    kind: Kind
    by: str
    name: str = ""
    portal: Portal = Portal.NATIONAL
    period: str | None = None
    complete: bool = False
    again: bool = False
    exported_at: datetime | None = None
    valid_from: date | None = None
    valid_to: date | None = None

    def check(self) -> None:
        """Raises Invalid."""
        if self.portal not in (Portal.NATIONAL, Portal.PROVINCIAL):
            raise Invalid(
                "portal: cần national hoặc provincial.",
                "portal: expected national or provincial",
                field="portal",
            )


@dataclass(frozen=True, slots=True)
class Understood:
    """An open file with its header found. `digest` and `size` of its bytes."""

    asked: Asked
    table: Table
    header: Header
    words: Words
    digest: bytes
    size: int
    settings: Settings

    def task(self) -> bytes:
        """What makes it this run and no other: the bytes, and all that decides what becomes of them."""
        asked = self.asked
        told = (
            self.digest.hex(),
            asked.kind,
            asked.portal if asked.kind == "dossiers" else "",
            asked.complete,
            asked.exported_at,
            asked.valid_from,
            asked.valid_to,
            repr(self.words),
        )
        return hashlib.blake2b(repr(told).encode(), digest_size=32).digest()


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


@asynccontextmanager
async def understood(file: BinaryIO, asked: Asked, settings: Settings) -> AsyncIterator[Understood]:
    """Open a file and find its header; nothing is stored. Raises Unreadable, TooLarge, Invalid."""
    asked.check()
    all_words = columns.read_words(settings.import_columns)
    words = all_words[asked.kind]
    size, digest = await asyncio.to_thread(_digest, file)
    if size == 0:
        raise Invalid("Tệp không có dữ liệu.", "The file is empty.", field="file")
    heads: list[list[tuple[int, list[Any]]]] = []

    def find(sheet: Sheet) -> Header | None:
        heads.append(sheet.head)
        return columns.find_header(sheet.head, words, offset=sheet.offset)

    async with table.opened(file.fileno()) as opened:
        header = await opened.find(find)
        if header is None:
            raise columns.no_header(heads, asked.kind, all_words)
        yield Understood(asked, opened, header, words, digest, size, settings)


def _digest(file: BinaryIO) -> tuple[int, bytes]:
    digest = hashlib.blake2b(digest_size=32)
    file.seek(0)
    while chunk := file.read(1024 * 1024):
        digest.update(chunk)
    size = file.tell()
    file.seek(0)
    file.flush()  # another process is about to read it
    return size, digest.digest()


def _report(file: Understood) -> dict[str, Any]:
    return {
        "header_row": file.header.row,
        "columns": [column._asdict() for column in file.header.columns],
        "refusals": [],
    }


# --- dry run ------------------------------------------------------------------------------------------------


async def dry_run(file: Understood) -> dict[str, Any]:
    """What would become of the file, as an import shows it: all of it is read and nothing is stored."""
    run = Progress(total=file.table.total, report=_report(file))
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
        read_rows = read_list(file.asked.kind, rows, _list_settings(file))
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


def _list_settings(file: Understood) -> ListSettings:
    return ListSettings(
        fields=sorted(file.header.indexes),
        words=file.words,
        province=file.settings.province_code,
        complete=file.asked.complete,
        valid_from=file.asked.valid_from,
        valid_to=file.asked.valid_to,
    )


# --- runs ---------------------------------------------------------------------------------------------------


async def register(session: AsyncSession, file: Understood) -> tuple[int, str]:
    """(the run's id, its state): of a file that is new, one that went half way, or one that is done."""
    asked = file.asked
    row = (
        await session.execute(
            text(
                "INSERT INTO import_run AS r (task, kind, portal, period, digest, name_digest, size, state,"
                " requested_by, started_at, attempts, cursor, total, items, accepted, unchanged, stale, rejected,"
                " report) VALUES (:task, :kind, :portal, :period, :digest, :name_digest, :size, 'queued', :by, :now,"
                " 0, 0, :total, 0, 0, 0, 0, 0, CAST(:report AS jsonb))"
                " ON CONFLICT (task) DO UPDATE SET state = CASE WHEN :again AND r.state <> 'running'"
                " THEN 'queued' ELSE r.state END, cursor = CASE WHEN :again AND r.state <> 'running' THEN 0"
                " ELSE r.cursor END RETURNING id, state"
            ),
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
                "report": msgspec.json.encode(_report(file)).decode(),
            },
        )
    ).one()
    return row.id, row.state


@asynccontextmanager
async def _lock(engine: AsyncEngine, run_id: int) -> AsyncIterator[bool]:
    """Whether we hold this run, on a connection of its own, until the block ends: who dies loses it."""
    key = {"id": str(run_id)}
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        spelt = LOCK.replace("id", "CAST(:id AS text)")
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


async def _take_up(session: AsyncSession, run_id: int) -> Progress | None:
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


async def _advance(session: AsyncSession, run: Progress, *, ended_at: datetime | None = None) -> None:
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


async def _end(engine: AsyncEngine, run: Progress, state: str, *, error: str | None, now: datetime) -> None:
    async with session_scope(engine) as session:
        await session.execute(
            text(
                "UPDATE import_run SET state = :state, error = :error, finished_at = :now"
                " WHERE id = :id AND attempts = :attempts AND state = 'running'"
            ),
            {"id": run.id, "attempts": run.attempts, "state": state, "error": error, "now": now},
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
            async with _lock(engine, run_id) as held:
                if not held:
                    return False
                async with session_scope(engine) as session:
                    run = await _take_up(session, run_id)
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
                    await _end(engine, run, "interrupted", error=None, now=file.settings.now())
                    told.info("import interrupted", row=run.cursor)
                    return True
            async with session_scope(engine) as session:
                await _advance(session, run, ended_at=file.settings.now())
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
            await _end(engine, run, "failed", error=sentence(error), now=file.settings.now())
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
        await _advance(session, run)


async def _store_list(engine: AsyncEngine, file: Understood, run: Progress, pending: _Pending) -> None:
    """One transaction: a list is taken as a whole or not at all."""
    rows = await pending.all()
    now = file.settings.now()
    given = read_list(file.asked.kind, rows, _list_settings(file))
    async with session_scope(engine) as session:
        stored = await store_list(session, given, by=file.asked.by, now=now)
        run.accepted, run.unchanged = stored.changed, stored.unchanged
        _count(run, rows, given.refused)
        run.report |= stored.report
        await _advance(session, run, ended_at=now)


def _database_away(error: Exception) -> bool:
    """No connection, a deadlock, or the server is shutting down: nothing that the file did wrong."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state[:2] in ("08", "40", "53", "57")
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in ("08", "40", "53", "57")
    return isinstance(error, asyncpg.InterfaceError | OSError)
