"""Signs of life. Each worker (and `chiso up`) writes its own row, through shared/queue.py."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Heartbeat(Record):
    __tablename__ = "heartbeat"

    name: Mapped[Code] = mapped_column(CODE, primary_key=True)
    at: Mapped[Moment]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
