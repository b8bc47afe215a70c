"""Reads a table (XLSX, CSV) in a process of its own, and hands over the columns that are asked for.

A script that knows nothing of the services: `python -P reader.py FD`. A file from outside can be a bomb (a small
archive that unpacks to terabytes, one cell in the last corner of a sheet that makes the whole sheet be laid out in
memory), so it is opened where memory and time are bounded by the system; all that can die of it is this process.
Columns that nobody asks for, above all those with citizens' data, never leave it, but for the rows that may be a
header.

Frames on stdout: four bytes of length, then MessagePack. One `Sheet` per sheet; the answer on stdin is a line of JSON:
`null` (the next sheet, please) or `[columns, after]`; then batches of `[row number, cells…]`, then an empty one. An
error is a text: one of the keys of `table.PROBLEMS`.
"""

from __future__ import annotations

import csv
import io
import os
import resource
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import msgspec
import python_calamine

MEMORY = 3 * 1024**3
SECONDS = 600
"""Of processor time."""
UNPACKED = 1536 * 1024**2
"""Bytes of all parts of a workbook together, as the archive tells them; MEMORY bounds what it does not tell."""
PARTS = 5000
FIELD = 1_000_000
"""Characters of one cell of a CSV; beyond it a quotation mark was left open."""
CELL = 4000
"""Characters of a cell that are handed over: more than any field of ours takes."""
HEAD = 60
"""Rows among which the header is looked for."""
WIDTH = 400
"""Columns among which it is looked for."""
BATCH = 2000
DELIMITERS = ",;\t|"

Row = list[Any]


class Sheet(msgspec.Struct, array_like=True):
    """`offset`: columns left of the sheet's first cell. `rows`: of the whole sheet. `head`: [row number, cells]."""

    offset: int
    rows: int
    head: list[tuple[int, Row]]


class Refused(Exception):
    """The key of a problem."""


_encode = msgspec.msgpack.Encoder().encode


def _send(what: object) -> None:
    body = _encode(what)
    sys.stdout.buffer.write(struct.pack(">I", len(body)))
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def main(descriptor: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            _serve(file)
    except Refused as refused:
        _send(str(refused))
    except MemoryError:
        _send("too_large")
    except (python_calamine.CalamineError, zipfile.BadZipFile):
        _send("damaged")


def _serve(file: BinaryIO) -> None:
    for offset, total, rows in _sheets(file):
        _send(Sheet(offset, total, list(_head(rows()))))
        answer = msgspec.json.decode(sys.stdin.buffer.readline() or b"null")
        if answer is not None:
            _hand_over(rows(), *answer)
            return


def _sheets(file: BinaryIO) -> Iterator[tuple[int, int, Callable[[], Iterable[Row]]]]:
    """(columns left of the first cell, rows, all rows from the sheet's first one on) of each sheet."""
    beginning = file.read(8)
    file.seek(0)
    if beginning.startswith(b"PK\x03\x04"):
        yield from _workbook(file)
    elif beginning.startswith(b"\xd0\xcf\x11\xe0"):
        raise Refused("old_excel")
    else:
        yield _text(file)


def _workbook(file: BinaryIO) -> Iterator[tuple[int, int, Callable[[], Iterable[Row]]]]:
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
    if "xl/workbook.xml" not in {part.filename for part in parts}:
        raise Refused("no_table")
    if len(parts) > PARTS or sum(part.file_size for part in parts) > UNPACKED:
        raise Refused("too_large")
    file.seek(0)
    with python_calamine.CalamineWorkbook.from_path(f"/dev/fd/{file.fileno()}") as book:
        for number, about in enumerate(book.sheets_metadata):
            if (
                about.visible is python_calamine.SheetVisibleEnum.Visible
                and about.typ is python_calamine.SheetTypeEnum.WorkSheet
            ):
                sheet = book.get_sheet_by_index(number)
                start, end = sheet.start or (0, 0), sheet.end or (-1, 0)
                yield start[1], end[0] + 1, sheet.iter_rows


def _text(file: BinaryIO) -> tuple[int, int, Callable[[], Iterable[Row]]]:
    """A CSV, read through once before anything is handed over: what is wrong with it shows before a row is stored."""
    start = file.read(256 * 1024)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refused("no_utf8")
    if b"\0" in start or start.startswith(b"%PDF"):
        raise Refused("no_table")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise Refused("html")
    if not start.strip():
        raise Refused("empty")
    csv.field_size_limit(FIELD)
    delimiter = _delimiter(start.decode("utf-8-sig", errors="replace"))

    def rows() -> Iterable[Row]:
        file.seek(0)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            yield from csv.reader(text, delimiter=delimiter)
        finally:
            text.detach()

    try:
        return 0, sum(1 for _ in rows()), rows
    except UnicodeDecodeError:
        raise Refused("no_utf8") from None
    except csv.Error:
        raise Refused("damaged") from None


def _delimiter(start: str) -> str:
    """The sign that cuts most rows into equally many cells: a header and its data agree, commas in texts do not."""

    def agreement(sign: str) -> tuple[int, int]:
        lines = start.splitlines(keepends=True)[: HEAD * 2]
        try:
            widths = Counter(len(row) for row in csv.reader(lines, delimiter=sign) if len(row) > 1)
        except csv.Error:
            return 0, 0
        return max(((count, width) for width, count in widths.items()), default=(0, 0))

    return max(DELIMITERS, key=agreement)


def _head(rows: Iterable[Row]) -> Iterator[tuple[int, Row]]:
    found = 0
    for number, row in enumerate(rows, 1):
        if any(row):
            yield number, [_short(cell) for cell in row[:WIDTH]]
            found += 1
            if found == HEAD:
                return


def _short(cell: Any) -> Any:
    return cell[:CELL] if type(cell) is str and len(cell) > CELL else cell


def _hand_over(rows: Iterable[Row], columns: list[int], after: int) -> None:
    width = max(columns) + 1
    batch: list[Row] = []
    for number, row in enumerate(rows, 1):
        if number <= after:
            continue
        if len(row) < width:
            row = [*row, *[""] * (width - len(row))]
        cells = [row[column] for column in columns]
        if any(cells):
            batch.append([number, *map(_short, cells)])
            if len(batch) == BATCH:
                _send(batch)
                batch = []
    if batch:
        _send(batch)
    _send([])


if __name__ == "__main__":
    main(int(sys.argv[1]))
