"""The worker: assessments and tally kept by differences, by the hands of the shipped code on PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import queries, recount, service, worker
from services.indicators.queries import Scope
from services.ingest import service as ingest
from services.ingest.normalise import Head
from shared import queue
from shared.calendar import Period
from shared.db import session_scope
from shared.vocabulary import Basis, Consumer, Portal
from tests import make
from tests.make import moment


async def send(engine: AsyncEngine, *heads: Head, portal: Portal = Portal.SENT, now: datetime) -> None:
    async with session_scope(engine) as session:
        await ingest.accept(
            session, portal=portal, via="push", door="test", sender="test", now=now, heads=heads
        )


async def drain(engine: AsyncEngine, now: datetime, *, limit: int = 1000) -> int:
    await worker.tick(engine, now)
    return await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=now, limit=limit)


async def counts(
    engine: AsyncEngine, period: str, unit: str = "H31", basis: Basis = Basis.COUNTED
) -> dict[str, int]:
    async with session_scope(engine) as session:
        return (await queries.figures(session, Scope(basis, Period.parse(period), unit))).counts


async def base(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)


NOW = moment("2026-08-05 09:00")


async def test_a_dossier_becomes_overdue_by_time_alone(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(), now=NOW)
    await drain(engine, NOW)
    assert (await counts(engine, "2026-08"))["on_time"] == 1
    due = moment("2026-08-06 17:00")
    assert await drain(engine, due) == 0, "the very moment of the appointment is still on time"
    assert (await counts(engine, "2026-08"))["on_time"] == 1
    assert await drain(engine, due + timedelta(microseconds=1)) == 1
    for period in ("2026-08", "2026-Q3", "2026"):
        found = await counts(engine, period)
        assert (found["dossiers"], found["on_time"]) == (1, 0)
    assert await drain(engine, due + timedelta(days=3)) == 0, "nothing turns twice"


async def test_a_dossier_without_copies_contributes_nothing(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(), now=NOW)
    await drain(engine, NOW)
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM dossier"))
        await queue.enqueue(session, [make.CODE], consumers=[Consumer.INDICATORS], now=NOW)
    await drain(engine, NOW)
    assert set((await counts(engine, "2026-08")).values()) == {0}


async def test_open_dossiers_are_carried_into_a_new_month(engine: AsyncEngine) -> None:
    await base(engine)
    codes = [f"H31.135-260803-{number:04}" for number in range(1, 6)]
    await send(engine, *(make.head(code, due_at=moment("2026-12-31 17:00")) for code in codes[:4]), now=NOW)
    done = make.head(codes[4], status=9, finished_at=moment("2026-08-04 10:00"))
    await send(engine, done, now=NOW)
    await drain(engine, NOW)
    assert (await counts(engine, "2026-08"))["dossiers"] == 5
    assert (await counts(engine, "2026-09"))["dossiers"] == 0
    assert await drain(engine, moment("2026-09-01")) == 4
    assert (await counts(engine, "2026-09"))["dossiers"] == 4
    assert await drain(engine, moment("2026-09-01")) == 0, "the job runs once"
    # After downtime over three month ends the months between are there too.
    await drain(engine, moment("2026-12-15"))
    for period in ("2026-10", "2026-11", "2026-12", "2026-Q4"):
        assert (await counts(engine, period))["dossiers"] == 4
    async with session_scope(engine) as session:
        assert await recount.check(session) == []


async def test_a_worker_whose_clock_lags_behind_the_opened_month_still_carries_over(
    engine: AsyncEngine,
) -> None:
    """It read its clock before midnight, and got to its rows after the month's job."""
    await base(engine)
    await worker.tick(engine, moment("2026-09-01"))
    await send(engine, make.head(due_at=moment("2026-12-31 17:00")), now=NOW)
    late = moment("2026-09-01") - timedelta(microseconds=1)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=late)
    assert (await counts(engine, "2026-09"))["dossiers"] == 1


async def test_a_clock_that_was_far_ahead_does_no_lasting_harm(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(due_at=moment("2026-08-20 17:00")), now=NOW)
    async with session_scope(engine) as session:
        await service.open_period(session, now=moment("2026-10-01 00:00"))
    await drain(engine, NOW)
    assert (await counts(engine, "2026-08"))["on_time"] == 1
    assert (await counts(engine, "2026-10"))["dossiers"] == 0
    await drain(engine, moment("2026-10-01 00:00"))
    assert (await counts(engine, "2026-10"))["dossiers"] == 1


async def test_two_workers_on_the_same_codes(engine: AsyncEngine) -> None:
    await base(engine)
    codes = [f"H31.135-260803-{number:04}" for number in range(60)]
    await send(engine, *(make.head(code) for code in codes), now=NOW)
    async with session_scope(engine) as session:
        for _ in range(4):  # the same codes queued again and again, to be taken by different workers
            await queue.enqueue(session, codes, consumers=[Consumer.INDICATORS], now=NOW)
    await worker.tick(engine, NOW)
    await asyncio.gather(
        *(
            queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=NOW, limit=37)
            for _ in range(4)
        )
    )
    assert (await counts(engine, "2026-08"))["dossiers"] == 60
    async with session_scope(engine) as session:
        assert await recount.check(session) == []


