"""The walk through the province's dossiers: what it takes, what it leaves behind, and what a broken one does
not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import pull, runs
from services.ingest.portals.http import PortalAway
from services.ingest.portals.igate_messages import Page
from services.ingest.pull_dossiers import Walk, provincial_dossiers, steps_back
from services.ingest.service import accept
from services.sandbox.world import World
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Subject
from tests import make
from tests.make import NOW
from tests.portals import (
    ANCHOR,
    QUICK,
    Province,
    at,
    column,
    igate,
    leading_to,
    rows,
    sandbox,
    serving,
    world,
)

DOSSIERS = (Portal.PROVINCIAL, Subject.DOSSIERS)


async def begin(engine: AsyncEngine, settings: Settings, **options: Any) -> runs.Job:
    """A run in hand."""
    async with session_scope(engine) as session:
        run_id = await runs.request(
            session, portal=DOSSIERS[0], subject=DOSSIERS[1], by="test", now=settings.now(), settings=settings
        )
        run = await runs.take_up(session, run_id, now=settings.now())
    assert run is not None
    return runs.Job(engine=engine, settings=settings, run=run, retry=QUICK, **options)


async def copies(engine: AsyncEngine) -> dict[str, tuple[Any, ...]]:
    found = await rows(
        engine,
        "SELECT code, procedure_code, agency_code, unit_name, status, submitted_at, received_at, due_at, finished_at,"
        " returned_at, version, officer FROM dossier WHERE portal = 'provincial'",
    )
    return {row[0]: tuple(row)[1:] for row in found}


def expected(of: World) -> dict[str, tuple[Any, ...]]:
    """The province's copies as the sandbox holds them."""

    def moment(seconds: int | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, make.TZ)

    held = {}
    for dossier in of.dossiers:
        copy = of.provincial(dossier, of.now)
        if copy is not None:
            officer = copy.steps[-1].officer if copy.steps else dossier.events[0].officer.name
            held[copy.code] = (
                copy.procedure.code,
                copy.unit.code,
                copy.unit.name,
                copy.status,
                moment(copy.submitted_at),
                moment(copy.received_at),
                moment(copy.due_at),
                moment(copy.finished_at),
                moment(copy.returned_at),
                moment(copy.updated_at),
                officer or None,
            )
    return held


async def state(engine: AsyncEngine) -> tuple[datetime | None, datetime | None]:
    found = await rows(
        engine, "SELECT watermark, complete_through FROM sync_state WHERE portal = 'provincial'"
    )
    return (found[0].watermark, found[0].complete_through) if found else (None, None)


async def test_full_pull_equals_the_province(engine: AsyncEngine, settings: Settings) -> None:
    of = world()
    settings = at(settings, ANCHOR)
    seen: list[tuple[int, int | None]] = []
    with sandbox(settings, of) as there:
        run_id = await pull.run_one(engine, there, *DOSSIERS, lambda run: seen.append((run.items, run.total)))
    assert await copies(engine) == expected(of)
    total = len(expected(of))
    (run,) = await rows(engine, "SELECT * FROM sync_run WHERE id = :id", id=run_id)
    assert (run.state, run.items, run.accepted, run.rejected, run.total) == ("done", total, total, 0, total)
    assert run.complete
    assert seen[-1] == (total, total)
    newest = max(row[-2] for row in expected(of).values())
    assert await state(engine) == (newest, ANCHOR)


async def test_next_pull_takes_what_changed(engine: AsyncEngine, settings: Settings) -> None:
    of = world()
    with sandbox(settings, of) as there:
        await pull.run_one(engine, at(there, ANCHOR), *DOSSIERS)
        before = await copies(engine)
        later = ANCHOR + timedelta(days=3)
        of.move(later)
        run_id = await pull.run_one(engine, at(there, later), *DOSSIERS)
    after = await copies(engine)
    assert after == expected(of)
    changed = {code for code in after if after[code] != before.get(code)}
    (run,) = await rows(engine, "SELECT * FROM sync_run WHERE id = :id", id=run_id)
    assert run.accepted == len(changed) > 0
    assert run.items <= len(changed) + 200
    assert run.stale == 0


