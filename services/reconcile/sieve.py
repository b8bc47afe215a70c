"""Which dossiers a full comparison has to judge: one pass over all copies, in the database.

Left out is a dossier of which no rule could say anything, that has no open finding, waits for nothing, is no other half
of a pair than it was, and whose comparison row says what its copies say: comparing it would write nothing.
The conditions are the rules' own (`Rule.sieve`, sieves.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
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
    "names": "text[]",
    "titles": "text[]",
}
"""The values that a sieve may name. latest: beyond it a date lies in the future; seen_when_received: what was received
until then, the province has been read completely for; names, titles: texts in use that no rule objects to."""

_GIVEN = f"WITH given AS (SELECT {', '.join(f'${n}::{kind}' for n, kind in enumerate(VALUES.values(), 1))})"
"""Says the types of the values, also of those that no rule names; nothing reads it."""

_PORTALS = {"p": Portal.PROVINCIAL, "s": Portal.SENT, "n": Portal.NATIONAL}
_PROOFS = {"asked": Portal.NATIONAL, "held": Portal.PROVINCIAL}
ALL = frozenset({*_PORTALS, *_PROOFS})
_CODE = "coalesce(p.code, s.code, n.code)"
_STATE = (
    "CASE WHEN step_status <> 0 AND (version IS NULL OR step_status_at > version) THEN step_status"
    f" WHEN known & {Known.STATUS.value} > 0 THEN status END"
)
"""Copy.effective_status."""
_HEADS = "{a}.version IS NOT NULL AND {b}.version IS NOT NULL"
_PAIRS = (
    ({"a": "p", "b": "s"}, _HEADS),
    ({"a": "s", "b": "n"}, _HEADS),
    ({"a": "p", "b": "n"}, f"s.version IS NULL AND {_HEADS}"),
)
"""Which copies are compared, and when (compare.py)."""


def _sieves(rules: Sequence[Rule], looks_at: str, **at: str) -> str:
    """The condition that one of the rules that look at this may have something to say."""
    names = {name: f"${n}::{kind}" for n, (name, kind) in enumerate(VALUES.items(), 1)}
    names |= {alias: alias for alias in (*_PORTALS, "asked")}
    sieves = dict.fromkeys(rule.sieve for rule in rules if rule.looks_at == looks_at)
    return " OR ".join(f"({sieve.format(**names, **at)})" for sieve in sieves) or "FALSE"


def flagged(rules: Sequence[Rule]) -> str:
    """The condition that one of these rules may have something to say, on `_joined` for them. A vanished copy is for
    compare.py to understand."""
    conditions = [
        *(f"{alias}.vanished_at IS NOT NULL OR {alias}.by_itself" for alias in _PORTALS),
        "n.unnamed OR s.unnamed AND n.officer_at IS NULL",
        _sieves(rules, "dossier"),
        *(f"({when.format(**at)}) AND ({_sieves(rules, 'pair', **at)})" for at, when in _PAIRS),
    ]
    return "\n OR ".join(f"({condition})" for condition in conditions)


def _of_nearest(column: str) -> str:
    return f"coalesce({', '.join(f'{alias}.{column}' for alias in _PORTALS)})"


def _half(alias: str) -> str:
    told = f"{alias}.procedure_code IS NOT NULL AND {alias}.unit_code IS NOT NULL AND {alias}.received_at IS NOT NULL"
    return f"({told} AND {knows(Known.PROCEDURE | Known.RECEIVED_AT, 'a').format(a=alias)})"


_ROW = {
    "copies": "((p.code IS NOT NULL)::int + 2 * (s.code IS NOT NULL)::int + 4 * (n.code IS NOT NULL)::int)::int2",
    **{name: _of_nearest(name) for name in ("unit_code", "procedure_code", "source_system", "received_at")},
    # pairs.half; a row of `comparison` that says otherwise has its code judged.
    "pairing": (
        "(CASE WHEN p.code IS NOT NULL AND (s.code IS NOT NULL OR n.code IS NOT NULL)"
        " OR p.cancelled OR s.cancelled OR n.cancelled THEN 0"
        f" WHEN p.code IS NOT NULL THEN CASE WHEN {_half('p')} AND NOT (asked.found IS TRUE) THEN 1 ELSE 0 END"
        f" WHEN (CASE WHEN s.code IS NOT NULL THEN {_half('s')} ELSE {_half('n')} END)"
        f" AND NOT (held.found IS TRUE) THEN 2 ELSE 0 END)::int2"
    ),
}
"""What the comparison row of a dossier says, from its copies, where none has vanished."""
_VANISHED = " OR ".join(f"{alias}.vanished_at IS NOT NULL" for alias in _PORTALS)
_ROW_OF_THE_REST = {
    name: re.sub(r"\b([psn])\.(\w+)", r"(CASE WHEN \1.vanished_at IS NULL THEN \1.\2 END)", value)
    for name, value in _ROW.items()
}
"""The same where some may have."""


def _checksum(*values: str) -> str:
    """Of a row, to be joined by bit_xor. It holds the code, so that no two are the same and cancel each other."""
    return f"hash_record_extended(ROW({', '.join(values)}), 0)"


def _copies(alias: str, rules: Sequence[Rule], only: str) -> str:
    """One portal's copies. What they alone decide is decided where they are read, and not carried through the joins:
    by_itself, what a rule about each copy may say; unnamed, what one about its newest officer may."""
    return (
        f"(SELECT d.*, {_sieves(rules, 'copy', a='d')} AS by_itself,"  # noqa: S608 - our text
        f" officer_at IS NOT NULL AND ({_sieves(rules, 'officer', a='d')}) AS unnamed"
        f" FROM (SELECT *, {_STATE} AS state FROM dossier WHERE portal = '{_PORTALS[alias]}'{only}) d) {alias}"
    )


def _joined(rules: Sequence[Rule], there: Collection[str] = ALL, only: str = "") -> str:
    """The copies and proofs of each dossier, side by side. Of what there is none at all, constants stand there, and
    PostgreSQL takes them out of the conditions. Joins only: an EXISTS would keep the pass from running in parallel."""
    copies = [alias for alias in _PORTALS if alias in there] or ["p"]
    text = _copies(copies[0], rules, only)
    for at, alias in enumerate(copies[1:], 1):
        code = ", ".join(f"{before}.code" for before in copies[:at])
        text += f" FULL JOIN {_copies(alias, rules, only)} ON {alias}.code = coalesce({code})"
    code = ", ".join(f"{alias}.code" for alias in copies)
    for alias, portal in _PROOFS.items():
        if alias in there:
            proofs = f"(SELECT code, found FROM presence WHERE portal = '{portal}') {alias}"  # noqa: S608
            text += f" LEFT JOIN {proofs} ON {alias}.code = coalesce({code})"
    for alias in sorted(ALL - {*copies, *there}):
        nothing = "NULL::presence).*"
        if alias in _PORTALS:
            nothing = "NULL::dossier).*, NULL::int2 AS state, NULL::bool AS by_itself, NULL::bool AS unnamed"
        text += f" CROSS JOIN (SELECT ({nothing}) {alias}"
    return text


def pass_sql(rules: Sequence[Rule], there: Collection[str] = ALL) -> str:
    """One row: how many dossiers there are, the codes of which these rules may have something to say, and the checksum
    of what the comparison rows should say."""
    return (
        f"{_GIVEN} SELECT count(*) AS dossiers, array_agg({_CODE}) FILTER (WHERE {flagged(rules)}) AS codes,"  # noqa: S608
        f" bit_xor(CASE WHEN ({_VANISHED}) IS NOT TRUE THEN {_checksum(_CODE, *_ROW.values())}"
        f" WHEN {_ROW_OF_THE_REST['copies']} > 0 THEN {_checksum(_CODE, *_ROW_OF_THE_REST.values())} END) AS checksum"
        f" FROM {_joined(rules, there)}"
    )


_ROWS = (
    "SELECT array_agg(code) FILTER (WHERE wake_at IS NOT NULL) AS waiting,"  # noqa: S608 - our text
    f" bit_xor({_checksum('code', *_ROW)}) FILTER (WHERE copies > 0) AS checksum FROM comparison"
)
"""One row: the codes that wait for their moment, and the checksum of the comparison rows of what has copies."""


def flagged_sql(rules: Sequence[Rule]) -> str:
    """The codes of which these rules may have something to say."""
    return f"{_GIVEN} SELECT {_CODE} FROM {_joined(rules)} WHERE {flagged(rules)}"  # noqa: S608


def stale_sql(there: Collection[str] = ALL) -> str:
    """The codes whose comparison row says something else than their copies, and whether there is no such row."""
    row = ", ".join(f"{value} AS {name}" for name, value in _ROW_OF_THE_REST.items())
    differs = " OR ".join(f"c.{name} IS DISTINCT FROM d.{name}" for name in _ROW)
    return (
        f"SELECT coalesce(d.code, c.code) AS code, c.code IS NULL AS new"  # noqa: S608 - our text
        f" FROM (SELECT {_CODE} AS code, {row} FROM {_joined((), there)}) d"
        f" FULL JOIN comparison c ON c.code = d.code"
        f" WHERE CASE WHEN d.code IS NULL THEN c.copies > 0 ELSE {differs} END"
    )


def note_sql(rules: Sequence[Rule]) -> str:
    """Writes the comparison rows of those of some codes that need no judgement and have none; returns these codes."""
    only = f" AND code = ANY(${len(VALUES) + 2}::text[])"
    return (
        f"{_GIVEN} INSERT INTO comparison (code, {', '.join(_ROW)}, compared_at)"  # noqa: S608
        f" SELECT {_CODE}, {', '.join(_ROW.values())}, ${len(VALUES) + 1}::timestamptz FROM {_joined(rules, only=only)}"
        f" WHERE ({flagged(rules)}) IS NOT TRUE AND {_ROW['pairing']} = 0"
        " ORDER BY 1 ON CONFLICT DO NOTHING RETURNING code"
    )


@dataclass(frozen=True, slots=True)
class Sifted:
    """dossiers: how many there are. codes: those that need something, in order. new: those of them that lack their
    comparison row, in order. values: of VALUES, in order."""

    dossiers: int
    codes: list[str]
    new: list[str]
    values: tuple[Any, ...]


_EXISTS = "EXISTS (SELECT FROM {table} WHERE portal = '{portal}') AS {alias}"
_THERE = "SELECT " + ", ".join(
    _EXISTS.format(table=table, portal=portal, alias=alias)
    for table, aliases in (("dossier", _PORTALS), ("presence", _PROOFS))
    for alias, portal in aliases.items()
)
_OPEN = "SELECT DISTINCT code FROM finding WHERE subject = 'dossier' AND state = 'open'"

SAMPLE = 5000
"""Pages of `dossier` that are read for the officers in use; a table that has no more is read as a whole."""
UNSEEN = 0.001
"""The share of copies with an officer that is in no page read, above which all pages are."""
_TEXTS = """
SELECT officer, officer_title, count(*) AS copies FROM dossier TABLESAMPLE SYSTEM ({percent:f}) REPEATABLE (1)
 WHERE officer_at IS NOT NULL AND portal IN ('sent', 'national') GROUP BY officer, officer_title
