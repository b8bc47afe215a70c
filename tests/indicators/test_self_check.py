"""The nightly self-check sees what was spoilt by hand, takes nothing for a fault that is only waiting, and mends
nothing."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import self_check, worker
from services.indicators.self_check import Checked
from services.ingest import service as ingest
from shared import queue
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal
from tests import joined, make
from tests.make import moment

NOW = moment("2026-08-05 09:00")
CODES = [f"H31.135-260803-{number:04}" for number in range(40)]


@pytest.fixture
async def filled(engine: AsyncEngine) -> AsyncEngine:
    """Forty dossiers in progress, worked off."""
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    await send(engine, CODES)
    await work(engine, NOW)
    return engine


async def send(engine: AsyncEngine, codes: list[str], *, at: datetime = NOW, status: int = 4) -> None:
    async with session_scope(engine) as session:
        heads = [make.head(code, status=status, version=at) for code in codes]
        await ingest.accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=at, heads=heads
        )


async def work(engine: AsyncEngine, now: datetime) -> None:
    await worker.tick(engine, now)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=now)


async def check_all(engine: AsyncEngine, now: datetime = NOW) -> Checked:
    async with session_scope(engine.execution_options(isolation_level="REPEATABLE READ")) as session:
        return await self_check.check(session, lambda: now, part=0, of=1)


async def spoil(engine: AsyncEngine, statement: str) -> None:
    async with session_scope(engine) as session:
        await session.execute(text(statement))


async def test_nothing_differs_and_every_dossier_has_its_turn(filled: AsyncEngine) -> None:
    assert await check_all(filled) == Checked(cells=3, drift_cells=0, dossiers=40, drift_dossiers=0)
    turns = []
    for part in range(4):
        async with session_scope(filled) as session:
            turns.append((await self_check.check(session, lambda: NOW, part=part, of=4)).dossiers)
    assert sum(turns) == 40
    assert max(turns) < 40


@pytest.mark.parametrize(
    ("statement", "cells", "dossiers"),
    [
        ("UPDATE tally SET done = done + 1 WHERE period = '2026-08'", 1, 0),
        ("DELETE FROM tally", 3, 0),
        ("UPDATE assessment_period SET reason = 'closed' WHERE code LIKE '%-0007'", 0, 1),
        ("UPDATE assessment_period SET bits = bits - 2 WHERE code LIKE '%-0007' AND period = '2026'", 1, 1),
        ("DELETE FROM assessment WHERE code LIKE '%-0007'", 0, 1),
        ("UPDATE assessment SET open = false WHERE code LIKE '%-000_'", 0, 10),
        ("UPDATE dossier SET vanished_at = now() WHERE code LIKE '%-0007'", 3, 1),
    ],
)
async def test_what_was_spoilt_is_seen(
    filled: AsyncEngine, statement: str, cells: int, dossiers: int
) -> None:
    await spoil(filled, statement)
    found = await check_all(filled)
    assert (found.drift_cells, found.drift_dossiers) == (cells, dossiers)
    assert await check_all(filled) == found, "it mends nothing"


async def test_what_waits_in_the_queue_is_no_drift(filled: AsyncEngine) -> None:
    later = NOW + timedelta(minutes=1)
    await send(filled, CODES[:7], at=later, status=9)
    assert await check_all(filled, later) == Checked(3, 0, 33, 0)
    overdue = moment("2026-08-07 08:00")
    assert (await check_all(filled, overdue)).dossiers == 0, "their appointments have passed meanwhile"
    await work(filled, overdue)
    assert await check_all(filled, overdue) == Checked(3, 0, 40, 0)


async def test_once_a_night_and_told_by_metrics(filled: AsyncEngine, settings: Settings) -> None:
    assert self_check.night_of(moment("2026-08-05 02:29")) == date(2026, 8, 4)
    assert self_check.night_of(moment("2026-08-05 02:30")) == date(2026, 8, 5)
    async with joined.serve(joined.joined(settings)) as http:
        assert "chiso_tally_drift_cells NaN" in (await http.get("/metrics")).text
        assert await self_check.check_if_due(filled, lambda: NOW) is not None
        await spoil(filled, "UPDATE tally SET done = done + 1 WHERE period <> '2026-08'")
        assert await self_check.check_if_due(filled, lambda: NOW + timedelta(hours=12)) is None
        assert "chiso_tally_drift_cells 0.0" in (await http.get("/metrics")).text
        found = await self_check.check_if_due(filled, lambda: NOW + timedelta(days=1))
        assert found is not None
        assert found.drift_cells == 2
        assert "chiso_tally_drift_cells 2.0" in (await http.get("/metrics")).text


async def test_not_before_the_month_s_dossiers_were_carried_in(filled: AsyncEngine) -> None:
    september = moment("2026-09-01 03:00")
    assert await self_check.check_if_due(filled, lambda: september) is None
    await work(filled, september)
    found = await self_check.check_if_due(filled, lambda: september)
    assert found is not None
    assert found.drift_cells == found.drift_dossiers == 0


async def test_of_two_workers_one_checks(filled: AsyncEngine) -> None:
    async with session_scope(filled) as session:
        await session.execute(text(f"SELECT pg_advisory_xact_lock({self_check._LOCK})"))
        assert await self_check.check_if_due(filled, lambda: NOW) is None
    assert await self_check.check_if_due(filled, lambda: NOW) is not None
