"""Pulls from the portals: each run, and how far each subject is known. Written by ingest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Moment, Record


class SyncRun(Record):
    """One pull. The row is the job: `queued` → `running` → `done` | `failed`; a run whose worker died is taken up
    again from `cursor` (the worker holds an advisory lock while it runs)."""

    __tablename__ = "sync_run"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    portal: Mapped[str] = mapped_column(CODE)
    subject: Mapped[str] = mapped_column(CODE)
    state: Mapped[str] = mapped_column(CODE)
    requested_by: Mapped[str]
    queued_at: Mapped[Moment]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cursor: Mapped[dict[str, Any]] = mapped_column(JSONB)
    attempts: Mapped[int]
    pages: Mapped[int]
    total: Mapped[int | None]
    items: Mapped[int]
    accepted: Mapped[int]
    unchanged: Mapped[int]
    stale: Mapped[int]
    rejected: Mapped[int]
    complete: Mapped[bool]
    error: Mapped[str | None]

    __table_args__ = (
        # One run per portal and subject at a time, whoever asks.
        Index(
            "uq_sync_run_active",
            "portal",
            "subject",
            unique=True,
            postgresql_where=text("state in ('queued', 'running')"),
        ),
    )


class SyncState(Record):
    """How far a subject of a portal is known. `watermark`: where the next walk may stop; it moves only with a walk's
    last page. `complete_through`: everything that the portal held at this moment has been seen."""

    __tablename__ = "sync_state"

    portal: Mapped[str] = mapped_column(CODE, primary_key=True)
    subject: Mapped[str] = mapped_column(CODE, primary_key=True)
    watermark: Mapped[datetime | None]
    complete_through: Mapped[datetime | None]
    last_run_id: Mapped[int | None] = mapped_column(BigInteger)
    updated_at: Mapped[Moment]
