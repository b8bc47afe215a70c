"""Imports of procedures, units and predecessors, with the real files where they are beside the project."""

from __future__ import annotations

import csv
import itertools
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import import_files, import_runs, imports, service
from services.ingest.files.units import ListedUnit, Predecessor, names, predecessors
from services.ingest.import_files import Asked
from services.ingest.unit_spans import merged
from shared.db import session_scope
from shared.errors import Invalid
from shared.settings import Settings
from shared.vocabulary import Mark, Portal, UnitLevel
from tests import make, sheets
from tests.make import NOW
from tests.portals import rows

DATA = Path(__file__).parents[3] / "shared" / "data"


def real(name: str) -> bytes:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is not there")
    return path.read_bytes()


async def load(
    engine: AsyncEngine, settings: Settings, data: bytes, kind: Any, **asked: Any
) -> dict[str, Any]:
    """The run's row, and what its dry run said before."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        wanted = Asked(kind=kind, by="test", **asked)
        async with import_files.understood(file, wanted, settings) as understood:
            tried = await imports.dry_run(understood)
        async with import_files.understood(file, wanted, settings) as understood:
            async with session_scope(engine) as session:
                run_id, _ = await import_runs.register(session, understood)
            await imports.work_off(engine, understood, run_id)
    (row,) = await rows(
        engine,
        f"SELECT state, items, accepted, unchanged, rejected, report FROM import_run WHERE id = {run_id}",
    )
    return dict(row._mapping) | {"tried": tried}


# --- procedures ---------------------------------------------------------------------------------------------

TTHC = ["Mã số", "Tên", "Cơ quan ban hành", "Cơ quan thực hiện", "Lĩnh vực"]


def export(*procedures: tuple[Any, ...]) -> bytes:
    return sheets.xlsx(procedures, header=TTHC, title="DANH SÁCH THỦ TỤC HÀNH CHÍNH", sheet="Danh sách TTHC")


async def procedures(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    found = await rows(
        engine,
        "SELECT code, name, publisher, field_name, listed_at IS NOT NULL, withdrawn_at IS NOT NULL"
        " FROM procedure ORDER BY code",
    )
    return [tuple(row) for row in found]


async def test_the_national_export_in_its_true_form(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.procedure(session, "1.001612", name="Tên của CSDLQG", field_name=None, publisher="G12")
        await make.procedure(session, "1.000001", name="Tên trong danh sách", record_at=None, field_name=None)
    data = export(
        (
            "1.001612",
            "\tTên  khác \n của tệp ",
            "Bộ Tài chính",
            "Ủy ban nhân dân cấp xã\nThuế cơ sở",
            "Thuế ",
        ),
        ("1.000001", "Tên khác", "Bộ Công an", "", "Cư trú"),
        (1.015027, "Xét hưởng\nchế độ  trợ cấp", " Bộ Công an", "Ủy ban nhân dân cấp xã\n", " Chính sách"),
        ("2.000480.000.00.00.H31", "Có phần đuôi", "", "", ""),
        ("2.00048", "Mã hỏng", "", "", ""),
        (2.00048, "Mã hỏng vì là số", "", "", ""),
        ("1.000009", "", "", "", ""),
    )
    run = await load(engine, settings, data, "procedures")
    assert (run["state"], run["items"], run["accepted"], run["rejected"]) == ("done", 7, 4, 3)
    assert [(item["row"], item["field"]) for item in run["report"]["refusals"]] == [
        (7, "code"),
        (8, "code"),
        (9, "name"),
    ]
    assert run["report"]["refusals"] == run["tried"]["refusals"]
    assert await procedures(engine) == [
        ("1.000001", "Tên trong danh sách", "Bộ Công an", "Cư trú", True, False),
        ("1.001612", "Tên của CSDLQG", "G12", "Thuế", True, False),
        ("1.015027", "Xét hưởng chế độ trợ cấp", "Bộ Công an", "Chính sách", False, False),
        ("2.000480", "Có phần đuôi", None, None, False, False),
    ]
    assert [row.code for row in await rows(engine, "SELECT code FROM change, unnest(codes) AS code")] == [
        "procedures"
    ]


async def test_only_a_complete_list_withdraws(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.procedure(session, "1.000001")
    one = ("1.001612", "Một", "", "", "")
    await load(engine, settings, export(one), "procedures")
    assert [row[4:] for row in await procedures(engine)] == [(True, False), (False, False)]
    broken = await load(engine, settings, export(one, ("x", "Hai", "", "", "")), "procedures", complete=True)
    assert broken["report"]["complete"] is False
    assert [row[4:] for row in await procedures(engine)] == [(True, False), (False, False)]
    run = await load(engine, settings, export(one), "procedures", complete=True)
    assert (run["report"]["complete"], run["report"]["withdrawn"]) == (True, 1)
    assert [row[4:] for row in await procedures(engine)] == [(True, True), (True, False)]


async def test_the_real_export(engine: AsyncEngine, settings: Settings) -> None:
    data = real("tthc_csdl_export_sample.csv")
    given = list(csv.reader(data.decode("utf-8-sig").splitlines(keepends=True)))
    run = await load(engine, settings, data, "procedures")
    assert (run["items"], run["accepted"], run["rejected"]) == (123, 123, 0)
    stored = {row[0]: row[1] for row in await procedures(engine)}
    assert stored == {row[1]: " ".join(row[2].split()) for row in given[1:]}
    workbook = export(*(row[1:] for row in given[1:]))
    again = await load(engine, settings, workbook, "procedures")
    assert (again["items"], again["accepted"], again["unchanged"]) == (123, 0, 123)


# --- units --------------------------------------------------------------------------------------------------


def told(since: str, until: str | None = None, name: str = "Xã A", **fields: Any) -> ListedUnit:
    values: dict[str, Any] = {
        "code": "H31.11950",
        "level": UnitLevel.COMMUNE,
        "parent_code": "H31",
        "statistical_code": "11950",
        "successor_code": None,
        "mark": Mark.NOT_VERIFIED,
    }
    until_day = date.fromisoformat(until) if until else None
    return ListedUnit(
        name=name, valid_from=date.fromisoformat(since), valid_to=until_day, **(values | fields)
    )


def days(spans: Any) -> list[tuple[str, str | None, str]]:
    return [(str(span.valid_from), span.valid_to and str(span.valid_to), span.name) for span in spans]


def test_lists_of_two_days() -> None:
    early, late, renamed = told("2023-04-01"), told("2025-03-01"), told("2025-03-01", name="Phường A")
    assert days(merged(merged([], early), late)) == [("2023-04-01", None, "Xã A")]
    assert days(merged(merged([], late), early)) == [("2023-04-01", None, "Xã A")]
    expected = [("2023-04-01", "2025-02-28", "Xã A"), ("2025-03-01", None, "Phường A")]
    assert days(merged(merged([], early), renamed)) == expected
    assert days(merged(merged([], renamed), early)) == expected
    ended = told("2023-04-01", "2025-06-30")
    until = told("2023-04-01", "2025-02-28")
    expected = [("2023-04-01", "2025-02-28", "Xã A"), ("2025-03-01", None, "Xã A")]
    assert days(merged(merged([], until), late)) == expected
    assert days(merged(merged([], late), until)) == expected
    assert days(merged(merged([], early), ended)) == [("2023-04-01", "2025-06-30", "Xã A")]


@given(
    st.lists(
        st.builds(
            told,
            st.sampled_from(["2023-04-01", "2024-01-01", "2025-03-01", "2025-07-01"]),
            st.sampled_from([None, "2025-06-30", "2030-01-01"]),
            st.sampled_from(["Xã A", "Phường A"]),
        ).filter(lambda unit: unit.valid_to is None or unit.valid_to >= unit.valid_from),
        max_size=6,
    )
)
def test_spans_never_overlap_and_repetition_changes_nothing(lists: list[ListedUnit]) -> None:
    spans: Any = []
    for each in lists:
        spans = merged(spans, each)
        assert merged(spans, each) == spans
        for earlier, later in itertools.pairwise(spans):
            assert earlier.valid_to is not None
            assert earlier.valid_from <= earlier.valid_to < later.valid_from


async def units(engine: AsyncEngine, where: str = "true") -> list[tuple[Any, ...]]:
    found = await rows(
        engine,
        "SELECT code, name, level, parent_code, statistical_code, successor_code, valid_from::text, valid_to::text"
        f" FROM unit WHERE {where} ORDER BY code, valid_from",
    )
    return [tuple(row) for row in found]


async def aliases(engine: AsyncEngine) -> dict[tuple[str, str | None], str]:
    found = await rows(engine, "SELECT name, valid_to::text, unit_code FROM unit_alias")
    return {(row[0], row[1]): row[2] for row in found}


async def test_units_of_a_file_and_what_came_before_is_resolved_again(
    engine: AsyncEngine, settings: Settings
) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        head = make.head("HS-1", agency_code=None, unit_name="UBND xã Mễ Sở")
        await service.accept(
            session, portal=Portal.NATIONAL, via="list", door="x", sender="x", now=NOW, heads=[head]
        )
    header = ["Mã", "Tên đơn vị", "Loại", "Mã thống kê", "Từ ngày", "Đến ngày", "Mã cấp trên"]
    data = sheets.text(
        [
            ["H31.135", "UBND phường Phố Hiến khác", "Phường", "11953", "", "", ""],
            ["H31.150", "UBND xã Mễ Sở", "Xã", "12049", "01/07/2025", "", "H31"],
            ["000.00.36.H31", "Sở Nông nghiệp và Môi trường", "Sở", "", "", "", ""],
            ["", "Huyện Văn Giang", "", "326", "2023-04-01", "30/06/2025", ""],
            ["", "Xã Không Mã", "", "", "", "", ""],
            ["H31.151", "Không rõ cấp", "", "", "", "", ""],
            ["H31.152", "Xã B", "", "", "02/07/2025", "01/07/2025", ""],
        ],
        header=header,
    )
    run = await load(engine, settings, data, "units")
    assert (run["state"], run["items"], run["rejected"]) == ("done", 7, 3)
    assert [(item["row"], item["field"]) for item in run["report"]["refusals"]] == [
        (6, "code"),
        (7, "level"),
        (8, "valid_to"),
    ]
    assert await units(engine, "source = 'import' OR code = 'H31.135'") == [
        ("H31.00326", "Huyện Văn Giang", "district", "H31", "326", None, "2023-04-01", "2025-06-30"),
        ("H31.135", "UBND phường Phố Hiến", "commune", "H31", "11953", None, "2025-07-01", None),
        ("H31.150", "UBND xã Mễ Sở", "commune", "H31", "12049", None, "2025-07-01", None),
        ("H31.36", "Sở Nông nghiệp và Môi trường", "department", "H31", None, None, "2025-07-01", None),
    ]
    assert run["report"]["resolved_again"] == 1
    assert [row[0] for row in await rows(engine, "SELECT unit_code FROM dossier")] == ["H31.150"]
    assert (await load(engine, settings, data + b"\n", "units"))["accepted"] == 0


async def test_units_through_the_years(engine: AsyncEngine, settings: Settings) -> None:
    """The communes of 2023 and of early 2025, today's, and who became what."""
    today = real("hungyen_unit_codes_H31.csv")
    before = real("hungyen_dvhc_2023-04.csv"), real("hungyen_dvhc_2025-03.csv")
    run = await load(engine, settings, today, "units")
    assert (run["items"], run["rejected"], run["report"]["ambiguous"]) == (111, 0, [])
    ended = date(2025, 6, 30)
    spans = (date(2023, 4, 1), date(2025, 2, 28)), (date(2025, 3, 1), ended)
    for data, (since, until) in zip(before, spans, strict=True):
        run = await load(engine, settings, data, "units", valid_from=since, valid_to=until)
        assert run["rejected"] == 0
    assert len(await units(engine, "level = 'district' AND valid_to = '2025-06-30'")) == 10
    assert len(await units(engine, "level = 'commune' AND valid_to = '2025-06-30'")) == 139
    assert len(await units(engine, "valid_from = '2023-04-01' AND valid_to = '2025-02-28'")) > 20, (
        "merged in 2024"
    )
    run = await load(engine, settings, real("hungyen_xaphuong_truoc_sap_nhap.csv"), "predecessors")
    assert (run["items"], run["rejected"]) == (104, 0)
    assert run["report"]["successors"] > 100
    names = await aliases(engine)
    assert names["Xã Ngọc Lâm", "2025-06-30"] == names["UBND phường Đường Hào", None]
    assert {"Xã Hòa Bình", "Xã Ngọc Thanh", "Xã Tân Hòa", "Xã Lạc Đạo"} <= set(run["report"]["ambiguous"])
    assert ("Xã Hòa Bình", "2025-06-30") not in names
    assert names["Xã Tân Hòa, huyện Vũ Thư", "2025-06-30"] == names["UBND phường Thái Bình", None]
    lam_son = (await units(engine, "name = 'Phường Lam Sơn'"))[-1]
    assert lam_son[5] == names["UBND phường Sơn Nam", None]
    async with session_scope(engine) as session:
        heads = [
            make.head(f"HS-{n}", agency_code=None, unit_name=name, received_at=make.moment(day))
            for n, (name, day) in enumerate(
                [
                    ("UBND xã Ngọc Lâm", "2024-05-05"),
                    ("UBND xã Ngọc Lâm", "2025-08-05"),
                    ("UBND xã Hòa Bình", "2024-05-05"),
                    ("UBND xã Hòa Bình (huyện Kiến Xương)", "2024-05-05"),
                ]
            )
        ]
        await service.accept(
            session, portal=Portal.NATIONAL, via="list", door="x", sender="x", now=NOW, heads=heads
        )
    placed = [row[0] for row in await rows(engine, "SELECT unit_code FROM dossier ORDER BY code")]
    today_s = {row[1]: row[0] for row in await units(engine, "valid_to IS NULL")}
    assert placed == [
        today_s["UBND phường Đường Hào"],
        today_s["UBND xã Ngọc Lâm"],
        None,
        today_s["UBND xã Quang Lịch"],
    ]


