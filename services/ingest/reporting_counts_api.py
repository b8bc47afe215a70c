"""REST endpoint of the national reporting system's numbers, which no system tells us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import reporting_counts
from services.ingest.reporting_counts import MOST, Given
from shared import idempotency
from shared.access import READERS, Principal, allow, unit_in_scope
from shared.answers import LIMIT, csv_response, decode_cursor, encode_cursor, wants_csv
from shared.calendar import TZ, Period
from shared.db import Session, session_scope
from shared.errors import Invalid
from shared.problems import responses
from shared.vocabulary import ReportSource, Role

router = APIRouter(prefix="/v1", tags=["ingest"])

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
_EXAMPLE: dict[str, Any] = {"unit": "H31.135", "period": "2026-08", "count": 4128, "source": "screen"}


class ReportingCountIn(BaseModel):
    """`source`: read off the system's `screen`, from a `file` that it exported, or from a `letter`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})
    unit: str = Field(max_length=40)
    period: str = Field(max_length=10, description="2026-08, 2026-Q3 or 2026")
    count: int = Field(
        ge=0, le=MOST, strict=True, description="Dossiers that the unit received in the period"
    )
    source: ReportSource


class ReportingCountView(BaseModel):
    """`replaced`: the number that counted until now, null where there was none."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **_EXAMPLE,
                "given_at": "2026-09-03T09:00:00+07:00",
                "given_by": "k7",
                "result": "accepted",
                "replaced": 4119,
            }
        }
    )
    unit: str
    period: str
    count: int
    source: ReportSource
    given_at: datetime
    given_by: str
    result: Literal["accepted", "unchanged"]
    replaced: int | None


class ReportingCountEntry(BaseModel):
    """`given_by`: the key that entered it. `counts`: it is the newest of its unit and period, the one in use."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 12,
                **_EXAMPLE,
                "given_at": "2026-09-03T09:00:00+07:00",
                "given_by": "k7",
                "counts": True,
            }
        }
    )
    id: int
    unit: str
    period: str
    count: int
    source: ReportSource
    given_at: datetime
    given_by: str
    counts: bool


class ReportingCountList(BaseModel):
    items: list[ReportingCountEntry]
    next: str | None


@router.post(
    "/reporting-counts",
    summary="Nhập số hồ sơ của một đơn vị trên Hệ thống báo cáo Chính phủ (BCQG), mẫu số của chỉ số 1.4",
    response_model=ReportingCountView,
    responses=responses(400, 401, 403, 404, 409, 413, 422, 503),
)
async def give_count(
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
    given: ReportingCountIn,
    key: idempotency.Key = None,
) -> Response:
    """Of a month, a quarter or a year, each for itself: the nation's quarter is not the sum of its months. The newest
    number counts; the same one again changes nothing. Refused: a period that has not begun, and a number that cannot be
    beside those given before (a month above its quarter or year, a unit above the one that it belongs to)."""
    unit = unit_in_scope(principal, given.unit)
    told = Given(unit, Period.parse(given.period), given.count, given.source)
    now = request.app.state.settings.now()

    async def make() -> idempotency.Made:
        stored = await reporting_counts.add(session, told, by=principal.key_id, now=now)
        row = stored.row
        view = ReportingCountView(
            unit=row["unit_code"],
            period=row["period"],
            count=row["count"],
            source=row["source"],
            given_at=row["given_at"].astimezone(TZ),
            given_by=row["given_by"],
            result="accepted" if stored.new else "unchanged",
            replaced=stored.replaced,
        )
        return idempotency.Made(200, view)

    return await idempotency.once(session, request, principal, key, make, now=now)


@router.get(
    "/reporting-counts",
    summary="Các số của Hệ thống báo cáo Chính phủ (BCQG) đã nhập, mới nhất trước",
    response_model=ReportingCountList,
    responses=CSV | responses(401, 403, 422, 503),
)
async def list_counts(
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(*READERS))],
    unit: Annotated[
        str | None, Query(max_length=100, description="Đơn vị này và các đơn vị trực thuộc")
    ] = None,
    period: Annotated[str | None, Query(max_length=10, description="2026-08, 2026-Q3 or 2026")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` của trang trước")] = None,
) -> Any:
    """What was entered, by which key and when; also the numbers that a newer one replaced. With `Accept: text/csv` the
    whole list."""
    wanted: dict[str, Any] = {
        "within": unit_in_scope(principal, unit),
        "period": Period.parse(period).key if period is not None else None,
    }
    if wants_csv(request):
        rows = _all(request.app.state.engine, wanted)
        return csv_response(rows, list(ReportingCountEntry.model_fields), name="reporting-counts")
    before = decode_cursor(cursor, int)[0] if cursor else None
    if before is not None and not 0 < before < 2**63:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor")
    items = await reporting_counts.listing(session, **wanted, before=before, limit=limit)
    return {"items": items, "next": encode_cursor(items[-1]["id"]) if len(items) == limit else None}


async def _all(engine: AsyncEngine, wanted: dict[str, Any]) -> AsyncIterator[list[object]]:
    before: int | None = None
    while True:
        async with session_scope(engine) as session:
            items = await reporting_counts.listing(session, **wanted, before=before, limit=LIMIT)
        for item in items:
            yield [item[name] for name in ReportingCountEntry.model_fields]
        if len(items) < LIMIT:
            return
        before = items[-1]["id"]