"""


async def _texts(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """The officers and titles in use, or nearly all: copies with another one are judged, which is right and slow. What
    was met once estimates what was not met (Good-Turing)."""
    pages = await connection.fetchval("SELECT pg_relation_size('dossier') / 8192")
    texts = []
    for percent in (100 * SAMPLE / pages, 100) if pages > SAMPLE else (100,):
        texts = await connection.fetch(_TEXTS.format(percent=percent))
        once = sum(row["copies"] == 1 for row in texts)
        if once <= UNSEEN * sum(row["copies"] for row in texts):
            break
    return texts


async def allow_pass(connection: asyncpg.Connection) -> None:
    """Give the rest of this transaction what a statement that reads all copies needs: memory to join in, and parallel
    workers. Such a statement is to be fetched whole: one that is asked for a single row runs without them."""
    await connection.execute(
        "SET LOCAL work_mem = '256MB'; SET LOCAL plan_cache_mode = force_custom_plan;"
        " SET LOCAL parallel_setup_cost = 0;"
        " SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL min_parallel_index_scan_size = 0"
    )


async def sift(session: AsyncSession, *, now: datetime, parameters: Parameters) -> Sifted:
    """Read all copies once and say what has to be judged. The transaction reads only. What changes afterwards has its
    own change in the queue."""
    connection = await driver(session)
    await allow_pass(connection)
    through = await connection.fetchval(
        "SELECT complete_through FROM sync_state WHERE portal = 'provincial' AND subject = 'dossiers'"
    )
    texts = await _texts(connection)
    officers = {row["officer"] for row in texts} - {None}
    titles = {row["officer_title"] for row in texts} - {None}
    values = (
        now + parameters.clock_tolerance,
        parameters.tolerance,
        through and through - parameters.missing_grace,
        [text for text in officers if not parameters.is_no_name(text)],
        [text for text in titles if has_title(text)],
    )
    [told] = await connection.fetch(_THERE)
    there = {alias for alias, one in told.items() if one}
    [found] = await connection.fetch(pass_sql(RULES, there), *values)
    [rows] = await connection.fetch(_ROWS)
    stale = await connection.fetch(stale_sql(there)) if rows["checksum"] != found["checksum"] else []
    unsettled = {row["code"] for row in await connection.fetch(_OPEN)}
    return Sifted(
        dossiers=found["dossiers"],
        codes=sorted(
            unsettled.union(found["codes"] or (), rows["waiting"] or (), (row["code"] for row in stale))
        ),
        new=sorted(row["code"] for row in stale if row["new"]),
        values=values,
    )


async def note(session: AsyncSession, codes: Sequence[str], sifted: Sifted, *, now: datetime) -> set[str]:
    """Write the missing comparison rows of those of these codes that need no judgement, and return these codes. A row
    that somebody has written meanwhile stays."""
    connection = await driver(session)
    # A plan made for any values looks through the list of names one by one.
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    rows = await connection.fetch(note_sql(RULES), *sifted.values, now, codes)
    return {row["code"] for row in rows}
