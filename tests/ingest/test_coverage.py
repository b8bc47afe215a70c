"""GET /v1/coverage: by unit and source, and the same facts beside every figure."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main as indicators
from services.ingest import coverage_api, service
from services.ingest.normalise import Head
from shared import coverage
from shared.coverage import Backlog, Coverage
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal, Role
from tests import make
from tests.make import NOW

HOUR = timedelta(hours=1)
NOBODY = {consumer: Backlog(0, None) for consumer in Consumer}


async def take(
    engine: AsyncEngine, *heads: Head, portal: Portal = Portal.SENT, via: str = "push", now: datetime = NOW
) -> None:
    async with session_scope(engine) as session:
        await service.accept(session, portal=portal, via=via, door="test", sender="k1", now=now, heads=heads)


def late(number: int, delay: timedelta, **fields: Any) -> Head:
    at = NOW - timedelta(days=1)
    return make.head(f"H31.135-261101-{number:04}", received_at=at, version=NOW - delay, **fields)


async def known_through(engine: AsyncEngine, at: datetime) -> None:
    async with session_scope(engine) as session:
        await session.execute(
            text(
                "INSERT INTO sync_state (portal, subject, complete_through, updated_at)"
                " VALUES ('provincial', 'dossiers', :at, :at)"
            ),
            {"at": at},
        )


async def test_by_unit_and_source(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    await take(engine, *(late(n, n * HOUR) for n in range(1, 11)))
    await take(engine, late(1, HOUR / 2), portal=Portal.PROVINCIAL, via="pull")
    await take(engine, late(20, HOUR, agency_code=None, unit_name=None), late(21, HOUR), via="import")
    await take(engine, make.head("H31.135-250101-0001"))  # of August: outside of the window
    await take(engine, make.head("HS-9", agency_code=None, unit_name=None, received_at=NOW - HOUR))
    async with make.client(engine, settings, coverage_api.router) as http:
        answer = await http.get("/v1/coverage")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert [(row["unit_code"], row["portal"], row["via"], row["dossiers"]) for row in found["units"]] == [
            (None, "sent", "push", 1),
            ("H31.135", "provincial", "pull", 1),
            ("H31.135", "sent", "import", 2),
            ("H31.135", "sent", "push", 10),
        ]
        pushed = found["units"][-1]
        assert (pushed["delay_median_seconds"], pushed["delay_p90_seconds"]) == (19_800, 32_760)
        assert found["units"][2]["delay_median_seconds"] is None, "a file comes when somebody sends it"
        by_name = {row["source"]: row for row in found["sources"]}
        assert set(by_name) == {
            "provincial",
            "national_list",
            "national_lookups",
            "sent",
            "pushed",
            "imports",
        }
        assert by_name["sent"]["last_seen_at"] == NOW.isoformat()
        assert by_name["provincial"]["missing"] == "Chưa lần nào lấy được đầy đủ hồ sơ từ hệ thống của tỉnh."
        assert by_name["provincial"]["missing_since"] is None
        queue = {row["consumer"]: row for row in found["queue"]}
        assert queue["indicators"]["due"] > 10
        assert queue["indicators"]["oldest_at"] == NOW.isoformat()
        again = await http.get("/v1/coverage", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
        table = await http.get("/v1/coverage", headers={"Accept": "text/csv"})
        assert len(list(csv.DictReader(io.StringIO(table.text.lstrip("\ufeff"))))) == 4
    async with make.client(engine, settings, coverage_api.router, role=Role.UNIT, unit="H31.136") as http:
        assert (await http.get("/v1/coverage")).json()["units"] == []


async def test_a_step_counts_as_what_a_copy_tells_of(engine: AsyncEngine, settings: Settings) -> None:
    await take(engine, late(1, 20 * HOUR))
    async with session_scope(engine) as session:
        step = make.step("H31.135-261101-0001")._replace(occurred_at=NOW - HOUR)
        await service.accept(
            session, portal=Portal.SENT, via="push", door="t", sender="k", now=NOW, steps=[step]
        )
    async with make.client(engine, settings, coverage_api.router) as http:
        (row,) = (await http.get("/v1/coverage")).json()["units"]
        assert row["delay_median_seconds"] == 3600


async def test_figures_and_coverage_say_the_same(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    await known_through(engine, NOW - 5 * HOUR)
    routers = (coverage_api.router, *indicators.routers)
    async with make.client(engine, settings, *routers) as http:
        source = (await http.get("/v1/coverage")).json()["sources"][0]
        assert source["missing_since"] == source["complete_through"] == (NOW - 5 * HOUR).isoformat()
        block = (await http.get("/v1/indicators/progress")).json()["coverage"]
        assert block["complete"] is False
        assert block["missing"] == [source["missing"]]
        assert block["missing_since"] == source["missing_since"]
        assert block["gaps"] == [
            {"source": "provincial", "since": source["missing_since"], "sentence": source["missing"]}
        ]
        closed = (await http.get("/v1/indicators/progress", params={"period": "2026-08"})).json()["coverage"]
        assert closed["complete"] is True, "all of August has been seen"


@pytest.mark.parametrize(
    ("through", "until", "sources"),
    [
        (None, NOW, ["provincial"]),
        (NOW - HOUR, NOW, []),  # the pulls work; the next one is about to come
        (NOW - 3 * HOUR, NOW, ["provincial"]),
        (NOW - HOUR, NOW - HOUR, []),
        (
            NOW - HOUR,
            NOW - HOUR / 2,
            ["provincial"],
        ),  # a period that has ended is not complete without its end
    ],
)
def test_what_is_missing_since_when(through: datetime | None, until: datetime, sources: list[str]) -> None:
    covered = Coverage(NOBODY, through, None, None, 0)
    found = coverage.gaps(covered, Consumer.INDICATORS, until=until, now=NOW)
    assert [gap.source for gap in found] == sources
    assert all(gap.since == through for gap in found)
    waiting = covered._replace(backlog=NOBODY | {Consumer.INDICATORS: Backlog(1234, NOW - HOUR)})
    first = coverage.gaps(waiting, Consumer.INDICATORS, until=until, now=NOW)[0]
    assert first == ("queue", NOW - HOUR, "Còn 1.234 thay đổi chưa được tính.")