async def test_predecessors_of_units_that_are_not_known(engine: AsyncEngine, settings: Settings) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    data = sheets.xlsx(
        [
            ("H31.135", "Phường Phố Hiến", "Phường An Tảo, Xã Chung và phần còn lại của Xã Vụn"),
            ("", "Phường Sơn Nam", "Phường Lam Sơn, Xã Chung"),
            ("99999", "Xã Không Có", "Xã X"),
            ("H31.16", "Sở Công Thương", "không có tên nào"),
        ],
        header=["Mã", "Tên", "Trước sáp nhập"],
    )
    run = await load(engine, settings, data, "predecessors")
    assert (run["items"], run["rejected"]) == (4, 2)
    assert sorted((item["row"], item["field"]) for item in run["report"]["refusals"]) == [
        (5, "code"),
        (6, "predecessors"),
    ]
    assert run["report"]["ambiguous"] == ["Xã Chung", "Xã Vụn"]
    found = await aliases(engine)
    assert {name: code for (name, until), code in found.items() if until == "2025-06-30"} == {
        "Phường An Tảo": "H31.135",
        "Phường Lam Sơn": "H31.136",
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            "Phường Dị Sử, Xã Tân Hòa (huyện Vũ Thư)",
            [("Phường Dị Sử", None, True), ("Xã Tân Hòa", "huyện Vũ Thư", True)],
        ),
        (
            "Xã Bảo Khê và phần còn lại củ Xã Ngọc Thanh",
            [("Xã Bảo Khê", None, True), ("Xã Ngọc Thanh", None, False)],
        ),
        (
            "Xã Đại Đồng, phần còn lại của xã Xã Đình Dù và Xã Lạc Đạo",
            [("Xã Đại Đồng", None, True), ("Xã Đình Dù", None, False), ("Xã Lạc Đạo", None, False)],
        ),
        (
            "Xã Minh Hải và một phần diện tích tự nhiên, quy mô dân số của  Xã Lạc Đạo",
            [("Xã Minh Hải", None, True), ("Xã Lạc Đạo", None, False)],
        ),
        ("Thị trấn Văn Giang.", [("Thị trấn Văn Giang", None, True)]),
        ("toàn bộ", []),
    ],
)
def test_lists_of_predecessors(told: str, expected: list[tuple[str, str | None, bool]]) -> None:
    assert predecessors(told) == [Predecessor(*each) for each in expected]


def test_a_name_that_a_second_unit_bears_means_neither() -> None:
    found = names(
        [
            ("H31.1", [Predecessor("Xã A", None, True), Predecessor("Xã B", "huyện X", True)]),
            ("H31.2", [Predecessor("Xã a", None, True), Predecessor("Xã C", None, True)]),
        ]
    )
    assert found.aliases == [("Xã B, huyện X", "H31.1"), ("Xã C", "H31.2")]
    assert found.ambiguous == ["Xã A", "Xã B"]


async def test_a_list_is_taken_as_a_whole_or_not_at_all(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "LIST_LIMIT", 3)
    data = export(*((f"1.00000{n}", "Tên", "", "", "") for n in range(4)))
    with pytest.raises(Invalid):
        await load(engine, settings, data, "procedures")
    assert await procedures(engine) == []
