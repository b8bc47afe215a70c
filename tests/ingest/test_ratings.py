"""DongBoDanhGia: the citizens' monthly ratings as a client of the national protocol sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import dvcqg, naming
from shared.app import create_app
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import joined, make
from tests.ingest.test_dvcqg import Portal
from tests.make import NOW

SERVICE = "DongBoDanhGia"
FORM: dict[str, Any] = {
    "NgayTongHop": "8-2026",
    "TongSoNguoiDanhGia": "30",
    "PhanTramDanhGia": {"RatHaiLong": "50.5", "HaiLong": "40,25", "ChuaHaiLong": 9.25},
    "MaThuTuc": "1.001612",
    "Madonvi": "H31.135",
    "TenDonVi": "UBND phường Phố Hiến",
}


@pytest.fixture
async def portal(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Portal]:
    async with session_scope(engine) as session:
        await make.units(session)
    key_id, key = await joined.key(engine, Role.INTEGRATOR)
    async with joined.serve(create_app("test", dvcqg.router, settings=settings)) as http:
        made = Portal(http, key_id, key)
        await made.login()
        yield made


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with session_scope(engine) as session:
        return [tuple(row) for row in await session.execute(text(sql))]


async def test_in_the_call_itself_or_in_data(portal: Portal, engine: AsyncEngine) -> None:
    answers = [
        await portal.call(SERVICE, **FORM),
        await portal.call(SERVICE, **FORM | {"NgayTongHop": "09/2026", "data": []}),
        await portal.call(SERVICE, data=[FORM | {"MaThuTuc": ""}, FORM | {"Madonvi": "000.00.136.H31"}]),
        await portal.call(SERVICE, data=FORM | {"Madonvi": "", "TenDonVi": "UBND phường Sơn Nam"}),
        await portal.call(SERVICE, data=None, **FORM | {"Madonvi": "X1", "TenDonVi": "Nơi không ai biết"}),
    ]
    assert {(each["error_code"], each["message"]) for each in answers} == {
        ("0", "Đồng bộ đánh giá thành công")
    }
    stored = await rows(
        engine,
        "SELECT month, agency_code, procedure_code, unit_name, unit_code, unit_via FROM citizen_rating"
        " ORDER BY 1, 2, 3",
    )
    assert stored == [
        ("2026-08", "000.00.136.H31", "1.001612", None, "H31.136", "agency_code"),
        ("2026-08", "H31.135", "", None, "H31.135", "agency_code"),
        ("2026-08", "H31.135", "1.001612", None, "H31.135", "agency_code"),
        ("2026-08", "UBND phường Sơn Nam", "1.001612", "UBND phường Sơn Nam", "H31.136", "alias"),
        ("2026-08", "X1", "1.001612", "Nơi không ai biết", None, "none"),
        ("2026-09", "H31.135", "1.001612", None, "H31.135", "agency_code"),
    ]
    shares = await rows(
        engine, "SELECT DISTINCT raters, very_satisfied, satisfied, not_satisfied FROM citizen_rating"
    )
    assert shares == [(30, Decimal("50.50"), Decimal("40.25"), Decimal("9.25"))]
    assert await rows(engine, "SELECT sum(accepted), count(*) FROM push_receipt") == [(6, 5)]


async def test_the_later_arrival_stands_and_a_repetition_changes_nothing(
    portal: Portal, engine: AsyncEngine
) -> None:
    for item in (FORM, FORM | {"TongSoNguoiDanhGia": 31}, FORM | {"TongSoNguoiDanhGia": 31}):
        assert (await portal.call(SERVICE, data=[item]))["error_code"] == "0"
    assert await rows(engine, "SELECT raters FROM citizen_rating") == [(31,)]
    assert await rows(engine, "SELECT accepted, unchanged FROM push_receipt ORDER BY id") == [
        (1, 0),
        (1, 0),
        (0, 1),
    ]


async def test_what_is_wrong_is_named_and_the_rest_is_stored(portal: Portal, engine: AsyncEngine) -> None:
    bad: list[dict[str, Any]] = [
        {"NgayTongHop": "13-2026"},
        {"NgayTongHop": "12-2026"},
        {"TongSoNguoiDanhGia": "nhiều"},
        {"TongSoNguoiDanhGia": -1},
        {"PhanTramDanhGia": {"RatHaiLong": "101"}},
        {"PhanTramDanhGia": {"RatHaiLong": 60, "HaiLong": 60}},
        {"PhanTramDanhGia": "tốt"},
        {"MaThuTuc": "1.00161"},
        {"Madonvi": "", "TenDonVi": ""},
    ]
    said = await portal.call(SERVICE, data=[*(FORM | wrong for wrong in bad), FORM, 5])
    assert said["error_code"] == "-1"
    assert said["message"].startswith("Có 10/11 bản ghi bị từ chối")
    fields = [
        row[0]
        for row in await rows(engine, "SELECT field FROM quarantine WHERE door = 'ratings' ORDER BY id")
    ]
    assert sorted(fields) == sorted(
        ["NgayTongHop", "NgayTongHop", "TongSoNguoiDanhGia", "TongSoNguoiDanhGia", "PhanTramDanhGia.RatHaiLong",
         "PhanTramDanhGia", "PhanTramDanhGia", "MaThuTuc", "Madonvi", "item"]
    )  # fmt: skip
    assert await rows(engine, "SELECT count(*) FROM citizen_rating") == [(1,)]
    assert (await portal.call(SERVICE))["error_code"] == "-1"
    assert (await portal.call(SERVICE, data="x"))["error_code"] == "-5"


async def test_a_name_that_is_told_later_places_ratings_again(portal: Portal, engine: AsyncEngine) -> None:
    await portal.call(SERVICE, **FORM | {"Madonvi": "X1"})
    whose = "SELECT unit_code, unit_via FROM citizen_rating"
    assert await rows(engine, whose) == [("H31.135", "alias")]
    async with session_scope(engine) as session:
        await naming.put_alias(
            session, name="X1", unit_code="H31.16", valid_from=None, valid_to=None, by="k", now=NOW
        )
    assert await rows(engine, whose) == [("H31.16", "alias")]
