"""What the endpoints about decisions and the catalogue read, and how a unit narrows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile import queries
from services.reconcile.catalogue import (
    LEVEL_NAMES,
    RULES,
    Catalogue,
    InForce,
    Mismatch,
    NationalProcedure,
    compare,
    counts,
    replay,
)
from services.reconcile.kinds import KINDS
from services.reconcile.service import departments_by_field
from shared.access import no_such_unit
from shared.db import driver
from shared.errors import NotFound
from shared.identifiers import name_key, unit_parents
from shared.vocabulary import UnitLevel

_SUMMARY = (
    "SELECT d.id, d.number, d.issued_on, d.effective_on, d.title, d.unit_code, d.parent_number,"
    " d.declared_count, d.known_at, d.superseded_at, d.added_by, r.rows, r.codes FROM decision d"
    " CROSS JOIN LATERAL (SELECT count(*) AS rows, count(DISTINCT code) AS codes FROM decision_row"
    " WHERE decision_id = d.id) r"
)


async def decisions(
    session: AsyncSession, *, superseded: bool, after: int, limit: int
) -> list[dict[str, Any]]:
    """Decisions in the order in which they became known; with the superseded texts too where asked for."""
    rows = await (await driver(session)).fetch(
        f"{_SUMMARY} WHERE d.id > $1 AND ($2 OR d.superseded_at IS NULL) ORDER BY d.id LIMIT $3",
        after,
        superseded,
        limit,
    )
    return [dict(row) for row in rows]


async def decision(session: AsyncSession, identity: int) -> dict[str, Any]:
    """One text of a decision. NotFound."""
    row = await (await driver(session)).fetchrow(f"{_SUMMARY} WHERE d.id = $1", identity)
    if row is None:
        raise NotFound("Không có quyết định này.", "There is no such decision.")
    return dict(row)


async def decision_rows(session: AsyncSession, identity: int) -> list[dict[str, Any]]:
    rows = await (await driver(session)).fetch(
        "SELECT nullif(position, '') AS position, change, code, name, level, field FROM decision_row"
        " WHERE decision_id = $1 ORDER BY row_number",
        identity,
    )
    return [dict(row) for row in rows]


# --- what a unit means -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lens:
    """How a unit narrows the catalogue. The same sentence that an answer says is what it does."""

    unit_code: str
    by: Literal["all", "department", "commune"]
    means: str

    def entry(self, entry: InForce) -> InForce | None:
        """The part of an entry that is this unit's."""
        if self.by == "department":
            return entry if entry.unit_code == self.unit_code else None
        if self.by == "commune":
            at = entry.levels.get(UnitLevel.COMMUNE)
            return replace(entry, levels={UnitLevel.COMMUNE: at}) if at else None
        return entry

    def record(
        self, record: NationalProcedure, decided: Catalogue, departments: dict[str, str]
    ) -> NationalProcedure | None:
        if self.by == "department":
            entry = decided.in_force.get(record.code) or decided.abolished.get(record.code)
            unit = entry.unit_code if entry else departments.get(name_key(record.field))
            return record if unit == self.unit_code else None
        if self.by == "commune":
            here = record.levels & {UnitLevel.COMMUNE}
            return replace(record, levels=here) if here else None
        return record

    def mismatch(self, found: Mismatch) -> bool:
        if self.by == "department":
            return found.unit_code == self.unit_code
        return self.by == "all" or UnitLevel.COMMUNE in found.levels


async def lens(session: AsyncSession, unit_code: str) -> Lens:
    """NotFound for a unit that nobody told us of (the province is always known)."""
    rows = await (await driver(session)).fetch(
        "SELECT DISTINCT ON (code) code, name, level FROM unit WHERE code = ANY($1::text[])"
        " ORDER BY code, valid_from DESC",
        [unit_code, *unit_parents(unit_code)],
    )
    known = {row["code"]: row for row in rows}
    if "." not in unit_code:
        return Lens(unit_code, "all", "Toàn tỉnh: mọi thủ tục trong các quyết định của tỉnh và trên CSDLQG.")
    for code in (
        unit_code,
        *unit_parents(unit_code)[:-1],
    ):  # a part of a department is read as the department
        if code in known and known[code]["level"] == UnitLevel.COMMUNE.value:
            return Lens(code, "commune", f"{known[code]['name']}: mọi thủ tục thực hiện ở cấp xã.")
        if code in known:
            return Lens(
                code,
                "department",
                f"{known[code]['name']}: thủ tục mà quyết định sau cùng ghi thuộc cơ quan này; "
                "thủ tục không có trong quyết định nào thì tính theo lĩnh vực.",
            )
    raise no_such_unit()


