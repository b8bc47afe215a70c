"""The reconcile worker, and the full comparison: both go through service.compare_dossiers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.reconcile import captures, patterns, queries, service, sieve
from services.reconcile.parameters import parameters_on
from shared import queue
from shared.calendar import local_day
from shared.db import create_engine, session_scope
from shared.settings import Settings, get_settings
from shared.vocabulary import Consumer

BATCH = 1000
PATTERNS_EVERY = timedelta(hours=1)
PATTERNS_AFTER_CHANGES = timedelta(minutes=5)
"""Patterns take a pass over all dossiers: a busy hour has at most twelve."""
NOTED = 20
"""Times as many comparison rows are written at once where nothing has to be judged."""


async def work(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
    """Work off one take in its transaction. Any number of workers; doing it twice changes nothing."""
    province = get_settings().province_code
    reserved = {queue.PROCEDURES, queue.CAPTURES, queue.UNITS}.intersection(taken.codes)
    codes = [code for code in taken.codes if code not in reserved]
    # Somebody may have given a dossier this very text as its code: it is compared too.
    codes += [code for code in sorted(reserved) if await queries.copies(session, [code])]
    await service.compare_dossiers(session, codes, now=now, province=province)
    if queue.PROCEDURES in reserved:
        await service.reconcile_procedures(session, now=now, province=province)
    if queue.CAPTURES in reserved:
        await captures.reconcile_captures(session, now=now, province=province)
    if queue.UNITS in reserved:
        await patterns.reconcile_units(session, now=now, province=province)


async def full(
    engine: AsyncEngine,
    clock: Callable[[], datetime],
    *,
    batch: int = BATCH,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Compare every dossier and the procedures: one pass that reads all copies says which could have a finding, or have
    one (sieve.py); only these are judged, a transaction a batch, two batches at a time; procedures, captures and units
    beside them. Returns how many findings opened, reopened, changed and resolved, and `compared`. Each batch is judged
    at its own moment: by the moment of the start, a comparison of hours would resolve what a worker has opened
    meanwhile. on_progress: dossiers that are settled, and all of them."""
    province = get_settings().province_code
    async with session_scope(engine) as session:
        now = clock()
        sifted = await sieve.sift(session, now=now, parameters=parameters_on(local_day(now), province))
    totals = Counter(compared=sifted.dossiers)
    settled = sifted.dossiers - len(sifted.codes)

    def settle(dossiers: int) -> None:
        nonlocal settled
        settled += dossiers
        on_progress(settled, sifted.dossiers)

    settle(0)
    noted: set[str] = set()
    for codes in _batches(sifted.new, batch * NOTED):
        async with session_scope(engine) as session:
            told = await sieve.note(session, codes, sifted, now=clock())
        noted |= told
        settle(len(told))
    batches = _batches([code for code in sifted.codes if code not in noted], batch)

    async def judge() -> None:
        for codes in batches:
            async with session_scope(engine) as session:
                totals.update(await service.compare_dossiers(session, codes, now=clock(), province=province))
            settle(len(codes))

    async def others() -> None:
        async with session_scope(engine) as session:
            totals.update(await service.reconcile_procedures(session, now=clock(), province=province))
            totals.update(await captures.reconcile_captures(session, now=clock(), province=province))
        async with session_scope(engine) as session:
            totals.update(await patterns.reconcile_units(session, now=clock(), province=province))

    try:
        async with asyncio.TaskGroup() as group:
            for task in (judge(), judge(), others()):
                group.create_task(task)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return dict(totals)


def _batches(codes: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (codes[at : at + size] for at in range(0, len(codes), size))


@dataclass(slots=True)
class Patterns:
    """When patterns of units are looked for: as the worker begins; soon after it has worked off what changed; in any
    case an hour after the last look. `last`: that look; `changed`: something was worked off since."""

    last: datetime | None = None
    changed: bool = False

    async def work(self, session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
        await work(session, taken, now)
        self.changed = True

    async def tick(self, engine: AsyncEngine, now: datetime) -> None:
        async with session_scope(engine) as session:
            if await self._due(session, now):
                await patterns.reconcile_units(session, now=now, province=get_settings().province_code)
                self.last, self.changed = now, False

    async def _due(self, session: AsyncSession, now: datetime) -> bool:
        if self.last is None or now - self.last >= PATTERNS_EVERY:
            return True
        if not self.changed or now - self.last < PATTERNS_AFTER_CHANGES:
            return False
        # While there is more to work off, a look would soon be out of date.
        return not (await queue.pending(session, now=now))[Consumer.RECONCILE.value]


async def run(settings: Settings) -> None:
    """Work until the process is told to stop. Raises ValueError without a DATABASE_URL."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is needed; `chiso up` hands it down")
    engine = create_engine(settings.database_url, pool_size=4)
    looked = Patterns()
    try:
        await queue.run_worker(
            engine, settings, consumer=Consumer.RECONCILE, work=looked.work, tick=looked.tick
        )
    finally:
        await engine.dispose()
