"""The reconcile worker, and the full comparison: both go through service.compare_dossiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.reconcile import queries, service
from shared import queue
from shared.db import create_engine, session_scope
from shared.settings import Settings, get_settings
from shared.vocabulary import Consumer

BATCH = 1000


async def work(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
    """Work off one take in its transaction. Any number of workers; doing it twice changes nothing."""
    province = get_settings().province_code
    codes = [code for code in taken.codes if code != queue.PROCEDURES]
    if queue.PROCEDURES in taken.codes and await queries.copies(session, [queue.PROCEDURES]):
        codes.append(
            queue.PROCEDURES
        )  # somebody gave a dossier this very text as its code: it is compared too
    await service.compare_dossiers(session, codes, now=now, province=province)
    if queue.PROCEDURES in taken.codes:
        await service.reconcile_procedures(session, now=now, province=province)


async def full(engine: AsyncEngine, clock: Callable[[], datetime], *, batch: int = BATCH) -> dict[str, int]:
    """Compare every dossier and the procedures, a transaction a batch. Returns how many findings opened,
    reopened, changed and resolved, and `compared`. Each batch is judged at its own moment: by the moment of the
    start, a comparison of hours would resolve what a worker has opened meanwhile."""
    province = get_settings().province_code
    totals: Counter[str] = Counter()
    after = ""
    while True:
        async with session_scope(engine) as session:
            codes = await queries.codes_after(session, after, batch)
            totals.update(await service.compare_dossiers(session, codes, now=clock(), province=province))
        totals["compared"] += len(codes)
        if len(codes) < batch:
            break
        after = codes[-1]
    async with session_scope(engine) as session:
        totals.update(await service.reconcile_procedures(session, now=clock(), province=province))
    return dict(totals)


async def run(settings: Settings) -> None:
    """Work until the process is told to stop. Raises ValueError without a DATABASE_URL."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is needed; `chiso up` hands it down")
    engine = create_engine(settings.database_url, pool_size=4)
    try:
        await queue.run_worker(engine, settings, consumer=Consumer.RECONCILE, work=work)
    finally:
        await engine.dispose()
