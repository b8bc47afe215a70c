"""The change queue (architecture.md §4, ADR 0011): who changed, for whom, from when on. And the workers' signs of life.

A producer writes rows of up to PACK codes per consumer in the transaction of the change. A worker takes the due rows,
oldest first, with FOR UPDATE SKIP LOCKED, works, deletes them and commits: a crash gives them back.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from shared import collecting
from shared.db import driver, rows_to_columns, session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer

CHANNEL = "change"
PROCEDURES = "procedures"
"""Reserved code: the decisions or the national list of procedures changed (written for reconcile by the end of
a procedures pull and by POST /v1/decisions). Only reconcile's worker reads it so; canonical dossier codes are
upper-case, and a dossier whose code is this very text is compared as well."""
CAPTURES = "captures"
"""Reserved in the same way: a capture of published figures has ended (written for indicators by ingest), or has been
scored again (for reconcile, by indicators)."""
UNITS = "units"
"""Reserved in the same way: look for patterns of units now (for reconcile, by the first run at the end of its load)."""
PACK = 1000
"""Codes of one row at most: what one take works off in one transaction."""
POLL_SECONDS = 2.0
"""How long a delayed row or a lost notice can go unnoticed."""
POSTPONED = timedelta(minutes=10)
"""After what time a code that broke its worker is tried again."""

log = structlog.get_logger("queue")


@dataclass(frozen=True, slots=True)
class Taken:
    """What one take holds: the keys of the queue's rows, and the distinct codes in key order."""

    consumer: Consumer
    rows: list[tuple[datetime, int]]
    codes: list[str]


async def enqueue(
    session: AsyncSession, codes: Iterable[str], *, consumers: Sequence[Consumer], now: datetime
) -> int:
    """Append the codes for each consumer, due at once. Returns the number of codes."""
    unique = sorted(set(codes))
    if unique:
        connection = await driver(session)
        for start in range(0, len(unique), PACK):
            await connection.execute(
                "INSERT INTO change (consumer, wake_at, queued_at, codes)"
                " SELECT consumer, $3, $3, $1::text[] FROM unnest($2::text[]) AS w(consumer)",
                unique[start : start + PACK],
                list(consumers),
                now,
            )
        await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
    return len(unique)


def appending(codes: str, *, consumers: Sequence[Consumer], at: str) -> str:
    """SQL that appends what the subquery `codes` selects (a column `code`), due at `at`, as a part of a larger
    set-based statement. Who runs it notifies CHANNEL where workers should not wait for their poll."""
    values = ", ".join(f"('{consumer.value}')" for consumer in consumers)
    return f"""INSERT INTO change (consumer, wake_at, queued_at, codes)
      SELECT consumer, {at}, {at}, codes FROM (
        SELECT array_agg(code) AS codes FROM (
          SELECT code, (row_number() OVER () - 1) / {PACK} AS pack FROM ({codes}) AS told) AS packed
        GROUP BY pack) AS packs, (VALUES {values}) AS c(consumer)"""  # noqa: S608 - names are ours


async def enqueue_wake(
    session: AsyncSession, wakes: Sequence[tuple[str, datetime]], *, consumer: Consumer, now: datetime
) -> None:
    """Append delayed rows: (code, the moment at which its judgement changes without any message). The codes of one
    moment share rows: most appointments end with a working day."""
    if wakes:
        packed: dict[datetime, list[str]] = {}
        for code, at in sorted(set(wakes)):
            packed.setdefault(at, []).append(code)
        rows = [
            (at, codes[start : start + PACK])
            for at, codes in sorted(packed.items())
            for start in range(0, len(codes), PACK)
        ]
        await (await driver(session)).executemany(
            "INSERT INTO change (consumer, wake_at, queued_at, codes) VALUES ($1, $2, $3, $4)",
            [(consumer, at, now, codes) for at, codes in rows],
        )


