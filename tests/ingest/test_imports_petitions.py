"""Petitions from a file, as XLSX and CSV."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import session_scope
from shared.settings import Settings
from tests import make, sheets
from tests.ingest.test_imports_lists import load
from tests.make import moment
from tests.portals import rows

HEADER = [
    "STT", "Mã PAKN", "Loại PAKN", "Người gửi", "Số điện thoại", "Nội dung", "Mã hồ sơ", "Cơ quan xử lý", "Ngày gửi",
    "Ngày tiếp nhận", "Ngày trả lời", "Ngày công khai", "Lượt thích", "Lượt không thích", "Cột lạ",
]  # fmt: skip


def petition(n: int, **cells: Any) -> list[Any]:
    values: dict[str, Any] = {
        "STT": n,
        "Mã PAKN": f"PAKN.{n}",
        "Loại PAKN": "Hành vi hành chính",
        "Người gửi": sheets.MARK,
        "Số điện thoại": "0912345678",
        "Nội dung": sheets.MARK,
        "Mã hồ sơ": "H31.135-260720-0007",
        "Cơ quan xử lý": "UBND phường Phố Hiến",
        "Ngày gửi": datetime(2026, 8, 3, 9),  # noqa: DTZ001 - a spreadsheet knows no zones
        "Ngày tiếp nhận": "04/08/2026 10:00",
        "Ngày trả lời": "",
        "Ngày công khai": "",
        "Lượt thích": 2,
        "Lượt không thích": "",
        "Cột lạ": sheets.MARK,
    }
    return list((values | cells).values())


@pytest.mark.parametrize("form", ["xlsx", "csv"])
async def test_a_file_of_petitions(engine: AsyncEngine, settings: Settings, form: str) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
    table = [
        petition(1),
        petition(
            2, **{"Loại PAKN": "Thủ tục hành chính", "Mã hồ sơ": "", "Ngày trả lời": "06/08/2026 08:00"}
        ),
        petition(3, **{"Loại PAKN": "Chuyện khác hẳn"}),
        petition(4, **{"Ngày gửi": "31/02/2026"}),
        petition(5, **{"Mã PAKN": sheets.MARK}),
        petition(6, **{"Ngày trả lời": "06/08/2027"}),
    ]
    data = sheets.xlsx(table, header=HEADER) if form == "xlsx" else sheets.text(table, header=HEADER)
    run = await load(engine, settings, data, "petitions")
    assert (run["state"], run["items"], run["accepted"], run["rejected"]) == ("done", 6, 2, 4)
    assert (run["tried"]["accepted"], run["tried"]["rejected"]) == (2, 4)
    assert [each["field"] for each in run["report"]["refusals"]] == ["kind", "sent_at", "code", "handled_at"]
    why = {column["header"]: column["why"] for column in run["report"]["columns"] if column["why"]}
    assert why == {
        "Người gửi": "citizen",
        "Số điện thoại": "citizen",
        "Nội dung": "free_text",
        None: "unknown",
    }
    stored = await rows(
        engine,
        "SELECT code, kind, dossier_code, unit_code, sent_at, received_at, handled_at, likes, via FROM petition"
        " ORDER BY code",
    )
    sent, received = moment("2026-08-03 09:00"), moment("2026-08-04 10:00")
    assert [tuple(row) for row in stored] == [
        ("PAKN.1", "staff", "H31.135-260720-0007", "H31.135", sent, received, None, 2, "import"),
        ("PAKN.2", "tthc", None, "H31.135", sent, received, moment("2026-08-06 08:00"), 2, "import"),
    ]
    again = await load(engine, settings, data + (b"\n" if form == "csv" else b""), "petitions", again=True)
    assert (again["accepted"], again["unchanged"]) == (0, 2)
    kept = str(await rows(engine, "SELECT * FROM quarantine")) + str(
        await rows(engine, "SELECT * FROM petition")
    )
    assert sheets.MARK not in kept
    assert "0912345678" not in kept


async def test_the_newer_export_wins_whichever_comes_first(engine: AsyncEngine, settings: Settings) -> None:
    older, newer = (
        (sheets.xlsx([petition(1, **{"Lượt thích": likes})], header=HEADER), moment(day))
        for likes, day in ((1, "2026-09-01"), (5, "2026-10-01"))
    )
    run = await load(engine, settings, newer[0], "petitions", exported_at=newer[1])
    assert run["accepted"] == 1
    await load(engine, settings, older[0], "petitions", exported_at=older[1])
    counts = await rows(engine, "SELECT accepted, stale FROM import_run ORDER BY id")
    assert [tuple(row) for row in counts] == [(1, 0), (0, 1)]
    assert [tuple(row) for row in await rows(engine, "SELECT likes FROM petition")] == [(5,)]
