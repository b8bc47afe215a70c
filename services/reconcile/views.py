"""What the endpoints about findings and copies read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.kinds import KINDS, RESPONSIBLE_NAMES
from services.reconcile.schemas import CopiesView
from shared.db import driver
from shared.models import Finding, FindingEvent


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """Which findings are asked for; None: any. unit_code: that unit and what is below it."""

    unit_code: str
    subject: str | None = None
    kind: str | None = None
    state: str | None = None
    responsible: str | None = None
    source_system: str | None = None


def within(column: Any, unit_code: str) -> ColumnElement[bool] | None:
    """A unit and its subtree, as two ranges that the index serves ("/" follows "."); the province is
    everything."""
    if "." not in unit_code:
        return None
    return or_(column == unit_code, and_(column >= f"{unit_code}.", column < f"{unit_code}/"))


def _filtered(wanted: FindingFilter) -> Select[Any]:
    statement = select(Finding)
    scope = within(Finding.unit_code, wanted.unit_code)
    if scope is not None:
        statement = statement.where(scope)
    for name in ("subject", "kind", "state", "responsible", "source_system"):
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(getattr(Finding, name) == value)
    return statement


async def findings(
    session: AsyncSession, wanted: FindingFilter, *, after: UUID | None, limit: int
) -> Sequence[Finding]:
    """The next findings in order of first opening."""
    statement = _filtered(wanted).order_by(Finding.id).limit(limit)
    if after is not None:
        statement = statement.where(Finding.id > after)
    return (await session.scalars(statement)).all()


async def finding(session: AsyncSession, finding_id: UUID) -> Finding | None:
    row: Finding | None = await session.scalar(select(Finding).where(Finding.id == finding_id))
    return row


async def events(session: AsyncSession, found: Finding) -> Sequence[FindingEvent]:
    """A finding's history, oldest first."""
    statement = (
        select(FindingEvent)
        .where(FindingEvent.finding_id == found.id, FindingEvent.code == found.code)
        .order_by(FindingEvent.at, FindingEvent.id)
    )
    return (await session.scalars(statement)).all()


def finding_view(row: Finding) -> dict[str, Any]:
    """schemas.FindingView of a row."""
    names = (
        "id", "subject", "code", "kind", "key", "state", "unit_code", "procedure_code", "responsible",
        "source_system", "opened_at", "resolved_at", "changed_at", "times_opened",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names} | {
        "kind_name": KINDS[row.subject, row.kind].title,
        "responsible_name": RESPONSIBLE_NAMES[row.responsible],
        "sentence": row.evidence.get("sentence", ""),
    }


CSV_HEADER = (
    "id", "subject", "code", "kind", "kind_name", "key", "state", "unit_code", "procedure_code",
    "responsible", "responsible_name", "source_system", "sentence", "opened_at", "resolved_at",
    "changed_at", "times_opened",
)  # fmt: skip


# --- the copies of dossiers, counted ------------------------------------------------------------------------


class Scope(NamedTuple):
    """A unit's subtree, the dossiers received in [start, end) (None: received at all), and of which source
    system (None: any)."""

    unit_code: str
    start: datetime | None
    end: datetime | None
    source_system: str | None = None


_SCOPE = (
    "c.received_at IS NOT NULL"
    " AND ($1::text IS NULL OR c.unit_code = $1 OR (c.unit_code >= $1 || '.' AND c.unit_code < $1 || '/'))"
    " AND ($2::timestamptz IS NULL OR c.received_at >= $2)"
    " AND ($3::timestamptz IS NULL OR c.received_at < $3)"
    " AND ($4::text IS NULL OR c.source_system = $4)"
)


def _arguments(scope: Scope) -> tuple[Any, ...]:
    unit = scope.unit_code if "." in scope.unit_code else None
    return (unit, scope.start, scope.end, scope.source_system)


async def copies_counted(
    session: AsyncSession, scope: Scope
) -> tuple[dict[str, dict[str, int]], datetime | None]:
    """schemas.CopiesView by source system, and when the newest of these comparisons was made."""
    rows = await (await driver(session)).fetch(
        "SELECT coalesce(c.source_system, 'unknown') AS source_system, count(*) AS dossiers,"  # noqa: S608 - our text
        " count(*) FILTER (WHERE c.copies & 1 > 0) AS provincial,"
        " count(*) FILTER (WHERE c.copies & 2 > 0) AS sent,"
        " count(*) FILTER (WHERE c.copies & 4 > 0) AS national,"
        " count(*) FILTER (WHERE c.copies & 4 = 0 AND p.found) AS confirmed,"
        " count(*) FILTER (WHERE c.copies & 4 = 0 AND NOT p.found) AS absent,"
        " count(*) FILTER (WHERE c.copies & 4 = 0 AND p.found IS NULL) AS not_asked,"
        " max(c.compared_at) AS as_of"
        " FROM comparison c LEFT JOIN presence p ON p.code = c.code AND p.portal = 'national'"
        f" WHERE {_SCOPE} GROUP BY 1 ORDER BY 1",
        *_arguments(scope),
    )
    counted: dict[str, dict[str, int]] = {}
    newest: list[datetime] = []
    for row in rows:
        counts = dict(row)
        newest.append(counts.pop("as_of"))
        counted[counts.pop("source_system")] = counts
    return counted, max(newest, default=None)


def all_copies(counted: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """schemas.CopiesView of all source systems together. Pure."""
    return {name: sum(counts[name] for counts in counted.values()) for name in CopiesView.model_fields}


class CountedFindings(NamedTuple):
    """Open findings of dossiers: by kind, in the order of the rules' table, and who acts first; and how many by source
    system."""

    kinds: list[dict[str, Any]]
    by_source: Counter[str]


async def findings_counted(session: AsyncSession, scope: Scope) -> CountedFindings:
    rows = await (await driver(session)).fetch(
        "SELECT f.kind, f.responsible, coalesce(c.source_system, 'unknown') AS source_system,"  # noqa: S608
        " count(*) AS findings,"
        " count(DISTINCT f.code) AS dossiers"
        " FROM finding f JOIN comparison c ON c.code = f.code"
        f" WHERE f.subject = 'dossier' AND f.state = 'open' AND {_SCOPE} GROUP BY 1, 2, 3",
        *_arguments(scope),
    )
    found, dossiers = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    by_source = Counter[str]()
    for kind, responsible, source_system, findings, of in rows:
        found[kind, responsible] += findings
        dossiers[kind, responsible] += of  # a dossier has one source system
        by_source[source_system] += findings
    kinds = [
        {
            "kind": kind,
            "kind_name": described.title,
            "responsible": responsible,
            "findings": found[kind, responsible],
            "dossiers": dossiers[kind, responsible],
        }
        for (subject, kind), described in KINDS.items()
        for responsible in RESPONSIBLE_NAMES
        if subject == "dossier" and (kind, responsible) in found
    ]
    return CountedFindings(kinds, by_source)


async def sources(session: AsyncSession) -> list[dict[str, Any]]:
    """How far each portal's dossiers are known."""
    rows = await (await driver(session)).fetch(
        "SELECT portal, complete_through FROM sync_state WHERE subject = 'dossiers'"
    )
    through: dict[str, datetime | None] = {row["portal"]: row["complete_through"] for row in rows}
    return [
        {"portal": portal, "complete_through": through.get(portal)} for portal in ("provincial", "national")
    ]
