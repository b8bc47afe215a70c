"""What was true before: dossiers that became overdue or ceased to be, and each day's figures. Written by indicators."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class OverdueChange(Record):
    """A dossier became overdue, or ceased to be (`overdue`: what it is now), as a judgement of the moment `at` found.
    Only ever appended. `period`: the month whose judgement it is; `reason`, `deadline_at`, `end_at`: as in
    assessment_period, of the newer row; null where the dossier counts no more."""

    __tablename__ = "overdue_change"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[Moment]
    basis: Mapped[str] = mapped_column(CODE)
    period: Mapped[str] = mapped_column(CODE)
    unit_code: Mapped[Code]
    procedure_code: Mapped[Code]
    overdue: Mapped[bool]
    bits: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(CODE)
    deadline_at: Mapped[datetime | None]
    end_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_overdue_change_at", "basis", "at"),)


class FigureDay(Record):
    """A unit's figures of a period as they were at a day's first moment (`taken_at`): component → numerator,
    denominator and points. The counted basis only. Kept as they were; nothing is computed again."""

    __tablename__ = "figure_day"

    period: Mapped[str] = mapped_column(CODE, primary_key=True)
    unit_code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    taken_at: Mapped[Moment]
    rule_set: Mapped[str] = mapped_column(CODE)
    components: Mapped[dict[str, Any]] = mapped_column(JSONB)


class FigureDayTaken(Record):
    """Days whose figures have been looked at, also where there were none."""

    __tablename__ = "figure_day_taken"

    day: Mapped[date] = mapped_column(primary_key=True)
    taken_at: Mapped[Moment]
    units: Mapped[int]
