"""The change queue. Written through shared/queue.py by every service; a consumer deletes what it has worked off."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Identity
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Moment, Record


class Change(Record):
    """`codes` changed and `consumer` has not looked yet (ADR 0011). Append-only, no unique key on a code: one pending
    row with DO NOTHING would lose the change that comes while its predecessor is being worked off.

    The key is the order in which rows are taken, so the queue needs one index only, and new rows go to its end."""

    __tablename__ = "change"

    consumer: Mapped[str] = mapped_column(CODE, primary_key=True)
    wake_at: Mapped[Moment] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True, cache=100), primary_key=True)
    queued_at: Mapped[Moment]
    codes: Mapped[list[str]] = mapped_column(ARRAY(CODE))
