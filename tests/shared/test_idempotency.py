"""Idempotency-Key: what creates, sent again, is answered as the first time and creates nothing more; also at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.sync_api import router as sync_runs
from services.reconcile.decisions_api import router as decisions
from shared import idempotency
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import joined, make, portals
from tests.make import NOW
from tests.portals import column

UNITS, DOSSIERS = ({"portal": "provincial", "subject": subject} for subject in ("units", "dossiers"))
RUNS = "SELECT id FROM sync_run ORDER BY id"


@asynccontextmanager
async def client(
    engine: AsyncEngine, settings: Settings, hours: float = 0
) -> AsyncIterator[httpx.AsyncClient]:
    later = portals.at(portals.leading_to(settings, "http://127.0.0.1:9"), NOW + timedelta(hours=hours))
    async with make.client(engine, later, sync_runs, decisions, role=Role.CENTRE) as http:
        yield http


async def ask(http: httpx.AsyncClient, key: str, body: Any, path: str = "sync-runs") -> httpx.Response:
    return await http.post(f"/v1/{path}", json=body, headers={"Idempotency-Key": key})


async def end_runs(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.execute(text("UPDATE sync_run SET state = 'done'"))


async def test_sent_again_it_is_answered_as_the_first_time(engine: AsyncEngine, settings: Settings) -> None:
    async with client(engine, settings) as http:
        first = await ask(http, "a", UNITS)
        assert (first.status_code, first.headers.get("Idempotent-Replayed")) == (202, None)
        await end_runs(engine)
        again = await ask(http, "a", UNITS)
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["Location"] == first.headers["Location"]
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len(await column(engine, RUNS)) == 1
        created = await ask(http, "a", joined.DECISION, "decisions")
        repeated = await ask(http, "a", joined.DECISION, "decisions")
        assert (created.status_code, created.json()["result"]) == (201, "created")
        assert (repeated.status_code, repeated.content) == (201, created.content)
        without = await http.post("/v1/decisions", json=joined.DECISION)
        assert (without.status_code, without.json()["result"]) == (200, "unchanged")
    kept = await column(engine, "SELECT k::text FROM idempotency_key k")
    assert len(kept) == 2
    assert (await ask_as_another(engine, settings)).status_code == 202, "a key of another's"


async def ask_as_another(engine: AsyncEngine, settings: Settings) -> httpx.Response:
    async with client(engine, settings) as http:
        return await ask(http, "a", UNITS)


async def test_the_same_key_with_another_body(engine: AsyncEngine, settings: Settings) -> None:
    async with client(engine, settings) as http:
        await ask(http, "a", UNITS)
        other = await ask(http, "a", DOSSIERS)
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
        assert "khóa mới" in other.json()["detail_vi"]
        for bad in ("", "k" * 256):
            assert (await ask(http, bad, UNITS)).status_code == 422
    assert await column(engine, "SELECT subject FROM sync_run") == ["units"]


async def test_what_was_refused_can_be_tried_again(engine: AsyncEngine, settings: Settings) -> None:
    async with client(engine, settings) as http:
        await ask(http, "a", UNITS)
        assert (await ask(http, "b", UNITS)).status_code == 409, "one run at a time"
        await end_runs(engine)
        assert (await ask(http, "b", UNITS)).status_code == 202
    assert len(await column(engine, RUNS)) == 2


async def test_keys_are_hashed_and_forgotten_after_a_day(engine: AsyncEngine, settings: Settings) -> None:
    secret = "người gửi nào cũng đặt được".encode().hex()
    async with client(engine, settings) as http:
        key = http.headers["Authorization"]
        await ask(http, secret, UNITS)
    (kept,) = await column(engine, "SELECT k::text FROM idempotency_key k")
    assert secret not in kept
    assert secret.encode().hex() not in kept
    await end_runs(engine)
    for hours, runs in ((23.9, 1), (24.1, 2)):
        async with client(engine, settings, hours) as http:
            http.headers["Authorization"] = key
            assert (await ask(http, secret, UNITS)).status_code == 202
        assert len(await column(engine, RUNS)) == runs
        await end_runs(engine)
    for hours, pruned in ((47.9, 0), (48.2, 1), (48.2, 0)):
        async with session_scope(engine) as session:
            assert await idempotency.prune(session, now=NOW + timedelta(hours=hours)) == pruned


async def test_while_the_first_is_worked_off(engine: AsyncEngine, settings: Settings) -> None:
    async with client(engine, settings) as http:
        async with session_scope(engine) as session:
            await session.execute(text("LOCK TABLE sync_run IN EXCLUSIVE MODE"))
            first = asyncio.create_task(ask(http, "a", UNITS))
            waiting = text(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sync_run'::regclass"
            )
            async with asyncio.timeout(30):
                while not await session.scalar(waiting):  # noqa: ASYNC110 - a lock sets no event
                    await asyncio.sleep(0.01)
            second = await ask(http, "a", UNITS)
            assert (second.status_code, second.json()["field"]) == (409, "Idempotency-Key")
        assert (await first).status_code == 202
        assert (await ask(http, "a", UNITS)).content == (await first).content


@hypothesis_settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([UNITS, DOSSIERS])), min_size=1, max_size=5
        ),
        min_size=1,
        max_size=4,
    )
)
async def test_however_often_and_at_once_each_key_creates_once(
    engine: AsyncEngine, settings: Settings, groups: list[list[tuple[str, dict[str, str]]]]
) -> None:
    made: dict[str, tuple[dict[str, str], bytes]] = {}
    before = len(await column(engine, RUNS))
    async with client(engine, settings) as http:
        for group in groups:
            answers = await asyncio.gather(*(ask(http, key, body) for key, body in group))
            for (key, body), answer in zip(group, answers, strict=True):
                if answer.status_code == 202:
                    assert made.setdefault(key, (body, answer.content)) == (body, answer.content)
                else:
                    assert answer.status_code in (409, 422), answer.text
            for key, body in group:  # each alone now: nothing is running any more
                await end_runs(engine)
                answer = await ask(http, key, body)
                kept = made.setdefault(key, (body, answer.content))
                expected = (202, kept[1]) if kept[0] == body else (422, answer.content)
                assert (answer.status_code, answer.content) == expected
            await end_runs(engine)
    assert len(await column(engine, RUNS)) - before == len(made)


@pytest.mark.parametrize("path", ["sync-runs", "decisions"])
async def test_a_body_that_is_refused_keeps_no_key(
    engine: AsyncEngine, settings: Settings, path: str
) -> None:
    async with client(engine, settings) as http:
        assert (await ask(http, "a", {"portal": "x"}, path)).status_code == 422
        good = UNITS if path == "sync-runs" else joined.DECISION
        assert (await ask(http, "a", good, path)).status_code in (201, 202)
