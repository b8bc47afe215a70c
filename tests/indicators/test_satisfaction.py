"""The group of satisfaction as it is answered: its figures, the petitions and dossiers behind them, and when an answer
is another."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main, worker
from services.ingest import api as ingest_api
from services.ingest import petitions_api
from services.ingest.petitions import accept_ratings
from services.ingest.portals.rating_messages import RatingRow
from shared import queue
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Role, UnitLevel
from tests import make
from tests.indicators.test_api import DONE, LATE, store
from tests.make import NOW

# In August Phố Hiến has one in time, one late, one in time but disliked; Sơn Nam one late and one that P6 repeats in
# September; a department's unit one that still may be answered.
PETITIONS: list[dict[str, Any]] = [
    {"code": "P1", "unit_code": "H31.135", "kind": "tthc", "handled_at": "2026-08-07T08:00:00+07:00",
     "published_at": "2026-08-07T09:00:00+07:00"},
    {"code": "P2", "unit_code": "H31.135", "kind": "staff"},
    {"code": "P3", "unit_code": "H31.135", "kind": "other", "refused_at": "2026-08-04T08:00:00+07:00", "dislikes": 1},
    {"code": "P4", "unit_code": "H31.136", "kind": "tthc", "handled_at": "2026-10-07T08:00:00+07:00"},
    {"code": "P5", "unit_code": "H31.136", "kind": "tthc", "refused_at": "2026-08-04T08:00:00+07:00"},
    {"code": "P6", "unit_code": "H31.136", "kind": "tthc", "repeats_code": "P5", "sent_at": "2026-09-03T09:00:00+07:00",
     "handled_at": "2026-09-04T09:00:00+07:00", "published_at": "2026-09-04T09:00:00+07:00"},
    {"code": "P7", "unit_code": "H31.16.02", "kind": "staff", "sent_at": "2026-08-27T09:00:00+07:00"},
]  # fmt: skip
UNITS = ["H31", "H31.135", "H31.136", "H31.16", "H31.16.02", "H31.139"]
PERIODS = ["2026-08", "2026-09", "2026-Q3", "2026"]


@pytest.fixture
async def http(engine: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.unit(session, "H31.139", "UBND xã Vắng")
        await make.unit(session, "H31.16.02", "Chi cục", UnitLevel.DISTRICT)
        await make.procedure(session)
    await store(
        engine,
        make.head("H31.135-260803-0001", **DONE),
        make.head("H31.135-260803-0002", **DONE),
        make.head("H31.135-260803-0003", **LATE),
        make.head("H31.136-260803-0001", agency_code="H31.136", unit_name=None, **DONE),
    )
    routers = (*main.routers, petitions_api.router, ingest_api.router)
    async with make.client(engine, settings, *routers, role=Role.CENTRE) as client:
        await push(client, *PETITIONS)
        yield client


async def drain(engine: AsyncEngine) -> None:
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=NOW)


async def push(http: httpx.AsyncClient, *items: dict[str, Any]) -> None:
    told = [{"sent_at": "2026-08-03T09:00:00+07:00"} | item for item in items]
    answer = await http.post("/v1/petitions", json=told)
    assert answer.json()["counts"]["accepted"] == len(items), answer.text


async def group(http: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await http.get("/v1/indicators/satisfaction", params={"period": "2026-08"} | params)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view | {"by_id": {each["id"]: each for each in view["components"]}}


async def items(http: httpx.AsyncClient, component: str, part: str, **params: str) -> list[dict[str, Any]]:
    """Page by page, and as a sheet."""
    path = f"/v1/indicators/satisfaction/{component}/items"
    asked = {"period": "2026-08", "part": part} | params
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while cursor or not found:
        answer = await http.get(path, params=asked | {"limit": "2"} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next"]
        if cursor is None:
            break
    sheet = await http.get(path, params=asked, headers={"Accept": "text/csv"})
    rows = list(csv.reader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert [row[0] for row in rows[1:]] == [each["code"] for each in found]
    return found


async def test_petitions_are_counted_and_scored(http: httpx.AsyncClient) -> None:
    found = await group(http)
    assert {
        key: (each["numerator"], each["denominator"], each["points"]) for key, each in found["by_id"].items()
    } == {"5.4": (3, 4, "5.00"), "5.2": (4, 6, "4.00"), "5.3": (3, 6, "3.00")}
    assert (found["score"], found["not_computed"], found["rating"]) == ("12.00", [], "Trung bình")
    assert found["by_id"]["5.2"]["why"] == (
        "4 trên 6 phản ánh, kiến nghị được xử lý đúng hạn (66,67 %), đạt 4,00 trên 6 điểm."
    )
    kinds = found["petitions"]
    assert (kinds["petitions"], kinds["procedure"], kinds["staff"], kinds["other"]) == (6, 3, 2, 1)
    assert kinds["why"].startswith("6 phản ánh, kiến nghị trong kỳ: 3 về thủ tục hành chính, 2 về hành vi")
    none = await group(http, unit="H31.139")
    assert {key: (each["ratio"], each["points"]) for key, each in none["by_id"].items()} == {
        "5.4": (None, "0.00"),
        "5.2": (None, "6.00"),
        "5.3": (None, "6.00"),
    }
    assert none["by_id"]["5.2"]["why"] == (
        "Không có phản ánh, kiến nghị nào trong kỳ này, nên được 6,00 trên 6 điểm."
    )
    assert (await group(http, period="2026-Q3"))["by_id"]["5.3"]["numerator"] == 2, "P1 and P6"
    assert (await http.get("/v1/indicators/progress")).json()["petitions"] is None


@pytest.mark.parametrize("period", PERIODS)
async def test_the_list_is_the_figure(http: httpx.AsyncClient, period: str) -> None:
    for unit in UNITS:
        view = await group(http, unit=unit, period=period)
        figures = {key: (each["numerator"], each["denominator"]) for key, each in view["by_id"].items()}
        figures["5.1"] = view["petitions"]["procedure"], view["petitions"]["petitions"]
        for component, (numerator, denominator) in figures.items():
            parts = [
                await items(http, component, part, unit=unit, period=period)
                for part in ("numerator", "shortfall")
            ]
            assert [len(part) for part in parts] == [numerator, denominator - numerator], (component, unit)
            codes = {each["code"] for part in parts for each in part}
            assert len(codes) == denominator


async def test_an_item_says_why_and_by_which_source(http: httpx.AsyncClient) -> None:
    late, disliked, *_ = await items(http, "5.3", "shortfall", unit="H31.135")
    assert (late["code"], late["on_time"], late["duty"], late["end_at"]) == ("P2", False, "handle", None)
    assert late["why"] == (
        "Quá hạn: chưa trả lời, hạn 23:59 22/08/2026 (15 ngày làm việc từ khi gửi, 09:00 03/08/2026)."
    )
    assert late["citation"].startswith("Mô tả công thức tính chỉ số 766")
    assert (disliked["code"], disliked["on_time"], disliked["satisfied"]) == ("P3", True, False)
    assert disliked["why"].endswith("lượt không thích nhiều hơn lượt thích.")


async def test_a_petition_that_comes_changes_the_answers(http: httpx.AsyncClient) -> None:
    paths = (
        "/v1/indicators/satisfaction?period=2026-08&unit=H31.135",
        "/v1/indicators/satisfaction/5.2/items?period=2026-08&unit=H31.135&part=shortfall",
        "/v1/scoreboard?period=2026-08",
        "/v1/trends?unit=H31.135&from=2026-08&to=2026-08",
        "/v1/opportunities?unit=H31.135&period=2026-08",
        "/v1/comparison?unit=H31.135&period=2026-08",
    )
    before = {path: await http.get(path) for path in paths}
    for path, first in before.items():
        tag = {"If-None-Match": first.headers["etag"]}
        assert (await http.get(path, headers=tag)).status_code == 304, path
    await push(http, {"code": "P9", "unit_code": "H31.135", "kind": "tthc"})
    for path, first in before.items():
        answer = await http.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert answer.status_code == 200, path
        assert answer.json()["as_of"] >= NOW.isoformat(), path
    assert (await group(http, unit="H31.135"))["by_id"]["5.2"]["denominator"] == 4


async def test_each_answer_says_the_same_of_petitions(http: httpx.AsyncClient) -> None:
    own = (await group(http, unit="H31.135"))["by_id"]
    trend = (
        await http.get("/v1/trends", params={"unit": "H31.135", "from": "2026-08", "to": "2026-08"})
    ).json()
    satisfaction = trend["periods"][0]["groups"][5]
    assert satisfaction["components"] == [
        {key: each[key] for key in ("id", "numerator", "denominator", "ratio", "points", "max")}
        for each in own.values()
    ]
    comparison = (await http.get("/v1/comparison", params={"unit": "H31.135", "period": "2026-08"})).json()
    ours = {each["component"]: each["ours"] for each in comparison["groups"][5]["components"]}
    for component in ("5.2", "5.3"):
        assert ours[component]["numerator"] == own[component]["numerator"]
        assert ours[component]["points"] == own[component]["points"]
    chances = (await http.get("/v1/opportunities", params={"unit": "H31.135", "period": "2026-08"})).json()[
        "items"
    ]
    first = {each["component"]: (each["subject"], each["winnable"], each["first"]) for each in chances}
    assert first["5.2"] == ("petition", 1, ["P2"])
    assert first["5.3"] == ("petition", 2, ["P2", "P3"])


async def test_a_dossier_complained_of_is_not_satisfying(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """One in time, one late and one that is not there yet are complained of in August, another one in September."""

    async def points(period: str) -> tuple[int, int, str]:
        each = (await group(http, unit="H31.135", period=period))["by_id"]["5.4"]
        return each["numerator"], each["denominator"], each["points"]

    on_time, late, ahead, other = (f"H31.135-260803-{n:04}" for n in (1, 3, 9, 2))
    assert await points("2026-08") == (2, 3, "4.44"), "full at 90 %"
    await push(
        http,
        {"code": "P11", "unit_code": "H31.135", "kind": "staff", "dossier_code": on_time},
        {"code": "P12", "unit_code": "H31.136", "kind": "tthc", "dossier_code": late},
        {"code": "P13", "kind": "tthc", "dossier_code": ahead},
        {"code": "P14", "kind": "tthc", "dossier_code": other, "sent_at": "2026-09-01T00:00:00+07:00"},
    )
    await drain(engine)
    assert await points("2026-08") == (1, 3, "2.22"), "what is late and complained of is taken off once"
    assert await points("2026-Q3") == (0, 3, "0.00")
    await store(engine, make.head(ahead, **DONE))
    assert await points("2026-08") == (1, 4, "1.67"), "a petition waits for its dossier"
    short = await items(http, "5.4", "shortfall", unit="H31.135")
    assert [(each["code"], each["on_time"], each["complained"]) for each in short] == [
        (on_time, True, True),
        (late, False, True),
        (ahead, True, True),
    ]
    assert short[0]["why"].startswith(
        "Không tính là hài lòng: bị phản ánh, kiến nghị trước khi kỳ kết thúc. Tính là đúng hạn: xử lý xong lúc"
    )
    assert short[1]["why"].startswith("Không tính là hài lòng: không tính được là đúng hạn và bị phản ánh")

    told = (await http.get(f"/v1/dossiers/{on_time}")).json()
    assert [(each["code"], each["kind"]) for each in told["petitions"]] == [("P11", "staff")]
    august = next(each for each in told["indicators"] if each["period"] == "2026-08")
    assert august["on_time"] is True
    assert august["satisfaction"] == {
        "component": "5.4",
        "satisfied": False,
        "complained": True,
        "sentence": "Không tính là hài lòng: bị phản ánh, kiến nghị trước khi kỳ kết thúc.",
        "citation": "Mô tả công thức tính chỉ số 766, chỉ số 5.4",
    }
    assessed = (await http.get(f"/v1/dossiers/{on_time}/assessment")).json()["bases"][0]["periods"]
    assert {each["satisfaction"]["complained"] for each in assessed} == {True}
    assert {each["satisfaction"]["satisfied"] for each in assessed} == {False}

    # It named the wrong dossier.
    await push(
        http,
        {"code": "P11", "unit_code": "H31.135", "kind": "staff", "updated_at": "2026-10-01T08:00:00+07:00"},
    )
    await drain(engine)
    assert await points("2026-08") == (2, 4, "3.33")
    assert (await http.get(f"/v1/dossiers/{on_time}")).json()["petitions"] == []


async def test_what_people_thought_stands_beside_it(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    empty = (await group(http))["petitions"]["ratings"]
    assert empty == {"raters": 0, "very_satisfied": None, "satisfied": None, "not_satisfied": None}
    told = (Decimal(50), Decimal(40), Decimal(10))
    async with session_scope(engine) as session:
        row = RatingRow("2026-08", "H31.135", "1.001612", "UBND phường Phố Hiến", 30, *told)
        await accept_ratings(
            session, [row], via="push", door="dvcqg", sender="k", now=NOW + timedelta(hours=1)
        )
    ratings = (await group(http, unit="H31.135"))["petitions"]["ratings"]
    assert ratings == {
        "raters": 30,
        "very_satisfied": "50.00",
        "satisfied": "40.00",
        "not_satisfied": "10.00",
    }


async def test_a_unit_s_key_reads_its_own_petitions(
    http: httpx.AsyncClient, engine: AsyncEngine, settings: Settings
) -> None:
    async with make.client(engine, settings, *main.routers, role=Role.UNIT, unit="H31.136") as own:
        assert {each["code"] for each in await items(own, "5.2", "shortfall")} == {"P4"}
        path = "/v1/indicators/satisfaction/5.2/items"
        answer = await own.get(path, params={"unit": "H31.135", "part": "numerator"})
        assert answer.status_code == 403
        assert (await own.get(path, params={"part": "numerator", "cursor": "x"})).status_code == 422
