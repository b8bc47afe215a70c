"""Files that are not what they should be, and what cells say."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from services.ingest import import_files, imports
from services.ingest.files import cells, columns, dossiers, reader
from services.ingest.files.table import Row
from services.ingest.import_files import Asked
from services.ingest.normalise import Head, Refusal, Refused
from shared.errors import ChisoError, Invalid, TooLarge, Unreadable
from shared.settings import Settings
from shared.vocabulary import Fact, Portal
from tests import sheets
from tests.make import NOW

SETTINGS = Settings(_env_file=None, chiso_now=NOW)
MONTH = sheets.month("2026-08", 3)


async def tried(data: bytes, kind: Any = "dossiers", settings: Settings = SETTINGS) -> dict[str, Any]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        async with import_files.understood(file, Asked(kind=kind, by="test"), settings) as understood:
            return await imports.dry_run(understood)


async def refused(data: bytes, kind: Any = "dossiers") -> ChisoError:
    with pytest.raises(ChisoError) as caught:
        await tried(data, kind)
    return caught.value


def edited(data: bytes, **parts: bytes) -> bytes:
    """A workbook with other parts in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, parts.get(Path(name).stem, old.read(name)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"", Invalid, "không có dữ liệu"),
        (b"  \r\n ", Unreadable, "không có dữ liệu"),
        (b"%PDF-1.7 x", Unreadable, "Không phải tệp Excel"),
        (b"\x89PNG\r\n\x1a\n\0\0", Unreadable, "Không phải tệp Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 600, Unreadable, ".xls"),
        (b"<html><table><tr><td>x</td></tr></table></html>", Unreadable, "HTML"),
        (sheets.text(MONTH, encoding="utf-16"), Unreadable, "UTF-8"),
        (sheets.text(MONTH, encoding="cp1258"), Unreadable, "UTF-8"),
        (sheets.xlsx(MONTH)[:3000], Unreadable, "hỏng"),
        (b"PK\x03\x04" + b"x" * 1000, Unreadable, "hỏng"),
        (edited(sheets.xlsx(MONTH), sheet1=b"<worksheet><sheetData><row"), Unreadable, "hỏng"),
        (b'a,b\n"' + b"x" * 2_000_000, Unreadable, "hỏng"),
    ],
)
async def test_no_table(data: bytes, kind: type[ChisoError], says: str) -> None:
    error = await refused(data)
    assert type(error) is kind
    assert says in error.vi


async def test_another_archive() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    assert "Không phải tệp Excel" in (await refused(out.getvalue())).vi


async def test_a_bomb_is_not_unpacked() -> None:
    """As large as it says: refused before anything is unpacked."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(sheets.xlsx(MONTH))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("xl/media/image1.bin", b"")
        new.getinfo("xl/media/image1.bin").file_size = reader.UNPACKED
    assert type(await refused(out.getvalue())) is TooLarge


async def test_one_cell_in_the_last_corner() -> None:
    """The sheet would be laid out in memory as a whole: only the process that reads it may die of it."""
    corner = (
        b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
        b"</sheetData></worksheet>"
    )
    assert type(await refused(edited(sheets.xlsx(MONTH), sheet1=corner))) is TooLarge


async def test_empty_rows_are_passed_over() -> None:
    rows: list[list[Any]] = [MONTH[0], *[[""] * 16] * 200_000, MONTH[1]]
    said = await tried(sheets.text(rows))
    assert (said["items"], said["last_row"], said["total"]) == (2, 200_003, 200_003)
    header = [sheets.HEADER, *[[""] * 16] * 300]
    said = await tried(sheets.xlsx([*header, MONTH[0], *[[""] * 16] * 20_000, MONTH[1]], header=None))
    assert (said["items"], said["last_row"]) == (2, 20_304)


async def test_no_header_a_missing_column_another_kind() -> None:
    error = await refused(sheets.xlsx(MONTH, header=None))
    assert "Không tìm thấy dòng tiêu đề" in error.vi
    assert "“Mã hồ sơ”" in error.vi
    error = await refused(sheets.xlsx([], header=["Mã hồ sơ", "Trạng thái"]))
    assert error.vi == "Dòng tiêu đề (dòng 2) thiếu cột: “Ngày tiếp nhận”."
    error = await refused(sheets.xlsx([], header=["Mã số", "Tên", "Cơ quan ban hành", "Lĩnh vực"]))
    assert (error.field, error.extra["looks_like"]) == ("kind", "procedures")
    error = await refused(sheets.xlsx(MONTH), kind="procedures")
    assert error.extra["looks_like"] == "dossiers"


async def test_the_header_is_found_by_what_it_says() -> None:
    """On another sheet, below titles, in other letters, between other columns."""
    header = [text.upper() if n % 2 else f" {text}\n(*)" for n, text in enumerate(sheets.HEADER)]
    data = sheets.xlsx(MONTH, header=header, before=("Bìa", "Hướng dẫn"))
    said = await tried(data)
    assert (said["header_row"], said["items"], said["rejected"]) == (2, 3, 0)
    for delimiter in ",;\t|":
        said = await tried(sheets.text(MONTH, delimiter=delimiter, encoding="utf-8"))
        assert (said["items"], said["rejected"]) == (3, 0), delimiter
    cells = ["x", "H31.135-260803-0012", "y", "03/08/2026"]
    twice = await tried(
        sheets.xlsx([cells], header=["Cơ quan", "Mã hồ sơ", "Đơn vị xử lý", "Ngày tiếp nhận"])
    )
    assert [(column["field"], column["why"]) for column in twice["columns"]] == [
        (None, "repeated"),
        ("code", None),
        ("unit_name", None),
        ("received_at", None),
    ]


def test_facts_in_columns_of_their_own() -> None:
    """Yes and no in the words of the configuration, in the protocol's numbers, or as a link, which is not kept."""
    words = columns.read_words()["dossiers"]
    titles = [
        "Mã hồ sơ",
        "Ngày tiếp nhận",
        "Kết quả điện tử",
        "Số hóa hồ sơ",
        "Tái sử dụng",
        "Thanh toán trực tuyến",
    ]
    header = columns.find_header([(1, titles)], words, offset=0)
    assert header is not None
    read = dossiers.reader(header, words, portal=Portal.NATIONAL, exported_at=None, now=NOW)
    known = Fact.RESULT_LINK | Fact.DIGITISED | Fact.REUSED | Fact.PAID_ONLINE

    def row(*told: Any) -> Head | Refusal:
        given = dict(zip(titles, ("H31.135-260803-0012", "03/08/2026", *told), strict=True))
        cells = {name: given[titles[index]] for name, index in header.indexes.items()}
        return read(Row(2, [cells[name] for name in dossiers.fields_of(header)]))

    link = "https://tep.example.vn/NGUYEN-VAN-MAT"
    for told, facts in (
        ((link, "Có", "2", "3"), Fact.RESULT_LINK | Fact.DIGITISED | Fact.REUSED),
        (("không", "", 0, 2.0), Fact.PAID_ONLINE),
        ((True, False, None, "Chưa thanh toán"), Fact.RESULT_LINK),
    ):
        head = row(*told)
        assert isinstance(head, Head)
        assert (Fact(head.facts), Fact(head.facts_known)) == (facts, known)
    wrong = row(link, "Bà Mật", "1", "0")
    assert isinstance(wrong, Refusal)
    assert wrong.field == "digitised"
    assert wrong.dropped == ("facts.digitised",)
    assert wrong.content is not None
    assert {"result_link": True, "reused": True, "paid_online": False}.items() <= wrong.content[
        "facts"
    ].items()


