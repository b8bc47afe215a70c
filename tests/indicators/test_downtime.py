"""A system that was down over a change of period ends in the same tally as one that ran: the first moment after it
carries in whatever was open at each first moment that it missed."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import recount, worker
from services.indicators.rules.measures import COLUMNS
from services.ingest import service as ingest
from shared import queue
from shared.db import create_engine, driver, session_scope
from shared.vocabulary import Consumer, Portal
from tests import make
from tests.conftest import Cluster
from tests.make import moment

DOWN, UP = moment("2026-09-28 18:00"), moment("2026-10-03 07:00")
"""Over the ends of a month and of a quarter; 30/9 is a Wednesday."""
YEAR_DOWN, YEAR_UP = moment("2026-12-28 18:00"), moment("2027-01-03 07:00")
CODES = [f"H31.135-260901-{number:04}" for number in range(6)]


class Message(NamedTuple):
    """At so many hours from the begin, something about a dossier becomes known."""

    at: int
    code: str
    status: int
    received: int
    due: int
    finished: int
    agency: str | None


messages = st.lists(
    st.builds(
        Message,
        at=st.integers(0, 24 * 20),
        code=st.sampled_from(CODES),
        status=st.sampled_from([2, 4, 4, 5, 9, 9, 10, 3]),
        received=st.integers(0, 24 * 12),
        due=st.integers(0, 24 * 20),
        finished=st.integers(0, 24 * 14),
        agency=st.sampled_from(["H31.135", "H31.136", None]),
    ),
    min_size=1,
    max_size=14,
)


async def arrive(engine: AsyncEngine, message: Message, begin: datetime) -> None:
    """Ingest never sleeps: what comes while the workers are down waits in the queue."""
    now = begin + timedelta(hours=message.at)
    received = min(begin + timedelta(hours=message.received), now)
    finished = min(received + timedelta(hours=message.finished), now)
    head = make.head(
        message.code,
        agency_code=message.agency,
        unit_name=None,
        status=message.status,
        received_at=received,
        due_at=received + timedelta(hours=message.due),
        finished_at=finished if message.status in (9, 10) else None,
        rejected_at=finished if message.status == 3 else None,
        version=now,
    )
    async with session_scope(engine) as session:
        await ingest.accept(
            session, portal=Portal.SENT, via="push", door="t", sender="t", now=now, heads=[head]
        )


async def turn(engine: AsyncEngine, now: datetime) -> None:
    await worker.tick(engine, now)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=now)


async def tally(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    async with session_scope(engine) as session:
        assert await recount.check(session) == []
        rows = await (await driver(session)).fetch(
            f"SELECT basis, period, unit_code, procedure_code, {', '.join(COLUMNS)} FROM tally"
            " WHERE dossiers > 0 ORDER BY 1, 2, 3, 4"
        )
        return [tuple(row) for row in rows]


async def live(
    cluster: Cluster, found: list[Message], down: datetime, up: datetime, *, stops: bool
) -> list[tuple[Any, ...]]:
    """From ten days before `down` to a while after `up`; with `stops` no worker runs in between."""
    name = await cluster.create()
    engine = create_engine(cluster.app_url(name))
    begin, end = down - timedelta(days=10), up + timedelta(days=12)
    try:
        async with session_scope(engine) as session:
            await make.units(session)
            await make.procedure(session)
        waiting = sorted(found)
        moments = [
            begin + timedelta(hours=31 * n) for n in range(int((end - begin).total_seconds()) // 111600)
        ]
        for now in sorted({*moments, down, up, end}):
            while waiting and begin + timedelta(hours=waiting[0].at) <= now:
                await arrive(engine, waiting.pop(0), begin)
            if not (stops and down < now < up):
                await turn(engine, now)
        return await tally(engine)
    finally:
        await engine.dispose()
        await cluster.drop(name)


def both(
    cluster: Cluster, runner: asyncio.Runner, found: list[Message], down: datetime, up: datetime
) -> None:
    ran = runner.run(live(cluster, found, down, up, stops=False))
    stopped = runner.run(live(cluster, found, down, up, stops=True))
    assert stopped == ran
    assert ran, "something was counted"


def test_down_from_the_28th_to_the_3rd(cluster: Cluster) -> None:
    with asyncio.Runner() as runner:

        @hypothesis.settings(max_examples=2, deadline=None, derandomize=True, database=None)
        @given(messages)
        def over_a_quarter(found: list[Message]) -> None:
            both(cluster, runner, found, DOWN, UP)

        over_a_quarter()
        # One open through, one that ended in the gap before and one after midnight, one that came in it.
        begin = 24 * 10
        found = [
            Message(1, CODES[0], 4, 0, 24 * 20, 0, "H31.135"),
            Message(1, CODES[1], 4, 0, 24 * 9, 0, "H31.135"),
            Message(begin + 24, CODES[1], 9, 0, 24 * 9, 24 * 11, "H31.135"),
            Message(1, CODES[2], 4, 0, 24 * 12, 0, "H31.136"),
            Message(begin + 24 * 4, CODES[2], 10, 0, 24 * 12, 24 * 14, "H31.136"),
            Message(begin + 50, CODES[3], 4, begin + 49, 24, 0, None),
        ]
        both(cluster, runner, found, DOWN, UP)
        both(cluster, runner, found, YEAR_DOWN, YEAR_UP)
