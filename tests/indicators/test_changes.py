"""What changed since a moment: dossiers by time and by messages, figures against those that were kept."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import main, worker
from services.indicators.history import overdue_changes
from services.ingest import service as ingest
from services.ingest.normalise import Head
from shared import queue
from shared.db import session_scope
from shared.reasons import Bit
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal, Role
from tests import make
from tests.make import moment

IN_TIME, COMING, MENDED = (f"H31.135-260803-{n:04}" for n in (1, 2, 3))
ELSEWHERE = "H31.136-260803-0004"
OPEN = {"status": 4, "finished_at": None}
KEPT = moment("2026-08-06 00:00")
NOW = moment("2026-08-07 08:00")


async def told(engine: AsyncEngine, now: datetime, *heads: Head) -> None:
    """A push at a moment, and what the worker does then."""
    async with session_scope(engine) as session:
        await ingest.accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=now, heads=heads
        )
    await worker.tick(engine, now)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=now)


def head(code: str, due: str, version: str, **fields: Any) -> Head:
    return make.head(
        code, agency_code=code[:7], unit_name=None, due_at=moment(due), version=moment(version), **fields
    )


@pytest.fixture
async def province(engine: AsyncEngine) -> AsyncEngine:
    """5/8: one done in time, one due on 6/8 at 17:00, two late. 6/8, 00:00: the figures are kept. 7/8: the second has
    become late by itself; of one late one it is told that it was done in time."""
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    done = {"status": 9, "finished_at": moment("2026-08-04 10:00")}
    await told(
        engine,
        moment("2026-08-05 16:00"),
        head(IN_TIME, "2026-08-06 17:00", "2026-08-04 10:00", **done),
        head(COMING, "2026-08-06 17:00", "2026-08-03 09:00", **OPEN),
        head(MENDED, "2026-08-04 17:00", "2026-08-03 09:00", **OPEN),
        head(ELSEWHERE, "2026-08-04 17:00", "2026-08-03 09:00", **OPEN),
    )
    await told(engine, KEPT)
    await told(engine, NOW, head(MENDED, "2026-08-04 17:00", "2026-08-07 07:00", **done))
    return engine


@asynccontextmanager
async def asking(engine: AsyncEngine, settings: Settings, **key: Any) -> AsyncIterator[httpx.AsyncClient]:
    later = settings.model_copy(update={"chiso_now": NOW})
    async with make.client(engine, later, *main.routers, **key) as http:
        yield http


async def test_a_day_s_changes(province: AsyncEngine, settings: Settings) -> None:
    async with asking(province, settings) as http:
        params = {"since": "2026-08-06", "unit": "H31.135"}
        answer = await http.get("/v1/changes", params=params)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        again = await http.get(
            "/v1/changes", params=params, headers={"If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
        only = (await http.get("/v1/changes", params=params | {"became": "resolved"})).json()
        whole = (await http.get("/v1/changes", params={"since": "2026-08-05T07:00:00+07:00"})).json()
        listed = await http.get("/v1/changes", params=params, headers={"Accept": "text/csv"})
    assert (found["became_overdue"], found["resolved"]) == (1, 1)
    assert [(each["code"], each["became"]) for each in found["items"]] == [
        (MENDED, "resolved"),
        (COMING, "overdue"),
    ]
    assert "muộn hơn hạn 17:00 ngày 06/08/2026" in found["items"][1]["why"]
    assert datetime.fromisoformat(found["compared_with"]) == KEPT
    # 1 of 3 was on time at midnight (the one that is due may still be): 2 of 3; now the late one is mended: 2 of 3.
    (progress,) = [each for each in found["components"] if each["id"] == "2.1"] or [None]
    assert progress is None
    assert [each["code"] for each in only["items"]] == [MENDED]
    # Since before the first push: it became late and was mended again since, so it is not there.
    assert {each["code"] for each in whole["items"]} == {COMING, ELSEWHERE}
    rows = list(csv.reader(io.StringIO(listed.content.decode("utf-8-sig"))))
    assert [row[5] for row in rows[1:]] == ["hết quá hạn", "quá hạn"]


async def test_points_are_held_against_those_that_were_kept(
    province: AsyncEngine, settings: Settings
) -> None:
    """On 7/8 one more dossier is done too late: 2 of 4."""
    async with session_scope(province) as session:
        before = await session.scalar(
            text(
                "SELECT components->'2.1' FROM figure_day WHERE unit_code = 'H31.135' AND period = '2026-08'"
                " AND day = '2026-08-06'"
            )
        )
    assert before == [2, 3, "13.33"]
    late = {"status": 9, "finished_at": moment("2026-08-07 07:30")}
    await told(province, NOW, head("H31.135-260803-0009", "2026-08-06 17:00", "2026-08-07 07:30", **late))
    async with asking(province, settings) as http:
        found = (await http.get("/v1/changes", params={"since": "2026-08-06", "unit": "H31.135"})).json()
        bare = (await http.get("/v1/changes", params={"since": "2026-08-06", "basis": "provincial"})).json()
    (progress,) = [each for each in found["components"] if each["id"] == "2.1"]
    assert progress["before"] == {"numerator": 2, "denominator": 3, "points": "13.33"}
    assert progress["now"] == {"numerator": 2, "denominator": 4, "points": "10.00"}
    assert progress["difference"] == "-3.33"
    lost = sum(
        float(each["difference"] or 0) for each in found["components"] if float(each["difference"] or 0) < 0
    )
    assert float(found["points_lost"]) == pytest.approx(lost)
    assert (bare["compared_with"], bare["points_won"], bare["components"]) == (None, None, [])
    assert (found["why"], "basis=counted" in bare["why"]) == (None, True)


async def test_why_there_is_nothing_to_compare_with(province: AsyncEngine, settings: Settings) -> None:
    async with asking(province, settings) as http:
        found = (await http.get("/v1/changes", params={"since": "2026-08-06", "period": "2026-06"})).json()
    assert found["compared_with"] is None
    assert found["why"].startswith("Chưa có số liệu đầu ngày của kỳ 2026-06 để so")


async def test_scope_pages_and_bad_input(province: AsyncEngine, settings: Settings) -> None:
    async with asking(province, settings, role=Role.UNIT, unit="H31.136") as http:
        own = (await http.get("/v1/changes", params={"since": "2026-08-01"})).json()
        assert [each["code"] for each in own["items"]] == [ELSEWHERE]
        assert (await http.get("/v1/changes", params={"unit": "H31.135"})).status_code == 403
    async with asking(province, settings) as http:
        params: dict[str, Any] = {"since": "2026-08-05T16:00:01+07:00", "limit": 1}
        first = (await http.get("/v1/changes", params=params)).json()
        second = (await http.get("/v1/changes", params=params | {"cursor": first["next"]})).json()
        assert [each["code"] for each in first["items"] + second["items"]] == [MENDED, COMING]
        assert second["next"] is None
        for since in (
            "2026-13-01",
            "hôm qua",
            "2027-01-01",
            "0001-01-01T00:00:00+14:00x",
            "0001-01-01",
            "9" * 30,
        ):
            refused = await http.get("/v1/changes", params={"since": since})
            assert (refused.status_code, refused.json()["field"]) == (422, "since"), since
        assert (await http.get("/v1/changes", params={"cursor": "xyz"})).status_code == 422


async def test_history_that_is_loaded_today_is_no_news(province: AsyncEngine, settings: Settings) -> None:
    late = {"status": 9, "finished_at": moment("2026-05-20 10:00"), "received_at": moment("2026-05-04 08:00")}
    old = head("H31.135-260504-0001", "2026-05-06 17:00", "2026-05-20 10:00", **late)
    await told(province, NOW, old)
    async with asking(province, settings) as http:
        found = (await http.get("/v1/changes", params={"since": "2026-08-07"})).json()
    assert old.code not in {each["code"] for each in found["items"]}


async def test_a_day_is_kept_once_and_old_ones_go(province: AsyncEngine, settings: Settings) -> None:
    async def days() -> list[str]:
        async with session_scope(province) as session:
            rows = await session.execute(text("SELECT DISTINCT day::text FROM figure_day ORDER BY 1"))
            return list(rows.scalars())

    kept = ["2026-08-05", "2026-08-06", "2026-08-07"]
    assert await days() == kept, "on 5/8 there was no dossier yet, but a procedure"
    await worker.tick(province, NOW)
    assert await days() == kept
    await worker.tick(province, moment("2027-09-11 00:00"))
    assert "2026-08-06" not in await days()


PERIODS = ("2026-07", "2026-08", "2026-Q3", "2026")
BITS = (Bit.MEMBER, Bit.MEMBER | Bit.ON_TIME, Bit.MEMBER | Bit.UNDETERMINED)
ROWS = st.dictionaries(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["counted", "provincial", "both"]),
        st.sampled_from(PERIODS),
    ),
    st.sampled_from([int(each) for each in BITS]),
    max_size=8,
).map(
    lambda found: {
        key: bits for key, bits in found.items() if key[1] == "both" or (key[0], "both", key[2]) not in found
    }
)


@given(st.lists(ROWS, min_size=2, max_size=5))
def test_the_log_tells_what_is_overdue(states: list[dict[tuple[str, str, str], int]]) -> None:
    """Following the log from nothing gives at every step what the newest months say."""

    def rows(state: dict[tuple[str, str, str], int]) -> list[tuple[Any, ...]]:
        return [(*key, "H31", "1", bits, "finished", None, None) for key, bits in state.items()]

    def overdue(state: dict[tuple[str, str, str], int]) -> set[tuple[str, str]]:
        found = set()
        for code in ("a", "b"):
            for basis in ("counted", "provincial"):
                months = [
                    (period, bits)
                    for (c, b, period), bits in state.items()
                    if c == code and b in (basis, "both") and period in PERIODS[:2]
                ]
                if months and max(months)[1] == Bit.MEMBER:
                    found.add((code, basis))
        return found

    followed: set[tuple[str, str]] = set()
    before: dict[tuple[str, str, str], int] = {}
    for state in states:
        for each in overdue_changes(rows(before), rows(state), news_of=""):
            key = (each.code, each.basis)
            assert (key in followed) is not each.overdue, "a change is told once"
            (followed.add if each.overdue else followed.discard)(key)
        assert followed == overdue(state)
        before = state
