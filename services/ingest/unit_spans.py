"""Units through time, as files tell them: spans of days joined, split and closed; names of before.

`merged` is pure; the rest writes unit and unit_alias, set-based, in the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.files.units import ListedUnit, Names, Successor, is_made, names
from services.ingest.resolve import hold
from shared.db import driver, rows_to_columns
from shared.identifiers import unit_name_key
from shared.vocabulary import UnitLevel

SOURCE = "import"
LONG_AGO = date(1990, 1, 1)
"""Since when a name of before was in use: since before any dossier that we could hear of."""


class Span(NamedTuple):
    """A row of `unit`, in the order of its columns."""

    code: str
    valid_from: date
    valid_to: date | None
    name: str
    level: str
    parent_code: str | None
    successor_code: str | None
    statistical_code: str | None
    mark: str
    source: str


def merged(spans: Sequence[Span], told: ListedUnit) -> list[Span]:
    """The spans of one unit's code after a file has told of it. Pure; in order of days, without overlap.

    A list says what is so from its day on, until another says otherwise: the same again changes nothing (an earlier day
    lengthens the span, a last day ends it), another name, level or parent ends the span on the day before. What a
    portal has told is not overwritten, only completed (statistical code, end, successor): its next pull would turn it
    back."""
    rows = sorted(spans, key=lambda span: span.valid_from)
    at = next((n for n in reversed(range(len(rows))) if rows[n].valid_from <= told.valid_from), None)
    before = rows[at] if at is not None else None
    covering = before is not None and (before.valid_to is None or before.valid_to >= told.valid_from)
    if at is not None and before is not None and covering:
        if _same(before, told) or before.source != SOURCE or before.valid_from == told.valid_from:
            rows[at] = _completed(before, told)
            return _without_overlap(rows)
        rows[at] = before._replace(valid_to=told.valid_from - timedelta(days=1))
        rows.insert(at + 1, _span(told, until=before.valid_to))
        return _without_overlap(rows)
    following = 0 if at is None else at + 1
    after = rows[following] if following < len(rows) else None
    if after is not None and told.valid_to is None:
        if _same(after, told) and after.source == SOURCE:
            rows[following] = _completed(after, told)._replace(valid_from=told.valid_from)
        else:
            rows.insert(following, _span(told, until=after.valid_from - timedelta(days=1)))
        return rows
    rows.append(_span(told, until=None))
    return _without_overlap(sorted(rows, key=lambda span: span.valid_from))


def _same(span: Span, told: ListedUnit) -> bool:
    return (unit_name_key(span.name), span.level, span.parent_code) == (
        unit_name_key(told.name),
        told.level.value,
        told.parent_code,
    )


def _completed(span: Span, told: ListedUnit) -> Span:
    mine = span.source == SOURCE
    return span._replace(
        name=told.name if mine else span.name,
        level=told.level.value if mine else span.level,
        parent_code=told.parent_code if mine else span.parent_code,
        valid_to=told.valid_to or span.valid_to,
        successor_code=told.successor_code or span.successor_code,
        statistical_code=told.statistical_code or span.statistical_code,
    )


def _span(told: ListedUnit, *, until: date | None) -> Span:
    return Span(
        told.code,
        told.valid_from,
        told.valid_to or until,
        told.name,
        told.level.value,
        told.parent_code,
        told.successor_code,
        told.statistical_code,
        told.mark.value,
        SOURCE,
    )


def _without_overlap(rows: list[Span]) -> list[Span]:
    """Where an end that was told reaches into the next span, the next one's first day is what counts."""
    for n, following in enumerate(rows[1:]):
        until = rows[n].valid_to
        if until is None or until >= following.valid_from:
            rows[n] = rows[n]._replace(valid_to=following.valid_from - timedelta(days=1))
    return rows


_COLUMNS = ", ".join(Span._fields)


