"""The dated unit tree and the names by which units are known. Written by ingest."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Unit(Record):
    """A unit during a span of days. `valid_to` is the last day; `successor_code` is who took over after it."""

    __tablename__ = "unit"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    valid_from: Mapped[date] = mapped_column(primary_key=True)
    valid_to: Mapped[date | None]
    name: Mapped[str]
    level: Mapped[str]
    parent_code: Mapped[str | None] = mapped_column(CODE)
    successor_code: Mapped[str | None] = mapped_column(CODE)
    statistical_code: Mapped[str | None]
    mark: Mapped[str]
    source: Mapped[str]
    updated_at: Mapped[Moment]


class UnitAlias(Record):
    """A name (as its comparison key, identifiers.unit_name_key) that means a unit during a span of days."""

    __tablename__ = "unit_alias"

    name_key: Mapped[str] = mapped_column(CODE, primary_key=True)
    valid_from: Mapped[date] = mapped_column(primary_key=True)
    valid_to: Mapped[date | None]
    name: Mapped[str]
    unit_code: Mapped[Code]
    source: Mapped[str]
    updated_at: Mapped[Moment]

    __table_args__ = (Index(None, "unit_code"),)
