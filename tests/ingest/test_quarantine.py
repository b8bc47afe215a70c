"""What was refused is listed, read again after a fix where what was kept is enough, marked, and never lost."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import api, quarantine_api, service
from services.ingest.portals import igate_messages, national_messages
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Role
from tests import make
from tests.ingest.test_push import dossier
from tests.make import NOW

ROUTERS = (api.router, quarantine_api.router)
SOON = (NOW + timedelta(days=3)).isoformat()
"""Too far ahead now, and not any more in a week."""
LATER = NOW + timedelta(days=7)


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with session_scope(engine) as session:
        return [tuple(row) for row in await session.execute(text(sql))]


@pytest.fixture
async def later(engine: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The centre, a week on."""
    there = settings.model_copy(update={"chiso_now": LATER})
    async with make.client(engine, there, *ROUTERS, role=Role.CENTRE) as http:
        yield http


async def push(engine: AsyncEngine, settings: Settings, *items: dict[str, Any]) -> None:
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as http:
        answer = await http.post("/v1/dossiers", json=list(items))
        assert answer.status_code == 200


async def first(http: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get("/v1/quarantine")).json()["items"][0]
    return found


async def test_listed_and_filtered(engine: AsyncEngine, settings: Settings, later: httpx.AsyncClient) -> None:
    await push(
        engine,
        settings,
        dossier(1, status=99),
        dossier(2, received_at=SOON),
        dossier(3, unit_name="Nguyễn Văn Mẫu", status=98),
    )
    found = (await later.get("/v1/quarantine")).json()["items"]
    assert [item["field"] for item in found] == ["status", "received_at", "status"] or len(found) == 3
    assert {item["code"] for item in found} == {f"H31.135-260803-000{n}" for n in (1, 2, 3)}
    for params, codes in (
        ({"field": "received_at"}, {"2"}),
        ({"field": "status", "door": "dossiers"}, {"1", "3"}),
        ({"code": "h31.135-260803-0003"}, {"3"}),
        ({"door": "dvcqg"}, set()),
        ({"from": LATER.isoformat()}, set()),
        ({"to": LATER.isoformat(), "replayed": False}, {"1", "2", "3"}),
        ({"replayed": True}, set()),
    ):
        items = (await later.get("/v1/quarantine", params=params)).json()["items"]
        assert {item["code"][-1] for item in items} == codes, params
    named = next(item for item in found if item["code"].endswith("3"))
    assert named["dropped"] == ["unit_name"]
    assert named["replayable"] is False
    page = (await later.get("/v1/quarantine", params={"limit": 2})).json()
    rest = (await later.get("/v1/quarantine", params={"limit": 2, "cursor": page["next"]})).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == [item["id"] for item in found]
    answer = await later.get("/v1/quarantine", headers={"Accept": "text/csv"})
    table = list(csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert [int(row["id"]) for row in table] == [item["id"] for item in found]
    assert "Mẫu" not in answer.text


async def test_a_replay_is_what_the_item_says(
    engine: AsyncEngine, settings: Settings, later: httpx.AsyncClient
) -> None:
    """Its time has come: it is read through the same door, with all of its fields."""
    supplements = [{"requested_at": "2026-08-04T09:00:00+07:00", "completed_at": None}]
    item = dossier(
        1,
        portal="sent",
        returned_at=SOON,
        status=10,
        unit_name="UBND phường Phố Hiến",
        supplements=supplements,
    )
    await push(engine, settings, item)
    refused = await first(later)
    assert (refused["replayable"], refused["dropped"]) == (True, [])
    answer = await later.post(f"/v1/quarantine/{refused['id']}/replay")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["result"], answer.json()["replayable"]) == ("accepted", False)
    assert answer.json()["replayed_at"] == LATER.isoformat()
    stored = await rows(
        engine, "SELECT portal, via, unit_name, status, known, supplements IS NULL FROM dossier"
    )
    # The same as if it had been pushed today.
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM dossier"))
    there = settings.model_copy(update={"chiso_now": LATER})
    await push(engine, there, item)
    assert stored == await rows(
        engine, "SELECT portal, via, unit_name, status, known, supplements IS NULL FROM dossier"
    )
    assert stored[0][:4] == ("sent", "push", "UBND phường Phố Hiến", 10)

    again = await later.post(f"/v1/quarantine/{refused['id']}/replay")
    assert again.json() == answer.json(), "an item that was taken is not read a third time"
    listed = (await later.get("/v1/quarantine", params={"replayed": True})).json()["items"]
    assert [item["result"] for item in listed] == ["accepted"], "marked, and still there"


async def test_a_newer_version_is_not_overwritten(
    engine: AsyncEngine, settings: Settings, later: httpx.AsyncClient
) -> None:
    await push(engine, settings, dossier(1, updated_at=SOON))
    there = settings.model_copy(update={"chiso_now": LATER})
    await push(engine, there, dossier(1, updated_at=LATER.isoformat(), status=9))
    answer = await later.post(f"/v1/quarantine/{(await first(later))['id']}/replay")
    assert answer.json()["result"] == "stale"
    assert await rows(engine, "SELECT status FROM dossier") == [(9,)]