async def write_units(
    session: AsyncSession, told: Sequence[ListedUnit], *, now: datetime
) -> tuple[int, list[str]]:
    """Merge units into the tree, and let their names mean them. Returns (units changed or new, names that two of the
    units bear and that mean neither)."""
    connection = await driver(session)
    await hold(connection)
    codes = sorted({row.code for row in told})
    before = await _spans(connection, codes)
    after = {code: list(spans) for code, spans in before.items()}
    for row in told:
        after[row.code] = merged(after.get(row.code, []), row)
    changed = sorted(code for code in codes if after[code] != before.get(code))
    await connection.execute("DELETE FROM unit WHERE code = ANY($1::text[])", changed)
    rows = [tuple(span) for code in changed for span in after[code]]
    await connection.execute(
        f"""
        INSERT INTO unit ({_COLUMNS}, updated_at)
        SELECT t.*, greatest($11, (SELECT max(updated_at) FROM unit) + interval '1 us')
          FROM unnest($1::text[], $2::date[], $3::date[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                      $9::text[], $10::text[]) AS t
        """,  # noqa: S608
        *rows_to_columns(rows, len(Span._fields)),
        now,
    )
    # A commune of before means today's unit, which a list of predecessors tells; a district of before means itself.
    named = [
        span
        for code in codes
        for span in after[code]
        if not is_made(code) or span.level == UnitLevel.DISTRICT.value
    ]
    ambiguous = _borne_twice(named)
    spans = {
        (unit_name_key(span.name), span.valid_from): (span.name, span.valid_to, span.code)
        for span in named
        if unit_name_key(span.name) not in ambiguous
    }
    await _write_aliases(connection, spans, now=now)
    return len(changed), sorted(ambiguous.values())


def _borne_twice(spans: Sequence[Span]) -> dict[str, str]:
    """Name key → name, of names that two units bear on one day."""
    by_key: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_key[unit_name_key(span.name)].append(span)
    return {
        key: of[0].name
        for key, of in by_key.items()
        if any(
            a.code < b.code
            and a.valid_from <= (b.valid_to or date.max)
            and b.valid_from <= (a.valid_to or date.max)
            for a in of
            for b in of
        )
    }


async def _spans(connection: asyncpg.Connection, codes: Sequence[str]) -> dict[str, list[Span]]:
    found: defaultdict[str, list[Span]] = defaultdict(list)
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM unit WHERE code = ANY($1::text[]) ORDER BY code, valid_from",  # noqa: S608
        list(codes),
    )
    for row in rows:
        found[row["code"]].append(Span(*row))
    return dict(found)


async def _write_aliases(
    connection: asyncpg.Connection,
    spans: Mapping[tuple[str, date], tuple[str, date | None, str]],
    *,
    now: datetime,
) -> int:
    """(name key, first day) → (name, last day, unit). Our own spans of the name give way; where somebody else's shares
    a day, the name is theirs. Returns how many rows changed."""
    rows = [(key, since, until, name, code) for (key, since), (name, until, code) in sorted(spans.items())]
    columns = rows_to_columns(rows, 5)
    incoming = (
        "SELECT * FROM unnest($1::text[], $2::date[], $3::date[], $4::text[], $5::text[])"
        " AS t(name_key, valid_from, valid_to, name, unit_code)"
    )
    await connection.execute(
        f"""
        DELETE FROM unit_alias a USING ({incoming}) t
         WHERE a.name_key = t.name_key AND a.source = $6 AND a.valid_from <> t.valid_from
           AND a.valid_from <= coalesce(t.valid_to, 'infinity') AND coalesce(a.valid_to, 'infinity') >= t.valid_from
        """,  # noqa: S608
        *columns,
        SOURCE,
    )
    changed = await connection.fetch(
        f"""
        INSERT INTO unit_alias AS a (name_key, valid_from, valid_to, name, unit_code, source, updated_at)
        SELECT t.name_key, t.valid_from, t.valid_to, t.name, t.unit_code, $6,
               greatest($7, (SELECT max(updated_at) FROM unit_alias) + interval '1 us')
          FROM ({incoming}) t
         WHERE NOT EXISTS (
           SELECT FROM unit_alias o WHERE o.name_key = t.name_key AND o.source <> $6
              AND o.valid_from <= coalesce(t.valid_to, 'infinity') AND coalesce(o.valid_to, 'infinity') >= t.valid_from)
         ORDER BY 1, 2
        ON CONFLICT (name_key, valid_from) DO UPDATE SET valid_to = excluded.valid_to, name = excluded.name,
          unit_code = excluded.unit_code, updated_at = excluded.updated_at
         WHERE (a.valid_to, a.name, a.unit_code) IS DISTINCT FROM (excluded.valid_to, excluded.name, excluded.unit_code)
        RETURNING name_key
        """,  # noqa: S608
        *columns,
        SOURCE,
        now,
    )
    return len(changed)


