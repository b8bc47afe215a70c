"""What ingest reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shared import dossier_components, reasons
from shared.calendar import TZ, local_day
from shared.db import driver
from shared.identifiers import parse_dossier_code
from shared.models import (
    Assessment,
    AssessmentPeriod,
    Dossier,
    DossierStep,
    Finding,
    Petition,
    Presence,
    Procedure,
    Unit,
)
from shared.vocabulary import BOTH, STATUS_NAMES, Basis, DossierStatus, Fact, Known, Portal


async def versions(
    session: AsyncSession, codes: Iterable[str], *, portal: Portal
) -> list[tuple[str, datetime | None]]:
    """The head versions of these codes' copies."""
    rows = await (await driver(session)).fetch(
        "SELECT code, version FROM dossier WHERE portal = $1 AND code = ANY($2::text[])",
        portal.value,
        list(codes),
    )
    return [(row["code"], row["version"]) for row in rows]


def code_forms(codes: Iterable[str]) -> dict[str, tuple[bool, str]]:
    """(form known, source system) of each code, as the dossier row keeps them."""
    forms: dict[str, tuple[bool, str]] = {}
    for code in codes:
        parsed = parse_dossier_code(code)
        forms[code] = (parsed.known, parsed.source_system)
    return forms


async def has_head(session: AsyncSession, code: str, *, portal: Portal) -> bool:
    return bool(
        await (await driver(session)).fetchval(
            "SELECT 1 FROM dossier WHERE code = $1 AND portal = $2 AND version IS NOT NULL AND vanished_at IS NULL",
            code,
            portal.value,
        )
    )


async def dossier_view(session: AsyncSession, code: str) -> dict[str, Any] | None:
    """Everything that is known of one dossier (schemas.DossierView), or None where no copy is. What indicators and
    reconcile say of it is read from their tables: the database is the contract between services."""
    copies = list(await session.scalars(select(Dossier).where(Dossier.code == code).order_by(Dossier.portal)))
    if not copies:
        return None
    steps = await session.scalars(
        select(DossierStep)
        .where(DossierStep.code == code)
        .order_by(DossierStep.occurred_at, DossierStep.status)
    )
    presence = await session.scalars(
        select(Presence).where(Presence.code == code, Presence.checked_at.is_not(None))
    )
    heads = await session.scalars(
        select(Assessment).where(Assessment.code == code).order_by(Assessment.basis)
    )
    periods = list(
        await session.scalars(
            select(AssessmentPeriod).where(AssessmentPeriod.code == code).order_by(AssessmentPeriod.period)
        )
    )
    findings = await session.scalars(
        select(Finding)
        .where(Finding.subject == "dossier", Finding.code == code)
        .order_by(Finding.opened_at, Finding.kind)
    )
    petitions = await session.scalars(
        select(Petition).where(Petition.dossier_code == code).order_by(Petition.sent_at, Petition.code)
    )
    units = list(
        await session.scalars(
            select(Unit)
            .where(Unit.code.in_([row.unit_code for row in copies if row.unit_code]))
            .order_by(Unit.valid_from)
        )
    )
    mine = select(Procedure.code, Procedure.facts).where(
        Procedure.code.in_({row.procedure_code for row in periods})
    )
    procedures = {each.code: each.facts for each in await session.execute(mine)}
    counted = [
        _counts(row, basis, procedures.get(row.procedure_code, 0))
        for basis in Basis
        for row in periods
        if row.basis in (basis, BOTH)
    ]
    bases = {row["basis"] for row in counted}
    return {
        "code": code,
        "code_known": copies[0].code_known,
        "source_system": copies[0].source_system,
        "copies": [_copy(row, units) for row in copies],
        "steps": [{**_columns(row), "status_name": _status_name(row.status)} for row in steps],
        "presence": [_columns(row) for row in presence],
        "indicators": counted,
        "not_counted": [_not_counted(row) for row in heads if row.basis not in bases and row.assessed_at],
        "petitions": [_columns(row) for row in petitions],
        "findings": [
            {**_columns(row), "id": str(row.id), "sentence": row.evidence.get("sentence", "")}
            for row in findings
        ],
    }


def _columns(row: Any) -> dict[str, Any]:
    """A row's values, times in Việt Nam's."""
    values = {column.key: getattr(row, column.key) for column in row.__table__.columns}
    return {
        name: value.astimezone(TZ) if isinstance(value, datetime) else value for name, value in values.items()
    }


def _status_name(status: int | None) -> str | None:
    return STATUS_NAMES[DossierStatus(status)] if status else None


def _unit_name(row: Dossier, units: Sequence[Unit]) -> str | None:
    """What the unit is called on the day of receipt, by the unit tree; else by its newest name."""
    mine = [unit for unit in units if unit.code == row.unit_code]
    day = local_day(row.received_at) if row.received_at else None
    then = [unit for unit in mine if day and unit.valid_from <= day <= (unit.valid_to or day)]
    return (then or mine)[-1].name if mine else None


def _copy(row: Dossier, units: Sequence[Unit]) -> dict[str, Any]:
    columns = _columns(row)
    supplements = columns["supplements"]
    return {
        **columns,
        "unit_name": row.unit_name or _unit_name(row, units),
        # The driver hands jsonb written as text back as it is; both forms are one to a reader.
        "supplements": msgspec.json.decode(supplements)
        if isinstance(supplements, str)
        else supplements or [],
        "known": [bit.name.lower() for bit in Known if row.known & bit and bit.name],
        "facts": {
            bit.name.lower(): bool(row.facts & bit) for bit in Fact if row.facts_known & bit and bit.name
        },
        "status_name": _status_name(row.status),
    }


def _counts(row: AssessmentPeriod, basis: Basis, procedure: int) -> dict[str, Any]:
    """procedure: bits of vocabulary.ProcedureFact of its procedure, 0 where it is not known."""
    why = reasons.explain(row.reason, row.bits, row.end_at, row.deadline_at)
    satisfaction = reasons.explain_satisfaction(row.bits)
    return {
        **_columns(row),
        "basis": basis,
        "component": "2.1",
        "on_time": bool(row.bits & reasons.Bit.ON_TIME),
        "sentence": why.vi,
        "citation": why.citation,
        "satisfaction": {
            "component": "5.4",
            "satisfied": row.bits & (reasons.Bit.ON_TIME | reasons.Bit.COMPLAINED) == reasons.Bit.ON_TIME,
            "complained": bool(row.bits & reasons.Bit.COMPLAINED),
            "sentence": satisfaction.vi,
            "citation": satisfaction.citation,
        },
        "components": [
            each._asdict() for each in dossier_components.tell_all(row.bits, procedure, basis, why)
        ],
    }


def _not_counted(row: Assessment) -> dict[str, Any]:
    why = reasons.explain_source(row.source)
    return {"component": "2.1", "basis": row.basis, "reason": row.source, "sentence": why.vi}