async def test_a_second_worker_waits_for_the_first_and_then_sees_what_it_wrote(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(), now=NOW)
    await drain(engine, NOW)
    at = moment("2026-08-05 08:00")
    await send(engine, make.head(status=9, finished_at=at, version=at), now=NOW)
    async with session_scope(engine) as session:
        await queue.enqueue(session, [make.CODE], consumers=[Consumer.INDICATORS], now=NOW)

    async def second() -> int:
        return await queue.work_once(engine, consumer=Consumer.INDICATORS, work=worker.work, now=NOW, limit=1)

    async with session_scope(engine) as session:
        taken = await queue.take(session, consumer=Consumer.INDICATORS, now=NOW, limit=1)
        await worker.work(session, taken, NOW)
        await queue.finish(session, taken)
        other = asyncio.create_task(second())
        await asyncio.wait({other}, timeout=0.5)  # it has come as far as it can
    assert await other == 1
    found = await counts(engine, "2026-08")
    assert (found["dossiers"], found["done"], found["on_time"]) == (1, 1, 1)


async def test_copies_are_read_after_the_lock(engine: AsyncEngine) -> None:
    """What came while a worker waited for another one is in its judgement."""
    await base(engine)
    await send(engine, make.head(), now=NOW)
    await drain(engine, NOW)
    async with session_scope(engine) as session:
        await queue.enqueue(session, [make.CODE], consumers=[Consumer.INDICATORS], now=NOW)

    async def waiting() -> int:
        return await queue.work_once(engine, consumer=Consumer.INDICATORS, work=worker.work, now=NOW)

    async with session_scope(engine) as session:
        await session.execute(text("SELECT FROM assessment FOR UPDATE"))
        other = asyncio.create_task(waiting())
        await asyncio.wait({other}, timeout=0.5)  # it has come as far as it can
        at = moment("2026-08-05 08:00")
        await send(engine, make.head(status=9, finished_at=at, version=at), now=NOW)
    assert await other == 1
    assert (await counts(engine, "2026-08"))["done"] == 1


async def test_a_change_is_worked_off_while_the_same_dossier_changes_again(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(), now=NOW)

    async def finish(hour: int) -> None:
        at = moment(f"2026-08-05 0{hour}:00")
        await send(engine, make.head(status=9, finished_at=at, version=at), now=NOW)
        await drain(engine, NOW)

    await asyncio.gather(drain(engine, NOW), *(finish(hour) for hour in range(6)))
    await drain(engine, NOW)
    found = await counts(engine, "2026-08")
    assert (found["dossiers"], found["done"], found["on_time"]) == (1, 1, 1)


async def test_recount_mends_what_was_broken(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(), make.head("H31.136-260803-0001", agency_code="H31.136"), now=NOW)
    await drain(engine, NOW)
    before = await counts(engine, "2026-08")
    async with session_scope(engine) as session:
        await session.execute(text("UPDATE tally SET dossiers = dossiers + 7, on_time = 0"))
        await session.execute(
            text(
                "INSERT INTO tally SELECT basis, period, 'H31.16', '', 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, changed_at"
                " FROM tally WHERE unit_code = 'H31.136'"
            )
        )
        await session.execute(text("DELETE FROM assessment_period WHERE code = :code"), {"code": make.CODE})
        assert await recount.check(session) != []
    async with session_scope(engine) as session:
        assert await recount.recount(session, now=NOW) == 2
        assert await recount.check(session) == []
    assert await counts(engine, "2026-08") == before


async def test_a_dossier_counts_for_the_successor_of_its_unit(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.unit(
            session,
            "H31.140",
            "UBND xã Cũ",
            valid_to=moment("2026-08-31").date(),
            successor_code="H31.136",
        )
    await send(
        engine, make.head(agency_code="H31.140", unit_name=None, due_at=moment("2026-12-31 17:00")), now=NOW
    )
    await drain(engine, NOW)
    await drain(engine, moment("2026-09-02"))
    assert (await counts(engine, "2026-08", "H31.140"))["dossiers"] == 1
    assert (await counts(engine, "2026-08", "H31.136"))["dossiers"] == 0
    assert (await counts(engine, "2026-Q3", "H31.136"))["dossiers"] == 1
    assert (await counts(engine, "2026-09", "H31.136"))["dossiers"] == 1
    assert (await counts(engine, "2026-09", "H31"))["dossiers"] == 1


async def test_which_copy_counts_and_what_proof_changes(engine: AsyncEngine) -> None:
    await base(engine)
    await send(engine, make.head(), now=NOW)
    await drain(engine, NOW)
    assert (await counts(engine, "2026-08"))["from_sent_unconfirmed"] == 1

    async def look_up(found: bool) -> dict[str, int]:
        async with session_scope(engine) as session:
            await session.execute(
                text(
                    "INSERT INTO presence (code, portal, found, checked_at, via)"
                    " VALUES (:code, 'national', :found, :at, 'lookup') ON CONFLICT (code, portal)"
                    " DO UPDATE SET found = excluded.found"
                ),
                {"code": make.CODE, "found": found, "at": NOW},
            )
            await queue.enqueue(session, [make.CODE], consumers=[Consumer.INDICATORS], now=NOW)
        await drain(engine, NOW)
        return await counts(engine, "2026-08")

    found = await look_up(True)
    assert (found["from_sent_confirmed"], found["from_sent_unconfirmed"]) == (1, 0)
    assert set((await look_up(False)).values()) == {0}
    await send(engine, make.head(), portal=Portal.NATIONAL, now=NOW)
    await drain(engine, NOW)
    found = await counts(engine, "2026-08")
    assert (found["dossiers"], found["from_national"], found["from_sent_confirmed"]) == (1, 1, 0)
    assert set((await counts(engine, "2026-08", basis=Basis.PROVINCIAL)).values()) == {0}
    await send(engine, make.head(), portal=Portal.PROVINCIAL, now=NOW)
    await drain(engine, NOW)
    assert (await counts(engine, "2026-08", basis=Basis.PROVINCIAL))["dossiers"] == 1
