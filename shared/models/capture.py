"""What the national portal showed, when (reporting-api.md): captures, their raw bodies for good, the figures read from
them, and the circuit that keeps us from asking. Written by ingest."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Identity, Index, LargeBinary, Numeric, SmallInteger, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class Capture(Record):
    """One period of one root, asked for within one window. `scope`: the root's unit code. `state`: `open` while bodies
    come, then `complete` (every endpoint answered and was understood) or `partial` (`missing` names the endpoints that
    did not), and never changed again. `captured_at`: when the last body came; `report_on`: the day that the figures
    are of, if the portal renews them in the night before. `politeness`: calls, repeats, pause and how long it took."""

    __tablename__ = "capture"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[int] = mapped_column(BigInteger)
    period: Mapped[Code]
    scope: Mapped[Code]
    root_id: Mapped[UUID | None] = mapped_column(Uuid)
    state: Mapped[Code]
    began_at: Mapped[Moment]
    captured_at: Mapped[datetime | None]
    report_on: Mapped[date | None]
    missing: Mapped[list[str]] = mapped_column(ARRAY(CODE))
    parser: Mapped[Code]
    politeness: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index(None, "scope", "period", "captured_at"),)


class CaptureContent(Record):
    """A body as it came, compressed with zlib; the same bytes are kept once. `verified_at`: when they came last: the
    same bytes again are an observation too."""

    __tablename__ = "capture_content"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    size: Mapped[int]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    first_at: Mapped[Moment]
    verified_at: Mapped[Moment]


class CaptureBody(Record):
    """What came of asking one endpoint for a capture: the last attempt. `request`: the JSON sent. `digest`: SHA-256 of
    the body, null where none came or a firewall's page. `error`: why it is no answer."""

    __tablename__ = "capture_body"

    capture_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    endpoint: Mapped[Code] = mapped_column(primary_key=True)
    path: Mapped[Code]
    request: Mapped[dict[str, Any]] = mapped_column(JSONB)
    asked_at: Mapped[Moment]
    attempts: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    content_type: Mapped[str | None]
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    source: Mapped[str | None]
    error: Mapped[str | None]

    __table_args__ = (Index(None, "digest"),)


class CapturedUnit(Record):
    """A unit as a capture names it. `unit_code`: ours, where its code or its name is known. `missing`: endpoints that
    do not have it though they have others of its kind."""

    __tablename__ = "captured_unit"

    capture_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    department_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    department_code: Mapped[Code | None]
    name: Mapped[str]
    kind: Mapped[Code]
    unit_code: Mapped[Code | None]
    missing: Mapped[list[str]] = mapped_column(ARRAY(CODE))


class CapturedFigure(Record):
    """One figure of one unit: a component, or the endpoint's own sum (component TOTAL). `given`: bitmask of
    vocabulary.Given, the fields that the body had, so that null, zero and not provided stay apart. `counts`: further
    counts of a TOTAL, by the portal's names."""

    __tablename__ = "captured_figure"

    capture_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    endpoint: Mapped[Code] = mapped_column(primary_key=True)
    department_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    component: Mapped[Code] = mapped_column(primary_key=True)
    given: Mapped[int] = mapped_column(SmallInteger)
    numerator: Mapped[int | None] = mapped_column(BigInteger)
    denominator: Mapped[int | None] = mapped_column(BigInteger)
    ratio: Mapped[Decimal | None] = mapped_column(Numeric)
    score: Mapped[Decimal | None] = mapped_column(Numeric)
    max_score: Mapped[Decimal | None] = mapped_column(Numeric)
    data_quality: Mapped[str | None]
    counts: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class CaptureCheck(Record):
    """Whether a capture is consistent in one respect (reporting-api.md §13): `holds` null where nothing could be
    checked. `detail`: the first failures, each with unit, what was expected and what was found."""

    __tablename__ = "capture_check"

    capture_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    code: Mapped[Code] = mapped_column(primary_key=True)
    holds: Mapped[bool | None]
    checked: Mapped[int]
    failed: Mapped[int]
    detail: Mapped[list[dict[str, Any]]]


class Circuit(Record):
    """A time during which a portal is not asked, because it blocked us. Only a person closes it."""

    __tablename__ = "circuit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[Code]
    opened_at: Mapped[Moment]
    status: Mapped[int | None] = mapped_column(SmallInteger)
    reason: Mapped[str]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[Code | None]

    __table_args__ = (
        Index("uq_circuit_open", "name", unique=True, postgresql_where=text("closed_at IS NULL")),
    )
