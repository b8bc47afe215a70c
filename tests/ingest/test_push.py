"""POST /v1/dossiers as its clients call it."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import api
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Fact, Role
from tests import make
from tests.make import NOW


def dossier(number: int = 12, **fields: Any) -> dict[str, Any]:
    return {
        "code": f"H31.135-260803-{number:04d}",
        "procedure_code": "1.001612",
        "unit_code": "H31.135",
        "status": 4,
        "received_at": "2026-08-03T09:30:00+07:00",
        "due_at": "2026-08-06T17:00:00+07:00",
        **fields,
    }


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with session_scope(engine) as session:
        return list((await session.execute(text(sql))).all())


async def test_one_result_per_item_and_the_rest_goes_on(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, api.router, role=Role.INTEGRATOR) as http:
        answer = await http.post(
            "/v1/dossiers",
            json=[
                dossier(1),
                dossier(2, status=99),
                dossier(3, received_at="2026-02-31T09:30:00+07:00"),
                dossier(4, procedure_code="2.00048"),
                dossier(5, received_at="0001-01-01T00:00:00+07:00"),
                dossier(6, unit_name="Phố\x00Hiến"),
                dossier(7, status={"a": 1}),
                dossier(8, received_at="2027-01-01T00:00:00+07:00"),
                {"status": 4},
                dossier(9, code="mã lạ 2026/17"),
                dossier(10),
            ],
        )
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["counts"] == {"accepted": 3, "unchanged": 0, "stale": 0, "rejected": 8}
    refused = {item["index"]: item["field"] for item in content["items"] if item["result"] == "rejected"}
    assert refused == {
        1: "status",
        2: "received_at",
        3: "procedure_code",
        4: "received_at",
        5: "unit_name",
        6: "status",
        7: "received_at",
        8: "code",
    }
    assert [item["code"] for item in content["items"]][6] == "H31.135-260803-0007"
    stored = await rows(engine, "SELECT code, code_known FROM dossier ORDER BY code")
    assert dict(stored) == {
        "H31.135-260803-0001": True,
        "H31.135-260803-0010": True,
        "mã lạ 2026/17": False,
    }
    assert (await rows(engine, "SELECT count(*) FROM quarantine"))[0][0] == 8
    changes = await rows(
        engine,
        "SELECT consumer, count(*) FROM change, unnest(codes) AS code GROUP BY consumer ORDER BY consumer",
    )
    assert [tuple(row) for row in changes] == [("indicators", 3), ("lookups", 3), ("reconcile", 3)]


async def test_facts_are_told_true_false_or_not_at_all(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post(
            "/v1/dossiers",
            json=[
                dossier(1),
                dossier(2, facts={"result_link": True, "vneid": False, "fee": None}),
                dossier(3, facts={"fee": True, "fee_free": True}),
                dossier(4, facts={"result_link": False, "result_coded": True}),
                dossier(5, facts={"vneid": "1"}),
                dossier(6, facts=None),
            ],
        )
        refused = {item["index"]: item["field"] for item in answer.json()["items"] if "field" in item}
        assert refused == {2: "facts.fee_free", 3: "facts.result_link", 4: "facts.vneid"}
        view = (await http.get("/v1/dossiers/H31.135-260803-0002")).json()
    assert view["copies"][0]["facts"] == {"result_link": True, "vneid": False}
    link, vneid = Fact.RESULT_LINK.value, Fact.VNEID.value
    stored = await rows(engine, "SELECT facts, facts_known FROM dossier ORDER BY code")
    assert stored == [(0, 0), (link, link | vneid), (0, 0)]


async def test_a_wrong_time_is_told_the_form_of_this_door(engine: AsyncEngine, settings: Settings) -> None:
    wrong = [
        dossier(1, received_at="2026-02-31"),
        dossier(2, steps=[{"occurred_at": "hôm qua", "status": 2}]),
        dossier(3, supplements=[{"requested_at": "2026-02-31T09:00:00+07:00"}]),
    ]
    async with make.client(engine, settings, api.router) as http:
        items = (await http.post("/v1/dossiers", json=wrong)).json()["items"]
    assert [item["field"] for item in items] == [
        "received_at",
        "steps[0].occurred_at",
        "supplements[0].requested_at",
    ]
    for item in items:
        assert "cần dạng 2026-08-03T09:30:00+07:00 (ISO 8601)" in item["reason_vi"]
        assert "expected ISO 8601 (2026-08-03T09:30:00+07:00)" in item["reason"]


async def test_a_content_type_that_is_not_taken(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post("/v1/dossiers", content=b"[]", headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type")
        assert answer.json()["type"] == "/docs/problems#unsupported-type"
        assert (await http.post("/v1/dossiers", content=b"[]")).status_code == 200, "none is JSON"


async def test_newer_wins_older_is_stale_same_is_unchanged(engine: AsyncEngine, settings: Settings) -> None:
    older = dossier(updated_at="2026-08-03T10:00:00+07:00")
    newer = dossier(updated_at="2026-08-05T10:00:00+07:00", status=9, finished_at="2026-08-05T09:00:00+07:00")
    async with make.client(engine, settings, api.router) as http:
        results = []
        for item in (newer, older, newer, dict(newer, status=10)):
            answer = await http.post("/v1/dossiers", json=[item])
            results.append(answer.json()["items"][0]["result"])
    assert results == ["accepted", "stale", "unchanged", "accepted"]
    assert (await rows(engine, "SELECT status FROM dossier"))[0][0] == 10
    queued = (
        await rows(engine, "SELECT count(*) FROM change, unnest(codes) AS code WHERE consumer = 'reconcile'")
    )[0][0]
    assert queued == 2, "nothing for stale and unchanged"


async def test_a_code_twice_in_one_batch_is_as_if_sent_one_after_the_other(
    engine: AsyncEngine, settings: Settings
) -> None:
    newer = dossier(updated_at="2026-08-05T10:00:00+07:00", status=9)
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post("/v1/dossiers", json=[dossier(), newer, dossier(status=5)])
    assert [item["result"] for item in answer.json()["items"]] == ["stale", "accepted", "stale"]
    assert (await rows(engine, "SELECT status FROM dossier"))[0][0] == 9


async def test_a_large_batch_by_copy_ends_in_the_same_rows_as_small_ones(
    engine: AsyncEngine, settings: Settings
) -> None:
    """Both ways into the table: arrays for few rows, COPY for many; texts with what COPY's format has to escape."""
    items = [
        dossier(n, unit_name="Xã \\N \\. \\t", supplements=[{"requested_at": "2026-08-04T14:00:00+07:00"}])
        for n in range(700)
    ]
    items[3] |= {"unit_code": None, "due_at": None, "procedure_code": None, "code": "mã \\ lạ"}
    read = "SELECT d::text FROM dossier d ORDER BY code"
    async with make.client(engine, settings, api.router) as http:
        small = [await http.post("/v1/dossiers", json=items[n : n + 100]) for n in range(0, 700, 100)]
        assert sum(answer.json()["counts"]["accepted"] for answer in small) == 700
        by_arrays = await rows(engine, read)
        again = await http.post("/v1/dossiers", json=items)
        assert again.json()["counts"]["unchanged"] == 700, "COPY reads the very same values"
        async with session_scope(engine) as session:
            await session.execute(text("DELETE FROM dossier"))
        large = await http.post("/v1/dossiers", json=items + [dossier(9000, portal="sent")] * 600)
        assert large.json()["counts"]["accepted"] == 701
    by_copy = await rows(engine, read)
    assert [row[0] for row in by_copy if "sent" not in row[0]] == [row[0] for row in by_arrays]


