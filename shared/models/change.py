"""The change queue. Written through shared/queue.py by every service; a consumer deletes what it has worked off."""

from __future__ import annotations

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Change(Record):
    """`code` changed and `consumer` has not looked yet. Append-only, no unique key on (code, consumer): one pending
    row with DO NOTHING would lose the change that comes while its predecessor is being worked off."""

    __tablename__ = "change"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    consumer: Mapped[str] = mapped_column(CODE)
    wake_at: Mapped[Moment]
    queued_at: Mapped[Moment]

    __table_args__ = (Index("ix_change_due", "consumer", "wake_at", "id"),)