async def take(session: AsyncSession, *, consumer: Consumer, now: datetime, limit: int = PACK) -> Taken:
    """The due rows of a consumer that no other worker holds, until they hold `limit` codes or a little more; they stay
    locked until the transaction ends."""
    rows: list[tuple[datetime, int]] = []
    codes: set[str] = set()
    # A cursor locks a row only when it is read: what this take does not need stays free for another worker.
    cursor = await (await driver(session)).cursor(
        "SELECT wake_at, id, codes FROM change WHERE consumer = $1 AND wake_at <= $2"
        " ORDER BY wake_at, id FOR UPDATE SKIP LOCKED",
        consumer,
        now,
    )
    largest = PACK
    while len(codes) < limit:
        wanted = max(1, (limit - len(codes)) // largest)
        found = await cursor.fetch(wanted)
        for row in found:
            rows.append((row["wake_at"], row["id"]))
            codes.update(row["codes"])
        if len(found) < wanted:
            break
        largest = max(len(row["codes"]) for row in found)
    return Taken(consumer=consumer, rows=rows, codes=sorted(codes))


async def finish(session: AsyncSession, taken: Taken) -> None:
    """Delete what was taken, in the same transaction as the work."""
    await (await driver(session)).execute(
        "DELETE FROM change c USING unnest($2::timestamptz[], $3::bigint[]) AS t(wake_at, id)"
        " WHERE c.consumer = $1 AND c.wake_at = t.wake_at AND c.id = t.id",
        taken.consumer,
        *rows_to_columns(taken.rows, 2),
    )


async def pending(session: AsyncSession, *, now: datetime) -> dict[str, int]:
    """Due codes per consumer: how far the workers are behind."""
    result = await session.execute(
        text(
            "SELECT consumer, sum(cardinality(codes)) AS count FROM change WHERE wake_at <= :now GROUP BY consumer"
        ),
        {"now": now},
    )
    counts = {consumer.value: 0 for consumer in Consumer}
    counts.update((consumer, count) for consumer, count in result)
    return counts


async def beat(session: AsyncSession, name: str, *, now: datetime, detail: str = "{}") -> None:
    await session.execute(
        text(
            "INSERT INTO heartbeat (name, at, detail) VALUES (:name, :now, CAST(:detail AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET at = excluded.at, detail = excluded.detail"
        ),
        {"name": name, "now": now, "detail": detail},
    )


AWAY = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""The database's own errors: waited for and tried again as a whole, except what `_of_the_work` says."""

_WORK_STATES = ("22", "23")
"""SQLSTATE classes of a value, or of a rule of a table, that PostgreSQL refuses: it will again."""


def _of_the_work(error: Exception) -> bool:
    """Whether repeating would meet the same error: then one code must not keep all others waiting."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    return state[:2] in _WORK_STATES or not isinstance(error, AWAY)


Work = Callable[[AsyncSession, Taken, datetime], Awaitable[None]]
Tick = Callable[[AsyncEngine, datetime], Awaitable[None]]


async def work_once(
    engine: AsyncEngine, *, consumer: Consumer, work: Work, now: datetime, limit: int = PACK
) -> int:
    """One take in one transaction. Returns the number of codes worked off. Where one of them breaks the work, the
    take is worked off code by code, and only that one is put off."""
    try:
        with collecting.put_off():
            async with session_scope(engine) as session:
                taken = await take(session, consumer=consumer, now=now, limit=limit)
                if taken.codes:
                    await work(session, taken, now)
                    await finish(session, taken)
                return len(taken.codes)
    except Exception as error:
        if not _of_the_work(error):
            raise
        log.error("a take failed, going on code by code", consumer=consumer.value, kind=type(error).__name__)
    return await _one_by_one(engine, consumer=consumer, work=work, now=now, limit=limit)


async def _one_by_one(
    engine: AsyncEngine, *, consumer: Consumer, work: Work, now: datetime, limit: int
) -> int:
    """As work_once, each code behind a savepoint of its own; one that fails is tried again after POSTPONED."""
    async with session_scope(engine) as session:
        taken = await take(session, consumer=consumer, now=now, limit=limit)
        for code in taken.codes:
            alone = replace(taken, rows=[], codes=[code])
            try:
                async with session.begin_nested():
                    await work(session, alone, now)
            except Exception as error:
                if not _of_the_work(error):
                    raise
                log.error("a code is put off", consumer=consumer.value, code=code, kind=type(error).__name__)
                await enqueue_wake(session, [(code, now + POSTPONED)], consumer=consumer, now=now)
        await finish(session, taken)
        return len(taken.codes)


async def drain(
    engine: AsyncEngine, *, consumer: Consumer, work: Work, now: datetime, limit: int = PACK
) -> int:
    """Work until nothing is due at `now`. Returns the number of codes worked off."""
    total = 0
    while done := await work_once(engine, consumer=consumer, work=work, now=now, limit=limit):
        total += done
    return total


async def run_worker(
    engine: AsyncEngine, settings: Settings, *, consumer: Consumer, work: Work, tick: Tick | None = None
) -> None:
    """Run until SIGINT or SIGTERM: woken by NOTIFY, and by a poll where a notice was lost. `tick` runs before each
    drain (the first moment of a period). A database that is away is waited for; nothing is lost meanwhile."""
    stop = asyncio.Event()
    woken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        stop.set()
        woken.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, end)
    listener = asyncio.create_task(_listen(engine, woken, stop))
    try:
        while not stop.is_set():
            woken.clear()
            try:
                now = settings.now()
                if tick is not None:
                    await tick(engine, now)
                done = 1
                while done and not stop.is_set():
                    done = await work_once(engine, consumer=consumer, work=work, now=settings.now())
                    # After each take: a worker with hours of backlog is slow, not away.
                    async with session_scope(engine) as session:
                        await beat(session, consumer.value, now=settings.now())
            except AWAY as error:
                log.warning("database away, waiting", consumer=consumer.value, error=type(error).__name__)
                await _sleep(stop, 2.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), timeout=POLL_SECONDS)
    finally:
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), timeout=seconds)


async def _listen(engine: AsyncEngine, woken: asyncio.Event, stop: asyncio.Event) -> None:
    """Hold one connection that sets `woken` at each notice; come back when it breaks. The poll covers the gaps."""

    def notice(*_: Any) -> None:
        woken.set()

    while not stop.is_set():
        with suppress(DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            async with engine.connect() as connection:
                autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
                raw: Any = (await autocommit.get_raw_connection()).driver_connection
                await raw.add_listener(CHANNEL, notice)
                try:
                    while not stop.is_set() and not raw.is_closed():
                        await _sleep(stop, 1.0)
                finally:
                    if not raw.is_closed():
                        await raw.remove_listener(CHANNEL, notice)
        await _sleep(stop, 1.0)
