"""The names and codes by which portals call units: which of them no unit is known for, aliases, and what an alias
changes. Set-based; the cost follows the copies that carry a name, not those that are there.

A copy is *unmapped* where neither its agency's code nor its unit's name said which unit handles it (`unit_via` none, or
dossier_code: guessed by the dossier's own code). An alias may stand for a name, for an agency's code that is no unit's,
or for the unit part of dossier codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.normalise import clean, stamp
from services.ingest.petitions import place_again
from services.ingest.resolve import Directory, hold, load
from shared import queue
from shared.access import no_such_unit
from shared.calendar import TZ
from shared.db import driver, rows_to_columns
from shared.errors import Conflict, Invalid
from shared.identifiers import normalise_unit_code, unit_name_key
from shared.vocabulary import Consumer

NAME_LIMIT = 300
_CHUNK = 5_000

# Literals, so that the planner sees that the partial indexes hold all of it.
_GUESSED = "unit_via IN ('none', 'dossier_code')"
_CALLED = "unit_via IN ('none', 'dossier_code', 'alias')"


class AliasTaken(Conflict):
    """The name means another unit during some of these days; `valid_from` and `valid_to` of that span are told."""


class Span(NamedTuple):
    unit_code: str
    valid_from: date
    valid_to: date | None


class Placed(NamedTuple):
    """What belongs to another unit now, or was found by another way: copies of dossiers; petitions and ratings."""

    copies: int
    petitions: int


async def unmapped(
    session: AsyncSession, *, within: str, province: str, after: tuple[int, str, str] | None, limit: int
) -> list[dict[str, Any]]:
    """Names and codes that no unit is known for, those of the most dossiers first, beyond `after` (dossiers, kind,
    name); names by which only petitions call a unit last. Below the province: those whose dossiers' codes (for
    petitions: those of the dossiers that they name) were given out there."""
    rows = await (await driver(session)).fetch(
        f"""
        WITH called AS (
          SELECT CASE WHEN unit_name IS NOT NULL THEN 'name' WHEN agency_code IS NOT NULL THEN 'agency_code'
                      ELSE 'dossier_code' END AS kind,
                 coalesce(unit_name, agency_code, split_part(code, '-', 1)) AS name,
                 code, NULL AS petition, agency_code, unit_code, received_at
            FROM dossier
           WHERE {_GUESSED} AND version IS NOT NULL
             AND (unit_name IS NOT NULL OR agency_code IS NOT NULL OR (unit_via = 'none' AND code_known))
             AND ($1 = $2 OR unit_code = $1 OR starts_with(unit_code, $1 || '.'))
          UNION ALL
          SELECT CASE WHEN unit_name IS NOT NULL THEN 'name' ELSE 'agency_code' END, coalesce(unit_name, agency_code),
                 NULL, code, agency_code, unit_code, NULL
            FROM petition
           WHERE {_GUESSED} AND (unit_name IS NOT NULL OR agency_code IS NOT NULL)
             AND ($1 = $2 OR unit_code = $1 OR starts_with(unit_code, $1 || '.'))
        ), counted AS (
          SELECT kind, name, count(DISTINCT code) AS dossiers, count(petition) AS petitions,
                 coalesce(min(code), min(petition)) AS example,
                 (array_agg(DISTINCT agency_code) FILTER (WHERE agency_code IS NOT NULL))[1:5] AS agency_codes,
                 CASE WHEN count(DISTINCT unit_code) = 1 AND count(unit_code) = count(*) THEN min(unit_code) END
                   AS guessed_unit_code,
                 min(received_at) AS first_received_at, max(received_at) AS last_received_at
            FROM called GROUP BY kind, name
        )
        SELECT * FROM counted
         WHERE $3::bigint IS NULL OR dossiers < $3
            OR (dossiers = $3 AND (kind, name COLLATE "C") > ($4, $5 COLLATE "C"))
         ORDER BY dossiers DESC, kind, name COLLATE "C" LIMIT $6
        """,  # noqa: S608 - nothing of a caller's in it
        within,
        province,
        *(after or (None, "", "")),
        limit,
    )
    return [
        {key: value.astimezone(TZ) if isinstance(value, datetime) else value for key, value in row.items()}
        | {"agency_codes": row["agency_codes"] or []}
        for row in rows
    ]


async def aliases(
    session: AsyncSession, *, within: str, after: tuple[str, date], limit: int
) -> list[dict[str, Any]]:
    """Aliases of the units at or below `within`, in order of name and first day, beyond `after`."""
    rows = await (await driver(session)).fetch(
        "SELECT name_key, name, unit_code, valid_from, valid_to, source, updated_at FROM unit_alias"
        " WHERE (unit_code = $1 OR starts_with(unit_code, $1 || '.')) AND (name_key, valid_from) > ($2, $3)"
        " ORDER BY name_key, valid_from LIMIT $4",
        within,
        *after,
        limit,
    )
    return [dict(row) | {"updated_at": row["updated_at"].astimezone(TZ)} for row in rows]


async def put_alias(
    session: AsyncSession,
    *,
    name: str,
    unit_code: str,
    valid_from: date | None,
    valid_to: date | None,
    by: str,
    now: datetime,
) -> tuple[Span, Placed]:
    """Let a name (or a code) mean a unit during a span of days, and resolve again what came before. Returns the span
    and how much was placed elsewhere.

    Without `valid_from`: from the unit's own first day. An alias of the same name and first day is replaced, whoever
    set it; a pull does not touch what a person has set. Raises Invalid, NotFound for an unknown unit, AliasTaken where
    another span of the name shares a day, Conflict where the name is a unit's own code."""
    written = clean(name, "name", limit=NAME_LIMIT)
    key = unit_name_key(written) if written else ""
    if not written or not key:
        raise Invalid("Cần một tên gọi hoặc mã của đơn vị.", "A name or a code is needed.", field="name")
    unit = normalise_unit_code(unit_code)
    connection = await driver(session)
    await hold(connection)
    since = await connection.fetchval("SELECT min(valid_from) FROM unit WHERE code = $1", unit)
    if since is None:
        raise no_such_unit("unit_code")
    span = Span(unit, valid_from or since, valid_to)
    if span.valid_to is not None and span.valid_to < span.valid_from:
        raise Invalid("Ngày cuối đứng trước ngày đầu.", "valid_to lies before valid_from.", field="valid_to")
    if await _is_code(connection, written):
        raise Conflict(
            "Đây là mã của một đơn vị đang có, không cần và không thể là tên gọi khác.",
            "This is the code of a unit; it needs no alias and cannot be one.",
            field="name",
        )
    other = await connection.fetchrow(
        "SELECT unit_code, valid_from, valid_to FROM unit_alias"
        " WHERE name_key = $1 AND valid_from <> $2 AND valid_from <= coalesce($3, 'infinity'::date)"
        " AND coalesce(valid_to, 'infinity'::date) >= $2 ORDER BY valid_from LIMIT 1",
        key,
        span.valid_from,
        span.valid_to,
    )
    if other is not None:
        raise AliasTaken(
            "Trong khoảng ngày này tên gọi đã chỉ một đơn vị; hãy đặt lại khoảng đó (cùng valid_from) trước.",
            "The name has a meaning on some of these days; set that span (same valid_from) first.",
            field="valid_from",
            taken={
                "valid_from": other["valid_from"].isoformat(),
                "valid_to": other["valid_to"] and other["valid_to"].isoformat(),
            },
        )
    await connection.execute(
        """
        INSERT INTO unit_alias AS a (name_key, valid_from, valid_to, name, unit_code, source, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, greatest($7, (SELECT max(updated_at) FROM unit_alias) + interval '1 us'))
        ON CONFLICT (name_key, valid_from) DO UPDATE SET valid_to = excluded.valid_to, name = excluded.name,
          unit_code = excluded.unit_code, source = excluded.source, updated_at = excluded.updated_at
        """,
        key,
        span.valid_from,
        span.valid_to,
        written,
        unit,
        f"key {by}",
        now,
    )
    petitions = await place_again(session, now=now)
    return span, Placed(await _re_resolve_called(session, connection, [written], {key}, now=now), petitions)