# --- the catalogue, and its comparison ---------------------------------------------------------------------


async def catalogue_entries(
    session: AsyncSession,
    *,
    on: date,
    known_at: datetime | None,
    seen: Lens,
    level: str | None,
    field: str | None,
) -> list[dict[str, Any]]:
    """schemas.CatalogueEntry of all that is in force on a day, in order of code and level."""
    decided = replay(await queries.decisions(session, known_at=known_at), on)
    entries = []
    for whole in decided.in_force.values():
        entry = seen.entry(whole)
        if entry is None or (field is not None and name_key(entry.field) != name_key(field)):
            continue
        entries += [
            {
                "code": entry.code,
                "level": at.value,
                "name": entry.name,
                "field": entry.field,
                "unit_code": entry.unit_code,
                "decision": place.decision,
                "position": place.position,
                "effective_on": place.effective_on,
                "change": place.change.value,
            }
            for at, place in entry.levels.items()
            if level is None or at.value == level
        ]
    return sorted(entries, key=lambda entry: (entry["code"], entry["level"]))


async def side_by_side(session: AsyncSession, *, on: date, seen: Lens) -> dict[str, Any]:
    """decision_schemas.ProcedureReconciliationView."""
    decided = replay(await queries.decisions(session), on)
    departments = departments_by_field(decided)
    national = await queries.national_procedures(session, departments)
    through = await queries.listing_complete_through(session)
    ours = {code: part for code, entry in decided.in_force.items() if (part := seen.entry(entry)) is not None}
    theirs = [
        shown for record in national if (shown := seen.record(record, decided, departments)) is not None
    ]
    counted = counts(replace(decided, in_force=ours), theirs)
    found = compare(decided, national, listing_complete=through is not None)
    unread = sum(record.public is None for record in theirs)
    missing = []
    if through is None:
        missing.append("Chưa lần nào đọc hết danh sách thủ tục trên CSDLQG: chưa kết luận sai lệch.")
    if unread:
        missing.append(
            f"{unread} thủ tục trên CSDLQG chưa đọc được nội dung: không kết luận về các thủ tục đó."
        )
    if decided.unplaced:
        missing.append(f"{len(decided.unplaced)} dòng quyết định không có mã TTHC: không đối chiếu được.")
    return {
        "on": on,
        "unit": seen.unit_code,
        "unit_means": seen.means,
        "decided": counted.decided._asdict(),
        "national": counted.national._asdict(),
        "by_level": [
            {
                "level": level.value if level else None,
                "level_name": LEVEL_NAMES[level] if level else "không ghi cấp",
                "decided": one,
                "national": other,
            }
            for level, (one, other) in counted.by_level.items()
        ],
        "by_field": [
            {"field": name, "decided": one, "national": other}
            for name, (one, other) in counted.by_field.items()
        ],
        "cells": [
            cell._asdict() | {"level": cell.level.value if cell.level else None} for cell in counted.cells
        ],
        "findings": None if through is None else _by_kind(each for each in found if seen.mismatch(each)),
        "rules": "decisions.md §3",
        "coverage": {
            "judged": through is not None,
            "listing_complete_through": through,
            "unread_records": unread,
            "rows_without_code": len(decided.unplaced),
            "missing": missing,
        },
        "as_of": await _as_of(session),
    }


def _by_kind(found: Iterable[Mismatch]) -> list[dict[str, Any]]:
    kinds = [each.kind for each in found]
    return [
        {
            "kind": rule.kind,
            "kind_name": KINDS["procedure", rule.kind].title,
            "responsible": rule.responsible,
            "procedures": kinds.count(rule.kind),
        }
        for rule in RULES
    ]


async def _as_of(session: AsyncSession) -> datetime | None:
    """When the newest decision or listing came in."""
    moment: datetime | None = await (await driver(session)).fetchval(
        "SELECT greatest((SELECT max(greatest(known_at, superseded_at)) FROM decision),"
        " (SELECT updated_at FROM sync_state WHERE portal = 'national' AND subject = 'procedures'))"
    )
    return moment
