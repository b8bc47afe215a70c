"""Appointments to come, the soonest first, on the copy that counts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main, near_due
from shared.db import driver, session_scope
from shared.errors import Invalid
from shared.reasons import Bit, Reason
from shared.settings import Settings
from shared.vocabulary import Role
from tests import make
from tests.indicators.test_api import store
from tests.make import NOW, moment

RECEIVED = {"received_at": moment("2026-10-30 08:00"), "version": moment("2026-10-30 08:00")}

ASKED = json.dumps(
    [
        {
            "requested_at": "2026-10-31T08:00:00+07:00",
            "completed_at": None,
            "due_before": None,
            "due_after": None,
        }
    ]
)


@pytest.fixture
async def province(engine: AsyncEngine) -> AsyncEngine:
    """On Monday 2/11/2026, 9:00."""
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    await store(
        engine,
        *(
            make.head(f"{unit}-261030-{n:04}", agency_code=unit, unit_name=None, due_at=due, **(RECEIVED | how))
            for unit, n, due, how in (
                ("H31.135", 1, moment("2026-11-04 17:00"), {}),
                ("H31.135", 2, moment("2026-11-02 11:00"), {}),
                ("H31.135", 3, moment("2026-11-02 08:00"), {}),  # late already
                ("H31.135", 4, moment("2026-11-06 17:00"), {}),  # the fourth working day
                ("H31.135", 5, None, {}),  # three working days at the most: 4/11
                ("H31.135", 6, moment("2026-11-03 17:00"), {"status": 9, "finished_at": moment("2026-11-01 10:00")}),
                ("H31.136", 1, moment("2026-11-04 17:00"), {}),
                (
                    "H31.136",
                    2,
                    moment("2026-11-03 10:00"),
                    {"supplements": ASKED},
                ),
            )
        ),
    )  # fmt: skip
    return engine


@pytest.fixture
async def http(province: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with make.client(province, settings, *main.routers) as client:
        yield client


ORDER = [
    "H31.135-261030-0002",
    "H31.136-261030-0002",
    "H31.135-261030-0001",
    "H31.136-261030-0001",
    "H31.135-261030-0005",
]


async def test_the_soonest_first_page_by_page(http: httpx.AsyncClient) -> None:
    codes: list[str] = []
    cursor: str | None = None
    while True:
        params = {"within": "3d", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = await http.get("/v1/near-due", params=params)
        assert answer.status_code == 200, answer.text
        codes += [item["code"] for item in answer.json()["items"]]
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert codes == ORDER
    sheet = await http.get("/v1/near-due", headers={"Accept": "text/csv"})
    rows = list(csv.reader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert [row[0] for row in rows[1:]] == ORDER


async def test_what_is_said_of_each(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/near-due")
    assert answer.json()["until"] == "2026-11-05T23:59:59.999999+07:00"
    items = {item["code"]: item for item in answer.json()["items"]}
    first = items["H31.135-261030-0002"]
    assert (first["working_days_left"], first["working_hours_left"], first["on_time"]) == (0, "2.0", True)
    assert first["why"] == (
        "Hẹn trả: 11:00 ngày 02/11/2026, còn 0 ngày làm việc (2,0 giờ làm việc);"
        " sau thời điểm đó hồ sơ bị tính quá hạn."
    )
    asked = items["H31.136-261030-0002"]
    assert "đã yêu cầu bổ sung một lần" in asked["why"]
    by_maximum = items["H31.135-261030-0005"]
    assert by_maximum["by_maximum"] is True
    assert by_maximum["due_at"] == "2026-11-04T23:59:59.999999+07:00"
    assert by_maximum["why"].startswith("Hạn theo thời hạn tối đa của thủ tục")
    tag = {"If-None-Match": answer.headers["etag"]}
    assert (await http.get("/v1/near-due", headers=tag)).status_code == 304


def test_an_appointment_before_the_next_session_leaves_no_time() -> None:
    evening, due = moment("2026-11-02 18:00"), moment("2026-11-03 07:00")
    each = near_due.Ahead("H31.135", "X", "", None, int(Bit.MEMBER | Bit.ON_TIME), Reason.RUNNING, None, due)
    assert near_due.why(each, near_due.left(evening, due)) == (
        "Hẹn trả: 07:00 ngày 03/11/2026, không còn giờ làm việc nào; sau thời điểm đó hồ sơ bị tính quá hạn."
    )


async def test_hours_units_and_what_a_key_may_see(province: AsyncEngine, settings: Settings) -> None:
    async with make.client(province, settings, *main.routers, role=Role.UNIT, unit="H31.136") as http:
        found = (await http.get("/v1/near-due", params={"within": "9h"})).json()
        assert [item["code"] for item in found["items"]] == ["H31.136-261030-0002"]
        assert (await http.get("/v1/near-due", params={"within": "8h"})).json()["items"] == []
        assert (await http.get("/v1/near-due", params={"unit": "H31.135"})).status_code == 403


@pytest.mark.parametrize("within", ["0d", "61d", "481h", "x", "", "3 d", "-1", "٣d"])
async def test_how_far_ahead_one_can_ask(http: httpx.AsyncClient, within: str) -> None:
    answer = await http.get("/v1/near-due", params={"within": within})
    assert answer.status_code == 422
    assert "1d" in answer.json()["detail_vi"]
    with pytest.raises(Invalid):
        near_due.until(within, NOW)


async def test_it_is_read_along_the_index(province: AsyncEngine) -> None:
    async with session_scope(province) as session:
        connection = await driver(session)
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(
                f"EXPLAIN {near_due.NEXT}", "counted", "2026-11", "H31", NOW, "", NOW, 101
            )
        )
    assert plan.count("ix_assessment_period_due") == 2
