"""What every service's application has in common, seen from outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services import cli
from services.ingest import runs
from shared import queue
from shared.app import create_app
from shared.db import Session, driver, session_scope
from shared.problems import KINDS, TITLES
from shared.settings import Settings, get_settings
from shared.vocabulary import Portal, Role, Subject
from tests import joined
from tests.conftest import Cluster
from tests.joined import bearer
from tests.make import NOW

WORKERS = ("ingest", "reconcile", "indicators")
SECRET = "NGUYỄN VĂN BÍ MẬT 0912345678"

crashing = APIRouter()


@crashing.get("/crash")
async def crash() -> None:
    raise RuntimeError(SECRET)


@crashing.get("/refused/{state}")
async def refused(state: str, session: Session) -> None:
    await (await driver(session)).execute(
        f"DO $$ BEGIN RAISE EXCEPTION '{SECRET}' USING ERRCODE = '{state}'; END $$"
    )


@pytest.fixture
async def http(engine: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with joined.serve(joined.joined(settings)) as client:
        yield client


@pytest.fixture(scope="module")
async def asking(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an admin's key, for what leaves nothing behind."""
    async with (
        joined.own_database(cluster) as (engine, settings),
        joined.serve(joined.joined(settings)) as client,
    ):
        client.headers.update(await admin(engine))
        yield client


async def beat(engine: AsyncEngine, *names: str, ago: timedelta = timedelta(0)) -> None:
    async with session_scope(engine) as session:
        for name in names:
            await queue.beat(session, name, now=NOW - ago)


async def admin(engine: AsyncEngine) -> dict[str, str]:
    return bearer((await joined.key(engine, Role.ADMIN))[1])


def test_the_tested_application_is_the_shipped_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    get_settings.cache_clear()
    try:
        shipped = {route[:2] for route in joined.routes(cli.api())}
    finally:
        get_settings.cache_clear()
    assert shipped == {route[:2] for route in joined.routes(joined.joined(settings))}


