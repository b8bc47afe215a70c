"""What reconcile flags. Written by reconcile only."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, SmallInteger, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Finding(Record):
    """One identity per (subject, code, kind, key) for all its life: it opens, resolves by itself when the cause is
    gone, and reopens. `code` is a dossier's or a procedure's; `key` tells apart findings of one kind on one code
    ("" where there is only one). `evidence`: both values, both sources, when each was learnt."""

    __tablename__ = "finding"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    subject: Mapped[str] = mapped_column(CODE)
    kind: Mapped[str] = mapped_column(CODE)
    key: Mapped[str] = mapped_column(CODE)
    state: Mapped[str] = mapped_column(CODE)
    unit_code: Mapped[str] = mapped_column(CODE)
    procedure_code: Mapped[str | None] = mapped_column(CODE)
    responsible: Mapped[str] = mapped_column(CODE)
    source_system: Mapped[str | None] = mapped_column(CODE)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    opened_at: Mapped[Moment]
    resolved_at: Mapped[datetime | None]
    changed_at: Mapped[Moment]
    times_opened: Mapped[int] = mapped_column(SmallInteger)

    __table_args__ = (
        Index("uq_finding_identity", "subject", "code", "kind", "key", unique=True),
        Index("ix_finding_id", "id"),
        Index("ix_finding_unit", "unit_code", "state", "kind"),
    )


class FindingEvent(Record):
    """Append-only history of a finding: opened, resolved, reopened, evidence changed."""

    __tablename__ = "finding_event"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    finding_id: Mapped[UUID] = mapped_column(Uuid)
    at: Mapped[Moment]
    event: Mapped[str] = mapped_column(CODE)
    actor: Mapped[str]
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index(None, "finding_id", "at"),)


class Comparison(Record):
    """The row that a worker locks while it compares a dossier's copies, and what it last saw.
    `copies` bitmask: 1 provincial, 2 sent, 4 national; `wake_at`: the delayed change already written. `pairing`: which
    half of a dossier with two codes it may be: 1 only the province has it, 2 everybody but the province, 0 neither.
    `compared_at`: when it was last judged; a full comparison that finds that there is nothing to judge leaves it."""

    __tablename__ = "comparison"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    copies: Mapped[int] = mapped_column(SmallInteger)
    unit_code: Mapped[str | None] = mapped_column(CODE)
    procedure_code: Mapped[str | None] = mapped_column(CODE)
    source_system: Mapped[str | None] = mapped_column(CODE)
    received_at: Mapped[datetime | None]
    pairing: Mapped[int] = mapped_column(SmallInteger)
    compared_at: Mapped[datetime | None]
    wake_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "unit_code", "received_at"),)
