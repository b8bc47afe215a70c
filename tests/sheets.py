"""Files as offices make them: dossier exports as XLSX and CSV, and other tables."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import xlsxwriter

HEADER = [
    "STT",
    "Mã hồ sơ",
    "Chủ hồ sơ",
    "Số giấy tờ",
    "SĐT",
    "Địa chỉ",
    "Mã TTHC",
    "Đơn vị xử lý",
    "Trạng thái",
    "Hình thức nộp",
    "Ngày nộp",
    "Ngày tiếp nhận",
    "Ngày hẹn trả",
    "Ngày kết thúc xử lý",
    "Ngày trả kết quả",
    "Cột của riêng tệp này",
]
MARK = "MẪU THỊ DÒ"
"""In every citizens' column and in every header that is not ours: it must be found nowhere."""
NUMBER = "034199876543"


def dossier(n: int, month: str, **cells: Any) -> list[Any]:
    """Row n of a month's export, in the order of HEADER; received in the month, finished some days later."""
    year, number = map(int, month.split("-"))
    shuffle = random.Random((year * 100 + number) * 100_000 + n)
    received = datetime(year, number, 1, 8, 0) + timedelta(  # noqa: DTZ001 - a spreadsheet knows no zones
        days=shuffle.randrange(27), minutes=shuffle.randrange(500)
    )
    finished = received + timedelta(days=2, minutes=7)
    values: dict[str, Any] = {
        "STT": n + 1,
        "Mã hồ sơ": f"H31.135-{received:%y%m%d}-{n % 10_000:04d}",
        "Chủ hồ sơ": f"{MARK} {n}",
        "Số giấy tờ": NUMBER,
        "SĐT": "0912345678",
        "Địa chỉ": f"Số 1, {MARK}",
        "Mã TTHC": "1.001612",
        "Đơn vị xử lý": "UBND phường Phố Hiến",
        "Trạng thái": "Đã xử lý xong",
        "Hình thức nộp": "Trực tuyến",
        "Ngày nộp": received,
        "Ngày tiếp nhận": received,
        "Ngày hẹn trả": received + timedelta(days=3),
        "Ngày kết thúc xử lý": finished,
        "Ngày trả kết quả": "",
        "Cột của riêng tệp này": MARK,
    }
    return list((values | cells).values())


def month(name: str, count: int) -> list[list[Any]]:
    return [dossier(n, name) for n in range(count)]


def xlsx(
    rows: Iterable[Sequence[Any]],
    *,
    header: Sequence[str] | None = HEADER,
    title: str | None = "DANH SÁCH HỒ SƠ",
    sheet: str = "Sheet1",
    before: Sequence[str] = (),
    form: str = "dd/mm/yyyy hh:mm:ss",
) -> bytes:
    """A workbook with a merged title above the header. `before`: empty sheets in front of it."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True, "default_date_format": form}) as book:
        for name in before:
            book.add_worksheet(name)
        page = book.add_worksheet(sheet)
        row = 0
        if title is not None:
            page.merge_range(0, 0, 0, max(1, len(header or "xx") - 1), title)
            row = 1
        if header is not None:
            page.write_row(row, 0, header)
            row += 1
        for cells in rows:
            for column, cell in enumerate(cells):
                if isinstance(cell, date | datetime):
                    page.write_datetime(row, column, cell)
                elif cell != "":
                    page.write(row, column, cell)
            row += 1
    return out.getvalue()


def text(
    rows: Iterable[Sequence[Any]],
    *,
    header: Sequence[str] | None = HEADER,
    delimiter: str = ",",
    encoding: str = "utf-8-sig",
) -> bytes:
    """The same as CSV, times as Việt Nam writes them."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    if header is not None:
        writer.writerow(header)
    for cells in rows:
        writer.writerow(
            [f"{cell:%d/%m/%Y %H:%M:%S}" if isinstance(cell, datetime) else cell for cell in cells]
        )
    return out.getvalue().encode(encoding, errors="replace")