async def test_what_was_sent_while_a_walk_ended_is_judged_by_its_word(
    engine: AsyncEngine, settings: Settings
) -> None:
    """Sent and compared just before the walk's word is committed: nobody else would ever look at it again."""
    late = "H31.135-260803-0099"
    stop = asyncio.Event()

    async def known_through() -> bool:
        return (await state(engine))[1] is not None

    async with serving(Province([igate("H31.135-260803-0001")])) as url:
        here = leading_to(settings, url)
        async with session_scope(engine) as session:
            run_id = await runs.request(
                session, portal=DOSSIERS[0], subject=DOSSIERS[1], by="test", now=NOW, settings=here
            )
        # The word is committed, and the worker is told to end at that very moment.
        done = await pull.work_off(
            engine, here, run_id, *DOSSIERS, stop=stop, on_progress=lambda run: run.pages and stop.set()
        )
        assert (done, await known_through()) == (False, True)
        async with session_scope(engine) as session:
            await accept(
                session,
                portal=Portal.SENT,
                via="push",
                door="test",
                sender="test",
                now=NOW,
                heads=[make.head(late)],
            )
            await session.execute(text("DELETE FROM change"))  # compared, by what was known before
        assert await pull.run_one(engine, here, *DOSSIERS) == run_id
    assert await column(
        engine, "SELECT code FROM change, unnest(codes) AS code WHERE consumer = 'reconcile'"
    ) == [late]
    assert await column(engine, "SELECT state FROM sync_run") == ["done"]