async def test_refused_again_it_says_why_and_can_be_tried_once_more(
    engine: AsyncEngine, settings: Settings, later: httpx.AsyncClient
) -> None:
    await push(engine, settings, dossier(1, status=99))
    refused = await first(later)
    for _ in range(2):
        answer = await later.post(f"/v1/quarantine/{refused['id']}/replay")
        assert (answer.status_code, answer.json()["result"]) == (200, "rejected")
        assert answer.json()["field"] == "status"
    assert await rows(engine, "SELECT count(*) FROM quarantine") == [(1,)]
    assert await rows(engine, "SELECT count(*) FROM dossier") == [(0,)]


async def test_what_was_not_kept_cannot_be_read_again(
    engine: AsyncEngine, settings: Settings, later: httpx.AsyncClient
) -> None:
    """Reading it without its unit's name would say that it has none."""
    await push(engine, settings, dossier(1, status=99, unit_name="bà Mẫu, số 1"))
    answer = await later.post(f"/v1/quarantine/{(await first(later))['id']}/replay")
    assert answer.status_code == 409
    assert answer.json()["dropped"] == ["unit_name"]
    assert "gửi lại" in answer.json()["detail_vi"]
    await push(engine, settings, {"code": {"a": 1}})
    unreadable = await later.post(f"/v1/quarantine/{(await first(later))['id']}/replay")
    assert unreadable.status_code == 409
    assert (await later.post("/v1/quarantine/999999/replay")).status_code == 404
    assert await rows(engine, "SELECT count(*) FROM quarantine WHERE replayed_at IS NULL") == [(2,)]


async def test_an_integrator_replays_its_own_only(
    engine: AsyncEngine, settings: Settings, later: httpx.AsyncClient
) -> None:
    await push(engine, settings, dossier(1, received_at=SOON))
    refused = await first(later)
    async with make.client(engine, settings, *ROUTERS, role=Role.INTEGRATOR) as other:
        assert (await other.get("/v1/quarantine")).json()["items"] == []
        assert (await other.post(f"/v1/quarantine/{refused['id']}/replay")).status_code == 404


IGATE = {
    "nationCode": make.CODE,
    "procedure": {"code": "1.001612.000.00.00.H31", "id": "5f2b"},
    "agency": {"id": "5f3c", "code": "H31.135", "name": [{"name": "Bộ phận một cửa"}]},
    "dossierStatus": {"id": 77, "name": [{"name": "Chờ ký số"}]},
    "acceptedDate": "2026-08-03T02:30:00.000+0000",
    "updatedDate": "2026-08-03T02:30:00.000+0000",
    "currentTask": [{"isCurrent": 1, "assignee": {"fullname": "Trần Thị Mẫu"}}],
}


async def test_a_state_that_the_map_did_not_know(
    engine: AsyncEngine, later: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """iGate's list brings a dossier again only when it changes: after the map was mended it is replayed."""
    heads = igate_messages.read([msgspec.Raw(msgspec.json.encode(IGATE))], now=NOW).heads
    async with session_scope(engine) as session:
        await make.units(session)
        await service.accept(
            session, portal=Portal.PROVINCIAL, via="pull", door="pull", sender="x", now=NOW, heads=heads
        )
    assert "Mẫu" not in str(await rows(engine, "SELECT content::text FROM quarantine"))
    refused = await first(later)
    assert (refused["field"], refused["replayable"]) == ("dossierStatus", True)
    answer = await later.post(f"/v1/quarantine/{refused['id']}/replay")
    assert answer.json()["result"] == "rejected"
    maps = igate_messages.maps()
    mended = maps._replace(by_id={**maps.by_id, "77": 4})
    monkeypatch.setattr(igate_messages, "maps", lambda: mended)
    answer = await later.post(f"/v1/quarantine/{refused['id']}/replay")
    assert answer.json()["result"] == "accepted"
    assert await rows(engine, "SELECT status, unit_code, via, procedure_code FROM dossier") == [
        (4, "H31.135", "pull", "1.001612")
    ]


@pytest.mark.parametrize(("door", "portal"), [("dvcqg", "sent"), ("list", "national")])
async def test_items_of_the_national_protocol(
    engine: AsyncEngine, later: httpx.AsyncClient, door: str, portal: str
) -> None:
    ahead = f"{NOW + timedelta(days=3):%Y%m%d%H%M%S}"
    item = {
        "MaHoSo": make.CODE,
        "TrangThaiHoSo": "9",
        "NgayKetThucXuLy": ahead,
        "DonViXuLy": "Sở Công Thương",
    }
    step = {"MaHoSo": make.CODE, "ThoiDiemXuLy": ahead, "TrangThai": "9"}
    async with session_scope(engine) as session:
        await service.accept(
            session,
            portal=Portal(portal),
            via="push",
            door=door,
            sender="k1",
            now=NOW,
            heads=national_messages.heads(msgspec.json.encode([item]), databases=["7"], now=NOW),
            steps=national_messages.steps(msgspec.json.encode([step]), now=NOW) if door == "dvcqg" else (),
        )
    for refused in (await later.get("/v1/quarantine")).json()["items"]:
        answer = await later.post(f"/v1/quarantine/{refused['id']}/replay")
        assert answer.json()["result"] == "accepted", answer.text
    assert await rows(engine, "SELECT portal, status, unit_name FROM dossier") == [
        (portal, 9, "Sở Công Thương")
    ]
    assert await rows(engine, "SELECT count(*) FROM dossier_step") == [(int(door == "dvcqg"),)]
