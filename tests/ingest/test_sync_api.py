"""Pulls and units over REST."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import runs
from services.ingest.sync_api import router
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Role, Subject
from tests import make
from tests.make import NOW
from tests.portals import leading_to, rows


@pytest.fixture
def configured(settings: Settings) -> Settings:
    return leading_to(settings, "http://127.0.0.1:9")


async def post(http: httpx.AsyncClient, portal: str, subject: str) -> httpx.Response:
    return await http.post("/v1/sync-runs", json={"portal": portal, "subject": subject})


async def test_start_and_watch(engine: AsyncEngine, configured: Settings) -> None:
    async with make.client(engine, configured, router, role=Role.CENTRE) as http:
        started = await post(http, "provincial", "dossiers")
        assert started.status_code == 202
        run = started.json()
        assert (run["state"], run["portal"], run["subject"]) == ("queued", "provincial", "dossiers")
        assert run["queued_at"] == "2026-11-02T09:00:00+07:00"
        read = await http.get(started.headers["Location"])
        assert read.json() == run
        again = await post(http, "provincial", "dossiers")
        assert again.status_code == 409
        assert again.json()["run"] == run["id"]
        other = (await post(http, "national", "lookups")).json()
        listed = (await http.get("/v1/sync-runs")).json()
        assert [item["id"] for item in listed["items"]] == [other["id"], run["id"]]
        first = (await http.get("/v1/sync-runs", params={"limit": 1})).json()
        second = (await http.get("/v1/sync-runs", params={"limit": 1, "cursor": first["next"]})).json()
        assert [first["items"][0]["id"], second["items"][0]["id"]] == [other["id"], run["id"]]
        assert second["next"] is None
        chosen = (await http.get("/v1/sync-runs", params={"portal": "national", "state": "queued"})).json()
        assert [item["id"] for item in chosen["items"]] == [other["id"]]
        csv = await http.get("/v1/sync-runs", headers={"Accept": "text/csv"})
        assert csv.text.startswith("\ufeffid,portal,subject,state")
        assert len(csv.text.splitlines()) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"portal": "provincial", "subject": "procedures"}, "subject"),
        ({"portal": "provincial", "subject": "lookups"}, "subject"),
        ({"portal": "sent", "subject": "dossiers"}, "portal"),
    ],
)
async def test_a_subject_that_the_portal_does_not_have(
    engine: AsyncEngine, configured: Settings, body: Any, field: str
) -> None:
    async with make.client(engine, configured, router) as http:
        answer = await http.post("/v1/sync-runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field


async def test_a_list_that_is_not_granted_is_not_asked_for(engine: AsyncEngine, configured: Settings) -> None:
    for granted, status in ((False, 409), (True, 202)):
        settings = configured.model_copy(update={"national_list": granted})
        async with make.client(engine, settings, router) as http:
            answer = await post(http, "national", "dossiers")
        assert answer.status_code == status
        if not granted:
            assert answer.json()["field"] == "subject"
            assert "chưa cấp quyền" in answer.json()["detail_vi"]
            assert "look-ups" in answer.json()["detail"]
            assert await rows(engine, "SELECT * FROM sync_run") == []


@pytest.mark.parametrize("body", [{}, [], {"portal": "x", "subject": "units"}, {"portal": 5}, "x"])
async def test_bad_requests(engine: AsyncEngine, configured: Settings, body: Any) -> None:
    async with make.client(engine, configured, router) as http:
        assert (await http.post("/v1/sync-runs", json=body)).status_code == 422
        for query in ({"cursor": "x"}, {"cursor": "WzBd"}, {"limit": 0}, {"state": "x"}, {"portal": "x"}):
            assert (await http.get("/v1/sync-runs", params=query)).status_code == 422
        assert (await http.get("/v1/sync-runs/9")).status_code == 404
        assert (await http.get("/v1/sync-runs/x")).status_code == 422
        assert (await http.get("/v1/sync-runs/99999999999999999999")).status_code == 422


async def test_a_portal_that_is_not_configured(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, router) as http:
        answer = await post(http, "national", "units")
    assert answer.status_code == 409
    assert "NATIONAL_URL" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("role", "may_post", "may_read"),
    [
        (Role.CENTRE, 202, 200),
        (Role.UNIT, 403, 200),
        (Role.READER, 403, 200),
        (Role.INTEGRATOR, 403, 403),
    ],
)
async def test_roles(
    engine: AsyncEngine, configured: Settings, role: Role, may_post: int, may_read: int
) -> None:
    async with make.client(engine, configured, router, role=role) as http:
        assert (await post(http, "national", "units")).status_code == may_post
        assert (await http.get("/v1/sync-runs")).status_code == may_read
        assert (await http.get("/v1/units")).status_code == may_read


async def test_an_error_is_told_without_what_came_in(engine: AsyncEngine, configured: Settings) -> None:
    async with session_scope(engine) as session:
        run_id = await runs.request(
            session,
            portal=Portal.NATIONAL,
            subject=Subject.UNITS,
            by="test",
            now=NOW,
            settings=configured,
        )
        run = await runs.take_up(session, run_id, now=NOW)
        assert run is not None
        await runs.fail(session, run, ValueError("NGUYỄN VĂN MẪU"), now=NOW)
    async with make.client(engine, configured, router) as http:
        answer = (await http.get(f"/v1/sync-runs/{run_id}")).json()
    assert answer["state"] == "failed"
    assert answer["error"].startswith("ValueError: lỗi nội bộ")
    assert "MẪU" not in answer["error"]
    assert await rows(engine, "SELECT * FROM sync_state") == []


async def test_units(engine: AsyncEngine, configured: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    async with make.client(engine, configured, router) as http:
        every = (await http.get("/v1/units")).json()
        assert [unit["code"] for unit in every["items"]] == ["H31", "H31.135", "H31.136", "H31.16"]
        assert every["next"] is None
        communes = (await http.get("/v1/units", params={"level": "commune", "limit": 1})).json()
        assert [unit["code"] for unit in communes["items"]] == ["H31.135"]
        rest = await http.get("/v1/units", params={"level": "commune", "cursor": communes["next"]})
        assert [unit["code"] for unit in rest.json()["items"]] == ["H31.136"]
        params = {"level": "commune", "cursor": communes["next"], "limit": 1}
        assert (await http.get("/v1/units", params=params)).json() == rest.json()
        assert rest.json()["next"] is None
        before = await http.get("/v1/units", params={"on": "2024-01-01"})
        assert before.json()["items"] == []
        history = await http.get("/v1/units", params={"history": True})
        assert len(history.json()["items"]) == 4
        csv = await http.get("/v1/units", headers={"Accept": "text/csv"})
        assert len(csv.text.splitlines()) == 5
        for cursor in ("x", "WyJhIiwieCJd"):
            assert (await http.get("/v1/units", params={"cursor": cursor})).status_code == 422
    async with make.client(engine, configured, router, role=Role.UNIT, unit="H31.135") as http:
        own = (await http.get("/v1/units")).json()
        assert [unit["code"] for unit in own["items"]] == ["H31.135"]
        assert (await http.get("/v1/units", params={"unit": "H31.136"})).status_code == 403
