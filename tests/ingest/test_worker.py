"""The worker: first pulls in order, runs asked for by others, runs left by the dead, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import runs, worker
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Subject
from tests.make import NOW
from tests.portals import ANCHOR, QUICK, Call, Province, at, igate, leading_to, rows, sandbox, serving, world


@asynccontextmanager
async def working(engine: AsyncEngine, settings: Settings) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(worker.serve(engine, settings, stop, retry=QUICK))
    try:
        yield stop
    finally:
        stop.set()
        await task


async def until(engine: AsyncEngine, sql: str, wanted: Any) -> None:
    """Wait for the database to say so; the surrounding run limits how long."""
    while await rows(engine, sql) != wanted:  # noqa: ASYNC110 - the event happens in the database
        await asyncio.sleep(0.05)


async def test_first_pulls_come_in_order_and_then_again(engine: AsyncEngine, settings: Settings) -> None:
    of = world(60)
    with sandbox(at(settings, ANCHOR), of) as there:
        often = there.model_copy(update={"sync_interval_seconds": 0.1})
        async with working(engine, often), asyncio.timeout(60):
            await until(
                engine,
                "SELECT count(*) FROM (SELECT FROM sync_run WHERE state = 'done' GROUP BY portal, subject"
                " HAVING count(*) > 1) AS pulled_again",
                [(5,)],
            )
    found = await rows(engine, "SELECT portal, subject FROM sync_run GROUP BY 1, 2 ORDER BY min(id)")
    assert [tuple(row) for row in found] == [
        ("national", "units"),
        ("provincial", "units"),
        ("national", "procedures"),
        ("provincial", "dossiers"),
        ("national", "lookups"),
    ]
    assert await rows(engine, "SELECT name FROM heartbeat") == [("ingest",)]
    assert await rows(engine, "SELECT id FROM sync_run WHERE state = 'failed'") == []


async def test_the_list_is_pulled_where_it_is_granted(engine: AsyncEngine, settings: Settings) -> None:
    with sandbox(at(settings, ANCHOR), world(30), grant_list=True) as there:
        async with working(engine, there), asyncio.timeout(60):
            await until(engine, "SELECT count(*) FROM sync_run WHERE state = 'done'", [(6,)])
    found = await rows(engine, "SELECT portal, subject FROM sync_run ORDER BY id OFFSET 4")
    assert [tuple(row) for row in found] == [("national", "dossiers"), ("national", "lookups")]


async def test_a_run_asked_for_is_taken_up_and_a_dead_ones_too(
    engine: AsyncEngine, settings: Settings
) -> None:
    there = Province([igate("H31.135-260803-0012")])
    async with serving(there) as url:
        here = leading_to(settings, url, national_url=None)
        async with session_scope(engine) as session:
            run_id = await runs.request(
                session,
                portal=Portal.PROVINCIAL,
                subject=Subject.DOSSIERS,
                by="test",
                now=NOW,
                settings=here,
            )
            await runs.take_up(session, run_id, now=NOW)  # by somebody who then died
        async with working(engine, here), asyncio.timeout(60):
            await until(engine, f"SELECT state, attempts FROM sync_run WHERE id = {run_id}", [("done", 2)])


async def test_a_failed_pull_holds_up_nobody(engine: AsyncEngine, settings: Settings) -> None:
    there = Province([igate("H31.135-260803-0012")])

    def answer(call: Call) -> Any:
        if "/national/" in call.path:
            return 403, {}, b"<html>"
        return there(call) if "agency" not in call.path else (404, {}, b"")

    async with serving(answer) as url, working(engine, leading_to(settings, url)), asyncio.timeout(60):
        await until(
            engine,
            "SELECT state FROM sync_run WHERE portal = 'provincial' AND subject = 'dossiers'",
            [("done",)],
        )
        await until(
            engine,
            "SELECT count(*) FROM sync_run WHERE portal = 'national' AND state = 'failed'",
            [(3,)],
        )


async def test_told_to_end_it_leaves_the_run_to_be_gone_on_with(
    engine: AsyncEngine, settings: Settings
) -> None:
    there = Province([igate(f"H31.135-260803-{n:04d}") for n in range(450)])
    begun = asyncio.Event()
    there.before_page = lambda page: begun.set()
    async with serving(there) as url:
        here = leading_to(settings, url, national_url=None)
        async with working(engine, here) as stop, asyncio.timeout(60):
            await begun.wait()
            stop.set()
        (run,) = await rows(engine, "SELECT * FROM sync_run WHERE subject = 'units'")
        assert run.state in ("running", "done")
        begun.clear()
        async with working(engine, here), asyncio.timeout(60):
            await until(engine, "SELECT state FROM sync_run WHERE subject = 'dossiers'", [("done",)])
    assert await rows(engine, "SELECT count(*) FROM dossier") == [(450,)]
