"""Comparing and storing what comes out: dossiers by code, procedures as a whole. The caller commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile import catalogue, pairs, queries
from services.reconcile.compare import Comparison, compare
from services.reconcile.copies import Twin
from services.reconcile.findings import Wanted, settle
from services.reconcile.parameters import parameters_on
from shared import queue
from shared.calendar import TZ, local_day
from shared.db import driver, rows_to_columns
from shared.identifiers import name_key
from shared.vocabulary import Consumer

PROVINCE = "H31"
DOSSIER, PROCEDURE = "dossier", "procedure"
"""Subjects of findings."""
_PROCEDURES_LOCK = 0x6368_6973_6F01
"""Advisory lock of whoever reconciles procedures."""


async def compare_dossiers(
    session: AsyncSession, codes: Sequence[str], *, now: datetime, province: str = PROVINCE
) -> dict[str, int]:
    """Compare the copies of these dossiers and store the difference. Returns how many findings opened,
    reopened, changed and resolved.

    The comparison rows are locked in key order first: what is read afterwards contains every change that was
    committed before, so of two workers on one dossier the later one has the last word.
    """
    ordered = sorted(set(codes))
    if not ordered:
        return {}
    parameters = parameters_on(local_day(now), province)
    now = now.astimezone(
        UTC
    )  # as the moments that it is compared with: those of two zones compare ten times as slowly
    connection = await driver(session)
    await connection.execute(
        "INSERT INTO comparison (code, copies, pairing) SELECT code, 0, 0 FROM unnest($1::text[]) AS c(code)"
        " WHERE NOT EXISTS (SELECT FROM comparison o WHERE o.code = c.code) ORDER BY code ON CONFLICT DO NOTHING",
        ordered,
    )
    locked = await connection.fetch(
        "SELECT code, wake_at, pairing, procedure_code, unit_code, received_at FROM comparison"
        " WHERE code = ANY($1::text[]) ORDER BY code FOR UPDATE",
        ordered,
    )
    copies, proofs = await queries.copies(session, ordered), await queries.proofs(session, ordered)
    halves = {code: pairs.half(copies.get(code, ()), proofs[code]) for code in ordered}
    twins = await _pair(session, locked, halves, now=now)
    results = {
        code: compare(
            copies.get(code, ()),
            replace(proofs[code], twin=twins[code]) if code in twins else proofs[code],
            now,
            parameters,
        )
        for code in ordered
    }
    counts = await settle(
        session,
        subject=DOSSIER,
        codes=ordered,
        wanted=[each for code, result in results.items() for each in _wanted(code, result, province)],
        now=now,
    )
    await connection.execute(
        "UPDATE comparison c SET copies = t.copies, unit_code = t.unit_code, received_at = t.received_at,"
        " wake_at = t.wake_at, procedure_code = t.procedure_code, source_system = t.source_system,"
        " pairing = t.pairing, compared_at = $1"
        " FROM unnest($2::text[], $3::int2[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[],"
        " $8::text[], $9::int2[])"
        " AS t(code, copies, unit_code, received_at, wake_at, procedure_code, source_system, pairing)"
        " WHERE c.code = t.code",
        now,
        *rows_to_columns([_row(code, result, halves[code]) for code, result in results.items()], 8),
    )
    due = {code: result.wake_at for code, result in results.items() if result.wake_at is not None}
    await queue.enqueue_wake(
        session,
        [
            (row["code"], due[row["code"]])
            for row in locked
            if due.get(row["code"], row["wake_at"]) != row["wake_at"]
        ],
        consumer=Consumer.RECONCILE,
        now=now,
    )
    return counts


def _row(code: str, result: Comparison, half: pairs.Half | None) -> tuple[Any, ...]:
    return (
        code,
        result.copies,
        result.unit_code,
        result.received_at,
        result.wake_at,
        result.procedure_code,
        result.source_system,
        half.side if half else 0,
    )


async def _pair(
    session: AsyncSession,
    before: Sequence[Mapping[str, Any]],
    halves: Mapping[str, pairs.Half | None],
    *,
    now: datetime,
) -> dict[str, Twin]:
    """The pairs that these codes are halves of. Whoever shares the class of a code that became another half, or none,
    is compared again: what the copies say is committed before their change is, so the later comparison sees both."""
    moved: set[pairs.Key] = set()
    for row in before:
        kept = pairs.key_of(row["procedure_code"], row["unit_code"], row["received_at"])
        was = pairs.Half(row["pairing"], kept) if row["pairing"] and kept else None
        half = halves[row["code"]]
        if was != half:
            moved.update(each.key for each in (was, half) if each is not None)
    keys = moved | {half.key for half in halves.values() if half is not None}
    if not keys:
        return {}
    others = sorted(await pairs.near(session, keys) - halves.keys())
    copies, proofs = await queries.copies(session, others), await queries.proofs(session, others)
    beside = {code: pairs.half(copies.get(code, ()), proofs[code]) for code in others}
    await queue.enqueue(
        session,
        [code for code, half in beside.items() if half is not None and half.key in moved],
        consumers=(Consumer.RECONCILE,),
        now=now,
    )
    return pairs.pair({**halves, **beside})


def _wanted(code: str, result: Comparison, province: str) -> list[Wanted]:
    return [
        Wanted(
            code=code,
            kind=found.kind,
            key=found.key,
            unit_code=result.unit_code or province,
            procedure_code=result.procedure_code,
            responsible=found.responsible,
            source_system=result.source_system,
            evidence=found.evidence,
        )
        for found in result.findings
    ]


def departments_by_field(decided: catalogue.Catalogue) -> dict[str, str]:
    """Name key of a field → the department whose decisions speak of it most: what the decisions imply of
    records that name no department."""
    votes: Counter[tuple[str, str]] = Counter()
    entries: list[catalogue.InForce | catalogue.Abolished] = [
        *decided.in_force.values(),
        *decided.abolished.values(),
    ]
    for entry in entries:
        if entry.unit_code:
            votes[name_key(entry.field), entry.unit_code] += 1
    chosen: dict[str, str] = {}
    for (field, unit), _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])):
        chosen.setdefault(field, unit)
    return chosen


async def reconcile_procedures(
    session: AsyncSession, *, now: datetime, province: str = PROVINCE
) -> dict[str, int]:
    """Replay the decisions to today and hold them against the national database. Without a complete listing
    nothing is judged and the findings stay as they are. A decision that takes effect later wakes us on that
    day."""
    connection = await driver(session)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _PROCEDURES_LOCK)
    today = local_day(now)
    await _wake_at_next_effect(session, now=now)
    if await queries.listing_complete_through(session) is None:
        return {}
    decided = catalogue.replay(await queries.decisions(session), today)
    national = await queries.national_procedures(session, departments_by_field(decided))
    mismatches = catalogue.compare(decided, national, listing_complete=True)
    wanted = [
        Wanted(
            code=each.code,
            kind=each.kind,
            key="",
            unit_code=each.unit_code or province,
            procedure_code=each.code,
            responsible=each.responsible,
            source_system=None,
            evidence={
                "rule": each.kind,
                "sentence": each.sentence_vi,
                "name": each.name,
                "decision": each.decision,
                "position": each.position,
                "levels": [level.value for level in each.levels],
                "responsible": each.responsible,
                "then": each.then,
                "source": "R5, R6; decisions.md §3",
                **each.evidence,
            },
        )
        for each in mismatches
    ]
    return await settle(session, subject=PROCEDURE, codes=None, wanted=wanted, now=now)


async def _wake_at_next_effect(session: AsyncSession, *, now: datetime) -> None:
    day = await queries.next_effect(session, local_day(now))
    if day is None:
        return
    moment = datetime.combine(day, time(), TZ)
    waiting = await (await driver(session)).fetchval(
        "SELECT 1 FROM change WHERE $1 = ANY(codes) AND consumer = $2 AND wake_at = $3",
        queue.PROCEDURES,
        Consumer.RECONCILE.value,
        moment,
    )
    if not waiting:
        await queue.enqueue_wake(session, [(queue.PROCEDURES, moment)], consumer=Consumer.RECONCILE, now=now)
