"""Captures over REST: what was published, what changed between, and ours beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import captures, joined, make
from tests.captures import plain, said
from tests.portals import Answer, Call, at


def later(last: str, call: Call) -> Answer | str:
    """The same province a while later: one figure moved, one group does not have a unit, one body is broken."""
    status, headers, body = plain(last, call.json)  # type: ignore[misc]
    if last == "dvc-progress-tree":
        return status, headers, body.replace(b'"totalOnTime": 1', b'"totalOnTime": 2', 1)
    return said({"code": "OK", "data": {}}) if last == "transparency" else (status, headers, body)


@pytest.fixture
async def province(engine: AsyncEngine, settings: Settings) -> AsyncEngine:
    """Dossiers of August to October, two captures of October: the first complete, the second partial."""
    await joined.province(engine)
    await captures.kept(engine, settings)
    await captures.kept(engine, settings, change=later)
    return engine


@pytest.fixture
async def http(province: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with make.client(province, at(settings, captures.NOW), *main.routers) as client:
        yield client


async def get(http: httpx.AsyncClient, path: str, status: int = 200, **query: Any) -> Any:
    answer = await http.get(f"/v1{path}", params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_the_list(http: httpx.AsyncClient) -> None:
    found = (await get(http, "/captures"))["items"]
    assert [(each["id"], each["period"], each["state"], each["missing"]) for each in found] == [
        (2, "2026-10", "partial", ["transparency"]),
        (1, "2026-10", "complete", []),
    ]
    first = found[1]
    assert (first["captured_at"], first["report_on"]) == ("2026-11-02T09:00:00+07:00", "2026-11-01")
    assert (first["rule_set"], first["scores_checked"], first["scores_differing"]) == ("portal-2026-09", 8, 0)
    assert "national_totals" in first["checks_failed"], "one province with one group"
    assert (await get(http, "/captures", state="complete"))["items"] == [first]
    assert (await get(http, "/captures", period="2026-09"))["items"] == []
    page = await get(http, "/captures", limit=1)
    assert (await get(http, "/captures", limit=1, cursor=page["next"]))["items"] == [first]
    assert (await get(http, "/captures", 422, period="2026-13"))["field"] == "period"
    table = await http.get("/v1/captures", headers={"Accept": "text/csv"})
    assert len(table.text.splitlines()) == 3


async def test_one_capture(http: httpx.AsyncClient) -> None:
    found = await get(http, "/captures/1")
    groups = {each["group"]: each for each in found["groups"]}
    assert list(groups) == [
        "transparency", "progress", "online-service", "online-payment", "digitisation", "satisfaction",
    ]  # fmt: skip
    (progress,) = groups["progress"]["components"]
    assert (progress["component"], progress["numerator"], progress["denominator"]) == ("2.1", 2, 4)
    assert (progress["score"], progress["shown"], progress["not_provided"]) == ("10", "2/4", [])
    assert groups["progress"]["counts"] == {"totalReceived": 4, "totalOnTime": 2}, "no overdue count: not 0"
    online = groups["online-service"]["components"][0]
    assert online["not_provided"] == ["numerator", "denominator", "ratio", "score", "max_score"]
    assert (online["numerator"], online["shown"]) == (None, "–")
    units = {each["unit_code"]: each for each in found["units"]}
    assert list(units) == ["H31", "H31.135", "H31.136", "H31.16"]
    assert units["H31.135"]["groups"]["progress"] == "10"
    assert {each["endpoint"]: each["status"] for each in found["bodies"]} == dict.fromkeys(
        ["national", "province", *groups], 201
    )
    assert all(len(each["sha256"]) == 64 and each["size"] > 100 for each in found["bodies"])
    assert {each["code"]: each["holds"] for each in found["checks"]}["received"] is True
    broken = await get(http, "/captures/2")
    assert {each["group"] for each in broken["groups"] if not each["present"]} == {"transparency"}
    (error,) = (each["error"] for each in broken["bodies"] if each["error"])
    assert error == "ReportInvalid: shape $"
    await get(http, "/captures/3", 404)
    assert (await get(http, "/captures/1", 404, unit="H31.999"))["field"] == "unit"


async def test_a_unit_sees_its_own(province: AsyncEngine, settings: Settings) -> None:
    async with make.client(
        province, at(settings, captures.NOW), *main.routers, role=Role.UNIT, unit="H31.135"
    ) as http:
        found = await get(http, "/captures/1")
        assert [each["unit_code"] for each in found["units"]] == ["H31.135"]
        assert found["unit"]["code"] == "H31.135"
        assert found["total"] == "10"
        assert [each["examples"] for each in found["checks"] if each["code"] == "national_totals"] == [[]]
        await get(http, "/captures/1", 403, unit="H31.136")
        assert (await get(http, "/captures/compare", a=1, b=2))["unit"]["code"] == "H31.135"
        await get(http, "/captures/compare", 403, a=1, b=2, unit="H31")
        await get(http, "/comparison", 403, unit="H31", period="2026-10")


async def test_every_figure_as_csv(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/captures/1", params={"unit": "H31.135"}, headers={"Accept": "text/csv"})
    table = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))
    (progress,) = (row for row in table if row[4] == "PROGRESS_ON_TIME")
    assert progress[:4] == ["H31.135", "H31.135", "UBND phường Phố Hiến", "progress"]
    assert progress[6:11] == ["1", "2", "50", "10", "20"]
    (online,) = (row for row in table if row[4] == "PROVIDE_ONLINE")
    assert (online[6], online[12]) == ("", "numerator, denominator, ratio, score, max_score")


async def test_what_changed_between(http: httpx.AsyncClient, province: AsyncEngine) -> None:
    found = await get(http, "/captures/compare", a=1, b=2, limit=1000)
    assert found["same_period"] is True
    assert found["changed"] == len(found["items"]) == 5, "one count, and the group of four that did not come"
    moved = next(each for each in found["items"] if each["code"] == "PROGRESS_ON_TIME")
    assert (moved["unit_code"], moved["component_name"]) == ("H31.16", "Hồ sơ xử lý trước hạn, đúng hạn")
    assert (moved["before"]["numerator"], moved["after"]["numerator"]) == (1, 2)
    assert moved["score_change"] == "0"
    gone = [each for each in found["items"] if each["group"] == "transparency"]
    assert {each["after"] for each in gone} == {None}
    table = await http.get("/v1/captures/compare", params={"a": 1, "b": 2}, headers={"Accept": "text/csv"})
    assert len(table.text.splitlines()) == 6
    assert (await get(http, "/captures/compare", a=1, b=1))["changed"] == 0
    assert (await get(http, "/captures/compare", 404, a=1, b=9))["field"] == "b"
    async with session_scope(province) as session:
        await session.execute(text("UPDATE capture SET period = '2026-Q4' WHERE id = 2"))
    assert (await get(http, "/captures/compare", 422, a=1, b=2))["field"] == "b"


async def test_published_beside_ours(http: httpx.AsyncClient) -> None:
    found = await get(http, "/comparison", unit="H31.135", period="2026-10")
    assert found["capture"]["id"] == 1, "the newest that is complete"
    assert found["published_total"] == "10"
    progress = next(each for each in found["groups"] if each["group"] == "progress")
    (compared,) = (each for each in progress["components"] if each["component"] == "2.1")
    assert (compared["published"]["numerator"], compared["published"]["denominator"]) == (1, 2)
    ours = await get(http, "/indicators/progress", unit="H31.135", period="2026-10")
    assert (compared["ours"]["numerator"], compared["ours"]["denominator"]) == (
        ours["components"][0]["numerator"],
        ours["components"][0]["denominator"],
    )
    assert compared["denominator_difference"] == 2 - compared["ours"]["denominator"]
    assert progress["published"] == "10"
    none = await get(http, "/comparison", unit="H31.135", period="2026-08")
    assert none["capture"] is None
    assert "`chiso capture --period 2026-08`" in none["why"]
    assert found["why"] is None
    assert {each["published"] for each in none["groups"]} == {None}


async def test_a_difference_is_explained_by_findings(http: httpx.AsyncClient, province: AsyncEngine) -> None:
    async with session_scope(province) as session:  # August is what the dossiers of the province are of
        await session.execute(text("UPDATE capture SET period = '2026-08'"))
    found = await get(http, "/comparison", unit="H31.135", period="2026-08")
    progress = next(each for each in found["groups"] if each["group"] == "progress")
    (compared,) = (each for each in progress["components"] if each["component"] == "2.1")
    explained = {each["kind"]: each for each in compared["explained_by"]}
    assert "missing_on_national" in explained
    assert "H31.135-260803-0001" in explained["missing_on_national"]["codes"]
    assert explained["missing_on_national"]["findings"] == len(explained["missing_on_national"]["codes"])
    assert "H31.136" not in str(found)


async def test_unchanged_answers_are_not_sent_again(http: httpx.AsyncClient) -> None:
    for path in ("/captures", "/captures/1", "/captures/compare?a=1&b=2", "/comparison?period=2026-10"):
        first = await http.get(f"/v1{path}")
        again = await http.get(f"/v1{path}", headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, again.status_code) == (200, 304), path
