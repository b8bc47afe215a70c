"""What the national reporting system (BCQG) counts, as people hand it in: no system tells us. Written by ingest."""

from __future__ import annotations

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class ReportingCount(Record):
    """Dossiers that a unit received in a period, by BCQG (indicators.md §3, 1.4). Rows are never changed: the newest
    (`id`) of a unit and period counts, the others say what was believed before. `source`: where the number was read;
    `given_by`: the key."""

    __tablename__ = "reporting_count"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    unit_code: Mapped[Code]
    period: Mapped[Code]
    count: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str]
    given_at: Mapped[Moment]
    given_by: Mapped[str] = mapped_column(CODE)

    __table_args__ = (Index(None, "unit_code", "period", "id"),)
