"""Indicators' REST answers, of the shipped application."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main, queries, worker
from services.indicators.rules.measures import MEASURES
from services.ingest import service as ingest
from services.ingest.normalise import Head
from shared import queue
from shared.calendar import Period
from shared.db import session_scope
from shared.dossier_components import DOSSIER_COMPONENTS
from shared.settings import Settings
from shared.vocabulary import Basis, Consumer, Fact, IndicatorGroup, Portal, ProcedureFact, Role
from tests import make
from tests.make import NOW, moment

DONE = {"status": 9, "finished_at": moment("2026-08-05 15:00"), "version": moment("2026-08-05 15:00")}
LATE = {"status": 9, "finished_at": moment("2026-08-07 15:00"), "version": moment("2026-08-07 15:00")}


async def store(engine: AsyncEngine, *heads: Head) -> None:
    async with session_scope(engine) as session:
        await ingest.accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=NOW, heads=heads
        )
    await worker.tick(engine, NOW)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=NOW)


@pytest.fixture
async def province(engine: AsyncEngine) -> AsyncEngine:
    """Seven dossiers of 8/2026: Phố Hiến has 2 on time, 2 late, 1 running; Sơn Nam 1 on time; 1 late has
    no unit."""
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    await store(
        engine,
        make.head("H31.135-260803-0001", **DONE),
        make.head("H31.135-260803-0002", **DONE),
        make.head("H31.135-260803-0003", **LATE),
        make.head("H31.135-260803-0004", **LATE),
        make.head("H31.135-260803-0005"),
        make.head("H31.136-260803-0001", agency_code="H31.136", unit_name=None, **DONE),
        make.head("HS-7", agency_code=None, unit_name=None, **LATE),
    )
    return engine


@pytest.fixture
async def http(province: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with make.client(province, settings, *main.routers) as client:
        yield client


async def test_a_group_of_the_province(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/indicators/progress", params={"period": "2026-08"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    component = found["components"][0]
    assert (component["numerator"], component["denominator"]) == (3, 7)
    assert (component["ratio"], component["points"], component["max"]) == ("0.428571", "8.57", "20")
    assert component["why"] == (
        "3 trên 7 hồ sơ được xử lý trước hạn hoặc đúng hạn (42,86 %), đạt 8,57 trên 20 điểm."
    )
    assert found["score"] == "8.57"
    assert found["rating"] == "Yếu"
    assert found["rule_set"]["id"] == "portal-2026-09"
    assert found["counts"] == {
        "dossiers": 7,
        "done": 6,
        "in_progress": 1,
        "on_time": 3,
        "overdue": 4,
        "undetermined": 0,
    }
    assert found["coverage"]["by_copy"] == {"national": 0, "sent_confirmed": 0, "sent_unconfirmed": 7}
    assert found["coverage"]["complete"] is False
    assert found["coverage"]["pending_changes"] == 0
    assert found["period"]["end"] == "2026-09-01T00:00:00+07:00"
    assert found["as_of"] is not None


async def test_the_default_is_the_running_month_and_the_key_s_unit(
    province: AsyncEngine, settings: Settings
) -> None:
    async with make.client(province, settings, *main.routers, role=Role.UNIT, unit="H31.135") as http:
        found = (await http.get("/v1/indicators/progress")).json()
        assert (found["period"]["key"], found["period"]["running"]) == ("2026-11", True)
        assert found["unit"] == {"code": "H31.135", "name": "UBND phường Phố Hiến"}
        assert found["counts"]["dossiers"] == 1  # the one that still runs
        for path in ("progress", "progress/2.1/items"):
            answer = await http.get(f"/v1/indicators/{path}", params={"unit": "H31.136", "part": "numerator"})
            assert answer.status_code == 403
        assert (await http.get("/v1/dossiers/H31.136-260803-0001/assessment")).status_code == 403
        assert (await http.get("/v1/dossiers/HS-7/assessment")).status_code == 403
        assert (await http.get("/v1/dossiers/H31.135-260803-0001/assessment")).status_code == 200


async def test_no_dossiers_is_no_points_and_has_no_time(http: httpx.AsyncClient) -> None:
    found = (await http.get("/v1/indicators/progress", params={"unit": "H31.16", "period": "2026-08"})).json()
    component = found["components"][0]
    assert (component["ratio"], component["points"]) == (None, "0.00")
    assert component["why"] == "Không có hồ sơ nào thuộc kỳ này, nên được 0,00 trên 20 điểm."
    assert found["as_of"] is None
    other = await http.get("/v1/indicators/digitisation", params={"unit": "H31.16", "period": "2026-08"})
    component = other.json()["components"][0]
    assert component["points"] is None
    assert component["why"] == (
        "Không có hồ sơ nào thuộc diện tính trong kỳ này, nên không có điểm (Cổng tính là 0 trong tổng nhóm)."
    )


async def test_another_rule_set_can_be_asked_for(http: httpx.AsyncClient) -> None:
    params = {"period": "2026-08", "rule_set": "portal-2025-10"}
    found = (await http.get("/v1/indicators/progress", params=params)).json()
    assert found["rule_set"]["id"] == "portal-2025-10"
    assert found["rule_set"]["provenance"]["mark"] == "not_verified"


@pytest.mark.parametrize(
    ("path", "params", "vi", "en"),
    [
        ("progress/3.3/items", {}, "Thành phần 3.3 thuộc nhóm", "3.3 belongs to the group"),
        ("progress/3.3/items", {}, "có danh sách trong nhóm progress: 2.1, 2.2", "in progress: 2.1, 2.2"),
        ("digitisation/4.6/items", {}, "có điểm nhưng không có gì để đếm", "has points but nothing to count"),
        ("progress/x/items", {}, "Không có thành phần này; thành phần có danh sách", "no such component"),
        ("progress", {"period": "2027"}, f"kỳ cuối cùng hỏi được: {NOW.year}.", f"is {NOW.year}"),
        ("progress", {"unit": "H31.99"}, "GET /v1/units", "GET /v1/units"),
    ],
)
async def test_what_cannot_be_answered_says_what_can(
    http: httpx.AsyncClient, path: str, params: dict[str, str], vi: str, en: str
) -> None:
    part = {"part": "numerator"} if path.endswith("items") else {}
    found = (await http.get(f"/v1/indicators/{path}", params=params | part)).json()
    assert vi in found["detail_vi"]
    assert en in found["detail"]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("nothing", {}, 404),
        ("progress", {"unit": "H31.99"}, 404),
        ("progress", {"unit": "Sở Y tế"}, 422),
        ("progress", {"period": "2026-13"}, 422),
        ("progress", {"period": "2022-05"}, 422),  # before QĐ 766
        ("progress", {"period": "2027"}, 422),  # has not begun
        ("progress", {"rule_set": "x"}, 422),
        ("progress", {"basis": "x"}, 422),
        ("progress/2.1/items", {}, 422),
        ("progress/2.3/items", {"part": "numerator"}, 404),
        ("progress/2.1/procedures", {}, 404),
        ("progress/2.2/procedures", {"cursor": "x"}, 422),
        ("progress/2.1/items", {"part": "numerator", "cursor": "x"}, 422),
        ("progress/2.1/items", {"part": "numerator", "limit": "1001"}, 422),
    ],
)
async def test_what_cannot_be_answered(
    http: httpx.AsyncClient, path: str, params: dict[str, str], status: int
) -> None:
    answer = await http.get(f"/v1/indicators/{path}", params=params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail_vi"]


@pytest.mark.parametrize("unit", ["H31", "H31.135", "H31.136", "H31.16"])
@pytest.mark.parametrize("part", ["numerator", "shortfall"])
async def test_as_many_items_as_the_figure_says(http: httpx.AsyncClient, unit: str, part: str) -> None:
    scope = {"unit": unit, "period": "2026-Q3"}
    component = (await http.get("/v1/indicators/progress", params=scope)).json()["components"][0]
    figure = component["numerator"]
    if part == "shortfall":
        figure = component["denominator"] - component["numerator"]
    codes: list[str] = []
    cursor: str | None = None
    while True:
        params = scope | {"part": part, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = await http.get("/v1/indicators/progress/2.1/items", params=params)
        page = answer.json()
        codes += [item["code"] for item in page["items"]]
        assert all(item["on_time"] is (part == "numerator") for item in page["items"])
        cursor = page["next"]
        if cursor is None:
            break
    assert len(codes) == len(set(codes)) == figure
    answer = await http.get(
        "/v1/indicators/progress/2.1/items", params=scope | {"part": part}, headers={"Accept": "text/csv"}
    )
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row[0] for row in rows[1:]] == codes


async def test_a_slow_reader_of_a_list_holds_no_connection(province: AsyncEngine) -> None:
    """Whatever its network does, the pool stays for the others."""
    scope = queries.Scope(Basis.COUNTED, Period.parse("2026-08"), "H31")
    codes = []
    async for item in queries.all_items(province, scope, MEASURES["2.1"], "shortfall", page=2):
        assert province.pool.checkedout() == 0  # type: ignore[attr-defined]
        codes.append(item.code)
    assert len(codes) == len(set(codes)) == 4


async def test_an_item_says_why(http: httpx.AsyncClient) -> None:
    params = {"unit": "H31.135", "period": "2026-08", "part": "shortfall"}
    items = (await http.get("/v1/indicators/progress/2.1/items", params=params)).json()["items"]
    late = next(item for item in items if item["code"] == "H31.135-260803-0003")
    assert late["why"] == (
        "Tính là quá hạn: xử lý xong lúc 15:00 ngày 07/08/2026, muộn hơn hạn 17:00 ngày 06/08/2026."
    )
    assert late["procedure_name"] == "Đăng ký thành lập hộ kinh doanh"
    assert late["end_at"] == "2026-08-07T15:00:00+07:00"


async def test_a_dossier_tells_of_each_period(http: httpx.AsyncClient) -> None:
    found = (await http.get("/v1/dossiers/H31.135-260803-0005/assessment")).json()
    counted = {basis["basis"]: basis for basis in found["bases"]}
    assert counted["provincial"]["counted"] is False
    assert counted["provincial"]["source"] == "no_copy"
    periods = {each["period"]: each for each in counted["counted"]["periods"]}
    assert list(periods) == sorted(["2026", "2026-Q3", "2026-Q4", "2026-08", "2026-09", "2026-10", "2026-11"])
    assert periods["2026-08"]["why"].startswith("Tính là quá hạn: chưa kết thúc")
    assert (await http.get("/v1/dossiers/H31.135-260803-9999/assessment")).status_code == 404


async def test_an_unchanged_figure_is_not_sent_again(http: httpx.AsyncClient, province: AsyncEngine) -> None:
    for hours, path in enumerate(
        (
            "/v1/indicators",
            "/v1/indicators/progress?period=2026-08",
            "/v1/indicators/progress/2.1/items?period=2026-08&part=shortfall",
            "/v1/dossiers/H31.135-260803-0005/assessment",
        )
    ):
        first = await http.get(path)
        tag = {"If-None-Match": first.headers["etag"]}
        assert first.headers["cache-control"] == "private"
        assert (await http.get(path, headers=tag)).status_code == 304
        if hours:
            # Another end of a late dossier: after the first time every count is what it was, the list is not.
            end = moment("2026-08-07 15:00") + timedelta(hours=hours)
            late = make.head("H31.135-260803-0005", status=9, finished_at=end, version=end)
            await store(province, late)
            assert (await http.get(path, headers=tag)).status_code == 200


async def test_the_indicator_set_is_listed_with_its_sources(http: httpx.AsyncClient) -> None:
    found = (await http.get("/v1/indicators")).json()
    assert [group["slug"] for group in found["groups"] if group["computed"]] == [
        "transparency",
        "progress",
        "online-service",
        "online-payment",
        "digitisation",
        "satisfaction",
    ]
    components = {
        component["id"]: component for group in found["groups"] for component in group["components"]
    }
    assert [key for key, component in components.items() if component["computed"]] == [
        *("1.1", "1.2", "1.3", "1.4"),
        *("2.1", "2.2", "3.1", "3.2", "3.3", "3.5", "3.5b", "3.6"),
        *("4.1", "4.2", "4.3", "4.4", "4.5b", "4.5a", "4.6"),
        *("5.4", "5.2", "5.3", "5.1"),
    ]
    scoring = components["2.1"]["scoring"][0]
    assert (scoring["max"], scoring["formula"]) == ("20", "20 × tử số / mẫu số")
    assert scoring["provenance"]["mark"] == "practice"
    assert sum(int(group["max"]) for group in found["groups"]) == 100


async def test_the_groups_that_ask_for_papers_and_payments(
    http: httpx.AsyncClient, province: AsyncEngine
) -> None:
    """Six dossiers of one procedure with a fee and a result paper; what is told of each differs."""
    async with session_scope(province) as session:
        await session.execute(
            text("UPDATE procedure SET facts = :facts"),
            {"facts": int(ProcedureFact.FEE | ProcedureFact.RESULT | ProcedureFact.PEOPLE)},
        )
    told = [
        (2, Fact.RESULT_CODED | Fact.COMPONENT_FILE | Fact.PAID_ONLINE | Fact.FEE | Fact.VNEID),
        (2, Fact.COMPONENT_FILE | Fact.FEE | Fact.DIGITISED),
        (2, Fact.RESULT_LINK | Fact.FEE_FREE | Fact.FROM_STORE),
        (1, Fact.RESULT_CODED | Fact.PAID_ONLINE | Fact.FEE),
        (1, Fact(0)),
        (None, Fact.PAID_ONLINE | Fact.FEE_FREE),
    ]
    heads = [
        make.head(
            f"H31.16-260803-{n:04}",
            agency_code="H31.16",
            channel=channel,
            facts=int(facts),
            facts_known=int(sum(Fact)),
            version=moment("2026-08-04 10:00"),
        )
        for n, (channel, facts) in enumerate(told)
    ]
    await store(province, *heads)
    figures = {}
    for group in IndicatorGroup:
        answer = await http.get(f"/v1/indicators/{group}", params={"unit": "H31.16", "period": "2026-08"})
        assert answer.status_code == 200, answer.text
        view = answer.json()
        assert (view["score"] is None) == bool(view["not_computed"])
        figures |= {
            each["id"]: (each["numerator"], each["denominator"], each["points"])
            for each in view["components"]
        }
    assert {key: each for key, each in figures.items() if key[0] in "34"} == {
        "3.1": (0, 0, "0.00"),  # the procedure is one of communes
        "3.2": (0, 0, "0.00"),
        "3.3": (1, 6, "2.00"),  # online, and with an electronic result: full at a half
        "3.5": (1, 1, "2.00"),
        "3.5b": (1, 1, "2.00"),
        "3.6": (2, 4, "3.00"),
        "4.1": (3, 6, "3.00"),
        "4.2": (1, 6, "0.67"),
        "4.3": (1, 6, "0.42"),
        "4.4": (1, 6, "0.67"),
        "4.5b": (2, 6, "0.67"),
        "4.5a": (1, 1, "2.00"),
        "4.6": (None, None, "2.00"),
    }
    counted: dict[str, dict[str, set[str]]] = {}
    for component, (numerator, denominator, _) in figures.items():
        if component == "4.6":
            continue
        groups = {"1": "transparency", "2": "progress", "4": "digitisation", "5": "satisfaction"}
        group = groups.get(component[0]) or (
            "online-service" if component in ("3.1", "3.2", "3.3") else "online-payment"
        )
        sizes = []
        for part in ("numerator", "shortfall"):
            path = f"/v1/indicators/{group}/{component}/items"
            params = {"unit": "H31.16", "period": "2026-08", "part": part}
            items = (await http.get(path, params=params)).json()["items"]
            sizes.append(len(items))
            sheet = await http.get(path, params=params, headers={"Accept": "text/csv"})
            rows = list(csv.DictReader(io.StringIO(sheet.content.decode("utf-8-sig"))))
            assert [row.get("Lý do", row.get("Vì sao")) for row in rows] == [each["why"] for each in items]
            verdict = "Đạt: " if part == "numerator" else "Không đạt: "
            if component in ("3.3", "3.5", "3.5b", "3.6", "4.1", "4.2", "4.3", "4.4", "4.5a", "4.5b"):
                assert all(each["why"].startswith(verdict) for each in items), component
            if component in DOSSIER_COMPONENTS:
                counted.setdefault(component, {})[part] = {each["code"] for each in items}
        assert sizes == [numerator, denominator - numerator], component
    for head in heads:
        view = (await http.get(f"/v1/dossiers/{head.code}/assessment")).json()["bases"][0]
        (august,) = (each for each in view["periods"] if each["period"] == "2026-08")
        assert {each["component"] for each in august["components"]} == set(DOSSIER_COMPONENTS)
        for each in august["components"]:
            if behind := counted.get(each["component"]):
                assert each["met"] == (head.code in behind["numerator"])
                assert each["counted"] == (head.code in behind["numerator"] | behind["shortfall"])
    assert "1.4" not in counted, "no number has been reported"


async def test_without_a_key(http: httpx.AsyncClient) -> None:
    for path in ("/v1/indicators", "/v1/indicators/progress", "/v1/dossiers/x/assessment"):
        assert (await http.get(path, headers={"Authorization": ""})).status_code == 401
