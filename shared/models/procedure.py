"""Procedures as the national database shows them. Written by ingest."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Record


class Procedure(Record):
    """One procedure of the national list, keyed by the national part of its code.

    `listed_at`: start of the newest listing that held it. `withdrawn_at`: start of the *complete* listing that no
    longer held it (an incomplete one proves nothing). `record_at` / `record`: the newest detail record (LayThuTuc,
    allow-listed keys); null where the detail look-up answered with another code (`unverified`).
    `facts`: bitmask of vocabulary.ProcedureFact, from the record and (online service) from LayDVC. `public_since`: when
    it was made public, by the record or (`_observed`) by our first sighting of it as public, the latest day that it
    can be; null while it is not. It begins anew after the nation has shown the procedure as not public, or not listed
    it, and where another decision publishes it. `decided_on`: date of the decision that published it (LayQDCB);
    `effective_on`: the latest effective date of its legal bases. Both days of the proposal to publish, where the record
    carries it (reporting-api.md §14), go before LayQDCB and our sighting.
    `performers`: who carries it out, as the record names them: unit codes, or else names as comparison keys.
    `max_duration` / `duration_unit`: the longest duration over the record's channels, null where it tells none.
    """

    __tablename__ = "procedure"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    name: Mapped[str]
    field_code: Mapped[str | None]
    field_name: Mapped[str | None]
    levels: Mapped[list[str]] = mapped_column(ARRAY(Text))
    public: Mapped[bool | None]
    state: Mapped[str | None]
    decision_number: Mapped[str | None]
    publisher: Mapped[str | None]
    facts: Mapped[int] = mapped_column(server_default=text("0"))
    public_since: Mapped[date | None]
    public_since_observed: Mapped[bool] = mapped_column(server_default=text("false"))
    decided_on: Mapped[date | None]
    effective_on: Mapped[date | None]
    performers: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    max_duration: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    duration_unit: Mapped[str | None]
    listed_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    record_at: Mapped[datetime | None]
    record: Mapped[dict[str, Any] | None]
    unverified: Mapped[bool]