async def remove_alias(
    session: AsyncSession, *, name: str, valid_from: date | None, now: datetime
) -> tuple[list[Span], Placed]:
    """Let a name mean nothing any more, in the span that begins at `valid_from` or at all, and resolve again what it
    had placed. Returns the spans that were there and how much was placed elsewhere. What a pull says of the name is
    there again with its next pull: to end a name, set `valid_to`."""
    written = clean(name, "name", limit=NAME_LIMIT)
    key = unit_name_key(written) if written else ""
    connection = await driver(session)
    await hold(connection)
    rows = await connection.fetch(
        "DELETE FROM unit_alias WHERE name_key = $1 AND ($2::date IS NULL OR valid_from = $2)"
        " RETURNING unit_code, valid_from, valid_to",
        key,
        valid_from,
    )
    if not written or not rows:
        return [], Placed(0, 0)
    spans = sorted((Span(*row) for row in rows), key=lambda span: span.valid_from)
    petitions = await place_again(session, now=now)
    return spans, Placed(await _re_resolve_called(session, connection, [written], {key}, now=now), petitions)


async def _is_code(connection: asyncpg.Connection, name: str) -> bool:
    try:
        code = normalise_unit_code(name)
    except Invalid:
        return False
    return bool(await connection.fetchval("SELECT 1 FROM unit WHERE code = $1 LIMIT 1", code))


