"""A table in a file: asks the process that reads it (reader.py) for its sheets and rows."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from services.ingest.files.reader import Sheet
from shared.errors import TooLarge, Unreadable

READER = Path(__file__).with_name("reader.py")

PROBLEMS: dict[str, tuple[str, str]] = {
    "old_excel": (
        "Tệp ở dạng Excel cũ (.xls) hoặc có mật khẩu; hãy mở bằng Excel và lưu lại thành .xlsx không mật khẩu.",
        "an old Excel file (.xls), or one with a password; save it as .xlsx without a password",
    ),
    "html": (
        "Tệp là trang HTML (hoặc XML) chứ không phải tệp Excel; hãy mở bằng Excel và lưu lại thành .xlsx.",
        "the file is HTML or XML, not a workbook; open it in Excel and save it as .xlsx",
    ),
    "no_table": (
        "Không phải tệp Excel (.xlsx) hoặc CSV.",
        "neither an Excel workbook (.xlsx) nor a CSV file",
    ),
    "no_utf8": (
        "Tệp CSV không phải mã UTF-8 (có thể là Windows-1258 hoặc UTF-16); hãy lưu lại dạng “CSV UTF-8”.",
        "the CSV file is not UTF-8 (Windows-1258 and UTF-16 are not guessed); save it as “CSV UTF-8”",
    ),
    "damaged": ("Tệp bị hỏng, không đọc được.", "the file is damaged and cannot be read"),
    "empty": ("Tệp không có dữ liệu.", "the file is empty"),
}
TOO_LARGE = (
    "Tệp quá lớn khi giải nén hoặc quá nhiều ô; hãy chia nhỏ, hoặc lưu dạng CSV.",
    "the file is too large when unpacked, or has too many cells; split it, or save it as CSV",
)


class Row(NamedTuple):
    """`number` as the spreadsheet shows it; `cells` of the columns asked for, in that order."""

    number: int
    cells: list[Any]


Found = TypeVar("Found")
_decode = msgspec.msgpack.Decoder().decode
_decode_sheet = msgspec.msgpack.Decoder(Sheet).decode


class Table:
    """An open file; first `find`, then `batches`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.total = 0

    async def find(self, find: Callable[[Sheet], Found | None]) -> Found | None:
        """What `find` makes of the first sheet of which it makes something. Raises Unreadable, TooLarge."""
        while (body := await self._frame()) is not None:
            sheet = _decode_sheet(body)
            found = find(sheet)
            if found is not None:
                self.total = sheet.rows
                return found
            self._answer(b"null\n")
        return None

    async def batches(self, columns: Sequence[int], *, after: int) -> AsyncIterator[list[Row]]:
        """The rows below row `after` that hold anything in these columns of the sheet found. Raises as `find`."""
        self._answer(msgspec.json.encode([list(columns), after]) + b"\n")
        while True:
            body = await self._frame()
            if body is None:
                raise await self._died()
            rows = [Row(row[0], row[1:]) for row in _decode(body)]
            if not rows:
                return
            yield rows

    async def _frame(self) -> bytes | None:
        """None: the process has ended well."""
        assert self._process.stdout is not None
        try:
            length = int.from_bytes(await self._process.stdout.readexactly(4), "big")
            body = await self._process.stdout.readexactly(length)
        except asyncio.IncompleteReadError:
            if await self._process.wait() != 0:
                raise await self._died() from None
            return None
        if (body[:1] >= b"\xa0" and body[:1] < b"\xc0") or body[:1] in (b"\xd9", b"\xda"):  # a text
            raise _problem(_decode(body))
        return body

    async def _died(self) -> TooLarge | Unreadable:
        """The system ended it: for its memory (an allocation that fails aborts), for its time, or it crashed."""
        code = await self._process.wait()
        if code in (-signal.SIGABRT, -signal.SIGXCPU, -signal.SIGKILL, -signal.SIGSEGV):
            return TooLarge(*TOO_LARGE)
        return Unreadable(*PROBLEMS["damaged"])

    def _answer(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)


def _problem(key: str) -> TooLarge | Unreadable:
    return TooLarge(*TOO_LARGE) if key == "too_large" else Unreadable(*PROBLEMS[key])


@asynccontextmanager
async def opened(descriptor: int) -> AsyncIterator[Table]:
    """The table in an open file. The file may have no name any more; it is not closed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(READER),
        str(descriptor),
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(descriptor,),
        start_new_session=True,  # the terminal's Ctrl-C is for us; it ends with us
    )
    try:
        yield Table(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()
