"""All units side by side: what the board says of each is what each unit's own answers say."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators import boards, main, queries
from services.indicators.boards import Place
from services.indicators.queries import Scope
from services.indicators.rules.ranking import ranks
from services.indicators.rules.units import UnitSpan, UnitTree
from shared.calendar import Period
from shared.db import driver, session_scope
from shared.dossier_components import COUNTS
from shared.settings import Settings
from shared.vocabulary import Basis, Fact, IndicatorGroup, ProcedureFact, Role, UnitLevel
from tests import make
from tests.indicators.test_api import DONE, LATE, store
from tests.indicators.test_petitions import petition, take
from tests.make import moment

GROUPS = [group.value for group in IndicatorGroup]


@pytest.fixture
async def province(engine: AsyncEngine) -> AsyncEngine:
    """8/2026: H31.135 and H31.137 are half on time, H31.136 wholly, H31.138 not at all; H31.139 has no dossier. H31.130
    was merged into H31.137 on 15/8. H31.16 has one below it. Petitions: one in time and one late of H31.135, one of
    H31.130, each naming a dossier, and one of nobody."""
    async with session_scope(engine) as session:
        await make.units(session)
        for code in ("H31.137", "H31.138", "H31.139"):
            await make.unit(session, code, f"UBND xã {code}")
        await make.unit(
            session, "H31.130", "UBND xã Cũ", valid_to=date(2026, 8, 14), successor_code="H31.137"
        )
        await make.unit(session, "H31.16.02", "Chi cục", UnitLevel.DISTRICT)
        await make.procedure(session)
        await session.execute(
            text("UPDATE procedure SET facts = :facts"),
            {"facts": int(ProcedureFact.FEE | ProcedureFact.RESULT | ProcedureFact.PEOPLE)},
        )
        answered = {
            "handled_at": "2026-08-07T08:00:00+07:00",
            "published_at": "2026-08-07T09:00:00+07:00",
        }
        await take(
            session,
            [
                petition("P1", dossier_code="H31.135-260803-0001", **answered),
                petition("P2", dossier_code="H31.135-260803-0002", kind="staff"),
                petition("P3", dossier_code="H31.130-260803-0001", unit_code="H31.130"),
                petition("P4", unit_code=None, **answered),
            ],
        )
    papers = {
        "channel": 2,
        "facts": int(Fact.RESULT_CODED | Fact.COMPONENT_FILE | Fact.PAID_ONLINE | Fact.FEE | Fact.VNEID),
        "facts_known": int(sum(Fact)),
    }
    await store(
        engine,
        *(
            make.head(f"{unit}-260803-{n:04}", agency_code=unit, unit_name=None, **(how | also))
            for unit, n, how, also in (
                ("H31.135", 1, DONE, papers),
                ("H31.135", 2, LATE, {}),
                ("H31.136", 1, DONE, papers),
                ("H31.137", 1, DONE, {}),
                ("H31.130", 1, LATE, papers),
                ("H31.138", 1, LATE, {}),
                ("H31.16", 1, DONE, {}),
                ("H31.16.02", 1, LATE, papers),
            )
        ),
    )
    return engine


@pytest.fixture
async def http(province: AsyncEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with make.client(province, settings, *main.routers) as client:
        yield client


async def test_the_board_of_each_level(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/scoreboard", params={"period": "2026-08"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["ranked_by"] == "progress"
    assert found["why"] == "Chưa đủ sáu nhóm để có tổng điểm nên xếp hạng theo nhóm Tiến độ giải quyết."
    assert "transparency" in found["missing"]
    departments, communes = found["boards"]
    assert [(row["rank"], row["unit"]["code"], row["dossiers"]) for row in departments["rows"]] == [
        (1, "H31.16", 2)
    ]
    assert [(row["rank"], row["unit"]["code"], row["active"]) for row in communes["rows"]] == [
        (1, "H31.136", True),
        (2, "H31.135", True),
        (2, "H31.137", True),
        (4, "H31.138", True),
        (None, "H31.139", False),
    ]
    assert (communes["ranked"], communes["inactive"]) == (4, 1)
    assert all(row["total"] is None and row["rating"] is None for row in communes["rows"])
    assert found["coverage"]["by_copy"]["sent_unconfirmed"] == 8
    only = (await http.get("/v1/scoreboard", params={"period": "2026-08", "level": "department"})).json()
    assert only["boards"] == [departments]


@pytest.mark.parametrize("period", ["2026-08", "2026-Q3", "2026", "2026-10"])
@pytest.mark.parametrize("basis", list(Basis))
async def test_each_row_is_what_the_unit_s_own_answers_say(
    http: httpx.AsyncClient, period: str, basis: str
) -> None:
    params = {"period": period, "basis": basis}
    board = (await http.get("/v1/scoreboard", params=params)).json()
    rows = [row for each in board["boards"] for row in each["rows"]]
    assert len(rows) == 6
    for row in rows:
        assert [each["group"] for each in row["groups"]] == GROUPS
        for each in row["groups"]:
            path = f"/v1/indicators/{each['group']}"
            own = (await http.get(path, params={**params, "unit": row["unit"]["code"]})).json()
            assert (each["points"], each["max"], each["rating"]) == (own["score"], own["max"], own["rating"])
            assert {key: row[key] for key in ("dossiers", "on_time", "overdue", "undetermined")} == {
                key: own["counts"][key] for key in ("dossiers", "on_time", "overdue", "undetermined")
            }


async def test_a_unit_s_key_sees_its_own_row_and_its_rank(province: AsyncEngine, settings: Settings) -> None:
    async with make.client(province, settings, *main.routers, role=Role.UNIT, unit="H31.138") as http:
        answer = await http.get("/v1/scoreboard", params={"period": "2026-08"})
        departments, communes = answer.json()["boards"]
        assert departments["rows"] == []
        assert [(row["rank"], row["unit"]["code"]) for row in communes["rows"]] == [(4, "H31.138")]
        assert communes["ranked"] == 4
        assert answer.json()["coverage"]["by_copy"]["sent_unconfirmed"] == 1
        assert "H31.136" not in answer.text
        assert (await http.get("/v1/scoreboard", params={"unit": "H31"})).status_code == 403


async def test_the_board_by_a_group_as_a_sheet_and_unchanged(http: httpx.AsyncClient) -> None:
    params = {"period": "2026-08", "level": "commune", "by": "digitisation"}
    answer = await http.get("/v1/scoreboard", params=params)
    board = answer.json()
    assert (board["ranked_by"], board["why"]) == ("digitisation", "Xếp hạng theo nhóm Số hóa hồ sơ.")
    ranked = [row for row in board["boards"][0]["rows"] if row["rank"]]
    points = [Decimal(row["groups"][4]["points"]) for row in ranked]
    assert points == sorted(points, reverse=True)
    assert len(set(points)) > 1
    tag = {"If-None-Match": answer.headers["etag"]}
    assert (await http.get("/v1/scoreboard", params=params, headers=tag)).status_code == 304
    sheet = await http.get("/v1/scoreboard", params=params, headers={"Accept": "text/csv"})
    rows = list(csv.reader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert len(rows) == 6
    assert rows[0][:4] == ["Cấp", "Hạng", "Mã đơn vị", "Đơn vị"]
    assert [row[2] for row in rows[1:]] == [row["unit"]["code"] for row in board["boards"][0]["rows"]]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"by": "transparency"}, 422),
        ({"by": "x"}, 422),
        ({"level": "province"}, 422),
        ({"period": "2027"}, 422),
        ({"unit": "H31.99"}, 404),
    ],
)
async def test_a_board_that_cannot_be(http: httpx.AsyncClient, params: dict[str, str], status: int) -> None:
    answer = await http.get("/v1/scoreboard", params=params)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail_vi"]


_CELL = st.tuples(
    st.sampled_from(["counted", "provincial", "both"]),
    st.sampled_from(["2026-08", "2026-Q3"]),
    st.sampled_from(["H31", "H31.1", "H31.13", "H31.135", "H31.135.1", "H31.136"]),
    st.sampled_from(["", "1.001612", "1.009999"]),
    st.lists(st.integers(0, 3), min_size=len(COUNTS), max_size=len(COUNTS)),
)


@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    cells=st.lists(_CELL, max_size=12, unique_by=lambda cell: cell[:4]), facts=st.integers(0, 63)
)
async def test_one_query_for_all_says_what_one_for_each_says(
    session: AsyncSession, cells: list[tuple[str, str, str, str, list[int]]], facts: int
) -> None:
    connection = await driver(session)
    await connection.execute("DELETE FROM tally; DELETE FROM procedure")
    await make.procedure(session, facts=facts)
    columns = ", ".join(COUNTS)
    await connection.executemany(
        f"INSERT INTO tally (basis, period, unit_code, procedure_code, {columns}, elapsed_seconds, working_seconds,"
        f" changed_at) VALUES ($1, $2, $3, $4, {', '.join(f'${5 + n}' for n in range(len(COUNTS)))}, 0, 0, $"
        f"{5 + len(COUNTS)})",
        [(*cell[:4], *cell[4], moment("2026-08-09 10:00")) for cell in cells],
    )
    units = ["H31", "H31.13", "H31.135", "H31.136", "H31.9"]
    periods = [Period.parse("2026-08"), Period.parse("2026-Q3")]
    for basis in Basis:
        found = await boards.figures(session, basis=basis, periods=periods, units=units)
        assert len(found) == len(units) * len(periods)
        for unit in units:
            for period in periods:
                own = await queries.figures(session, Scope(basis, period, unit))
                there = found[Place(unit, period.key)]
                assert there.measured == {key: own.measured[key] for key in there.measured}
                assert there.counts == {key: own.counts[key] for key in boards.COUNTED}
                assert there.as_of == own.as_of
    assert set(queries.MEASURED) == own.measured.keys()


@hypothesis.given(
    st.dictionaries(
        st.text("ab", max_size=3), st.integers(0, 5).map(lambda n: Decimal(n).quantize(Decimal("0.01")))
    )
)
def test_a_rank_is_one_more_than_those_who_have_more(scores: dict[str, Decimal]) -> None:
    assert ranks(scores) == {
        unit: 1 + sum(other > score for other in scores.values()) for unit, score in scores.items()
    }


def test_the_units_of_a_level_on_a_day() -> None:
    end = date(2026, 8, 14)
    tree = UnitTree(
        [
            UnitSpan("H31.2", date(2025, 7, 1), end, "Cũ", "commune", "H31.1"),
            UnitSpan("H31.1", date(2025, 7, 1), None, "Mới", "commune", None),
            UnitSpan("H31.3", date(2025, 7, 1), None, "Sở", "department", None),
        ],
        "H31",
    )
    assert tree.standing("commune", end) == ["H31.1", "H31.2"]
    assert tree.standing("commune", date(2026, 8, 15)) == ["H31.1"]
    assert tree.standing("commune", date(2025, 6, 30)) == []


async def test_each_period_of_a_trend_is_what_the_unit_s_answer_says(http: httpx.AsyncClient) -> None:
    params = {"unit": "H31.137", "from": "2026-06", "to": "2026-09"}
    answer = await http.get("/v1/trends", params=params)
    assert answer.status_code == 200, answer.text
    periods = answer.json()["periods"]
    assert [each["period"]["key"] for each in periods] == ["2026-06", "2026-07", "2026-08", "2026-09"]
    assert [each["dossiers"] for each in periods] == [0, 0, 2, 0]
    for each in periods:
        for group in each["groups"]:
            own = (
                await http.get(
                    f"/v1/indicators/{group['group']}",
                    params={"unit": "H31.137", "period": each["period"]["key"]},
                )
            ).json()
            assert (group["points"], group["rating"]) == (own["score"], own["rating"])
            assert each["rule_set"] == own["rule_set"]["id"]
            assert group["components"] == [
                {key: one[key] for key in group["components"][0]} for one in own["components"]
            ]
    tag = {"If-None-Match": answer.headers["etag"]}
    assert (await http.get("/v1/trends", params=params, headers=tag)).status_code == 304


@pytest.mark.parametrize(
    ("params", "keys"),
    [
        ({}, ("2025-12", "2026-11", 12)),
        ({"to": "2022-08"}, ("2022-06", "2022-08", 3)),  # no rule set before
        ({"from": "2026-Q1"}, ("2026-Q1", "2026-Q4", 4)),
        ({"from": "2025", "to": "2026"}, ("2025", "2026", 2)),
    ],
)
async def test_which_periods_a_trend_has(
    http: httpx.AsyncClient, params: dict[str, str], keys: tuple[str, str, int]
) -> None:
    found = [
        each["period"]["key"] for each in (await http.get("/v1/trends", params=params)).json()["periods"]
    ]
    assert (found[0], found[-1], len(found)) == keys


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-08", "to": "2026"},
        {"from": "2026-08", "to": "2026-07"},
        {"from": "2022-01"},
        {"to": "2027"},
        {"from": "x"},
    ],
)
async def test_a_trend_that_cannot_be(http: httpx.AsyncClient, params: dict[str, str]) -> None:
    answer = await http.get("/v1/trends", params=params)
    assert answer.status_code == 422
    assert answer.json()["detail_vi"]


@pytest.mark.parametrize("unit", ["H31", "H31.137", "H31.16", "H31.139"])
async def test_points_to_win_with_the_dossiers_to_begin_with(http: httpx.AsyncClient, unit: str) -> None:
    params = {"unit": unit, "period": "2026-08"}
    answer = await http.get("/v1/opportunities", params=params)
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    assert answer.json()["note"].startswith("Kỳ 2026-08 đã kết thúc")
    running = (await http.get("/v1/opportunities", params={"unit": unit})).json()
    assert (running["note"], running["period"]["running"]) == (None, True)
    assert bool(items) is (unit != "H31.139")
    each = [Decimal(item["points_per_subject"]) for item in items]
    assert each == sorted(each, reverse=True)
    for item in items:
        path = f"/v1/indicators/{item['group']}"
        own = (await http.get(path, params=params)).json()
        component = next(one for one in own["components"] if one["id"] == item["component"])
        assert Decimal(component["points"]) + Decimal(item["own"]) <= Decimal(component["max"])
        assert 0 < item["subjects"] <= item["winnable"] <= component["denominator"] - component["numerator"]
        assert Decimal(item["points"]) == Decimal(item["own"]) + sum(
            Decimal(along["points"]) for along in item["along"]
        )
        shortfall = await http.get(
            f"{path}/{item['component']}/items", params={**params, "part": "shortfall"}
        )
        behind = {one["code"] for one in shortfall.json()["items"]}
        assert item["first"]
        past = item["component"] in ("1.1", "1.2", "2.1", "5.2", "5.3", "5.4")
        assert (item["only_if_data_wrong"], bool(item["caveat"])) == (past, past)
        assert not past or item["caveat"].startswith("Chỉ khi số liệu ghi sai")
        if item["subject"] == "dossier":
            assert set(item["first"]) <= behind
            assert len(item["first"]) == item["subjects"]
    tag = {"If-None-Match": answer.headers["etag"]}
    assert (await http.get("/v1/opportunities", params=params, headers=tag)).status_code == 304
