"""Petitions (PAKN), and the monthly ratings that citizens gave. Written by ingest.

No column can hold who petitioned, or a word of what was written.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Petition(Record):
    """One petition as its newest message tells it (`version`: the newest moment that the message tells of).

    `unit_code`: who has it now, resolved from `agency_code` and `unit_name` by `unit_via`. `sent_at`: by the citizen;
    `transferred_at`: when it came to this unit, if another had it before; `received_at`: the *first* receipt.
    `dossier_code`: the dossier that it complains of. `repeats_code`: the earlier petition that it repeats.
    `likes`, `dislikes`: of the answer, as counted when the message was made."""

    __tablename__ = "petition"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    kind: Mapped[str] = mapped_column(CODE)
    dossier_code: Mapped[str | None] = mapped_column(CODE)
    repeats_code: Mapped[str | None] = mapped_column(CODE)
    agency_code: Mapped[str | None] = mapped_column(CODE)
    unit_name: Mapped[str | None]
    unit_code: Mapped[str | None] = mapped_column(CODE)
    unit_via: Mapped[str] = mapped_column(CODE)
    sent_at: Mapped[Moment]
    transferred_at: Mapped[datetime | None]
    received_at: Mapped[datetime | None]
    more_asked_at: Mapped[datetime | None]
    handled_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]
    likes: Mapped[int]
    dislikes: Mapped[int]
    version: Mapped[Moment]
    via: Mapped[str] = mapped_column(CODE)
    learnt_at: Mapped[Moment]

    __table_args__ = (
        Index(None, "dossier_code", postgresql_where=text("dossier_code IS NOT NULL")),
        Index(None, "repeats_code", postgresql_where=text("repeats_code IS NOT NULL")),
    )


class CitizenRating(Record):
    """What the people served by a unit in a month thought of one procedure (DongBoDanhGia). The protocol gives these no
    version: the later arrival (`learnt_at`) stands.

    `agency_code`: what the message calls the unit, its code, or its name where no code came; `unit_name` only where
    that code is no unit's. `procedure_code` "": of no single procedure. The shares are percentages; null: not told."""

    __tablename__ = "citizen_rating"

    month: Mapped[Code] = mapped_column(CODE, primary_key=True)
    agency_code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    procedure_code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    unit_name: Mapped[str | None]
    unit_code: Mapped[str | None] = mapped_column(CODE)
    unit_via: Mapped[str] = mapped_column(CODE)
    raters: Mapped[int]
    very_satisfied: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    satisfied: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    not_satisfied: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    via: Mapped[str] = mapped_column(CODE)
    learnt_at: Mapped[Moment]
