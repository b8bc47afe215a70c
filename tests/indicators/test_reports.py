"""1.4: what the nation has of what was received, against the number that people hand in of the reporting system."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main
from services.indicators.rules.reports import to_be_synced
from services.ingest import reporting_counts_api
from shared import queue
from shared.calendar import Period
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Role
from tests import captures, joined, make
from tests.captures import plain
from tests.portals import Answer, Call, at

COUNT = {"unit": "H31.135", "period": "2026-08", "count": 4, "source": "screen"}


@pytest.fixture
async def province(engine: AsyncEngine, settings: Settings) -> AsyncEngine:
    """Of four dossiers received in 8/2026, all only sent until a look-up finds H31.135-260803-0001; one capture."""
    await joined.province(engine)
    async with session_scope(engine) as session:
        await session.execute(
            text(
                "UPDATE presence SET found = true WHERE portal = 'national' AND code = 'H31.135-260803-0001'"
            )
        )
        await queue.enqueue(session, ["H31.135-260803-0001"], consumers=(Consumer.INDICATORS,), now=make.NOW)
    await joined.work(engine)
    return engine


@pytest.fixture
async def http(province: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    routers = (*main.routers, reporting_counts_api.router)
    async with make.client(province, settings, *routers, role=Role.CENTRE) as client:
        yield client


async def sync(http: httpx.AsyncClient, unit: str = "H31.135", period: str = "2026-08", **query: str) -> Any:
    """1.4 of a unit: its figure, or why there is none."""
    params = {"unit": unit, "period": period, **query}
    answer = await http.get("/v1/indicators/transparency", params=params)
    assert answer.status_code == 200, answer.text
    view = answer.json()
    (found,) = [each for each in view["components"] + view["not_computed"] if each["id"] == "1.4"]
    return found


async def test_a_number_makes_it_computable(http: httpx.AsyncClient) -> None:
    before = await http.get("/v1/indicators/transparency", params={"unit": "H31.135", "period": "2026-08"})
    assert before.json()["score"] is None
    assert (await sync(http))["why"].startswith("Chưa có số hồ sơ của đơn vị trong kỳ này")
    told = await http.post("/v1/reporting-counts", json=COUNT)
    assert told.status_code == 200, told.text
    assert (told.json()["result"], told.json()["replaced"]) == ("accepted", None)
    found = await sync(http)
    assert (found["numerator"], found["denominator"], found["points"]) == (1, 4, "1.50")
    assert "Số trên BCQG: 4 (đọc trên màn hình hệ thống" in found["why"]
    after = await http.get(
        "/v1/indicators/transparency",
        params={"unit": "H31.135", "period": "2026-08"},
        headers={"If-None-Match": before.headers["etag"]},
    )
    assert (after.status_code, after.json()["score"]) == (200, "1.50")
    path = "/v1/indicators/transparency/1.4/items"
    query = {"unit": "H31.135", "period": "2026-08", "part": "numerator"}
    items = (await http.get(path, params=query)).json()["items"]
    assert [each["code"] for each in items] == ["H31.135-260803-0001"]
    refused = await http.get(path, params=query | {"part": "shortfall"})
    assert (refused.status_code, refused.json()["field"]) == (404, "part")
    assert (await sync(http, basis="provincial"))["why"].startswith("Chỉ tính theo bản ghi của Cổng")
    chances = (await http.get("/v1/opportunities", params={"unit": "H31.135", "period": "2026-08"})).json()
    mine = next(each for each in chances["items"] if each["component"] == "1.4")
    assert (mine["winnable"], mine["own"]) == (3, "4.50")


async def test_the_newest_number_counts_and_the_same_again_changes_nothing(http: httpx.AsyncClient) -> None:
    for count, result, replaced in ((4, "accepted", None), (4, "unchanged", None), (3, "accepted", 4)):
        told = (await http.post("/v1/reporting-counts", json=COUNT | {"count": count})).json()
        assert (told["result"], told["replaced"], told["count"]) == (result, replaced, count)
    assert (await sync(http))["denominator"] == 3
    await http.post("/v1/reporting-counts", json=COUNT | {"count": 0})
    assert (await sync(http))["denominator"] == 1, "the portal has more"


async def test_what_was_entered_can_be_read(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    router = reporting_counts_api.router
    async with make.client(engine, settings, router, role=Role.CENTRE) as http:
        for count in (4, 5):
            await http.post("/v1/reporting-counts", json=COUNT | {"count": count})
        other = {"unit": "H31.136", "period": "2026-07", "count": 9}
        told = (await http.post("/v1/reporting-counts", json=COUNT | other)).json()
        listed = (await http.get("/v1/reporting-counts")).json()["items"]
        assert [(each["unit"], each["count"], each["counts"]) for each in listed] == [
            ("H31.136", 9, True),
            ("H31.135", 5, True),
            ("H31.135", 4, False),
        ]
        assert listed[0]["given_by"] == told["given_by"]
        assert listed[0]["given_at"] == told["given_at"]
        pages: list[Any] = []
        cursor = None
        for _ in range(3):
            query: dict[str, Any] = {"limit": 1} | ({"cursor": cursor} if cursor else {})
            page = await http.get("/v1/reporting-counts", params=query)
            pages += page.json()["items"]
            cursor = page.json()["next"]
        assert pages == listed
        for query in ({"period": "2026-08"}, {"unit": "H31.135"}, {"unit": "H31", "period": "2026-08"}):
            found = (await http.get("/v1/reporting-counts", params=query)).json()
            assert found == {"items": listed[1:], "next": None}
        csv = await http.get("/v1/reporting-counts", headers={"Accept": "text/csv"})
        assert len(csv.text.splitlines()) == 4
        assert csv.text.splitlines()[1].startswith(f"{listed[0]['id']},H31.136,2026-07,9,screen,")
        wrong = await http.get("/v1/reporting-counts", params={"period": "2026-13"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "period")


async def test_a_number_sent_twice_with_one_key_is_answered_as_the_first_time(
    engine: AsyncEngine, settings: Settings
) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    async with make.client(engine, settings, reporting_counts_api.router, role=Role.CENTRE) as http:
        once = {"Idempotency-Key": "a"}
        first = await http.post("/v1/reporting-counts", json=COUNT, headers=once)
        await http.post("/v1/reporting-counts", json=COUNT | {"count": 5})
        again = await http.post("/v1/reporting-counts", json=COUNT, headers=once)
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert [each["count"] for each in (await http.get("/v1/reporting-counts")).json()["items"]] == [5, 4]
        other = await http.post("/v1/reporting-counts", json=COUNT | {"count": 6}, headers=once)
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


async def test_both_nothing_is_a_share_of_the_year_before(http: httpx.AsyncClient) -> None:
    none = COUNT | {"period": "2026-07", "count": 0}
    await http.post("/v1/reporting-counts", json=none)
    assert (await sync(http, period="2026-07"))["points"] is None, "nothing to measure"
    await http.post("/v1/reporting-counts", json=COUNT | {"period": "2025", "count": 30})
    found = await sync(http, period="2026-07")
    assert (found["numerator"], found["denominator"], found["points"]) == (0, 3, "0.00")
    assert "cả năm trước trên BCQG (30)" in found["why"]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"count": -1}, 422, "count"),
        ({"count": 10_000_001}, 422, "count"),
        ({"count": "4"}, 422, "count"),
        ({"count": 4.0}, 422, "count"),
        ({"period": "2026-13"}, 422, "period"),
        ({"period": "2026-12"}, 422, "period"),
        ({"unit": "H31.9"}, 422, "unit"),
        ({"unit": "H31.999"}, 404, "unit"),
        ({"source": "Nguyễn Văn A"}, 422, "source"),
        ({"note": "x"}, 422, "note"),
        ({"period": "2026-Q3", "count": 19}, 422, "count"),
        ({"period": "2026", "count": 19}, 422, "count"),
        ({"unit": "H31", "period": "2026-07", "count": 19}, 422, "count"),
    ],
)
async def test_a_number_that_cannot_be(
    engine: AsyncEngine, settings: Settings, changes: dict[str, Any], status: int, field: str
) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    async with make.client(engine, settings, reporting_counts_api.router, role=Role.CENTRE) as http:
        kept = COUNT | {"period": "2026-07", "count": 20}
        assert (await http.post("/v1/reporting-counts", json=kept)).status_code == 200
        answer = await http.post("/v1/reporting-counts", json=COUNT | changes)
        assert answer.status_code == status, answer.text
        found = answer.json()
        told = found.get("field") or "".join(each["field"] for each in found.get("errors", ()))
        assert field in told


async def test_what_the_nation_published_stands_beside_what_cannot_be_told(
    engine: AsyncEngine, settings: Settings
) -> None:
    await joined.province(engine)
    metric = {
        "code": "DOSSIER_SYNC",
        "numerator": 3,
        "denominator": 4,
        "ratio": 75.0,
        "score": 4.5,
        "maxScore": 6,
    }
    metric["dataQualityStatus"] = "TEMP_NATIONAL_REPORT_DENOMINATOR"

    def change(last: str, call: Call) -> Answer | str:
        status, headers, body = plain(last, call.json)  # type: ignore[misc]
        metrics = json.dumps(metric).encode()
        return status, headers, body.replace(b'"metrics": []', b'"metrics": [' + metrics + b"]")

    await captures.kept(engine, settings, change=change)
    async with make.client(engine, at(settings, captures.NOW), *main.routers) as http:
        found = await sync(http, period="2026-10")
    assert found["published"] == {
        "numerator": 3,
        "denominator": 4,
        "points": "4.5",
        "data_quality": "TEMP_NATIONAL_REPORT_DENOMINATOR",
        "capture_id": 1,
        "captured_at": "2026-11-02T09:00:00+07:00",
    }


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.none() | st.integers(0, 10**8),
    st.sampled_from(["2026-08", "2026"]),
)
def test_never_more_than_all(synced: int, reported: int, last_year: int | None, period: str) -> None:
    whole = to_be_synced(synced, reported, last_year, Period.parse(period))
    assert synced <= whole
    assert reported <= whole
    assert whole == max(synced, reported) or (synced, reported) == (0, 0)
