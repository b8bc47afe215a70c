"""Reads what a judgement needs, for many dossiers at once, into the pure core's values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.indicators.rules.facts import Copy, Duration, Facts, Supplement, choose
from services.indicators.rules.units import UnitSpan, UnitTree
from shared.settings import get_settings
from shared.vocabulary import TERMINAL, Basis, DurationUnit, Portal

_COPIES = """
SELECT code, portal, known, vanished_at IS NOT NULL AS vanished, cancelled, version, status, received_at,
due_at,
       finished_at, returned_at, rejected_at, supplements::text AS supplements, step_status,
       step_status_at, unit_code, procedure_code
FROM dossier WHERE code = ANY($1::text[])
"""
# The latest step of each end state: a dossier that was taken up again ends when it ends again.
_STEPS = """
SELECT code, portal, status, max(occurred_at) AS at FROM dossier_step
WHERE code = ANY($1::text[]) AND status = ANY($2::smallint[]) GROUP BY code, portal, status
"""
_PRESENCE = "SELECT code, found FROM presence WHERE code = ANY($1::text[]) AND portal = $2"
_PROCEDURES = """
SELECT code, max_duration, duration_unit FROM procedure
WHERE code = ANY($1::text[]) AND max_duration IS NOT NULL AND duration_unit = ANY($2::text[])
"""
_UNITS = "SELECT code, valid_from, valid_to, name, level, successor_code FROM unit"


async def unit_tree(connection: asyncpg.Connection) -> UnitTree:
    """The whole dated tree: some hundred rows."""
    return UnitTree((UnitSpan(*row) for row in await connection.fetch(_UNITS)), get_settings().province_code)


async def facts_of(connection: asyncpg.Connection, codes: Sequence[str]) -> dict[tuple[str, Basis], Facts]:
    """(code, basis) → the copy that counts, with what belongs to it, for each of the codes on each basis."""
    steps: dict[tuple[str, str], dict[int, datetime]] = {}
    for code, portal, status, at in await connection.fetch(_STEPS, codes, sorted(TERMINAL)):
        steps.setdefault((code, portal), {})[status] = at
    copies: dict[str, list[Copy]] = {code: [] for code in codes}
    for row in await connection.fetch(_COPIES, codes):
        copies[row["code"]].append(_copy(row, steps.get((row["code"], row["portal"]), {})))
    presence = dict(await connection.fetch(_PRESENCE, codes, Portal.NATIONAL.value))
    maxima = await _maxima(connection, {copy.procedure_code for group in copies.values() for copy in group})
    facts = {}
    for code, group in copies.items():
        for basis in Basis:
            source, chosen = choose(group, presence.get(code), basis)
            maximum = maxima.get(chosen.procedure_code or "") if chosen else None
            facts[code, basis] = Facts(source, chosen, maximum)
    return facts


async def _maxima(connection: asyncpg.Connection, procedures: set[str | None]) -> dict[str, Duration]:
    known = sorted(code for code in procedures if code)
    rows = await connection.fetch(_PROCEDURES, known, [unit.value for unit in DurationUnit])
    return {code: Duration(value, DurationUnit(unit)) for code, value, unit in rows}


def _copy(row: asyncpg.Record, steps: dict[int, datetime]) -> Copy:
    return Copy(
        portal=Portal(row["portal"]),
        known=row["known"],
        vanished=row["vanished"],
        cancelled=row["cancelled"],
        version=row["version"],
        status=row["status"],
        received_at=row["received_at"],
        due_at=row["due_at"],
        finished_at=row["finished_at"],
        returned_at=row["returned_at"],
        rejected_at=row["rejected_at"],
        supplements=_supplements(row["supplements"]),
        step_at=row["step_status_at"],
        step_status=row["step_status"],
        step_times=steps,
        unit_code=row["unit_code"],
        procedure_code=row["procedure_code"],
    )


def _supplements(text: str | None) -> tuple[Supplement, ...]:
    """Ingest's JSON, already checked at the door: ISO texts with offset."""
    if text is None or text in ("[]", "null"):
        return ()
    return tuple(
        Supplement(
            _moment(each.get("requested_at")), _moment(each.get("completed_at")), bool(each.get("due_after"))
        )
        for each in json.loads(text)
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
