"""Imports of lists: petitions, procedures, units, predecessors. Read as a whole, stored as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import petition_messages, petitions, unit_spans
from services.ingest.directory import TREE_SINCE
from services.ingest.files import petitions as petition_files
from services.ingest.files import procedures, units
from services.ingest.files.columns import Kind, Words
from services.ingest.files.procedures import ExportedProcedure
from services.ingest.files.table import Row
from services.ingest.files.units import ListedUnit, Successor
from services.ingest.naming import follow_tree, tree_stamp
from services.ingest.normalise import Refusal, Refused, refusal
from services.ingest.petition_messages import PetitionRow
from services.ingest.service import ACCEPTED, STALE, UNCHANGED, accept
from shared import queue
from shared.db import driver, rows_to_columns
from shared.errors import Invalid
from shared.vocabulary import Consumer, Portal

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ListSettings:
    """`fields`: in the order of the cells. `exported_at`: a stamp, for petitions."""

    fields: Sequence[str]
    words: Words
    province: str
    complete: bool
    valid_from: date | None
    valid_to: date | None
    exported_at: str | None
    now: datetime


@dataclass(slots=True)
class Given:
    """What a list's rows say. `places`: the row of each item, to name it if it is refused later."""

    kind: Kind
    settings: ListSettings
    petitions: list[PetitionRow] = field(default_factory=list)
    procedures: list[ExportedProcedure] = field(default_factory=list)
    units: list[ListedUnit] = field(default_factory=list)
    successors: list[Successor] = field(default_factory=list)
    places: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """`report`: what people should know beside the counts."""

    changed: int
    unchanged: int
    report: dict[str, Any]
    stale: int = 0


def read_list(kind: Kind, rows: Sequence[Row], settings: ListSettings) -> Given:
    """Pure."""
    given = Given(kind, settings)
    take = _taker(given)
    for row in rows:
        try:
            take(dict(zip(settings.fields, row.cells, strict=True)))
            given.places.append(row)
        except Invalid as error:
            given.refused.append(_refusal(error, row))
    return given


def _taker(given: Given) -> Callable[[dict[str, object]], None]:
    settings = given.settings
    if given.kind == "petitions":
        read_row = petition_files.reader(settings.words, exported_at=settings.exported_at)
        return lambda cells: given.petitions.append(petition_messages.row(read_row(cells), settings.now))
    if given.kind == "procedures":
        return lambda cells: given.procedures.append(procedures.read(cells))
    if given.kind == "units":
        read = units.reader(
            settings.words,
            province=settings.province,
            valid_from=settings.valid_from or TREE_SINCE,
            valid_to=settings.valid_to,
        )
        return lambda cells: given.units.extend(read(cells))
    return lambda cells: given.successors.append(units.read_successor(cells))


def _refusal(error: Invalid, row: Row) -> Refusal:
    return refusal(error, position=row.number, raw=_encode([error.field, row.cells]), item=None)


async def store_list(session: AsyncSession, given: Given, *, by: str, now: datetime) -> Stored:
    """In the caller's transaction. May add to what is refused."""
    if given.kind == "petitions":
        stored = await _store_petitions(session, given, by=by, now=now)
    elif given.kind == "procedures":
        stored = await _store_procedures(session, given, now=now)
    elif given.kind == "units":
        before = await tree_stamp(session)
        changed, ambiguous = await unit_spans.write_units(session, given.units, now=now)
        moved = await follow_tree(session, before, now=now)
        codes = {unit.code for unit in given.units}
        stored = Stored(changed, len(codes) - changed, {"ambiguous": ambiguous, "resolved_again": moved})
    else:
        stored = await _store_predecessors(session, given, now=now)
    if given.refused:
        await accept(
            session,
            portal=Portal.NATIONAL,
            via="import",
            door=f"import_{given.kind}",
            sender=by,
            now=now,
            heads=given.refused,
        )
    return stored