class Written(NamedTuple):
    """`aliases`: changed. `successors`: units of before that now name who took over. `unknown`: rows (by their place)
    whose unit of today is not known. `ambiguous`: names that mean no unit."""

    aliases: int
    successors: int
    unknown: list[int]
    ambiguous: list[str]


async def write_predecessors(
    session: AsyncSession, told: Sequence[Successor], *, last_day: date, now: datetime
) -> Written:
    """Let the names of before mean today's units until `last_day`, and let units of before name their successor."""
    connection = await driver(session)
    await hold(connection)
    today = await connection.fetch(
        "SELECT code, name, statistical_code, level FROM unit WHERE valid_to IS NULL OR valid_to > $1",
        last_day,
    )
    by_code = {row["code"]: row["code"] for row in today if not is_made(row["code"])}
    by_code |= {row["statistical_code"]: row["code"] for row in today if row["statistical_code"]}
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    for row in today:
        by_name[unit_name_key(row["name"])].add(row["code"])
    known: list[tuple[str, Successor]] = []
    unknown: list[int] = []
    for place, successor in enumerate(told):
        code = by_code.get(successor.code or "")
        named = by_name.get(unit_name_key(successor.name), set())
        if code is None and len(named) == 1:
            code = next(iter(named))
        if code is None:
            unknown.append(place)
        else:
            known.append((code, successor))
    found = names((code, successor.predecessors) for code, successor in known)
    spans = {(unit_name_key(name), LONG_AGO): (name, last_day, code) for name, code in found.aliases}
    aliases = await _write_aliases(connection, spans, now=now)
    return Written(
        aliases, await _succeed(connection, found, last_day=last_day, now=now), unknown, found.ambiguous
    )


async def _succeed(connection: asyncpg.Connection, found: Names, *, last_day: date, now: datetime) -> int:
    """Units in force on the last day of before, found by their name, alone or with their district's."""
    rows = await connection.fetch(
        "SELECT u.code, u.valid_from, u.name, d.name AS district FROM unit u LEFT JOIN unit d"
        " ON d.code = u.parent_code AND d.valid_from <= $1 AND (d.valid_to IS NULL OR d.valid_to >= $1)"
        " WHERE u.level = 'commune' AND u.valid_from <= $1 AND (u.valid_to IS NULL OR u.valid_to >= $1)",
        last_day,
    )
    codes = {unit_name_key(name): code for name, code in found.aliases}
    bare: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        bare[unit_name_key(row["name"])] += 1
    changes: list[tuple[str, date, str]] = []
    for row in rows:
        key = unit_name_key(row["name"])
        successor = codes.get(unit_name_key(f"{row['name']}, {row['district']}")) if row["district"] else None
        if successor is None and bare[key] == 1:
            successor = codes.get(key)
        if successor is not None:
            changes.append((row["code"], row["valid_from"], successor))
    changed = await connection.fetch(
        """
        UPDATE unit u SET successor_code = t.successor, valid_to = coalesce(u.valid_to, $4),
               updated_at = greatest($5, (SELECT max(updated_at) FROM unit) + interval '1 us')
          FROM unnest($1::text[], $2::date[], $3::text[]) AS t(code, valid_from, successor)
         WHERE u.code = t.code AND u.valid_from = t.valid_from AND u.code <> t.successor
           AND (u.successor_code, u.valid_to) IS DISTINCT FROM (t.successor, coalesce(u.valid_to, $4))
        RETURNING u.code
        """,
        *rows_to_columns(changes, 3),
        last_day,
        now,
    )
    return len(changed)
