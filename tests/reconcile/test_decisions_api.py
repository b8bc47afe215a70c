"""Decisions over HTTP: taken in, replayed, and held against the national database."""

from __future__ import annotations

import csv
import io
import itertools
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.reconcile import decisions as taking
from services.reconcile import service
from services.reconcile.decision_schemas import DecisionIn
from services.reconcile.main import routers
from shared.calendar import TZ
from shared.db import session_scope
from shared.models import Change, Decision, DecisionRow, Procedure
from shared.settings import Settings
from shared.vocabulary import Role
from tests import make
from tests.reconcile.test_worker import drain, history, open_findings, walk_ended

TRADE, HEALTH = "Lưu thông hàng hóa", "Khám bệnh"


def a_row(code: str | None = "1.000001", change: str = "new", **fields: Any) -> dict[str, Any]:
    values = {
        "position": "A.I.1",
        "change": change,
        "code": code,
        "name": f"Thủ tục {code}",
        "level": "province",
        "field": TRADE,
    }
    return values | fields


def a_decision(number: str = "712/QĐ-UBND", *rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "number": number,
        "issued_on": "2026-03-02",
        "effective_on": "2026-03-02",
        "title": "Công bố danh mục thủ tục hành chính",
        "unit_code": "H31.16",
        "rows": list(rows) or [a_row()],
    }
    return values | fields


