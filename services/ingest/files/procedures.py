"""The national database's export (portals.md §2) → rows. Pure. It has neither decision nor level."""

from __future__ import annotations

from typing import NamedTuple

from services.ingest.files.cells import text
from services.ingest.normalise import Refused, clean, procedure_code

NAME_LIMIT = 2000


class ExportedProcedure(NamedTuple):
    code: str
    name: str
    field_name: str | None
    publisher: str | None


def read(cells: dict[str, object]) -> ExportedProcedure:
    """Raises Refused. A code that a spreadsheet holds as a number is taken where all its digits are there; one that
    has lost a zero at its end is broken, and which one it was is not guessed."""
    code, _ = procedure_code(text(cells.get("code")), "code")
    name = clean(text(cells.get("name")), "name", limit=NAME_LIMIT)
    if code is None:
        raise Refused("code", "code: thiếu mã TTHC.", "code: the procedure's code is missing")
    if name is None:
        raise Refused("name", "name: thiếu tên TTHC.", "name: the procedure's name is missing")
    return ExportedProcedure(
        code,
        name,
        clean(text(cells.get("field_name")), "field_name", limit=300),
        clean(text(cells.get("publisher")), "publisher", limit=300),
    )
