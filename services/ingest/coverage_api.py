"""GET /v1/coverage: what is known of each unit from each source, through when, and how late it came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from services.ingest import coverage
from services.ingest.coverage_schemas import CoverageAnswer, UnitSourceView
from shared import coverage as facts
from shared.access import READERS, Principal, allow, unit_in_scope
from shared.answers import csv_response, etag_for, figure_headers, not_modified, wants_csv
from shared.calendar import TZ
from shared.db import Session
from shared.problems import responses

router = APIRouter(prefix="/v1", tags=["ingest"])

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get(
    "/coverage",
    summary="Dữ liệu của từng đơn vị, từng nguồn: nhận lần cuối, đầy đủ đến đâu, chậm bao lâu",
    response_model=CoverageAnswer,
    responses=CSV | responses(401, 403, 422, 503),
)
async def read_coverage(
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(*READERS))],
    unit: Annotated[
        str | None, Query(max_length=100, description="Đơn vị này và các đơn vị trực thuộc")
    ] = None,
) -> Response:
    """Sources and queue are the whole province's; `units` the unit's and those below it. With `Accept: text/csv` the
    units."""
    within = unit_in_scope(principal, unit)
    settings = request.app.state.settings
    now = settings.now()
    units = await coverage.by_unit(session, within=within, province=settings.province_code, now=now)
    if wants_csv(request):
        return csv_response(_rows(units), list(UnitSourceView.model_fields), name=f"coverage-{within}")
    covered = await facts.read(session, now=now)
    answer = CoverageAnswer.model_validate(
        {
            "unit": within,
            "as_of": now.astimezone(TZ),
            "window_days": coverage.WINDOW.days,
            "sources": await coverage.sources(session, covered, now),
            "units": units,
            "queue": [
                {
                    "consumer": consumer.value,
                    "due": backlog.due,
                    "oldest_at": backlog.oldest_at and backlog.oldest_at.astimezone(TZ),
                }
                for consumer, backlog in covered.backlog.items()
            ],
        }
    )
    etag = etag_for(answer.model_dump_json(exclude={"as_of"}))
    return not_modified(request, etag) or Response(
        answer.model_dump_json(), media_type="application/json", headers=figure_headers(etag)
    )


async def _rows(units: list[dict[str, Any]]) -> AsyncIterator[list[object]]:
    for unit in units:
        yield list(unit.values())
