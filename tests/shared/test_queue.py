"""The change queue on a real server: nothing is lost, nothing is done twice, and a worker outlives its database."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from shared import queue
from shared.db import create_engine, driver, session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer
from tests.conftest import Cluster
from tests.make import NOW

RECONCILE, INDICATORS = Consumer.RECONCILE, Consumer.INDICATORS
SECOND = timedelta(seconds=1)
PATIENCE = 30
"""Seconds after which a test gives up waiting for what must come; no test asserts how long it took."""


async def put(
    engine: AsyncEngine, *codes: str, at: datetime = NOW, consumers: tuple[Consumer, ...] = (RECONCILE,)
) -> None:
    async with session_scope(engine) as session:
        await queue.enqueue(session, codes, consumers=consumers, now=at)


async def left(engine: AsyncEngine, consumer: Consumer = RECONCILE) -> list[str]:
    async with session_scope(engine) as session:
        found = await session.scalars(
            text(
                "SELECT code FROM change, unnest(codes) AS code WHERE consumer = :consumer ORDER BY wake_at, id"
            ),
            {"consumer": consumer.value},
        )
        return list(found)


class Seen:
    """A worker's work that only remembers; `hold` keeps it inside its transaction."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.takes = 0
        self.arrived = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def work(self, session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
        self.takes += 1
        self.arrived.set()
        await self.hold.wait()
        self.codes += taken.codes


async def once(engine: AsyncEngine, seen: Seen, *, now: datetime = NOW, limit: int = 1000) -> int:
    return await queue.work_once(engine, consumer=RECONCILE, work=seen.work, now=now, limit=limit)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0.01)


async def test_each_consumer_gets_each_changed_code_once(engine: AsyncEngine) -> None:
    await put(engine, "b", "a", "b", consumers=(RECONCILE, INDICATORS))
    await put(engine, "a", at=NOW - SECOND)
    seen = Seen()
    assert await once(engine, seen) == 2
    assert seen.codes == ["a", "b"], "in key order, however often and in which order they came"
    assert await left(engine) == []
    assert await left(engine, INDICATORS) == ["a", "b"]


async def test_the_oldest_go_first(engine: AsyncEngine) -> None:
    for n in (3, 1, 2):
        await put(engine, f"c{n}", at=NOW - 10 * SECOND + n * SECOND)
    seen = Seen()
    while await once(engine, seen, limit=1):
        pass
    assert seen.codes == ["c1", "c2", "c3"]


async def test_a_change_that_comes_while_its_predecessor_is_worked_off_stays(engine: AsyncEngine) -> None:
    await put(engine, "a")
    seen = Seen()
    seen.hold.clear()
    working = asyncio.create_task(once(engine, seen))
    await seen.arrived.wait()
    await put(engine, "a")  # waits for nobody
    seen.hold.set()
    assert await working == 1
    assert await left(engine) == ["a"]
    assert await once(engine, seen) == 1
    assert seen.codes == ["a", "a"]


async def test_a_change_that_commits_late_is_not_passed_over(engine: AsyncEngine) -> None:
    """Its number is lower than that of rows already worked off."""
    async with session_scope(engine) as slow:
        await queue.enqueue(slow, ["slow"], consumers=(RECONCILE,), now=NOW - SECOND)
        await put(engine, "fast")
        seen = Seen()
        await once(engine, seen)
        assert seen.codes == ["fast"]
    await once(engine, seen)
    assert seen.codes == ["fast", "slow"]


async def test_a_large_change_is_taken_in_packs(engine: AsyncEngine) -> None:
    await put(engine, *(f"c{n:04}" for n in range(2 * queue.PACK + 1)))
    seen = Seen()
    assert [await once(engine, seen) for _ in range(4)] == [queue.PACK, queue.PACK, 1, 0]
    assert seen.codes == [f"c{n:04}" for n in range(2 * queue.PACK + 1)]


async def test_two_workers_share_the_queue(engine: AsyncEngine) -> None:
    for n in range(20):
        await put(engine, f"c{n:02}")
    first, second = Seen(), Seen()
    first.hold.clear()
    holding = asyncio.create_task(once(engine, first, limit=12))
    await first.arrived.wait()
    assert await once(engine, second) == 8, "what the other holds is skipped, not waited for"
    assert await once(engine, second) == 0
    first.hold.set()
    assert await holding == 12
    assert sorted(first.codes + second.codes) == [f"c{n:02}" for n in range(20)]
    assert await left(engine) == []


async def test_many_workers_do_each_row_once(engine: AsyncEngine) -> None:
    codes = [f"c{n:03}" for n in range(200)]
    for start in range(0, 200, 8):
        await put(engine, *codes[start : start + 8])
    seen = [Seen() for _ in range(5)]

    async def drain(mine: Seen) -> None:
        while await once(engine, mine, limit=7):
            pass

    await asyncio.gather(*(drain(each) for each in seen))
    assert sorted(code for each in seen for code in each.codes) == codes


