"""API keys. Written through shared/access.py only."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class ApiKey(Record):
    """A key is shown once, when it is made; only its hash is kept."""

    __tablename__ = "api_key"

    id: Mapped[Code] = mapped_column(CODE, primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    role: Mapped[str]
    unit_code: Mapped[Code]
    note: Mapped[str]
    created_at: Mapped[Moment]
    created_by: Mapped[str]
    revoked_at: Mapped[datetime | None]