async def test_alive(asking: httpx.AsyncClient) -> None:
    answer = await asking.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_names_what_is_missing(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["missing"] == [f"worker {name}" for name in WORKERS]
    await beat(engine, "ingest", "reconcile")
    await beat(engine, "indicators", ago=timedelta(minutes=2))
    answer = await http.get("/ready")
    assert answer.json()["missing"] == ["worker indicators"], "silent for too long"
    assert answer.json()["workers"]["indicators"] == "seen 120 s ago"
    await beat(engine, *WORKERS)
    answer = await http.get("/ready")
    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    assert answer.json()["missing"] == []
    assert {"reconcile": 0, "indicators": 0}.items() <= answer.json()["pending_changes"].items()


async def test_the_last_sync_is_the_last_that_ended_well(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    settings = Settings(_env_file=None, national_url="http://127.0.0.1:9")
    for hours, well in ((1, True), (2, True), (3, False)):
        async with session_scope(engine) as session:
            now = NOW + timedelta(hours=hours)
            run_id = await runs.request(
                session,
                portal=Portal.NATIONAL,
                subject=Subject.UNITS,
                by="test",
                now=now,
                settings=settings,
            )
            run = await runs.take_up(session, run_id, now=now)
            assert run is not None
            if well:
                await runs.finish(session, run, now=now, complete=True)
            else:
                await runs.fail(session, run, ValueError(), now=now)
    answer = (await http.get("/ready")).json()
    assert answer["last_sync"] == {"national/units": (NOW + timedelta(hours=2)).isoformat()}
    assert 'chiso_sync_age_seconds{portal="national",subject="units"}' in (await http.get("/metrics")).text


async def test_under_make_run_ready_waits_for_the_summary(engine: AsyncEngine, settings: Settings) -> None:
    await beat(engine, *WORKERS)
    app = joined.joined(settings.model_copy(update={"ready_after_summary": True}))
    async with joined.serve(app) as http:
        answer = await http.get("/ready")
        assert (answer.status_code, answer.json()["missing"]) == (503, ["first sync and its summary"])
        await beat(engine, "summary")
        assert (await http.get("/ready")).status_code == 200


async def test_ready_before_the_migrations(cluster: Cluster, settings: Settings) -> None:
    """As an older database, or an empty one, under newer code: 503 with both revisions, and no crash elsewhere."""
    name = await cluster.create()
    try:
        owner = create_async_engine(
            cluster.owner_url(name).replace("postgresql://", "postgresql+asyncpg://", 1)
        )
        async with owner.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
        await owner.dispose()
        older = settings.model_copy(update={"database_url": cluster.app_url(name)})
        async with joined.serve(joined.joined(older)) as http:
            answer = await http.get("/ready")
            assert answer.status_code == 503
            (missing,) = answer.json()["missing"]
            assert missing.startswith("migrations: at older, this code needs ")
            assert answer.json()["migration"] == "older"
    finally:
        await cluster.drop(name)


async def test_without_a_database_everything_says_so(settings: Settings) -> None:
    assert settings.database_url is not None
    nowhere = settings.model_copy(update={"database_url": "postgresql+asyncpg://u:p@127.0.0.1:9/none"})
    async with joined.serve(joined.joined(nowhere)) as http:
        assert (await http.get("/health")).status_code == 200
        for path in ("/ready", "/metrics", "/v1/findings"):
            answer = await http.get(path, headers=bearer("k1.x"))
            assert answer.status_code == 503, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "5"
            assert answer.json()["type"] == "/docs/problems#unavailable"
        told = await http.post("/dvcqg/login", json={"username": "k1", "password": "k1.x"})
        assert (told.status_code, told.json()["error_code"]) == (200, "-9")


async def test_metrics_can_be_read_by_prometheus(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    await joined.province(engine)
    key = await admin(engine)
    await http.get("/v1/dossiers/H31.135-260803-0001", headers=key)
    await http.get("/v1/dossiers/H31.135-260803-0001")
    await http.get("/nowhere/at/all")
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["chiso_changes_due", "reconcile"] == 0
    assert samples["chiso_changes_due", "indicators"] == 0
    assert samples["chiso_requests_total", "/v1/dossiers/{code}", "200", "GET"] == 1
    assert samples["chiso_requests_total", "/v1/dossiers/{code}", "401", "GET"] == 1
    assert samples["chiso_requests_total", "404", "GET", "none"] == 1
    assert samples["chiso_request_seconds_count", "/v1/dossiers/{code}"] == 2
    assert sum(value for (name, *_), value in samples.items() if name == "chiso_findings_open") > 0
    assert "H31.135" not in answer.text, "no codes, or every dossier would become a series"


async def test_request_ids_go_in_and_out(
    asking: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    http = asking
    answer = await http.get("/v1/findings?limit=0", headers={"X-Request-Id": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    assert answer.json()["request_id"] == "abc-123"
    assert "abc-123" in capsys.readouterr().out
    made = {(await http.get("/health")).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for unfit in ("", "x" * 65, "a\tb", "é".encode()):
        given = (await http.get("/health", headers={"X-Request-Id": unfit})).headers["x-request-id"]
        assert len(given) == 32, "one of our own instead"
        assert given.isalnum()


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["type"] == f"/docs/problems#{KINDS[status]}"
    assert content["title"] == TITLES[status][1]
    assert content["status"] == status
    assert content["detail"]
    assert content["detail_vi"]
    assert content["request_id"] == answer.headers["x-request-id"]
    return content


async def test_errors_of_routing_are_problems(asking: httpx.AsyncClient) -> None:
    is_problem(await asking.get("/nowhere"), 404)
    refused = await asking.delete("/v1/findings")
    is_problem(refused, 405)
    assert refused.headers["allow"] == "GET"
    is_problem(await asking.put("/dvcqg/login"), 405)


async def test_a_crash_is_a_problem_without_its_message(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with joined.serve(create_app("test", crashing, settings=settings)) as http:
        answer = await http.get("/crash", params={"q": SECRET})
    is_problem(answer, 500)
    logged = capsys.readouterr()
    assert "RuntimeError" in logged.out
    assert "test_operations.py" in logged.out
    for told in (answer.text, logged.out, logged.err):
        assert "BÍ MẬT" not in told
        assert "0912345678" not in told


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("40P01", 503),  # a deadlock: repeating it ends well
        ("40001", 503),
        ("55P03", 503),  # a lock that is not had in time
        ("57014", 503),
        ("53300", 503),
        ("22003", 422),  # a value that no column can hold
        ("23505", 500),
        ("42P01", 500),
    ],
)
async def test_what_the_database_refuses(
    asking: httpx.AsyncClient, cluster: Cluster, state: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = asking._transport.app.state.settings  # type: ignore[attr-defined]
    async with joined.serve(create_app("test", crashing, settings=settings)) as http:
        answer = await http.get(f"/refused/{state}")
    is_problem(answer, status)
    assert ("retry-after" in answer.headers) is (status == 503)
    assert "BÍ MẬT" not in answer.text + capsys.readouterr().out


async def test_only_the_dashboards_named_in_the_settings_may_read_from_a_browser(
    engine: AsyncEngine, settings: Settings
) -> None:
    origin = "https://bang-dieu-khien.example"
    allowed = settings.model_copy(update={"cors_origins": [origin]})
    async with joined.serve(joined.joined(allowed)) as http:
        key = await admin(engine)
        answer = await http.get("/v1/indicators", headers={"Origin": origin} | key)
        assert answer.headers["access-control-allow-origin"] == origin
        assert "ETag" in answer.headers["access-control-expose-headers"]
        other = await http.get("/v1/indicators", headers={"Origin": "https://other.example"} | key)
        assert "access-control-allow-origin" not in other.headers
        asked = {"Origin": origin, "Access-Control-Request-Headers": "authorization"}
        ahead = await http.options("/v1/indicators", headers=asked | {"Access-Control-Request-Method": "GET"})
        assert ahead.status_code == 200
        writing = await http.options(
            "/v1/decisions", headers=asked | {"Access-Control-Request-Method": "POST"}
        )
        assert writing.status_code == 400
    async with joined.serve(joined.joined(settings)) as http:
        answer = await http.get("/health", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/v1/dossiers/H31%00",
        "/v1/findings?kind=%00",
        "/v1/findings?unit=H31%00.135",
        "/v1/indicators/%00",
        "/nowhere%00",
        "/v1/findings?kind=a%2500",
    ],
)
async def test_nul_goes_no_further(asking: httpx.AsyncClient, path: str) -> None:
    answer = await asking.get(path)
    is_problem(answer, 422 if "%25" in path else 400)


async def test_a_body_over_20_mb(asking: httpx.AsyncClient) -> None:
    large = json.dumps(joined.DECISION | {"title": "x" * (20 * 1024 * 1024)}).encode()
    kind = {"Content-Type": "application/json"}
    for path in ("/v1/decisions", "/v1/dossiers", "/v1/sync-runs"):
        content = is_problem(await asking.post(path, content=large, headers=kind), 413)
        assert content["limit_bytes"] == 20 * 1024 * 1024

        async def pieces() -> AsyncIterator[bytes]:  # without a Content-Length
            for _ in range(21):
                yield b" " * 1024 * 1024

        is_problem(await asking.post(path, content=pieces(), headers=kind), 413)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"rows":' * 5000,
        b'{"number": NaN}',
        b"null",
        b'"x"',
        b"\x00",
    ],
    ids=["broken", "empty", "not utf-8", "deep list", "deep object", "nan", "null", "text", "nul"],
)
async def test_no_body_is_an_internal_error(asking: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/decisions", "/v1/sync-runs", "/v1/dossiers"):
        answer = await asking.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), (path, answer.text)
        is_problem(answer, answer.status_code)


async def test_the_type_of_a_problem_leads_to_a_page(asking: httpx.AsyncClient) -> None:
    page = await asking.get("/docs/problems")
    assert page.status_code == 200
    for kind in KINDS.values():
        assert f'id="{kind}"' in page.text