async def test_a_failed_take_gives_its_rows_back(engine: AsyncEngine) -> None:
    await put(engine, "a", "b")

    async def fails(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
        await queue.beat(session, "half done", now=now)
        raise ConnectionError("half way")

    with pytest.raises(ConnectionError, match="half way"):
        await queue.work_once(engine, consumer=RECONCILE, work=fails, now=NOW)
    assert await left(engine) == ["a", "b"]
    async with session_scope(engine) as session:
        assert await session.scalar(text("SELECT count(*) FROM heartbeat")) == 0
    seen = Seen()
    await once(engine, seen)
    assert seen.codes == ["a", "b"]


async def by_itself(session: AsyncSession) -> None:
    raise ZeroDivisionError


async def by_a_statement(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1 / 0"))


async def by_the_driver(session: AsyncSession) -> None:
    await (await driver(session)).execute("INSERT INTO heartbeat (name) VALUES (NULL)")


@pytest.mark.parametrize("fail", [by_itself, by_a_statement, by_the_driver])
async def test_a_code_that_breaks_its_worker_holds_up_no_other(
    engine: AsyncEngine, fail: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    await put(engine, "a", "broken", "c")
    done: list[str] = []

    async def work(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
        await session.execute(text("SELECT 1"))
        if "broken" in taken.codes:
            await fail(session)
        done.extend(taken.codes)

    assert await queue.drain(engine, consumer=RECONCILE, work=work, now=NOW) == 3
    assert sorted(done) == ["a", "c"]
    assert await left(engine) == ["broken"], "put off, not lost"
    assert await queue.drain(engine, consumer=RECONCILE, work=Seen().work, now=NOW) == 0
    later = NOW + queue.POSTPONED
    seen = Seen()
    assert await queue.drain(engine, consumer=RECONCILE, work=seen.work, now=later) == 1
    assert seen.codes == ["broken"]
    assert await left(engine) == []


async def test_a_rolled_back_change_was_never_queued(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await queue.enqueue(session, ["a"], consumers=(RECONCILE,), now=NOW)
        await session.rollback()
    assert await left(engine) == []


async def test_a_delayed_row_wakes_at_its_moment(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await queue.enqueue_wake(
            session, [("late", NOW + 60 * SECOND), ("later", NOW + 61 * SECOND)], consumer=RECONCILE, now=NOW
        )
        await queue.enqueue_wake(session, [], consumer=RECONCILE, now=NOW)
    seen = Seen()
    assert await once(engine, seen, now=NOW + 59 * SECOND) == 0
    async with session_scope(engine) as session:
        assert (await queue.pending(session, now=NOW))["reconcile"] == 0
        assert (await queue.pending(session, now=NOW + 60 * SECOND))["reconcile"] == 1
    assert await once(engine, seen, now=NOW + 60 * SECOND) == 1
    assert await once(engine, seen, now=NOW + 61 * SECOND) == 1
    assert seen.codes == ["late", "later"]


async def test_pending_names_every_consumer(engine: AsyncEngine) -> None:
    await put(engine, "a", "b", consumers=(INDICATORS,))
    async with session_scope(engine) as session:
        found = await queue.pending(session, now=NOW)
    assert found == {consumer.value: 0 for consumer in Consumer} | {"indicators": 2}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["take", "finish", "fail"]), st.integers(0, 1), st.integers(1, 3)),
    ),
    max_size=25,
)


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_two_workers_do_every_change_is_seen_after_it_came(
    engine: AsyncEngine, steps: list[tuple[str, str | int, int]]
) -> None:
    """The last successful take of a code began after its last change was queued."""
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM change"))
    sessions: dict[int, tuple[AsyncSession, queue.Taken, int]] = {}
    changed: dict[str, int] = {}
    worked: dict[str, int] = {}
    now = NOW

    async def end(worker: int, good: bool) -> None:
        held, taken, at = sessions.pop(worker)
        if good:
            await queue.finish(held, taken)
            await held.commit()
            worked.update({code: max(at, worked.get(code, -1)) for code in taken.codes})
        await held.close()

    for tick, (what, who, how) in enumerate(steps):
        now += SECOND
        if what == "put":
            await put(engine, str(who), at=now - how * SECOND)
            changed[str(who)] = tick
        elif what == "take" and who not in sessions:
            held = AsyncSession(engine, expire_on_commit=False)
            taken = await queue.take(held, consumer=RECONCILE, now=now, limit=how)
            sessions[int(who)] = (held, taken, tick)
        elif what in ("finish", "fail") and who in sessions:
            await end(int(who), what == "finish")
    for worker in list(sessions):
        await end(worker, True)
    seen = Seen()
    await queue.drain(engine, consumer=RECONCILE, work=seen.work, now=now, limit=2)
    worked.update(dict.fromkeys(seen.codes, len(steps)))
    assert changed.keys() == worked.keys()
    assert all(worked[code] > changed[code] for code in changed)
    assert await left(engine) == []


@asynccontextmanager
async def running(
    engine: AsyncEngine, settings: Settings, seen: Seen, tick: queue.Tick | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process; ended by the signal that ends it in production."""
    task = asyncio.create_task(
        queue.run_worker(engine, settings, consumer=RECONCILE, work=seen.work, tick=tick)
    )
    async with ended(task):
        yield task


@asynccontextmanager
async def ended(task: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await task
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(name)


async def heard(engine: AsyncEngine, name: str = "reconcile") -> bool:
    async with session_scope(engine) as session:
        return bool(
            await session.scalar(text("SELECT count(*) FROM heartbeat WHERE name = :name"), {"name": name})
        )


async def listening(engine: AsyncEngine) -> None:
    """Until a worker listens on the channel: a notice before that is nobody's."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with session_scope(engine) as session:
                if await session.scalar(
                    text(
                        "SELECT count(*) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
                    )
                ):
                    return
            await asyncio.sleep(0.02)


async def test_a_worker_wakes_by_notice(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "POLL_SECONDS", 3600.0)
    seen = Seen()
    async with running(engine, settings, seen):
        await listening(engine)
        await put(engine, "a")
        await until(lambda: seen.codes == ["a"])
        await put(engine, "b")
        await until(lambda: seen.codes == ["a", "b"])
    assert await heard(engine)


async def test_a_worker_wakes_by_its_poll(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(queue, "CHANNEL", "nobody_notifies")
    seen = Seen()
    async with running(engine, settings, seen):
        await listening(engine)
        monkeypatch.setattr(queue, "CHANNEL", "nobody_listens")
        await put(engine, "a")
        await until(lambda: seen.codes == ["a"])


async def test_a_worker_ticks_before_it_works(engine: AsyncEngine, settings: Settings) -> None:
    await put(engine, "a")
    seen = Seen()
    before: list[int] = []

    async def tick(_: AsyncEngine, now: datetime) -> None:
        assert now == NOW
        before.append(seen.takes)

    async with running(engine, settings, seen, tick):
        await until(lambda: seen.codes == ["a"])
    assert before[0] == 0


async def test_a_worker_outlives_its_database_s_absence(
    cluster: Cluster, database: str, engine: AsyncEngine, settings: Settings
) -> None:
    """All its connections are cut, twice, also the one that listens and the one it works on: it goes on, nothing is
    lost, and it hears notices again."""
    name = database.rpartition("/")[2].partition("?")[0]
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    own = create_engine(database)
    seen = Seen()
    try:
        async with running(own, settings, seen) as task:
            await listening(engine)
            seen.hold.clear()
            await put(engine, "a")
            await seen.arrived.wait()
            await cluster.statement(cut)
            seen.hold.set()
            await put(engine, "b")
            await until(lambda: {"a", "b"} <= set(seen.codes))
            async with asyncio.timeout(PATIENCE):
                while await left(engine):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await cluster.statement(cut)
            await listening(engine)
            await put(engine, "c")
            await until(lambda: "c" in seen.codes)
            assert not task.done()
    finally:
        await own.dispose()


async def test_a_connection_found_closed_in_the_middle_of_the_work(
    cluster: Cluster, engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver then says InterfaceError, which is none of PostgreSQL's errors."""
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.05)
    await put(engine, "a")
    tries: list[int] = []
    done = asyncio.Event()

    async def work(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
        connection = await driver(session)
        tries.append(connection.get_server_pid())
        if len(tries) == 1:
            await cluster.statement(f"SELECT pg_terminate_backend({tries[0]})")
            await until(connection.is_closed)
        await connection.execute("SELECT 1")
        done.set()

    task = asyncio.create_task(queue.run_worker(engine, settings, consumer=RECONCILE, work=work))
    async with ended(task), asyncio.timeout(PATIENCE):
        await asyncio.wait({task, asyncio.create_task(done.wait())}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done()
    assert await left(engine) == []


async def test_a_worker_gives_signs_of_life_in_the_middle_of_a_backlog(
    engine: AsyncEngine, settings: Settings
) -> None:
    """Two takes: at the second, the first has told of it, so /ready does not call a busy worker away."""
    await put(engine, *(f"code-{number:04}" for number in range(1001)))
    heard_of: list[bool] = []
    done = asyncio.Event()

    async def work(session: AsyncSession, taken: queue.Taken, now: datetime) -> None:
        heard_of.append(await heard(engine))
        if len(heard_of) == 2:
            done.set()

    task = asyncio.create_task(queue.run_worker(engine, settings, consumer=RECONCILE, work=work))
    async with ended(task), asyncio.timeout(PATIENCE):
        await done.wait()
    assert heard_of == [False, True]


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_process_ends_on_a_signal(
    database: str, engine: AsyncEngine, name: signal.Signals
) -> None:
    """The shipped command, as `chiso up` starts it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli", "work", "reconcile"),
        env=os.environ | {"DATABASE_URL": database},
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await heard(engine):
                assert process.returncode is None
                await asyncio.sleep(0.05)
            process.send_signal(name)
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said
    assert b"Traceback" not in said
