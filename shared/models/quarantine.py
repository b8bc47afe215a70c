"""What a door refused, and why. Written by ingest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Moment, Record


class Quarantine(Record):
    """One refused item. `content` holds the allow-listed fields that could be read, never the rest; an unreadable
    item keeps only its digest and its position. The same bytes refused again for the same reason are one row.

    `dropped`: paths of the allow-listed fields whose values were not kept, because they could name somebody; an item is
    read again from `content` only where nothing that its door needs is among them. `replayed_at`, `result`: the newest
    try; a row stays, whatever came of it."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    door: Mapped[str] = mapped_column(CODE)
    portal: Mapped[str] = mapped_column(CODE)
    code: Mapped[str | None] = mapped_column(CODE)
    field: Mapped[str] = mapped_column(CODE)
    reason: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    position: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    dropped: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sender: Mapped[str] = mapped_column(CODE)
    refused_at: Mapped[Moment]
    replayed_at: Mapped[datetime | None]
    replayed_by: Mapped[str | None] = mapped_column(CODE)
    result: Mapped[str | None] = mapped_column(CODE)

    __table_args__ = (Index("uq_quarantine_refusal", "digest", "door", "field", unique=True),)