async def _store_petitions(session: AsyncSession, given: Given, *, by: str, now: datetime) -> Stored:
    taken = await petitions.accept_petitions(
        session, given.petitions, via="import", door="import_petitions", sender=by, now=now
    )
    return Stored(taken.count(ACCEPTED), taken.count(UNCHANGED), {}, stale=taken.count(STALE))


async def _store_predecessors(session: AsyncSession, given: Given, *, now: datetime) -> Stored:
    last_day = given.settings.valid_to or TREE_SINCE - timedelta(days=1)
    before = await tree_stamp(session)
    written = await unit_spans.write_predecessors(session, given.successors, last_day=last_day, now=now)
    for place in written.unknown:
        error = Refused(
            "code",
            "code: chưa có đơn vị này trong cây đơn vị; hãy nạp danh sách đơn vị (kind=units) trước.",
            "code: no unit of today has this code or name; import the units first (kind=units)",
        )
        given.refused.append(_refusal(error, given.places[place]))
    moved = await follow_tree(session, before, now=now)
    changed = written.aliases + written.successors
    report = {
        "aliases": written.aliases,
        "successors": written.successors,
        "ambiguous": written.ambiguous,
        "resolved_again": moved,
    }
    return Stored(changed, 0, report)


async def _store_procedures(session: AsyncSession, given: Given, *, now: datetime) -> Stored:
    """What a record of the national database (LayThuTuc) tells is not overwritten, and a name that the portal's own
    list has told neither; a file only fills in. A file counts as a listing only where it is said to hold everything,
    and then withdraws what it lacks; with a row that cannot be read it proves nothing of the kind."""
    rows = sorted({row.code: row for row in given.procedures}.values())
    complete = given.settings.complete and bool(rows) and not given.refused
    connection = await driver(session)
    changed = await connection.fetch(
        """
        INSERT INTO procedure AS p (code, name, field_name, publisher, levels, listed_at, unverified)
        SELECT t.code, t.name, t.field_name, t.publisher, '{}', $5, false
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t(code, name, field_name, publisher) ORDER BY 1
        ON CONFLICT (code) DO UPDATE SET
          name = CASE WHEN p.record_at IS NULL AND (p.listed_at IS NULL OR excluded.listed_at IS NOT NULL)
                      THEN excluded.name ELSE p.name END,
          field_name = CASE WHEN p.record_at IS NULL THEN coalesce(excluded.field_name, p.field_name)
                            ELSE coalesce(p.field_name, excluded.field_name) END,
          publisher = CASE WHEN p.record_at IS NULL THEN coalesce(excluded.publisher, p.publisher)
                           ELSE coalesce(p.publisher, excluded.publisher) END,
          listed_at = coalesce(excluded.listed_at, p.listed_at),
          withdrawn_at = CASE WHEN excluded.listed_at IS NULL THEN p.withdrawn_at END
        WHERE excluded.listed_at IS NOT NULL
           OR (p.record_at IS NULL AND (p.name, p.field_name, p.publisher) IS DISTINCT FROM (
                 CASE WHEN p.listed_at IS NULL THEN excluded.name ELSE p.name END,
                 coalesce(excluded.field_name, p.field_name), coalesce(excluded.publisher, p.publisher)))
           OR (p.record_at IS NOT NULL AND (p.field_name IS NULL AND excluded.field_name IS NOT NULL
                                            OR p.publisher IS NULL AND excluded.publisher IS NOT NULL))
        RETURNING code
        """,
        *rows_to_columns([tuple(row) for row in rows], 4),
        now if complete else None,
    )
    withdrawn = []
    if complete:
        withdrawn = await connection.fetch(
            "UPDATE procedure SET withdrawn_at = $2 WHERE withdrawn_at IS NULL AND code <> ALL($1::text[])"
            " RETURNING code",
            [row.code for row in rows],
            now,
        )
    if changed or withdrawn:
        await queue.enqueue(session, [queue.PROCEDURES], consumers=(Consumer.RECONCILE,), now=now)
    report = {"complete": complete, "withdrawn": len(withdrawn)}
    return Stored(len(changed), len(rows) - len(changed), report)