async def re_resolve(session: AsyncSession, *, now: datetime) -> int:
    """After units or aliases changed: resolve again what had only been guessed by the dossier's code or not at all.
    Returns the number of copies that changed."""
    connection = await driver(session)
    return await _again(session, connection, _GUESSED, (), now=now)


class TreeStamp(NamedTuple):
    """When a unit and when an alias last changed."""

    unit: datetime | None
    alias: datetime | None


async def tree_stamp(session: AsyncSession) -> TreeStamp:
    """To be taken before units or aliases are written, and given to follow_tree afterwards. Holds the tree: whoever
    places a dossier waits until the transaction ends, so that nothing is placed by the tree of before."""
    connection = await driver(session)
    await hold(connection)
    row = await connection.fetchrow(
        "SELECT (SELECT max(updated_at) FROM unit), (SELECT max(updated_at) FROM unit_alias)"
    )
    return TreeStamp(*row)


async def follow_tree(session: AsyncSession, since: TreeStamp, *, now: datetime) -> int:
    """What units and aliases that changed since mean for the dossiers: those that a changed name called are resolved
    again, as are those that were only guessed; and the dossiers of units that changed, or whose successors did, are
    counted again. In the transaction of the change. Returns the number of copies placed elsewhere.

    A change of the tree is rare, and is the one thing that looks at all dossiers once."""
    connection = await driver(session)
    names = await connection.fetch(
        "SELECT name_key, name FROM unit_alias WHERE $1::timestamptz IS NULL OR updated_at > $1", since.alias
    )
    moved = await re_resolve(session, now=now)
    await place_again(session, now=now)
    if names:
        called = [row["name"] for row in names]
        moved += await _re_resolve_called(
            session, connection, called, {row["name_key"] for row in names}, now=now
        )
    appending = queue.appending(
        "SELECT DISTINCT d.code FROM dossier d JOIN touched USING (unit_code)",
        consumers=(Consumer.INDICATORS,),
        at="$2::timestamptz",
    )
    await connection.execute(
        f"""
        WITH RECURSIVE touched(unit_code) AS (
          SELECT code FROM unit WHERE $1::timestamptz IS NULL OR updated_at > $1
          UNION SELECT u.code FROM unit u JOIN touched t ON u.successor_code = t.unit_code
        )
        {appending}
        """,  # noqa: S608 - names of ours
        since.unit,
        now,
    )
    return moved