@pytest.fixture
async def http(engine: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with session_scope(engine) as session:
        await make.units(session)
    async with make.client(engine, settings, *routers, role=Role.CENTRE) as client:
        yield client


async def post(http: httpx.AsyncClient, document: dict[str, Any], status: int = 201) -> dict[str, Any]:
    answer = await http.post("/v1/decisions", json=document)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def in_force(http: httpx.AsyncClient, **query: Any) -> list[tuple[str, str]]:
    answer = await http.get("/v1/catalogue", params=query)
    assert answer.status_code == 200, answer.text
    return [(item["code"], item["level"]) for item in answer.json()["items"]]


async def test_a_decision_is_taken_once(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    document = a_decision("  số 712/qd-ubnd", a_row(), a_row("2.000002.000.00.00.H31", level="commune"))
    created = await post(http, document | {"declared_count": 3})
    assert (created["number"], created["result"], created["codes"], created["rows"]) == (
        "712/QĐ-UBND",
        "created",
        2,
        2,
    )
    assert created["notes"] == ["Điều 1 ghi 3 thủ tục, phụ lục có 2 mã khác nhau."]
    assert created["known_at"] == "2026-11-02T09:00:00+07:00"
    again = await post(http, document | {"declared_count": 3, "number": "712/QĐ-UBND"}, 200)
    assert (again["id"], again["result"], again["supersedes"]) == (created["id"], "unchanged", None)
    async with session_scope(engine) as session:
        assert list(await session.scalars(select(Change.codes))) == [["procedures"]]


async def test_another_text_of_the_same_number_supersedes_the_older(http: httpx.AsyncClient) -> None:
    first = await post(http, a_decision())
    second = await post(http, a_decision("712/QĐ-UBND", a_row("1.000009")))
    assert second["supersedes"] == first["id"]
    assert await in_force(http) == [("1.000009", "province")]
    assert [item["id"] for item in (await http.get("/v1/decisions")).json()["items"]] == [second["id"]]
    both = (await http.get("/v1/decisions", params={"superseded": True, "limit": 1})).json()
    assert both["items"][0]["superseded_at"] == "2026-11-02T09:00:00+07:00"
    rest = await http.get("/v1/decisions", params={"superseded": True, "cursor": both["next"]})
    assert [item["id"] for item in rest.json()["items"]] == [second["id"]]
    detail = (await http.get(f"/v1/decisions/{first['id']}")).json()
    assert detail["content"] == [a_row()]
    other_year = await post(
        http, a_decision("712/QĐ-UBND", issued_on="2025-03-02", effective_on="2025-03-02")
    )
    assert other_year["supersedes"] is None


async def test_what_was_believed_before_can_be_asked(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    await post(http, a_decision())
    earlier = make.NOW - timedelta(days=10)
    async with session_scope(engine) as session:
        await session.execute(update(Decision).values(known_at=earlier))
    await post(http, a_decision("712/QĐ-UBND", a_row("1.000009")))
    assert await in_force(http) == [("1.000009", "province")]
    before = (make.NOW - timedelta(days=1)).isoformat()
    assert await in_force(http, known_at=before) == [("1.000001", "province")]
    assert await in_force(http, known_at=(earlier - timedelta(days=1)).isoformat()) == []


async def test_notes_tell_what_to_look_at(http: httpx.AsyncClient) -> None:
    document = a_decision("5/QĐ-UBND", a_row(None), effective_on="2026-02-01", declared_count=1)
    created = await post(http, document)
    assert created["notes"] == [
        "Ngày hiệu lực trước ngày ký: xem lại quyết định có đúng như vậy không.",
        "1 dòng chưa có mã TTHC: chưa đối chiếu được với CSDLQG.",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"number": "1681"}, "number"),
        ({"number": ""}, "number"),
        ({"issued_on": "2026-02-31"}, "issued_on"),
        ({"issued_on": 0}, "issued_on"),
        ({"issued_on": "0001-01-01"}, "issued_on"),
        ({"effective_on": None}, "effective_on"),
        ({"unit_code": "Sở Công Thương"}, "unit_code"),
        ({"declared_count": "12"}, "declared_count"),
        ({"title": "a\x00b"}, "title"),
        ({"rows": []}, "rows"),
        ({"rows": [a_row(), a_row("2.00048")]}, "rows[1].code"),
        ({"rows": [a_row(level="ministry")]}, "rows[0].level"),
        ({"rows": [a_row(change="replaced")]}, "rows[0].change"),
        ({"rows": [a_row(name=" ")]}, "rows[0].name"),
        ({"rows": [a_row(extra=1)]}, "rows[0].extra"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_bad_document_is_refused_with_its_field(
    http: httpx.AsyncClient, engine: AsyncEngine, change: dict[str, Any], field: str
) -> None:
    problem = await post(http, a_decision() | change, 422)
    named = problem.get("field") or problem["errors"][0]["field"]
    assert named == field
    async with session_scope(engine) as session:
        assert (await session.scalars(select(Decision.id))).all() == []


async def test_the_catalogue_by_unit_level_field_and_page(http: httpx.AsyncClient) -> None:
    await post(http, a_decision("1/QĐ-UBND", a_row("1.000001"), a_row("1.000001", level="commune")))
    await post(http, a_decision("2/QĐ-UBND", a_row("1.000002", field=HEALTH), unit_code="H31.10"))
    await post(
        http,
        a_decision("3/QĐ-UBND", a_row("1.000003"), issued_on="2026-12-01", effective_on="2026-12-01"),
    )
    today = [("1.000001", "commune"), ("1.000001", "province"), ("1.000002", "province")]
    assert await in_force(http) == today
    assert await in_force(http, on="2026-12-01") == [*today, ("1.000003", "province")]
    assert await in_force(http, on="2026-03-01") == []
    assert await in_force(http, unit="H31.16") == today[:2]
    assert await in_force(http, unit="H31.135") == today[:1]
    assert await in_force(http, level="province") == today[1:]
    assert await in_force(http, field="khám  bệnh") == today[2:]
    pages, cursor = [], None
    while True:
        query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/v1/catalogue", params=query)).json()
        assert (page["codes"], page["rows"]) == (2, 3)
        pages += [(item["code"], item["level"]) for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert pages == today
    answer = await http.get("/v1/catalogue", params={"limit": 1}, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [(row["code"], row["level"]) for row in rows] == today
    assert rows[0]["decision"] == "1/QĐ-UBND"
    answer = await http.get("/v1/decisions", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [(row["number"], row["codes"]) for row in rows] == [(f"{n}/QĐ-UBND", "1") for n in (1, 2, 3)]


@pytest.fixture
async def compared(http: httpx.AsyncClient, engine: AsyncEngine) -> httpx.AsyncClient:
    """One of each kind: 1 missing, 2 hidden, 3 abolished and still public, 4 at another level, 5 in no
    decision; 6 agrees (at two levels), 7 is rightly gone."""
    rows = [a_row(f"1.00000{number}", position=f"A.I.{number}") for number in (1, 2, 3, 4, 6, 7)]
    await post(http, a_decision("1/QĐ-UBND", *rows, a_row("1.000006", level="commune")))
    gone = [a_row(f"1.00000{number}", "abolished", position=f"C.{number}") for number in (3, 7)]
    await post(http, a_decision("2/QĐ-UBND", *gone, issued_on="2026-05-04", effective_on="2026-05-04"))
    async with session_scope(engine) as session:
        for number, levels, public in (
            (2, ["province"], False),
            (3, ["province"], True),
            (4, ["commune"], True),
            (5, ["province"], True),
            (6, ["commune", "province"], True),
            (7, ["province"], False),
        ):
            await make.procedure(session, f"1.00000{number}", levels=levels, public=public, field_name=TRADE)
    return http


async def test_nothing_is_judged_before_a_complete_listing(
    compared: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await drain(engine, make.NOW)
    assert await open_findings(engine) == {}
    view = (await compared.get("/v1/reconciliation/procedures")).json()
    assert view["findings"] is None
    assert view["coverage"]["judged"] is False
    assert view["coverage"]["missing"]


async def test_differences_become_findings_that_end_by_themselves(
    compared: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await walk_ended(engine, make.NOW, "national", "procedures")
    await drain(engine, make.NOW)
    items = (await compared.get("/v1/findings", params={"subject": "procedure"})).json()["items"]
    assert {item["code"]: item["kind"] for item in items} == {
        "1.000001": "missing_on_national",
        "1.000002": "missing_on_national",
        "1.000003": "abolished_still_public",
        "1.000004": "level_differs",
        "1.000005": "extra_on_national",
    }
    assert {item["unit_code"] for item in items} == {"H31.16"}  # 5: by its field
    (abolished,) = (item for item in items if item["code"] == "1.000003")
    detail = (await compared.get(f"/v1/findings/{abolished['id']}")).json()
    assert (detail["evidence"]["decision"], detail["evidence"]["position"]) == ("2/QĐ-UBND", "C.3")
    assert "2/QĐ-UBND" in detail["sentence"]
    async with session_scope(engine) as session:
        await session.execute(update(Procedure).where(Procedure.code == "1.000003").values(public=False))
        await session.execute(
            update(Procedure).where(Procedure.code == "1.000005").values(withdrawn_at=make.NOW)
        )
    await walk_ended(engine, make.NOW + timedelta(hours=1), "national", "procedures")
    await drain(engine, make.NOW + timedelta(hours=1))
    assert sorted(code for code, _, _ in await open_findings(engine)) == ["1.000001", "1.000002", "1.000004"]
    assert (await history(engine))["extra_on_national"] == ["opened", "resolved"]
    await drain(engine, make.NOW + timedelta(hours=2))
    assert (await history(engine))["missing_on_national"] == ["opened", "opened"]


async def test_a_decision_works_from_its_day_of_effect_on(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await walk_ended(engine, make.NOW, "national", "procedures")
    await post(http, a_decision("9/QĐ-UBND", effective_on="2026-11-05"))
    first_moment = datetime(2026, 11, 5, tzinfo=TZ)
    await drain(engine, first_moment - timedelta(seconds=1))
    assert await open_findings(engine) == {}
    async with session_scope(engine) as session:
        assert list(await session.scalars(select(Change.wake_at))) == [first_moment]
    await drain(engine, first_moment)
    assert [kind for _, kind, _ in await open_findings(engine)] == ["missing_on_national"]


async def test_counts_side_by_side(compared: httpx.AsyncClient, engine: AsyncEngine) -> None:
    await walk_ended(engine, make.NOW, "national", "procedures")
    answer = await compared.get("/v1/reconciliation/procedures")
    view = answer.json()
    assert view["decided"] == {"codes": 4, "rows": 5}
    assert view["national"] == {"codes": 4, "rows": 5}
    assert [(each["level"], each["decided"], each["national"]) for each in view["by_level"]] == [
        ("province", 4, 3),
        ("commune", 1, 2),
    ]
    assert view["by_field"] == [{"field": TRADE, "decided": 4, "national": 4}]
    assert {each["kind"]: each["procedures"] for each in view["findings"]} == {
        "abolished_still_public": 1,
        "missing_on_national": 2,
        "extra_on_national": 1,
        "level_differs": 1,
    }
    assert view["coverage"]["judged"] is True
    again = await compared.get(
        "/v1/reconciliation/procedures", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    department = (await compared.get("/v1/reconciliation/procedures", params={"unit": "H31.16"})).json()
    assert (department["decided"], department["national"]) == (view["decided"], view["national"])
    assert "Sở Công Thương" in department["unit_means"]
    commune = (await compared.get("/v1/reconciliation/procedures", params={"unit": "H31.135"})).json()
    assert (commune["decided"]["codes"], commune["national"]["codes"]) == (1, 2)
    assert {each["kind"]: each["procedures"] for each in commune["findings"] if each["procedures"]} == {
        "level_differs": 1
    }
    past = (await compared.get("/v1/reconciliation/procedures", params={"on": "2026-05-03"})).json()
    assert past["decided"]["codes"] == 6


async def test_who_may(engine: AsyncEngine, settings: Settings, compared: httpx.AsyncClient) -> None:
    async with make.client(engine, settings, *routers, role=Role.UNIT, unit="H31.135") as http:
        await post(http, a_decision("7/QĐ-UBND"), 403)
        assert await in_force(http) == [("1.000006", "commune")]
        for path in ("/v1/catalogue", "/v1/reconciliation/procedures"):
            assert (await http.get(path, params={"unit": "H31.16"})).status_code == 403
        assert (await http.get("/v1/reconciliation/procedures")).json()["unit"] == "H31.135"
    async with make.client(engine, settings, *routers, role=Role.ADMIN) as http:
        await post(http, a_decision("7/QĐ-UBND"))
        assert (await http.get("/v1/catalogue", params={"unit": "H31.99"})).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/decisions/0", 422),
        ("/v1/decisions/99999999999999999999", 422),
        ("/v1/decisions/9", 404),
        ("/v1/decisions?cursor=WyJhIl0", 422),
        ("/v1/catalogue?on=2026-02-30", 422),
        ("/v1/catalogue?on=1", 422),
        ("/v1/catalogue?known_at=2026-01-01T00:00:00", 422),
        ("/v1/catalogue?level=ministry", 422),
        ("/v1/catalogue?cursor=x", 422),
        ("/v1/reconciliation/procedures?on=yesterday", 422),
    ],
)
async def test_bad_questions(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


# --- the order of arrival -----------------------------------------------------------------------------------

drawn_rows = st.lists(
    st.builds(
        a_row,
        st.sampled_from(["1.000001", "1.000002", "1.000003"]),
        st.sampled_from(["new", "amended", "abolished"]),
        level=st.sampled_from(["province", "commune"]),
        name=st.sampled_from(["Tên một", "Tên hai"]),
    ),
    min_size=1,
    max_size=3,
)
registers = st.lists(
    st.tuples(st.integers(1, 9), drawn_rows, st.integers(1, 5), st.integers(-2, 3)),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each[0],
)


@given(register=registers, seed=st.integers(0, 1000))
@hypothesis_settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_order_of_arrival_does_not_matter(
    engine: AsyncEngine, register: list[tuple[int, list[dict[str, Any]], int, int]], seed: int
) -> None:
    documents = [
        a_decision(
            f"{number}/QĐ-UBND",
            *rows,
            issued_on=f"2026-03-{day + 2:02}",
            effective_on=f"2026-03-{day + 2 + shift:02}",
        )
        for number, rows, day, shift in register
    ]
    shuffled = random.Random(seed).sample(documents, len(documents))
    results = []
    for order in (documents, shuffled):
        async with session_scope(engine) as session:
            await session.execute(delete(DecisionRow))
            await session.execute(delete(Decision))
        clock = itertools.count()
        for document in order:
            async with session_scope(engine) as session:
                text = taking.normalised(DecisionIn.model_validate(document))
                await taking.add(session, text, now=make.NOW + timedelta(seconds=next(clock)), by="test")
        async with session_scope(engine) as session:
            decided = service.catalogue.replay(await service.queries.decisions(session), make.NOW.date())
            results.append((decided.in_force, decided.abolished))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 50_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"number": "\\ud800", "rows": "x"}', 422),
        (b'{"rows": [[[[]]]], "issued_on": 1e999}', 422),
    ],
)
async def test_unreadable_bodies(http: httpx.AsyncClient, body: bytes, status: int) -> None:
    answer = await http.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_lone_surrogate_is_refused_with_its_field(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/decisions",
        content=b'{"number": "1/Q\\u0110-UBND", "issued_on": "2026-03-02", "effective_on": "2026-03-02",'
        b' "title": "\\ud800", "rows": [{"change": "new", "name": "a", "level": "province", "field": "b"}]}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "title"
