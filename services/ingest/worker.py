"""The worker of ingest: asks for pulls when they are due, and works off those that are asked for.

Any number of workers may run: an advisory lock gives each run to one of them. A run whose worker died is
queued for whoever comes next; it goes on at its cursor.
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest import capture_circuit, capture_plan, pull, receipts, run_queries, runs
from services.ingest.portals.http import Retry
from shared import idempotency, queue
from shared.calendar import TZ, local_day
from shared.db import create_engine, session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Subject

log = structlog.get_logger("ingest")

POLL_SECONDS = 1.0
PRUNE_SECONDS = 3600.0
PATIENCE_SECONDS = 10.0
"""How long the pulls in hand may take to reach the end of their page when the worker is told to end; then
they are cancelled, which rolls the page back and loses nothing."""

NAME = "ingest"

ORDER: tuple[tuple[Portal, Subject], ...] = (
    (Portal.NATIONAL, Subject.UNITS),
    (Portal.PROVINCIAL, Subject.UNITS),
    (Portal.NATIONAL, Subject.PROCEDURES),
    (Portal.PROVINCIAL, Subject.DOSSIERS),
    (Portal.NATIONAL, Subject.DOSSIERS),
    (Portal.NATIONAL, Subject.LOOKUPS),
)
"""The first pulls come one after the other, each when the one before has ended: units before the dossiers
that name them, procedures before those that lack an appointment, dossiers before the look-ups of their
codes."""
CAPTURES = (Portal.NATIONAL, Subject.CAPTURES)
"""Once a day, at its own hour (capture_plan)."""


async def run(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises ValueError without a DATABASE_URL."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is needed; `chiso up` hands it down")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    engine = create_engine(settings.database_url)
    try:
        await serve(engine, settings, stop)
    finally:
        await engine.dispose()


async def serve(
    engine: AsyncEngine, settings: Settings, stop: asyncio.Event, *, retry: Retry | None = None
) -> None:
    """Work until `stop` is set, then end after the pages in hand. A database that is away is waited for."""
    woken = asyncio.Event()
    listener = asyncio.create_task(_listen(engine, woken, stop))
    worker = Worker(engine, settings, stop, woken, retry)
    try:
        while not stop.is_set():
            woken.clear()
            try:
                await worker.turn()
            except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("database away, waiting", error=type(error).__name__)
            await _first(stop, woken, seconds=POLL_SECONDS)
    finally:
        stop.set()
        await worker.end()
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener


class Worker:
    """The pulls in hand, and when each is due again."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        stop: asyncio.Event,
        woken: asyncio.Event,
        retry: Retry | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._stop = stop
        self._woken = woken
        self._retry = retry
        self._tasks: dict[tuple[Portal, Subject], asyncio.Task[None]] = {}
        self._due: dict[tuple[Portal, Subject], float] = {}
        self._ended: set[tuple[Portal, Subject]] = set()
        self._prune_at = 0.0
        self._captured_on: date | None = None

    async def turn(self) -> None:
        """Ask for what is due, begin what nobody works on, and give a sign of life."""
        settings = self._settings
        async with session_scope(self._engine) as session:
            if self._prune_at <= (moment := asyncio.get_running_loop().time()):
                now = settings.now()
                pruned = await receipts.prune(session, now=now) + await idempotency.prune(session, now=now)
                self._prune_at = moment if pruned else moment + PRUNE_SECONDS
            waiting = await run_queries.active(session)
            if not self._ended.issuperset(self._wanted()):  # it reads all runs that ever were
                self._ended = await run_queries.ended(session)
            asked = self._to_ask_for({(p, s) for _, p, s in waiting}, self._ended)
            if await self._capture_due(session, waiting):
                asked.append(CAPTURES)
            for portal, subject in asked:
                with suppress(runs.RunActive):  # another worker was quicker
                    run_id = await runs.request(
                        session,
                        portal=portal,
                        subject=subject,
                        by=NAME,
                        now=settings.now(),
                        settings=settings,
                    )
                    waiting.append((run_id, portal, subject))
            detail = json.dumps({"pulling": [f"{portal}/{subject}" for portal, subject in self._tasks]})
            await queue.beat(session, NAME, now=settings.now(), detail=detail)
        for run_id, portal, subject in waiting:
            if (portal, subject) not in self._tasks and runs.configured(portal, subject, settings):
                self._begin(run_id, portal, subject)

    def _to_ask_for(
        self, waiting: set[tuple[Portal, Subject]], ended: set[tuple[Portal, Subject]]
    ) -> list[tuple[Portal, Subject]]:
        now = asyncio.get_running_loop().time()
        asked: list[tuple[Portal, Subject]] = []
        for key in self._wanted():
            if key in waiting:
                if key not in ended:
                    break  # the first of its kind: what comes after it waits
            elif key not in ended:
                asked.append(key)
                break
            elif self._due.setdefault(key, now) <= now:
                asked.append(key)
        for key in asked:
            self._due[key] = now + self._settings.sync_interval_seconds
        return asked

    async def _capture_due(self, session: AsyncSession, waiting: list[tuple[int, Portal, Subject]]) -> bool:
        """Whether today's capture is due: after the units have come once, for they say whose figures these are."""
        now = self._settings.now()
        today = local_day(now)
        if (
            not runs.configured(*CAPTURES, self._settings)
            or self._captured_on == today
            or now < capture_plan.start_of(today)
            or any((portal, subject) == CAPTURES for _, portal, subject in waiting)
            or not self._ended.issuperset(self._wanted())
            or await capture_circuit.is_open(session)
        ):
            return False
        tried = await run_queries.ended_since(session, *CAPTURES, since=datetime.combine(today, time(), TZ))
        if any(each.state == "done" for each in tried):
            self._captured_on = today
        return capture_plan.is_due(
            now,
            [
                capture_plan.Tried(each.state == "done", each.finished_at, "PortalLimited" in each.error)
                for each in tried
            ],
        )

    def _wanted(self) -> list[tuple[Portal, Subject]]:
        settings = self._settings
        return [
            (portal, subject)
            for portal, subject in ORDER
            if runs.configured(portal, subject, settings)
            and (settings.national_list or (portal, subject) != (Portal.NATIONAL, Subject.DOSSIERS))
        ]

    def _begin(self, run_id: int, portal: Portal, subject: Subject) -> None:
        key = (portal, subject)
        task = asyncio.create_task(self._work(run_id, portal, subject))
        self._tasks[key] = task

        def over(_: asyncio.Task[None]) -> None:
            del self._tasks[key]
            self._woken.set()  # what waits for this one can begin

        task.add_done_callback(over)

    async def _work(self, run_id: int, portal: Portal, subject: Subject) -> None:
        try:
            await pull.work_off(
                self._engine,
                self._settings,
                run_id,
                portal,
                subject,
                stop=self._stop,
                retry=self._retry,
            )
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("pull waits for the database", run=run_id, error=type(error).__name__)
        finally:
            now = asyncio.get_running_loop().time()
            self._due[portal, subject] = now + self._settings.sync_interval_seconds

    async def end(self) -> None:
        """Wait for the pulls in hand to reach the end of their page, then cancel what is left."""
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _first(*events: asyncio.Event, seconds: float) -> None:
    """Until one of the events is set, or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _listen(engine: AsyncEngine, woken: asyncio.Event, stop: asyncio.Event) -> None:
    """Hold a connection that sets `woken` at each notice; come back when it breaks. The poll covers the
    gaps."""

    def notice(*_: Any) -> None:
        woken.set()

    while not stop.is_set():
        with suppress(DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            async with engine.connect() as connection:
                connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
                raw: Any = (await connection.get_raw_connection()).driver_connection
                await raw.add_listener(runs.CHANNEL, notice)
                try:
                    while not raw.is_closed():
                        await _first(stop, seconds=POLL_SECONDS)
                        if stop.is_set():
                            return
                finally:
                    if not raw.is_closed():
                        await raw.remove_listener(runs.CHANNEL, notice)
        await _first(stop, seconds=POLL_SECONDS)