async def test_ndjson_answers_line_by_line(engine: AsyncEngine, settings: Settings) -> None:
    lines = [json.dumps(dossier(n)) for n in range(1, 6)]
    lines.insert(2, '{"code": "H31.135-260803-0099", "status": ')
    lines.insert(4, "")
    lines.insert(5, '{"code": "' + "x" * (1024 * 1024 + 10) + '"}')
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post(
            "/v1/dossiers",
            content="\n".join(lines).encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
    got = [json.loads(line) for line in answer.text.splitlines()]
    assert got[-1].pop("receipt") == got[-2]["receipt"]
    assert got[-1] == {"counts": {"accepted": 5, "unchanged": 0, "stale": 0, "rejected": 2}}
    del got[-2]
    assert [item["result"] for item in got[:-1]] == [
        "accepted",
        "accepted",
        "rejected",
        "accepted",
        "rejected",
        "accepted",
        "accepted",
    ]
    assert [item["index"] for item in got[:-1]] == list(range(7))


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "not closed"])
async def test_one_item_that_is_nested_too_deep_costs_its_neighbours_nothing(
    engine: AsyncEngine, settings: Settings, closed: bool
) -> None:
    deep = b'{"code": "H31.135-260803-0099", "more": %s' % (b"[" * 100_000 + b"]" * 100_000)
    items = [
        json.dumps(dossier(1)).encode(),
        deep + (b"}" if closed else b"]"),
        json.dumps(dossier(2)).encode(),
    ]
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post("/v1/dossiers", content=b"[" + b",".join(items) + b"]")
    assert answer.status_code == 200
    assert [item["result"] for item in answer.json()["items"]] == ["accepted", "rejected", "accepted"]
    assert answer.json()["items"][1]["field"] == "item"
    assert len(await rows(engine, "SELECT code FROM dossier")) == 2
    assert len(await rows(engine, "SELECT reason FROM quarantine")) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"code": 1}', 422),
        (b"[" * 100_000, 400),
        (b'[{"code":' * 5000 + b"1" + b"}" * 5000, 400),
        (b"[" + b" " * (21 * 1024 * 1024) + b"]", 413),
        (b"", 400),
    ],
    ids=["broken", "not utf-8", "object", "deep", "deep item", "over 20 MB", "empty"],
)
async def test_no_body_is_an_internal_error(
    engine: AsyncEngine, settings: Settings, body: bytes, status: int
) -> None:
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post("/v1/dossiers", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail_vi"]


async def test_citizens_data_and_free_text_find_no_way_in(engine: AsyncEngine, settings: Settings) -> None:
    secret = "NGUYỄN VĂN BÍ MẬT"
    async with make.client(engine, settings, api.router) as http:
        good = dossier(1, applicant=secret, note=secret, phone="0912345678")
        bad = dossier(2, status=secret, applicant=secret)
        unreadable = dossier(3, due_at=secret)
        answer = await http.post("/v1/dossiers", json=[good, bad, unreadable])
    assert answer.json()["counts"]["rejected"] == 2
    assert secret not in answer.text
    for table in ("dossier", "dossier_step", "quarantine", "change", "presence"):
        content = str(await rows(engine, f"SELECT t::text FROM {table} t"))
        assert "BÍ MẬT" not in content
        assert "0912345678" not in content


async def test_everything_known_of_one_dossier(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    async with make.client(engine, settings, api.router) as http:
        item = dossier(
            steps=[{"occurred_at": "2026-08-03T09:30:00+07:00", "status": 2, "officer": "Trần Thị Mẫu"}],
            supplements=[{"requested_at": "2026-08-04T14:00:00+07:00"}],
        )
        await http.post("/v1/dossiers", json=[item])
        answer = await http.get(f"/v1/dossiers/{item['code'].lower()}")
        unknown = await http.get("/v1/dossiers/H31.135-260803-9999")
    view = answer.json()
    assert answer.status_code == 200, answer.text
    (copy,) = view["copies"]
    assert copy["unit_code"] == "H31.135"
    assert copy["unit_via"] == "agency_code"
    assert copy["supplements"][0]["requested_at"] == "2026-08-04T14:00:00+07:00"
    assert "officer" in copy["known"]
    assert "officer_title" not in copy["known"]
    assert view["steps"][0]["officer"] == "Trần Thị Mẫu"
    assert unknown.status_code == 404
    async with make.client(engine, settings, api.router, role=Role.UNIT, unit="H31.136") as foreign:
        refused = await foreign.get(f"/v1/dossiers/{item['code']}")
    assert refused.status_code == 403


async def test_a_copy_that_names_only_a_code_tells_the_unit_s_name_of_its_day(
    engine: AsyncEngine, settings: Settings
) -> None:
    async with session_scope(engine) as session:
        await make.unit(session, "H31.140", "UBND xã Cũ", valid_to=date(2026, 8, 31))
        await make.unit(session, "H31.140", "UBND phường Mới", valid_from=date(2026, 9, 1))
    async with make.client(engine, settings, api.router) as http:
        for received, told, name in (
            ("2026-08-03T09:30:00+07:00", None, "UBND xã Cũ"),
            ("2026-09-03T09:30:00+07:00", None, "UBND phường Mới"),
            ("2020-09-03T09:30:00+07:00", None, "UBND phường Mới"),
            ("2026-08-03T09:30:00+07:00", "UBND xã Cũ (một cửa)", "UBND xã Cũ (một cửa)"),
        ):
            item = {"code": "HS-1", "unit_code": "H31.140", "unit_name": told, "received_at": received}
            updated = {"updated_at": NOW.isoformat()}
            await http.post("/v1/dossiers", json=[item | updated])
            (copy,) = (await http.get("/v1/dossiers/HS-1")).json()["copies"]
            assert (copy["unit_code"], copy["unit_name"]) == ("H31.140", name)


async def test_more_pushes_at_once_than_the_pool_has_connections(
    engine: AsyncEngine, settings: Settings
) -> None:
    async with make.client(engine, settings, api.router, role=Role.INTEGRATOR) as http, asyncio.timeout(20):
        answers = await asyncio.gather(*(http.post("/v1/dossiers", json=[dossier(n)]) for n in range(40)))
    assert {answer.status_code for answer in answers} == {200}


async def test_signs_that_nobody_sees_do_not_refuse_a_name(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, api.router) as http:
        answer = await http.post(
            "/v1/dossiers", json=[dossier(unit_name="\ufeffUBND xã\u200b Sơn\u00ad Nam")]
        )
    assert answer.json()["counts"]["accepted"] == 1
    assert (await rows(engine, "SELECT unit_name FROM dossier"))[0][0] == "UBND xã Sơn Nam"
