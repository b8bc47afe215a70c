"""What a file is asked to be, and a file whose header has been found."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, BinaryIO

from services.ingest.files import columns, table
from services.ingest.files.columns import Header, Kind, Words
from services.ingest.files.reader import Sheet
from services.ingest.files.table import Table
from shared.calendar import TZ, Period
from shared.errors import Invalid
from shared.settings import Settings
from shared.vocabulary import Portal


@dataclass(frozen=True, slots=True)
class Asked:
    """How a file is to be read. `complete`: a list of procedures that holds all there are. `exported_at`: when the
    portal made a dossier export. `valid_from`, `valid_to`: days of units that the file does not date."""

    kind: Kind
    by: str
    name: str = ""
    portal: Portal = Portal.NATIONAL
    period: str | None = None
    complete: bool = False
    again: bool = False
    exported_at: datetime | None = None
    valid_from: date | None = None
    valid_to: date | None = None

    def check(self) -> None:
        """Raises Invalid."""
        if self.portal not in (Portal.NATIONAL, Portal.PROVINCIAL):
            raise Invalid(
                "portal: cần national hoặc provincial.",
                "portal: expected national or provincial",
                field="portal",
            )


def asked(
    kind: str, *, period: str | None = None, exported_at: datetime | None = None, **others: Any
) -> Asked:
    """What somebody asks for, checked: the period's form, the export's moment as one of Việt Nam's where it has no
    offset. Raises Invalid."""
    if kind not in columns.KINDS:
        kinds = ", ".join(columns.KINDS)
        raise Invalid(f"kind: cần một trong {kinds}.", f"kind: expected one of {kinds}", field="kind")
    if exported_at is not None and exported_at.tzinfo is None:
        exported_at = exported_at.replace(tzinfo=TZ)
    label = None if period is None else Period.parse(period).key
    given = Asked(kind=kind, period=label, exported_at=exported_at, **others)
    given.check()
    return given


@dataclass(frozen=True, slots=True)
class Understood:
    """An open file with its header found. `digest` and `size` of its bytes."""

    asked: Asked
    table: Table
    header: Header
    words: Words
    digest: bytes
    size: int
    settings: Settings

    def task(self) -> bytes:
        """What makes it this run and no other: the bytes, and all that decides what becomes of them."""
        asked = self.asked
        told = (
            self.digest.hex(),
            asked.kind,
            asked.portal if asked.kind == "dossiers" else "",
            asked.complete,
            asked.exported_at,
            asked.valid_from,
            asked.valid_to,
            repr(self.words),
        )
        return hashlib.blake2b(repr(told).encode(), digest_size=32).digest()

    def report(self) -> dict[str, Any]:
        """What an import shows of how the file is understood."""
        return {
            "header_row": self.header.row,
            "columns": [column._asdict() for column in self.header.columns],
            "refusals": [],
        }


@asynccontextmanager
async def understood(file: BinaryIO, asked: Asked, settings: Settings) -> AsyncIterator[Understood]:
    """Open a file and find its header; nothing is stored. Raises Unreadable, TooLarge, Invalid."""
    asked.check()
    all_words = columns.read_words(settings.import_columns)
    words = all_words[asked.kind]
    size, digest = await asyncio.to_thread(_digest, file)
    if size == 0:
        raise Invalid("Tệp không có dữ liệu.", "The file is empty.", field="file")
    heads: list[list[tuple[int, list[Any]]]] = []

    def find(sheet: Sheet) -> Header | None:
        heads.append(sheet.head)
        return columns.find_header(sheet.head, words, offset=sheet.offset)

    async with table.opened(file.fileno()) as opened:
        header = await opened.find(find)
        if header is None:
            raise columns.no_header(heads, asked.kind, all_words)
        yield Understood(asked, opened, header, words, digest, size, settings)


def _digest(file: BinaryIO) -> tuple[int, bytes]:
    digest = hashlib.blake2b(digest_size=32)
    file.seek(0)
    while chunk := file.read(1024 * 1024):
        digest.update(chunk)
    size = file.tell()
    file.seek(0)
    file.flush()  # another process is about to read it
    return size, digest.digest()
