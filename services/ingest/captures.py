"""Captures as rows: begun, filled body by body, ended once and then never changed. Set-based; the caller commits."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.capture_checks import Case, Earlier, Named, missing_of, run
from services.ingest.capture_plan import report_day
from services.ingest.portals.reporting import Answered
from services.ingest.portals.reporting_messages import PARSER, Report, ReportInvalid, read
from services.ingest.portals.reporting_requests import PATHS, Endpoint
from shared import queue
from shared.calendar import Period, local_day
from shared.db import driver, rows_to_columns
from shared.errors import Invalid
from shared.identifiers import normalise_unit_code, unit_name_key
from shared.vocabulary import Consumer

LEVEL = 6
"""Of zlib: a body shrinks to about a tenth."""


class Open(NamedTuple):
    """A capture under way, and what of it has come."""

    id: int
    period: str
    began_at: datetime
    answered: frozenset[Endpoint]


async def begin(session: AsyncSession, *, run_id: int, period: Period, scope: str, now: datetime) -> Open:
    row = await (await driver(session)).fetchrow(
        "INSERT INTO capture (run_id, period, scope, state, began_at, missing, parser, politeness)"
        " VALUES ($1, $2, $3, 'open', $4, $5, $6, '{}') RETURNING id",
        run_id,
        period.key,
        scope,
        now,
        [each.value for each in Endpoint],
        PARSER,
    )
    return Open(row["id"], period.key, now, frozenset())


async def under_way(session: AsyncSession) -> list[Open]:
    """Captures that were begun and not ended, oldest first: those of a run that was killed."""
    rows = await (await driver(session)).fetch(
        "SELECT c.id, c.period, c.began_at,"
        " array_remove(array_agg(b.endpoint) FILTER (WHERE b.digest IS NOT NULL), NULL) AS answered"
        " FROM capture c LEFT JOIN capture_body b ON b.capture_id = c.id"
        " WHERE c.state = 'open' GROUP BY c.id ORDER BY c.id"
    )
    return [
        Open(row["id"], row["period"], row["began_at"], frozenset(map(Endpoint, row["answered"] or ())))
        for row in rows
    ]


async def keep_body(
    session: AsyncSession,
    capture_id: int,
    endpoint: Endpoint,
    request: Mapping[str, Any],
    answered: Answered,
    *,
    now: datetime,
) -> None:
    """The body as it came, before anything is read from it; the same bytes are kept once."""
    digest = hashlib.sha256(answered.body).digest()
    connection = await driver(session)
    await connection.execute(
        "INSERT INTO capture_content AS c (digest, size, body, first_at, verified_at)"
        " VALUES ($1, $2, $3, $4, $4) ON CONFLICT (digest) DO UPDATE"
        " SET verified_at = greatest(c.verified_at, excluded.verified_at)",
        digest,
        len(answered.body),
        zlib.compress(answered.body, LEVEL),
        now,
    )
    await _attempt(
        connection,
        capture_id,
        endpoint,
        request,
        now,
        attempts=answered.attempts,
        status=answered.status,
        content_type=answered.content_type,
        digest=digest,
        error=None,
    )


async def keep_failure(
    session: AsyncSession,
    capture_id: int,
    endpoint: Endpoint,
    request: Mapping[str, Any],
    *,
    status: int | None,
    error: str,
    now: datetime,
) -> None:
    """An attempt without an observation: what came is not kept."""
    await _attempt(
        await driver(session),
        capture_id,
        endpoint,
        request,
        now,
        attempts=1,
        status=status,
        content_type=None,
        digest=None,
        error=error,
    )


async def _attempt(
    connection: asyncpg.Connection,
    capture_id: int,
    endpoint: Endpoint,
    request: Mapping[str, Any],
    now: datetime,
    *,
    attempts: int,
    status: int | None,
    content_type: str | None,
    digest: bytes | None,
    error: str | None,
) -> None:
    await connection.execute(
        "INSERT INTO capture_body AS b (capture_id, endpoint, path, request, asked_at, attempts, status,"
        " content_type, digest, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (capture_id, endpoint) DO UPDATE SET request = excluded.request,"
        " asked_at = excluded.asked_at, attempts = b.attempts + excluded.attempts, status = excluded.status,"
        " content_type = excluded.content_type, digest = excluded.digest, error = excluded.error",
        capture_id,
        endpoint.value,
        PATHS[endpoint],
        msgspec.json.encode(request).decode(),
        now,
        attempts,
        status,
        content_type,
        digest,
        error,
    )


async def content(session: AsyncSession, capture_id: int, endpoint: Endpoint) -> bytes | None:
    """A body as it came; None where there is none."""
    found = await (await driver(session)).fetchval(
        "SELECT c.body FROM capture_body b JOIN capture_content c ON c.digest = b.digest"
        " WHERE b.capture_id = $1 AND b.endpoint = $2",
        capture_id,
        endpoint.value,
    )
    return None if found is None else zlib.decompress(found)


async def known_periods(session: AsyncSession, scope: str) -> set[str]:
    """Periods with a complete capture from after their end."""
    rows = await (await driver(session)).fetch(
        "SELECT period, max(captured_at) AS at FROM capture"
        " WHERE scope = $1 AND state = 'complete' GROUP BY period",
        scope,
    )
    return {row["period"] for row in rows if row["at"] >= Period.parse(row["period"]).end}


async def last_root(session: AsyncSession, scope: str) -> UUID | None:
    """The id under which the province was asked for last."""
    found: UUID | None = await (await driver(session)).fetchval(
        "SELECT root_id FROM capture WHERE scope = $1 AND root_id IS NOT NULL ORDER BY id DESC LIMIT 1", scope
    )
    return found


async def set_root(session: AsyncSession, capture_id: int, root: UUID) -> None:
    await (await driver(session)).execute("UPDATE capture SET root_id = $2 WHERE id = $1", capture_id, root)


class Told(NamedTuple):
    """A capture in a line: `failed`: checks that do not hold."""

    id: int
    period: str
    state: str
    missing: list[str]
    failed: list[str]


async def of_run(session: AsyncSession, run_id: int) -> list[Told]:
    """What a run has captured, in its order."""
    rows = await (await driver(session)).fetch(
        "SELECT c.id, c.period, c.state, c.missing,"
        " ARRAY(SELECT k.code FROM capture_check k WHERE k.capture_id = c.id AND NOT k.holds ORDER BY k.code)"
        " FROM capture c WHERE c.run_id = $1 ORDER BY c.id",
        run_id,
    )
    return [Told(*row) for row in rows]


def told(found: list[Told]) -> list[str]:
    """For whoever asked on the command line."""
    lines = []
    for each in found:
        missing = f"; missing: {', '.join(each.missing)}" if each.missing else ""
        failed = f"; not consistent: {', '.join(each.failed)}" if each.failed else ""
        lines.append(f"capture {each.id} {each.period}: {each.state}{missing}{failed}")
    return lines


async def end(
    session: AsyncSession, capture_id: int, *, now: datetime, politeness: Mapping[str, Any]
) -> list[str]:
    """Read what came, write its figures and checks, and end the capture: complete where every endpoint was
    understood. Indicators are told. Returns the endpoints that are missing. Does nothing to one that has ended."""
    connection = await driver(session)
    head = await connection.fetchrow(
        "SELECT period, scope, root_id, began_at FROM capture WHERE id = $1 AND state = 'open' FOR UPDATE",
        capture_id,
    )
    if head is None:
        return []
    reports = await _reports(connection, capture_id, head["root_id"])
    period, scope = Period.parse(head["period"]), head["scope"]
    at = await connection.fetchval(
        "SELECT max(asked_at) FROM capture_body WHERE capture_id = $1 AND digest IS NOT NULL", capture_id
    )
    captured_at = at or now
    units = await _units(connection, reports, period, now)
    missing = [each.value for each in Endpoint if each not in reports]
    earlier = await _earlier(connection, scope, period, captured_at)
    known = await _known_units(connection, scope, period, now)
    case = Case(reports, units, known, earlier, captured_at >= period.end)
    absent = missing_of(case)
    await connection.copy_records_to_table(
        "captured_unit",
        columns=["capture_id", "department_id", "department_code", "name", "kind", "unit_code", "missing"],
        records=[
            (capture_id, identity, unit.code, unit.name, unit.kind, unit.unit_code, absent.get(identity, []))
            for identity, unit in units.items()
        ],
    )
    await connection.copy_records_to_table(
        "captured_figure", columns=_FIGURE, records=_figures(capture_id, reports)
    )
    checks = run(case)
    await connection.execute(
        "INSERT INTO capture_check (capture_id, code, holds, checked, failed, detail)"
        " SELECT $1, * FROM unnest($2::text[], $3::boolean[], $4::int[], $5::int[], $6::jsonb[])",
        capture_id,
        *rows_to_columns(
            [
                (each.code, each.holds, each.checked, each.failed, msgspec.json.encode(each.detail).decode())
                for each in checks
            ],
            5,
        ),
    )
    await connection.execute(
        "UPDATE capture SET state = $2, captured_at = $3, report_on = $4, missing = $5, politeness = $6"
        " WHERE id = $1",
        capture_id,
        "partial" if missing else "complete",
        captured_at,
        report_day(captured_at),
        missing,
        msgspec.json.encode(politeness).decode(),
    )
    await queue.enqueue(session, [queue.CAPTURES], consumers=(Consumer.INDICATORS,), now=now)
    return missing


async def _reports(
    connection: asyncpg.Connection, capture_id: int, root: UUID | None
) -> dict[Endpoint, Report]:
    """The bodies that can be understood, in the order of the endpoints; of the others the row says why not."""
    rows = await connection.fetch(
        "SELECT b.endpoint, c.body FROM capture_body b JOIN capture_content c ON c.digest = b.digest"
        " WHERE b.capture_id = $1",
        capture_id,
    )
    bodies = {Endpoint(row["endpoint"]): zlib.decompress(row["body"]) for row in rows}
    reports: dict[Endpoint, Report] = {}
    for endpoint in Endpoint:
        if endpoint not in bodies:
            continue
        source, error = None, None
        try:
            reports[endpoint] = read(endpoint, bodies[endpoint], root=root)
            source = reports[endpoint].source
        except ReportInvalid as invalid:
            error = f"ReportInvalid: {invalid}"
        await connection.execute(
            "UPDATE capture_body SET source = $3, error = $4 WHERE capture_id = $1 AND endpoint = $2",
            capture_id,
            endpoint.value,
            source,
            error,
        )
    return reports


_FIGURE = [
    "capture_id", "endpoint", "department_id", "component", "given", "numerator", "denominator", "ratio",
    "score", "max_score", "data_quality", "counts",
]  # fmt: skip


def _figures(capture_id: int, reports: Mapping[Endpoint, Report]) -> list[tuple[Any, ...]]:
    return [
        (
            capture_id,
            endpoint.value,
            *each[:-1],
            None if each.counts is None else msgspec.json.encode(each.counts).decode(),
        )
        for endpoint, report in reports.items()
        for each in report.figures
    ]


async def _units(
    connection: asyncpg.Connection, reports: Mapping[Endpoint, Report], period: Period, now: datetime
) -> dict[UUID, Named]:
    """The union over all endpoints: two of them tell no codes and are joined by id (§4.3)."""
    codes = {row["code"] for row in await connection.fetch("SELECT DISTINCT code FROM unit")}
    names = {
        row["name_key"]: row["unit_code"]
        for row in await connection.fetch(
            "SELECT name_key, unit_code FROM unit_alias WHERE valid_from <= $1"
            " AND (valid_to IS NULL OR valid_to >= $1) ORDER BY valid_from",
            min(period.last_day, local_day(now)),
        )
    }
    found: dict[UUID, Named] = {}
    # The national list last: there our province is one of many, elsewhere it is the root.
    for endpoint in sorted(reports, key=lambda each: each is Endpoint.NATIONAL):
        for row in reports[endpoint].rows:
            before = found.get(row.department_id, Named(None, row.name, "unknown", None))
            code = before.code or row.code
            kind = row.kind if before.kind == "unknown" else before.kind
            unit_code = before.unit_code or _resolved(code, row.name, codes, names)
            found[row.department_id] = Named(code, before.name, kind, unit_code)
    return found


def _resolved(code: str | None, name: str, codes: set[str], names: Mapping[str, str]) -> str | None:
    """Our unit: by its code, else by its name."""
    if code is not None:
        try:
            normal = normalise_unit_code(code)
        except Invalid:
            normal = ""
        if normal in codes:
            return normal
    return names.get(unit_name_key(name))


async def _known_units(
    connection: asyncpg.Connection, scope: str, period: Period, now: datetime
) -> frozenset[str]:
    rows = await connection.fetch(
        "SELECT code FROM unit WHERE starts_with(code, $1 || '.') AND level IN ('department', 'commune')"
        " AND valid_from <= $2 AND (valid_to IS NULL OR valid_to >= $2)",
        scope,
        min(period.last_day, local_day(now)),
    )
    return frozenset(row["code"] for row in rows)


async def _earlier(
    connection: asyncpg.Connection, scope: str, period: Period, at: datetime
) -> Earlier | None:
    """What this capture is held against: of an ended period the first complete one after its end (the month as it was
    first seen closed), of a running one the newest."""
    ended = at >= period.end
    order = "ASC" if ended else "DESC"
    found = await connection.fetchval(
        "SELECT id FROM capture WHERE scope = $1 AND period = $2 AND state = 'complete'"  # noqa: S608 - ASC or DESC
        f" AND ($3::timestamptz IS NULL OR captured_at >= $3) ORDER BY captured_at {order}, id {order} LIMIT 1",
        scope,
        period.key,
        period.end if ended else None,
    )
    if found is None:
        return None
    figures = await connection.fetch(
        "SELECT endpoint, department_id, component, numerator, denominator, score FROM captured_figure"
        " WHERE capture_id = $1 AND endpoint <> 'national'",
        found,
    )
    units = await connection.fetch(
        "SELECT department_id, department_code FROM captured_unit"
        " WHERE capture_id = $1 AND department_code IS NOT NULL",
        found,
    )
    return Earlier(
        {tuple(row)[:3]: tuple(row)[3:] for row in figures},
        {row["department_id"]: row["department_code"] for row in units},
    )
