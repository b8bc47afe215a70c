"""Imports of files: each file's run and what was understood of it. Written by ingest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class ImportRun(Record):
    """One file, read in one way. The file is not kept, and neither is its name, which could be a person's: only their
    digests are.

    `task`: digest of the file, its kind and whatever decides how it is read; the same task is the same run. `state`:
    `running` → `done` | `failed` | `interrupted`. `cursor`: the last row of the sheet whose batch is committed; the
    same file sent again goes on behind it, whatever ended the run. `total`: rows of the sheet (of a CSV: its lines, an
    upper bound until the end). `report`: columns understood and passed over, the first refusals, what could not be
    told apart."""

    __tablename__ = "import_run"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task: Mapped[bytes] = mapped_column(LargeBinary)
    kind: Mapped[str] = mapped_column(CODE)
    portal: Mapped[str | None] = mapped_column(CODE)
    period: Mapped[str | None] = mapped_column(CODE)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    name_digest: Mapped[bytes] = mapped_column(LargeBinary)
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(CODE)
    requested_by: Mapped[Code]
    started_at: Mapped[Moment]
    finished_at: Mapped[datetime | None]
    attempts: Mapped[int]
    cursor: Mapped[int]
    total: Mapped[int | None]
    items: Mapped[int]
    accepted: Mapped[int]
    unchanged: Mapped[int]
    stale: Mapped[int]
    rejected: Mapped[int]
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)
    error: Mapped[str | None]

    __table_args__ = (Index("uq_import_run_task", "task", unique=True),)
