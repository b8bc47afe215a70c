"""What was answered to requests that named an Idempotency-Key. Written through shared/idempotency.py."""

from __future__ import annotations

from sqlalchemy import Index, LargeBinary, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import Moment, Record


class IdempotencyKey(Record):
    """One key of one API key on one call. `key_hash`: SHA-256 of all three; `body_digest`: SHA-256 of what was sent.
    `answer`: JSON text as it was sent back. Written in the transaction of what the request created."""

    __tablename__ = "idempotency_key"

    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    body_digest: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    location: Mapped[str | None]
    answer: Mapped[str]
    created_at: Mapped[Moment]

    __table_args__ = (Index(None, "created_at"),)
