"""Captured scores held against our rule sets. Written by indicators."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Numeric, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import Code, Moment, Record


class CaptureScoring(Record):
    """A capture whose scores were computed again from its own counts. `checked`: scores with their counts;
    `differing` of them are not what the rule set gives; `uncheckable`: scores without counts."""

    __tablename__ = "capture_scoring"

    capture_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    rule_set: Mapped[Code]
    checked: Mapped[int]
    differing: Mapped[int]
    uncheckable: Mapped[int]
    scored_at: Mapped[Moment]


class CaptureScoreCheck(Record):
    """One published score that the rule set does not give for its own counts. The counts are null for a sum of
    components (component TOTAL)."""

    __tablename__ = "capture_score_check"

    capture_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    endpoint: Mapped[Code] = mapped_column(primary_key=True)
    department_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    component: Mapped[Code] = mapped_column(primary_key=True)
    numerator: Mapped[int | None] = mapped_column(BigInteger)
    denominator: Mapped[int | None] = mapped_column(BigInteger)
    published: Mapped[Decimal | None] = mapped_column(Numeric)
    recomputed: Mapped[Decimal | None] = mapped_column(Numeric)
