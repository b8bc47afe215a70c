"""Decisions of the provincial chairman that publish procedures. Written by reconcile."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Decision(Record):
    """`number` is normalised (identifiers.normalise_decision_number); one number of one year is one decision: sent
    again it replaces the older text (`superseded_at` on the older), so that what was believed before stays."""

    __tablename__ = "decision"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    number: Mapped[Code]
    issued_on: Mapped[date]
    effective_on: Mapped[date]
    title: Mapped[str]
    unit_code: Mapped[str | None] = mapped_column(CODE)
    parent_number: Mapped[str | None]
    declared_count: Mapped[int | None]
    known_at: Mapped[Moment]
    superseded_at: Mapped[datetime | None]
    added_by: Mapped[str]


class DecisionRow(Record):
    """One row of an annex."""

    __tablename__ = "decision_row"

    decision_id: Mapped[int] = mapped_column(ForeignKey("decision.id"), primary_key=True)
    row_number: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[str]
    change: Mapped[str]
    code: Mapped[str | None] = mapped_column(CODE)
    name: Mapped[str]
    level: Mapped[str]
    field: Mapped[str]
