"""The work list over HTTP: scope, filters, pages, CSV, evidence and history."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.reconcile.main import routers
from shared import queue
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Role
from tests import make
from tests.reconcile.test_worker import HOUR, START, drain, prove, put, walk_ended

HERE, THERE = "H31.135-260803-0001", "H31.136-260803-0002"


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncEngine:
    """H31.135: an appointment that differs; H31.136: known to the nation only; H31.16: an absence proved,
    and a dossier that nothing is wrong with and nobody looked up."""
    async with session_scope(engine) as session:
        await make.units(session)
    await put(engine, START, HERE, "provincial")
    await put(engine, START, HERE, "sent", due_at=START + 96 * HOUR)
    await prove(engine, START + 25 * HOUR, HERE, True)
    await put(
        engine, START, THERE, "national", unit_code="H31.136", officer_at=None, source_system="ministry"
    )
    await put(engine, START, "H31.16-260803-0001", "provincial", unit_code="H31.16")
    await prove(engine, START + 25 * HOUR, "H31.16-260803-0001", False)
    await put(engine, START + 24 * 31 * HOUR, "H31.16-260903-0001", "provincial", unit_code="H31.16",
              received_at=START + 24 * 31 * HOUR)  # fmt: skip
    await walk_ended(engine, START + 25 * HOUR)
    await queue_code(engine, THERE)
    await drain(engine, make.NOW)
    return engine


async def queue_code(engine: AsyncEngine, code: str) -> None:
    async with session_scope(engine) as session:
        await queue.enqueue(session, [code], consumers=[Consumer.RECONCILE], now=START)


@pytest.fixture
async def http(world: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with make.client(world, settings, *routers) as client:
        yield client


async def listed(http: httpx.AsyncClient, **query: Any) -> list[tuple[str, str]]:
    answer = await http.get("/v1/findings", params=query)
    assert answer.status_code == 200, answer.text
    return sorted((item["code"], item["kind"]) for item in answer.json()["items"])


async def test_the_list_and_its_filters(http: httpx.AsyncClient) -> None:
    everything = [
        (HERE, "appointment_differs"),
        ("H31.16-260803-0001", "missing_on_national"),
        (THERE, "missing_on_provincial"),
    ]
    assert await listed(http) == sorted(everything)
    assert await listed(http, unit="H31.135") == everything[:1]
    assert await listed(http, unit="H31.13") == []
    assert await listed(http, kind="missing_on_provincial") == everything[2:]
    assert await listed(http, responsible="vnpt") == sorted(everything[:2])
    assert await listed(http, subject="procedure") == []
    assert await listed(http, state="resolved") == []
    assert await listed(http, source_system="ministry") == [(THERE, "missing_on_provincial")]
    assert await listed(http, state="all", source_system="province") == sorted(
        each for each in everything if each[0] != THERE
    )


async def test_pages_hold_each_finding_once(http: httpx.AsyncClient) -> None:
    codes: list[str] = []
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = (await http.get("/v1/findings", params=query)).json()
        codes += [item["code"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert sorted(codes) == sorted([HERE, THERE, "H31.16-260803-0001"])


async def test_csv_is_the_whole_list(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/findings", params={"limit": 1}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 3
    (row,) = (row for row in rows if row["code"] == HERE)
    assert row["kind_name"] == "Ngày hẹn trả khác nhau"
    assert row["opened_at"] == "2026-11-02T09:00:00+07:00"


async def test_a_finding_with_evidence_rule_and_history(http: httpx.AsyncClient) -> None:
    (item,) = (await http.get("/v1/findings", params={"unit": "H31.135"})).json()["items"]
    detail = (await http.get(f"/v1/findings/{item['id']}")).json()
    assert detail.items() >= item.items()
    assert [(each["portal"], each["text"]) for each in detail["evidence"]["values"]] == [
        ("provincial", "06/08/2026 08:00"),
        ("sent", "07/08/2026 08:00"),
    ]
    assert all(each["learnt_at"] and each["via"] == "push" for each in detail["evidence"]["values"])
    assert detail["rule"]["unknown"].endswith("không kết luận.")
    assert detail["responsible_name"].startswith("VNPT")
    assert [each["event"] for each in detail["events"]] == ["opened"]


async def test_copies_side_by_side(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/reconciliation/dossiers")
    view = answer.json()
    assert view["copies"] == {
        "dossiers": 4,
        "provincial": 3,
        "sent": 1,
        "national": 1,
        "confirmed": 1,
        "absent": 1,
        "not_asked": 1,
    }
    assert [(each["kind"], each["dossiers"]) for each in view["findings"]] == [
        ("missing_on_national", 1),
        ("missing_on_provincial", 1),
        ("appointment_differs", 1),
    ]
    assert [
        (each["source_system"], each["copies"]["dossiers"], each["copies"]["national"], each["findings"])
        for each in view["source_systems"]
    ] == [("ministry", 1, 1, 1), ("province", 3, 0, 2)]
    theirs = await http.get("/v1/reconciliation/dossiers", params={"source_system": "ministry"})
    assert theirs.json()["source_system"] == "ministry"
    assert theirs.json()["copies"] == view["source_systems"][0]["copies"]
    assert [each["kind"] for each in theirs.json()["findings"]] == ["missing_on_provincial"]
    assert view["as_of"] == "2026-11-02T09:00:00+07:00"
    assert view["coverage"]["complete"] is False
    again = await http.get("/v1/reconciliation/dossiers", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    august = (await http.get("/v1/reconciliation/dossiers", params={"period": "2026-08"})).json()
    assert august["copies"]["dossiers"] == 3
    assert august["coverage"] == view["coverage"] | {"complete": True, "missing": []}
    one = (await http.get("/v1/reconciliation/dossiers", params={"unit": "H31.16", "period": "2026"})).json()
    assert one["copies"]["dossiers"] == 2


async def test_a_unit_sees_its_own_findings_only(world: AsyncEngine, settings: Settings) -> None:
    async with make.client(world, settings, *routers, role=Role.UNIT, unit="H31.135") as http:
        (item,) = (await http.get("/v1/findings")).json()["items"]
        assert item["code"] == HERE
        assert (await http.get("/v1/reconciliation/dossiers")).json()["copies"]["dossiers"] == 1
        assert (await http.get("/v1/findings", params={"unit": "H31.136"})).status_code == 403
        assert (await http.get("/v1/reconciliation/dossiers", params={"unit": "H31"})).status_code == 403
    async with make.client(world, settings, *routers, role=Role.UNIT, unit="H31.136") as http:
        assert (await http.get(f"/v1/findings/{item['id']}")).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/findings?kind=nothing", 422),
        ("/v1/findings?state=gone", 422),
        ("/v1/findings?limit=0", 422),
        ("/v1/findings?limit=1001", 422),
        ("/v1/findings?cursor=abc", 422),
        ("/v1/findings?cursor=WyJhIl0", 422),
        ("/v1/findings/nothing", 422),
        ("/v1/findings/019a3f5e-5b00-7c10-a5c4-2b8f0d3c9a11", 404),
        ("/v1/findings?unit=nowhere", 422),
        ("/v1/reconciliation/dossiers?period=2026-13", 422),
        ("/v1/reconciliation/dossiers?source_system=elsewhere", 422),
    ],
)
async def test_bad_questions(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
