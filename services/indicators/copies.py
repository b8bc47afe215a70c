"""Reads what a judgement needs, for many dossiers at once, into the pure core's values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from services.indicators.rules.facts import (
    Copy,
    Duration,
    Facts,
    Supplement,
    asks_for_steps,
    choose,
    papers_of,
)
from services.indicators.rules.units import UnitSpan, UnitTree
from shared.reasons import Source
from shared.settings import get_settings
from shared.vocabulary import TERMINAL, Basis, DurationUnit, Portal

_COPIES = """
SELECT code, portal, known, vanished_at IS NOT NULL, cancelled, version, status, received_at, due_at,
       finished_at, returned_at, rejected_at, supplements::text, step_status_at, step_status,
       unit_code, procedure_code, channel, facts, facts_known
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
WHERE ($1::text[] IS NULL OR code = ANY($1)) AND max_duration IS NOT NULL AND duration_unit = ANY($2::text[])
"""
_COMPLAINTS = (
    "SELECT dossier_code, min(sent_at) FROM petition WHERE dossier_code = ANY($1::text[]) GROUP BY 1"
)
_UNITS = "SELECT code, valid_from, valid_to, name, level, successor_code FROM unit"
_PORTALS = {portal.value: portal for portal in Portal}
_UNITS_OF_DURATION = {unit.value: unit for unit in DurationUnit}
_ENDS = sorted(TERMINAL)

_tree: tuple[list[asyncpg.Record], UnitTree] | None = None
"""The tree built last, and the rows that it was built from."""


async def unit_tree(connection: asyncpg.Connection) -> UnitTree:
    """The whole dated tree: some hundred rows, read each time; built again, with all that it remembers, only where they
    differ from those of the last time."""
    global _tree
    rows = await connection.fetch(_UNITS)
    province = get_settings().province_code
    if _tree is None or _tree[0] != rows or _tree[1].province != province:
        _tree = rows, UnitTree((UnitSpan(*row) for row in rows), province)
    return _tree[1]


class Both(NamedTuple):
    """What is judged of a dossier on each basis."""

    counted: Facts
    provincial: Facts


async def facts_of(connection: asyncpg.Connection, codes: Sequence[str]) -> dict[str, Both]:
    """Code → the copies that count, with what belongs to them, for each of the codes. Steps, proofs and maxima are read
    only of the dossiers whose judgement asks for them."""
    copies: dict[str, list[Copy]] = {code: [] for code in codes}
    for row in await connection.fetch(_COPIES, codes):
        copies[row[0]].append(_copy(row))
    await _add_steps(connection, copies)
    chosen = {code: choose(group, None, Basis.COUNTED) for code, group in copies.items()}
    if unproved := [code for code, (source, _) in chosen.items() if source is Source.SENT_UNCONFIRMED]:
        for code, found in await connection.fetch(_PRESENCE, unproved, Portal.NATIONAL.value):
            chosen[code] = choose(copies[code], found, Basis.COUNTED)
    provincial = {code: choose(group, None, Basis.PROVINCIAL) for code, group in copies.items()}
    maxima = await _maxima(connection, [copy for each in (chosen, provincial) for _, copy in each.values()])
    papers = {code: papers_of(group) for code, group in copies.items()}
    complained = await complaints(connection, codes)
    return {
        code: Both(
            *(
                _facts(*found[code], maxima, papers[code], complained.get(code))
                for found in (chosen, provincial)
            )
        )
        for code in copies
    }


async def complaints(connection: asyncpg.Connection, codes: Sequence[str]) -> dict[str, datetime]:
    """Dossier → when the first petition that names it was sent, for those of `codes` that one names. A dossier that a
    petition names, or no longer names, is queued by ingest."""
    return {row[0]: row[1] for row in await connection.fetch(_COMPLAINTS, codes)}


def _facts(
    source: Source,
    copy: Copy | None,
    maxima: Mapping[str, Duration],
    papers: int,
    complained_at: datetime | None,
) -> Facts:
    maximum = maxima.get(copy.procedure_code or "") if copy is not None and copy.due_at is None else None
    return Facts(source, copy, maximum, papers, complained_at)


async def _add_steps(connection: asyncpg.Connection, copies: Mapping[str, list[Copy]]) -> None:
    wanting = [code for code, group in copies.items() if any(map(asks_for_steps, group))]
    if not wanting:
        return
    steps: dict[tuple[str, str], dict[int, datetime]] = {}
    for code, portal, status, at in await connection.fetch(_STEPS, wanting, _ENDS):
        steps.setdefault((code, portal), {})[status] = at
    for (code, portal), times in steps.items():
        copies[code][:] = [
            copy._replace(step_times=times) if copy.portal == portal else copy for copy in copies[code]
        ]


async def _maxima(connection: asyncpg.Connection, copies: Iterable[Copy | None]) -> dict[str, Duration]:
    """By procedure, for the copies without an appointment."""
    known = {copy.procedure_code for copy in copies if copy is not None and copy.due_at is None}
    return await maxima(connection, sorted(filter(None, known))) if known else {}


async def maxima(connection: asyncpg.Connection, codes: Sequence[str] | None = None) -> dict[str, Duration]:
    """Procedure → the longest time that it may take, where it is known; of these procedures, or of all."""
    rows = await connection.fetch(_PROCEDURES, codes, list(_UNITS_OF_DURATION))
    return {code: Duration(value, _UNITS_OF_DURATION[unit]) for code, value, unit in rows}


_NO_STEPS: Mapping[int, datetime] = {}


def _copy(row: asyncpg.Record) -> Copy:
    (
        _, portal, known, vanished, cancelled, version, status, received_at, due_at, finished_at, returned_at,
        rejected_at, supplements, step_at, step_status, unit_code, procedure_code, channel, facts, facts_known,
    ) = row  # fmt: skip
    return Copy(
        _PORTALS[portal],
        known,
        vanished,
        cancelled,
        version,
        status,
        received_at,
        due_at,
        finished_at,
        returned_at,
        rejected_at,
        () if supplements is None else _supplements(supplements),
        step_at,
        step_status,
        _NO_STEPS,
        unit_code,
        procedure_code,
        channel,
        facts,
        facts_known,
    )


def _supplements(text: str) -> tuple[Supplement, ...]:
    """Ingest's JSON, already checked at the door: ISO texts with offset."""
    if text in ("[]", "null"):
        return ()
    return tuple(
        Supplement(
            _moment(each.get("requested_at")), _moment(each.get("completed_at")), bool(each.get("due_after"))
        )
        for each in json.loads(text)
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
