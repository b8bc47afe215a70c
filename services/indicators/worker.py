"""The worker of indicators: takes changed dossiers, keeps assessments and the tally."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators import capture_scores, history, self_check, service
from shared import queue
from shared.db import create_engine, session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer

log = structlog.get_logger("indicators")

LOOK_SECONDS = 60.0
"""How often it is looked whether a night's self-check is due."""


async def work(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
    """Assess what was taken, in the caller's transaction; the reserved code asks for captures to be scored."""
    codes = taken.codes
    if queue.CAPTURES in codes:
        await capture_scores.score_captures(session, now=now)
        if not await service.has_copy(session, queue.CAPTURES):
            codes = [code for code in codes if code != queue.CAPTURES]
    if codes:
        await service.assess_codes(session, codes=codes, now=now)


async def tick(engine: AsyncEngine, now: datetime) -> None:
    """At a month's first moment (or the first one after a stop): carry the open dossiers in. At a day's: keep the
    figures as they stand."""
    async with session_scope(engine) as session:
        carried = await service.open_period(session, now=now)
    if carried is not None:
        log.info("period opened", carried=carried)
    async with session_scope(engine) as session:
        kept = await history.keep_day(session, now=now)
    if kept is not None:
        log.info("figures of the day kept", units=kept)


async def check_nightly(engine: AsyncEngine, settings: Settings) -> None:
    """Beside the work, until cancelled: the self-check, once a night by whichever worker comes first."""
    while True:
        try:
            found = await self_check.check_if_due(engine, settings.now)
        except Exception as error:
            log.warning("self-check failed, tried again", kind=type(error).__name__)
        else:
            if found is not None:
                tell = log.error if found.drift_cells or found.drift_dossiers else log.info
                tell("tally checked", **found._asdict())
        await asyncio.sleep(LOOK_SECONDS)


async def run(settings: Settings) -> None:
    """Work until stopped. ValueError without a DATABASE_URL."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is needed; `chiso up` hands it down")
    engine = create_engine(settings.database_url)
    checking = asyncio.create_task(check_nightly(engine, settings))
    try:
        await queue.run_worker(engine, settings, consumer=Consumer.INDICATORS, work=work, tick=tick)
    finally:
        checking.cancel()
        with suppress(asyncio.CancelledError):
            await checking
        await engine.dispose()
