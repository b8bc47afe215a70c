"""What each dossier contributes to the figures, and the figures. Written by indicators only."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Assessment(Record):
    """The head row of a dossier's assessment on one basis; a worker locks it, in key order, before it reads.

    `source`: the copy that counts (national, sent_confirmed, sent_unconfirmed, provincial) or why none does
    (absent, no_copy, not_received). `open`: not ended, so it is carried into the next period.
    `wake_at`: the delayed change already written. `assessed_at` of the counted basis holds for both; the provincial row
    is written where it says something new."""

    __tablename__ = "assessment"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    basis: Mapped[str] = mapped_column(CODE, primary_key=True)
    source: Mapped[str] = mapped_column(CODE)
    open: Mapped[bool]
    assessed_at: Mapped[datetime | None]
    wake_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_assessment_open", "basis", "code", postgresql_where=text("open")),)


class AssessmentPeriod(Record):
    """What a dossier contributes to one period, on a basis or ("both") on each: named bits (shared.reasons.Bit), why
    (shared.reasons.Reason), the instants judged: `end_at` the end after the rules, `deadline_at` what it was held
    against. `elapsed_seconds` and `working_seconds`: how long the handling took, in the periods of its start, once
    there is a result (2.2)."""

    __tablename__ = "assessment_period"

    code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    basis: Mapped[str] = mapped_column(CODE, primary_key=True)
    period: Mapped[str] = mapped_column(CODE, primary_key=True)
    unit_code: Mapped[Code]
    procedure_code: Mapped[Code]
    bits: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(CODE)
    end_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    elapsed_seconds: Mapped[int | None]
    working_seconds: Mapped[int | None]

    __table_args__ = (
        Index("ix_assessment_period_items", "basis", "period", "unit_code", "code"),
        # Of months only, and by nothing that a worker changes when a dossier ends: its new version finds room on its
        # page and needs no entry in any index.
        Index(
            "ix_assessment_period_due",
            "basis",
            "period",
            "deadline_at",
            postgresql_where=text("period ~ '-[01]'"),
        ),
    )


class Tally(Record):
    """The counts, kept by differences (architecture.md §4), of the dossiers that count on one basis only and of those
    that count alike on "both". An empty cell keeps its row, so that `changed_at` tells when a figure last changed, also
    to nothing."""

    __tablename__ = "tally"

    basis: Mapped[str] = mapped_column(CODE, primary_key=True)
    period: Mapped[str] = mapped_column(CODE, primary_key=True)
    unit_code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    procedure_code: Mapped[Code] = mapped_column(CODE, primary_key=True)
    dossiers: Mapped[int] = mapped_column(BigInteger)
    on_time: Mapped[int] = mapped_column(BigInteger)
    done: Mapped[int] = mapped_column(BigInteger)
    undetermined: Mapped[int] = mapped_column(BigInteger)
    from_national: Mapped[int] = mapped_column(BigInteger)
    from_sent_confirmed: Mapped[int] = mapped_column(BigInteger)
    from_sent_unconfirmed: Mapped[int] = mapped_column(BigInteger)
    handled: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    online: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    online_with_result: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    with_result: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    with_component: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    with_both: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    reused: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    from_store: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    citizen_data: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    fee_asked: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    fee_not_free: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    paid_online: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    satisfied: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    synced: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    elapsed_seconds: Mapped[int] = mapped_column(BigInteger)
    working_seconds: Mapped[int] = mapped_column(BigInteger)
    changed_at: Mapped[Moment]


class PeriodOpened(Record):
    """Months whose first moment has been worked off: the open dossiers were carried in."""

    __tablename__ = "period_opened"

    period: Mapped[Code] = mapped_column(CODE, primary_key=True)
    opened_at: Mapped[Moment]
    carried: Mapped[int] = mapped_column(BigInteger)


class TallyCheck(Record):
    """What each night's self-check found (services/indicators/self_check.py): cells of the tally and dossiers judged
    again, and how many of each say something else than they should: none, or there is a fault."""

    __tablename__ = "tally_check"

    night: Mapped[date] = mapped_column(primary_key=True)
    checked_at: Mapped[Moment]
    cells: Mapped[int] = mapped_column(BigInteger)
    drift_cells: Mapped[int] = mapped_column(BigInteger)
    dossiers: Mapped[int] = mapped_column(BigInteger)
    drift_dossiers: Mapped[int] = mapped_column(BigInteger)
