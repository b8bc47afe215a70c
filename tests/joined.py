"""The application of all services, as `chiso up` serves it, with a small province behind it: what the tests that go
across the services stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.routing import BaseRoute

from services.indicators import main as indicators
from services.indicators import worker as indicators_worker
from services.ingest import main as ingest
from services.ingest import service
from services.reconcile import main as reconcile
from services.reconcile import worker as reconcile_worker
from shared import access, queue
from shared.app import create_app
from shared.db import create_engine, session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal, Role
from tests import make
from tests.conftest import Cluster
from tests.make import NOW, moment

ROUTERS = (*ingest.routers, *reconcile.routers, *indicators.routers)

DECISION: dict[str, Any] = {
    "number": "712/QĐ-UBND",
    "issued_on": "2026-03-02",
    "effective_on": "2026-03-02",
    "title": "Công bố danh mục thủ tục hành chính mới ban hành",
    "unit_code": "H31.16",
    "declared_count": 1,
    "parent_number": None,
    "rows": [
        {
            "position": "A.I.1",
            "change": "new",
            "code": "1.001612",
            "name": "Đăng ký thành lập hộ kinh doanh",
            "level": "commune",
            "field": "Thành lập và hoạt động của hộ kinh doanh",
        }
    ],
}


PUSHED: dict[str, Any] = {"code": "H31.135-260803-0099", "status": 99}
"""An item that a push refuses."""

FILE = "Mã số,Tên\n1.001612,Đăng ký thành lập hộ kinh doanh\n".encode()
"""A list of procedures to import."""


@asynccontextmanager
async def own_database(cluster: Cluster) -> AsyncIterator[tuple[AsyncEngine, Settings]]:
    """A database for a whole module: making one takes longer than most of what is asked of it."""
    name = await cluster.create()
    engine = create_engine(cluster.app_url(name))
    try:
        yield engine, Settings(_env_file=None, database_url=cluster.app_url(name), chiso_now=NOW)
    finally:
        await engine.dispose()
        await cluster.drop(name)


def joined(settings: Settings) -> FastAPI:
    """What services.cli.api() makes, on the test's settings (test_operations holds the two against each other). The
    portals have an address, so that pulls can be asked for; nobody listens there."""
    nobody = {"national_url": "http://127.0.0.1:9", "provincial_url": "http://127.0.0.1:9"}
    return create_app("chiso", *ROUTERS, settings=settings.model_copy(update=nobody))


def routes(app: FastAPI) -> Iterator[tuple[str, str, BaseRoute]]:
    """(method, path, route) of everything that the application answers, through included routers."""

    def walk(found: list[BaseRoute], prefix: str) -> Iterator[tuple[str, BaseRoute]]:
        for route in found:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                context = getattr(route, "include_context", None)
                yield from walk(inner.routes, prefix + getattr(context, "prefix", ""))
            else:
                yield prefix + getattr(route, "path", "?"), route

    for path, route in walk(app.routes, ""):
        for method in sorted(getattr(route, "methods", None) or {"?"}):
            if not (method == "HEAD" and not isinstance(route, APIRoute)):
                yield method, path, route


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        ) as http,
    ):
        yield http


async def key(engine: AsyncEngine, role: Role, unit: str = "H31") -> tuple[str, str]:
    async with session_scope(engine) as session:
        return await access.create_key(session, role=role, unit_code=unit, now=NOW, by="test")


def bearer(given: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {given}"}


DONE = {"status": 9, "finished_at": moment("2026-08-05 15:00"), "version": moment("2026-08-05 15:00")}


async def province(engine: AsyncEngine) -> None:
    """Two communes with dossiers whose copies differ, one dossier of no unit, a procedure, worked off by the real
    workers: assessments, a tally, findings."""
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
        for portal, status in ((Portal.PROVINCIAL, {}), (Portal.SENT, DONE)):
            await service.accept(
                session,
                portal=portal,
                via="push",
                door="test",
                sender="test",
                now=NOW,
                heads=[
                    make.head("H31.135-260803-0001", **status),
                    make.head("H31.135-260803-0002", **DONE),
                    make.head(
                        "H31.136-260803-0001",
                        agency_code="H31.136",
                        unit_name="UBND phường Sơn Nam",
                        **status,
                    ),
                    make.head("HS-7", agency_code=None, unit_name=None, **status),
                ],
                steps=[make.step("H31.135-260803-0001"), make.step("H31.136-260803-0001")],
            )
        await session.execute(
            text(
                "INSERT INTO presence (code, portal, found, checked_at, via)"
                " SELECT DISTINCT code, 'national', false, CAST(:now AS timestamptz), 'lookup' FROM dossier"
                " ON CONFLICT (code, portal) DO UPDATE SET found = false, checked_at = :now, via = 'lookup'"
            ),
            {"now": NOW},
        )
    await work(engine)


async def work(engine: AsyncEngine) -> None:
    await indicators_worker.tick(engine, NOW)
    await queue.drain(engine, consumer=Consumer.RECONCILE, work=reconcile_worker.work, now=NOW)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=indicators_worker.work, now=NOW)
