"""The copies of every dossier, their steps, and what look-ups proved. Written by ingest.

No column can hold a citizen's name, number, phone, address or free text: what is not listed here has no way in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Dossier(Record):
    """One copy of one dossier.

    Parts with a version each (architecture.md §4): the head (`version`; null while only steps have come), the officer
    of the newest step (`officer_at`), and the state of the newest step that tells one (`step_status_at`).
    `known` is the bitmask vocabulary.Known of the fields that this copy is able to tell.
    `supplements`: list of {requested_at, completed_at, due_before, due_after} as ISO texts, in order of request.
    `facts`, `facts_known`: bitmasks of vocabulary.Fact, what is true and what this copy can tell.
    `agency_code` and `unit_name` are what came; `unit_code` is what they were resolved to, by `unit_via`.
    """

    __tablename__ = "dossier"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    portal: Mapped[str] = mapped_column(CODE, primary_key=True)
    code_known: Mapped[bool]
    source_system: Mapped[str] = mapped_column(CODE)
    known: Mapped[int]
    version: Mapped[datetime | None]
    procedure_code: Mapped[str | None] = mapped_column(CODE)
    procedure_suffix: Mapped[str | None] = mapped_column(CODE)
    agency_code: Mapped[str | None] = mapped_column(CODE)
    unit_name: Mapped[str | None]
    unit_code: Mapped[str | None] = mapped_column(CODE)
    unit_via: Mapped[str] = mapped_column(CODE)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    cancelled: Mapped[bool]
    channel: Mapped[int | None] = mapped_column(SmallInteger)
    submitted_at: Mapped[datetime | None]
    received_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    returned_at: Mapped[datetime | None]
    rejected_at: Mapped[datetime | None]
    supplements: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    facts: Mapped[int] = mapped_column(server_default=text("0"))
    facts_known: Mapped[int] = mapped_column(server_default=text("0"))
    officer: Mapped[str | None]
    officer_title: Mapped[str | None]
    officer_at: Mapped[datetime | None]
    step_status: Mapped[int | None] = mapped_column(SmallInteger)
    step_status_at: Mapped[datetime | None]
    via: Mapped[str] = mapped_column(CODE)
    learnt_at: Mapped[Moment]
    vanished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "portal", "received_at"),
        # The names and codes by which units are called, where no code of ours said which unit it is: an alias that is
        # set finds the copies that it concerns, and only those (services/ingest/naming.py).
        Index(
            "ix_dossier_unit_name",
            "unit_via",
            "unit_name",
            postgresql_where=text("unit_via <> 'agency_code'"),
        ),
        Index(
            "ix_dossier_agency_code",
            "unit_via",
            "agency_code",
            postgresql_where=text("unit_via <> 'agency_code' AND agency_code IS NOT NULL"),
        ),
    )


class DossierStep(Record):
    """One step of the handling: who did what when. Equal (moment, status): the later arrival is kept.
    `status` 0: the message told none."""

    __tablename__ = "dossier_step"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    portal: Mapped[str] = mapped_column(CODE, primary_key=True)
    occurred_at: Mapped[Moment] = mapped_column(primary_key=True)
    status: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    officer: Mapped[str | None]
    officer_title: Mapped[str | None]
    started_at: Mapped[datetime | None]
    learnt_at: Mapped[Moment]


class Presence(Record):
    """The newest proof that a code exists on a portal, or does not: a look-up of that very code, or a complete
    window of a list. `checked_at` null: no proof yet. `ask_at`: from when on a look-up is due (null: at once); it moves
    with each attempt, also one without an answer."""

    __tablename__ = "presence"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    portal: Mapped[str] = mapped_column(CODE, primary_key=True)
    found: Mapped[bool | None]
    checked_at: Mapped[datetime | None]
    via: Mapped[str | None] = mapped_column(CODE)
    ask_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_presence_oldest", "portal", text("checked_at NULLS FIRST")),
        Index(None, "portal", "ask_at"),
    )
