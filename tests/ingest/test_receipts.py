"""Receipts: what was taken from which key, item by item, in the transaction of the data."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import api, dvcqg, receipts, receipts_api
from services.ingest.service import ACCEPTED, REJECTED, STALE, UNCHANGED
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import make
from tests.ingest.test_push import dossier
from tests.make import NOW

ROUTERS = (api.router, dvcqg.router, receipts_api.router)


async def scalar(engine: AsyncEngine, sql: str) -> Any:
    async with session_scope(engine) as session:
        return await session.scalar(text(sql))


async def test_a_small_push_is_told_item_by_item(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        body = [dossier(1), dossier(2, status=99), dossier(3, portal="sent")]
        pushed = (await http.post("/v1/dossiers", json=body)).json()
        again = (await http.post("/v1/dossiers", json=body)).json()
        answer = await http.get(f"/v1/pushes/{pushed['receipt']}")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["accepted"], found["rejected"], found["state"]) == (2, 1, "partly")
        assert (found["door"], found["portal"]) == ("dossiers", "provincial,sent")
        assert [(item["index"], item["code"], item["result"], item["field"]) for item in found["items"]] == [
            (0, "H31.135-260803-0001", "accepted", None),
            (1, "H31.135-260803-0002", "rejected", "status"),
            (2, "H31.135-260803-0003", "accepted", None),
        ]
        second = (await http.get(f"/v1/pushes/{again['receipt']}")).json()
        assert (second["unchanged"], second["rejected"]) == (2, 1)
        assert second["digest"] == found["digest"], "the same bytes"
        assert (await http.post("/v1/dossiers", json=[])).json()["receipt"] is None
        first = (await http.get("/v1/pushes", params={"limit": 1})).json()
        assert [item["id"] for item in first["items"]] == [again["receipt"]]
        rest = (await http.get("/v1/pushes", params={"cursor": first["next"]})).json()
        assert ([item["id"] for item in rest["items"]], rest["next"]) == ([pushed["receipt"]], None)
        table = await http.get("/v1/pushes", headers={"Accept": "text/csv"})
        listed = list(csv.DictReader(io.StringIO(table.text.lstrip("\ufeff"))))
        assert [int(row["id"]) for row in listed] == [again["receipt"], pushed["receipt"]]
        later = (NOW + timedelta(seconds=1)).isoformat()
        assert (await http.get("/v1/pushes", params={"from": later})).json()["items"] == []
        assert len((await http.get("/v1/pushes", params={"to": later})).json()["items"]) == 2


async def test_a_key_sees_its_own_pushes_only(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        receipt = (await http.post("/v1/dossiers", json=[dossier(1)])).json()["receipt"]
        key = (await http.get("/v1/pushes")).json()["items"][0]["key_id"]
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as other:
        for params in ({}, {"key": key}):
            assert (await other.get("/v1/pushes", params=params)).json()["items"] == []
        assert (await other.get(f"/v1/pushes/{receipt}")).status_code == 404
    async with make.client(engine, settings, *ROUTERS, role=Role.CENTRE) as centre:
        assert (await centre.get(f"/v1/pushes/{receipt}")).status_code == 200
        assert len((await centre.get("/v1/pushes", params={"key": key})).json()["items"]) == 1
        assert (await centre.get("/v1/pushes", params={"key": "other"})).json()["items"] == []
        assert (await centre.get("/v1/pushes", params={"cursor": "x"})).status_code == 422


async def test_a_stream_has_a_receipt_per_batch(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.push.BATCH", 150)
    lines = [json.dumps(dossier(n)) for n in range(400)]
    lines[200] = "{"
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        answer = await http.post(
            "/v1/dossiers", content="\n".join(lines), headers={"Content-Type": "application/x-ndjson"}
        )
        told = [json.loads(line) for line in answer.text.splitlines()]
        batches = [line for line in told if "from_index" in line]
        assert [(line["from_index"], line["items"]) for line in batches] == [(0, 150), (150, 150), (300, 100)]
        assert told[150] == batches[0], "after the items of its batch"
        assert told[-1] == {
            "counts": {"accepted": 399, "unchanged": 0, "stale": 0, "rejected": 1},
            "receipt": batches[0]["receipt"],
        }
        listed = (await http.get("/v1/pushes", params={"stream": told[-1]["receipt"]})).json()["items"]
        assert {item["id"] for item in listed} == {line["receipt"] for line in batches}
        second = (await http.get(f"/v1/pushes/{batches[1]['receipt']}")).json()
        assert second["stream_id"] == batches[0]["receipt"]
        assert [(item["index"], item["count"], item["result"]) for item in second["items"]] == [
            (150, 50, "accepted"),
            (200, 1, "rejected"),
            (201, 99, "accepted"),
        ]


async def test_the_national_protocol_leaves_receipts_too(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        key = http.headers["Authorization"].removeprefix("Bearer ")
        login = await http.post("/dvcqg/login", json={"username": key.partition(".")[0], "password": key})
        call = {"session": login.json()["session"], "isUpdating": "False"}
        head = {"MaHoSo": make.CODE, "NgayTiepNhan": "20260803093000", "TrangThaiHoSo": "4"}
        for service, data in (
            ("DongBoHoSoMC", [head, head | {"MaHoSo": "", "ChuHoSo": "NGUYỄN VĂN MẪU"}]),
            ("CapNhatTienDoHoSoMC", [{"MaHoSo": make.CODE, "ThoiDiemXuLy": "20260804093000"}]),
            ("TraCuuHoSo", []),
        ):
            answer = await http.post(
                "/dvcqg/integration", json={**call, "service": service, "mahoso": make.CODE, "data": data}
            )
            assert "receipt" not in answer.json(), "the envelope has no place for it"
        listed = (await http.get("/v1/pushes", params={"door": "dvcqg"})).json()["items"]
        assert [(item["accepted"], item["rejected"]) for item in listed] == [(1, 0), (1, 1)]
        detail = (await http.get(f"/v1/pushes/{listed[1]['id']}")).json()
        assert [item["field"] for item in detail["items"]] == [None, "MaHoSo"]
    kept = await scalar(engine, "SELECT string_agg(r::text, ' ') FROM push_receipt r")
    assert "MẪU" not in kept


async def test_no_receipt_without_its_data(engine: AsyncEngine, settings: Settings) -> None:
    """The transaction that cannot write the one does not write the other."""
    async with session_scope(engine) as session:
        await session.execute(text("SELECT 1"))
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        async with session_scope(engine) as session:
            await session.execute(text("SET LOCAL lock_timeout = '5s'"))
            await session.execute(text("LOCK TABLE push_receipt IN ACCESS EXCLUSIVE MODE"))
            pushing = asyncio.create_task(http.post("/v1/dossiers", json=[dossier(1)]))
            await asyncio.wait({pushing}, timeout=0.3)
            assert not pushing.done()
            assert await session.scalar(text("SELECT count(*) FROM dossier")) == 0
        assert (await pushing).status_code == 200


async def test_old_receipts_are_forgotten(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        await http.post("/v1/dossiers", json=[dossier(1)])
        await http.post("/v1/dossiers", json=[dossier(2)])
    async with session_scope(engine) as session:
        old = {"at": NOW - receipts.KEPT - timedelta(days=1)}
        await session.execute(
            text("UPDATE push_receipt SET received_at = :at WHERE id = (SELECT min(id) FROM push_receipt)"),
            old,
        )
        assert await receipts.prune(session, now=NOW) == 1
        assert await receipts.prune(session, now=NOW) == 0
    assert await scalar(engine, "SELECT count(*) FROM push_receipt") == 1


results = st.lists(st.sampled_from([ACCEPTED, ACCEPTED, ACCEPTED, UNCHANGED, STALE, REJECTED]), max_size=900)


@given(results, st.integers(0, 10_000))
def test_every_item_keeps_its_place_and_its_result(found: list[str], first: int) -> None:
    told = {}

    def tell(n: int) -> receipts.Told:
        told[n] = (f"HS-{n}", "status" if found[n] == REJECTED else None)
        return told[n]

    kept = receipts.items_of(found, tell)
    items = receipts.read_items(kept, first)
    assert [item["result"] for item in items for _ in range(item["count"])] == found
    for item in items:
        if item["code"] is not None:
            assert (item["code"], item["field"]) == told[item["index"] - first]
    if len(found) <= receipts.SMALL:
        assert len(told) == len(found)
    else:
        assert len(told) == min(found.count(REJECTED), receipts.REFUSALS)


async def test_an_unknown_receipt(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, *ROUTERS) as http:
        answer: httpx.Response = await http.get("/v1/pushes/99")
        assert answer.status_code == 404
        assert (await http.get("/v1/pushes/0")).status_code == 422