async def test_columns_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "columns.toml"
    shipped = columns.SHIPPED.read_text(encoding="utf-8")
    path.write_text(shipped.replace('code = ["Mã hồ sơ",', 'code = ["Số biên nhận",'), encoding="utf-8")
    settings = SETTINGS.model_copy(update={"import_columns": path})
    header = ["Số biên nhận" if text == "Mã hồ sơ" else text for text in sheets.HEADER]
    assert (await tried(sheets.xlsx(MONTH, header=header), settings=settings))["accepted"] == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "TOMLDecodeError"),
        ("", "has no section"),
        ("[dossiers]\nneeded=[]\nothers=[]\n[dossiers.columns]", "others"),
        ('[dossiers]\nneeded=["codes"]\n[dossiers.columns]', "no field codes"),
        ('[dossiers]\nneeded=["code"]\n[dossiers.columns]', "no header for code"),
        ('[dossiers]\nneeded=[]\n[dossiers.columns]\ncode=["Mã"]\nstatus=["mã"]', "stands for both"),
    ],
)
def test_a_wrong_configuration_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "columns.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Invalid) as caught:
        columns.read_words(path)
    assert says in caught.value.en


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("03/08/2026", "2026-08-03T00:00:00+07:00"),
        ("3/8/2026 9:05", "2026-08-03T09:05:00+07:00"),
        (" 03-08-2026 09:30:15 ", "2026-08-03T09:30:15+07:00"),
        ("09:30 03/08/2026", "2026-08-03T09:30:00+07:00"),
        ("09:30:15 ngày 03/08/2026", "2026-08-03T09:30:15+07:00"),
        ("2026-08-03", "2026-08-03T00:00:00+07:00"),
        ("2026-08-03T09:30:15", "2026-08-03T09:30:15+07:00"),
        ("2026-08-03T02:30:00Z", "2026-08-03T09:30:00+07:00"),
        ("2026-08-03T09:29:59.999999", "2026-08-03T09:30:00+07:00"),
        ("20260803093000", "2026-08-03T09:30:00+07:00"),
        (20260803093000, "2026-08-03T09:30:00+07:00"),
        (46237, "2026-08-03T00:00:00+07:00"),
        (46237.395833333336, "2026-08-03T09:30:00+07:00"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_times(cell: Any, expected: str | None) -> None:
    assert cells.moment(cell, "received_at") == expected


@pytest.mark.parametrize(
    "cell",
    [
        "31/02/2026",
        "08/13/2026",
        "03/08/26",
        "24:00 03/08/2026",
        "hôm qua",
        5,
        1e9,
        True,
        float("nan"),
        "01/01/1970",
    ],
)
def test_no_times(cell: Any) -> None:
    with pytest.raises(Refused) as caught:
        cells.moment(cell, "received_at")
    assert caught.value.field == "received_at"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (" a \n b\t", "a b"),
        ("e\u0302", "ê"),
        (12049.0, "12049"),
        (1.001612, "1.001612"),
        (True, None),
        ("", None),
    ],
)
def test_texts(cell: Any, expected: str | None) -> None:
    assert cells.text(cell) == expected
