"""Units, their names, and procedures: what the pulls of reference data write, and the reading of units.
Set-based."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.portals import procedure_facts
from services.ingest.portals.national_reference import ListedProcedure, ProcedureRow, UnitRow
from services.ingest.resolve import hold
from shared.calendar import local_day
from shared.db import driver, rows_to_columns
from shared.identifiers import unit_name_key

TREE_SINCE = date(2025, 7, 1)
"""The first day of the present unit tree: the lists of units carry no dates, and this is the one that they
tell of."""


async def write_units(
    session: AsyncSession, rows: Sequence[UnitRow], *, source: str, now: datetime, only_new: bool = False
) -> int:
    """Insert units that no present row knows, and bring the present rows up to date (not with `only_new`).
    A row with an end stays as it is. Returns how many rows changed."""
    ordered = sorted({row.code: row for row in rows}.values())
    columns = rows_to_columns([tuple(row) for row in ordered], 5)
    connection = await driver(session)
    await hold(connection)
    written = await connection.fetch(
        """
        INSERT INTO unit (code, valid_from, name, level, parent_code, mark, source, updated_at)
        SELECT t.code, $6, t.name, t.level, t.parent_code, t.mark, $7,
               greatest($8, (SELECT max(updated_at) FROM unit) + interval '1 us')
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
            AS t(code, name, level, parent_code, mark)
         WHERE NOT EXISTS (SELECT FROM unit u WHERE u.code = t.code AND u.valid_to IS NULL)
         ORDER BY t.code ON CONFLICT (code, valid_from) DO NOTHING RETURNING code
        """,
        *columns,
        TREE_SINCE,
        source,
        now,
    )
    if only_new:
        return len(written)
    changed = await connection.fetch(
        """
        UPDATE unit u SET name = t.name, level = t.level, parent_code = t.parent_code, mark = t.mark,
               source = $6,
               updated_at = greatest($7, (SELECT max(updated_at) FROM unit) + interval '1 us')
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
            AS t(code, name, level, parent_code, mark)
         WHERE u.code = t.code AND u.valid_to IS NULL
           AND (u.name, u.level, u.parent_code, u.mark)
               IS DISTINCT FROM (t.name, t.level, t.parent_code, t.mark)
        RETURNING u.code
        """,
        *columns,
        source,
        now,
    )
    return len(written) + len(changed)


async def write_aliases(
    session: AsyncSession, names: Sequence[tuple[str, str]], *, source: str, now: datetime
) -> int:
    """(name, unit code) as aliases. A name that two units bear means neither, and an alias that came from
    elsewhere (a person's, say) is not touched. Returns how many rows changed."""
    codes: dict[str, set[str]] = {}
    written_as: dict[str, str] = {}
    for name, code in names:
        key = unit_name_key(name)
        if key:
            codes.setdefault(key, set()).add(code)
            written_as.setdefault(key, name)
    rows = [(key, written_as[key], next(iter(of))) for key, of in sorted(codes.items()) if len(of) == 1]
    connection = await driver(session)
    await hold(connection)
    changed = await connection.fetch(
        """
        INSERT INTO unit_alias AS a (name_key, valid_from, name, unit_code, source, updated_at)
        SELECT t.name_key, $4, t.name, t.unit_code, $5,
               greatest($6, (SELECT max(updated_at) FROM unit_alias) + interval '1 us')
          FROM unnest($1::text[], $2::text[], $3::text[]) AS t(name_key, name, unit_code) ORDER BY 1
        ON CONFLICT (name_key, valid_from) DO UPDATE
           SET unit_code = excluded.unit_code, name = excluded.name, updated_at = excluded.updated_at
         WHERE a.source = excluded.source
           AND (a.unit_code, a.name) IS DISTINCT FROM (excluded.unit_code, excluded.name)
        RETURNING name_key
        """,
        *rows_to_columns(rows, 3),
        TREE_SINCE,
        source,
        now,
    )
    return len(changed)


async def write_listing(
    session: AsyncSession, rows: Sequence[ListedProcedure], *, listed_at: datetime, complete: bool
) -> int:
    """The list of procedures; one whose row tells no name is there, unverified until its record has come. Those that
    a complete list no longer holds are withdrawn; an incomplete one proves nothing. Returns how many are newly
    withdrawn."""
    named = {row.code: row for row in sorted(rows, key=lambda row: row.name is not None)}
    connection = await driver(session)
    columns = rows_to_columns([tuple(row) for _, row in sorted(named.items())], 2)
    await connection.execute(
        """
        INSERT INTO procedure AS p (code, name, levels, listed_at, unverified)
        SELECT t.code, coalesce(t.name, t.code), '{}', $3, t.name IS NULL
          FROM unnest($1::text[], $2::text[]) AS t(code, name) ORDER BY 1
        ON CONFLICT (code) DO UPDATE
           SET name = CASE WHEN excluded.unverified THEN p.name ELSE excluded.name END,
               unverified = p.unverified OR excluded.unverified,
               listed_at = excluded.listed_at, withdrawn_at = NULL
        """,
        *columns,
        listed_at,
    )
    if not complete:
        return 0
    gone = await connection.fetch(
        "UPDATE procedure SET withdrawn_at = $2, public_since = NULL, public_since_observed = false"
        " WHERE withdrawn_at IS NULL AND code <> ALL($1::text[])"
        " RETURNING code",
        columns[0],
        listed_at,
    )
    return len(gone)


async def write_records(
    session: AsyncSession, rows: Sequence[ProcedureRow], *, record_at: datetime
) -> list[str]:
    """Detail records of listed procedures. Returns the codes whose maximum duration changed.

    Where a record does not say since when a procedure has been public, the day of the first one that says "public" is
    taken, and marked observed: the latest day that it can be. It begins anew where the nation has shown the
    procedure as not public, or no longer listed it, in between, and where another decision publishes it now. The day
    of the decision belongs to the decision: where the record does not tell it, it falls with it, until LayQDCB has been
    asked for the new one."""
    ordered = sorted({row.code: row for row in rows}.values(), key=lambda row: row.code)
    # An array of arrays would have to be rectangular: levels and performers travel as one text each.
    columns = rows_to_columns(
        [
            row._replace(levels=",".join(row.levels), performers="\n".join(row.performers))  # type: ignore[arg-type]
            for row in ordered
        ],
        len(ProcedureRow._fields),
    )
    changed = await (await driver(session)).fetch(
        """
        WITH incoming AS (
          SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[],
                               $7::text[], $8::text[], $9::text[], $10::numeric[], $11::text[], $12::int4[],
                               $13::date[], $14::date[], $15::date[], $16::text[], $17::text[])
            AS t(code, name, field_code, field_name, levels, public, state, decision_number, publisher,
                 max_duration, duration_unit, facts, effective_on, decided_on, public_on, performers, record)
        ), before AS (
          SELECT p.code, p.max_duration, p.duration_unit, p.public_since, p.public_since_observed, p.decided_on,
                 (p.decision_number, p.record->>'IDQUYETDINHCONGBO') IS NOT DISTINCT FROM
                   (i.decision_number, i.record::jsonb->>'IDQUYETDINHCONGBO') AS same_decision,
                 p.decision_number <> i.decision_number AS decided_anew
            FROM procedure p JOIN incoming i ON i.code = p.code ORDER BY p.code FOR UPDATE OF p
        ), written AS (  -- reads from "before": else PostgreSQL may update first, and that finds no row any more
          UPDATE procedure p SET name = i.name, field_code = i.field_code, field_name = i.field_name,
                 levels = CASE WHEN i.levels = '' THEN '{}' ELSE string_to_array(i.levels, ',') END,
                 public = i.public, state = i.state, decision_number = i.decision_number,
                 publisher = i.publisher, max_duration = i.max_duration, duration_unit = i.duration_unit,
                 facts = (p.facts & $20) | i.facts, effective_on = i.effective_on,
                 decided_on = coalesce(i.decided_on, CASE WHEN b.same_decision THEN b.decided_on END),
                 public_since = CASE WHEN NOT i.public THEN NULL WHEN i.public_on IS NOT NULL THEN i.public_on
                   WHEN b.decided_anew THEN $19 ELSE coalesce(b.public_since, $19) END,
                 public_since_observed = i.public AND i.public_on IS NULL
                   AND (b.public_since IS NULL OR b.decided_anew IS TRUE OR b.public_since_observed),
                 performers = CASE WHEN i.performers = '' THEN '{}' ELSE string_to_array(i.performers, E'\n') END,
                 record_at = $18, record = CAST(i.record AS jsonb), unverified = false
            FROM incoming i JOIN before b USING (code) WHERE p.code = i.code
          RETURNING p.code, (b.max_duration, b.duration_unit)
            IS DISTINCT FROM (i.max_duration, i.duration_unit) AS changed
        )
        SELECT code FROM written WHERE changed ORDER BY 1
        """,
        *columns,
        record_at,
        local_day(record_at),
        procedure_facts.ONLINE,
    )
    return [row["code"] for row in changed]


async def write_online_services(session: AsyncSession, services: Mapping[str, int]) -> None:
    """LayDVC: procedure → its bits. Those that the list does not hold have no online service."""
    columns = rows_to_columns(sorted(services.items()), 2)
    await (await driver(session)).execute(
        """
        UPDATE procedure p SET facts = (p.facts & ~($3::int4)) | coalesce(t.facts, 0)
          FROM procedure q LEFT JOIN unnest($1::text[], $2::int4[]) AS t(code, facts) USING (code)
         WHERE p.code = q.code AND (p.facts & $3) <> coalesce(t.facts, 0)
        """,
        *columns,
        procedure_facts.ONLINE,
    )


async def undated_decisions(session: AsyncSession) -> list[str]:
    """The ids (IDQUYETDINHCONGBO) of publishing decisions of which the day is not known."""
    rows = await (await driver(session)).fetch(
        "SELECT DISTINCT record->>'IDQUYETDINHCONGBO' AS id FROM procedure"
        " WHERE decided_on IS NULL AND withdrawn_at IS NULL AND record->>'IDQUYETDINHCONGBO' <> '' ORDER BY 1"
    )
    return [row["id"] for row in rows]


async def write_decisions(session: AsyncSession, answers: Mapping[str, Sequence[Any]]) -> None:
    """LayQDCB: id → its rows. The day is that of the decision whose number the procedure's record names."""
    connection = await driver(session)
    waiting = await connection.fetch(
        "SELECT code, record->>'IDQUYETDINHCONGBO' AS id, decision_number FROM procedure"
        " WHERE decided_on IS NULL AND record->>'IDQUYETDINHCONGBO' = ANY($1::text[]) ORDER BY code FOR UPDATE",
        list(answers),
    )
    days = [
        (row["code"], procedure_facts.decided_on(answers[row["id"]], row["decision_number"]))
        for row in waiting
    ]
    await connection.execute(
        "UPDATE procedure p SET decided_on = t.day FROM unnest($1::text[], $2::date[]) AS t(code, day)"
        " WHERE p.code = t.code AND t.day IS NOT NULL",
        *rows_to_columns(days, 2),
    )


async def mark_unverified(session: AsyncSession, codes: Sequence[str]) -> None:
    """The portal answered with another procedure's record: what we hold is neither confirmed nor other."""
    await (await driver(session)).execute(
        "UPDATE procedure SET unverified = true WHERE code = ANY($1::text[]) AND NOT unverified", list(codes)
    )


async def dossiers_of(
    session: AsyncSession, procedures: Sequence[str], *, after: str, limit: int
) -> list[str]:
    """Codes of dossiers with one of these procedures, in order, beyond `after`."""
    rows = await (await driver(session)).fetch(
        "SELECT DISTINCT code FROM dossier WHERE procedure_code = ANY($1::text[]) AND code > $2"
        " ORDER BY code LIMIT $3",
        list(procedures),
        after,
        limit,
    )
    return [row["code"] for row in rows]


async def units(
    session: AsyncSession,
    *,
    within: str,
    on: date | None,
    level: str | None,
    after: tuple[str, date],
    limit: int,
) -> list[dict[str, Any]]:
    """Rows of the unit tree at or below `within`, in force on a day (None: all of them), in order of code
    and first day, beyond `after`."""
    rows = await session.execute(
        text(
            "SELECT code, valid_from, valid_to, name, level, parent_code, successor_code, statistical_code,"
            " mark, source FROM unit WHERE (code = :within OR starts_with(code, :below))"
            " AND (CAST(:on AS date) IS NULL"
            " OR (valid_from <= :on AND (valid_to IS NULL OR valid_to >= :on)))"
            " AND (CAST(:level AS text) IS NULL OR level = :level)"
            " AND (code, valid_from) > (:code, :since) ORDER BY code, valid_from LIMIT :limit"
        ),
        {
            "within": within,
            "below": within + ".",
            "on": on,
            "level": level,
            "code": after[0],
            "since": after[1],
            "limit": limit,
        },
    )
    return [dict(row._mapping) for row in rows]
