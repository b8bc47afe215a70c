"""Builders: what a test needs, with everything it does not care about filled in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest.normalise import Head, Step, stamp
from shared import access
from shared.app import create_app
from shared.calendar import TZ
from shared.db import session_scope
from shared.identifiers import parse_dossier_code, unit_name_key
from shared.models import Procedure, Unit, UnitAlias
from shared.settings import Settings
from shared.vocabulary import Known, Mark, Role, UnitLevel

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=TZ)
"""A Monday morning."""

ALL_KNOWN = sum(bit.value for bit in Known if bit not in (Known.OFFICER, Known.OFFICER_TITLE))
CODE = "H31.135-260803-0012"


def moment(text: str) -> datetime:
    """'2026-08-03 09:30' or '2026-08-03' in Việt Nam time."""
    return datetime.fromisoformat(text).replace(tzinfo=TZ)


def head(code: str = CODE, **fields: Any) -> Head:
    """A dossier in progress at commune H31.135, received 3/8/2026 09:30, due 6/8/2026 17:00."""
    parsed = parse_dossier_code(code)
    received = fields.get("received_at", moment("2026-08-03 09:30"))
    values: dict[str, Any] = {
        "code": parsed.code,
        "code_known": parsed.known,
        "source_system": parsed.source_system,
        "known": ALL_KNOWN,
        "version": received or NOW,
        "procedure_code": "1.001612",
        "procedure_suffix": None,
        "agency_code": "H31.135",
        "unit_name": "UBND phường Phố Hiến",
        "status": 4,
        "cancelled": False,
        "channel": 1,
        "submitted_at": received,
        "received_at": received,
        "due_at": moment("2026-08-06 17:00"),
        "finished_at": None,
        "returned_at": None,
        "rejected_at": None,
        "supplements": None,
    }
    values |= fields
    times = {name: stamp(value) for name, value in values.items() if isinstance(value, datetime)}
    return Head(**(values | times))


def step(code: str = CODE, at: str = "2026-08-03 09:30", **fields: Any) -> Step:
    values: dict[str, Any] = {
        "code": code,
        "occurred_at": moment(at),
        "status": 2,
        "officer": "Trần Thị Mẫu",
        "officer_title": "Công chức Bộ phận Một cửa",
        "started_at": None,
        "known": int(Known.OFFICER | Known.OFFICER_TITLE),
        "keep": True,
    }
    return Step(**(values | fields))


async def units(session: AsyncSession) -> None:
    """The province, a department and two communes, with the names by which the portals call them."""
    for code, name, level in (
        ("H31", "UBND tỉnh Hưng Yên", UnitLevel.PROVINCE),
        ("H31.16", "Sở Công Thương", UnitLevel.DEPARTMENT),
        ("H31.135", "UBND phường Phố Hiến", UnitLevel.COMMUNE),
        ("H31.136", "UBND phường Sơn Nam", UnitLevel.COMMUNE),
    ):
        await unit(session, code, name, level)


async def unit(
    session: AsyncSession, code: str, name: str, level: UnitLevel = UnitLevel.COMMUNE, **fields: Any
) -> None:
    since = fields.get("valid_from", date(2025, 7, 1))
    values: dict[str, Any] = {
        "code": code,
        "valid_from": since,
        "valid_to": None,
        "name": name,
        "level": level.value,
        "parent_code": None if "." not in code else code.rpartition(".")[0],
        "successor_code": None,
        "statistical_code": None,
        "mark": Mark.PRACTICE.value,
        "source": "test",
        "updated_at": NOW,
    }
    session.add(Unit(**(values | fields)))
    session.add(
        UnitAlias(
            name_key=unit_name_key(name),
            valid_from=since,
            valid_to=values["valid_to"],
            name=name,
            unit_code=code,
            source="test",
            updated_at=NOW,
        )
    )
    await session.flush()


async def procedure(session: AsyncSession, code: str = "1.001612", **fields: Any) -> None:
    """A public procedure of communes that takes three working days at most."""
    values: dict[str, Any] = {
        "code": code,
        "name": "Đăng ký thành lập hộ kinh doanh",
        "field_code": "G12-LV08",
        "field_name": "Thành lập và hoạt động doanh nghiệp (hộ kinh doanh)",
        "levels": [UnitLevel.COMMUNE.value],
        "public": True,
        "state": "1",
        "decision_number": None,
        "publisher": None,
        "max_duration": 3,
        "duration_unit": "Ngày làm việc",
        "listed_at": NOW,
        "withdrawn_at": None,
        "record_at": NOW,
        "record": None,
        "unverified": False,
    }
    session.add(Procedure(**(values | fields)))
    await session.flush()


@asynccontextmanager
async def client(
    engine: AsyncEngine, settings: Settings, *routers: APIRouter, role: Role = Role.ADMIN, unit: str = "H31"
) -> AsyncIterator[httpx.AsyncClient]:
    """The shipped application of these routers, over ASGI, with a key of this role."""
    async with session_scope(engine) as session:
        _, key = await access.create_key(session, role=role, unit_code=unit, now=NOW, by="test")
    app: FastAPI = create_app("test", *routers, settings=settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"Authorization": f"Bearer {key}"},
        ) as http,
    ):
        yield http
