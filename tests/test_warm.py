"""Answers given again: only while nothing has been committed, only to the same key, and never longer than FRESH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main
from shared import access
from shared.app import create_app
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import joined, make
from tests.indicators.test_api import DONE, LATE, store

PATH = "/v1/indicators/progress?unit=H31.135&period=2026-08"


@pytest.fixture
async def app(engine: AsyncEngine, settings: Settings) -> FastAPI:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    await store(engine, make.head("H31.135-260803-0001", **DONE))
    return create_app("test", *main.routers, settings=settings)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with joined.serve(app) as client:
        yield client


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were looked up in the database: a warm read looks up none."""
    found: list[str] = []
    genuine = access.authenticate

    async def counting(session: Any, key: str) -> access.Principal:
        found.append(key)
        return await genuine(session, key)

    monkeypatch.setattr(access, "authenticate", counting)
    return found


async def test_given_again_until_something_is_committed(
    engine: AsyncEngine, http: httpx.AsyncClient, calls: list[str]
) -> None:
    _, key = await joined.key(engine, Role.ADMIN)
    headers = joined.bearer(key)
    first = await http.get(PATH, headers=headers)
    again = await http.get(PATH, headers=headers)
    assert len(calls) == 1
    assert again.content == first.content
    assert {name: again.headers[name] for name in ("etag", "vary", "cache-control", "content-type")} == {
        name: first.headers[name] for name in ("etag", "vary", "cache-control", "content-type")
    }
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    same = await http.get(PATH, headers=headers | {"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content, len(calls)) == (304, b"", 1)
    assert (await http.get(PATH + "&basis=provincial", headers=headers)).content != first.content
    await store(engine, make.head("H31.135-260803-0002", **LATE))
    changed = await http.get(PATH, headers=headers)
    assert changed.json()["counts"]["dossiers"] == first.json()["counts"]["dossiers"] + 1
    metrics = (await http.get("/metrics", headers=headers)).text
    assert 'chiso_requests_total{method="GET",route="/v1/indicators/{group}",status="304"} 1.0' in metrics


async def test_what_was_not_modified_is_kept_without_its_body(
    engine: AsyncEngine, http: httpx.AsyncClient, calls: list[str]
) -> None:
    _, key = await joined.key(engine, Role.ADMIN)
    headers = joined.bearer(key)
    tag = (await http.get(PATH, headers=headers)).headers["etag"]
    await store(engine)  # the worker writes nothing of the figures, but there was a commit
    async with session_scope(engine) as session:
        await session.execute(text("UPDATE heartbeat SET at = now()"))
        await session.execute(text("SELECT pg_current_xact_id()"))
    given = headers | {"If-None-Match": tag}
    assert [(await http.get(PATH, headers=given)).status_code for _ in range(3)] == [304] * 3
    assert len(calls) == 2, "once before the commit, once after it"
    assert (await http.get(PATH, headers=headers)).status_code == 200


async def test_a_key_s_answer_is_nobody_else_s_and_ends_with_the_key(
    engine: AsyncEngine, http: httpx.AsyncClient, settings: Settings
) -> None:
    key_id, key = await joined.key(engine, Role.ADMIN)
    _, other = await joined.key(engine, Role.UNIT, "H31.136")
    for _ in range(2):
        assert (await http.get(PATH, headers=joined.bearer(key))).status_code == 200
        assert (await http.get(PATH, headers=joined.bearer(other))).status_code == 403
        assert (await http.get(PATH)).status_code == 401
    async with session_scope(engine) as session:
        await access.revoke_key(session, key_id, now=settings.now())
    assert (await http.get(PATH, headers=joined.bearer(key))).status_code == 401


async def test_no_older_than_a_second(
    engine: AsyncEngine, app: FastAPI, http: httpx.AsyncClient, settings: Settings, calls: list[str]
) -> None:
    _, key = await joined.key(engine, Role.ADMIN)
    await http.get(PATH, headers=joined.bearer(key))
    app.state.settings = settings.model_copy(update={"chiso_now": settings.now() + timedelta(seconds=2)})
    await http.get(PATH, headers=joined.bearer(key))
    assert len(calls) == 2
