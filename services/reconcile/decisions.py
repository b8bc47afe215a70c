"""Taking decisions in (POST /v1/decisions). The caller commits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.decision_schemas import DecisionIn
from shared import queue
from shared.db import driver, rows_to_columns
from shared.errors import Invalid
from shared.identifiers import normalise_decision_number, normalise_unit_code, procedure_code
from shared.vocabulary import Consumer

Row = tuple[int, str, str, str | None, str, str, str]
"""row_number, position, change, code, name, level, field."""


@dataclass(frozen=True, slots=True)
class Text:
    """A decision's text in one form, whatever the spelling that came."""

    number: str
    issued_on: date
    effective_on: date
    title: str
    unit_code: str | None
    parent_number: str | None
    declared_count: int | None
    rows: tuple[Row, ...]

    @property
    def head(self) -> tuple[object, ...]:
        return (
            self.number,
            self.issued_on,
            self.effective_on,
            self.title,
            self.unit_code,
            self.parent_number,
            self.declared_count,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    id: int
    created: bool
    supersedes: int | None


def normalised(document: DecisionIn) -> Text:
    """Number, unit and codes in their one form. Invalid(field): "number", "unit_code", "rows[i].code"."""
    return Text(
        number=normalise_decision_number(document.number),
        issued_on=document.issued_on,
        effective_on=document.effective_on,
        title=document.title,
        unit_code=normalise_unit_code(document.unit_code) if document.unit_code else None,
        parent_number=_parent(document.parent_number),
        declared_count=document.declared_count,
        rows=tuple(
            (
                number,
                row.position or "",
                row.change,
                _code(row.code, number - 1),
                row.name,
                row.level,
                row.field,
            )
            for number, row in enumerate(document.rows, 1)
        ),
    )


def _code(text: str | None, index: int) -> str | None:
    if text is None:
        return None
    try:
        return procedure_code(text)
    except Invalid as error:
        field = f"rows[{index}].code"
        raise Invalid(f"{field}: {error.vi}", f"{field}: {error.en}", field=field) from None


def _parent(text: str | None) -> str | None:
    """Kept as it is written where it cannot be read: it only points elsewhere."""
    try:
        return normalise_decision_number(text) if text else None
    except Invalid:
        return text


def notes(text: Text) -> list[str]:
    """What a person should look at, though the decision was taken."""
    said = []
    codes = {row[3] for row in text.rows if row[3]}
    unnamed = sum(row[3] is None for row in text.rows)
    if text.effective_on < text.issued_on:
        said.append("Ngày hiệu lực trước ngày ký: xem lại quyết định có đúng như vậy không.")
    if unnamed:
        said.append(f"{unnamed} dòng chưa có mã TTHC: chưa đối chiếu được với CSDLQG.")
    if text.declared_count is not None and not unnamed and text.declared_count != len(codes):
        said.append(f"Điều 1 ghi {text.declared_count} thủ tục, phụ lục có {len(codes)} mã khác nhau.")
    return said


async def add(session: AsyncSession, text: Text, *, now: datetime, by: str) -> Stored:
    """Store a decision. The same number in the same year with the same content is the same decision; with
    other content it replaces the older text, which stays with the moment at which it was superseded."""
    connection = await driver(session)
    # Two senders of one number wait for each other.
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{text.number} {text.issued_on.year}"
    )
    older = await connection.fetchrow(
        "SELECT id, number, issued_on, effective_on, title, unit_code, parent_number, declared_count"
        " FROM decision WHERE number = $1 AND extract(year FROM issued_on) = $2 AND superseded_at IS NULL",
        text.number,
        text.issued_on.year,
    )
    if older is not None:
        rows = await connection.fetch(
            "SELECT row_number, position, change, code, name, level, field FROM decision_row"
            " WHERE decision_id = $1 ORDER BY row_number",
            older["id"],
        )
        if tuple(older)[1:] == text.head and _same(rows, text.rows):
            return Stored(older["id"], created=False, supersedes=None)
        await connection.execute("UPDATE decision SET superseded_at = $2 WHERE id = $1", older["id"], now)
    identity: int = await connection.fetchval(
        "INSERT INTO decision (number, issued_on, effective_on, title, unit_code, parent_number,"
        " declared_count, known_at, added_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
        *text.head,
        now,
        by,
    )
    await connection.execute(
        "INSERT INTO decision_row (decision_id, row_number, position, change, code, name, level, field)"
        " SELECT $1, t.* FROM unnest($2::int4[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],"
        " $8::text[]) AS t",
        identity,
        *rows_to_columns(list(text.rows), 7),
    )
    await queue.enqueue(session, [queue.PROCEDURES], consumers=[Consumer.RECONCILE], now=now)
    return Stored(identity, created=True, supersedes=older["id"] if older else None)


def _same(stored: Iterable[Iterable[object]], rows: tuple[Row, ...]) -> bool:
    return [tuple(row) for row in stored] == list(rows)
