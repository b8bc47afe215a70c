"""REST endpoints that set units, months or dossiers side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.indicators import boards, queries
from services.indicators import boards_answers as answers
from services.indicators.api import PeriodText, Reader, UnitCode, json_response, scope_of
from services.indicators.boards_schemas import Level, RankBy, ScoreboardView
from services.indicators.rules import engine
from shared import coverage
from shared.answers import csv_response, etag_for, not_modified, wants_csv
from shared.db import Session
from shared.problems import responses
from shared.vocabulary import Basis

router = APIRouter(prefix="/v1", tags=["indicators"])


@router.get(
    "/scoreboard",
    summary="Bảng điểm, xếp hạng các đơn vị của một cấp; sở và xã xếp riêng",
    response_model=ScoreboardView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_scoreboard(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    period: PeriodText = None,
    level: Annotated[Level | None, Query(description="None: both boards")] = None,
    by: Annotated[
        RankBy | None,
        Query(description="What to rank by; none: the total, or progress while a group is missing"),
    ] = None,
    basis: Basis = Basis.COUNTED,
) -> Response:
    """All units of a level that stand on the period's last day, each over its own subtree. Equal scores share a rank
    and the next is skipped. A key of one unit sees its own row, with its rank among all. CSV on
    `Accept: text/csv`."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    rules = engine.rule_set_for(scope.period)
    chosen, why = answers.rank_by(by, rules)
    levels = {
        each: units.standing(each, scope.period.last_day) for each in answers.LEVELS if level in (each, None)
    }
    codes = [code for found in levels.values() for code in found]
    found = await boards.figures(session, basis=basis, periods=[scope.period], units=codes)
    covered = await coverage.read(session, now=now)
    view = answers.scoreboard(scope, chosen, why, levels, found, rules, covered, units, now)
    # Ranks move with other units' figures, whose versions are not this key's to see: the answer is hashed whole.
    etag = etag_for(wants_csv(request), view.model_dump_json())
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    if wants_csv(request):
        name = f"scoreboard-{scope.period}-{scope.unit}"
        return csv_response(_each(answers.board_rows(view)), answers.board_header(), name=name)
    return json_response(view, etag)


async def _each(rows: Iterable[tuple[object, ...]]) -> AsyncIterator[tuple[object, ...]]:
    for row in rows:
        yield row
