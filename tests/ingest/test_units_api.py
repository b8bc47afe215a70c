"""Names and codes that no unit is known for, aliases, and what an alias changes of what came before."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import naming, service, units_api
from services.ingest.normalise import Head
from shared.db import driver, session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Role, UnitLevel
from tests import make
from tests.indicators.test_petitions import petition
from tests.indicators.test_petitions import take as take_petitions
from tests.make import NOW, moment

WINDOW = "Bộ phận Một cửa Sơn Nam"


async def take(engine: AsyncEngine, *heads: Head, portal: Portal = Portal.SENT) -> None:
    async with session_scope(engine) as session:
        await service.accept(
            session, portal=portal, via="push", door="test", sender="k1", now=NOW, heads=heads
        )


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with session_scope(engine) as session:
        return [tuple(row) for row in await session.execute(text(sql))]


@pytest.fixture
async def http(engine: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.unit(
            session,
            "H31.40",
            "UBND huyện Cũ",
            UnitLevel.DISTRICT,
            valid_from=date(2010, 1, 1),
            valid_to=date(2025, 6, 30),
            successor_code="H31.135",
        )
    await take(
        engine,
        make.head("H31.135-260801-0001", agency_code=None, unit_name=WINDOW),
        make.head("H31.135-260802-0002", agency_code=None, unit_name=WINDOW),
        make.head("HS-3", agency_code=None, unit_name=WINDOW.upper()),
        make.head("HS-4", agency_code="X.99", unit_name=None),
        make.head("H31.250-260801-0005", agency_code=None, unit_name=None),
        make.head("H31.136-260801-0006", agency_code="H31.136", unit_name=WINDOW),
        make.head("H31.135-260801-0007", agency_code=None, unit_name="UBND phường Phố Hiến"),
        make.head("H31.135-260801-0008", agency_code=None, unit_name=None),
    )
    async with make.client(engine, settings, units_api.router, role=Role.CENTRE) as client:
        yield client


async def test_what_is_unmapped_with_counts(http: httpx.AsyncClient) -> None:
    found = (await http.get("/v1/unit-aliases", params={"unmapped": True})).json()
    assert found["next"] is None
    assert [(item["kind"], item["name"], item["dossiers"]) for item in found["items"]] == [
        ("name", WINDOW, 2),
        ("agency_code", "X.99", 1),
        ("dossier_code", "H31.250", 1),
        ("name", WINDOW.upper(), 1),
    ]
    first, second = found["items"][:2]
    assert first["example"] == "H31.135-260801-0001"
    assert first["guessed_unit_code"] == "H31.135"
    assert first["first_received_at"] == first["last_received_at"] == "2026-08-03T09:30:00+07:00"
    assert second["agency_codes"] == ["X.99"]
    assert second["guessed_unit_code"] is None

    one, seen = None, []
    while True:
        page = (
            await http.get(
                "/v1/unit-aliases", params={"unmapped": True, "limit": 1} | ({"cursor": one} if one else {})
            )
        ).json()
        seen += page["items"]
        one = page["next"]
        if one is None:
            break
    assert seen == found["items"]
    answer = await http.get("/v1/unit-aliases", params={"unmapped": True}, headers={"Accept": "text/csv"})
    table = list(csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert [row["name"] for row in table] == [item["name"] for item in found["items"]]


async def test_a_unit_sees_what_its_own_codes_were_given_to(
    http: httpx.AsyncClient, engine: AsyncEngine, settings: Settings
) -> None:
    async with make.client(engine, settings, units_api.router, role=Role.UNIT, unit="H31.135") as own:
        found = (await own.get("/v1/unit-aliases", params={"unmapped": True})).json()
        assert [item["name"] for item in found["items"]] == [WINDOW]
        known = (await own.get("/v1/unit-aliases")).json()
        assert {item["unit_code"] for item in known["items"]} == {"H31.135"}
        put = await own.put("/v1/unit-aliases/x", json={"unit_code": "H31.135"})
        assert put.status_code == 403


async def test_an_alias_resolves_what_came_before(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM change"))
    answer = await http.put(f"/v1/unit-aliases/{WINDOW}", json={"unit_code": "000.00.136.H31"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "name": WINDOW,
        "unit_code": "H31.136",
        "valid_from": "2025-07-01",
        "valid_to": None,
        "re_resolved": 3,
        "petitions_re_resolved": 0,
    }
    by_alias = "SELECT code FROM dossier WHERE unit_via = 'alias' AND unit_code = 'H31.136' ORDER BY 1"
    assert await rows(engine, by_alias) == [
        ("H31.135-260801-0001",),
        ("H31.135-260802-0002",),
        ("HS-3",),
    ]
    queued = await rows(
        engine, "SELECT consumer, count(*) FROM change, unnest(codes) AS code GROUP BY 1 ORDER BY 1"
    )
    assert queued == [("indicators", 3), ("reconcile", 3)]
    # It was wrong: the same again, with another unit, also for what the alias had found.
    answer = await http.put(f"/v1/unit-aliases/ubnd  {WINDOW.lower()}", json={"unit_code": "H31.16"})
    assert answer.json()["re_resolved"] == 3
    moved = "SELECT unit_code FROM dossier WHERE unit_via = 'alias' AND code = 'HS-3'"
    assert await rows(engine, moved) == [("H31.16",)]
    again = await http.put(f"/v1/unit-aliases/{WINDOW}", json={"unit_code": "H31.16"})
    assert again.json()["re_resolved"] == 0
    # And what comes from now on.
    await take(engine, make.head("HS-9", agency_code=None, unit_name=WINDOW))
    assert await rows(engine, "SELECT unit_code FROM dossier WHERE code = 'HS-9'") == [("H31.16",)]
    listed = (await http.get("/v1/unit-aliases")).json()["items"]
    mine = next(item for item in listed if item["name"] == WINDOW)
    assert mine["unit_code"] == "H31.16"
    assert mine["source"].startswith("key k")


async def test_petitions_call_units_by_names_too(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    """Of two that say a name that dossiers say as well, one has a dossier's code to guess by; one name is on petitions
    only; one says no name."""

    async def placed() -> list[Any]:
        return await rows(engine, "SELECT code, unit_code, unit_via FROM petition ORDER BY code")

    told = {"agency_code": None, "unit_name": WINDOW, "version": NOW}
    base = petition()
    async with session_scope(engine) as session:
        await take_petitions(
            session,
            [
                base._replace(**told, code="P1", dossier_code="H31.135-260801-0001"),
                base._replace(**told, code="P2"),
                base._replace(code="P3", agency_code=None, unit_name="Tổ một cửa lưu động"),
                base._replace(code="P4", agency_code=None),
            ],
        )
    before = await placed()
    assert before[:2] == [("P1", "H31.135", "dossier_code"), ("P2", None, "none")]
    found = (await http.get("/v1/unit-aliases", params={"unmapped": True})).json()["items"]
    counts = {item["name"]: (item["dossiers"], item["petitions"], item["example"]) for item in found}
    assert counts[WINDOW] == (2, 2, "H31.135-260801-0001")
    assert counts["Tổ một cửa lưu động"] == (0, 1, "P3")
    assert found[-1]["name"] == "Tổ một cửa lưu động"
    assert len(found) == 5
    pages, cursor = [], None
    while cursor or not pages:
        asked = {"unmapped": True, "limit": 1} | ({"cursor": cursor} if cursor else {})
        answer = (await http.get("/v1/unit-aliases", params=asked)).json()
        pages += answer["items"]
        if (cursor := answer["next"]) is None:
            break
    assert pages == found

    answer = (await http.put(f"/v1/unit-aliases/{WINDOW}", json={"unit_code": "H31.136"})).json()
    assert (answer["re_resolved"], answer["petitions_re_resolved"]) == (3, 2)
    assert (await placed())[:2] == [("P1", "H31.136", "alias"), ("P2", "H31.136", "alias")]
    removed = (await http.delete(f"/v1/unit-aliases/{WINDOW}")).json()
    assert removed["petitions_re_resolved"] == 2
    assert await placed() == before


async def test_an_alias_that_is_removed_is_as_if_it_had_never_been(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    placed = "SELECT code, unit_code, unit_via FROM dossier ORDER BY code"
    before = await rows(engine, placed)
    for since, until in (("2020-01-01", "2025-06-30"), ("2025-07-01", None)):
        body = {"unit_code": "H31.136", "valid_from": since, "valid_to": until}
        assert (await http.put(f"/v1/unit-aliases/{WINDOW}", json=body)).status_code == 200
    assert await rows(engine, placed) != before
    named = await http.delete(f"/v1/unit-aliases/{WINDOW}", params={"valid_from": "2020-01-01"})
    assert named.json()["removed"] == [
        {"unit_code": "H31.136", "valid_from": "2020-01-01", "valid_to": "2025-06-30"}
    ]
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM change"))
    answer = await http.delete(f"/v1/unit-aliases/ubnd {WINDOW.lower()}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["removed"] == [
        {"unit_code": "H31.136", "valid_from": "2025-07-01", "valid_to": None}
    ]
    assert answer.json()["re_resolved"] == 3
    assert await rows(engine, placed) == before
    queued = await rows(engine, "SELECT consumer, code FROM change, unnest(codes) AS code ORDER BY 1, 2")
    codes = ["H31.135-260801-0001", "H31.135-260802-0002", "HS-3"]
    assert queued == [(who, code) for who in ("indicators", "reconcile") for code in codes]
    again = await http.delete(f"/v1/unit-aliases/{WINDOW}")
    assert (again.status_code, again.json()["removed"], again.json()["re_resolved"]) == (200, [], 0)


@pytest.mark.parametrize(("name", "code"), [("X.99", "HS-4"), ("H31.250", "H31.250-260801-0005")])
async def test_an_alias_of_a_code(http: httpx.AsyncClient, engine: AsyncEngine, name: str, code: str) -> None:
    answer = await http.put(f"/v1/unit-aliases/{name}", json={"unit_code": "H31.16"})
    assert answer.json()["re_resolved"] == 1
    assert await rows(engine, f"SELECT unit_code, unit_via FROM dossier WHERE code = '{code}'") == [
        ("H31.16", "alias")
    ]
    answer = await http.put(f"/v1/unit-aliases/{name}", json={"unit_code": "H31.136"})
    assert answer.json()["re_resolved"] == 1


async def test_a_name_that_meant_a_district_before(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    """A name of 2023 and one of today that are the same: spans, which may not share a day."""
    await take(
        engine,
        make.head("HS-2023", agency_code=None, unit_name=WINDOW, received_at=moment("2023-05-05 08:00")),
    )
    now = await http.put(f"/v1/unit-aliases/{WINDOW}", json={"unit_code": "H31.136"})
    assert now.json()["re_resolved"] == 4, "one name, one unit: also for what is older than the alias"
    overlapping = await http.put(f"/v1/unit-aliases/{WINDOW}", json={"unit_code": "H31.40"})
    assert overlapping.status_code == 409
    assert overlapping.json()["taken"] == {"valid_from": "2025-07-01", "valid_to": None}
    before = {"unit_code": "H31.40", "valid_to": "2025-06-30"}
    answer = await http.put(f"/v1/unit-aliases/{WINDOW}", json=before)
    assert answer.status_code == 200, answer.text
    assert answer.json()["valid_from"] == "2010-01-01"
    assert answer.json()["re_resolved"] == 1
    assert await rows(engine, "SELECT unit_code FROM dossier WHERE code = 'HS-2023'") == [("H31.40",)]


@pytest.mark.parametrize(
    ("name", "body", "status", "field"),
    [
        (WINDOW, {"unit_code": "H31.999"}, 404, "unit_code"),
        (WINDOW, {"unit_code": "sở"}, 422, "unit_code"),
        ("UBND", {"unit_code": "H31.136"}, 200, None),
        ("…", {"unit_code": "H31.136"}, 422, "name"),
        (
            WINDOW,
            {"unit_code": "H31.136", "valid_from": "2026-02-01", "valid_to": "2026-01-01"},
            422,
            "valid_to",
        ),
        ("H31.135", {"unit_code": "H31.136"}, 409, "name"),
        ("000.00.135.H31", {"unit_code": "H31.136"}, 409, "name"),
        (WINDOW, {"unit_code": "H31.136", "other": 1}, 422, None),
    ],
)
async def test_what_is_refused(
    http: httpx.AsyncClient, name: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    answer = await http.put(f"/v1/unit-aliases/{name}", json=body)
    assert answer.status_code == status, answer.text
    if field:
        assert answer.json()["field"].endswith(field.rpartition(".")[2])


async def test_a_push_at_the_same_moment_waits_for_the_alias(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """Else its dossiers would keep the old answer, and nothing would resolve them again."""
    async with session_scope(engine) as session:
        await naming.put_alias(
            session, name=WINDOW, unit_code="H31.136", valid_from=None, valid_to=None, by="k", now=NOW
        )
        push = asyncio.create_task(take(engine, make.head("HS-7", agency_code=None, unit_name=WINDOW)))
        await asyncio.wait({push}, timeout=0.3)  # it has come as far as it can
        assert not push.done()
    await push
    assert await rows(engine, "SELECT unit_code FROM dossier WHERE code = 'HS-7'") == [("H31.136",)]


async def test_the_cost_follows_the_copies_that_carry_the_name(engine: AsyncEngine) -> None:
    """Among many dossiers whose unit is known by its code, and many with other names, the few are found by indexes."""
    async with session_scope(engine) as session:
        await make.units(session)
        connection = await driver(session)
        await connection.execute(
            "INSERT INTO dossier (code, portal, code_known, source_system, known, unit_via, unit_name, agency_code,"
            " cancelled, via, learnt_at) SELECT 'HS-' || n, 'sent', false, 'unknown', 0,"
            " CASE WHEN n % 2 = 0 THEN 'agency_code' ELSE 'none' END, 'nơi số ' || n % 50, NULL, false, 'push', now()"
            " FROM generate_series(1, 20000) AS n"
        )
    await rows(engine, "SELECT 1")
    async with session_scope(engine) as session:
        connection = await driver(session)
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(
                "EXPLAIN SELECT code, portal FROM dossier WHERE unit_via IN ('none', 'dossier_code', 'alias')"
                " AND unit_name = ANY($1::text[])",
                ["nơi số 7"],
            )
        )
        assert "ix_dossier_unit_name" in plan, plan
        assert len(await naming._distinct(connection, "unit_name")) == 25
