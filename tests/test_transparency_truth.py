"""The procedures of the sandbox through the real pulls: the figures that are counted from the catalogue are what the
sandbox knows to be true, for every unit and period, and the items behind each are as many as it says."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import boards, catalogue, main, queries
from services.indicators.queries import Scope
from services.indicators.rules.catalogue import part_of
from services.indicators.rules.measures import MEASURES
from services.ingest import pull
from services.sandbox import decisions, features
from services.sandbox.facts import Procedure, procedure_by_code, procedures
from services.sandbox.facts import units as sandbox_units
from services.sandbox.world import World
from shared.calendar import Period
from shared.db import driver, session_scope
from shared.dossier_components import COUNTS
from shared.identifiers import unit_name_key
from shared.settings import Settings
from shared.vocabulary import Basis, Portal, ProcedureFact, Subject
from tests import make
from tests.make import NOW
from tests.portals import sandbox

PERIODS = [
    Period.parse(key)
    for key in (
        "2024-05",
        "2024-Q2",
        "2024",
        "2025-07",
        "2025-08",
        "2025-09",
        "2025",
        "2026-03",
        "2026-Q1",
        "2026",
    )
]
USED = {
    "H31.135": ("1.001612", "2.000815"),
    "H31.16": ("2.000001", "1.001612"),
    "H31.903": ("2.000815",),
}


def within(day: str | None, period: Period) -> bool:
    return day is not None and period.first_day <= date.fromisoformat(day) <= period.last_day


def own(truth: list[dict[str, Any]], period: Period) -> dict[str, tuple[int, int]]:
    """1.1–1.3 as they must come out: of what the record does not tell, it is known only that it was public when it was
    looked at first, too late for every decision."""
    announced = [row for row in truth if within(row["decided_on"], period)]
    published = [
        row
        for row in truth
        if within(row["public_until"], period) or (row["told"] and within(row["public_on"], period))
    ]
    return {
        "1.1": (sum(row["on_time"] for row in announced), len(announced)),
        "1.2": (sum(row["public_on_time"] and row["told"] for row in published), len(published)),
        "1.3": (sum(row["complete"] for row in truth), len(truth)),
    }


def mine(procedure: Procedure, code: str, level: str) -> bool:
    """Whether a unit carries a procedure out."""
    if not decisions.is_public(procedure):
        return False
    levels = decisions.national_levels(procedure)
    if level == "2":
        return "province" in levels and procedure.department == code
    return level == "1" or "commune" in levels


async def test_figures_are_what_is_true(engine: AsyncEngine, settings: Settings) -> None:
    world = World(size=0, anchor=NOW)
    with sandbox(settings, world) as there:
        for subject in (Subject.UNITS, Subject.PROCEDURES):
            await pull.run_one(engine, there, Portal.NATIONAL, subject)
    truth: Any = world.truth()["publications"]
    assert len({(row["on_time"], row["public_on_time"], row["told"]) for row in truth}) >= 6
    async with session_scope(engine) as session:
        await _store_online(session)
        tree = await queries.units(session)
        seen = await catalogue.seen(session, units=tree)
        units = [unit.code for unit in sandbox_units()]
        counted = await boards.figures(session, basis=Basis.COUNTED, periods=PERIODS, units=units)
        board = catalogue.added_to_all(counted, seen, tree)
        for unit in sandbox_units():
            competence = [each for each in procedures() if mine(each, unit.code, unit.level)]
            services = {each.code for each in competence if features.online_level(each)}
            below = {code for key, codes in USED.items() for code in codes if key.startswith(unit.code)}
            for period in PERIODS:
                expected = own(truth, period) | {
                    "3.1": (len(services), len(competence)),
                    "3.2": (len(services & below) if period.key == "2026" else 0, len(services)),
                }
                figures = board[boards.Place(unit.code, period.key)]
                scope = Scope(Basis.COUNTED, period, unit.code)
                for component, pair in expected.items():
                    measure = MEASURES[component]
                    found = figures.measured[measure.numerator], figures.measured[measure.denominator]
                    assert found == pair, (component, unit.code, period.key)
                    behind = catalogue.behind(seen, measure, figures, scope)
                    assert len(part_of(behind, "numerator")) == pair[0]
                    assert len({each.listed.code for each in behind}) == len(behind) == pair[1]
        assert len({procedure_by_code()[code].department for codes in USED.values() for code in codes}) > 1


async def _store_online(session: Any) -> None:
    columns = ", ".join(COUNTS)
    ones = ", ".join("1" for _ in COUNTS)
    for unit, codes in USED.items():
        for code in codes:
            await (await driver(session)).execute(
                f"INSERT INTO tally (basis, period, unit_code, procedure_code, {columns}, elapsed_seconds,"
                f" working_seconds, changed_at) VALUES ('both', '2026', $1, $2, {ones}, 0, 0, $3)",
                unit,
                code,
                NOW,
            )


async def test_answers(engine: AsyncEngine, settings: Settings) -> None:
    with sandbox(settings, World(size=0, anchor=NOW)) as there:
        for subject in (Subject.UNITS, Subject.PROCEDURES):
            await pull.run_one(engine, there, Portal.NATIONAL, subject)
    async with make.client(engine, settings, *main.routers) as http:
        answer = await http.get("/v1/indicators/transparency", params={"unit": "H31.135", "period": "2025"})
        assert answer.status_code == 200, answer.text
        components = {each["id"]: each for each in answer.json()["components"]}
        assert components["1.2"]["why"].endswith("thủ tục thiếu ngày để xét nên tính là không đúng hạn.")
        assert "nhìn thấy lần đầu" in components["1.2"]["why"]
        for component, each in components.items():
            codes: list[str] = []
            for part in ("numerator", "shortfall"):
                path = f"/v1/indicators/transparency/{component}/items"
                query = {"unit": "H31.135", "period": "2025", "part": part, "limit": 7}
                while True:
                    page = (await http.get(path, params=query)).json()
                    codes += [item["code"] for item in page["items"]]
                    assert all(item["why"] for item in page["items"])
                    if page["next"] is None:
                        break
                    query["cursor"] = page["next"]
                if part == "numerator":
                    assert len(codes) == each["numerator"]
                csv = await http.get(path, params=query | {"cursor": ""}, headers={"Accept": "text/csv"})
                assert csv.text.count("\r\n") - 1 == (
                    each["numerator"] if part == "numerator" else each["denominator"] - each["numerator"]
                )
            assert len(codes) == len(set(codes)) == each["denominator"] > 0
        online = (
            await http.get("/v1/indicators/online-service", params={"unit": "H31.135", "period": "2026"})
        ).json()
        (told,) = online["not_applicable"]
        assert (told["id"], told["max"], online["max"]) == ("3.1", "2", "12")
        assert online["not_computed"] == []
        assert {each["id"] for each in online["components"]} == {"3.2", "3.3"}
        refused = await http.get(
            "/v1/indicators/online-service/3.1/items",
            params={"unit": "H31.135", "period": "2026", "part": "numerator"},
        )
        assert (refused.status_code, refused.json()["field"]) == (404, "component")


async def test_whose_a_procedure_is_must_be_known(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        dept = {"levels": ["province"], "facts": int(ProcedureFact.ONLINE_SERVICE)}
        await make.procedure(session, "1.000001", **dept, performers=["H31.16"])
        await make.procedure(session, "1.000002", **dept, performers=[unit_name_key("Sở Công Thương")])
        await make.procedure(session, "1.000003", **dept, publisher="H15", performers=["H15.20"])
        await make.procedure(session, "1.000004")
    params = {"unit": "H31.16", "period": "2026-08"}
    async with make.client(engine, settings, *main.routers) as http:
        path = "/v1/indicators/online-service"
        answer = await http.get(path, params=params)
        offered = next(each for each in answer.json()["components"] if each["id"] == "3.1")
        assert (offered["numerator"], offered["denominator"], offered["points"]) == (2, 2, "2.00")
        async with session_scope(engine) as session:
            await make.procedure(session, "1.000005", **dept, performers=[unit_name_key("Sở, ban, ngành")])
        tag = {"If-None-Match": answer.headers["etag"]}
        changed = await http.get(path, params=params, headers=tag)
        assert changed.status_code == 200, "the catalogue is another"
        assert {each["id"] for each in changed.json()["not_computed"]} == {"3.1", "3.2"}
        assert changed.json()["not_computed"][0]["why"].startswith("Không tính được: 1 thủ tục cấp tỉnh")
        refused = await http.get(f"{path}/3.1/items", params=params | {"part": "numerator"})
        assert refused.status_code == 404
        province = (await http.get(path, params=params | {"unit": "H31"})).json()
        offered = next(each for each in province["components"] if each["id"] == "3.1")
        assert (offered["numerator"], offered["denominator"]) == (3, 4)
