"""REST endpoint of the national reporting system's numbers, which no system tells us."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from services.ingest import reporting_counts
from services.ingest.reporting_counts import MOST, Given
from shared.access import Principal, allow, unit_in_scope
from shared.calendar import TZ, Period
from shared.db import Session
from shared.problems import responses
from shared.vocabulary import ReportSource, Role

router = APIRouter(prefix="/v1", tags=["ingest"])

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


@router.post(
    "/reporting-counts",
    summary="Nhập số hồ sơ của một đơn vị trên Hệ thống báo cáo Chính phủ (BCQG), mẫu số của chỉ số 1.4",
    response_model=ReportingCountView,
    responses=responses(400, 401, 403, 404, 413, 422, 503),
)
async def give_count(
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
    given: ReportingCountIn,
) -> dict[str, Any]:
    """Of a month, a quarter or a year, each for itself: the nation's quarter is not the sum of its months. The newest
    number counts; the same one again changes nothing. Refused: a period that has not begun, and a number that cannot be
    beside those given before (a month above its quarter or year, a unit above the one that it belongs to)."""
    unit = unit_in_scope(principal, given.unit)
    stored = await reporting_counts.add(
        session,
        Given(unit, Period.parse(given.period), given.count, given.source),
        by=principal.key_id,
        now=request.app.state.settings.now(),
    )
    row = stored.row
    return {
        "unit": row["unit_code"],
        "period": row["period"],
        "count": row["count"],
        "source": row["source"],
        "given_at": row["given_at"].astimezone(TZ),
        "given_by": row["given_by"],
        "result": "accepted" if stored.new else "unchanged",
        "replaced": stored.replaced,
    }