async def _re_resolve_called(
    session: AsyncSession,
    connection: asyncpg.Connection,
    called: Sequence[str],
    keys: set[str],
    *,
    now: datetime,
) -> int:
    """Those that carry one of these names or codes, however spelt, also where it meant another unit until now."""
    names = [each for each in await _distinct(connection, "unit_name") if unit_name_key(each) in keys]
    codes = [each for each in await _distinct(connection, "agency_code") if unit_name_key(each) in keys]
    # A disjunction over three parts of the indexes: each is looked up for itself.
    condition = f"""(code, portal) IN (
        SELECT code, portal FROM dossier WHERE {_CALLED} AND unit_name = ANY($1::text[])
        UNION ALL SELECT code, portal FROM dossier WHERE {_CALLED} AND agency_code = ANY($2::text[])
        UNION ALL SELECT code, portal FROM dossier WHERE unit_via IN ('none', 'alias') AND unit_name IS NULL
                     AND agency_code IS NULL AND split_part(code, '-', 1) = ANY($3::text[]))"""  # noqa: S608
    parts = [name.upper() for name in called]
    return await _again(session, connection, condition, (names, codes, parts), now=now)


async def _distinct(connection: asyncpg.Connection, column: str) -> list[str]:
    """The different values of an indexed column among copies that no code of ours placed, by leaping through its
    index: as many steps as there are values."""
    found: set[str] = set()
    for via in ("none", "dossier_code", "alias"):
        narrowed = f"unit_via = '{via}' AND {column} IS NOT NULL"
        rows = await connection.fetch(
            f"""
            WITH RECURSIVE leap AS (
              (SELECT {column} AS value FROM dossier WHERE {narrowed} ORDER BY {column} LIMIT 1)
              UNION ALL
              SELECT (SELECT {column} FROM dossier WHERE {narrowed} AND {column} > leap.value
                       ORDER BY {column} LIMIT 1)
                FROM leap WHERE leap.value IS NOT NULL
            )
            SELECT value FROM leap WHERE value IS NOT NULL
            """  # noqa: S608 - names of ours
        )
        found.update(row["value"] for row in rows)
    return sorted(found)


async def _again(
    session: AsyncSession,
    connection: asyncpg.Connection,
    condition: str,
    values: Sequence[Any],
    *,
    now: datetime,
) -> int:
    """Resolve the copies that meet a condition again; lock them in key order, as every door does."""
    directory = await load(session, connection)
    cursor = await connection.cursor(
        "SELECT code, portal, agency_code, unit_name, received_at, unit_code, unit_via FROM dossier"  # noqa: S608
        f" WHERE {condition} ORDER BY code, portal FOR UPDATE",
        *values,
    )
    changed = 0
    while rows := await cursor.fetch(_CHUNK):
        moved = _moved(directory, rows)
        changed += len(moved)
        await connection.execute(
            "UPDATE dossier d SET unit_code = t.unit_code, unit_via = t.unit_via"
            " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])"
            " AS t(code, portal, unit_code, unit_via) WHERE d.code = t.code AND d.portal = t.portal",
            *rows_to_columns(moved, 4),
        )
        await queue.enqueue(
            session, [row[0] for row in moved], consumers=(Consumer.RECONCILE, Consumer.INDICATORS), now=now
        )
    return changed


def _moved(directory: Directory, rows: Sequence[asyncpg.Record]) -> list[tuple[Any, ...]]:
    moved: list[tuple[Any, ...]] = []
    for row in rows:
        received_at = row["received_at"] and stamp(row["received_at"])
        unit = directory.resolve(row["agency_code"], row["unit_name"], row["code"], received_at)
        if unit != (row["unit_code"], row["unit_via"]):
            moved.append((row["code"], row["portal"], *unit))
    return moved