async def test_the_log_tells_where_an_internal_error_came_from(
    engine: AsyncEngine, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its text may hold what came in; the run's sentence sends whoever reads it to the log."""

    def break_down(run: runs.Run) -> None:
        raise KeyError("NGUYỄN VĂN MẪU")

    async with serving(Province([igate("H31.135-260803-0001")])) as url:
        with pytest.raises(KeyError):
            await pull.run_one(engine, leading_to(settings, url), *DOSSIERS, break_down)
    told = capsys.readouterr().out
    assert "where=test_pull_dossiers.py:" in told
    assert "MẪU" not in told


async def test_a_row_of_which_nothing_can_be_kept_stops_no_walk(
    engine: AsyncEngine, settings: Settings
) -> None:
    """A wrong type, on a dossier whose code is of unknown form: neither is kept, the refusal is."""
    broken = igate("HS-7", completedDate={"of": "another type"})
    async with serving(Province([broken, igate("H31.135-260803-0001")])) as url:
        await pull.run_one(engine, leading_to(settings, url), *DOSSIERS)
    assert await column(engine, "SELECT code FROM dossier") == ["H31.135-260803-0001"]
    assert [tuple(row) for row in await rows(engine, "SELECT field, content, dropped FROM quarantine")] == [
        ("completedDate", {}, ["nationCode"])
    ]


async def test_broken_walk_is_resumed(engine: AsyncEngine, settings: Settings) -> None:
    of = world()
    with sandbox(settings, of) as there:
        here = at(there, ANCHOR)
        reached = asyncio.Event()

        def watch(run: runs.Run) -> None:
            if run.pages >= 2:
                reached.set()

        job = await begin(engine, here, on_progress=watch)
        task = asyncio.create_task(provincial_dossiers(job, page_size=20))
        await reached.wait()
        task.cancel()  # as kill -9 would: no word to the database
        with pytest.raises(asyncio.CancelledError):
            await task
        (run,) = await rows(engine, "SELECT * FROM sync_run")
        assert run.state == "running"
        assert run.pages >= 2
        assert await state(engine) == (None, None)
        assert 0 < len(await copies(engine)) < len(expected(of))
        of.move(ANCHOR + timedelta(hours=30))
        later = at(there, ANCHOR + timedelta(hours=30))
        assert await pull.run_one(engine, later, *DOSSIERS) == run.id
        (again,) = await rows(engine, "SELECT * FROM sync_run")
        assert (again.state, again.attempts) == ("done", 2)
        # The broken walk's start is what has been seen in full; what changed since, the next one takes.
        assert (await state(engine))[1] == ANCHOR
        await pull.run_one(engine, later, *DOSSIERS)
    assert await copies(engine) == expected(of)


async def test_worker_told_to_end_stops_after_the_page(engine: AsyncEngine, settings: Settings) -> None:
    of = world()
    with sandbox(settings, of) as there:
        job = await begin(engine, at(there, ANCHOR))
        job.stop.set()
        with pytest.raises(runs.Stopped):
            await provincial_dossiers(job, page_size=20)
    (run,) = await rows(engine, "SELECT * FROM sync_run")
    assert run.state == "running"
    assert await state(engine) == (None, None)


def province(count: int) -> Province:
    return Province(
        [igate(f"H31.135-260803-{n:04d}", updated=NOW - timedelta(hours=n)) for n in range(1, count + 1)]
    )


async def test_rows_that_move_while_they_are_read(engine: AsyncEngine, settings: Settings) -> None:
    there = province(40)
    oldest = there.rows[-1]["nationCode"]

    def touched(page: int) -> None:
        if page == 2:  # one of the rows not yet read moves to the top
            there.rows[-1]["updatedDate"] = NOW.isoformat()
            there.rows[-1]["dossierStatus"] = {"id": 4}

    there.before_page = touched
    async with serving(there) as url:
        here = leading_to(settings, url)
        await provincial_dossiers(await begin(engine, here), page_size=10)
        found = await copies(engine)
        assert len(found) == 39
        assert oldest not in found
        assert (await state(engine))[0] == NOW - timedelta(hours=1)
        there.pages.clear()
        await provincial_dossiers(await begin(engine, here), page_size=10)
    assert len(await copies(engine)) == 40
    assert (await copies(engine))[oldest][3] == 9
    assert there.pages == [0]


async def test_deleted_rows_hide_nothing(engine: AsyncEngine, settings: Settings) -> None:
    there = province(40)

    def deleted(page: int) -> None:
        if page == 2 and len(there.rows) == 40:
            del there.rows[:3]

    there.before_page = deleted
    async with serving(there) as url:
        await provincial_dossiers(await begin(engine, leading_to(settings, url)), page_size=10)
    assert len(await copies(engine)) == 40
    assert there.pages == [0, 1, 2, 1, 2, 3]


@pytest.mark.parametrize(
    ("page", "rows_before", "rows_now", "steps"),
    [(0, None, 40, 0), (2, 40, 40, 0), (2, 40, 45, 0), (2, 40, 39, 1), (3, 40, 25, 2), (1, 40, 5, 1)],
)
def test_steps_back(page: int, rows_before: int | None, rows_now: int, steps: int) -> None:
    content: list[Any] = [b"{}"] * 10
    found = Page(content=content, total_elements=rows_now, last=False)
    assert steps_back(Walk(10, page=page, rows=rows_before), found) == steps


async def test_bad_rows_are_quarantined_and_the_rest_goes_on(engine: AsyncEngine, settings: Settings) -> None:
    there = province(5)
    there.rows[0]["dossierStatus"] = {"id": 77, "name": [{"name": "Chưa từng thấy"}]}
    there.rows[1]["acceptedDate"] = "0001-01-01T00:00:00.000+0000"
    there.rows[2]["nationCode"] = None
    there.rows[3]["procedure"] = {"code": 5}
    async with serving(there) as url:
        await provincial_dossiers(await begin(engine, leading_to(settings, url)), page_size=10)
    assert list(await copies(engine)) == ["H31.135-260803-0005"]
    kept = await rows(engine, "SELECT field, code, content::text AS content FROM quarantine ORDER BY field")
    assert [row.field for row in kept] == ["acceptedDate", "dossierStatus", "nationCode", "procedure.code"]
    assert not any("MẪU" in (row.content or "") for row in kept)
    (run,) = await rows(engine, "SELECT * FROM sync_run")
    assert (run.state, run.accepted, run.rejected) == ("done", 1, 4)
    # What we refused is there all the same: no absence may be concluded.
    assert await rows(engine, "SELECT code, found FROM presence WHERE portal = 'provincial' ORDER BY 1") == [
        ("H31.135-260803-0001", True),
        ("H31.135-260803-0002", True),
        ("H31.135-260803-0004", True),
    ]


async def test_a_row_dated_ahead_does_not_hide_the_next_ones(engine: AsyncEngine, settings: Settings) -> None:
    there = province(3)
    there.rows[0]["updatedDate"] = (NOW + timedelta(hours=20)).isoformat()
    async with serving(there) as url:
        here = leading_to(settings, url)
        await provincial_dossiers(await begin(engine, here), page_size=2)
        assert (await state(engine))[0] == NOW
        there.rows.append(igate("H31.135-260803-0099", updated=NOW + timedelta(minutes=1)))
        await provincial_dossiers(await begin(engine, here), page_size=2)
    assert "H31.135-260803-0099" in await copies(engine)


async def test_end_of_a_walk_is_news_about_what_the_province_lacks(
    engine: AsyncEngine, settings: Settings
) -> None:
    async def sent(code: str, received_at: datetime) -> None:
        async with session_scope(engine) as session:
            await accept(
                session,
                portal=Portal.SENT,
                via="push",
                door="test",
                sender="test",
                now=NOW,
                heads=[make.head(code, received_at=received_at)],
            )
            await session.execute(text("DELETE FROM change"))

    there = province(2)
    await sent("H31.135-260803-0001", NOW - timedelta(days=40))
    await sent("H31.135-260803-0100", NOW - timedelta(days=40))
    await sent("H31.135-260803-0101", NOW + timedelta(days=1))
    async with serving(there) as url:
        here = leading_to(settings, url)
        await provincial_dossiers(await begin(engine, here))
        waiting = (
            "SELECT DISTINCT code FROM change, unnest(codes) AS code"
            " WHERE consumer = 'reconcile' AND code LIKE '%-010_'"
        )
        assert await column(engine, waiting) == ["H31.135-260803-0100"]
        async with session_scope(engine) as session:
            await session.execute(text("DELETE FROM change"))
        await provincial_dossiers(await begin(engine, here))
        assert await column(engine, waiting) == []
        await provincial_dossiers(await begin(engine, at(here, NOW + timedelta(days=2))))
        assert await column(engine, waiting) == ["H31.135-260803-0101"]


async def test_one_run_at_a_time(engine: AsyncEngine, settings: Settings) -> None:
    there = province(30)
    async with serving(there) as url:
        here = leading_to(settings, url)
        job = await begin(engine, here)
        with pytest.raises(runs.RunActive) as refused:
            await begin(engine, here)
        assert refused.value.extra == {"run": job.run.id}
        async with runs.lock(engine, *DOSSIERS) as mine:
            assert mine
            with pytest.raises(runs.RunActive):  # somebody works on it
                await pull.run_one(engine, here, *DOSSIERS)
        # The lock is free and the run unfinished: another worker takes it up, and the first can no longer
        # move it.
        assert await pull.run_one(engine, here, *DOSSIERS) == job.run.id
        with pytest.raises(runs.RunLost):
            await provincial_dossiers(job)
    assert len(await copies(engine)) == 30


async def test_a_portal_that_is_away_fails_the_run_and_moves_no_watermark(
    engine: AsyncEngine, settings: Settings
) -> None:
    there = province(30)
    down = True
    calls = 0

    def failing(page: int) -> None:
        nonlocal calls
        calls += 1

    there.before_page = failing

    def answer(call: Any) -> Any:
        if down and call.query.get("page") == "1":
            failing(1)
            return 503, {}, b"<html>"
        return there(call)

    async with serving(answer) as url:
        here = leading_to(settings, url)
        job = await begin(engine, here)
        with pytest.raises(PortalAway):
            await provincial_dossiers(job, page_size=10)
        assert calls == 1 + QUICK.attempts
        assert await state(engine) == (None, None)
        down = False
        async with session_scope(engine) as session:
            await runs.fail(session, job.run, PortalAway("vắng", "away"), now=NOW)
        assert await column(engine, "SELECT error FROM sync_run") == ["PortalAway: vắng | away"]
        await pull.run_one(engine, here, *DOSSIERS)
    assert len(await copies(engine)) == 30


_IN_A_PROCESS_OF_ITS_OWN = """
import asyncio
import os
import signal
import sys
from services.ingest import pull
from shared.db import create_engine
from shared.settings import Settings
from shared.vocabulary import Portal, Subject

async def main():
    settings = Settings(_env_file=None)
    await pull.run_one(create_engine(settings.database_url), settings, Portal.PROVINCIAL, Subject.DOSSIERS)

asyncio.run(main())
"""


async def test_killed_with_9_the_run_is_free_at_once_and_gone_on_with(
    engine: AsyncEngine, settings: Settings
) -> None:
    there = province(450)
    process: list[asyncio.subprocess.Process] = []

    def kill(page: int) -> None:
        if page == 1 and process[0].returncode is None:
            process[0].kill()

    there.before_page = kill
    async with serving(there) as url:
        here = leading_to(settings, url)
        process.append(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _IN_A_PROCESS_OF_ITS_OWN,
                env=os.environ
                | {
                    "DATABASE_URL": str(here.database_url),
                    "PROVINCIAL_URL": str(here.provincial_url),
                    "PROVINCIAL_CLIENT_ID": "chiso",
                    "PROVINCIAL_CLIENT_SECRET": "sandbox",
                    "CHISO_NOW": NOW.isoformat(),
                },
                stdout=asyncio.subprocess.DEVNULL,
            )
        )
        assert await process[0].wait() == -signal.SIGKILL
        assert await rows(engine, "SELECT state, pages, items FROM sync_run") == [("running", 1, 200)]
        assert await state(engine) == (None, None)
        there.before_page = lambda page: None
        async with asyncio.timeout(30):
            while True:
                try:
                    await pull.run_one(engine, here, *DOSSIERS)
                    break
                except runs.RunActive:  # the server has not yet noticed that its client is gone
                    await asyncio.sleep(0.05)
    assert await rows(engine, "SELECT state, attempts, items FROM sync_run") == [("done", 2, 450)]
    assert there.pages[-2:] == [1, 2]
    assert len(await copies(engine)) == 450
