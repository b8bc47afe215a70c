"""Which dossiers a full comparison has to judge: one pass over all copies, in the database.

Left out is a dossier of which no rule could say anything, that has no open finding, waits for nothing, is no other half
of a pair than it was, and whose comparison row says what its copies say: comparing it would write nothing.
The conditions are the rules' own (`Rule.sieve`, sieves.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.judge import has_title
from services.reconcile.parameters import Parameters
from services.reconcile.rules import RULES, Rule
from services.reconcile.sieves import knows
from shared.db import driver
from shared.vocabulary import Known, Portal

VALUES = {
    "latest": "timestamptz",
    "tolerance": "interval",
    "seen_when_received": "timestamptz",
    "officers": "text[]",
    "titles": "text[]",
}
"""The values that a sieve may name. latest: beyond it a date lies in the future; seen_when_received: what was received
until then, the province has been read completely for; officers, titles: the texts in use that are no name, no title."""

_GIVEN = f"WITH given AS (SELECT {', '.join(f'${n}::{kind}' for n, kind in enumerate(VALUES.values(), 1))})"
"""Says the types of the values, also of those that no rule names; nothing reads it."""

_PORTALS = {"p": Portal.PROVINCIAL, "s": Portal.SENT, "n": Portal.NATIONAL}
_CODE = "coalesce(p.code, s.code, n.code)"
_STATE = (
    "CASE WHEN step_status <> 0 AND (version IS NULL OR step_status_at > version) THEN step_status"
    f" WHEN known & {Known.STATUS.value} > 0 THEN status END"
)
"""Copy.effective_status."""
_HEADS = "{a}.version IS NOT NULL AND {b}.version IS NOT NULL"
_PLACES: dict[str, tuple[tuple[dict[str, str], str], ...]] = {
    "dossier": (({}, ""),),
    "copy": tuple(({"a": each}, "") for each in _PORTALS),
    "pair": (
        ({"a": "p", "b": "s"}, _HEADS),
        ({"a": "s", "b": "n"}, _HEADS),
        ({"a": "p", "b": "n"}, f"s.version IS NULL AND {_HEADS}"),
    ),
    "officer": (
        ({"a": "n"}, "n.officer_at IS NOT NULL"),
        ({"a": "s"}, "s.officer_at IS NOT NULL AND n.officer_at IS NULL"),
    ),
}
"""For each `Rule.looks_at`: which copies, and when they are looked at at all (compare.py)."""


def flagged(rules: Sequence[Rule]) -> str:
    """The condition that one of these rules may have something to say. A vanished copy is for them to understand."""
    places = [
        (
            when,
            [f"({sieve})" for sieve in dict.fromkeys(r.sieve for r in rules if r.looks_at == looks_at)],
            at,
        )
        for looks_at, cases in _PLACES.items()
        for at, when in cases
    ]
    names = {name: f"${n}::{kind}" for n, (name, kind) in enumerate(VALUES.items(), 1)}
    names |= {alias: alias for alias in (*_PORTALS, "asked")}
    conditions = [f"{alias}.vanished_at IS NOT NULL" for alias in _PORTALS]
    for when, sieves, at in places:
        if sieves:
            condition = f"({when or 'TRUE'} AND ({' OR '.join(sieves)}))"
            conditions.append(condition.format(**names, **at))
    return "\n OR ".join(conditions)


def _of_nearest(column: str) -> str:
    return f"coalesce({', '.join(f'{alias}.{column}' for alias in _PORTALS)})"


def _half(alias: str) -> str:
    told = f"{alias}.procedure_code IS NOT NULL AND {alias}.unit_code IS NOT NULL AND {alias}.received_at IS NOT NULL"
    return f"({told} AND {knows(Known.PROCEDURE | Known.RECEIVED_AT, 'a').format(a=alias)})"


_ROW = {
    "copies": "((p.code IS NOT NULL)::int + 2 * (s.code IS NOT NULL)::int + 4 * (n.code IS NOT NULL)::int)",
    **{name: _of_nearest(name) for name in ("unit_code", "procedure_code", "source_system", "received_at")},
    # pairs.half; a row of `comparison` that says otherwise has its code judged.
    "pairing": (
        "CASE WHEN (p.cancelled OR s.cancelled OR n.cancelled) THEN 0"
        f" WHEN p.code IS NOT NULL THEN CASE WHEN s.code IS NULL AND n.code IS NULL AND {_half('p')}"
        f" AND NOT (asked.found IS TRUE) THEN 1 ELSE 0 END"
        f" WHEN (CASE WHEN s.code IS NOT NULL THEN {_half('s')} ELSE {_half('n')} END)"
        f" AND NOT (held.found IS TRUE) THEN 2 ELSE 0 END"
    ),
}
"""What the comparison row of a dossier says, from its copies (none of them vanished)."""


def _copies(alias: str, only: str = "") -> str:
    return f"(SELECT *, {_STATE} AS state FROM dossier WHERE portal = '{_PORTALS[alias]}'{only}) {alias}"  # noqa: S608


def _joined(only: str = "") -> str:
    """Joins only: an EXISTS in the condition would keep PostgreSQL from running the pass in parallel."""
    return (
        f"{_copies('p', only)} FULL JOIN {_copies('s', only)} ON s.code = p.code"  # noqa: S608 - our text
        f" FULL JOIN {_copies('n', only)} ON n.code = coalesce(p.code, s.code)"
        f" LEFT JOIN (SELECT * FROM presence WHERE portal = 'national') asked ON asked.code = {_CODE}"
        f" LEFT JOIN (SELECT * FROM presence WHERE portal = 'provincial') held ON held.code = {_CODE}"
        f" LEFT JOIN comparison c ON c.code = {_CODE}"
    )


def _candidate(rules: Sequence[Rule]) -> str:
    stale = " OR ".join(
        f"c.{name} IS DISTINCT FROM {value}" for name, value in _ROW.items() if name != "pairing"
    )
    return (
        f"({flagged(rules)}\n OR c.wake_at IS NOT NULL OR coalesce(c.pairing, 0) <> {_ROW['pairing']}"
        f"\n OR c.code IS NOT NULL AND ({stale})) IS TRUE"
    )


def pass_sql(rules: Sequence[Rule]) -> str:
    """One row: how many dossiers there are, how many of them lack their comparison row, and the codes that need
    something: that row, or a judgement."""
    return (
        f"{_GIVEN} SELECT count(*), count(*) FILTER (WHERE c.code IS NULL), array_agg({_CODE})"  # noqa: S608 - our text
        f" FILTER (WHERE c.code IS NULL OR {_candidate(rules)}) FROM {_joined()}"
    )


def flagged_sql(rules: Sequence[Rule]) -> str:
    """The codes of which these rules, or a vanished copy, may have something to say; whatever was compared before."""
    return f"{_GIVEN} SELECT {_CODE} FROM {_joined()} WHERE {flagged(rules)}"  # noqa: S608


def note_sql(rules: Sequence[Rule]) -> str:
    """Writes the comparison rows of those of some codes that need no judgement and have none; returns these codes."""
    only = f" AND code = ANY(${len(VALUES) + 2}::text[])"
    return (
        f"{_GIVEN} INSERT INTO comparison (code, {', '.join(_ROW)}, compared_at)"  # noqa: S608
        f" SELECT {_CODE}, {', '.join(_ROW.values())}, ${len(VALUES) + 1}::timestamptz FROM {_joined(only)}"
        f" WHERE c.code IS NULL AND NOT {_candidate(rules)} ORDER BY 1 ON CONFLICT DO NOTHING RETURNING code"
    )


@dataclass(frozen=True, slots=True)
class Sifted:
    """dossiers: how many there are. codes: those that need something, in order. new: how many of these lack their
    comparison row. values: of VALUES, in order."""

    dossiers: int
    new: int
    codes: list[str]
    values: tuple[Any, ...]


_TEXTS = (
    "SELECT DISTINCT officer, officer_title FROM dossier"
    " WHERE officer_at IS NOT NULL AND portal IN ('sent', 'national')"
)
_OPEN = "SELECT DISTINCT code FROM finding WHERE subject = 'dossier' AND state = 'open'"


async def sift(session: AsyncSession, *, now: datetime, parameters: Parameters) -> Sifted:
    """Read all copies once and say what has to be judged. The transaction reads only; its statements are given memory
    to join in. What changes afterwards has its own change in the queue."""
    connection = await driver(session)
    await connection.execute(
        "SET LOCAL work_mem = '256MB'; SET LOCAL parallel_setup_cost = 0;"
        " SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL min_parallel_index_scan_size = 0"
    )
    through = await connection.fetchval(
        "SELECT complete_through FROM sync_state WHERE portal = 'provincial' AND subject = 'dossiers'"
    )

    texts = await connection.fetch(_TEXTS)
    officers = {row["officer"] for row in texts} - {None}
    titles = {row["officer_title"] for row in texts} - {None}
    values = (
        now + parameters.clock_tolerance,
        parameters.tolerance,
        through and through - parameters.missing_grace,
        [text for text in officers if parameters.is_no_name(text)],
        [text for text in titles if not has_title(text)],
    )
    dossiers, new, codes = await connection.fetchrow(pass_sql(RULES), *values)
    unsettled = {row["code"] for row in await connection.fetch(_OPEN)}
    return Sifted(dossiers, new, sorted(unsettled.union(codes or ())), values)


async def note(session: AsyncSession, codes: Sequence[str], sifted: Sifted, *, now: datetime) -> set[str]:
    """Write the missing comparison rows of those of these codes that need no judgement, and return these codes. A row
    that somebody has written meanwhile stays."""
    rows = await (await driver(session)).fetch(note_sql(RULES), *sifted.values, now, codes)
    return {row["code"] for row in rows}
