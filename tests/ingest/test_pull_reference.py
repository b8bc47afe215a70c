"""Units and procedures pulled from the sandbox, and what an incomplete or false answer proves: nothing."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import pull, pull_procedures
from services.ingest.portals.http import PortalAway
from services.ingest.service import accept
from services.sandbox import decisions, facts, features
from shared.db import session_scope
from shared.identifiers import unit_name_key
from shared.settings import Settings
from shared.vocabulary import Portal, ProcedureFact, Subject
from tests import make
from tests.make import NOW
from tests.portals import QUICK, Call, at, column, leading_to, ok, rows, sandbox, serving, world

NATIONAL_UNITS = (Portal.NATIONAL, Subject.UNITS)
PROVINCIAL_UNITS = (Portal.PROVINCIAL, Subject.UNITS)
PROCEDURES = (Portal.NATIONAL, Subject.PROCEDURES)


async def test_the_unit_tree(engine: AsyncEngine, settings: Settings) -> None:
    with sandbox(settings, world()) as there:
        await pull.run_one(engine, there, *NATIONAL_UNITS)
        await pull.run_one(engine, there, *NATIONAL_UNITS)
        await pull.run_one(engine, there, *PROVINCIAL_UNITS)
    found = await rows(engine, "SELECT code, name, level, parent_code, mark, valid_from, valid_to FROM unit")
    levels = {"1": "province", "2": "department", "3": "commune"}
    assert {tuple(row) for row in found} == {
        (
            unit.code,
            unit.name,
            levels[unit.level],
            unit.parent or None,
            "not_verified" if unit.invented else "practice",
            date(2025, 7, 1),
            None,
        )
        for unit in facts.units()
    }
    aliases = await rows(engine, "SELECT name, unit_code FROM unit_alias")
    assert {tuple(row) for row in aliases} == {(unit.name, unit.code) for unit in facts.units()}
    runs = await rows(engine, "SELECT state, complete, items, accepted FROM sync_run ORDER BY id")
    count = len(facts.units())
    assert [tuple(run) for run in runs] == [
        ("done", True, count, count),
        ("done", True, count, 0),
        ("done", True, count, 0),
    ]


async def test_units_of_the_provincial_system_alone(engine: AsyncEngine, settings: Settings) -> None:
    with sandbox(settings, world()) as there:
        await pull.run_one(engine, there, *PROVINCIAL_UNITS)
    assert set(await column(engine, "SELECT code FROM unit")) == {unit.code for unit in facts.units()}
    assert await column(engine, "SELECT DISTINCT mark FROM unit") == ["not_verified"]


async def test_dossiers_that_came_first_find_their_unit(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await accept(
            session,
            portal=Portal.SENT,
            via="push",
            door="test",
            sender="test",
            now=NOW,
            heads=[make.head(agency_code=None)],
        )
    assert await column(engine, "SELECT unit_code FROM dossier") == [None]
    with sandbox(settings, world(0)) as there:
        await pull.run_one(engine, there, *NATIONAL_UNITS)
    assert await rows(engine, "SELECT unit_code, unit_via FROM dossier") == [("H31.135", "alias")]


class Nation:
    """A national portal with what a test gives it."""

    def __init__(self) -> None:
        self.units: Any = []
        self.listing: Any = []
        self.records: dict[str, Any] = {}
        self.services: Any = [{"MATTHC": "1.999999"}]
        self.decisions: dict[str, Any] = {}

    def __call__(self, call: Call) -> Any:
        if call.path.endswith("/login"):
            return ok({"error_code": 0, "session": "s"})
        service = call.json["service"]
        if service == "LayThuTuc":
            return self.records.get(call.json["maTTHC"], ok({"error_code": 0, "result": []}))
        if service == "LayQDCB":
            return ok({"error_code": 0, "result": self.decisions.get(call.json["idQDCB"], [])})
        if service == "LayDVC" and not isinstance(self.services, list):
            return self.services
        result = {"LayDanhMucCoQuan": self.units, "LayDanhSachTTHC": self.listing, "LayDVC": self.services}[
            service
        ]
        return ok({"error_code": 0, "result": result})


def unit(code: str, name: str, level: str = "3") -> dict[str, str]:
    return {"MADONVI": code, "TENDONVI": name, "CAPDONVI": level, "MADONVICHA": "", "GHICHU": ""}


async def test_bad_units_and_other_provinces(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation()
    nation.units = [
        unit("H31", "UBND tỉnh Hưng Yên", "1"),
        unit("H31.135", "UBND phường Phố Hiến"),
        unit("H31.136", "UBND phường Phố Hiến"),
        unit("H15.20", "Sở Công Thương", "2"),
        unit("?", "Nơi nào đó"),
    ]
    async with serving(nation) as url:
        here = leading_to(settings, url)
        await pull.run_one(engine, here, *NATIONAL_UNITS, retry=QUICK)
        assert await column(engine, "SELECT code FROM unit ORDER BY 1") == ["H31", "H31.135", "H31.136"]
        # A name that two units bear means neither.
        assert await column(engine, "SELECT unit_code FROM unit_alias") == ["H31"]
        assert await rows(engine, "SELECT complete, rejected FROM sync_run") == [(False, 1)]
        assert await column(engine, "SELECT complete_through FROM sync_state") == [None]
        # A renamed unit keeps the name that it was known by.
        nation.units = [unit("H31", "UBND tỉnh Hưng Yên mới", "1")]
        later = NOW + timedelta(days=1)
        await pull.run_one(engine, at(here, later), *NATIONAL_UNITS, retry=QUICK)
    assert await column(engine, "SELECT name FROM unit WHERE code = 'H31'") == ["UBND tỉnh Hưng Yên mới"]
    assert len(await rows(engine, "SELECT * FROM unit_alias WHERE unit_code = 'H31'")) == 2
    assert len(await rows(engine, "SELECT * FROM unit")) == 3


async def test_procedures_of_the_sandbox(engine: AsyncEngine, settings: Settings) -> None:
    with sandbox(settings, world()) as there:
        await pull.run_one(engine, there, *PROCEDURES)
    listed = {p.code: p for p in facts.procedures() if decisions.is_listed(p)}
    found = {row.code: row for row in await rows(engine, "SELECT * FROM procedure")}
    assert found.keys() == listed.keys()
    for code, procedure in listed.items():
        row = found[code]
        assert row.name == procedure.name
        assert set(row.levels) == set(decisions.national_levels(procedure))
        assert row.public is decisions.is_public(procedure)
        assert (row.max_duration, row.duration_unit) == (procedure.duration, procedure.duration_unit)
        assert (row.field_code, row.field_name) == (procedure.field_code, procedure.field)
        assert row.listed_at == row.record_at == NOW
        assert row.withdrawn_at is None
        assert row.record["MATTHC"] == code
        assert ProcedureFact(row.facts) == expected_facts(procedure)
        public = decisions.is_public(procedure)
        own = features.own_decision(procedure)
        if own and features.tells_days(procedure) and public:
            assert (row.public_since, row.public_since_observed) == (features.public_on(procedure), False)
        else:
            assert (row.public_since, row.public_since_observed) == (NOW.date() if public else None, public)
        decision = procedure.ministry_decision
        assert row.decided_on == (own[1] if own else features.decided_on(decision) if decision else None)
        assert row.effective_on == features.takes_effect_on(procedure)
        department = unit_name_key(facts.unit_by_code()[procedure.department].name)
        assert set(row.performers) == {
            {"province": department, "commune": unit_name_key("Cấp xã")}[level]
            for level in decisions.national_levels(procedure)
        }
    assert await column(
        engine, "SELECT code FROM change, unnest(codes) AS code WHERE consumer = 'reconcile'"
    ) == ["procedures"]
    (run,) = await rows(engine, "SELECT * FROM sync_run")
    assert (run.state, run.complete, run.items, run.total) == ("done", True, len(listed), len(listed))
    assert await column(engine, "SELECT complete_through FROM sync_state") == [NOW]


def expected_facts(procedure: facts.Procedure) -> ProcedureFact:
    level = features.online_level(procedure)
    served = level and decisions.is_public(procedure)
    told = {
        ProcedureFact.ONLINE_CHANNEL: level,
        ProcedureFact.ONLINE_SERVICE: served,
        ProcedureFact.ONLINE_FULL: served and level == features.FULLY,
        ProcedureFact.FEE: procedure.fee,
        ProcedureFact.RESULT: features.has_result(procedure),
        ProcedureFact.PEOPLE: "Công dân Việt Nam" in features.subjects(procedure),
        ProcedureFact.COMPLETE: features.is_complete(procedure),
    }
    return ProcedureFact(sum(fact for fact, holds in told.items() if holds))


def listing(*codes: str) -> list[dict[str, str]]:
    return [{"MATTHC": code, "TENTTHC": f"Thủ tục {code}"} for code in codes]


def details(code: str, days: str = "3", **fields: str) -> Any:
    time = {"THOIGIANGIAIQUYET": days, "DONVITINH": "Ngày"}
    record = {"MATTHC": code, "TENTTHC": f"Thủ tục {code}", "TRANGTHAI": "1"} | fields
    return ok({"error_code": "0", "result": [record | {"CACHTHUCTHUCHIEN": [{"THOIGIAN": [time]}]}]})


async def test_only_a_complete_listing_withdraws(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation()
    codes = ["1.000001", "1.000002", "1.000003"]
    nation.records = {code: details(code) for code in codes}

    async def pulled(hours: int, *listed: Any) -> set[str]:
        nation.listing = list(listed)
        await pull.run_one(engine, at(here, NOW + timedelta(hours=hours)), *PROCEDURES, retry=QUICK)
        return set(await column(engine, "SELECT code FROM procedure WHERE withdrawn_at IS NOT NULL"))

    async with serving(nation) as url:
        here = leading_to(settings, url)
        assert await pulled(0, *listing(*codes)) == set()
        assert await pulled(1, *listing("1.000001"), {"TENTTHC": "Thủ tục"}) == set()
        assert await pulled(2) == set()
        assert await column(engine, "SELECT complete_through FROM sync_state") == [NOW]
        assert await pulled(3, *listing("1.000001", "1.000003")) == {"1.000002"}
        assert await column(engine, "SELECT complete_through FROM sync_state") == [NOW + timedelta(hours=3)]
        assert await pulled(4, *listing(*codes)) == set()


async def test_since_when_a_procedure_has_been_public(engine: AsyncEngine, settings: Settings) -> None:
    """From our first sighting, which later ones leave as it is; anew after it was hidden, gone from the list, or
    published by another decision. No answer and no number prove nothing."""
    nation = Nation()
    hidden = details("1.000001", TRANGTHAI="0")
    unread = ok({"error_code": "-9", "message": "lỗi"})

    def decided(number: str, decision: str) -> Any:
        return details("1.000001", QUYETDINH=number, IDQUYETDINHCONGBO=decision)

    nation.decisions = {"7": [{"SOQUYETDINH": "7/QĐ-BTP", "NGAYQUYETDINH": "06/11/2026"}], "8": []}
    days = [
        (listing("1.000001"), hidden, None, None),
        (listing("1.000001"), details("1.000001"), 1, None),
        (listing("1.000001"), unread, 1, None),
        (listing("1.000001"), decided("6/QĐ-BTP", ""), 1, None),
        (listing("1.000001"), decided("7/QĐ-BTP", "7"), 4, date(2026, 11, 6)),
        (listing("1.000001"), details("1.000001"), 4, None),
        (listing("1.000001"), decided("7/QĐ-BTP", "7"), 4, date(2026, 11, 6)),
        (listing("1.000001"), hidden, None, None),
        (listing("1.000001"), decided("7/QĐ-BTP", "7"), 8, date(2026, 11, 6)),
        (listing("1.000002"), decided("7/QĐ-BTP", "7"), None, date(2026, 11, 6)),
        (listing("1.000001"), decided("8/QĐ-BTP", "8"), 10, None),
    ]
    async with serving(nation) as url:
        here = leading_to(settings, url)
        for n, (listed, record, since, decided_on) in enumerate(days):
            nation.listing, nation.records = listed, {"1.000001": record}
            await pull.run_one(engine, at(here, NOW + timedelta(days=n)), *PROCEDURES, retry=QUICK)
            (row,) = await rows(engine, "SELECT * FROM procedure WHERE code = '1.000001'")
            told = None if since is None else (NOW + timedelta(days=since)).date()
            assert (n, row.public_since, row.decided_on) == (n, told, decided_on)
            assert row.public_since_observed is (since is not None)


async def test_online_services_that_cannot_be_had_stay_as_they_were(
    engine: AsyncEngine, settings: Settings
) -> None:
    nation = Nation()
    nation.listing = listing("1.000001", "1.000002")
    nation.records = {code: details(code) for code in ("1.000001", "1.000002")}
    service = [{"MATTHC": "1.000001.H31", "APDUNGDVC": [{"MUCDO": 4}]}]
    full = ProcedureFact.ONLINE_SERVICE | ProcedureFact.ONLINE_FULL
    async with serving(nation) as url:
        here = leading_to(settings, url)
        for services, bits, told in (
            (service, [full, 0], None),
            ((500, {}, b""), [full, 0], "LayDVC"),
            (ok({"error_code": "-1", "message": "x"}), [full, 0], "LayDVC"),
            ([], [full, 0], "LayDVC"),
            ([{"MATTHC": "1.000002"}], [0, ProcedureFact.ONLINE_SERVICE], None),
        ):
            nation.services = services
            await pull.run_one(engine, here, *PROCEDURES, retry=QUICK)
            assert await column(engine, "SELECT facts FROM procedure ORDER BY code") == bits
            (run,) = await rows(engine, "SELECT * FROM sync_run ORDER BY id DESC LIMIT 1")
            assert (run.state, run.complete) == ("done", True)
            assert (told in run.error) if told else (run.error is None)


async def test_a_broken_row_of_the_list_is_no_reason_to_believe_none_of_it(
    engine: AsyncEngine, settings: Settings
) -> None:
    """Of a row without a name it is known which procedure is listed, and an empty one is of none; only a row that may
    be of any makes the list incomplete, and the run says which."""
    nation = Nation()
    nation.records = {code: details(code) for code in ("1.000001", "1.000002")}
    async with serving(nation) as url:
        here = leading_to(settings, url)

        async def pulled(hours: int, *listed: Any) -> tuple[Any, ...]:
            nation.listing = list(listed)
            await pull.run_one(engine, at(here, NOW + timedelta(hours=hours)), *PROCEDURES, retry=QUICK)
            return tuple(
                (await rows(engine, "SELECT complete, error FROM sync_run ORDER BY id DESC LIMIT 1"))[0]
            )

        await pulled(0, *listing("1.000001", "1.000002", "1.000003", "1.000004"))
        nameless = [{"MATTHC": code, "TENTTHC": None} for code in ("1.000002", "1.000003", "1.000009")]
        empty = [{}, {"MATTHC": "", "TENTTHC": " "}]
        assert await pulled(1, *listing("1.000001"), *nameless, *empty) == (True, None)
        assert await rows(
            engine, "SELECT code, name <> code, unverified, withdrawn_at IS NULL FROM procedure ORDER BY 1"
        ) == [
            ("1.000001", True, False, True),
            ("1.000002", True, False, True),  # its record has told the name
            ("1.000003", True, True, True),
            ("1.000004", True, False, False),
            ("1.000009", False, True, True),
        ]
        complete, error = await pulled(2, *listing("1.000001"), {"MATTHC": "không rõ", "TENTTHC": "Thủ tục"})
        assert not complete
        assert "(positions 1)" in error
        assert "không rõ" not in error
        assert await pulled(3, *listing("1.000001")) == (True, None)


async def test_false_and_failing_details(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation()
    nation.listing = listing("1.000001", "1.000002", "1.000003", "1.000004", "1.000005.H31")
    nation.records = {
        "1.000001": details("1.000001.000.00.00.H31"),
        "1.000002": details("1.009999"),
        "1.000003": (200, {}, b"{"),
        "1.000004": ok({"error_code": "-9", "message": "lỗi"}),
    }
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url), *PROCEDURES, retry=QUICK)
    assert await rows(
        engine, "SELECT code, record_at IS NOT NULL, unverified, withdrawn_at FROM procedure ORDER BY 1"
    ) == [
        ("1.000001", True, False, None),
        ("1.000002", False, True, None),
        ("1.000003", False, False, None),
        ("1.000004", False, False, None),
        ("1.000005", False, False, None),
    ]
    assert await rows(engine, "SELECT state, complete, accepted, rejected FROM sync_run") == [
        ("done", True, 1, 4)
    ]


async def test_a_changed_duration_wakes_its_dossiers(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation()
    nation.listing = listing("1.001612", "1.001193")
    nation.records = {code: details(code) for code in ("1.001612", "1.001193")}
    heads = [
        make.head("H31.135-260803-0001"),
        make.head("H31.135-260803-0002", procedure_code="1.001193"),
    ]
    async with session_scope(engine) as session:
        await accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=NOW, heads=heads
        )
    async with serving(nation) as url:
        here = leading_to(settings, url)
        await pull.run_one(engine, here, *PROCEDURES, retry=QUICK)
        async with session_scope(engine) as session:
            await session.execute(text("DELETE FROM change"))
        nation.records["1.001193"] = details("1.001193", days="5")
        await pull.run_one(engine, here, *PROCEDURES, retry=QUICK)
    assert await rows(engine, "SELECT code, consumer FROM change, unnest(codes) AS code ORDER BY 1") == [
        ("H31.135-260803-0002", "indicators"),
        ("procedures", "reconcile"),
    ]
    assert await column(engine, "SELECT max_duration FROM procedure ORDER BY code") == [
        Decimal(5),
        Decimal(3),
    ]


async def test_a_duration_that_changed_in_a_run_that_failed_wakes_its_dossiers_later(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_procedures, "DETAILS", 1)  # each record is committed by itself
    nation = Nation()
    nation.listing = listing("1.001193", "1.001612")
    nation.records = {"1.001193": details("1.001193"), "1.001612": (503, {}, b"")}
    async with session_scope(engine) as session:
        heads = [make.head(procedure_code="1.001193")]
        await accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=NOW, heads=heads
        )
        await session.execute(text("DELETE FROM change"))
    async with serving(nation) as url:
        here = leading_to(settings, url)
        for _ in range(2):
            with pytest.raises(PortalAway):
                await pull.run_one(engine, here, *PROCEDURES, retry=QUICK)
        nation.records["1.001612"] = details("1.001612")
        await pull.run_one(engine, here, *PROCEDURES, retry=QUICK)
        woken = "SELECT code FROM change, unnest(codes) AS code WHERE consumer = 'indicators'"
        assert await column(engine, woken) == [make.CODE]
        await pull.run_one(engine, here, *PROCEDURES, retry=QUICK)
    assert await column(engine, woken) == [make.CODE], "once"
