"""What reconcile reads for its own decisions: copies, proofs, decisions, the national list of procedures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.catalogue import Change, Decision, DecisionRow, NationalProcedure
from services.reconcile.copies import Copy, Presence, Proofs
from shared.db import driver
from shared.identifiers import name_key
from shared.vocabulary import Portal, UnitLevel

_COPY = (
    "portal, known, version, via, learnt_at, source_system, procedure_code, unit_code, unit_name, unit_via,"
    " status, cancelled, received_at, due_at, finished_at, officer, officer_title, officer_at, step_status,"
    " step_status_at, vanished_at, facts"
)


_PORTALS = {portal.value: portal for portal in Portal}


async def copies(session: AsyncSession, codes: Sequence[str]) -> dict[str, list[Copy]]:
    """The copies of these codes, by code."""
    found: defaultdict[str, list[Copy]] = defaultdict(list)
    rows = await (await driver(session)).fetch(
        f"SELECT code, {_COPY} FROM dossier WHERE code = ANY($1::text[])",  # noqa: S608 - column names are ours
        codes,
    )
    for code, portal, *values in rows:
        found[code].append(Copy(_PORTALS[portal], *values))
    return found


async def proofs(session: AsyncSession, codes: Sequence[str]) -> dict[str, Proofs]:
    """What look-ups and complete walks prove about these codes; every code has an entry."""
    connection = await driver(session)
    through = await connection.fetchval(
        "SELECT complete_through FROM sync_state WHERE portal = 'provincial' AND subject = 'dossiers'"
    )
    rows = await connection.fetch(
        "SELECT code, portal, found, checked_at, via FROM presence WHERE code = ANY($1::text[])", codes
    )
    asked = {(code, portal): Presence(*told) for code, portal, *told in rows}
    return {
        code: Proofs(asked.get((code, Portal.NATIONAL)), asked.get((code, Portal.PROVINCIAL)), through)
        for code in codes
    }


async def decisions(session: AsyncSession, *, known_at: datetime | None = None) -> list[Decision]:
    """The decisions that hold now, or that were believed at `known_at`, with their rows in order."""
    connection = await driver(session)
    heads = await connection.fetch(
        "SELECT id, number, issued_on, effective_on, unit_code, known_at FROM decision"
        " WHERE CASE WHEN $1::timestamptz IS NULL THEN superseded_at IS NULL"
        " ELSE known_at <= $1 AND (superseded_at IS NULL OR superseded_at > $1) END ORDER BY id",
        known_at,
    )
    rows: defaultdict[int, list[DecisionRow]] = defaultdict(list)
    for row in await connection.fetch(
        "SELECT decision_id, position, change, code, name, level, field FROM decision_row"
        " WHERE decision_id = ANY($1::bigint[]) ORDER BY decision_id, row_number",
        [head["id"] for head in heads],
    ):
        identity, position, change, code, name, level, field = row
        rows[identity].append(
            DecisionRow(position or None, Change(change), code, name, UnitLevel(level), field)
        )
    return [
        Decision(
            head["number"],
            head["issued_on"],
            head["effective_on"],
            head["unit_code"],
            head["known_at"],
            tuple(rows[head["id"]]),
        )
        for head in heads
    ]


async def next_effect(session: AsyncSession, after: date) -> date | None:
    """The next day after `after` on which a decision takes effect."""
    day: date | None = await (await driver(session)).fetchval(
        "SELECT min(effective_on) FROM decision WHERE superseded_at IS NULL AND effective_on > $1", after
    )
    return day


async def listing_complete_through(session: AsyncSession) -> datetime | None:
    """The moment of the newest complete listing of procedures; None: there has been none."""
    moment: datetime | None = await (await driver(session)).fetchval(
        "SELECT complete_through FROM sync_state WHERE portal = 'national' AND subject = 'procedures'"
    )
    return moment


_LEVELS = {level.value: level for level in UnitLevel}


async def national_procedures(
    session: AsyncSession, departments: dict[str, str] | None = None
) -> list[NationalProcedure]:
    """What the national database lists and has not withdrawn. `departments`: name key of a field → the
    department that the decisions imply for it."""
    rows = await (await driver(session)).fetch(
        "SELECT code, name, field_name, levels, public, state, decision_number, listed_at, record_at,"
        " unverified FROM procedure"
        " WHERE withdrawn_at IS NULL AND (listed_at IS NOT NULL OR record_at IS NOT NULL) ORDER BY code"
    )
    known = departments or {}
    listed = []
    for row in rows:
        department = known.get(name_key(row["field_name"] or ""))
        listed.append(
            NationalProcedure(
                code=row["code"],
                name=row["name"],
                field=row["field_name"] or "",
                levels=frozenset(_LEVELS[level] for level in row["levels"] if level in _LEVELS),
                public=None if row["unverified"] else row["public"],
                state=row["state"],
                unit_codes=(department,) if department else (),
                evidence={
                    "name": row["name"],
                    "field": row["field_name"],
                    "decision_number": row["decision_number"],
                    "listed_at": row["listed_at"] and row["listed_at"].isoformat(),
                    "record_at": row["record_at"] and row["record_at"].isoformat(),
                },
            )
        )
    return listed
